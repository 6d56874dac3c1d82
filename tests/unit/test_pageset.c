/* SPDX-License-Identifier: MIT */
/*
 * test_pageset.c - the page set against a reference so plain that it is
 * evidently right: an array with a byte a page.  Run by CTest.
 */
#include "pageset.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096ull
/* Three windows, so that chunk and directory boundaries lie within and between. */
#define WINDOW 3000u
#define WINDOWS 3u

static const uint64_t bases[WINDOWS] = { 0, 0x7f0000000000ull - 700 * PAGE,
					 0x7ffffffff000ull - WINDOW * PAGE };

struct reference {
	uint8_t events[WINDOWS][WINDOW];
	uint8_t assumed[WINDOWS][WINDOW];
};

static struct pml_pool pool = { .limit = 64u << 20 };

static uint64_t address(unsigned int window, unsigned int page)
{
	return bases[window] + page * PAGE;
}

static void reference_add(struct reference *ref, unsigned int w, unsigned int from, unsigned int to,
			  const struct pml_range *r)
{
	for (unsigned int i = from; i < to; i++) {
		if (r->known == PML_OBSERVED)
			ref->assumed[w][i] = 0;
		else if (!ref->events[w][i])
			ref->assumed[w][i] = 1;
		ref->events[w][i] |= (uint8_t)r->events;
	}
}

/* Everything that the set tells from `from` on, page by page, is the reference's. */
static void compare(struct pml_set *s, const struct reference *ref)
{
	for (unsigned int w = 0; w < WINDOWS; w++) {
		uint64_t pos = address(w, 0), end = address(w, WINDOW);
		unsigned int at = 0;
		struct pml_range r;

		while (pml_set_next(s, &pos, end, &r)) {
			unsigned int from = (unsigned int)((r.start - bases[w]) / PAGE);
			unsigned int to = (unsigned int)((r.end - bases[w]) / PAGE);

			cr_assert(from < to && to <= WINDOW);
			for (; at < from; at++)
				cr_assert_eq(ref->events[w][at], 0, "page %u.%u is left out", w, at);
			for (; at < to; at++) {
				cr_assert_eq(ref->events[w][at], r.events);
				cr_assert_eq(ref->assumed[w][at], r.known == PML_ASSUMED);
			}
			cr_assert_eq(pos, r.end);
		}
		for (; at < WINDOW; at++)
			cr_assert_eq(ref->events[w][at], 0, "page %u.%u is left out", w, at);
		for (unsigned int i = 0; i < WINDOW; i += 7) {
			cr_assert_eq(pml_set_test(s, address(w, i), PML_PLANE_DIRTY),
				     !!(ref->events[w][i] & PML_DIRTY));
			cr_assert_eq(pml_set_test(s, address(w, i), PML_PLANE_REFERENCED),
				     !!(ref->events[w][i] & PML_REFERENCED));
		}
	}
}

static void random_step(struct pml_set *s, struct reference *ref, unsigned int *seed)
{
	unsigned int w = (unsigned int)rand_r(seed) % WINDOWS;
	unsigned int from = (unsigned int)rand_r(seed) % WINDOW;
	unsigned int most = rand_r(seed) % 4 ? 20 : WINDOW - from;
	unsigned int to = from + 1 + (unsigned int)rand_r(seed) % most;
	struct pml_range r = { .granule = PAGE };

	if (to > WINDOW)
		to = WINDOW;
	r.start = address(w, from);
	r.end = address(w, to);
	r.events = (uint16_t)(1 + rand_r(seed) % 3);
	r.known = rand_r(seed) % 3 == 0 ? PML_ASSUMED : PML_OBSERVED;
	r.reason = r.known == PML_ASSUMED ? PML_REASON_PINNED : PML_REASON_NONE;
	if (rand_r(seed) % 3) {
		cr_assert_eq(pml_set_add(s, &r), 0);
		reference_add(ref, w, from, to, &r);
	} else {
		/* of one kind of event, or of all */
		pml_set_remove(s, r.start, r.end, r.events);
		for (unsigned int i = from; i < to; i++) {
			ref->events[w][i] &= (uint8_t)~r.events;
			if (!ref->events[w][i])
				ref->assumed[w][i] = 0;
		}
	}
}

Test(pageset, is_what_a_plain_array_is)
{
	struct reference ref;
	struct pml_set s;

	for (unsigned int seed = 1; seed <= 20; seed++) {
		unsigned int random = seed;

		memset(&ref, 0, sizeof(ref));
		pml_set_init(&s, &pool, 12);
		for (int i = 0; i < 300; i++) {
			random_step(&s, &ref, &random);
			if (i % 30 == 0)
				compare(&s, &ref);
		}
		compare(&s, &ref);
		pml_set_clear(&s);
		memset(&ref, 0, sizeof(ref));
		compare(&s, &ref);
		cr_assert(pml_set_empty(&s));
		pml_set_free(&s);
	}
	cr_assert_eq(pool.used, 0, "%zu bytes are not given back", pool.used);
}

Test(pageset, a_range_may_be_asked_for_in_parts)
{
	struct pml_range r = { .start = 10 * PAGE, .end = 2000 * PAGE, .granule = PAGE,
			       .events = PML_DIRTY };
	struct pml_range out;
	struct pml_set s;
	uint64_t pos = 100 * PAGE;

	pml_set_init(&s, &pool, 12);
	cr_assert_eq(pml_set_add(&s, &r), 0);
	cr_assert(pml_set_next(&s, &pos, 200 * PAGE, &out));
	cr_assert_eq(out.start, 100 * PAGE);
	cr_assert_eq(out.end, 200 * PAGE);
	cr_assert_not(pml_set_next(&s, &pos, 200 * PAGE, &out));
	/* One run, though it crosses chunks. */
	pos = 0;
	cr_assert(pml_set_next(&s, &pos, UINT64_MAX & ~(PAGE - 1), &out));
	cr_assert_eq(out.start, 10 * PAGE);
	cr_assert_eq(out.end, 2000 * PAGE);
	pml_set_free(&s);
}

Test(pageset, what_cannot_grow_is_full_and_holds_all)
{
	struct pml_pool small = { .limit = 300000 };
	struct pml_range r = { .granule = PAGE, .events = PML_DIRTY };
	struct pml_set s;
	int error = 0;

	pml_set_init(&s, &small, 12);
	for (uint64_t i = 0; i < 100000 && !error; i++) {
		r.start = i << 30;
		r.end = r.start + PAGE;
		error = pml_set_add(&s, &r);
	}
	cr_assert_lt(error, 0);
	cr_assert(s.full);
	cr_assert(pml_set_test(&s, 0x123456000, PML_PLANE_DIRTY));
	cr_assert_leq(small.used, small.limit);
	pml_set_clear(&s);
	cr_assert_not(s.full);
	pml_set_free(&s);
}

Test(pageset, big_pages)
{
	struct pml_range r = { .start = 0x10000, .end = 0x30000, .granule = 0x200000,
			       .events = PML_DIRTY };
	struct pml_range out;
	struct pml_set s;
	uint64_t pos = 0;

	pml_set_init(&s, &pool, 16);
	cr_assert_eq(pml_set_add(&s, &r), 0);
	cr_assert(pml_set_next(&s, &pos, 0x1000000, &out));
	cr_assert_eq(out.start, 0x10000);
	cr_assert_eq(out.end, 0x30000);
	cr_assert_eq(out.granule, 0x200000);
	pml_set_free(&s);
}
