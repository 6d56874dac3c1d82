// SPDX-License-Identifier: GPL-2.0-only
/*
 * Address ranges that are dirty as a whole; see spans.h.
 */
#include <linux/minmax.h>
#include <linux/string.h>
#include "spans.h"

static void remove_at(struct pml_spans *s, unsigned int i, unsigned int n)
{
	memmove(s->at + i, s->at + i + n, (s->n - i - n) * sizeof(*s->at));
	s->n -= n;
}

static void insert_at(struct pml_spans *s, unsigned int i, unsigned long start,
		      unsigned long end, u8 why)
{
	memmove(s->at + i + 1, s->at + i, (s->n - i) * sizeof(*s->at));
	s->at[i] = (struct pml_span){ .start = start, .end = end, .why = why };
	s->n++;
}

/* Joins the two neighbours that are nearest to each other. */
static void join_nearest(struct pml_spans *s)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i + 1 < s->n; i++)
		if (s->at[i + 1].start - s->at[i].end < s->at[best + 1].start - s->at[best].end)
			best = i;
	s->at[best].end = s->at[best + 1].end;
	s->at[best].why = max(s->at[best].why, s->at[best + 1].why);
	remove_at(s, best + 1, 1);
}

void pml_spans_add(struct pml_spans *s, unsigned long start, unsigned long end, u8 why)
{
	unsigned int i = 0, n = 0;

	while (i < s->n && s->at[i].end < start)
		i++;
	/* all that it touches becomes one */
	while (i + n < s->n && s->at[i + n].start <= end) {
		start = min(start, s->at[i + n].start);
		end = max(end, s->at[i + n].end);
		why = max(why, s->at[i + n].why);
		n++;
	}
	if (n) {
		s->at[i] = (struct pml_span){ .start = start, .end = end, .why = why };
		remove_at(s, i + 1, n - 1);
		return;
	}
	insert_at(s, i, start, end, why);
	if (s->n > PML_SPANS_MAX)
		join_nearest(s);
}

void pml_spans_move(struct pml_spans *s, unsigned long start, unsigned long end,
		    struct pml_spans *into)
{
	unsigned int i = 0;

	while (i < s->n) {
		struct pml_span was = s->at[i];

		if (was.end <= start) {
			i++;
			continue;
		}
		if (was.start >= end)
			return;
		pml_spans_add(into, max(start, was.start), min(end, was.end), was.why);
		remove_at(s, i, 1);
		if (was.start < start)
			insert_at(s, i++, was.start, start, was.why);
		if (was.end > end) {
			insert_at(s, i, end, was.end, was.why);
			if (s->n > PML_SPANS_MAX)
				join_nearest(s);
			return;
		}
	}
}

const struct pml_span *pml_spans_find(const struct pml_spans *s, unsigned long addr)
{
	for (unsigned int i = 0; i < s->n; i++)
		if (s->at[i].end > addr)
			return s->at + i;
	return NULL;
}

bool pml_spans_has(const struct pml_spans *s, u8 why)
{
	for (unsigned int i = 0; i < s->n; i++)
		if (s->at[i].why == why)
			return true;
	return false;
}
