/* SPDX-License-Identifier: MIT */
/*
 * epoch.c - puts one whole epoch together: the library may give it in parts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "epoch.h"

int range_list_append(struct range_list *list, const struct pml_range *ranges, size_t n)
{
	if (list->n + n > list->room) {
		size_t room = list->n + n + list->room / 2;
		struct pml_range *grown = reallocarray(list->ranges, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->ranges = grown;
		list->room = room;
	}
	if (n)
		memcpy(list->ranges + list->n, ranges, n * sizeof(*ranges));
	list->n += n;
	return 0;
}

static void reset(struct epoch *e)
{
	struct range_list ranges = e->ranges;
	struct range_list uncovered = e->uncovered;

	ranges.n = 0;
	uncovered.n = 0;
	*e = (struct epoch){ .ranges = ranges, .uncovered = uncovered };
}

static int add(struct epoch *e, const struct pml_result *r, bool keep_ranges)
{
	int rc = range_list_append(&e->uncovered, r->uncovered, r->nuncovered);

	if (rc == 0 && keep_ranges)
		rc = range_list_append(&e->ranges, r->ranges, r->nranges);
	if (rc)
		return rc;
	if (e->parts++ == 0) {
		e->number = r->epoch;
		e->begin_ns = r->begin_ns;
	}
	e->end_ns = r->end_ns;
	e->backend = r->backend;
	e->page_size = r->page_size;
	if (r->processes > e->processes)
		e->processes = r->processes;
	e->lost |= (r->flags & PML_RESULT_LOST) != 0;
	e->uncovered_cut |= (r->flags & PML_RESULT_UNCOVERED_CUT) != 0;
	e->dirty_pages += r->dirty_pages;
	e->referenced_pages += r->referenced_pages;
	e->assumed_pages += r->assumed_pages;
	e->cost.collect_ns += r->cost.collect_ns;
	e->cost.coverage_ns += r->cost.coverage_ns;
	e->cost.scans += r->cost.scans;
	e->cost.scanned_bytes += r->cost.scanned_bytes;
	e->cost.faults += r->cost.faults;
	return 0;
}

int epoch_collect(struct epoch *e, struct pml *t, bool keep_ranges)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	const struct pml_result *result;
	int rc;

	reset(e);
	do {
		rc = pml_collect(t, &args, &result);
		if (rc == 0)
			rc = add(e, result, keep_ranges);
		if (rc < 0)
			return rc;
		args.start = result->resume;
		args.from_pid = result->resume_pid;
	} while (result->flags & PML_RESULT_MORE);
	return 0;
}

void epoch_free(struct epoch *e)
{
	free(e->ranges.ranges);
	free(e->uncovered.ranges);
}

uint64_t epoch_range_pages(const struct epoch *e, const struct pml_range *r)
{
	return (r->end - r->start) / e->page_size;
}
