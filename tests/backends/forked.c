/* SPDX-License-Identifier: MIT */
/*
 * forked.c - a tracked program forks, and its tracker ends while the child lives, which
 * has all the tracker's descriptors: the program writes on, and so does the child; and
 * the next tracker finds memory that nobody has.  Again and again, while a thread writes
 * all the time; by every back-end that works here.
 *
 *   forked
 *   forked --negative BACKEND    it is broken on purpose: the program stands still, or
 *                                the next tracker is told that its memory is taken
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"
#include "told.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 64ul
#define ROUNDS 20
/* Seconds after which a program that does not go on is taken to stand still. */
#define STANDS_STILL 300
#define STANDS_STILL_ON_PURPOSE 3

/* How the program ends; by a signal: it stood still. */
enum { GOES_ON, CANNOT_OPEN, FAILS, CHILD_FAILS, TAKEN, MISSED };

static char *mem;
static atomic_bool ends;

static void write_all(size_t word)
{
	for (size_t i = 0; i < PAGES; i++)
		((_Atomic uint64_t *)(mem + i * PAGE))[word]++;
}

static void *writer(void *arg)
{
	(void)arg;
	while (!ends) {
		write_all(1);
		usleep(100);
	}
	return NULL;
}

/* Lives until it is told; writes before and after. */
static pid_t make_child(int *told)
{
	int order[2], ready[2];
	char c = 0;
	pid_t pid;

	if (pipe(order) || pipe(ready))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(order[1]);
		write_all(0);
		if (write(ready[1], &c, 1) != 1 || read(order[0], &c, 1) != 1)
			_exit(1);
		write_all(0);
		_exit(0);
	}
	close(order[0]);
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		pid = -1;
	close(ready[0]);
	*told = order[1];
	return pid;
}

static bool end_child(pid_t pid, int told)
{
	char c = 1;
	int status = 1;

	if (write(told, &c, 1) != 1)
		return false;
	close(told);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static int start(const char *backend, struct pml **t)
{
	struct pml_span watch = { .start = (uintptr_t)mem, .end = (uintptr_t)mem + PAGES * PAGE };
	struct pml_options o = { .size = sizeof(o), .backend = backend, .watch = &watch,
				 .nwatch = 1 };
	const struct pml_result *r;

	if (pml_open(t, &o))
		return CANNOT_OPEN;
	return pml_start(*t) || pml_collect(*t, NULL, &r) ? FAILS : GOES_ON;
}

static int look_at(const struct pml_result *r)
{
	for (size_t i = 0; i < r->nuncovered; i++)
		if (r->uncovered[i].reason == PML_REASON_OWNED)
			return TAKEN;
	for (size_t i = 0; i < PAGES; i++)
		if (!is_told(r, mem + i * PAGE))
			return MISSED;
	return GOES_ON;
}

/* A tracker that ends before the child does. */
static int one_round(const char *backend)
{
	const struct pml_result *r;
	struct pml *t = NULL;
	int ret = start(backend, &t), told = -1;
	pid_t child;

	if (ret)
		return ret;
	child = make_child(&told);
	if (child < 0 || pml_collect(t, NULL, &r))
		return FAILS;
	pml_close(t);
	write_all(0);
	/* the next one, while the child has the last one's descriptors still */
	ret = start(backend, &t);
	write_all(0);
	if (!ret && pml_collect(t, NULL, &r))
		ret = FAILS;
	if (!ret)
		ret = look_at(r);
	pml_close(t);
	if (!end_child(child, told))
		return ret ? ret : CHILD_FAILS;
	return ret;
}

static int program(const char *backend, unsigned int seconds)
{
	pthread_t thread;
	int ret = GOES_ON;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(seconds);
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED || pthread_create(&thread, NULL, writer, NULL))
		return FAILS;
	for (int i = 0; i < ROUNDS && !ret; i++)
		ret = one_round(backend);
	ends = true;
	pthread_join(thread, NULL);
	return ret;
}

static void one(const char *backend, bool negative)
{
	static const char *const words[] = {
		"all go on", "it cannot be opened", "a call fails", "the child fails",
		"the next tracker finds its memory taken", "a page is missed",
	};
	int status = 0, how;
	pid_t pid = fork();

	if (!pid)
		_exit(program(backend, negative ? STANDS_STILL_ON_PURPOSE : STANDS_STILL));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	how = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	if (how == CANNOT_OPEN) {
		tap_skip(words[CANNOT_OPEN], "%s", backend);
		return;
	}
	tap_note("%s: %s", backend, how < 0 ? "it stands still" : words[how]);
	if (negative)
		tap_ok(how < 0 || how == TAKEN, "%s, broken on purpose: it is noticed", backend);
	else
		tap_ok(how == GOES_ON, "%s: %d trackers end, each before a child that was "
		       "forked meanwhile: all go on, and the next tracker sees all", backend,
		       ROUNDS);
}

int main(int argc, char **argv)
{
	const char *broken = argc == 3 && !strcmp(argv[1], "--negative") ? argv[2] : NULL;
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	for (int i = 0; i < n && i < 32; i++) {
		if (broken && strcmp(info[i].name, broken) != 0)
			continue;
		if (!info[i].available || !(info[i].events & PML_DIRTY))
			tap_skip(info[i].available ? "not for dirty pages" : info[i].reason, "%s",
				 info[i].name);
		else
			one(info[i].name, broken);
	}
	return tap_done();
}
