/* SPDX-License-Identifier: MIT */
/* memory.c - some pages and their trackers; see memory.h. */
#define _GNU_SOURCE
#include "memory.h"

#include "tracker.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct memory memory_make(size_t pages)
{
	struct memory m = { .pages = pages, .page = (size_t)sysconf(_SC_PAGESIZE) };
	void *at = mmap(NULL, pages * m.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	if (at == MAP_FAILED)
		return m;
	madvise(at, pages * m.page, MADV_NOHUGEPAGE);
	m.at = at;
	for (size_t i = 0; i < pages; i++)
		m.at[i * m.page] = 1;
	return m;
}

void memory_free(struct memory *m)
{
	munmap((void *)m->at, m->pages * m->page);
	m->at = NULL;
}

struct pml *memory_try(const struct memory *m, const char *backend)
{
	struct pml_span all = { (uintptr_t)m->at, (uintptr_t)m->at + m->pages * m->page };
	struct pml_options o = {
		.size = sizeof(o), .backend = backend, .watch = &all, .nwatch = 1,
	};
	struct pml *t;

	if (pml_open(&t, &o))
		return NULL;
	if (!pml_start(t))
		return t;
	pml_close(t);
	return NULL;
}

struct pml *memory_track(const struct memory *m, const char *backend, uint32_t events)
{
	struct pml_span all = { (uintptr_t)m->at, (uintptr_t)m->at + m->pages * m->page };
	struct pml_options o = {
		.size = sizeof(o), .backend = backend, .events = events, .watch = &all,
		.nwatch = 1,
	};

	return tracker_start(&o);
}

bool memory_collect(const struct memory *m, struct pml *t, struct told *told)
{
	uint64_t base = (uintptr_t)m->at, end = base + m->pages * m->page;
	const struct pml_result *r;

	memset(told->events, 0, m->pages);
	told->lost = false;
	told->error = pml_collect(t, NULL, &r);
	if (told->error)
		return false;
	told->lost = r->flags & PML_RESULT_LOST;
	for (size_t i = 0; i < r->nranges; i++)
		for (uint64_t at = r->ranges[i].start; at < r->ranges[i].end; at += m->page)
			if (at >= base && at < end)
				told->events[(at - base) / m->page] |= (uint8_t)r->ranges[i].events;
	return !told->lost;
}

size_t memory_differs(const struct memory *m, const uint8_t *a, const uint8_t *b)
{
	size_t n = 0;

	for (size_t i = 0; i < m->pages; i++)
		n += ((a[i] ^ b[i]) & PML_DIRTY) != 0;
	return n;
}

size_t memory_missed(const struct memory *m, const uint8_t *dirty, const uint8_t *told)
{
	size_t n = 0;

	for (size_t i = 0; i < m->pages; i++)
		n += (dirty[i] & ~told[i] & PML_DIRTY) != 0;
	return n;
}

void memory_write_some(const struct memory *m, uint8_t *dirty)
{
	for (size_t i = 0; i < m->pages; i++) {
		dirty[i] = rand() % 4 ? 0 : PML_DIRTY;
		if (dirty[i])
			++m->at[i * m->page];
	}
}

const char *why_not(const char *backend)
{
	static struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	for (int i = 0; i < n && i < 32; i++)
		if (!strcmp(info[i].name, backend))
			return info[i].available ? "" : info[i].reason;
	return "there is no such back-end";
}
