/* SPDX-License-Identifier: MIT */
/*
 * killed.c - a tracker that is killed in the middle of its collects, again and
 * again: the target runs on, counts without a gap, keeps what it wrote, and can
 * be tracked by the next one.  (Killed in the middle of an attach: tests/inject.)
 *
 *   killed [TIMES]
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 4096u

static int times = 60;

/* What the target shows of itself. */
struct shown {
	_Atomic uint64_t rounds;
	_Atomic uint64_t wrong;
};

/* Writes a number into every page, and finds it there the next time round. */
static void target(struct shown *shown)
{
	uint64_t *mem = mmap(NULL, PAGES * 4096ul, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mem == MAP_FAILED)
		_exit(1);
	for (uint64_t round = 1;; round++) {
		for (size_t i = 0; i < PAGES; i++) {
			uint64_t *word = mem + i * 512 + i % 512;

			if (*word != round - 1)
				shown->wrong++;
			*word = round;
		}
		shown->rounds++;
	}
}

/* Collects without end; never returns 0, and says why it has. */
static int tracker(const char *backend, pid_t pid, int ready)
{
	char words[256] = "";
	struct pml_options o = { .size = sizeof(o), .target = PML_TARGET_PID, .pid = pid,
				 .backend = backend, .message = words,
				 .message_size = sizeof(words) };
	const struct pml_result *r;
	struct pml *t = NULL;
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = pml_open(&t, &o);
	if (!err)
		err = pml_start(t);
	if (!err && write(ready, "y", 1) != 1)
		return 1;
	while (!err)
		err = pml_collect(t, NULL, &r);
	fprintf(stderr, "# %s: %s\n", backend, t ? pml_message(t) : words);
	return 1;
}

/* One tracker, killed after a while.  0: it had begun, and was killed. */
static int one_kill(const char *backend, pid_t pid, long nanoseconds)
{
	struct timespec a_while = { .tv_nsec = nanoseconds };
	int ready[2], status = 0;
	char byte = 0;
	pid_t child;

	if (pipe(ready))
		return -errno;
	child = fork();
	if (!child)
		_exit(tracker(backend, pid, ready[1]));
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1)
		nanosleep(&a_while, NULL);
	close(ready[0]);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return byte && WIFSIGNALED(status) ? 0 : -1;
}

static int is_running(const struct shown *shown)
{
	struct timespec a_while = { .tv_nsec = 20000000 };
	uint64_t before = shown->rounds;

	for (int i = 0; i < 500 && shown->rounds < before + 2; i++)
		nanosleep(&a_while, NULL);
	return shown->rounds >= before + 2;
}

static void kills(const char *backend)
{
	struct shown *shown = mmap(NULL, sizeof(*shown), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int seed = 1;
	int killed = 0;
	pid_t pid = fork();

	if (!pid)
		target(shown);
	for (int i = 0; i < times; i++)
		killed += one_kill(backend, pid, rand_r(&seed) % 3000000) == 0;
	tap_ok(killed == times, "%s: %d trackers of one target were killed while they collected, "
	       "each after the last", backend, killed);
	tap_ok(is_running(shown), "%s: the target runs on", backend);
	tap_ok(shown->wrong == 0, "%s: and finds in its memory what it wrote", backend);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(shown, sizeof(*shown));
}

int main(int argc, char **argv)
{
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	if (argc > 1)
		times = atoi(argv[1]);
	for (int i = 0; i < n && i < 32; i++) {
		if (!info[i].available || !info[i].external || !(info[i].events & PML_DIRTY))
			tap_skip(info[i].available ? "not for dirty pages of another process" :
				 info[i].reason, "%s: trackers killed", info[i].name);
		else
			kills(info[i].name);
	}
	return tap_done();
}
