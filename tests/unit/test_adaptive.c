/* SPDX-License-Identifier: MIT */
/*
 * test_adaptive.c - which blocks adaptive arming leaves alone, and for how long.
 * Run by CTest.
 */
#include "adaptive.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define PAGE 4096ull
#define BLOCK (PML_BLOCK_PAGES * PAGE)

static struct pml_pool pool = { .limit = 64u << 20 };

static enum pml_arming state_of(struct pml_adaptive *a, uint64_t block)
{
	uint64_t run_end;

	return pml_adaptive_run(a, block * BLOCK, (block + 1) * BLOCK, &run_end);
}

/* One epoch in which so many pages of the block were dirty. */
static void epoch(struct pml_adaptive *a, uint64_t block, unsigned int pages)
{
	if (pages && state_of(a, block) != PML_ARM_LEFT)
		pml_adaptive_note(a, block * BLOCK, block * BLOCK + pages * PAGE);
	pml_adaptive_epoch(a, 0, UINT64_MAX & ~(PAGE - 1));
}

Test(adaptive, a_block_hot_twice_is_left_and_then_looked_at_again)
{
	struct pml_adaptive a;

	for (uint64_t seed = 1; seed < 40; seed++) {
		unsigned int left = 0;

		pml_adaptive_init(&a, &pool, 12, seed);
		epoch(&a, 5, 60);
		cr_assert_eq(state_of(&a, 5), PML_ARM_NORMAL, "left after one hot epoch");
		epoch(&a, 5, 60);
		while (state_of(&a, 5) == PML_ARM_LEFT) {
			epoch(&a, 5, 60);
			left++;
			cr_assert_leq(left, 255);
		}
		cr_assert(left >= 16 && left <= 64, "left for %u epochs", left);
		cr_assert_eq(state_of(&a, 5), PML_ARM_AGAIN);
		cr_assert_eq(state_of(&a, 6), PML_ARM_NORMAL);
		pml_adaptive_free(&a);
	}
}

Test(adaptive, scattered_writes_leave_nothing_alone)
{
	unsigned int seed = 3;
	struct pml_adaptive a;

	pml_adaptive_init(&a, &pool, 12, 1);
	for (int i = 0; i < 500; i++)
		for (uint64_t b = 0; b < 4; b++)
			epoch(&a, b, (unsigned int)rand_r(&seed) % 48);
	cr_assert_eq(a.left_blocks, 0);
	pml_adaptive_free(&a);
}

Test(adaptive, a_block_that_cools_down_is_ordinary_again)
{
	struct pml_adaptive a;

	pml_adaptive_init(&a, &pool, 12, 9);
	for (int i = 0; i < 2; i++)
		epoch(&a, 0, 64);
	cr_assert_eq(state_of(&a, 0), PML_ARM_LEFT);
	for (int i = 0; i < 600; i++)
		epoch(&a, 0, 0);
	cr_assert_eq(state_of(&a, 0), PML_ARM_NORMAL);
	cr_assert_eq(a.left_blocks, 0);
	pml_adaptive_free(&a);
}

/* A run is of one state, and what comes after it is of another. */
Test(adaptive, runs_are_whole)
{
	unsigned int seed = 5;
	struct pml_adaptive a;
	uint64_t blocks = 9000;

	pml_adaptive_init(&a, &pool, 12, 1);
	for (int i = 0; i < 4; i++) {
		for (uint64_t b = 0; b < blocks; b++)
			if (b / 37 % 3 && rand_r(&seed) % 50)
				pml_adaptive_note(&a, b * BLOCK, (b + 1) * BLOCK);
		pml_adaptive_epoch(&a, 0, blocks * BLOCK);
	}
	for (uint64_t at = 0; at < blocks * BLOCK;) {
		uint64_t run_end;
		enum pml_arming state = pml_adaptive_run(&a, at, blocks * BLOCK, &run_end);

		cr_assert(run_end > at && run_end <= blocks * BLOCK);
		for (uint64_t b = at / BLOCK; b * BLOCK < run_end; b++)
			cr_assert_eq(state_of(&a, b), state);
		if (run_end < blocks * BLOCK)
			cr_assert_neq(state_of(&a, run_end / BLOCK), state);
		at = run_end;
	}
	pml_adaptive_free(&a);
}
