/* SPDX-License-Identifier: MIT */
/*
 * test_apply.c - the policy of `pml wss --apply` on simulated cgroups: a memory that two
 * tenants share, with time that is counted and not taken.  It is the same each time it is
 * run.  Run by CTest.
 */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <string.h>

#include "apply.h"

#define BLOCK 65536ull		/* bytes: what comes and goes together */
#define PAGES_A_BLOCK 16u
#define MIB 1048576ull
#define BLOCKS(mib) ((unsigned int)((mib) * 16))
#define EPOCH_NS 500000000ull
#define HIT_NS 10000ull		/* to touch a block that is there */
#define MISS_NS 800000ull	/* and one that has to be fetched */
#define MOST BLOCKS(256)
#define WINDOW 8u

/* ---- a memory, and tenants in it ---- */

struct tenant {
	bool there[MOST];
	bool swapped[MOST];
	uint64_t used[MOST];	/* when last */
	uint64_t epoch[MOST];	/* in which last */
	unsigned int all;	/* blocks that it has */
	unsigned int round;	/* that it goes round now */
	unsigned int at;
	unsigned int resident;
	unsigned int high;	/* blocks; 0: none */
	uint64_t touches;
	struct limit_look look;	/* what has happened since the last one */
};

/* What is dropped when the memory is full. */
enum choice {
	AGE,		/* what was used longest ago */
	SHARE,		/* of either in proportion to what it has, what was used longest ago */
	RANDOM,		/* anything */
	CHOICES,
};

static struct tenant tenants[2];
static enum choice choice;
static uint64_t random_state;
static unsigned int memory_blocks;
static uint64_t now, epoch;

static void begin(unsigned int memory_mib, unsigned int all_mib)
{
	memset(tenants, 0, sizeof(tenants));
	memory_blocks = BLOCKS(memory_mib);
	now = 0;
	epoch = 1;
	random_state = 1;
	for (unsigned int i = 0; i < 2; i++)
		tenants[i].all = BLOCKS(all_mib);
}

static unsigned int oldest_of(const struct tenant *t)
{
	uint64_t least = UINT64_MAX;
	unsigned int oldest = 0;

	for (unsigned int i = 0; i < t->all; i++) {
		if (!t->there[i] || t->used[i] >= least)
			continue;
		oldest = i;
		least = t->used[i];
	}
	return oldest;
}

static void drop(struct tenant *t, unsigned int block)
{
	t->there[block] = false;
	t->swapped[block] = true;
	t->resident--;
}

static unsigned int random_below(unsigned int most)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned int)((random_state >> 33) % most);
}

static unsigned int any_of(const struct tenant *t)
{
	unsigned int block = random_below(t->all);

	while (!t->there[block])
		block = (block + 1) % t->all;
	return block;
}

static unsigned int choose(const struct tenant *t)
{
	return choice == RANDOM ? any_of(t) : oldest_of(t);
}

/* The memory is full. */
static void make_room(void)
{
	unsigned int both = tenants[0].resident + tenants[1].resident, which;

	if (choice == AGE && tenants[0].resident && tenants[1].resident)
		which = tenants[0].used[oldest_of(&tenants[0])] >
			tenants[1].used[oldest_of(&tenants[1])];
	else
		which = random_below(both) >= tenants[0].resident;
	drop(&tenants[which], choose(&tenants[which]));
}

static void keep_limit(struct tenant *t)
{
	while (t->high && t->resident > t->high)
		drop(t, choose(t));
}

/* Returns how long it took. */
static uint64_t touch(struct tenant *t, unsigned int block)
{
	t->used[block] = ++now;
	t->epoch[block] = epoch;
	t->touches++;
	if (t->there[block])
		return HIT_NS;
	if (tenants[0].resident + tenants[1].resident == memory_blocks)
		make_room();
	t->there[block] = true;
	t->resident++;
	if (t->high && t->resident > t->high) {
		t->look.throttled++;
		keep_limit(t);
	}
	if (!t->swapped[block])
		return HIT_NS;
	t->look.refaults += PAGES_A_BLOCK;
	t->look.stalled_us += MISS_NS / 1000;
	return MISS_NS;
}

static void touch_everything(struct tenant *t)
{
	for (unsigned int i = 0; i < t->all; i++)
		touch(t, i);
}

/* An epoch: both have the same time, each its own processor. */
static void run_epoch(void)
{
	uint64_t took[2] = { 0 };

	while (took[0] < EPOCH_NS || took[1] < EPOCH_NS) {
		unsigned int next = took[0] <= took[1] ? 0 : 1;
		struct tenant *t = &tenants[next];

		took[next] += touch(t, t->at++ % t->round);
	}
	epoch++;
}

/* What a tracker would have seen in the last epochs. */
static uint64_t worked_with(const struct tenant *t)
{
	uint64_t blocks = 0;

	for (unsigned int i = 0; i < t->all; i++)
		blocks += t->epoch[i] && t->epoch[i] + WINDOW >= epoch;
	return blocks * BLOCK;
}

/* ---- what apply.c asks of a cgroup ---- */

static struct tenant *tenant_of(const struct limit *l)
{
	return &tenants[l->directory];
}

int limit_look(struct limit *l, struct limit_look *look)
{
	struct tenant *t = tenant_of(l);

	*look = t->look;
	look->current = t->resident * BLOCK;
	t->look = (struct limit_look){ 0 };
	return 0;
}

int limit_set(struct limit *l, uint64_t high)
{
	struct tenant *t = tenant_of(l);

	l->high = high;
	t->high = (unsigned int)(high / BLOCK);
	keep_limit(t);
	return 0;
}

/* ---- runs ---- */

enum method { NONE, HALVES, APPLY };

static struct apply loops[2];
static struct limit limits[2];
static struct apply_sums sums[2];

static void begin_loops(uint64_t floor)
{
	for (int i = 0; i < 2; i++) {
		apply_begin(&loops[i], floor);
		limits[i] = (struct limit){ .directory = i };
		tenants[i].look = (struct limit_look){ 0 };
	}
}

static void step(int i)
{
	cr_assert_eq(apply_step(&loops[i], &limits[i], worked_with(&tenants[i]), EPOCH_NS, &sums[i]),
		     0);
}

static void run_epochs(unsigned int n, enum method method)
{
	for (unsigned int i = 0; i < n; i++) {
		run_epoch();
		for (int k = 0; method == APPLY && k < 2; k++)
			step(k);
	}
}

/* Both have 120 MiB of 160 from the beginning; one goes round 96, the other 24, and then
 * the other way round.  Returns the mean of the four rates, as a share of those with no
 * misses. */
static double run_without_calm(enum method method, unsigned int epochs)
{
	uint64_t alone = EPOCH_NS / HIT_NS * epochs;
	double sum = 0;

	begin(160, 120);
	for (int i = 0; i < 2; i++)
		touch_everything(&tenants[i]);
	begin_loops(0);
	for (int i = 0; method == HALVES && i < 2; i++)
		tenants[i].high = BLOCKS(80);
	for (int phase = 0; phase < 2; phase++) {
		for (int i = 0; i < 2; i++) {
			tenants[i].round = BLOCKS(i == phase ? 96 : 24);
			tenants[i].touches = 0;
		}
		run_epochs(epochs, method);
		for (int i = 0; i < 2; i++)
			sum += (double)tenants[i].touches / (double)alone;
	}
	return sum / 4;
}

/* Static halves are also the control: the memory does punish a limit that is too low. */
Test(apply, without_a_calm_phase_it_beats_halves)
{
	static const unsigned int epochs[] = { 16, 60 };

	for (choice = AGE; choice < CHOICES; choice++) {
		for (unsigned int i = 0; i < 2; i++) {
			double none = run_without_calm(NONE, epochs[i]);
			double halves = run_without_calm(HALVES, epochs[i]);
			double apply = run_without_calm(APPLY, epochs[i]);

			cr_log_info("%d, %u epochs: none %.3f, halves %.3f, apply %.3f",
				    (int)choice, epochs[i], none, halves, apply);
			cr_assert_lt(halves, 0.6);
			cr_assert_gt(apply, 1.5 * halves);
			/* where the kernel alone gets there, it costs next to nothing */
			cr_assert_gt(apply, 0.95 * none);
		}
	}
}

/* One that goes round @round_mib of its 120, with room for all. */
static void begin_one(unsigned int round_mib, uint64_t floor)
{
	choice = AGE;
	begin(400, 120);
	touch_everything(&tenants[0]);
	tenants[0].round = BLOCKS(round_mib);
	tenants[1].round = 1;
	begin_loops(floor);
}

static void go_on(void)
{
	run_epoch();
	step(0);
}

static void go_on_for(unsigned int epochs)
{
	for (unsigned int i = 0; i < epochs; i++)
		go_on();
}

/* The same, and the kernel says that so many pages were fetched again. */
static void go_on_with_refaults(uint64_t refaults)
{
	run_epoch();
	tenants[0].look.refaults = refaults;
	step(0);
}

/* One that goes round 24 MiB, until its limit is what it works with: which that is. */
static uint64_t begin_calm_one(void)
{
	begin_one(24, 0);
	go_on_for(40);
	return limits[0].high;
}

Test(apply, a_calm_one_comes_to_what_it_works_with)
{
	uint64_t last = 120 * MIB;

	begin_one(24, 0);
	for (unsigned int i = 0; i < 40; i++) {
		go_on();
		cr_assert(i >= 8 || !limits[0].high, "it is limited before a window has gone by");
		if (!limits[0].high)
			continue;
		cr_assert_geq(limits[0].high, last * 9 / 10 - BLOCK, "more than a tenth at once");
		cr_assert_geq(limits[0].high, 24 * MIB);
		cr_assert_eq(sums[0].refaults, 0);
		last = limits[0].high;
	}
	cr_assert_leq(last, 27 * MIB, "%lu", last);
}

Test(apply, it_keeps_to_its_floor)
{
	begin_one(24, 60 * MIB);
	for (unsigned int i = 0; i < 40; i++) {
		go_on();
		cr_assert(!limits[0].high || limits[0].high >= 60 * MIB);
	}
	cr_assert_eq(limits[0].high, 60 * MIB);
}

Test(apply, one_that_grows_is_released_in_that_epoch_and_keeps_what_it_needs)
{
	begin_calm_one();
	tenants[0].round = BLOCKS(96);
	go_on();
	cr_assert(sums[0].released && !limits[0].high);
	for (unsigned int i = 0; i < 60; i++) {
		go_on();
		cr_assert(!sums[0].released, "again, %u epochs later", i);
		cr_assert(!limits[0].high || limits[0].high >= 96 * MIB);
	}
	cr_assert_gt(limits[0].high, 0);
	cr_assert_leq(limits[0].high, 120 * MIB);
}

/* What is fetched again little by little is answered by a little more. */
Test(apply, some_refaults_get_it_more_and_calm_takes_that_back)
{
	uint64_t high = begin_calm_one(), most = 0;

	for (unsigned int i = 0; i < 5; i++) {
		go_on_with_refaults(100);
		cr_assert(!sums[0].released);
		cr_assert_gt(limits[0].high, most);
		most = limits[0].high;
	}
	cr_assert_gt(most, high * 12 / 10);
	go_on_for(60);
	cr_assert_leq(limits[0].high, high + BLOCK);
}

Test(apply, noise_is_no_reason_for_more)
{
	uint64_t high = begin_calm_one();

	for (unsigned int i = 0; i < 10; i++)
		go_on_with_refaults(LIMIT_FEW);
	cr_assert_eq(limits[0].high, high);
}

/* Of one that thrashes the estimate is what it gets, and not what it needs. */
Test(apply, one_that_thrashes_is_not_limited)
{
	begin_one(24, 0);
	for (unsigned int i = 0; i < 60; i++) {
		go_on_with_refaults(5000);
		cr_assert_eq(limits[0].high, 0);
	}
}

Test(apply, an_epoch_that_was_lost_changes_nothing)
{
	uint64_t high = begin_calm_one();

	for (unsigned int i = 0; i < 10; i++) {
		run_epoch();
		cr_assert_eq(apply_step(&loops[0], &limits[0], 0, EPOCH_NS, &sums[0]), 0);
		cr_assert_eq(limits[0].high, high);
	}
}

/* The kernel's own memory and the files in use come on top of what is tracked. */
Test(apply, what_is_beside_comes_on_top)
{
	begin_one(24, 0);
	for (unsigned int i = 0; i < 40; i++) {
		run_epoch();
		tenants[0].look.beside = 32 * MIB;
		step(0);
	}
	cr_assert_geq(limits[0].high, 56 * MIB);
	cr_assert_leq(limits[0].high, 59 * MIB);
}
