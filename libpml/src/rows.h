/* SPDX-License-Identifier: MIT */
/*
 * A sorted list of rows of one size, found by number; each begins with its number, a
 * uint64_t, and the rest of a new one is zero.  Used by adaptive.c and segments.c for
 * facts about address space, which is sparse.
 */
#ifndef PML_ROWS_H
#define PML_ROWS_H

#include <stdbool.h>
#include <stdint.h>
#include "buf.h"

struct pml_rows {
	struct pml_pool *pool;
	struct pml_buf buf;
	size_t size;		/* of a row */
	uint32_t n;
	uint32_t last;		/* where the last look-up ended */
};

void pml_rows_init(struct pml_rows *r, struct pml_pool *pool, size_t size);
void pml_rows_free(struct pml_rows *r);
/* The first row at or after a number; n if there is none. */
uint32_t pml_rows_find(struct pml_rows *r, uint64_t number);
/* The row of that number, made if it is not there; NULL: no memory. */
void *pml_rows_make(struct pml_rows *r, uint64_t number);

#endif /* PML_ROWS_H */
