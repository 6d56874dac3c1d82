/* SPDX-License-Identifier: MIT */
/*
 * undisturbed.c - a program that makes and grows its mappings all the time, tracked
 * by collects without a pause, and by trackers that come and go: no system call of
 * its fails for it.  (To register a part of a mapping splits it, and to take that
 * back does, for a moment; mremap on both parts is EFAULT.)
 *
 *   undisturbed [STARTS]                  from outside, every back-end that can
 *   undisturbed --self BACKEND [STARTS]   a thread of the tracker's own process
 *   undisturbed --negative BACKEND        broken on purpose: the calls do fail
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* All is registered at a start, what is new at a collect, and all is taken back at
 * the end: besides those that collect, for each so many that end at once. */
#define COLLECTS 80
#define SHORT 40
#define PAGE 4096ul
#define ROOM 1025ul
#define ABOVE 65536ul

static int starts = 20;
static bool negative;

struct shown {
	_Atomic uint64_t calls;
	_Atomic uint64_t failed;
	_Atomic int error;
};

static void *made(struct shown *shown, void *at)
{
	shown->calls++;
	if (at == MAP_FAILED) {
		shown->error = errno;
		shown->failed++;
	}
	return at;
}

/* A mapping that is made anew again and again, and grows where it is, into the space below
 * one that is watched too.  What the library maps meanwhile has room above that. */
static void target(struct shown *shown)
{
	const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
	char *above = mmap(NULL, ABOVE * PAGE, PROT_NONE, anon, -1, 0);
	char *room = mmap(NULL, ROOM * PAGE, PROT_READ | PROT_WRITE, anon, -1, 0);
	char *mem = room + ROOM / 2 * PAGE;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (above == MAP_FAILED || room == MAP_FAILED || munmap(above, ABOVE * PAGE) ||
	    munmap(room, (ROOM - 1) * PAGE))
		_exit(1);
	for (;;) {
		size_t pages = 4;

		made(shown, mmap(mem, pages * PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		for (; pages < 512; pages *= 2) {
			mem[(pages - 1) * PAGE] = 1;
			if (made(shown, mremap(mem, pages * PAGE, 2 * pages * PAGE, 0)) ==
			    MAP_FAILED)
				break;
		}
		munmap(mem, pages * PAGE);
	}
}

static struct shown *show(void)
{
	return mmap(NULL, sizeof(struct shown), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
}

/* One tracker, from its start to its end; how many collects went well. */
static int lifetime(struct pml_options *o, int collects)
{
	const struct pml_result *r;
	struct pml *t = NULL;
	int n = 0, err = pml_open(&t, o);

	if (!err)
		err = pml_start(t);
	while (!err && n < collects) {
		err = pml_collect(t, NULL, &r);
		n += !err;
	}
	if (err)
		tap_note("collect %d: %d, %s", n, err, pml_message(t));
	pml_close(t);
	return n;
}

/* Trackers of what the options name, while somebody else writes to `shown`. */
static void trackers(struct pml_options *o, const struct shown *shown)
{
	const char *where = o->target == PML_TARGET_PID ? "outside" : "self";
	int n = 0, want = 0;

	while (!shown->calls)
		usleep(1000);
	/* broken, it happens now and then: up to the first time */
	for (int i = 0; negative ? i < 1000 && !shown->failed : i < starts; i++) {
		n += lifetime(o, COLLECTS);
		for (int k = 0; k < SHORT; k++)
			n += lifetime(o, 1);
		want += COLLECTS + SHORT;
	}
	tap_ok(n == want, "%s, %s: %d collects", o->backend, where, n);
	tap_note("%lu calls of mremap meanwhile, %lu failed, error %d", (unsigned long)shown->calls,
		 (unsigned long)shown->failed, shown->error);
	if (negative)
		tap_ok(shown->failed > 0, "%s, %s: broken on purpose, calls failed", o->backend, where);
	else
		tap_ok(shown->failed == 0, "%s, %s: no call of the program's failed", o->backend,
		       where);
}

static void from_outside(const char *backend)
{
	struct pml_options o = { .size = sizeof(o), .target = PML_TARGET_PID, .backend = backend };
	struct shown *shown = show();

	o.pid = fork();
	if (!o.pid)
		target(shown);
	trackers(&o, shown);
	kill(o.pid, SIGKILL);
	waitpid(o.pid, NULL, 0);
	munmap(shown, sizeof(*shown));
}

static void *target_thread(void *arg)
{
	target(arg);
	return NULL;
}

/* In a process of its own, which ends with the thread. */
static int own_process(const char *backend)
{
	struct pml_options o = { .size = sizeof(o), .backend = backend };
	struct shown *shown = show();
	pthread_t thread;

	if (pthread_create(&thread, NULL, target_thread, shown))
		return 1;
	trackers(&o, shown);
	return tap_done();
}

int main(int argc, char **argv)
{
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	negative = argc == 3 && !strcmp(argv[1], "--negative");
	if (argc == 2 || argc == 4)
		starts = atoi(argv[argc - 1]);
	if (argc >= 3) {
		for (int i = 0; i < n && i < 32; i++)
			if (!strcmp(info[i].name, argv[2]) && !info[i].available) {
				printf("1..0 # SKIP %s: %s\n", info[i].name, info[i].reason);
				return TAP_SKIP_ALL;
			}
		return own_process(argv[2]);
	}
	for (int i = 0; i < n && i < 32; i++)
		if (info[i].available && info[i].external && (info[i].events & PML_DIRTY))
			from_outside(info[i].name);
	return tap_done();
}
