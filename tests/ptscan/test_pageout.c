/* SPDX-License-Identifier: MIT */
/*
 * test_pageout.c - a page that is being written is swapped out.  Its entry is gone from
 * the page table, and the kernel has said so, before it has flushed the TLB: another
 * processor still writes there, and that must be told.  The moment is short, unless the
 * module is told to make reclaim linger (PML_HOOK_LINGER of guest-kmod/track.h).  For
 * two processors and swap; run by CTest, and in guests that have the module:
 *
 *   test-pageout [BACKEND [ROUNDS]]
 */
#define _GNU_SOURCE
#include "common.h"
#include "tap.h"
#include "tracker.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define HUGE ((size_t)2 << 20)
#define LINGER_MS 200

static volatile unsigned long *target;
static size_t page;
static _Atomic(unsigned long) written;	/* what the target holds by the writer's word */
static atomic_int go;			/* 1 write, 0 wait, -1 end */

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Without a system call while it writes, so that it keeps what its TLB holds. */
static void *writer(void *arg)
{
	unsigned long n = 0;
	int what;

	run_on(1);
	while ((what = atomic_load(&go)) >= 0) {
		if (!what) {
			sleep_ms(1);
			continue;
		}
		*target = ++n;
		atomic_store_explicit(&written, n, memory_order_relaxed);
	}
	return arg;
}

static void *swapper(void *arg)
{
	madvise((void *)(uintptr_t)target, page, MADV_PAGEOUT);
	return arg;
}

/* Writes after the first collect that the second one did not tell: 1, else 0. */
static int one_round(struct pml *t, unsigned int *between)
{
	unsigned long before, after;
	pthread_t thread;
	bool told;

	atomic_store(&go, 1);
	sleep_ms(20);
	is_told(t, target);
	if (pthread_create(&thread, NULL, swapper, NULL))
		return 1;
	sleep_ms(LINGER_MS / 4);
	is_told(t, target);
	before = atomic_load(&written);
	sleep_ms(LINGER_MS / 4);
	after = atomic_load(&written);
	atomic_store(&go, 0);
	pthread_join(thread, NULL);
	sleep_ms(20);
	told = is_told(t, target);
	*between += after != before;
	return after != before && !told;
}

static bool has_swap(void)
{
	FILE *f = fopen("/proc/swaps", "r");
	char line[256];
	int lines = 0;

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines > 1;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 3, missed = 0, done = 0;
	struct pml_options options = { .size = sizeof(options), .events = PML_DIRTY };
	struct pml_span watch;
	unsigned int between = 0;
	pthread_t thread;
	struct pml *t;
	char *mem;

	need_module();
	page = (size_t)sysconf(_SC_PAGESIZE);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2 || !has_swap()) {
		tap_skip("there is one processor, or no swap", "swapped out under a writer");
		return tap_done();
	}
	mem = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	mem += -(uintptr_t)mem & (HUGE - 1);
	madvise(mem, HUGE, MADV_NOHUGEPAGE);
	target = (volatile unsigned long *)mem;
	/* nothing else of what is tracked is written: that would be reason to flush */
	watch.start = (uintptr_t)mem;
	watch.end = watch.start + HUGE;
	options.watch = &watch;
	options.nwatch = 1;
	options.backend = argc > 1 ? argv[1] : "ptscan";
	*target = 0;
	t = tracker_start(&options);
	if (!t || pthread_create(&thread, NULL, writer, NULL))
		return 1;
	run_on(0);
	is_told(t, target);
	/* one is enough */
	for (; done < rounds && !missed; done++)
		missed = one_round(t, &between);
	atomic_store(&go, -1);
	pthread_join(thread, NULL);
	tap_ok(!missed, "swapped out under a writer: %d of %d rounds missed, %u wrote in between",
	       missed, done, between);
	pml_close(t);
	return tap_done();
}
