/* SPDX-License-Identifier: MIT */
/*
 * Adaptive arming: the time of the tracked program and its collects together,
 * with and without it, on three kinds of load.  Two regions, two trackers, epoch
 * by epoch in turn.
 */
#include "common.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGES 32768u		/* 128 MB */
#define CLUSTER 256u		/* pages that belong together */

typedef void (*load_fn)(char *mem, int epoch);

/* A quarter of the memory, all of it, every epoch. */
static void dense(char *mem, int epoch)
{
	(void)epoch;
	for (size_t i = 0; i < PAGES / 4; i++)
		mem[i * 4096]++;
}

/* Clusters chosen by Zipf's law (s = 1), pages within one at random. */
static void zipf(char *mem, int epoch)
{
	static double cdf[PAGES / CLUSTER];
	size_t n = PAGES / CLUSTER;

	(void)epoch;
	if (cdf[n - 1] == 0) {
		double sum = 0;

		for (size_t i = 0; i < n; i++)
			cdf[i] = sum += 1.0 / (double)(i + 1);
		for (size_t i = 0; i < n; i++)
			cdf[i] /= sum;
	}
	for (unsigned int k = 0; k < 12000; k++) {
		double u = (double)(bench_random() >> 11) / 9007199254740992.0;
		size_t lo = 0, hi = n - 1;

		while (lo < hi) {
			size_t mid = (lo + hi) / 2;

			if (cdf[mid] < u)
				lo = mid + 1;
			else
				hi = mid;
		}
		/* ranks are spread over the memory */
		mem[(lo * 37 % n * CLUSTER + bench_random() % CLUSTER) * 4096]++;
	}
}

static void scattered(char *mem, int epoch)
{
	(void)epoch;
	for (unsigned int k = 0; k < PAGES / 20; k++)
		mem[bench_random() % PAGES * 4096]++;
}

static double epoch_time(struct pml *t, char *mem, load_fn load, int epoch)
{
	double t0 = bench_now();

	load(mem, epoch);
	bench_collect(t);
	return bench_now() - t0;
}

static int one_load(const char *name, load_fn load, int epochs, double limit)
{
	size_t bytes = (size_t)PAGES * 4096;
	char *plain_mem = bench_map(bytes, 1), *adaptive_mem = bench_map(bytes, 1);
	struct pml *plain = bench_tracker(plain_mem, bytes, PML_NO_IO_CHECKS);
	struct pml *adaptive = bench_tracker(adaptive_mem, bytes, PML_NO_IO_CHECKS | PML_ADAPTIVE);
	double sums[2] = { 0, 0 };
	double *ratio = calloc((size_t)epochs / 100 + 1, sizeof(double));
	size_t n = 0;
	struct spread s;

	/* sums over 100 epochs: blocks come back in turn, one epoch says little */
	for (int i = 0; i < epochs; i++) {
		sums[0] += epoch_time(plain, plain_mem, load, i);
		sums[1] += epoch_time(adaptive, adaptive_mem, load, i);
		if (i % 100 == 99) {
			ratio[n++] = sums[0] / sums[1];
			sums[0] = sums[1] = 0;
		}
	}
	s = bench_spread(ratio, n);
	printf("%-16s %5.2f (%.2f to %.2f)  at least %.2f  %s\n", name, s.median, s.low, s.high,
	       limit, s.median >= limit ? "reached" : "MISSED");
	pml_close(plain);
	pml_close(adaptive);
	free(ratio);
	return s.median < limit;
}

int bench_adaptive(int epochs)
{
	int missed;

	printf("\nTracked program and collects together, without / with adaptive arming\n"
	       "(128 MB, ratios of sums over 100 epochs, median, 10 %% to 90 %%)\n");
	missed = one_load("dense hot set", dense, epochs, 4.0);
	missed |= one_load("clustered zipf", zipf, epochs, 1.2);
	missed |= one_load("scattered", scattered, epochs, 1 / 1.05);
	return missed;
}
