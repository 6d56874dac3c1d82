/* SPDX-License-Identifier: MIT */
/*
 * apply.h - the closed loop of `pml wss --apply`: a cgroup is given what the estimator
 * has seen it work with, and more when it turns out to need it.  wss_rounds.c calls it.
 */
#ifndef PML_TOOL_APPLY_H
#define PML_TOOL_APPLY_H

#include "limit.h"

struct apply {
	uint64_t floor;		/* never below, in bytes; 0: a tenth of the first look's */
	double more;		/* what that is multiplied by */
	uint32_t calm;		/* epochs without refaults */
	uint32_t wait;		/* epochs in which nothing is limited yet */
};

struct apply_sums {
	uint64_t refaults;	/* in this epoch */
	uint64_t stalled_us;
	bool released;		/* the limit was taken away at once */
};

/* Before the first step. */
void apply_begin(struct apply *a, uint64_t floor);

/*
 * One step after @elapsed_ns: @worked_with bytes of what the tracker watches; 0: the
 * epoch was lost, and tells nothing.  Returns 0 or -errno, -ESRCH if the cgroup has gone.
 */
int apply_step(struct apply *a, struct limit *l, uint64_t worked_with, uint64_t elapsed_ns,
	       struct apply_sums *sums);

#endif /* PML_TOOL_APPLY_H */
