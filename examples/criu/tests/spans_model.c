/* SPDX-License-Identifier: MIT */
/*
 * Sets of pages as spans (spans.c) against the same sets as plain arrays: random ones,
 * with a seed that is printed.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../spans.h"
#include "tap.h"

#define SIZE 300u
#define TRIALS 20000

struct pair {
	struct spans s;
	bool in[SIZE];
};

static struct pair random_set(bool sorted)
{
	struct pair p = { 0 };
	unsigned int n = (unsigned int)random() % 12;
	uint64_t at = 0;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t start = sorted ? at + (uint64_t)random() % 20 : (uint64_t)random() % SIZE;
		uint64_t end = start + (uint64_t)random() % 20;

		if (end > SIZE)
			end = SIZE;
		if (start > end)
			break;
		at = end;
		if (spans_add(&p.s, start, end))
			abort();
		for (uint64_t k = start; k < end; k++)
			p.in[k] = true;
	}
	return p;
}

static bool same(const struct pair *p)
{
	bool in[SIZE] = { false };

	if (!spans_sorted(&p->s))
		return false;
	for (size_t i = 0; i < p->s.n; i++)
		for (uint64_t k = p->s.v[i].start; k < p->s.v[i].end; k++)
			in[k] = true;
	return !memcmp(in, p->in, sizeof(in));
}

static bool finds(const struct pair *p)
{
	for (uint64_t k = 0; k < SIZE; k++) {
		size_t i = spans_find(&p->s, k);

		if ((i < p->s.n && p->s.v[i].start <= k) != p->in[k])
			return false;
	}
	return true;
}

enum operation { SORT, SUBTRACT, INTERSECT };

static bool trial(enum operation what)
{
	struct pair a = random_set(what != SORT), b = random_set(true);
	bool good;
	int status = 0;

	if (what == SORT)
		spans_sort(&a.s);
	else if (what == SUBTRACT)
		status = spans_subtract(&a.s, &b.s);
	else
		status = spans_intersect(&a.s, &b.s);
	if (status)
		abort();
	for (size_t k = 0; k < SIZE && what != SORT; k++)
		a.in[k] = a.in[k] && b.in[k] == (what == INTERSECT);
	good = same(&a) && finds(&a);
	spans_free(&a.s);
	spans_free(&b.s);
	return good;
}

static void trials(enum operation what, const char *name)
{
	bool good = true;

	for (int i = 0; i < TRIALS && good; i++) {
		srandom((unsigned int)i);
		good = trial(what);
		if (!good)
			tap_note("seed %d", i);
	}
	tap_ok(good, "%s, %d times", name, TRIALS);
}

int main(void)
{
	trials(SORT, "put in order and joined");
	trials(SUBTRACT, "what is in one and not in the other");
	trials(INTERSECT, "what is in both");
	return tap_done();
}
