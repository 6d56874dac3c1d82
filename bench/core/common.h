/* SPDX-License-Identifier: MIT */
/* What the measurements of bench/core share: clock, medians, regions, trackers. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include "pml.h"

struct spread {
	double median;
	double low;	/* 10 % */
	double high;	/* 90 % */
};

double bench_now(void);				/* seconds */
struct spread bench_spread(double *v, size_t n);	/* sorts v */
uint64_t bench_random(void);			/* the same numbers every run */

/* Anonymous memory without huge pages; populated: every page written once. */
char *bench_map(size_t bytes, int populated);
/* A tracker of this process, of that memory alone; started.  Exits on failure. */
struct pml *bench_tracker(void *start, size_t bytes, uint32_t flags);
const struct pml_result *bench_collect(struct pml *t);

/* The three measurements; 0, or 1 if what must be reached was not. */
int bench_hand(int epochs);
int bench_sparse(int epochs);
int bench_adaptive(int epochs);

#endif /* BENCH_COMMON_H */
