/* SPDX-License-Identifier: MIT */
/*
 * bench-backends: one loop over every back-end that this kernel has.  A tenth of the
 * pages, at random, gets one word each; then they are collected.  Back-ends take turns
 * within a repetition, and the same loop untracked is in each.
 *
 *   bench-backends REPETITIONS MEGABYTES...
 *
 * Prints lines of fields, separated by tabs: kernel, MB, 4k or thp, back-end, chosen
 * (1: pml_open's own choice) and for each of arm, write, collect (ns a page of the
 * memory, or of what is written), slowdown (of the loop) and epoch (loop and collect,
 * over the loop untracked): median, 10 %, 90 %.  Run by bench/backends/run.
 */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#define MAX_BACKENDS 8
#define MAX_REPETITIONS 101

enum { ARM, WRITE, COLLECT, SLOWDOWN, EPOCH, MEASURES };

struct series {
	char name[24];
	double v[MEASURES][MAX_REPETITIONS];
};

static struct series series[MAX_BACKENDS];
static size_t nseries;
static char chosen[24];

static struct pml *open_one(const char *name, char *mem, size_t bytes)
{
	struct pml_span span = { (uintptr_t)mem, (uintptr_t)mem + bytes };
	char words[256] = "";
	struct pml_options o = {
		.size = sizeof(o), .backend = name, .watch = &span, .nwatch = 1,
		.max_memory = (size_t)1 << 30, .message = words, .message_size = sizeof(words),
	};
	struct pml *t;

	if (pml_open(&t, &o)) {
		fprintf(stderr, "bench: %s\n", words);
		exit(1);
	}
	return t;
}

static void find_backends(void)
{
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);
	struct pml *t;

	for (int i = 0; i < n && i < 32 && nseries < MAX_BACKENDS; i++)
		if (info[i].available && (info[i].events & PML_DIRTY))
			snprintf(series[nseries++].name, sizeof(series[0].name), "%s", info[i].name);
	t = open_one(NULL, (char *)4096, 4096);
	snprintf(chosen, sizeof(chosen), "%s", pml_backend_name(t));
	pml_close(t);
}

/* A tenth of the pages, each once. */
static size_t pick(uint32_t *list, size_t pages)
{
	size_t n = pages / 10;

	for (size_t i = 0; i < pages; i++)
		list[i] = (uint32_t)i;
	for (size_t i = 0; i < n && i < pages; i++) {
		size_t k = i + bench_random() % (pages - i);
		uint32_t swapped = list[i];

		list[i] = list[k];
		list[k] = swapped;
	}
	return n;
}

static double write_all(char *mem, const uint32_t *list, size_t n)
{
	double t0 = bench_now();

	for (size_t i = 0; i < n; i++)
		mem[(size_t)list[i] * 4096]++;
	return bench_now() - t0;
}

static char *region(size_t bytes, int thp)
{
	char *m = mmap(NULL, bytes + (2u << 20), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED) {
		perror("bench: mmap");
		exit(1);
	}
	m += (2u << 20) - (uintptr_t)m % (2u << 20);
	madvise(m, bytes, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	memset(m, 1, bytes);
	return m;
}

/* One turn of one back-end, on memory of its own. */
static void turn(struct series *s, int rep, size_t bytes, int thp, const uint32_t *list, size_t n)
{
	char *m = region(bytes, thp);
	struct pml *t = open_one(s->name, m, bytes);
	double plain, t0, t1, t2, t3;

	/* the first time is for the processor's caches */
	write_all(m, list, n);
	plain = write_all(m, list, n);
	t0 = bench_now();
	if (pml_start(t)) {
		fprintf(stderr, "bench: %s\n", pml_message(t));
		exit(1);
	}
	t1 = bench_now();
	write_all(m, list, n);
	t2 = bench_now();
	bench_collect(t);
	t3 = bench_now();
	s->v[ARM][rep] = (t1 - t0) * 1e9 / ((double)bytes / 4096);
	s->v[WRITE][rep] = (t2 - t1) * 1e9 / (double)n;
	s->v[COLLECT][rep] = (t3 - t2) * 1e9 / (double)n;
	s->v[SLOWDOWN][rep] = (t2 - t1) / plain;
	s->v[EPOCH][rep] = (t3 - t1) / plain;
	pml_close(t);
	munmap(m, bytes);
}

static void column(const char *kernel, size_t mb, int thp, int reps)
{
	size_t bytes = mb << 20, pages = bytes / 4096, n;
	uint32_t *list = calloc(pages, sizeof(*list));

	if (!list)
		exit(1);
	for (int rep = 0; rep < reps; rep++) {
		n = pick(list, pages);
		for (size_t i = 0; i < nseries; i++)
			turn(&series[(i + (size_t)rep) % nseries], rep, bytes, thp, list, n);
	}
	for (size_t i = 0; i < nseries; i++) {
		printf("%s\t%zu\t%s\t%s\t%d", kernel, mb, thp ? "thp" : "4k", series[i].name,
		       !strcmp(series[i].name, chosen));
		for (int k = 0; k < MEASURES; k++) {
			struct spread s = bench_spread(series[i].v[k], (size_t)reps);

			printf("\t%.4g\t%.4g\t%.4g", s.median, s.low, s.high);
		}
		putchar('\n');
	}
	fflush(stdout);
	free(list);
}

int main(int argc, char **argv)
{
	int reps = argc > 2 ? atoi(argv[1]) : 0;
	struct utsname u;

	if (reps < 1 || reps > MAX_REPETITIONS) {
		fprintf(stderr, "usage: bench-backends REPETITIONS MEGABYTES...\n");
		return 2;
	}
	uname(&u);
	u.release[strcspn(u.release, "-+")] = '\0';
	find_backends();
	for (int i = 2; i < argc; i++) {
		size_t mb = strtoul(argv[i], NULL, 10);

		if (!mb || mb > 65536)
			return 2;
		column(u.release, mb, 0, reps);
		column(u.release, mb, 1, reps);
	}
	return 0;
}
