/* SPDX-License-Identifier: MIT */
/*
 * log-bench: what tracking by the PML device's log costs, in events and instructions,
 * beside the page tables' bits.  For a guest of one processor whose time stamp counter
 * ticks once an instruction (tests/vm/run --icount); speaks to the module itself, so
 * that nothing but the module is counted.  Run by bench/log/run.
 *
 *   log-bench [MEGABYTES]
 *
 * Prints lines of words and numbers, one fact a line.
 */
#include "pml_uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE 4096ul
#define VEC 4096u
#define DIRTY 1000ul
#define SMALL (64ul << 20)
#define TIMES 5
#define FIRST 2
#define SWITCHES 2000

static struct pml_uapi_range vec[VEC];

struct session {
	int fd;
	uint32_t target;
};

static void fail(const char *what)
{
	fprintf(stderr, "log-bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct session session_begin(uint32_t mode)
{
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = PML_TARGET_SELF, .mode = mode, .events = PML_EV_DIRTY,
	};
	struct session s = { .fd = open(PML_UAPI_DEVICE, O_RDWR | O_CLOEXEC) };

	if (s.fd < 0 || ioctl(s.fd, PML_IOC_ADD, &add))
		fail("a session");
	s.target = add.target;
	return s;
}

static struct pml_uapi_stats stats(const struct session *s)
{
	struct pml_uapi_stats st = { .size = sizeof(st) };

	if (ioctl(s->fd, PML_IOC_STATS, &st))
		fail("its counters");
	return st;
}

/* Collects the range; how many pages of it were written. */
static uint64_t collect(const struct session *s, const char *at, size_t bytes)
{
	struct pml_uapi_collect c = {
		.size = sizeof(c), .target = s->target, .start = (uintptr_t)at,
		.end = (uintptr_t)at + bytes, .vec = (uintptr_t)vec, .vec_len = VEC,
	};
	uint64_t pages = 0;

	do {
		if (ioctl(s->fd, PML_IOC_COLLECT, &c))
			fail("a collect");
		pages += c.pages;
		c.start = c.walk_end;
		c.flags |= PML_COLLECT_MORE;
	} while (c.walk_end < (uintptr_t)at + bytes);
	return pages;
}

static char *map(size_t bytes)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		fail("memory");
	madvise(at, bytes, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < bytes; i += PAGE)
		at[i] = 1;
	return at;
}

static long faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt + u.ru_majflt;
}

/* Spread evenly. */
static void write_pages(char *at, size_t bytes, size_t pages)
{
	size_t step = bytes / pages / PAGE * PAGE;

	for (size_t i = 0; i < pages; i++)
		(*(volatile char *)(at + i * step))++;
}

/* Every page written in one epoch: what that causes. */
static void events(char *at)
{
	struct session s = session_begin(PML_MODE_EPML);
	struct pml_uapi_stats a, b, c;
	uint64_t told;
	long before;

	collect(&s, at, SMALL);
	a = stats(&s);
	before = faults();
	write_pages(at, SMALL, SMALL / PAGE);
	before = faults() - before;
	b = stats(&s);
	told = collect(&s, at, SMALL);
	c = stats(&s);
	printf("pages-written %lu\npages-told %llu\nfaults %ld\n", SMALL / PAGE,
	       (unsigned long long)told, before);
	printf("commands-while-writing %llu\ninterrupts %llu\n",
	       b.device_commands - a.device_commands, b.device_interrupts - a.device_interrupts);
	printf("commands-of-the-collect %llu\nrearmed %llu\nentries %llu\n",
	       c.device_commands - b.device_commands, c.log_rearmed - b.log_rearmed,
	       c.log_entries - a.log_entries);
	close(s.fd);
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * The median of a few collects of `bytes`, in whose first `spread` pages are dirty; after
 * two epochs in which the module makes the tables for them, which is told apart.
 */
static void follow(const char *name, uint32_t mode, char *at, size_t bytes, size_t spread,
		   size_t dirty)
{
	struct session s = session_begin(mode);
	uint64_t all[FIRST + TIMES], *n = all + FIRST, pages = 0;

	collect(&s, at, bytes);
	for (int i = 0; i < FIRST + TIMES; i++) {
		if (dirty)
			write_pages(at, spread, dirty);
		all[i] = __rdtsc();
		pages = collect(&s, at, bytes);
		all[i] = __rdtsc() - all[i];
	}
	qsort(n, TIMES, sizeof(n[0]), ascending);
	printf("collect %s %zu %zu %llu %llu\n", name, bytes >> 20, spread >> 20,
	       (unsigned long long)pages, (unsigned long long)n[TIMES / 2]);
	printf("first %s %zu %zu %llu\n", name, bytes >> 20, spread >> 20,
	       (unsigned long long)(all[0] > all[1] ? all[0] : all[1]));
	close(s.fd);
}

/* Two processes that wake one another: instructions for there and back. */
static uint64_t ping_pong(void)
{
	uint64_t n[TIMES];
	int there[2], back[2];
	char byte = 0;
	pid_t child;

	if (pipe(there) || pipe(back))
		fail("pipes");
	child = fork();
	if (child < 0)
		fail("a process");
	if (!child) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1)
			if (write(back[1], &byte, 1) != 1)
				break;
		_exit(0);
	}
	close(there[0]);
	for (int i = 0; i < TIMES; i++) {
		n[i] = __rdtsc();
		for (int k = 0; k < SWITCHES / 2; k++)
			if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
				fail("a pipe");
		n[i] = __rdtsc() - n[i];
	}
	close(there[1]);
	close(back[0]);
	close(back[1]);
	waitpid(child, NULL, 0);
	qsort(n, TIMES, sizeof(n[0]), ascending);
	return n[TIMES / 2] / (SWITCHES / 2);
}

static void switches(void)
{
	uint64_t untracked = ping_pong(), tracked, loaded;
	struct session s = session_begin(PML_MODE_EPML);
	struct pml_uapi_stats a = stats(&s), b;

	tracked = ping_pong();
	b = stats(&s);
	close(s.fd);
	s = session_begin(PML_MODE_PTSCAN);
	loaded = ping_pong();
	close(s.fd);
	printf("round-trip untracked %llu\nround-trip epml %llu\nround-trip ptscan %llu\n",
	       (unsigned long long)untracked, (unsigned long long)tracked,
	       (unsigned long long)loaded);
	printf("switches %d\nswitches-told %llu\ncommands-at-switches %llu\n", TIMES * SWITCHES,
	       b.device_switches - a.device_switches, b.device_commands - a.device_commands);
}

static void follow_all(char *at, size_t bytes, size_t spread, size_t dirty)
{
	follow("epml", PML_MODE_EPML, at, bytes, spread, dirty);
	follow("spml", PML_MODE_SPML, at, bytes, spread, dirty);
	follow("ptscan", PML_MODE_PTSCAN, at, bytes, spread, dirty);
}

int main(int argc, char **argv)
{
	size_t large = (argc > 1 ? strtoul(argv[1], NULL, 10) : 1024) << 20;
	char *at;

	if (large < SMALL)
		return 2;
	at = map(SMALL);
	events(at);
	switches();
	follow_all(at, SMALL, SMALL, DIRTY);
	follow_all(at, SMALL, SMALL, 0);
	munmap(at, SMALL);
	at = map(large);
	follow_all(at, large, SMALL, DIRTY);
	follow_all(at, large, large, DIRTY);
	follow_all(at, large, SMALL, 0);
	return 0;
}
