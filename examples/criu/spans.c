/* SPDX-License-Identifier: MIT */
/*
 * A set of addresses as sorted spans: see spans.h.
 */
#include "spans.h"

#include <errno.h>
#include <stdlib.h>

void spans_free(struct spans *s)
{
	free(s->v);
	*s = (struct spans){ 0 };
}

int spans_add(struct spans *s, uint64_t start, uint64_t end)
{
	struct keeper_span *more;
	size_t room;

	if (start >= end)
		return 0;
	if (s->n && s->v[s->n - 1].end == start) {
		s->v[s->n - 1].end = end;
		return 0;
	}
	if (s->n == s->room) {
		room = s->room ? s->room * 2 : 64;
		more = realloc(s->v, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		s->v = more;
		s->room = room;
	}
	s->v[s->n++] = (struct keeper_span){ start, end };
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct keeper_span *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

bool spans_sorted(const struct spans *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->v[i].start >= s->v[i].end)
			return false;
		if (i && s->v[i].start <= s->v[i - 1].end)
			return false;
	}
	return true;
}

void spans_sort(struct spans *s)
{
	size_t n = 0;

	if (spans_sorted(s))
		return;
	qsort(s->v, s->n, sizeof(*s->v), by_start);
	for (size_t i = 0; i < s->n; i++) {
		if (n && s->v[i].start <= s->v[n - 1].end) {
			if (s->v[i].end > s->v[n - 1].end)
				s->v[n - 1].end = s->v[i].end;
		} else {
			s->v[n++] = s->v[i];
		}
	}
	s->n = n;
}

/* Out of memory less is known, which is on the safe side. */
static int take_over(struct spans *s, struct spans *from, int status)
{
	if (status)
		spans_free(from);
	spans_free(s);
	*s = *from;
	return status;
}

int spans_subtract(struct spans *s, const struct spans *away)
{
	struct spans left = { 0 };
	int status = 0;
	size_t a = 0;

	if (!s->n || !away->n)
		return 0;
	for (size_t i = 0; i < s->n && !status; i++) {
		uint64_t at = s->v[i].start, end = s->v[i].end;

		while (a < away->n && away->v[a].end <= at)
			a++;
		for (size_t b = a; !status && b < away->n && away->v[b].start < end; b++) {
			if (at < away->v[b].start)
				status = spans_add(&left, at, away->v[b].start);
			at = away->v[b].end;
		}
		if (!status && at < end)
			status = spans_add(&left, at, end);
	}
	return take_over(s, &left, status);
}

int spans_intersect(struct spans *s, const struct spans *keep)
{
	struct spans both = { 0 };
	int status = 0;
	size_t k = 0;

	for (size_t i = 0; i < s->n && !status; i++) {
		while (k < keep->n && keep->v[k].end <= s->v[i].start)
			k++;
		for (size_t b = k; !status && b < keep->n && keep->v[b].start < s->v[i].end; b++) {
			uint64_t start = s->v[i].start > keep->v[b].start ? s->v[i].start :
									    keep->v[b].start;
			uint64_t end = s->v[i].end < keep->v[b].end ? s->v[i].end : keep->v[b].end;

			status = spans_add(&both, start, end);
		}
	}
	return take_over(s, &both, status);
}

size_t spans_find(const struct spans *s, uint64_t address)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->v[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint64_t spans_bytes(const struct spans *s)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < s->n; i++)
		bytes += s->v[i].end - s->v[i].start;
	return bytes;
}
