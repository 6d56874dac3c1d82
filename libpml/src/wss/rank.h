/* SPDX-License-Identifier: MIT */
/* The median and the like of a few numbers; series.c and period.c ask. */
#ifndef PML_WSS_RANK_H
#define PML_WSS_RANK_H

#include <stdint.h>

#define PML_RANK_MOST 64u

/* Of at most PML_RANK_MOST numbers the one that @rank of 100 do not exceed; 0 of none. */
static inline uint64_t pml_rank(const uint64_t *values, uint32_t n, uint32_t rank)
{
	uint64_t sorted[PML_RANK_MOST] = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = i;

		for (; at && sorted[at - 1] > values[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = values[i];
	}
	return n ? sorted[(uint64_t)(n - 1) * rank / 100] : 0;
}

#endif /* PML_WSS_RANK_H */
