/* SPDX-License-Identifier: MIT */
/*
 * test_waits.c - a call with a time-out that every stop ends is started again until its
 * time is up, and not one stop less.  Run by CTest.
 */
#include "waits.h"

#include <criterion/criterion.h>

#define MS 1000000ull

static struct pml_pool pool = { .limit = 1 << 20 };
static struct pml_waits waits;

/* A stop at some time, with a thread in a call that may wait so long. */
static bool stopped(uint64_t at, int32_t tid, uint64_t stack, uint64_t limit)
{
	pml_waits_begin(&waits);
	return pml_waits_again(&waits, &pool, (struct pml_wait){
		.tid = tid, .call = 232, .stack = stack, .limit_ns = limit,
		.since_ns = at, .seen_ns = at,
	});
}

Test(waits, stopped_more_often_than_its_time_is_up_it_ends_in_time)
{
	for (uint64_t at = 5 * MS; at < 305 * MS; at += 50 * MS)
		cr_assert(stopped(at, 7, 64, 300 * MS));
	cr_assert_not(stopped(305 * MS, 7, 64, 300 * MS));
	/* the next one has its own time */
	cr_assert(stopped(355 * MS, 7, 64, 300 * MS));
	pml_waits_free(&waits);
}

/* A stop at some time, with a thread that is about to make the call. */
static void stopped_before(uint64_t at, int32_t tid, uint64_t stack)
{
	pml_waits_begin(&waits);
	pml_waits_on_its_way(&waits, &pool, (struct pml_wait){
		.tid = tid, .call = 232, .stack = stack, .seen_ns = at,
	});
}

Test(waits, a_thread_that_was_given_no_processor_between_two_stops_keeps_its_time)
{
	for (uint64_t at = 0; at < 300 * MS; at += 50 * MS) {
		cr_assert(stopped(at, 7, 64, 300 * MS));
		stopped_before(at + 20 * MS, 7, 64);
		stopped_before(at + 30 * MS, 7, 64);
	}
	cr_assert_not(stopped(300 * MS, 7, 64, 300 * MS));
	pml_waits_free(&waits);
}

Test(waits, but_not_that_of_a_call_that_has_ended)
{
	cr_assert(stopped(0, 7, 64, 10 * MS));
	stopped_before(25 * MS, 7, 64);
	cr_assert(stopped(30 * MS, 7, 64, 10 * MS));
	stopped_before(35 * MS, 7, 128);
	cr_assert(stopped(41 * MS, 7, 64, 10 * MS));
	pml_waits_free(&waits);
}

Test(waits, one_that_ends_by_itself_between_two_stops_is_never_cut_short)
{
	for (uint64_t at = 0; at < 10000 * MS; at += 100 * MS)
		cr_assert(stopped(at, 7, 64, 10 * MS));
	pml_waits_free(&waits);
}

Test(waits, another_thread_or_place_or_time_is_another_call)
{
	cr_assert(stopped(0, 7, 64, 10 * MS));
	cr_assert(stopped(15 * MS, 8, 64, 10 * MS));
	cr_assert(stopped(30 * MS, 8, 128, 10 * MS));
	cr_assert(stopped(45 * MS, 8, 128, 40 * MS));
	cr_assert_not(stopped(90 * MS, 8, 128, 40 * MS));
	pml_waits_free(&waits);
}

Test(waits, what_cannot_be_remembered_does_not_wait_for_ever)
{
	struct pml_pool none = { .limit = 0 };

	pml_waits_begin(&waits);
	cr_assert_not(pml_waits_again(&waits, &none, (struct pml_wait){ .tid = 7, .limit_ns = MS }));
}
