/* SPDX-License-Identifier: MIT */
/*
 * tree.c - how descendants join a tracker of a tree: one that is seen between vfork and
 * exec, when its memory is still its parent's; very many of one parent.  Run by CTest
 * over the back-end that it is given.
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PLACE ((unsigned char *)0x600000000000)
#define PAGES 16u
#define CHILDREN 1000u	/* more than fit into a page of their numbers */
#define STACK 65536u

static const char *backend;
static size_t page;
static int to_target[2], from_target[2];

static void pause_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static void map_place(void)
{
	if (mmap(PLACE, PAGES * page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != PLACE)
		_exit(1);
	memset(PLACE, 1, PAGES * page);
}

static bool say(int fd)
{
	return write(fd, "x", 1) == 1;
}

static bool hear(int fd)
{
	char byte;

	return read(fd, &byte, 1) == 1;
}

/* After exec: writes a page each time it is asked to.  Its descriptors are 0 and 1. */
static int writer(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	map_place();
	while (say(1) && hear(0))
		PLACE[3 * page]++;
	return 0;
}

static int sleep_and_exec(void *arg)
{
	(void)arg;
	pause_ms(300);
	dup2(to_target[0], 0);
	dup2(from_target[1], 1);
	execl("/proc/self/exe", "tree", "--writer", NULL);
	_exit(1);
}

/* A parent whose child takes a while to exec. */
static void vfork_parent(void)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	map_place();
	hear(to_target[0]);
	clone(sleep_and_exec, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	for (;;)
		pause();
}

static void many_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned int i = 0; i < CHILDREN; i++)
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	say(from_target[1]);
	for (;;)
		pause();
}

static pid_t started(void (*what)(void))
{
	pid_t pid;

	if (pipe(to_target) || pipe(from_target))
		exit(1);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		what();
	return pid;
}

static void ended(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(to_target[i]);
		close(from_target[i]);
	}
}

static struct pml *tracker(pid_t pid)
{
	static struct pml_span watch;
	struct pml_options o = {
		.size = sizeof(o), .backend = backend, .target = PML_TARGET_TREE, .pid = pid,
		.watch = &watch, .nwatch = 1, .max_memory = 1ull << 30,
	};
	struct pml *t;
	int err;

	watch.start = (uintptr_t)PLACE;
	watch.end = watch.start + PAGES * page;
	err = pml_open(&t, &o);
	if (err)
		return NULL;
	err = pml_start(t);
	if (!err)
		return t;
	tap_note("pml_start: %s", pml_message(t));
	pml_close(t);
	return NULL;
}

/* Whether another process than this one is told to have written its fourth page. */
static bool told_of_other(const struct pml_result *r, pid_t parent)
{
	uint64_t at = (uintptr_t)(PLACE + 3 * page);

	for (size_t i = 0; i < r->nranges; i++)
		if (r->ranges[i].pid != (uint32_t)parent && r->ranges[i].start <= at &&
		    at < r->ranges[i].end)
			return true;
	return false;
}

/* Its memory is its parent's when it is seen first. */
static void joins_after_vfork(void)
{
	pid_t parent = started(vfork_parent);
	struct pml *t = tracker(parent);
	const struct pml_result *r;
	int err = t ? 0 : -1;
	bool told = false;

	if (!err)
		say(to_target[1]);
	for (int i = 0; i < 15 && !err; i++) {
		pause_ms(20);
		err = pml_collect(t, NULL, &r);
	}
	if (!err && hear(from_target[0]))
		err = pml_collect(t, NULL, &r);
	for (int i = 0; i < 3 && !err; i++) {
		say(to_target[1]);
		hear(from_target[0]);
		err = pml_collect(t, NULL, &r);
		told = !err && told_of_other(r, parent);
		if (!told)
			break;
	}
	tap_ok(!err && told, "one that was seen before its exec: its own pages are told (%d)", err);
	pml_close(t);
	ended(parent);
}

static void very_many(void)
{
	pid_t parent = started(many_parent);
	const struct pml_result *r;
	struct pml *t;
	int err;

	hear(from_target[0]);
	t = tracker(parent);
	err = t ? pml_collect(t, NULL, &r) : -1;
	tap_ok(!err && r->processes == CHILDREN + 1,
	       "%u children of one parent: %u processes are looked at (%d)", CHILDREN,
	       err ? 0 : r->processes, err);
	pml_close(t);
	ended(parent);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 0 };

	page = (size_t)sysconf(_SC_PAGESIZE);
	if (argc == 2 && strcmp(argv[1], "--writer") == 0)
		return writer();
	backend = argc == 2 ? argv[1] : NULL;
	signal(SIGPIPE, SIG_IGN);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	joins_after_vfork();
	very_many();
	return tap_done();
}
