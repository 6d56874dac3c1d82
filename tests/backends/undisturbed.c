/* SPDX-License-Identifier: MIT */
/*
 * undisturbed.c - a program that grows, shrinks and moves its mappings all the
 * time, tracked by collects without a pause: no system call of its fails for it.
 * (To register a part of a mapping splits it; mremap on both parts is EFAULT.)
 *
 *   undisturbed [STARTS]                  from outside, every back-end that can
 *   undisturbed --self BACKEND [STARTS]   a thread of the tracker's own process
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* All is registered at a start, and what is new at a collect. */
#define COLLECTS 80
#define PAGE 4096ul

static int starts = 50;

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

/* A mapping that is made anew again and again, and grows where it is. */
static void target(struct shown *shown)
{
	char *room = mmap(NULL, 2048 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = room + 512 * PAGE;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (room == MAP_FAILED)
		_exit(1);
	munmap(room, 2048 * PAGE);
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

/* Collects of what the options name, while somebody else writes to `shown`. */
static void collects(struct pml_options *o, const struct shown *shown)
{
	const char *where = o->target == PML_TARGET_PID ? "outside" : "self";
	const struct pml_result *r;
	struct pml *t = NULL;
	int n = 0, err = 0;

	while (!shown->calls)
		usleep(1000);
	for (int i = 0; !err && i < starts; i++) {
		err = pml_open(&t, o);
		if (!err)
			err = pml_start(t);
		for (int k = 0; !err && k < COLLECTS; k++) {
			err = pml_collect(t, NULL, &r);
			n += !err;
		}
		if (err)
			tap_note("start %d: %d, %s", i, err, pml_message(t));
		pml_close(t);
		t = NULL;
	}
	tap_ok(n == starts * COLLECTS, "%s, %s: %d collects", o->backend, where, n);
	tap_note("%lu calls of mremap meanwhile, %lu failed, error %d", (unsigned long)shown->calls,
		 (unsigned long)shown->failed, shown->error);
	tap_ok(shown->failed == 0, "%s, %s: no call of the program's failed", o->backend, where);
}

static void from_outside(const char *backend)
{
	struct pml_options o = { .size = sizeof(o), .target = PML_TARGET_PID, .backend = backend };
	struct shown *shown = show();

	o.pid = fork();
	if (!o.pid)
		target(shown);
	collects(&o, shown);
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
	collects(&o, shown);
	return tap_done();
}

int main(int argc, char **argv)
{
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	if (argc == 2 || argc == 4)
		starts = atoi(argv[argc - 1]);
	if (argc >= 3 && !strcmp(argv[1], "--self")) {
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
