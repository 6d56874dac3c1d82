/* SPDX-License-Identifier: MIT */
/*
 * limit_rules.c - how fast a limit goes down, and when it has to go: rules alone, without
 * a cgroup, so that tests can hold them to a simulated one.
 */
#include <unistd.h>

#include "limit.h"

#define MOST_AT_ONCE 0.1

uint64_t limit_less(const struct limit *l, uint64_t current, double per_second,
		    uint64_t elapsed_ns)
{
	uint64_t from = l->high && l->high < current ? l->high : current;
	double share = per_second * (double)elapsed_ns / 1e9;

	return (uint64_t)((double)from * (1 - (share < MOST_AT_ONCE ? share : MOST_AT_ONCE)));
}

bool limit_hurts(const struct limit *l, const struct limit_look *look, uint64_t elapsed_ns)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	/* a twentieth of it fetched again, held up above the limit, or a fifth of the
	 * time at a stand */
	return l->high && (look->refaults * page > look->current / 20 ||
			   (look->throttled && look->current > l->high + l->high / 50) ||
			   look->stalled_us * 1000 > elapsed_ns / 5);
}
