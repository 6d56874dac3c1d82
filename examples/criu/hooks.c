/* SPDX-License-Identifier: MIT */
/*
 * criu's hooks DIRTY_TRACK_SCAN and DIRTY_TRACK_RESET: see hooks.h.  criu reads one
 * process to its end before it begins with the next.
 */
#include "hooks.h"

#include <stdbool.h>
#include <stddef.h>

#include "view.h"

#define PAGE 4096u
#define BITS (8 * sizeof(unsigned long))

static struct view now;

static bool is_set(const unsigned long *pages, uint64_t i)
{
	return pages[i / BITS] & (1ul << (i % BITS));
}

/* The first page from i on whose bit is set, or is not; n if there is none. */
static uint64_t next(const unsigned long *pages, uint64_t i, uint64_t n, bool set)
{
	while (i < n && is_set(pages, i) != set) {
		/* a whole word that is all alike */
		if (i % BITS == 0 && pages[i / BITS] == (set ? 0 : ~0ul))
			i += BITS;
		else
			i++;
	}
	return i < n ? i : n;
}

static void clear(unsigned long *pages, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		pages[i / BITS] &= ~(1ul << (i % BITS));
}

int hooks_scan(int pid, uint64_t start, uint64_t end, unsigned long *pages)
{
	uint64_t n = (end - start) / PAGE, to;

	if (now.pid != pid) {
		view_free(&now);
		now.pid = pid;
	}
	view_ask(&now);
	for (uint64_t i = next(pages, 0, n, true); i < n; i = next(pages, to, n, true)) {
		to = next(pages, i, n, false);
		view_tell(&now, start + i * PAGE, start + to * PAGE);
	}
	for (size_t c = spans_find(&now.clean, start);
	     c < now.clean.n && now.clean.v[c].start < end; c++) {
		uint64_t from = now.clean.v[c].start > start ? now.clean.v[c].start : start;

		to = now.clean.v[c].end < end ? now.clean.v[c].end : end;
		clear(pages, (from - start) / PAGE, (to - start) / PAGE);
	}
	return 0;
}

int hooks_reset(int pid)
{
	view_reset(now.pid == pid ? &now : NULL, pid);
	view_free(&now);
	return 0;
}
