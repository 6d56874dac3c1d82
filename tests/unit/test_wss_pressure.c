/* SPDX-License-Identifier: MIT */
/*
 * test_wss_pressure.c - what is estimated from memory that is short: a memory that drops
 * the page used longest ago is simulated under loads whose working set is known, and the
 * estimators geiger and exclusive-cache are shown what comes and goes, geiger's queue is
 * told of it page by page; mpa shares.  Run by CTest.
 */
#include "pml_wss.h"
#include "wss/queue.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ull
#define BASE 0x500000000ull
#define PAGES 1600u
#define EPOCHS 40u
#define NOWHERE 0u
#define RESIDENT 1u
#define SWAPPED 2u

/* ---- a memory that drops the page used longest ago ---- */

struct memory {
	unsigned char where[PAGES];
	uint64_t used[PAGES];	/* when last */
	uint64_t now;
	unsigned int size;
	unsigned int resident;
	uint64_t refaults;
};

static struct memory memory;
static struct pml_queue *told;	/* is told of every page that goes and comes; or NULL */

static void begin(unsigned int size)
{
	memory = (struct memory){ .size = size };
}

static void drop_oldest(void)
{
	uint64_t least = UINT64_MAX;
	unsigned int oldest = 0;

	for (unsigned int i = 0; i < PAGES; i++) {
		if (memory.where[i] != RESIDENT || memory.used[i] >= least)
			continue;
		oldest = i;
		least = memory.used[i];
	}
	memory.where[oldest] = SWAPPED;
	memory.resident--;
	if (told)
		cr_assert_eq(pml_queue_out(told, 7, BASE + oldest * PAGE), 0);
}

static void touch(unsigned int page)
{
	memory.used[page] = ++memory.now;
	if (memory.where[page] == RESIDENT)
		return;
	memory.refaults += memory.where[page] == SWAPPED;
	if (told && memory.where[page] == SWAPPED)
		cr_assert_eq(pml_queue_in(told, 7, BASE + page * PAGE), 0);
	if (memory.resident == memory.size)
		drop_oldest();
	memory.where[page] = RESIDENT;
	memory.resident++;
}

static void touch_all(unsigned int pages)
{
	for (unsigned int i = 0; i < pages; i++)
		touch(i);
}

static unsigned int count(unsigned char where)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < PAGES; i++)
		n += memory.where[i] == where;
	return n;
}

static int show(struct pml_wss_geiger *g)
{
	static struct pml_wss_place places[PAGES];
	size_t n = 0;

	for (unsigned int i = 0; i < PAGES; i++) {
		if (memory.where[i] == NOWHERE)
			continue;
		places[n++] = (struct pml_wss_place){
			BASE + i * PAGE, BASE + (i + 1) * PAGE, 7, memory.where[i] == SWAPPED,
		};
	}
	return pml_wss_geiger_add(g, places, n);
}

static struct pml_wss_geiger *open_geiger(void)
{
	struct pml_wss_geiger *g;

	cr_assert_eq(pml_wss_geiger_open(&g, NULL), 0);
	return g;
}

static struct pml_wss_geiger_estimate estimate_of(const struct pml_wss_geiger *g, int want)
{
	struct pml_wss_geiger_estimate e = { .size = sizeof(e) };

	cr_assert_eq(pml_wss_geiger_get(g, &e), want);
	return e;
}

/* Goes round the first @pages, @a_epoch at a time, after all 1,600 were touched once. */
static struct pml_wss_geiger *go_round(unsigned int pages, unsigned int a_epoch)
{
	struct pml_wss_geiger *g = open_geiger();
	unsigned int at = 0;

	touch_all(PAGES);
	for (unsigned int epoch = 0; epoch < EPOCHS; epoch++) {
		for (unsigned int i = 0; i < a_epoch; i++)
			touch(at++ % pages);
		cr_assert_eq(show(g), 0);
	}
	return g;
}

/* Touches @a_epoch of the first @pages at random. */
static struct pml_wss_geiger *go_anywhere(unsigned int pages, unsigned int a_epoch)
{
	struct pml_wss_geiger *g = open_geiger();
	unsigned int seed = 1;

	touch_all(PAGES);
	/* what is left of the beginning has gone by then */
	for (unsigned int i = 0; i < 10 * pages; i++)
		touch((unsigned int)rand_r(&seed) % pages);
	memory.refaults = 0;
	for (unsigned int epoch = 0; epoch < EPOCHS; epoch++) {
		for (unsigned int i = 0; i < a_epoch; i++)
			touch((unsigned int)rand_r(&seed) % pages);
		cr_assert_eq(show(g), 0);
	}
	return g;
}

static void between(uint64_t value, uint64_t low, uint64_t high)
{
	cr_assert(value >= low && value <= high, "%lu is not in %lu to %lu", value, low, high);
}

/* ---- the queue of those that are out, where their order is told ---- */

struct known {
	struct pml_pool pool;
	struct pml_reuse depths;
	struct pml_queue queue;
};

static struct known known;

static struct pml_queue *begin_queue(void)
{
	memset(&known, 0, sizeof(known));
	known.pool.limit = (size_t)64 << 20;
	pml_queue_init(&known.queue, &known.pool, &known.depths, 12);
	return &known.queue;
}

/* Touches that miss in a memory of that size; all of it as seeds and pages have it. */
static uint64_t run(unsigned int size, unsigned int touches)
{
	unsigned int seed = 5;

	begin(size);
	touch_all(PAGES);
	for (unsigned int i = 0; i < touches; i++) {
		unsigned int r = (unsigned int)rand_r(&seed);

		/* half of them within 300 pages */
		touch(r % (r & 4096 ? 300 : 900));
	}
	return memory.refaults;
}

/* Whatever is more than so deep in the queue misses in a memory larger by that: each. */
Test(queue, its_curve_is_exact)
{
	static const unsigned int more[] = { 1, 7, 40, 80, 120, 208, 320 };
	uint64_t came;

	told = begin_queue();
	came = run(500, 60000);
	told = NULL;
	cr_assert_eq(known.queue.came, came);
	cr_assert_eq(known.queue.pages, count(SWAPPED));
	cr_assert_eq((uint64_t)known.depths.sum, came);
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		uint64_t foretold = (uint64_t)(pml_reuse_misses(&known.depths, more[i]) *
					       known.depths.sum + 0.5);

		cr_assert_eq(foretold, run(500 + more[i], 60000), "%u more: %lu foretold",
			     more[i], foretold);
	}
	pml_queue_free(&known.queue);
}

static void look(struct pml_queue *q, const struct pml_wss_place *places, size_t n,
		 uint64_t pages, uint64_t came)
{
	cr_assert_eq(pml_queue_look(q, places, n), 0);
	cr_assert_eq(q->pages, pages, "%lu pages are out, not %lu", q->pages, pages);
	cr_assert_eq(q->came, came, "%lu have come, not %lu", q->came, came);
}

/* What nobody has told of is found by the look at the end of the epoch. */
Test(queue, a_look_sets_right_what_was_not_told)
{
	struct pml_wss_place out = { BASE, BASE + 10 * PAGE, 7, 1 };
	struct pml_wss_place parts[] = {
		{ BASE, BASE + 4 * PAGE, 7, 0 }, { BASE + 6 * PAGE, BASE + 10 * PAGE, 7, 1 },
		{ BASE, BASE + 10 * PAGE, 8, 0 },
	};
	struct pml_queue *q = begin_queue();

	look(q, &out, 1, 10, 0);
	/* the first four have come, two are nowhere; of another process nothing was out */
	look(q, parts, 3, 4, 4);
	look(q, parts, 3, 4, 4);
	look(q, NULL, 0, 0, 4);
	pml_queue_free(q);
}

/* Nobody knows in which order those went that were out at first: nothing is concluded. */
Test(queue, what_was_out_at_first_has_no_order)
{
	struct pml_wss_place out = { BASE, BASE + 100 * PAGE, 7, 1 };
	struct pml_queue *q = begin_queue();

	look(q, &out, 1, 100, 0);
	cr_assert_eq(pml_queue_in(q, 7, BASE), 0);
	cr_assert_eq(q->came, 1);
	cr_assert_eq(known.depths.sum, 0);
	cr_assert_eq(pml_queue_out(q, 7, BASE), 0);
	cr_assert_eq(pml_queue_in(q, 7, BASE), 0);
	cr_assert_eq(pml_reuse_misses(&known.depths, 0), 1);
	cr_assert_eq(pml_reuse_misses(&known.depths, 1), 0);
	pml_queue_free(q);
}

/* The look was made while pages went and came: what was told counts. */
Test(queue, what_was_told_is_newer_than_the_look)
{
	struct pml_wss_place out = { BASE, BASE + 2 * PAGE, 7, 1 };
	struct pml_wss_place in = { BASE, BASE + 2 * PAGE, 7, 0 };
	struct pml_queue *q = begin_queue();

	look(q, NULL, 0, 0, 0);
	cr_assert_eq(pml_queue_out(q, 7, BASE), 0);
	cr_assert_eq(pml_queue_out(q, 7, BASE + PAGE), 0);
	look(q, &out, 1, 2, 0);
	cr_assert_eq(pml_queue_in(q, 7, BASE), 0);
	look(q, &out, 1, 1, 1);
	cr_assert_eq(pml_queue_out(q, 7, BASE), 0);
	look(q, &in, 1, 1, 2);
	/* a page that goes twice is out once, and went last */
	cr_assert_eq(pml_queue_out(q, 7, BASE + PAGE), 0);
	cr_assert_eq(pml_queue_out(q, 7, BASE), 0);
	cr_assert_eq(pml_queue_in(q, 7, BASE), 0);
	/* by one page more it would have been kept, those before by two */
	cr_assert_eq(known.depths.sum, 3);
	cr_assert_float_eq(pml_reuse_misses(&known.depths, 1), 2.0 / 3, 1e-9);
	pml_queue_free(q);
}

/* ---- geiger ---- */

/* 960 pages by turns in a memory of 640 and of 480, whatever else is swapped out. */
Test(geiger, a_round_that_does_not_fit_is_found)
{
	static const unsigned int sizes[] = { 640, 480 };

	for (unsigned int i = 0; i < 2; i++) {
		struct pml_wss_geiger *g;

		begin(sizes[i]);
		g = go_round(960, 160);
		between(estimate_of(g, 0).pages, 950, 1030);
		pml_wss_geiger_close(g);
	}
}

/* 960 pages more than twice an epoch. */
Test(geiger, an_epoch_of_several_rounds_is_found_too)
{
	struct pml_wss_geiger *g;

	begin(640);
	g = go_round(960, 2100);
	between(estimate_of(g, 0).pages, 940, 1030);
	pml_wss_geiger_close(g);
}

/* 800 pages at random in a memory of 640; 800 others are out and stay there. */
Test(geiger, pages_at_random_are_found)
{
	struct pml_wss_geiger *g;

	begin(640);
	g = go_anywhere(800, 400);
	between(estimate_of(g, 0).pages, 740, 850);
	pml_wss_geiger_close(g);
}

/* Refaults of memories of 640, 680 and 720 pages are in the ratio that it foretells. */
Test(geiger, its_curve_is_that_of_larger_memories)
{
	struct pml_wss_geiger *g;
	uint64_t refaults;

	begin(640);
	g = go_anywhere(800, 100);
	refaults = memory.refaults;
	cr_assert_eq(pml_wss_geiger_miss_ppm(g, 0), 1000000);
	cr_assert_eq(pml_wss_geiger_miss_ppm(g, 1000), 0);
	for (unsigned int more = 40; more <= 80; more += 40) {
		int64_t foretold = pml_wss_geiger_miss_ppm(g, more);

		begin(640 + more);
		pml_wss_geiger_close(go_anywhere(800, 100));
		between((uint64_t)foretold / 10000, memory.refaults * 100 / refaults - 15,
			memory.refaults * 100 / refaults + 25);
	}
	pml_wss_geiger_close(g);
}

/* The known failure, without pressure there is nothing to go by: 100 pages or 600 in a
 * memory of 640, neither is told. */
Test(geiger, a_memory_that_is_large_enough_gives_no_number)
{
	for (unsigned int pages = 100; pages <= 600; pages += 500) {
		struct pml_wss_geiger *g;
		struct pml_wss_geiger_estimate e;

		begin(640);
		g = go_round(pages, 3 * pages);
		e = estimate_of(g, -ENODATA);
		cr_assert_eq(e.pages, 0);
		cr_assert_eq(e.resident_pages, 640);
		cr_assert_eq(e.swapped_pages, PAGES - 640);
		cr_assert_eq(pml_wss_geiger_miss_ppm(g, 0), -ENODATA);
		pml_wss_geiger_close(g);
	}
}

/* Once the memory is large enough, no more than a window later it says so. */
Test(geiger, pressure_that_has_gone_is_forgotten)
{
	struct pml_wss_geiger *g;

	begin(640);
	g = go_round(960, 160);
	memory.size = PAGES;
	for (unsigned int epoch = 0; epoch < 10; epoch++) {
		touch_all(960);
		cr_assert_eq(show(g), 0);
		if (epoch < 8)
			between(estimate_of(g, 0).pages, 900, PAGES);
	}
	estimate_of(g, -ENODATA);
	pml_wss_geiger_close(g);
}

/* Swapped pages that are unmapped are no refaults, and not out any more. */
Test(geiger, what_is_given_up_did_not_come_back)
{
	struct pml_wss_geiger *g;
	struct pml_wss_geiger_estimate e;

	begin(640);
	g = go_round(100, 100);
	for (unsigned int i = 0; i < PAGES; i++)
		if (memory.where[i] == SWAPPED)
			memory.where[i] = NOWHERE;
	cr_assert_eq(show(g), 0);
	e = estimate_of(g, -ENODATA);
	cr_assert_eq(e.came_pages, 0);
	cr_assert_eq(e.swapped_pages, 0);
	pml_wss_geiger_close(g);
}

/* Against a reference so plain that it is evidently right: pages of two processes that
 * move at random. */
Test(geiger, counts_are_those_of_a_plain_reference)
{
	struct pml_wss_geiger_options o = { .size = sizeof(o), .window = 64 };
	struct pml_wss_place places[2 * 300];
	unsigned char where[2][300] = { 0 }, before[2][300];
	struct pml_wss_geiger *g;
	uint64_t went = 0, came = 0;
	unsigned int seed = 3;

	cr_assert_eq(pml_wss_geiger_open(&g, &o), 0);
	for (unsigned int epoch = 0; epoch < 60; epoch++) {
		struct pml_wss_geiger_estimate e = { .size = sizeof(e) };
		uint64_t swapped = 0, resident = 0;
		size_t n = 0;

		memcpy(before, where, sizeof(where));
		for (unsigned int pid = 0; pid < 2; pid++) {
			for (unsigned int i = 0; i < 300;) {
				unsigned int end = i + 1 + (unsigned int)rand_r(&seed) % 20;
				unsigned char now = (unsigned char)((unsigned int)rand_r(&seed) % 3);
				unsigned int first = i;

				for (; i < end && i < 300; i++) {
					where[pid][i] = now;
					went += epoch && now == SWAPPED && before[pid][i] != SWAPPED;
					came += now == RESIDENT && before[pid][i] == SWAPPED;
					swapped += now == SWAPPED;
					resident += now == RESIDENT;
				}
				if (now != NOWHERE)
					places[n++] = (struct pml_wss_place){
						BASE + first * PAGE, BASE + i * PAGE, pid + 5,
						now == SWAPPED };
			}
		}
		cr_assert_eq(pml_wss_geiger_add(g, places, n), 0);
		pml_wss_geiger_get(g, &e);
		cr_assert_eq(e.went_pages, went, "epoch %u: %lu, %lu", epoch, e.went_pages, went);
		cr_assert_eq(e.came_pages, came);
		cr_assert_eq(e.swapped_pages, swapped);
		cr_assert_eq(e.resident_pages, resident);
	}
	pml_wss_geiger_close(g);
}

/* What is not sorted, overlaps, or is too much is refused, and the next look is fine. */
Test(geiger, bad_input_changes_nothing)
{
	struct pml_wss_geiger_options o = { .size = sizeof(o), .max_memory = 1 << 17 };
	struct pml_wss_place wrong[] = { { BASE, BASE + 2 * PAGE, 1, 1 },
					 { BASE + PAGE, BASE + 3 * PAGE, 1, 0 } };
	struct pml_wss_place pids[] = { { BASE, BASE + PAGE, 2, 1 }, { BASE, BASE + PAGE, 1, 0 } };
	struct pml_wss_place empty = { BASE, BASE, 1, 1 };
	static struct pml_wss_place many[8000];
	struct pml_wss_geiger_estimate e = { .size = sizeof(e) };
	struct pml_wss_geiger *g;

	cr_assert_eq(pml_wss_geiger_open(&g, &o), 0);
	cr_assert_eq(pml_wss_geiger_add(g, wrong, 2), -EINVAL);
	cr_assert_eq(pml_wss_geiger_add(g, pids, 2), -EINVAL);
	cr_assert_eq(pml_wss_geiger_add(g, &empty, 1), -EINVAL);
	for (unsigned int i = 0; i < 8000; i++)
		many[i] = (struct pml_wss_place){ BASE + 2 * i * PAGE, BASE + (2 * i + 1) * PAGE,
						  1, 1 };
	cr_assert_eq(pml_wss_geiger_add(g, many, 8000), -ENOMEM);
	cr_assert_eq(pml_wss_geiger_add(g, many, 100), 0);
	cr_assert_eq(pml_wss_geiger_get(g, &e), -ENODATA);
	cr_assert_eq(e.epochs, 1);
	cr_assert_eq(e.swapped_pages, 100);
	pml_wss_geiger_close(g);
	pml_wss_geiger_close(NULL);
	o.window = 65;
	cr_assert_eq(pml_wss_geiger_open(&g, &o), -EINVAL);
	o = (struct pml_wss_geiger_options){ .size = sizeof(o), .page_size = 3000 };
	cr_assert_eq(pml_wss_geiger_open(&g, &o), -EINVAL);
}

/* Every second page of a mapping was written: these are in memory, the others nowhere. */
Test(geiger, a_process_shows_what_it_has)
{
	static struct pml_wss_place places[65536];
	unsigned char *m = mmap(NULL, 200 * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t seen = 0, start = (uintptr_t)m;
	int64_t n;

	cr_assert_neq(m, MAP_FAILED);
	cr_assert_eq(madvise(m, 200 * PAGE, MADV_NOHUGEPAGE), 0);
	for (unsigned int i = 0; i < 200; i += 2)
		m[i * PAGE] = 1;
	n = pml_wss_places(getpid(), places, 65536);
	cr_assert(n > 100 && n < 65536, "%ld", (long)n);
	for (int64_t i = 0; i < n; i++) {
		cr_assert_eq(places[i].pid, (uint32_t)getpid());
		cr_assert(!i || places[i - 1].end <= places[i].start);
		if (places[i].start < start || places[i].end > start + 200 * PAGE)
			continue;
		cr_assert_eq(places[i].end - places[i].start, PAGE);
		cr_assert_eq((places[i].start - start) / PAGE % 2, 0);
		seen++;
	}
	cr_assert_eq(seen, 100);
	cr_assert_gt(pml_wss_places(getpid(), NULL, 0), 100);
	cr_assert_eq(pml_wss_places(INT32_MAX - 1, places, 1), -ESRCH);
	munmap(m, 200 * PAGE);
}

/* ---- the exclusive cache ---- */

#define WINDOW 8u

static struct pml_wss_cache_look looks[EPOCHS + 1];

/* Goes round @pages, @a_epoch at a time, in a memory with a cache behind it that has all
 * that is out. */
static void go_round_cached(unsigned int pages, unsigned int a_epoch)
{
	unsigned int at = 0;

	touch_all(PAGES);
	for (unsigned int epoch = 0; epoch <= EPOCHS; epoch++) {
		for (unsigned int i = 0; i < a_epoch; i++)
			touch(at++ % pages);
		looks[epoch] = (struct pml_wss_cache_look){
			count(RESIDENT), count(SWAPPED), memory.refaults, memory.refaults };
	}
}

static struct pml_wss_cache cache_of(int want)
{
	struct pml_wss_cache c = { .size = sizeof(c) };

	cr_assert_eq(pml_wss_exclusive(&looks[EPOCHS - WINDOW], WINDOW + 1, &c), want);
	return c;
}

/* 320 pages come back once in the window, of 960 that are out: 960 are worked with. */
Test(exclusive, hits_tell_what_is_missing)
{
	begin(640);
	go_round_cached(960, 40);
	between(cache_of(0).pages, 955, 965);
	cr_assert_eq(cache_of(0).flags, 0);
}

/* It says no more than there is, however often the same pages come back. */
Test(exclusive, it_says_no_more_than_there_is)
{
	begin(640);
	go_round_cached(960, 3000);
	cr_assert_eq(cache_of(0).pages, PAGES);
}

/* The known failure, as geiger's. */
Test(exclusive, a_memory_that_is_large_enough_gives_no_number)
{
	for (unsigned int pages = 100; pages <= 600; pages += 500) {
		begin(640);
		go_round_cached(pages, 1000);
		cr_assert_eq(cache_of(-ENODATA).pages, 0);
	}
}

/* Pages that came back from elsewhere: the estimate is a lower bound. */
Test(exclusive, what_the_cache_did_not_have_is_told)
{
	begin(640);
	go_round_cached(960, 40);
	for (unsigned int i = 0; i <= EPOCHS; i++) {
		looks[i].hits /= 2;
		looks[i].stored /= 2;
	}
	cr_assert_eq(cache_of(0).flags, PML_WSS_AT_LEAST);
	between(cache_of(0).misses, 155, 165);
	/* counters that begin anew are no hits */
	looks[EPOCHS].hits = 0;
	looks[EPOCHS].refaults = 0;
	between(cache_of(0).hits, 135, 145);
	cr_assert_eq(pml_wss_exclusive(looks, 1, &(struct pml_wss_cache){ .size = 8 }), -EINVAL);
}

/* ---- mpa ---- */

static void shared(int want, uint64_t pages, uint64_t a, uint64_t b)
{
	/* anonymous, of files, of these idle */
	struct pml_wss_tenant t[2] = { { 300, 100, 50, 0 }, { 100, 300, 300, 0 } };

	cr_assert_eq(pml_wss_mpa(t, 2, pages), want);
	cr_assert(t[0].pages == a && t[1].pages == b, "%lu and %lu of %lu", t[0].pages,
		  t[1].pages, pages);
}

/* An equal part of the rest; then less idle files, less files, less memory. */
Test(mpa, shares_follow_the_pressure)
{
	shared(PML_WSS_BELOW, 1000, 500, 500);
	shared(PML_WSS_BELOW, 800, 400, 400);
	shared(PML_WSS_AT, 625, 375, 250);
	shared(PML_WSS_AT, 450, 350, 100);
	shared(PML_WSS_AT, 425, 325, 100);
	shared(PML_WSS_AT, 400, 300, 100);
	shared(PML_WSS_ABOVE, 200, 150, 50);
}

/* Tenants at random; and next to nothing is kept back. */
Test(mpa, never_more_is_given_than_there_is)
{
	struct pml_wss_tenant t[9];
	unsigned int seed = 5;

	for (unsigned int round = 0; round < 2000; round++) {
		size_t n = 1 + (unsigned int)rand_r(&seed) % 9;
		uint64_t memory_pages = 1 + (unsigned int)rand_r(&seed) % 5000, sum = 0;

		for (size_t i = 0; i < n; i++)
			t[i] = (struct pml_wss_tenant){ (unsigned int)rand_r(&seed) % 500,
							(unsigned int)rand_r(&seed) % 500,
							(unsigned int)rand_r(&seed) % 700, 0 };
		cr_assert_geq(pml_wss_mpa(t, n, memory_pages), 0);
		for (size_t i = 0; i < n; i++)
			sum += t[i].pages;
		between(sum, memory_pages < 3 * n ? 0 : memory_pages - 3 * n, memory_pages);
	}
	cr_assert_eq(pml_wss_mpa(t, 0, 100), -EINVAL);
	cr_assert_eq(pml_wss_mpa(t, 1, 0), -EINVAL);
	t[0].anon_pages = UINT64_MAX;
	t[1].anon_pages = 1;
	cr_assert_eq(pml_wss_mpa(t, 2, 100), -EINVAL);
}
