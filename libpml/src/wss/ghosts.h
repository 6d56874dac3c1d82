/* SPDX-License-Identifier: MIT */
/*
 * The pages that are swapped out, and since which look: the ghost queue of geiger.c.
 *
 * A page joins it when it is first seen swapped out, and leaves it when it is seen in
 * memory again, or nowhere.
 */
#ifndef PML_WSS_GHOSTS_H
#define PML_WSS_GHOSTS_H

#include <stdint.h>
#include "../buf.h"
#include "pml_wss.h"

#define PML_GHOST_AGES 64u	/* looks ago that are told apart; the last is "or more" */

struct pml_ghosts {
	struct pml_pool *pool;
	struct pml_buf out;	/* struct pml_ghost: runs of pages, sorted */
	struct pml_buf next;	/* the same, while a look is taken in */
	size_t nout;
	uint64_t look;		/* its number */
	uint64_t pages;		/* that are swapped out */
	uint8_t page_shift;
};

/* What one look has shown, in pages. */
struct pml_ghost_moves {
	uint64_t resident;
	uint64_t went;		/* swapped out since the look before */
	uint64_t came;		/* seen in memory again */
	uint64_t came_by_age[PML_GHOST_AGES];	/* of these, by the looks since they went */
	uint64_t out_by_age[PML_GHOST_AGES];	/* all that were out before, in the same way */
};

void pml_ghosts_init(struct pml_ghosts *g, struct pml_pool *pool, uint8_t page_shift);
void pml_ghosts_free(struct pml_ghosts *g);

/* Takes in a look, whose places are sorted.  0 or -ENOMEM; one that fails changes nothing. */
int pml_ghosts_take(struct pml_ghosts *g, const struct pml_wss_place *places, size_t n,
		    struct pml_ghost_moves *moves);

#endif /* PML_WSS_GHOSTS_H */
