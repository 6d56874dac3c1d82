/* SPDX-License-Identifier: MIT */
/*
 * mapreduce.c - a map-reduce whose working set is known: sums of values by key, of the
 * first N MiB of its records, again and again.  Two threads map, each into a table of its
 * own; then the tables are reduced to one, and the sum of all sums is held against the
 * records.  bench/wss/programs-inside runs it.
 *
 *   wss-mapreduce LOG GO STEP-SECONDS MB...
 *
 * It begins when the file GO is there, stays at each of the sizes MB for STEP-SECONDS, and
 * ends.  LOG gets a line a size: seconds of the monotonic clock when it began, and the MiB
 * that it works with, tables included.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)
#define KEYS (1u << 16)
#define THREADS 2

struct record {
	uint32_t key;
	uint32_t value;
	char rest[56];
};

struct part {
	const struct record *first;
	size_t n;
	uint64_t sums[KEYS];
};

static struct record *records;
static struct part parts[THREADS];
static uint64_t reduced[KEYS];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *map(void *arg)
{
	struct part *p = arg;

	for (size_t i = 0; i < KEYS; i++)
		p->sums[i] = 0;
	for (size_t i = 0; i < p->n; i++)
		p->sums[p->first[i].key % KEYS] += p->first[i].value;
	return NULL;
}

/* The sum of all. */
static uint64_t reduce(void)
{
	uint64_t all = 0;

	for (size_t i = 0; i < KEYS; i++) {
		reduced[i] = 0;
		for (size_t j = 0; j < THREADS; j++)
			reduced[i] += parts[j].sums[i];
		all += reduced[i];
	}
	return all;
}

/* Whether the sums of the first n records are right: their values count from 0. */
static bool job(size_t n)
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++) {
		parts[i].first = records + n / THREADS * i;
		parts[i].n = n / THREADS;
		if (pthread_create(&threads[i], NULL, map, &parts[i]))
			return false;
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return reduce() == (n ? (uint64_t)n * (n - 1) / 2 : 0);
}

static bool make_records(size_t n)
{
	uint32_t seed = 1;

	records = mmap(NULL, n * sizeof(*records), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (records == MAP_FAILED)
		return false;
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		records[i].key = seed >> 8;
		records[i].value = (uint32_t)i;
	}
	return true;
}

static bool step(FILE *log, size_t mib, double seconds)
{
	size_t n = mib * (MIB / sizeof(*records));
	double end = now() + seconds;

	fprintf(log, "%.2f %.2f\n", now(),
		(double)mib + (double)(sizeof(reduced) + THREADS * sizeof(parts[0].sums)) / MIB);
	fflush(log);
	do {
		if (!job(n)) {
			fprintf(stderr, "wss-mapreduce: a sum is wrong, or no thread\n");
			return false;
		}
	} while (now() < end);
	return true;
}

int main(int argc, char **argv)
{
	double seconds;
	size_t most = 0;
	FILE *log;

	if (argc < 5) {
		fprintf(stderr, "usage: wss-mapreduce LOG GO STEP-SECONDS MB...\n");
		return 2;
	}
	seconds = strtod(argv[3], NULL);
	for (int i = 4; i < argc; i++) {
		size_t mib = strtoul(argv[i], NULL, 10);

		most = mib > most ? mib : most;
	}
	log = fopen(argv[1], "w");
	if (!log || !make_records(most * (MIB / sizeof(*records)))) {
		perror("wss-mapreduce");
		return 1;
	}
	while (access(argv[2], F_OK))
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	for (int i = 4; i < argc; i++)
		if (!step(log, strtoul(argv[i], NULL, 10), seconds))
			return 1;
	return 0;
}
