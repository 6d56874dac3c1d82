/* SPDX-License-Identifier: MIT */
/*
 * spml-bench: from logged frames to the pages of a process, in the kernel by pml.ko and
 * in user space by /proc/PID/pagemap, in one guest, taking turns, round by round.  The
 * frames are those of all pages of a region, or of some of them, in no order.  Run as
 * root by bench/spml/run, with a module that was built with its hooks, by which the
 * way in the kernel is prescribed.
 *
 *   spml-bench MEGABYTES DIRTY-PAGES|0 [ROUNDS]
 *
 *   kernel-join, kernel-lookup, kernel  by the module's own clock; the last by the way
 *                                       that it chooses itself
 *   user-join    the frames' bits are set in a bitmap, then the region's pagemap is read
 *                once, a MiB at a time
 *   user-lookup  pagemap is read once, an entry a call, into a table by frame, in which
 *                each logged frame is looked up
 *   user-search  for each logged frame pagemap is read from the start of the region
 *                until it is found, 4 KiB at a time; a sample of SAMPLE frames
 *
 * Prints: METHOD MEGABYTES PAGES MEDIAN LOW HIGH (10 % and 90 %), ns for each page.
 */
#include "../core/common.h"
#include "pml_uapi.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PAGE 4096ul
#define MAX_ROUNDS 99
#define SAMPLE 32
#define FRAME_MASK ((1ull << 55) - 1)
#define BLOCK (1ul << 17) /* entries read at once: 1 MiB */

enum method { K_JOIN, K_LOOKUP, K_AUTO, U_JOIN, U_LOOKUP, U_SEARCH, METHODS };

static const char *const names[METHODS] = {
	"kernel-join", "kernel-lookup", "kernel", "user-join", "user-lookup", "user-search",
};

static const char *const hooks[] = { "512", "1024", "0" };
static double values[METHODS][MAX_ROUNDS];

static struct {
	char *memory;
	size_t pages;
	size_t *chosen;		/* the pages that are written, in the order of it */
	size_t n;
	uint64_t *frames;	/* theirs */
	uint64_t highest;
	uint64_t *entries;	/* BLOCK of pagemap */
	uintptr_t *found;	/* n addresses */
	unsigned long *bits;
	uintptr_t *table;	/* by frame */
	int pagemap;
	int session;
	uint32_t target;
} b;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static off_t entry_at(size_t page)
{
	return (off_t)(((uintptr_t)b.memory / PAGE + page) * sizeof(uint64_t));
}

static void shuffle(size_t *a, size_t n)
{
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = (size_t)random() % (i + 1), t = a[i];

		a[i] = a[j];
		a[j] = t;
	}
}

static void choose(size_t wanted)
{
	b.chosen = calloc(b.pages, sizeof(*b.chosen));
	b.frames = malloc(b.pages * sizeof(*b.frames));
	b.found = malloc(b.pages * sizeof(*b.found));
	b.entries = malloc(BLOCK * sizeof(*b.entries));
	if (!b.chosen || !b.frames || !b.found || !b.entries)
		die("memory");
	for (size_t i = 0; i < b.pages; i++)
		b.chosen[i] = i;
	shuffle(b.chosen, b.pages);
	b.n = wanted && wanted < b.pages ? wanted : b.pages;
	for (size_t i = 0; i < b.n; i++) {
		uint64_t e = 0;

		if (pread(b.pagemap, &e, sizeof(e), entry_at(b.chosen[i])) != sizeof(e) ||
		    !(e & FRAME_MASK))
			die("pagemap (root is needed)");
		b.frames[i] = e & FRAME_MASK;
	}
	b.highest = 1;
	for (size_t i = 0; i < b.pages; i += BLOCK) {
		ssize_t got = pread(b.pagemap, b.entries, BLOCK * sizeof(*b.entries), entry_at(i));

		for (size_t k = 0; k < (size_t)got / sizeof(*b.entries); k++)
			if ((b.entries[k] & FRAME_MASK) > b.highest && b.entries[k] >> 63)
				b.highest = b.entries[k] & FRAME_MASK;
	}
	b.bits = malloc(b.highest / 8 + sizeof(long));
	b.table = malloc((b.highest + 1) * sizeof(*b.table));
	if (!b.bits || !b.table)
		die("memory");
}

/* ---- in the kernel ---- */

static void prescribe(const char *how)
{
	int fd = open("/sys/module/pml/parameters/test_break", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, how, strlen(how)) < 0)
		die("test_break (the module has to be built with its hooks)");
	close(fd);
}

static void collect(void)
{
	struct pml_uapi_collect c = {
		.size = sizeof(c), .target = b.target, .flags = PML_COLLECT_FORGET,
		.start = (uintptr_t)b.memory, .end = (uintptr_t)b.memory + b.pages * PAGE,
	};

	if (ioctl(b.session, PML_IOC_COLLECT, &c))
		die("collect");
}

static double in_kernel(const char *how)
{
	struct pml_uapi_stats before = { .size = sizeof(before) }, after = before;

	prescribe(how);
	collect();
	for (size_t i = 0; i < b.n; i++)
		(*(volatile char *)(b.memory + b.chosen[i] * PAGE))++;
	ioctl(b.session, PML_IOC_STATS, &before);
	collect();
	ioctl(b.session, PML_IOC_STATS, &after);
	if (after.log_mapped - before.log_mapped < b.n)
		fprintf(stderr, "spml-bench: %llu pages were found of %zu\n",
			(unsigned long long)(after.log_mapped - before.log_mapped), b.n);
	return (double)(after.log_map_ns - before.log_map_ns);
}

/* ---- in user space ---- */

static size_t read_block(size_t page)
{
	size_t n = b.pages - page < BLOCK ? b.pages - page : BLOCK;

	if (pread(b.pagemap, b.entries, n * sizeof(*b.entries), entry_at(page)) !=
	    (ssize_t)(n * sizeof(*b.entries)))
		die("pagemap");
	return n;
}

static size_t user_join(void)
{
	const size_t width = 8 * sizeof(long);
	size_t found = 0;

	memset(b.bits, 0, b.highest / 8 + sizeof(long));
	for (size_t i = 0; i < b.n; i++)
		b.bits[b.frames[i] / width] |= 1ul << b.frames[i] % width;
	for (size_t page = 0; page < b.pages; page += BLOCK) {
		size_t n = read_block(page);

		for (size_t k = 0; k < n; k++) {
			uint64_t frame = b.entries[k] & FRAME_MASK;

			if (b.entries[k] >> 63 && b.bits[frame / width] >> frame % width & 1 &&
			    found < b.n)
				b.found[found++] = (uintptr_t)b.memory + (page + k) * PAGE;
		}
	}
	return found;
}

static size_t user_lookup(void)
{
	size_t found = 0;

	memset(b.table, 0, (b.highest + 1) * sizeof(*b.table));
	for (size_t page = 0; page < b.pages; page++) {
		uint64_t e;

		if (pread(b.pagemap, &e, sizeof(e), entry_at(page)) == sizeof(e) && e >> 63)
			b.table[e & FRAME_MASK] = (uintptr_t)b.memory + page * PAGE;
	}
	for (size_t i = 0; i < b.n; i++)
		if (b.table[b.frames[i]])
			b.found[found++] = b.table[b.frames[i]];
	return found;
}

static size_t search(uint64_t wanted)
{
	for (size_t page = 0; page < b.pages; page += 512) {
		size_t n = b.pages - page < 512 ? b.pages - page : 512;

		if (pread(b.pagemap, b.entries, n * sizeof(*b.entries), entry_at(page)) < 0)
			die("pagemap");
		for (size_t k = 0; k < n; k++)
			if ((b.entries[k] & FRAME_MASK) == wanted)
				return page + k;
	}
	return b.pages;
}

static size_t user_search(void)
{
	size_t found = 0;

	for (size_t i = 0; i < SAMPLE && i < b.n; i++)
		found += search(b.frames[i]) < b.pages;
	return found;
}

static double timed(size_t (*way)(void), size_t expect)
{
	double start = bench_now();
	size_t found = way();
	double ns = (bench_now() - start) * 1e9;

	if (found != expect)
		fprintf(stderr, "spml-bench: %zu pages were found of %zu\n", found, expect);
	return ns;
}

static void run_round(int round)
{
	size_t sample = b.n < SAMPLE ? b.n : SAMPLE;

	for (int k = K_JOIN; k <= K_AUTO; k++)
		values[k][round] = in_kernel(hooks[k]) / (double)b.n;
	values[U_JOIN][round] = timed(user_join, b.n) / (double)b.n;
	values[U_LOOKUP][round] = timed(user_lookup, b.n) / (double)b.n;
	values[U_SEARCH][round] = timed(user_search, sample) / (double)sample;
}

int main(int argc, char **argv)
{
	size_t megabytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
	size_t wanted = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	int rounds = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 5;
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = PML_TARGET_SELF, .mode = PML_MODE_SPML,
		.events = PML_EV_DIRTY,
	};

	if (rounds < 1 || rounds > MAX_ROUNDS || !megabytes)
		return 2;
	b.pages = (megabytes << 20) / PAGE;
	b.memory = bench_map(megabytes << 20, 1);
	b.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	b.session = open(PML_UAPI_DEVICE, O_RDWR | O_CLOEXEC);
	choose(wanted);
	if (ioctl(b.session, PML_IOC_ADD, &add))
		die("SPML");
	b.target = add.target;
	/* the first of them warms up, and is not counted */
	for (int round = -1; round < rounds; round++)
		run_round(round < 0 ? 0 : round);
	for (int k = 0; k < METHODS; k++) {
		struct spread s = bench_spread(values[k], (size_t)rounds);

		printf("%s %zu %zu %.1f %.1f %.1f\n", names[k], megabytes, b.n, s.median, s.low,
		       s.high);
	}
	return 0;
}
