/* SPDX-License-Identifier: MIT */
/*
 * 64 GB of address space with 1 GB in it, beside 1 GB: 10,000 pages dirty.  What
 * must be reached is for memory in one piece.  Scattered pieces keep every page
 * directory of the mapping alive, and the kernel's walk over the empty entries of
 * those (2 MiB each) is then what a scan mostly does: shown, without a limit.
 */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>

#define GB ((size_t)1 << 30)
#define STEP ((size_t)16 << 20)
#define DIRTY 10000

/* Where byte i of the populated memory lies: all of it at the beginning, or in
 * pieces of 16 MB all over the mapping. */
static size_t place(size_t i, int scattered)
{
	return scattered ? i / STEP * STEP * 64 + i % STEP : i;
}

static struct spread collects(char *mem, size_t bytes, int scattered, int epochs, uint64_t *memory)
{
	struct pml_stats st = { .size = sizeof(st) };
	double *v = calloc((size_t)epochs, sizeof(double));
	struct spread s;
	struct pml *t;

	for (size_t i = 0; i < GB; i += 4096)
		mem[place(i, scattered)] = 1;
	t = bench_tracker(mem, bytes, 0);
	for (int k = 0; k < epochs; k++) {
		double t0;

		for (int i = 0; i < DIRTY; i++)
			mem[place(bench_random() % (GB / 4096) * 4096, scattered)]++;
		t0 = bench_now();
		bench_collect(t);
		v[k] = bench_now() - t0;
	}
	pml_get_stats(t, &st);
	*memory = st.memory_bytes;
	pml_close(t);
	s = bench_spread(v, (size_t)epochs);
	free(v);
	return s;
}

int bench_sparse(int epochs)
{
	uint64_t m1, m2, m3;
	/* the same memory for the first and the last: what drifts shows there */
	char *one = bench_map(GB, 0), *sixty_four = bench_map(64 * GB, 0);
	char *pieces = bench_map(64 * GB, 0);
	struct spread a = collects(one, GB, 0, epochs, &m1);
	struct spread b = collects(sixty_four, 64 * GB, 0, epochs, &m2);
	struct spread c = collects(pieces, 64 * GB, 1, epochs, &m3);
	struct spread again = collects(one, GB, 0, epochs, &m1);
	double base = a.median < again.median ? a.median : again.median;

	printf("\n64 GB mapped with 1 GB in it, 10,000 pages dirty, beside 1 GB mapped\n"
	       "1 GB %.0f us, again %.0f us, tables %llu kB\n"
	       "64 GB, in one piece %.0f us: %.2f (limit 1.20), tables %llu kB\n"
	       "64 GB, in pieces of 16 MB %.0f us: %.2f, tables %llu kB\n",
	       a.median * 1e6, again.median * 1e6, (unsigned long long)m1 >> 10, b.median * 1e6,
	       b.median / base, (unsigned long long)m2 >> 10, c.median * 1e6, c.median / base,
	       (unsigned long long)m3 >> 10);
	return b.median > 1.2 * base;
}
