/* SPDX-License-Identifier: MIT */
/*
 * A sparse set of pages with what is known of each: dirty, referenced,
 * assumed.  What one reader collects is kept for the others in such sets; the
 * back-ends keep their own knowledge of pages in them too.
 *
 * Layout: chunks of 512 pages (2 MiB with 4 KiB pages), found through a sorted
 * directory of 512 chunks each.  Memory follows the populated address space:
 * about 0.4 byte a page.  A set that cannot grow becomes `full`: everything is
 * in it, for the one who asks.
 */
#ifndef PML_PAGESET_H
#define PML_PAGESET_H

#include <stdbool.h>
#include <stdint.h>
#include "buf.h"
#include "pml.h"

enum pml_plane {
	PML_PLANE_DIRTY = 0,
	PML_PLANE_REFERENCED = 1,
	PML_PLANE_ASSUMED = 2,
	PML_PLANES = 3,
};

struct pml_set {
	struct pml_pool *pool;
	struct pml_buf dirs;	/* struct pml_set_dir, sorted by index */
	struct pml_buf chunks;	/* struct pml_set_chunk */
	uint32_t ndirs;
	uint32_t nchunks;
	uint32_t last_dir;	/* where the last look-up ended */
	uint8_t page_shift;
	bool full;		/* could not grow: all is in it */
};

void pml_set_init(struct pml_set *s, struct pml_pool *pool, unsigned int page_shift);
void pml_set_free(struct pml_set *s);
/* Empties it, keeps its memory. */
void pml_set_clear(struct pml_set *s);
bool pml_set_empty(const struct pml_set *s);

/* Adds the pages of [r->start, r->end) with r's events, known, reason and
 * granule.  0, or -ENOMEM, and the set is full from then on. */
int pml_set_add(struct pml_set *s, const struct pml_range *r);
/* Takes what is known of pages about these events out of the set. */
void pml_set_remove(struct pml_set *s, uint64_t start, uint64_t end, uint32_t events);
bool pml_set_test(const struct pml_set *s, uint64_t addr, enum pml_plane plane);

/* The first run of pages at or after *pos, before end, of which the same is
 * known; *pos moves behind it.  False: there is none. */
bool pml_set_next(struct pml_set *s, uint64_t *pos, uint64_t end, struct pml_range *out);

#endif /* PML_PAGESET_H */
