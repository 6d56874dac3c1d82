/* SPDX-License-Identifier: MIT */
/* What the measurements of bench/core share; see common.h. */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

double bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct spread bench_spread(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), compare);
	return (struct spread){ v[n / 2], v[n / 10], v[n - 1 - n / 10] };
}

uint64_t bench_random(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

char *bench_map(size_t bytes, int populated)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		perror("bench: mmap");
		exit(1);
	}
	madvise(p, bytes, MADV_NOHUGEPAGE);
	if (populated)
		memset(p, 1, bytes);
	return p;
}

struct pml *bench_tracker(void *start, size_t bytes, uint32_t flags)
{
	struct pml_span span = { (uintptr_t)start, (uintptr_t)start + bytes };
	char words[256] = "";
	struct pml_options o = {
		.size = sizeof(o), .flags = flags, .watch = &span, .nwatch = 1,
		.message = words, .message_size = sizeof(words),
	};
	struct pml *t;

	if (pml_open(&t, &o) || pml_start(t)) {
		fprintf(stderr, "bench: %s\n", t ? pml_message(t) : words);
		exit(1);
	}
	return t;
}

const struct pml_result *bench_collect(struct pml *t)
{
	const struct pml_result *r;

	if (pml_collect(t, NULL, &r)) {
		fprintf(stderr, "bench: %s\n", pml_message(t));
		exit(1);
	}
	return r;
}
