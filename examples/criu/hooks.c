/* SPDX-License-Identifier: MIT */
/*
 * criu's hooks DIRTY_TRACK_SCAN and DIRTY_TRACK_RESET: see hooks.h.  criu reads one
 * process to its end before it begins with the next.
 */
#include "hooks.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "entry.h"
#include "view.h"

#define PAGE 4096u
#define BITS (8 * sizeof(unsigned long))

static struct view now;

static bool is_set(const unsigned long *pages, uint64_t i)
{
	return pages[i / BITS] & (1ul << (i % BITS));
}

/* The first page from i on whose bit is set; n if there is none. */
static uint64_t next(const unsigned long *pages, uint64_t i, uint64_t n)
{
	while (i < n && !is_set(pages, i))
		i += i % BITS == 0 && !pages[i / BITS] ? BITS : 1;
	return i < n ? i : n;
}

static void clear(unsigned long *pages, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		pages[i / BITS] &= ~(1ul << (i % BITS));
}

/* The pages' bits in the two maps, by what is in their entries: markers are not there, and
 * what criu does not take is in no images. */
static void look(struct entries *e, uint64_t start, uint64_t n, unsigned long *present,
		 unsigned long *dirty)
{
	for (uint64_t i = next(present, 0, n); i < n; i = next(present, i + 1, n)) {
		uint64_t at = start + i * PAGE, entry = entries_at(e, at);

		if (entry_is_marker(entry)) {
			clear(present, i, i + 1);
			clear(dirty, i, i + 1);
		} else if (entry_in_images(entry)) {
			view_tell(&now, at, at + PAGE);
		}
	}
}

int hooks_scan(int pid, uint64_t start, uint64_t end, unsigned long *present,
	       unsigned long *dirty)
{
	struct entries e = { 0 };
	char path[40];

	if (now.pid != pid) {
		view_free(&now);
		now.pid = pid;
	}
	view_ask(&now);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	e.fd = open(path, O_RDONLY | O_CLOEXEC);
	look(&e, start, (end - start) / PAGE, present, dirty);
	if (e.fd >= 0)
		close(e.fd);
	for (size_t c = spans_find(&now.clean, start);
	     c < now.clean.n && now.clean.v[c].start < end; c++) {
		uint64_t from = now.clean.v[c].start > start ? now.clean.v[c].start : start;
		uint64_t to = now.clean.v[c].end < end ? now.clean.v[c].end : end;

		clear(dirty, (from - start) / PAGE, (to - start) / PAGE);
	}
	return 0;
}

int hooks_reset(int pid)
{
	view_reset(now.pid == pid ? &now : NULL, pid);
	view_free(&now);
	return 0;
}
