/* SPDX-License-Identifier: MIT */
/*
 * Growable tables made of whole mappings, never of malloc: a collect may run
 * while every other thread is stopped, perhaps inside malloc.  All of a
 * tracker's tables hang on one pool, which bounds their memory and lets a
 * tracker of its own process leave them out of what it watches.
 */
#ifndef PML_BUF_H
#define PML_BUF_H

#include <stddef.h>
#include <stdint.h>

/* Stays where it is while it holds memory: the pool's list points to it. */
struct pml_buf {
	void *p;
	size_t len;		/* bytes mapped */
	struct pml_pool *pool;	/* whose list it is on; NULL: on none yet */
	struct pml_buf *next;
	struct pml_buf **link;
};

struct pml_pool {
	struct pml_buf *first;
	size_t used;
	size_t limit;
};

/* Makes b hold at least need bytes; what it held is kept, what is new is 0.
 * It may move.  0, or -ENOMEM (the pool's bound, or the system's). */
int pml_buf_reserve(struct pml_pool *pool, struct pml_buf *b, size_t need);
void pml_buf_free(struct pml_buf *b);
/* Exchanges what two of one pool hold. */
void pml_buf_swap(struct pml_buf *a, struct pml_buf *b);

#endif /* PML_BUF_H */
