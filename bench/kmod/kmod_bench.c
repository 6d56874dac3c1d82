/* SPDX-License-Identifier: MIT */
/*
 * kmod-bench: what tracking by the guest module costs beside the kernel's own
 * methods, in one guest: page faults by the kernel's counters, the first rewrite of
 * memory after a collect, collects of clean and of dirty memory.  The methods take
 * turns, round by round.  Run by bench/kmod/run.
 *
 *   kmod-bench [MEGABYTES [ROUNDS]]
 *
 * Prints: METHOD MEASURE MEDIAN LOW HIGH (10 % and 90 %); milliseconds, or faults.
 */
#include "../core/common.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAX_ROUNDS 99
#define PAGE 4096

enum measure { REWRITE_FAULTS, REWRITE, COLLECT_DIRTY, COLLECT_CLEAN, ARM, MEASURES };

static const char *const measure_names[MEASURES] = {
	"rewrite-faults", "rewrite-ms", "collect-dirty-ms", "collect-clean-ms", "arm-ms",
};

/* In order of the table; by_hand is what one would write without the library. */
static struct method {
	const char *name;
	int by_hand;
	int available;
	double values[MEASURES][MAX_ROUNDS];
} methods[] = {
	{ .name = "untracked", .by_hand = 1, .available = 1 },
	{ .name = "ptscan" },
	{ .name = "soft-dirty" },
	{ .name = "clear_refs", .by_hand = 1 },
	{ .name = "wp-async" },
};
#define METHODS (sizeof(methods) / sizeof(methods[0]))

static int clear_refs_fd;

static long faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt + u.ru_majflt;
}

static void write_all(char *memory, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		(*(volatile char *)(memory + i))++;
}

static double ms_since(double begin)
{
	return (bench_now() - begin) * 1e3;
}

static void clear_refs(void)
{
	if (pwrite(clear_refs_fd, "4", 1, 0) != 1)
		perror("kmod-bench: clear_refs");
}

/* Arms, or collects and re-arms; what there is without tracking is nothing. */
static void collect(const struct method *m, struct pml *t)
{
	if (t)
		bench_collect(t);
	else if (!strcmp(m->name, "clear_refs"))
		clear_refs();
}

static void run_round(struct method *m, char *memory, size_t bytes, int round)
{
	struct pml *t = NULL;
	double begin;
	long before;

	/* what the method before has protected is written once, at its expense */
	write_all(memory, bytes);
	begin = bench_now();
	if (!m->by_hand) {
		setenv("PML_BACKEND", m->name, 1);
		t = bench_tracker(memory, bytes, PML_NO_IO_CHECKS);
	}
	collect(m, t);
	m->values[ARM][round] = ms_since(begin);
	before = faults();
	begin = bench_now();
	write_all(memory, bytes);
	m->values[REWRITE][round] = ms_since(begin);
	m->values[REWRITE_FAULTS][round] = (double)(faults() - before);
	begin = bench_now();
	collect(m, t);
	m->values[COLLECT_DIRTY][round] = ms_since(begin);
	begin = bench_now();
	collect(m, t);
	m->values[COLLECT_CLEAN][round] = ms_since(begin);
	pml_close(t);
}

/* By its own probe; soft-dirty by hand only where soft-dirty works at all. */
static void find_available(void)
{
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	for (size_t m = 0; m < METHODS; m++)
		for (int i = 0; i < n && i < 32; i++)
			if (!strcmp(info[i].name, !strcmp(methods[m].name, "clear_refs")
							  ? "soft-dirty" : methods[m].name)) {
				methods[m].available = info[i].available;
				if (!info[i].available)
					printf("# %s: %s\n", methods[m].name, info[i].reason);
			}
}

int main(int argc, char **argv)
{
	size_t bytes = (argc > 1 ? strtoul(argv[1], NULL, 10) : 128) << 20;
	int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 11;
	char *memory = bench_map(bytes, 1);

	if (rounds < 1 || rounds > MAX_ROUNDS)
		return 2;
	clear_refs_fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	find_available();
	/* the first of them warms up, and is not counted */
	for (int round = -1; round < rounds; round++)
		for (size_t m = 0; m < METHODS; m++)
			if (methods[m].available)
				run_round(&methods[m], memory, bytes, round < 0 ? 0 : round);
	for (size_t m = 0; m < METHODS; m++)
		for (int k = 0; methods[m].available && k < MEASURES; k++) {
			struct spread s = bench_spread(methods[m].values[k], (size_t)rounds);

			printf("%s %s %.3f %.3f %.3f\n", methods[m].name, measure_names[k],
			       s.median, s.low, s.high);
		}
	return 0;
}
