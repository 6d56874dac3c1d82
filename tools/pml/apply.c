/* SPDX-License-Identifier: MIT */
/*
 * apply.c - from what was worked with of late to a limit that does not hurt.
 *
 * The estimate is of the pages that a tracker watches, those of writable mappings.
 * Of a cgroup that has to fetch pages again it tells what the cgroup gets, not what it
 * needs: so nothing is limited, or limited further, while that goes on.
 * What else a cgroup has, the kernel's own memory and the files in use, comes on top.
 * Down it goes in steps, so that the kernel is not asked for all at once; up at once.
 * Refaults say that it was too little: then a twentieth more, which is taken back
 * slowly when there are none.  When it hurts, the limit is taken away in that epoch,
 * and the loop begins anew after some epochs, with more.
 */
#include "apply.h"

#define FIRST_WAIT 8u		/* epochs before the first limit: the estimator's window */
#define REST_WAIT 4u		/* and after a release */
#define DOWN_PER_SECOND 0.2
#define CALM 4u			/* epochs without them, before it goes down */
#define VERY_CALM 8u		/* and before a little is taken back */
#define ROOM 1.1		/* a tenth on top */
#define MOST 3.0

void apply_begin(struct apply *a, uint64_t floor)
{
	*a = (struct apply){ .floor = floor, .more = 1, .wait = FIRST_WAIT };
}

static void want_more(struct apply *a, double factor)
{
	a->calm = 0;
	a->more *= factor;
	if (a->more > MOST)
		a->more = MOST;
}

static void learn(struct apply *a, const struct limit *l, const struct limit_look *look)
{
	if (look->refaults > LIMIT_FEW) {
		want_more(a, l->high ? 1.05 : 1);
		return;
	}
	if (++a->calm < VERY_CALM || a->more <= 1)
		return;
	a->more *= 0.99;
	if (a->more < 1)
		a->more = 1;
}

static uint64_t next_limit(const struct apply *a, const struct limit *l,
			   const struct limit_look *look, uint64_t worked_with,
			   uint64_t elapsed_ns)
{
	uint64_t goal = (uint64_t)((double)worked_with * ROOM * a->more) + look->beside;
	uint64_t step = limit_less(l, look->current, DOWN_PER_SECOND, elapsed_ns);

	if (goal < step)
		goal = step;
	if (a->calm < CALM && l->high && goal < l->high)
		goal = a->calm ? l->high : l->high + l->high / 20;
	return goal < a->floor ? a->floor : goal;
}

int apply_step(struct apply *a, struct limit *l, uint64_t worked_with, uint64_t elapsed_ns,
	       struct apply_sums *sums)
{
	struct limit_look look;
	int rc = limit_look(l, &look);

	*sums = (struct apply_sums){ 0 };
	if (rc)
		return rc;
	if (!a->floor)
		a->floor = look.current / 10;
	sums->refaults = look.refaults;
	sums->stalled_us = look.stalled_us;
	if (limit_hurts(l, &look, elapsed_ns)) {
		sums->released = true;
		want_more(a, 1.1);
		a->wait = REST_WAIT;
		return limit_set(l, 0);
	}
	learn(a, l, &look);
	if (a->wait) {
		a->wait--;
		return 0;
	}
	if (!worked_with || (!l->high && a->calm < CALM))
		return 0;
	return limit_set(l, next_limit(a, l, &look, worked_with, elapsed_ns));
}
