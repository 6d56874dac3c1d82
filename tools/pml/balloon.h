/* SPDX-License-Identifier: MIT */
/*
 * balloon.h - a working set found by giving less and less memory: the estimator
 * "zballoond" of `pml wss`, on a cgroup's limit.  wss_rounds.c calls it.
 */
#ifndef PML_TOOL_BALLOON_H
#define PML_TOOL_BALLOON_H

#include "limit.h"

struct balloon {
	uint64_t floor;		/* never below, in bytes; 0: a tenth of the first look's */
	uint64_t committed;
	uint64_t rest_ns;	/* no descent before this moment */
	bool holds;		/* refaults have stopped the descent */
};

struct balloon_sums {
	uint64_t wss;		/* the estimate: the limit, or what is there if that is less */
	uint64_t refaults;	/* in this epoch */
	bool released;		/* the limit was taken away at once */
};

/* One step after @elapsed_ns; returns 0 or -errno, -ESRCH if the cgroup has gone. */
int balloon_step(struct balloon *b, struct limit *l, uint64_t elapsed_ns,
		 struct balloon_sums *sums);

#endif /* PML_TOOL_BALLOON_H */
