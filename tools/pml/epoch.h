/* SPDX-License-Identifier: MIT */
/*
 * epoch.h - one whole epoch, put together from as many collects as the
 * library needed for it.  track.c fills it; dirty.c and wss.c print it.
 */
#ifndef PML_TOOL_EPOCH_H
#define PML_TOOL_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pml.h"

struct range_list {
	struct pml_range *ranges;
	size_t n;
	size_t room;
};

struct epoch {
	uint64_t number;
	uint64_t begin_ns;
	uint64_t end_ns;
	const char *backend;
	uint32_t page_size;
	uint32_t processes;
	bool lost;
	bool uncovered_cut;
	uint64_t parts;		/* collects that it took */
	uint64_t dirty_pages;
	uint64_t referenced_pages;
	uint64_t assumed_pages;
	struct pml_cost cost;
	struct range_list ranges;	/* empty unless asked for */
	struct range_list uncovered;
};

/* Returns 0 or -ENOMEM. */
int range_list_append(struct range_list *list, const struct pml_range *ranges, size_t n);

/*
 * Collects until the epoch is complete.  Returns 0 or what pml_collect()
 * returned; @e keeps its memory from one epoch to the next.
 */
int epoch_collect(struct epoch *e, struct pml *t, bool keep_ranges);

void epoch_free(struct epoch *e);

/* The number of pages in a range. */
uint64_t epoch_range_pages(const struct epoch *e, const struct pml_range *r);

#endif /* PML_TOOL_EPOCH_H */
