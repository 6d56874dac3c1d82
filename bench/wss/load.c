/* SPDX-License-Identifier: MIT */
/*
 * load.c - a program whose working set is known: it goes round the first N pages of
 * a region, again and again, and writes down when each pass began and ended.
 * bench/wss/inside runs it, bench/wss/judge reads what it wrote.
 *
 *   wss-load KIND LOG GO STEP-SECONDS IDLE-MB MB...
 *
 * KIND is read, write or mixed (every second page is written).  It begins when the
 * file GO is there, stays at each of the sizes MB for STEP-SECONDS, and ends.  IDLE-MB
 * are allocated beside, of which one byte is touched.  LOG has a line a pass: seconds
 * of the monotonic clock at its begin and end, pages touched, pages written; LOG.region
 * has the region's addresses, for pml wss --range.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static size_t page_size;
static volatile unsigned char sum;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

static volatile unsigned char *allocate(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("wss-load: mmap");
		exit(1);
	}
	madvise(p, bytes, MADV_NOHUGEPAGE);
	return p;
}

/* One pass; returns how many pages it wrote. */
static size_t pass(volatile unsigned char *region, size_t pages, const char *kind)
{
	bool write = !strcmp(kind, "write"), mixed = !strcmp(kind, "mixed");
	size_t written = 0;

	for (size_t i = 0; i < pages; i++) {
		if (write || (mixed && i % 2)) {
			region[i * page_size]++;
			written++;
		} else {
			sum += region[i * page_size];
		}
	}
	return written;
}

/* Returns false if it cannot. */
static bool tell_region(const char *log, uintptr_t start, size_t bytes)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s.region", log);
	file = fopen(path, "we");
	if (!file)
		return false;
	fprintf(file, "%jx-%jx\n", (uintmax_t)start, (uintmax_t)start + bytes);
	return fclose(file) == 0;
}

int main(int argc, char **argv)
{
	volatile unsigned char *region, *idle;
	size_t most = 0;
	double seconds;
	FILE *log;

	if (argc < 7)
		return 2;
	page_size = (size_t)sysconf(_SC_PAGESIZE);
	for (int i = 6; i < argc; i++)
		if (strtoul(argv[i], NULL, 10) > most)
			most = strtoul(argv[i], NULL, 10);
	region = allocate(most << 20);
	for (size_t i = 0; i < (most << 20) / page_size; i++)
		region[i * page_size] = 1;
	if (strtoul(argv[5], NULL, 10)) {
		idle = allocate(strtoul(argv[5], NULL, 10) << 20);
		idle[0] = 1;
	}
	if (!tell_region(argv[2], (uintptr_t)region, most << 20))
		return 1;
	log = fopen(argv[2], "we");
	seconds = strtod(argv[4], NULL);
	if (!log || seconds <= 0)
		return 1;
	while (access(argv[3], F_OK))
		pause_ms(20);
	for (int i = 6; i < argc; i++) {
		size_t pages = (strtoul(argv[i], NULL, 10) << 20) / page_size;
		double end = now() + seconds;

		while (now() < end) {
			double begun = now();
			size_t written = pass(region, pages, argv[1]);

			fprintf(log, "%.6f %.6f %zu %zu\n", begun, now(), pages, written);
			pause_ms(10);
		}
	}
	return fclose(log) ? 1 : 0;
}
