/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is pending for one target of one session: by chunks (the pages of one
 * page table, 2 MiB) for single pages, by spans for what is dirty as a whole.
 * Bounded: a set that may not or cannot grow becomes "all dirty".  Used by
 * track.c and collect.c under the lock of the memory it is about.
 */
#ifndef PML_PAGESET_H
#define PML_PAGESET_H

#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/xarray.h>
#include "budget.h"
#include "spans.h"

#define PML_CHUNK_SHIFT	PMD_SHIFT
#define PML_CHUNK_SIZE	PMD_SIZE
#define PML_CHUNK_PAGES	PTRS_PER_PTE

enum pml_plane {
	PML_PLANE_DIRTY,	/* the bit was set */
	PML_PLANE_REFERENCED,
	PML_PLANE_ASSUMED,	/* dirty, to be safe; why: three more planes */
	PML_PLANE_WHY0,		/* PML_WHY_*, which is at most 7 */
	PML_PLANE_WHY1,
	PML_PLANE_WHY2,
	PML_PLANES,
};

struct pml_pages {
	unsigned long plane[PML_PLANES][BITS_TO_LONGS(PML_CHUNK_PAGES)];
	bool huge;		/* known for all of it at once */
};

struct pml_set {
	struct xarray chunks;	/* struct pml_pages, by address >> PML_CHUNK_SHIFT */
	struct pml_budget *budget;
	struct pml_spans *spans; /* under the lock for marks */
};

int pml_set_init(struct pml_set *s, struct pml_budget *budget);
void pml_set_free(struct pml_set *s);

/* Adds to what is pending of one chunk.  False: it does not fit. */
bool pml_set_add(struct pml_set *s, unsigned long index, const struct pml_pages *pages);
/* Takes one chunk out of the set, or clears *pages. */
void pml_set_take(struct pml_set *s, unsigned long index, struct pml_pages *pages);
/* Empties it of chunks. */
void pml_set_drop(struct pml_set *s);
/* The first chunk at or after index, at most last; ULONG_MAX: none. */
unsigned long pml_set_next(struct pml_set *s, unsigned long index, unsigned long last);

void pml_pages_merge(struct pml_pages *to, const struct pml_pages *from);
/* What it says of page i, as PML_WHY_*. */
unsigned int pml_pages_why(const struct pml_pages *p, unsigned int i);
bool pml_pages_empty(const struct pml_pages *p);
/* Marks the pages of mask as assumed; the last reason given stays. */
void pml_pages_assume(struct pml_pages *p, const unsigned long *mask, unsigned int why);

int pml_pageset_setup(void);
void pml_pageset_teardown(void);

#endif
