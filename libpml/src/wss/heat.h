/* SPDX-License-Identifier: MIT */
/*
 * The last 64 epochs of each page, one bit an epoch: bit 0 is the epoch under
 * way.  From these all that is said about windows is counted.  wss.c owns one.
 *
 * Layout: chunks of 512 pages, found by hashing process and address.  A chunk
 * that was only ever touched as a whole has one pair of histories for all its
 * pages; that keeps huge pages and mappings of terabytes small.
 */
#ifndef PML_WSS_HEAT_H
#define PML_WSS_HEAT_H

#include <stdbool.h>
#include <stdint.h>
#include "../buf.h"
#include "pml.h"

#define PML_HEAT_EPOCHS 64u

struct pml_heat {
	struct pml_pool *pool;
	struct pml_buf chunks;	/* struct pml_heat_chunk */
	struct pml_buf table;	/* uint32_t: an index into them plus one, or 0 */
	struct pml_buf pages;	/* struct pml_heat_page, 512 to a slot */
	struct pml_buf unused;	/* uint32_t: slots that are free */
	uint32_t nchunks;
	uint32_t buckets;	/* of the table; a power of two */
	uint32_t nslots;
	uint32_t nunused;
	uint32_t last;		/* where the last look-up ended */
	uint8_t page_shift;
};

/* What a page did: read or written, and written, in each epoch. */
struct pml_heat_page {
	uint64_t touched;
	uint64_t dirty;
};

void pml_heat_init(struct pml_heat *h, struct pml_pool *pool);
void pml_heat_free(struct pml_heat *h);

/* A new epoch: all histories move by one, and what has become empty goes. */
void pml_heat_shift(struct pml_heat *h);

/* The pages of r are touched in this epoch, and written if r says so.  Returns
 * how many of them did not fit: 0 if all went well. */
uint64_t pml_heat_touch(struct pml_heat *h, const struct pml_range *r);

/* Calls fn for each kind of page with the number of pages that it stands for. */
void pml_heat_walk(const struct pml_heat *h,
		   void (*fn)(void *arg, const struct pml_heat_page *page, uint64_t times),
		   void *arg);

#endif /* PML_WSS_HEAT_H */
