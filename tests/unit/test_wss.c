/* SPDX-License-Identifier: MIT */
/*
 * test_wss.c - the working-set estimator on loads whose truth is known: counts
 * against a reference so plain that it is evidently right, staircases, periods,
 * pauses, too little memory.  Run by CTest.
 */
#include "pml_wss.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096ull
#define PAGES 3000u		/* of the reference, over two processes */
#define EPOCHS 80u
#define SECOND 1000000000ull

/* A load: which ranges each epoch touches.  One epoch is one second. */
struct load {
	struct pml_wss *w;
	struct pml_range ranges[4096];
	size_t n;
	uint64_t now;
	uint32_t flags;
};

static struct load load;

static void begin(const struct pml_wss_options *options)
{
	memset(&load, 0, sizeof(load));
	cr_assert_eq(pml_wss_open(&load.w, options), 0);
}

static void touch(uint32_t pid, uint64_t page, uint64_t pages, uint16_t events)
{
	load.ranges[load.n++] = (struct pml_range){
		.start = (0x500000000ull / PAGE + page) * PAGE,
		.end = (0x500000000ull / PAGE + page + pages) * PAGE,
		.granule = PAGE, .pid = pid, .events = events,
	};
}

static int end_epoch(void)
{
	struct pml_result r = {
		.epoch = load.now + 1, .begin_ns = load.now * SECOND,
		.end_ns = (load.now + 1) * SECOND, .page_size = PAGE, .flags = load.flags,
		.ranges = load.ranges, .nranges = load.n, .cost.collect_ns = 2000000,
	};

	load.n = 0;
	load.flags = 0;
	load.now++;
	return pml_wss_add(load.w, &r);
}

static struct pml_wss_estimate get(void)
{
	struct pml_wss_estimate e = { .size = sizeof(e) };

	cr_assert_eq(pml_wss_get(load.w, &e), 0);
	return e;
}

static struct pml_wss_estimate epoch_of(uint64_t pages)
{
	touch(1, 0, pages, PML_REFERENCED);
	cr_assert_eq(end_epoch(), 1);
	return get();
}

static struct pml_wss_forecast forecast(void)
{
	struct pml_wss_forecast f = { .size = sizeof(f) };

	cr_assert_eq(pml_wss_predict(load.w, &f), 0);
	return f;
}

/* ---- counts ---- */

static uint8_t truth[EPOCHS][2][PAGES];	/* events */

static void random_epoch(unsigned int epoch, unsigned int *seed)
{
	for (unsigned int pid = 0; pid < 2; pid++) {
		unsigned int at = 0;

		while (at < PAGES) {
			unsigned int length = rand_r(seed) % 8 ? 1 + rand_r(seed) % 40
							       : 1 + rand_r(seed) % 1500;
			uint16_t events = (uint16_t)(rand_r(seed) % 3);

			if (length > PAGES - at)
				length = PAGES - at;
			events = events == 2 ? PML_DIRTY | PML_REFERENCED
					     : events ? PML_REFERENCED : 0;
			memset(&truth[epoch][pid][at], events, length);
			if (events)
				touch(pid + 7, at, length, events);
			at += length;
		}
	}
}

/* How many of the library's numbers are other ones than the reference's. */
static unsigned int differences(unsigned int epoch, unsigned int n)
{
	uint64_t pages[65], dirty[65], curve[64];
	uint64_t want[65] = { 0 }, want_dirty[65] = { 0 }, want_curve[64] = { 0 };
	unsigned int have = n < epoch + 1 ? n : epoch + 1, wrong = 0;

	cr_assert_eq(pml_wss_counts(load.w, n, pages, dirty), 0);
	cr_assert_eq(pml_wss_curve(load.w, n, curve), 0);
	for (unsigned int page = 0; page < 2 * PAGES; page++) {
		unsigned int touched = 0, written = 0;

		for (unsigned int i = 0; i < have; i++) {
			uint8_t events = truth[epoch - have + 1 + i][page / PAGES][page % PAGES];

			if (events && !touched++)
				for (unsigned int j = n - have + i; j < n; j++)
					want_curve[j]++;
			written += events & PML_DIRTY;
		}
		want[touched]++;
		want_dirty[written]++;
	}
	for (unsigned int k = 1; k <= n; k++)
		wrong += (pages[k] != want[k]) + (dirty[k] != want_dirty[k]) +
			 (curve[k - 1] != want_curve[k - 1]);
	return wrong + (pages[0] != 0);
}

Test(wss, pages_touched_in_exactly_k_of_n_epochs_are_counted_exactly)
{
	for (unsigned int seed = 1; seed <= 6; seed++) {
		unsigned int random = seed;

		begin(NULL);
		for (unsigned int epoch = 0; epoch < EPOCHS; epoch++) {
			random_epoch(epoch, &random);
			cr_assert_eq(end_epoch(), 1);
			if (epoch % 9 == 0 || epoch == EPOCHS - 1)
				for (unsigned int n = 1; n <= 64; n += n < 8 ? 1 : 14)
					cr_assert_eq(differences(epoch, n), 0,
						     "seed %u, epoch %u, n %u", seed, epoch, n);
		}
		pml_wss_close(load.w);
	}
}

/* The negative control: one page more in one epoch, and the comparison sees it. */
Test(wss, one_page_that_the_reference_does_not_have_is_a_difference)
{
	unsigned int random = 3;

	begin(NULL);
	for (unsigned int epoch = 0; epoch < 10; epoch++) {
		random_epoch(epoch, &random);
		cr_assert_eq(end_epoch(), 1);
	}
	cr_assert_eq(differences(9, 10), 0);
	truth[4][1][PAGES - 1] ^= PML_REFERENCED;
	cr_assert_gt(differences(9, 10), 0);
	pml_wss_close(load.w);
}

Test(wss, parts_of_an_epoch_are_one_epoch)
{
	uint64_t pages[2];

	begin(NULL);
	touch(1, 0, 100, PML_REFERENCED);
	load.flags = PML_RESULT_MORE;
	cr_assert_eq(end_epoch(), 0);
	cr_assert_eq(pml_wss_counts(load.w, 1, pages, NULL), -ENODATA);
	touch(1, 100, 50, PML_REFERENCED);
	cr_assert_eq(end_epoch(), 1);
	cr_assert_eq(get().pages, 150);
	cr_assert_eq(get().epochs, 1);
	pml_wss_close(load.w);
}

Test(wss, a_threshold_leaves_out_what_is_touched_less_often)
{
	begin(&(struct pml_wss_options){ .size = sizeof(struct pml_wss_options), .window = 4,
					 .threshold = 3 });
	for (unsigned int i = 0; i < 8; i++) {
		touch(1, 0, 1000, PML_REFERENCED);
		/* each page of these in one epoch of four, like a scan of a file */
		touch(1, 5000 + i % 4 * 10, 10, PML_REFERENCED);
		end_epoch();
	}
	cr_assert_eq(get().window, 4);
	cr_assert_eq(get().pages, 1000);
	cr_assert_eq(get().seen_pages, 1040);
	pml_wss_close(load.w);
}

Test(wss, read_and_written_parts_are_told_apart)
{
	begin(&(struct pml_wss_options){ .size = sizeof(struct pml_wss_options), .window = 2 });
	touch(1, 0, 300, PML_REFERENCED);
	touch(1, 300, 200, PML_REFERENCED | PML_DIRTY);
	end_epoch();
	cr_assert_eq(get().pages, 500);
	cr_assert_eq(get().dirty_pages, 200);
	cr_assert_eq(get().read_pages, 300);
	/* read in one epoch and written in the next */
	touch(1, 0, 100, PML_REFERENCED | PML_DIRTY);
	touch(1, 100, 400, PML_REFERENCED);
	end_epoch();
	cr_assert_eq(get().pages, 500);
	cr_assert_eq(get().dirty_pages, 300);
	pml_wss_close(load.w);
}

Test(wss, without_reads_it_says_that_it_counts_writes_only)
{
	begin(&(struct pml_wss_options){ .size = sizeof(struct pml_wss_options),
					 .events = PML_DIRTY });
	touch(1, 0, 50, PML_DIRTY);
	end_epoch();
	cr_assert(get().flags & PML_WSS_WRITES_ONLY);
	cr_assert_eq(get().pages, 50);
	cr_assert_eq(get().dirty_pages, 50);
	cr_assert_eq(get().read_pages, 0);
	pml_wss_close(load.w);
}

/* ---- windows ---- */

Test(wss, memory_that_is_gone_round_slowly_is_seen_as_a_whole)
{
	begin(&(struct pml_wss_options){ .size = sizeof(struct pml_wss_options), .window = 16 });
	for (unsigned int i = 0; i < 40; i++) {
		touch(1, i % 8 * 100, 100, PML_REFERENCED);
		end_epoch();
	}
	cr_assert_eq(get().last_pages, 100);
	cr_assert_eq(get().pages, 800);
	cr_assert_eq(get().plateau, 8);
	cr_assert_eq(get().settled, 8);
	cr_assert_eq(get().settled_pages, 800);
	pml_wss_close(load.w);
}

Test(wss, a_rise_and_a_fall_are_seen_in_the_epoch_in_which_they_are)
{
	static const uint64_t steps[] = { 4096, 8192, 16384, 32768, 65536, 102400, 65536, 32768,
					  16384, 8192, 4096 };

	for (unsigned int length = 2; length <= 12; length++) {
		uint64_t before = 0;

		begin(NULL);
		for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
			for (unsigned int j = 0; j < length; j++) {
				struct pml_wss_estimate e = epoch_of(steps[i]);

				cr_assert_eq(e.pages, steps[i]);
				cr_assert_eq(e.change, j || !i ? 0 : steps[i] > before ? 1 : -1);
				cr_assert_eq(e.window, j + 1 < 8 ? j + 1 : 8);
			}
			before = steps[i];
		}
		pml_wss_close(load.w);
	}
}

/* A step falls into an epoch, whose size is then between the two levels. */
Test(wss, what_goes_on_in_the_same_direction_is_the_same_step)
{
	begin(NULL);
	for (unsigned int i = 0; i < 20; i++)
		epoch_of(i % 2 ? 24000 : 25600);
	cr_assert_eq(get().change, 0);
	cr_assert_eq(epoch_of(7400).change, -1);
	cr_assert_eq(epoch_of(6400).change, -1);
	cr_assert_eq(get().pages, 6400);
	cr_assert_eq(epoch_of(6500).change, 0);
	pml_wss_close(load.w);
}

Test(wss, a_restless_load_has_hardly_any_changes)
{
	unsigned int seed = 5, changes = 0;

	begin(NULL);
	for (unsigned int i = 0; i < 200; i++) {
		struct pml_wss_estimate e = epoch_of(500 + (uint64_t)rand_r(&seed) % 1000);

		changes += i > 20 && e.change;
	}
	cr_assert_leq(changes, 30, "%u of 180", changes);
	pml_wss_close(load.w);
}

/*
 * The early plateau: a program goes round 800 pages, and pauses on the way.  The
 * plain rule stops in the pause; the proof waits until the pages come round again.
 */
Test(wss, a_pause_does_not_settle_the_curve)
{
	struct pml_wss_estimate e;

	begin(&(struct pml_wss_options){ .size = sizeof(struct pml_wss_options), .window = 32,
					 .change_permille = 1000000 });
	for (unsigned int i = 0; i < 32; i++) {
		unsigned int place = i < 3 ? i : i < 8 ? 2 : i - 5;

		/* in the pause, five pages of the loop that waits */
		touch(1, 10000, 5, PML_REFERENCED);
		if (i < 3 || i >= 8)
			touch(1, place % 8 * 100, 100, PML_REFERENCED);
		end_epoch();
		e = get();
		if (i >= 3)
			cr_assert_eq(e.plateau, 3);
		if (i >= 3)
			cr_assert_eq(e.plateau_pages, 305);
		if (e.settled)
			cr_assert_eq(e.settled_pages, 805, "in epoch %u", i);
	}
	cr_assert_eq(e.settled, 13);
	pml_wss_close(load.w);
}

/* ---- what comes next ---- */

/* 900 pages for some epochs of the period, 100 for the others; with noise. */
static uint64_t wave(unsigned int t, unsigned int period, unsigned int *seed)
{
	uint64_t noise = seed ? (uint64_t)rand_r(seed) % 40 : 0;

	return (t % period < (period + 1) / 3 ? 900 : 100) + noise;
}

Test(wss, a_period_is_found_and_forecast_better_than_by_the_last_value)
{
	for (unsigned int period = 2; period <= 20; period++) {
		uint64_t ours = 0, last_value = 0, last = 0;
		unsigned int seed = period;

		begin(NULL);
		for (unsigned int t = 0; t < 160; t++) {
			uint64_t value = wave(t, period, &seed);

			if (t > 4 * period) {
				uint64_t next = forecast().pages;

				cr_assert_eq(forecast().period, period, "%u, not %u",
					     forecast().period, period);
				ours += next > value ? next - value : value - next;
				last_value += last > value ? last - value : value - last;
				cr_assert_geq(forecast().peak, 900);
			}
			epoch_of(value);
			last = value;
		}
		cr_assert_lt(2 * ours, last_value, "period %u: %zu, %zu", period, (size_t)ours,
			     (size_t)last_value);
		pml_wss_close(load.w);
	}
}

/* The negative controls: what has no period is given none. */
Test(wss, a_constant_load_and_a_staircase_have_no_period)
{
	unsigned int seed = 9;

	begin(NULL);
	for (unsigned int t = 0; t < 100; t++) {
		epoch_of(5000 + (uint64_t)rand_r(&seed) % 20);
		cr_assert_eq(forecast().period, 0);
		cr_assert_leq(forecast().low, forecast().high);
	}
	cr_assert_geq(forecast().pages, 5000);
	cr_assert_leq(forecast().pages, 5020);
	pml_wss_close(load.w);
	begin(NULL);
	for (unsigned int t = 0; t < 100; t++) {
		epoch_of(100 + t / 10 * 1000);
		cr_assert_eq(forecast().period, 0);
	}
	pml_wss_close(load.w);
}

Test(wss, a_load_that_is_periodic_no_more_is_forecast_as_it_is)
{
	begin(NULL);
	for (unsigned int t = 0; t < 60; t++)
		epoch_of(wave(t, 6, NULL));
	cr_assert_eq(forecast().period, 6);
	for (unsigned int t = 0; t < 12; t++)
		epoch_of(400);
	cr_assert_eq(forecast().period, 0);
	cr_assert_eq(forecast().pages, 400);
	pml_wss_close(load.w);
}

Test(wss, more_epochs_than_the_history_holds)
{
	begin(&(struct pml_wss_options){ .size = sizeof(struct pml_wss_options), .history = 32 });
	for (unsigned int t = 0; t < 500; t++)
		epoch_of(wave(t, 5, NULL));
	cr_assert_eq(forecast().period, 5);
	cr_assert_eq(forecast().pages, wave(500, 5, NULL));
	pml_wss_close(load.w);
}

/* ---- how much to give ---- */

Test(wss, misses_with_less_memory_than_the_loop_and_none_with_as_much)
{
	struct pml_wss_limit limit = { .size = sizeof(limit), .margin_permille = 250 };

	begin(&(struct pml_wss_options){ .size = sizeof(struct pml_wss_options), .window = 16 });
	for (unsigned int i = 0; i < 60; i++) {
		/* a hot part in each epoch, and a loop of eight epochs */
		touch(1, 0, 64, PML_REFERENCED);
		touch(1, 1000 + i % 8 * 120, 120, PML_REFERENCED);
		end_epoch();
	}
	/* what is hot needs itself and two epochs of the loop; the loop, all of it */
	cr_assert_eq(pml_wss_miss_ppm(load.w, 1024), 0);
	cr_assert_eq(pml_wss_miss_ppm(load.w, 64), 1000000);
	cr_assert(pml_wss_miss_ppm(load.w, 512) > 500000 && pml_wss_miss_ppm(load.w, 512) < 700000);
	cr_assert_eq(pml_wss_recommend(load.w, &limit), 0);
	cr_assert_eq(limit.bare_pages, 1024);
	cr_assert_eq(limit.pages, 1280);
	cr_assert_eq(limit.miss_ppm, 1000);
	pml_wss_close(load.w);
}

Test(wss, with_less_memory_there_are_never_fewer_misses)
{
	unsigned int seed = 11;
	uint32_t before = 1000000;

	begin(NULL);
	for (unsigned int i = 0; i < 70; i++) {
		for (unsigned int j = 0; j < 200; j++)
			touch(1, j * 50 + (uint64_t)rand_r(&seed) % 50, 1, PML_REFERENCED);
		end_epoch();
	}
	for (uint64_t pages = 0; pages < 20000; pages += 10) {
		uint32_t ppm = pml_wss_miss_ppm(load.w, pages);

		cr_assert_leq(ppm, before);
		before = ppm;
	}
	cr_assert_eq(before, 0);
	pml_wss_close(load.w);
}

Test(wss, an_interval_keeps_collects_cheap_and_the_log_half_full)
{
	begin(NULL);
	cr_assert_eq(pml_wss_interval_ns(load.w, 0, 0), 0);
	epoch_of(1000);
	/* collects take 2 ms here */
	cr_assert_eq(pml_wss_interval_ns(load.w, 0, 10), 200000000);
	/* 1,000 pages a second into a log of 200: half of it in 0.1 s */
	cr_assert_eq(pml_wss_interval_ns(load.w, 200, 10), 100000000);
	pml_wss_close(load.w);
}

/* ---- bad days ---- */

Test(wss, what_a_lost_epoch_assumes_is_not_counted)
{
	begin(NULL);
	for (unsigned int i = 0; i < 10; i++)
		epoch_of(700);
	touch(1, 0, 100, PML_REFERENCED);
	touch(1, 100, 50000, PML_REFERENCED);
	load.ranges[1].known = PML_ASSUMED;
	load.ranges[1].reason = PML_REASON_OVERFLOW;
	load.flags = PML_RESULT_LOST;
	end_epoch();
	cr_assert(get().flags & PML_WSS_LOST);
	cr_assert_eq(get().pages, 700);
	cr_assert_eq(get().change, 0);
	cr_assert_eq(forecast().pages, 700);
	epoch_of(700);
	cr_assert_not(get().flags & PML_WSS_LOST);
	pml_wss_close(load.w);
}

Test(wss, what_is_assumed_counts_unless_told_otherwise)
{
	for (uint32_t flags = 0; flags <= PML_WSS_OBSERVED_ONLY; flags++) {
		begin(&(struct pml_wss_options){ .size = sizeof(struct pml_wss_options),
						 .flags = flags });
		touch(1, 0, 10, PML_DIRTY);
		touch(1, 10, 30, PML_DIRTY);
		load.ranges[1].known = PML_ASSUMED;
		load.ranges[1].reason = PML_REASON_UNARMED;
		/* a mapping's lack of coverage is no touch, whatever the flags */
		touch(1, 90, 10, PML_DIRTY);
		load.ranges[2].known = PML_UNCOVERED;
		end_epoch();
		cr_assert_eq(get().pages, flags ? 10 : 40);
		cr_assert_eq(get().assumed_pages, flags ? 0 : 30);
		pml_wss_close(load.w);
	}
}

Test(wss, memory_is_bounded_and_running_out_is_told)
{
	const size_t most = 1 << 20;

	begin(&(struct pml_wss_options){ .size = sizeof(struct pml_wss_options),
					 .max_memory = most });
	for (unsigned int i = 0; i < 20; i++) {
		for (unsigned int j = 0; j < 1000; j++)
			touch(1, j * 2048 + i, 1, PML_REFERENCED);
		end_epoch();
		cr_assert(get().flags & PML_WSS_FULL);
		cr_assert_geq(get().pages, 1000);
		cr_assert_leq(get().memory_bytes, most + 65536);
	}
	/* what is no longer touched goes, and there is room again */
	for (unsigned int i = 0; i < 64; i++)
		epoch_of(512);
	cr_assert_not(get().flags & PML_WSS_FULL);
	cr_assert_eq(get().pages, 512);
	pml_wss_close(load.w);
}

Test(wss, a_mapping_of_a_terabyte_touched_as_a_whole_is_small)
{
	begin(NULL);
	for (unsigned int i = 0; i < 3; i++)
		epoch_of(1ull << 28);
	cr_assert_eq(get().pages, 1ull << 28);
	cr_assert_not(get().flags & PML_WSS_FULL);
	pml_wss_close(load.w);
}

Test(wss, what_is_no_option_is_refused)
{
	static const struct pml_wss_options bad[] = {
		{ .size = 4 }, { .size = sizeof(*bad), .window = 65 },
		{ .size = sizeof(*bad), .window = 4, .threshold = 5 },
		{ .size = sizeof(*bad), .events = 8 }, { .size = sizeof(*bad), .history = 15 },
		{ .size = sizeof(*bad), .history = 4097 },
		{ .size = sizeof(*bad), .flat_permille = 1000 },
		{ .size = sizeof(*bad), .flags = 0x80 },
	};
	struct pml_wss_options small = { .size = sizeof(small), .max_memory = 4096 };
	struct pml_wss_estimate e = { .size = sizeof(e) };
	struct pml_result odd = { .page_size = 3000 };
	uint64_t numbers[65];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		cr_assert_eq(pml_wss_open(&load.w, &bad[i]), -EINVAL, "number %zu", i);
		cr_assert_null(load.w);
	}
	cr_assert_eq(pml_wss_open(&load.w, &small), -ENOMEM);
	pml_wss_close(NULL);
	begin(NULL);
	cr_assert_eq(pml_wss_get(load.w, &e), -ENODATA);
	cr_assert_eq(pml_wss_counts(load.w, 0, numbers, NULL), -EINVAL);
	cr_assert_eq(pml_wss_counts(load.w, 65, numbers, NULL), -EINVAL);
	cr_assert_eq(pml_wss_curve(load.w, 65, numbers), -EINVAL);
	cr_assert_eq(pml_wss_add(load.w, &odd), -EINVAL);
	odd.page_size = 0;
	cr_assert_eq(pml_wss_add(load.w, &odd), -EINVAL);
	epoch_of(5);
	odd.page_size = 16384;
	cr_assert_eq(pml_wss_add(load.w, &odd), -EINVAL);
	/* a caller of an older version has a smaller struct */
	e.size = sizeof(size_t) + sizeof(uint64_t);
	e.pages = 77;
	cr_assert_eq(pml_wss_get(load.w, &e), 0);
	cr_assert_eq(e.epochs, 1);
	cr_assert_eq(e.pages, 77);
	pml_wss_close(load.w);
}

/* ---- sampling ---- */

Test(wss, a_sample_is_near_the_truth_and_never_above_the_population)
{
	struct pml_range all[] = {
		{ .start = 0x10000000, .end = 0x10000000 + 6000 * PAGE, .pid = 3 },
		{ .start = 0x90000000, .end = 0x90000000 + 4000 * PAGE, .pid = 4 },
	};
	struct pml_range used[] = {
		{ .start = all[0].start, .end = all[0].start + 1500 * PAGE, .pid = 3,
		  .events = PML_REFERENCED },
		{ .start = all[1].start + 100 * PAGE, .end = all[1].start + 1600 * PAGE, .pid = 4,
		  .events = PML_REFERENCED },
	};
	uint64_t pages, sum = 0;

	for (uint64_t seed = 1; seed <= 200; seed++) {
		int64_t f = pml_wss_sample(used, 2, all, 2, PAGE, 100, seed, &pages);

		cr_assert_eq(pages, (uint64_t)f * 100);
		cr_assert_leq(pages, 10000);
		sum += pages;
	}
	/* single ones are off by their random error; their mean is not */
	cr_assert(sum / 200 > 2800 && sum / 200 < 3200, "%zu", (size_t)(sum / 200));
	/* what is not in the population is not seen, however much it is used */
	cr_assert_eq(pml_wss_sample(used + 1, 1, all, 1, PAGE, 100, 1, &pages), 0);
	cr_assert_eq(pages, 0);
	cr_assert_eq(pml_wss_sample(used, 2, all, 0, PAGE, 100, 1, &pages), -EINVAL);
	cr_assert_eq(pml_wss_sample(used, 2, all, 2, PAGE, 0, 1, &pages), -EINVAL);
	cr_assert_eq(pml_wss_sample(used, 2, all, 2, 0, 9, 1, &pages), -EINVAL);
}

/* ---- pages taken away: the rest of it needs swap, tests/wss/short ---- */

Test(wss_present, bad_options_and_no_process)
{
	struct pml_wss_present_options o = { .size = sizeof(o), .samples = 1000001 };
	struct pml_wss_present *p = (struct pml_wss_present *)1;

	cr_assert_eq(pml_wss_present_open(&p, getpid(), &o), -EINVAL);
	cr_assert_null(p);
	o.samples = 1;
	cr_assert_eq(pml_wss_present_open(&p, 0, &o), -EINVAL);
	o.size = 0;
	cr_assert_eq(pml_wss_present_open(&p, getpid(), &o), -EINVAL);
	o.size = sizeof(o);
	cr_assert_eq(pml_wss_present_open(&p, INT32_MAX, &o), -ESRCH);
	cr_assert_null(p);
	pml_wss_present_close(NULL);
}
