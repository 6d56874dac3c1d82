/* SPDX-License-Identifier: MIT */
/*
 * limits.c - what a session, and all sessions of a user, may keep is bounded; at
 * the bound nothing is lost without a word, and afterwards all is as before.  Run
 * as root in a guest by tests/kmod/inside; changes the module's parameters.
 *
 *   limits
 */
#define _GNU_SOURCE
#include "session.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u
#define CHUNK ((size_t)2 << 20)	/* what a page table covers, and the module keeps by */
#define CHUNKS 32u
#define ALL (1ull << 47)
#define MAX_SESSIONS 64u
#define NOBODY 65534u

static unsigned char *region;	/* one page in each chunk of it is used */

static uint64_t region_end(void)
{
	return (uintptr_t)region + CHUNKS * CHUNK;
}

static void write_all(void)
{
	for (size_t i = 0; i < CHUNKS; i++)
		++*(volatile unsigned char *)(region + i * CHUNK);
}

static void parameter_path(const char *name, char *path, size_t size)
{
	snprintf(path, size, "/sys/module/pml/parameters/%s", name);
}

/* Sets a parameter of the module; returns what it was. */
static unsigned long set_parameter(const char *name, unsigned long value)
{
	char path[96], text[32] = "";
	unsigned long was;
	FILE *f;

	parameter_path(name, path, sizeof(path));
	f = fopen(path, "r+");
	if (!f || !fgets(text, sizeof(text), f)) {
		tap_ok(0, "%s can be read: %s", path, strerror(errno));
		exit(tap_done());
	}
	was = strtoul(text, NULL, 10);
	rewind(f);
	fprintf(f, "%lu", value);
	if (fclose(f)) {
		tap_ok(0, "%s can be set: %s", path, strerror(errno));
		exit(tap_done());
	}
	return was;
}

/* A session on this process, armed. */
static int tracking(int *target)
{
	int fd = session_open();

	*target = session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	session_collect(fd, *target, 0, 0, ALL, NULL);
	return fd;
}

static uint64_t overflows(int fd)
{
	struct pml_uapi_stats st = { .size = sizeof(st) };

	return ioctl(fd, PML_IOC_STATS, &st) ? UINT64_MAX : st.overflows;
}

static int look(int fd, int target, struct harvest *h)
{
	return session_collect(fd, target, 0, (uintptr_t)region, region_end(), h);
}

/* Are the pages that were written among what it says? */
static bool has_all(const struct harvest *h)
{
	for (size_t i = 0; i < CHUNKS; i++) {
		uint64_t at = (uintptr_t)region + i * CHUNK;

		if (!harvest_has(h, at, at + PAGE))
			return false;
	}
	return true;
}

static bool is_overflow(const struct harvest *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->ranges[i].known == PML_KNOWN_ASSUMED &&
		    h->ranges[i].reason == PML_WHY_OVERFLOW)
			return true;
	return false;
}

static void note(const struct harvest *h)
{
	tap_note("%zu ranges, %" PRIu64 " pages, state %u", h->n, h->pages, h->state);
	for (size_t i = 0; i < h->n && i < 8; i++)
		tap_note("%#llx-%#llx known %u reason %u", h->ranges[i].start, h->ranges[i].end,
			 h->ranges[i].known, h->ranges[i].reason);
}

/* Is it one page alone, and no word of a loss? */
static bool is_just(const struct harvest *h, uint64_t at)
{
	return !(h->state & PML_STATE_LOST) && h->pages == 1 && harvest_has(h, at, at + PAGE);
}

/* One session collects; what that leaves pending for the other does not fit. */
static void is_told(int roomy, int roomy_target, int tight, int tight_target, const char *whose)
{
	struct harvest h;
	int error;

	write_all();
	error = look(roomy, roomy_target, &h);
	if (!tap_ok(!error && h.pages == CHUNKS && has_all(&h) && !(h.state & PML_STATE_LOST),
		    "%s: who collects gets its %u pages, and nothing is lost", whose, CHUNKS))
		note(&h);
	harvest_free(&h);
	tap_ok(overflows(tight) > 0, "%s: what does not fit is an overflow", whose);
	error = look(tight, tight_target, &h);
	if (!tap_ok(!error && (h.state & PML_STATE_LOST) && has_all(&h) && is_overflow(&h),
		    "%s: it is told as lost, and all that was written is in it", whose))
		note(&h);
	harvest_free(&h);
	++*(volatile unsigned char *)(region + 3 * CHUNK);
	error = look(tight, tight_target, &h);
	if (!tap_ok(!error && is_just(&h, (uintptr_t)region + 3 * CHUNK),
		    "%s: the next collect is exact again", whose))
		note(&h);
	harvest_free(&h);
}

static void test_session_bound(void)
{
	unsigned long was;
	int roomy, tight, a, b;

	/* for a target, and a few of the chunks */
	was = set_parameter("max_memory", 8192);
	tight = tracking(&b);
	set_parameter("max_memory", was);
	roomy = tracking(&a);
	tap_ok(a > 0 && b > 0, "both sessions track (%d, %d)", a, b);
	is_told(roomy, a, tight, b, "a session's bound");
	tap_ok(!overflows(roomy), "a session's bound is no other's");
	close(roomy);
	close(tight);

	set_parameter("max_memory", 100);
	tight = session_open();
	b = session_add(tight, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	tap_ok(b == -ENOMEM, "a bound too low for any target: ENOMEM (%d)", b);
	close(tight);
	set_parameter("max_memory", was);
}

/* The bound is on what is there, and so may be lowered under it. */
static void test_user_bound(void)
{
	unsigned long was;
	int roomy, tight, a, b;

	roomy = tracking(&a);
	tight = tracking(&b);
	was = set_parameter("max_user_memory", 0);
	is_told(roomy, a, tight, b, "a user's bound");
	close(tight);
	tight = session_open();
	tap_ok(tight == -ENOMEM, "beyond a user's bound no session is opened (%d)", tight);
	set_parameter("max_user_memory", was);
	close(roomy);
}

static unsigned int open_many(int *fds)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < MAX_SESSIONS; i++)
		fds[i] = -1;
	while (n < MAX_SESSIONS && (fds[n] = session_open()) >= 0)
		n++;
	return n;
}

static bool another_user_opens(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(setgid(NOBODY) || setuid(NOBODY) || session_open() < 0);
	}
	return waitpid(pid, &status, 0) == pid && !status;
}

static void test_many_sessions(void)
{
	unsigned long was = set_parameter("max_user_memory", 1ul << 20);
	int fds[MAX_SESSIONS] = { -1 };
	unsigned int n = open_many(fds);

	tap_ok(n >= 4 && n <= 16 && fds[n] == -ENOMEM,
	       "in a MiB one user has few sessions (%u), then ENOMEM", n);
	tap_ok(another_user_opens(), "another user's are another matter");
	close(fds[0]);
	fds[0] = session_open();
	tap_ok(fds[0] >= 0, "who closes one may open one");
	for (unsigned int i = 0; i < n; i++)
		close(fds[i]);
	set_parameter("max_user_memory", was);
	n = open_many(fds);
	tap_ok(n == MAX_SESSIONS, "what was closed counts no more (%u)", n);
	for (unsigned int i = 0; i < n; i++)
		close(fds[i]);
}

static void test_targets(void)
{
	unsigned long was = set_parameter("max_targets", 1);
	int target, fd = tracking(&target);
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	tap_ok(target > 0 && session_add(fd, PML_TARGET_PID, pid, PML_EV_DIRTY) == -EMFILE,
	       "one target more than allowed: EMFILE");
	set_parameter("max_targets", was);
	tap_ok(session_add(fd, PML_TARGET_PID, pid, PML_EV_DIRTY) > 0, "allowed, it is added");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
}

int main(void)
{
	need_module();
	/* at a chunk's begin: a page table for each page that is used */
	region = mmap(NULL, (CHUNKS + 1) * CHUNK, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (region == MAP_FAILED)
		return 1;
	region = (unsigned char *)(((uintptr_t)region + CHUNK - 1) & ~(uintptr_t)(CHUNK - 1));
	if (madvise(region, CHUNKS * CHUNK, MADV_NOHUGEPAGE))
		return 1;
	write_all();
	test_session_bound();
	test_user_bound();
	test_many_sessions();
	test_targets();
	return tap_done();
}
