/* SPDX-License-Identifier: MIT */
/*
 * Whether a series of sizes, one for each stretch of time of the same length,
 * repeats, and what comes next if it does.  series.c asks.
 */
#ifndef PML_WSS_PERIOD_H
#define PML_WSS_PERIOD_H

#include <stdbool.h>
#include <stdint.h>

struct pml_period {
	uint32_t period;
	uint32_t cycles;	/* how many of them there are */
	uint64_t next;
	uint64_t peak;		/* the most in the next period */
};

/* Room that pml_period_find() needs for n values. */
#define PML_PERIOD_ROOM(n) (((n) / 2 + 1) * sizeof(double))

/*
 * @v: the values, the oldest first.  @permille: less movement is none.  @room: scratch.
 * False: they do not repeat, and @p is as it was.
 */
bool pml_period_find(const uint64_t *v, uint32_t n, uint32_t permille, double *room,
		     struct pml_period *p);

#endif /* PML_WSS_PERIOD_H */
