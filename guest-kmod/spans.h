/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A list of address ranges of bounded length: what is dirty as a whole.  When
 * it is full, neighbours are joined with what lies between them: it may say too
 * much, never too little.  Used by track.c and collect.c, which lock it.
 */
#ifndef PML_SPANS_H
#define PML_SPANS_H

#include <linux/types.h>

#define PML_SPANS_MAX 256

struct pml_span {
	unsigned long start;
	unsigned long end;
	u8 why;			/* PML_WHY_*; joined spans keep the greater one */
};

struct pml_spans {
	unsigned int n;
	struct pml_span at[PML_SPANS_MAX + 1];
};

void pml_spans_add(struct pml_spans *s, unsigned long start, unsigned long end, u8 why);

/* Takes what lies in [start, end) out of s and adds it to into. */
void pml_spans_move(struct pml_spans *s, unsigned long start, unsigned long end,
		    struct pml_spans *into);

/* The first span that ends after addr, or NULL. */
const struct pml_span *pml_spans_find(const struct pml_spans *s, unsigned long addr);

bool pml_spans_has(const struct pml_spans *s, u8 why);

#endif
