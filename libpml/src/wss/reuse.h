/* SPDX-License-Identifier: MIT */
/*
 * How much other memory is touched between two touches of a page: the weights
 * that a miss-ratio curve is read from.  wss.c owns one, and geiger.c one of what is
 * fetched from swap.
 */
#ifndef PML_WSS_REUSE_H
#define PML_WSS_REUSE_H

#include <stdint.h>
#include "heat.h"

#define PML_REUSE_STEPS 16u	/* sizes told apart between a power of two and the next */
#define PML_REUSE_SIZES (61u * PML_REUSE_STEPS)	/* up to 2 to the power of 63 */

struct pml_reuse {
	double weight[PML_REUSE_SIZES];	/* of touches, by the memory they ask for */
	double sum;
};

/* All that is known weighs less by this factor. */
void pml_reuse_decay(struct pml_reuse *u, double factor);

/* So many touches ask for that much memory. */
void pml_reuse_note(struct pml_reuse *u, uint64_t pages, uint64_t touches);

/* The epoch under way in @h is complete: its touches are taken in. */
void pml_reuse_add(struct pml_reuse *u, const struct pml_heat *h);

/* The share of touches that more than @pages of memory would be needed for. */
double pml_reuse_misses(const struct pml_reuse *u, uint64_t pages);

/* The smallest memory with at most that share. */
uint64_t pml_reuse_pages(const struct pml_reuse *u, double misses);

#endif /* PML_WSS_REUSE_H */
