/* SPDX-License-Identifier: MIT */
/* What a result tells of an address; for trial.c and the programs beside the suite. */
#ifndef PML_TESTS_TOLD_H
#define PML_TESTS_TOLD_H

#include "pml.h"

#include <stdbool.h>
#include <stdint.h>

/* A reason that some back-ends give for all that they watch, whatever happens there. */
static inline bool is_general(int reason)
{
	return reason == PML_REASON_DROPS || reason == PML_REASON_FORCED ||
	       reason == PML_REASON_REMOTE || reason == PML_REASON_CLEAN_BY_HASH ||
	       reason == PML_REASON_NOT_CHECKED;
}

static inline bool is_among(const struct pml_range *r, size_t n, uintptr_t at)
{
	for (size_t i = 0; i < n; i++)
		if (r[i].start <= at && at < r[i].end && !is_general(r[i].reason))
			return true;
	return false;
}

/* As dirty, as not covered for a reason of its own, or by saying that track was lost. */
static inline bool is_told(const struct pml_result *r, const char *at)
{
	return r->flags & PML_RESULT_LOST || is_among(r->ranges, r->nranges, (uintptr_t)at) ||
	       is_among(r->uncovered, r->nuncovered, (uintptr_t)at);
}

#endif
