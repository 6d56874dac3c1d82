/* SPDX-License-Identifier: MIT */
/*
 * The pages that are swapped out in the order in which they went: the ghost queue of
 * geiger.c where that order is known.
 *
 * What happens is told page by page as it does (pml_queue_out(), pml_queue_in()); at the
 * end of an epoch a look at where the pages are sets right what nobody told of
 * (pml_queue_look()).
 */
#ifndef PML_WSS_QUEUE_H
#define PML_WSS_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include "../buf.h"
#include "pml_wss.h"
#include "reuse.h"

struct pml_queue {
	struct pml_pool *pool;
	struct pml_buf table;	/* pages, by a hash of where they are */
	struct pml_buf next;	/* the same, while a look is taken in */
	struct pml_buf order;	/* a binary indexed tree over the places in the queue */
	uint64_t room;		/* of the table, a power of two, or 0 */
	uint64_t entries;	/* of these that are in use */
	uint32_t size;		/* places */
	uint32_t at;		/* the next that is given away */
	uint32_t begun;		/* what has a place from here on went in this epoch */
	uint32_t known;		/* ... and before this one, nobody knows in which order */
	bool looked;		/* once */
	uint64_t pages;		/* that are out */
	uint64_t went;		/* in this epoch */
	uint64_t came;
	struct pml_reuse *depths; /* takes how deep those were that came, where that is known */
	uint8_t page_shift;
};

void pml_queue_init(struct pml_queue *q, struct pml_pool *pool, struct pml_reuse *depths,
		    uint8_t page_shift);
void pml_queue_free(struct pml_queue *q);

/* A page of process @pid, which is not 0, went, or came.  0 or -ENOMEM. */
int pml_queue_out(struct pml_queue *q, uint32_t pid, uint64_t address);
int pml_queue_in(struct pml_queue *q, uint32_t pid, uint64_t address);

/*
 * The epoch has ended, and @places, sorted, is where the pages were at about that time.
 * For pages of which something was told in this epoch, that counts; the others are where
 * the look has found them.  0 or -ENOMEM.
 */
int pml_queue_look(struct pml_queue *q, const struct pml_wss_place *places, size_t n);

#endif /* PML_WSS_QUEUE_H */
