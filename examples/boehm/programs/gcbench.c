/* SPDX-License-Identifier: MIT */
/*
 * boehm-gcbench: binary trees, short-lived and long-lived, after the idea of the
 * benchmark of that name.  Counts every node it looks at, so that a lost one shows.
 * It says little about dirty pages: almost nothing old is written.
 * Usage: boehm-gcbench [DEPTH]   (16: about a second)
 */
#include "common.h"

#include <stdio.h>

struct tree {
	struct tree *left;
	struct tree *right;
	uint64_t mark;
};

#define MARK 0x5eed5eed5eed5eedu

static struct tree *bottom_up(int depth)
{
	struct tree *t = boehm_alloc(sizeof(*t));

	t->mark = MARK;
	if (depth > 0) {
		t->left = bottom_up(depth - 1);
		t->right = bottom_up(depth - 1);
	}
	return t;
}

/* Parents before children: pointers from older to younger nodes. */
static void top_down(struct tree *t, int depth)
{
	t->mark = MARK;
	if (depth == 0)
		return;
	t->left = boehm_alloc(sizeof(*t));
	t->right = boehm_alloc(sizeof(*t));
	top_down(t->left, depth - 1);
	top_down(t->right, depth - 1);
}

static long count(const struct tree *t)
{
	if (!t)
		return 0;
	if (t->mark != MARK)
		boehm_fail("gcbench", "a node was lost");
	return 1 + count(t->left) + count(t->right);
}

static void expect(const struct tree *t, int depth)
{
	if (count(t) != (2L << depth) - 1)
		boehm_fail("gcbench", "a tree has lost nodes");
}

int main(int argc, char **argv)
{
	int most = argc > 1 ? (int)boehm_number(argv[1], 4, 22) : 16;
	struct tree *old;
	double *array;
	const long length = 500000;

	GC_INIT();
	old = boehm_alloc(sizeof(*old));
	top_down(old, most);
	array = boehm_alloc_atomic((size_t)length * sizeof(*array));
	for (long i = 0; i < length; i++)
		array[i] = 1.0 / (double)(i + 1);
	for (int depth = 4; depth <= most; depth += 2) {
		long rounds = 2L << (most - depth + 2);

		for (long i = 0; i < rounds; i++) {
			struct tree *t = boehm_alloc(sizeof(*t));

			top_down(t, depth);
			expect(t, depth);
			expect(bottom_up(depth), depth);
		}
	}
	expect(old, most);
	if (array[1000] != 1.0 / 1001)
		boehm_fail("gcbench", "the array has changed");
	puts("gcbench: every node is there");
	return 0;
}
