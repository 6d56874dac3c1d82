/* SPDX-License-Identifier: MIT */
/*
 * test_hotplug.c - a processor goes and comes again and again while the memory of two
 * threads is tracked by the PML device's log: each epoch is exact.  Run in guests of
 * two processors: tests/kmod/inside.
 *
 *   test-hotplug [TIMES [BACKEND]]
 */
#define _GNU_SOURCE
#include "memory.h"
#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CPU1	"/sys/devices/system/cpu/cpu1/online"
#define PAGES	512u
#define HALF	(PAGES / 2)

static atomic_bool stop;
static atomic_bool wanted;	/* the second thread is to write */
static atomic_int times;		/* that it went and came */
static atomic_int tries;
static uint8_t dirty[PAGES];

static bool set_cpu1(const char *on)
{
	int fd = open(CPU1, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, on, 1) == 1;

	if (fd >= 0)
		close(fd);
	return done;
}

static void *go_and_come(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		bool went = set_cpu1("0");

		usleep(5000);
		atomic_fetch_add(&times, set_cpu1("1") && went);
		atomic_fetch_add(&tries, 1);
		usleep(5000);
	}
	return NULL;
}

/* The second half, on whatever processor there is. */
static void *write_second(void *arg)
{
	while (!atomic_load(&stop)) {
		if (atomic_load(&wanted)) {
			memory_write_some(arg, dirty + HALF);
			atomic_store(&wanted, false);
		}
		sched_yield();
	}
	return NULL;
}

/* How many pages are not told as they were written in the epoch. */
static size_t epoch(const struct memory *m, const struct memory *first, struct pml *t)
{
	uint8_t events[PAGES];
	struct told told = { .events = events };

	atomic_store(&wanted, true);
	memory_write_some(first, dirty);
	while (atomic_load(&wanted))
		sched_yield();
	return memory_collect(m, t, &told) ? memory_differs(m, dirty, events) : PAGES;
}

static void hotplug(const char *backend, int least)
{
	struct memory m = memory_make(PAGES), first = m, second = m;
	struct pml *t = m.at ? memory_track(&m, backend, PML_DIRTY) : NULL;
	uint8_t events[PAGES];
	struct told told = { .events = events };
	pthread_t threads[2];
	unsigned long rounds = 0;
	size_t wrong = 0;

	first.pages = HALF;
	second.pages = HALF;
	second.at += HALF * m.page;
	if (!t || pthread_create(&threads[0], NULL, go_and_come, NULL) ||
	    pthread_create(&threads[1], NULL, write_second, &second)) {
		tap_ok(false, "%s: a tracker and two threads", backend);
		return;
	}
	memory_collect(&m, t, &told);
	for (; !wrong && atomic_load(&times) < least && atomic_load(&tries) < 10 * least; rounds++)
		wrong = epoch(&m, &first, t);
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	tap_ok(!wrong && atomic_load(&times) > 0,
	       "%s: %lu exact epochs while a processor went and came %d times (%zu wrong)", backend,
	       rounds, atomic_load(&times), wrong);
	pml_close(t);
	memory_free(&m);
}

int main(int argc, char **argv)
{
	const char *backend = argc > 2 ? argv[2] : "epml";
	const char *why = why_not(backend);

	if (why[0] || access(CPU1, W_OK))
		tap_skip(why[0] ? why : "one processor, or it cannot be taken away",
			 "%s: processors go and come", backend);
	else
		hotplug(backend, argc > 1 ? atoi(argv[1]) : 20);
	return tap_done();
}
