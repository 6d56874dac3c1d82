/* SPDX-License-Identifier: MIT */
/*
 * nodes.c - asks the kernel where pages lie, by libnuma; see nodes.h.
 */
#include <numa.h>
#include <stddef.h>

#include "nodes.h"

/* Pages that are asked for at once. */
enum { BATCH = 1024 };

static uint32_t machine_nodes(void)
{
	int most = numa_available() < 0 ? 0 : numa_max_node();

	return most < NODES_MAX ? (uint32_t)most + 1 : NODES_MAX;
}

bool nodes_need_ranges(void)
{
	return machine_nodes() > 1;
}

/* Returns 0, or -1 if it may not be told. */
static int ask(struct nodes *nodes, uint32_t pid, uint64_t start, unsigned long n,
	       uint32_t page_size)
{
	void *pages[BATCH];
	int status[BATCH];

	for (unsigned long i = 0; i < n; i++)
		pages[i] = (void *)(uintptr_t)(start + i * page_size);
	/* with no nodes to move to, it tells where they are */
	if (numa_move_pages((int)pid, n, pages, NULL, status, 0))
		return -1;
	for (unsigned long i = 0; i < n; i++)
		if (status[i] >= 0 && (uint32_t)status[i] < nodes->n)
			nodes->bytes[status[i]] += page_size;
	return 0;
}

static int count_range(struct nodes *nodes, const struct epoch *e, const struct pml_range *r)
{
	uint64_t left = epoch_range_pages(e, r), start = r->start;

	while (left) {
		unsigned long n = left < BATCH ? (unsigned long)left : BATCH;

		if (ask(nodes, r->pid, start, n, e->page_size))
			return -1;
		start += n * e->page_size;
		left -= n;
	}
	return 0;
}

void nodes_count(struct nodes *nodes, const struct epoch *e, uint32_t events, uint64_t all)
{
	*nodes = (struct nodes){ .n = machine_nodes() };
	if (nodes->n == 1) {
		nodes->bytes[0] = all;
		return;
	}
	for (size_t i = 0; i < e->ranges.n; i++) {
		const struct pml_range *r = &e->ranges.ranges[i];

		if ((r->events & events) && count_range(nodes, e, r)) {
			nodes->n = 0;
			return;
		}
	}
}
