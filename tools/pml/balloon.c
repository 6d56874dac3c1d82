/* SPDX-License-Identifier: MIT */
/*
 * balloon.c - gives a cgroup less and less memory until it misses some.
 *
 * After Chiang, Li and Chiueh's zballoond, which does so to a virtual machine: down
 * 5 % a second from what there is; at the first refaults the descent stops, and it
 * begins anew when Committed_AS changes.  When misses come in numbers, or the cgroup is
 * held up at its limit, the limit is taken away at once.
 */
#include <stdio.h>

#include "balloon.h"
#include "wake.h"

#define STEP_PER_SECOND 0.05
#define REST_NS 5000000000ull	/* after a release */

static uint64_t committed_now(void)
{
	char line[128];
	unsigned long long kb = 0;
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "Committed_AS: %llu", &kb);
	if (file)
		fclose(file);
	return kb * 1024;
}

/* By more than a fiftieth since the descent stopped. */
static bool committed_changed(struct balloon *b)
{
	uint64_t now = committed_now();
	uint64_t moved = now > b->committed ? now - b->committed : b->committed - now;

	if (moved <= b->committed / 50)
		return false;
	b->committed = now;
	return true;
}

static int descend(const struct balloon *b, struct limit *l, uint64_t current,
		   uint64_t elapsed_ns)
{
	uint64_t to = limit_less(l, current, STEP_PER_SECOND, elapsed_ns);

	return limit_set(l, to < b->floor ? b->floor : to);
}

static int move_on(struct balloon *b, struct limit *l, const struct limit_look *look,
		   uint64_t elapsed_ns, struct balloon_sums *sums)
{
	if (limit_hurts(l, look, elapsed_ns)) {
		sums->released = true;
		b->holds = false;
		b->rest_ns = wake_now() + REST_NS;
		return limit_set(l, 0);
	}
	if (l->high && look->refaults > LIMIT_FEW) {
		b->holds = true;
		b->committed = committed_now();
		return limit_set(l, (uint64_t)((double)l->high / (1 - STEP_PER_SECOND)));
	}
	if (b->holds && committed_changed(b)) {
		b->holds = false;
		return limit_set(l, 0);
	}
	if (b->holds || wake_now() < b->rest_ns)
		return 0;
	return descend(b, l, look->current, elapsed_ns);
}

int balloon_step(struct balloon *b, struct limit *l, uint64_t elapsed_ns,
		 struct balloon_sums *sums)
{
	struct limit_look look;
	int rc = limit_look(l, &look);

	*sums = (struct balloon_sums){ 0 };
	if (rc)
		return rc;
	if (!b->floor)
		b->floor = look.current / 10;
	sums->refaults = look.refaults;
	rc = move_on(b, l, &look, elapsed_ns, sums);
	sums->wss = l->high && l->high < look.current ? l->high : look.current;
	return rc;
}
