/* SPDX-License-Identifier: MIT */
/*
 * swaps.c - what is swapped out and asked for again, as the module tells it: every page,
 * in order, to each session that asks; and what it says when it cannot.  Run as root in a
 * guest with swap by tests/kmod/inside.
 *
 *   swaps
 */
#define _GNU_SOURCE
#include "session.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u
#define PAGES 64u
#define KEPT 65536u		/* events that the module keeps of a session */

static unsigned char *region;

static uint64_t address(size_t page)
{
	return (uintptr_t)region + page * PAGE;
}

static void touch(size_t page)
{
	++*(volatile unsigned char *)address(page);
}

static bool push_out(size_t page, size_t n)
{
	return madvise((void *)address(page), n * PAGE, MADV_PAGEOUT) == 0;
}

static bool is_out(size_t page)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (pread(pagemap, &entry, 8, (off_t)(address(page) / PAGE * 8)) != 8)
		entry = 0;
	close(pagemap);
	return entry >> 62 & 1;
}

/* One page, surely: reclaim leaves alone what somebody holds just then. */
static bool put_out(size_t page)
{
	for (int i = 0; i < 100 && !is_out(page); i++)
		push_out(page, 1);
	return is_out(page);
}

static int add(int fd, uint32_t kind, int64_t id)
{
	struct pml_uapi_add a = {
		.size = sizeof(a), .kind = kind, .id = id, .mode = PML_MODE_SWAPS,
		.events = PML_EV_SWAPPED,
	};

	return ioctl(fd, PML_IOC_ADD, &a) ? -errno : (int)a.target;
}

/* A session that follows this process. */
static int follow(int *target)
{
	int fd = session_open();

	*target = add(fd, PML_TARGET_SELF, 0);
	return fd;
}

struct told {
	struct pml_uapi_swap at[2 * KEPT];
	uint32_t n;
	uint32_t state;
	int error;
};

static void take(int fd, uint32_t room, struct told *t)
{
	struct pml_uapi_swaps s = {
		.size = sizeof(s), .vec = (uintptr_t)t->at, .vec_len = room,
	};

	t->error = ioctl(fd, PML_IOC_SWAPS, &s) ? -errno : 0;
	t->n = s.n;
	t->state = s.state;
}

/* Of the region alone, each once in a row: a fault may be repeated. */
static struct told *told(int fd)
{
	static struct told t;
	uint32_t kept = 0;

	take(fd, 2 * KEPT, &t);
	for (uint32_t i = 0; i < t.n; i++)
		if (t.at[i].address >= address(0) && t.at[i].address < address(PAGES) &&
		    (!kept || memcmp(&t.at[kept - 1], &t.at[i], sizeof(t.at[i])) != 0))
			t.at[kept++] = t.at[i];
	t.n = kept;
	return &t;
}

static bool says(const struct told *t, uint32_t i, size_t page, unsigned int what)
{
	return i < t->n && t->at[i].address == address(page) && t->at[i].what == what;
}

static void note(const struct told *t)
{
	tap_note("error %d, state %u, %u events", t->error, t->state, t->n);
	for (uint32_t i = 0; i < t->n && i < 8; i++)
		tap_note("page %llu %s", (t->at[i].address - address(0)) / PAGE,
			 t->at[i].what == PML_SWAP_IN ? "in" : "out");
}

static void test_order(int fd)
{
	struct told *t;
	bool good = true;
	uint32_t n = 0;

	told(fd);
	for (size_t i = 0; i < 8; i++)
		good &= put_out(i * 3);
	tap_ok(good, "eight pages go to swap, one after the other");
	for (size_t i = 8; i-- > 0;)
		touch(i * 3);
	touch(0);
	t = told(fd);
	good = t->n == 16;
	for (size_t i = 0; good && i < 8; i++)
		good = says(t, n++, i * 3, PML_SWAP_OUT);
	for (size_t i = 8; good && i-- > 0;)
		good = says(t, n++, i * 3, PML_SWAP_IN);
	if (!tap_ok(good, "they are told in the order in which they went, and came"))
		note(t);
	t = told(fd);
	if (!tap_ok(!t->error && !t->n, "nothing is told twice"))
		note(t);
}

static void test_many(int fd)
{
	struct told *t;
	bool seen[PAGES] = { false };
	size_t out = 0;
	bool good = true;

	push_out(0, PAGES);
	for (size_t i = 0; i < PAGES; i++)
		out += is_out(i);
	t = told(fd);
	for (uint32_t i = 0; i < t->n; i++) {
		size_t page = (t->at[i].address - address(0)) / PAGE;

		good &= t->at[i].what == PML_SWAP_OUT && !seen[page] && is_out(page);
		seen[page] = true;
	}
	if (!tap_ok(good && t->n == out && out > PAGES / 2,
		    "of %zu that go at once each is told, and no other", out))
		note(t);
	for (size_t i = 0; i < PAGES; i++)
		touch(i);
	t = told(fd);
	if (!tap_ok(t->n == out, "and each that comes back (%u)", t->n))
		note(t);
}

/* The kernel itself meets pages that are out, on behalf of who calls it. */
static void test_calls(int fd)
{
	struct told *t;
	char byte;
	int pipes[2];
	bool good = pipe(pipes) == 0 && put_out(5);

	told(fd);
	good = good && write(pipes[1], (void *)address(5), 1) == 1 && read(pipes[0], &byte, 1) == 1;
	t = told(fd);
	if (!tap_ok(good && t->n == 1 && says(t, 0, 5, PML_SWAP_IN),
		    "a page that write(2) asks for is told"))
		note(t);
	close(pipes[0]);
	close(pipes[1]);
}

/* What is dropped, moved or given up does not go to swap. */
static void test_others(int fd)
{
	struct told *t;

	madvise((void *)address(0), 8 * PAGE, MADV_DONTNEED);
	mprotect((void *)address(8), 8 * PAGE, PROT_READ);
	mprotect((void *)address(8), 8 * PAGE, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < PAGES; i++)
		touch(i);
	t = told(fd);
	if (!tap_ok(!t->error && !t->n, "what is dropped or protected is no swap"))
		note(t);
}

static void test_two(int fd)
{
	int second, other = follow(&second), scan = session_open();
	int scanned = session_add(scan, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	struct harvest h = { 0 };
	struct told *t;
	bool both;

	session_collect(scan, scanned, 0, address(0), address(PAGES), NULL);
	told(fd);
	put_out(9);
	touch(9);
	t = told(fd);
	both = t->n == 2 && says(t, 0, 9, PML_SWAP_OUT) && says(t, 1, 9, PML_SWAP_IN);
	t = told(other);
	both &= t->n == 2 && says(t, 0, 9, PML_SWAP_OUT) && says(t, 1, 9, PML_SWAP_IN);
	if (!tap_ok(both, "two sessions are told the same"))
		note(t);
	tap_ok(!session_collect(scan, scanned, 0, address(0), address(PAGES), &h) &&
	       h.pages == 1 && harvest_has(&h, address(9), address(10)),
	       "and a third, by the dirty bits, just the page that was written");
	harvest_free(&h);
	close(other);
	close(scan);
	put_out(9);
	touch(9);
	t = told(fd);
	tap_ok(t->n == 2, "when they have gone, the first goes on (%u)", t->n);
}

static void test_overflow(int fd)
{
	static struct told t;
	uint32_t taken = 0;

	told(fd);
	/* two each, but where reclaim leaves it alone */
	for (unsigned int i = 0; i < KEPT; i++) {
		push_out(11, 1);
		touch(11);
	}
	do {
		take(fd, 1000, &t);
		taken += t.n;
	} while (!t.error && t.n == 1000);
	tap_ok(!t.error && taken == KEPT && t.state == PML_STATE_LOST,
	       "%u events are kept, and then it says that some are missing (%u)", KEPT, taken);
	put_out(11);
	take(fd, 1000, &t);
	tap_ok(!t.error && t.n == 1 && !t.state, "after that all are there again (%u)", t.n);
	touch(11);
}

static void test_words(int fd, int target)
{
	static struct told t;
	struct pml_uapi_add a = {
		.size = sizeof(a), .kind = PML_TARGET_SELF, .mode = PML_MODE_SWAPS,
		.events = PML_EV_SWAPPED,
	};
	struct pml_uapi_swaps s = { .size = sizeof(s) };
	struct pml_uapi_info info = { .size = sizeof(info) };
	int empty = session_open();

	tap_ok(!ioctl(fd, PML_IOC_INFO, &info) && info.modes & PML_MODE_SWAPS &&
	       info.events & PML_EV_SWAPPED, "the module says that it can");
	a.events = PML_EV_DIRTY;
	tap_ok(ioctl(empty, PML_IOC_ADD, &a) && errno == EINVAL, "no other event: EINVAL");
	a.events = PML_EV_SWAPPED;
	a.flags = PML_ADD_SPLIT;
	tap_ok(ioctl(empty, PML_IOC_ADD, &a) && errno == EINVAL, "no flags: EINVAL");
	a.flags = 0;
	a.mode = PML_MODE_PTSCAN;
	tap_ok(ioctl(empty, PML_IOC_ADD, &a) && errno == EINVAL, "in no other mode: EINVAL");
	tap_ok(session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY) == -EEXIST,
	       "a session has a memory once: EEXIST");
	tap_ok(session_collect(fd, target, 0, address(0), address(1), NULL) == -EINVAL,
	       "COLLECT is of other modes: EINVAL");
	tap_ok(ioctl(fd, PML_IOC_SWAPS, &s) && errno == EINVAL, "no room: EINVAL");
	take(empty, 10, &t);
	tap_ok(t.error == -ENOENT, "nobody is followed: ENOENT");
	put_out(12);
	s.vec = 8;
	s.vec_len = 10;
	tap_ok(ioctl(fd, PML_IOC_SWAPS, &s) && errno == EFAULT, "a bad vector: EFAULT");
	take(fd, 10, &t);
	tap_ok(!t.error && !t.n && t.state == PML_STATE_LOST, "and what it took is told as lost");
	touch(12);
	close(empty);
}

/* Waits until its parent has said what to do, and swaps a page of its own. */
static void child(int go, int done)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	touch(20);
	while (read(go, &byte, 1) == 1) {
		put_out(20);
		touch(20);
		if (write(done, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

/* Two processes in one session: in one order. */
static void test_processes(int fd, int target)
{
	int go[2], done[2], other;
	struct pollfd p = { .fd = fd, .events = POLLPRI };
	struct told *t;
	char byte = 0;
	pid_t pid;

	if (pipe(go) || pipe(done))
		return;
	pid = fork();
	if (!pid) {
		close(go[1]);
		child(go[0], done[1]);
	}
	other = add(fd, PML_TARGET_PID, pid);
	tap_ok(other > target, "another process is followed beside it (%d)", other);
	touch(21);
	told(fd);
	put_out(21);
	if (write(go[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1)
		tap_note("the child has gone");
	touch(21);
	t = told(fd);
	if (!tap_ok(t->n == 4 && says(t, 0, 21, PML_SWAP_OUT) && says(t, 1, 20, PML_SWAP_OUT) &&
		    says(t, 2, 20, PML_SWAP_IN) && says(t, 3, 21, PML_SWAP_IN) &&
		    t->at[0].target == (uint32_t)target && t->at[1].target == (uint32_t)other,
		    "what both do is told in one order"))
		note(t);
	close(go[1]);
	waitpid(pid, NULL, 0);
	tap_ok(poll(&p, 1, 5000) == 1 && p.revents & POLLPRI, "the end of one is told");
	tap_ok(session_remove(fd, other) == 0, "and it can be removed");
	close(go[0]);
	close(done[0]);
	close(done[1]);
}

int main(void)
{
	cpu_set_t first = { 0 };
	int target, fd;

	need_module();
	/* a page waits in a batch of the processor's before it can be reclaimed */
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
	region = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (region == MAP_FAILED)
		return 1;
	madvise(region, PAGES * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < PAGES; i++)
		touch(i);
	if (!put_out(0)) {
		tap_skip("nothing can be swapped out here", "what is swapped is told");
		return tap_done();
	}
	touch(0);
	fd = follow(&target);
	if (!tap_ok(fd >= 0 && target > 0, "a process follows itself (%d, %d)", fd, target))
		return tap_done();
	test_words(fd, target);
	test_order(fd);
	test_many(fd);
	test_calls(fd);
	test_others(fd);
	test_two(fd);
	test_processes(fd, target);
	test_overflow(fd);
	close(fd);
	return tap_done();
}
