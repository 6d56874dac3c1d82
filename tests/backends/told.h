/* SPDX-License-Identifier: MIT */
/* Whether a result tells of an address; for neighbour.c and moves.c. */
#ifndef PML_TESTS_TOLD_H
#define PML_TESTS_TOLD_H

#include "pml.h"

#include <stdbool.h>
#include <stdint.h>

static inline bool among(const struct pml_range *r, size_t n, uintptr_t at)
{
	for (size_t i = 0; i < n; i++)
		if (r[i].start <= at && at < r[i].end)
			return true;
	return false;
}

/* As dirty, as not covered, or by saying that track was lost. */
static inline bool is_told(const struct pml_result *r, const char *at)
{
	return r->flags & PML_RESULT_LOST || among(r->ranges, r->nranges, (uintptr_t)at) ||
	       among(r->uncovered, r->nuncovered, (uintptr_t)at);
}

#endif
