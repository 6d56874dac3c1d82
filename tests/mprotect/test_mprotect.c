/* SPDX-License-Identifier: MIT */
/*
 * test_mprotect.c - a program whose memory is protected lives on, whatever it does:
 * its own handlers of SIGSEGV, small signal stacks, memory that moves, forked
 * children, threads, system calls, more mappings than the kernel allows, a fault that
 * is on its way when the tracker goes.  Run by CTest, and in guests.
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"
#include "tracker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 64

static unsigned char *region;
static size_t page;
static sigjmp_buf back;
static volatile sig_atomic_t own_faults;
static struct sigaction below;

static struct pml *tracker(void *at, size_t len)
{
	struct pml_span watch = { (uintptr_t)at, (uintptr_t)at + len };
	struct pml_options o = {
		.size = sizeof(o), .backend = "mprotect", .watch = &watch, .nwatch = 1,
	};

	return tracker_start(&o);
}

static unsigned char *memory(size_t pages)
{
	unsigned char *m = mmap(NULL, pages * page, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		exit(1);
	return m;
}

struct told {
	int err;
	unsigned long dirty;
	unsigned long assumed;
	bool overflow;
	bool at;		/* the page asked about is in it */
};

static struct told collect(struct pml *t, const void *about)
{
	struct told told = { 0 };
	const struct pml_result *r;

	told.err = t ? pml_collect(t, NULL, &r) : -EINVAL;
	if (told.err)
		return told;
	told.dirty = r->dirty_pages;
	told.assumed = r->assumed_pages;
	for (size_t i = 0; i < r->nranges; i++) {
		told.overflow |= r->ranges[i].reason == PML_REASON_OVERFLOW;
		told.at |= r->ranges[i].start <= (uintptr_t)about &&
			   (uintptr_t)about < r->ranges[i].end;
	}
	return told;
}

/* The program's own use of the signal: a guard page, and a way out. */
static void jump_back(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	(void)context;
	own_faults++;
	siglongjmp(back, 1);
}

/* One that asks first, and passes on what it does not know. */
static unsigned char *guard_page;

static void jump_or_pass(int sig, siginfo_t *info, void *context)
{
	if ((unsigned char *)info->si_addr == guard_page)
		jump_back(sig, info, context);
	below.sa_sigaction(sig, info, context);
}

static void touch_guard(void)
{
	if (!sigsetjmp(back, 1))
		*guard_page = 1;
}

static void handler_before(void)
{
	struct sigaction mine = { .sa_sigaction = jump_back, .sa_flags = SA_SIGINFO }, now;
	struct pml *t;
	struct told told;

	own_faults = 0;
	sigaction(SIGSEGV, &mine, NULL);
	t = tracker(region, PAGES * page);
	touch_guard();
	region[3 * page]++;
	touch_guard();
	told = collect(t, region + 3 * page);
	tap_ok(own_faults == 2 && told.dirty == 1 && told.at,
	       "a handler from before gets the program's own faults (%d), and no other (%lu)",
	       (int)own_faults, told.dirty);
	pml_close(t);
	sigaction(SIGSEGV, NULL, &now);
	tap_ok(now.sa_sigaction == jump_back, "after close it is the handler again");
	signal(SIGSEGV, SIG_DFL);
}

static void handler_after(void)
{
	struct sigaction mine = { .sa_sigaction = jump_or_pass, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct pml *t = tracker(region, PAGES * page);
	struct told told;

	own_faults = 0;
	sigaction(SIGSEGV, &mine, &below);
	touch_guard();
	region[5 * page]++;
	told = collect(t, region + 5 * page);
	tap_ok(own_faults == 1 && told.dirty == 1 && told.at,
	       "a handler from after, which passes on what it does not know: both work");
	pml_close(t);
	t = tracker(region, PAGES * page);
	region[6 * page]++;
	touch_guard();
	told = collect(t, region + 6 * page);
	tap_ok(own_faults == 2 && told.at, "and with the next tracker");
	pml_close(t);
	signal(SIGSEGV, SIG_DFL);
}

/* Runs in a child; how it ended. */
static int ended(void (*body)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		body();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void crash(void)
{
	struct pml *t = tracker(region, PAGES * page);

	region[0]++;
	*guard_page = (unsigned char)(t != NULL);
}

static void send_it(void)
{
	struct pml *t = tracker(region, PAGES * page);

	if (t)
		raise(SIGSEGV);
}

/* What the program itself made unreadable is its own affair. */
static void write_to_closed(void)
{
	struct pml *t = tracker(region, PAGES * page);

	if (t && !mprotect(region + 8 * page, page, PROT_NONE))
		region[8 * page]++;
}

static void own_crashes(void)
{
	tap_ok(ended(crash) == -SIGSEGV, "a wild write still ends the program");
	tap_ok(ended(send_it) == -SIGSEGV, "so does the signal, sent");
	tap_ok(ended(write_to_closed) == -SIGSEGV, "so does a write to a page made inaccessible");
}

static void moved(void)
{
	unsigned char *from = memory(PAGES), *room = memory(3 * PAGES), *to = room + PAGES * page;
	struct pml *t;
	struct told told;

	memset(from, 1, PAGES * page);
	t = tracker(from, PAGES * page);
	tap_ok(t && mremap(from, PAGES * page, PAGES * page, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to,
	       "protected memory is moved out of what is watched");
	for (size_t i = 0; i < PAGES; i++)
		to[i * page]++;
	tap_ok(to[5 * page] == 2, "and written there: the program lives on");
	told = collect(t, NULL);
	tap_ok(!told.err, "a collect of what is gone");
	pml_close(t);

	from = memory(PAGES);
	memset(from, 1, PAGES * page);
	t = tracker(room, 3 * PAGES * page);
	pml_watch(t, (uintptr_t)from, (uintptr_t)from + PAGES * page);
	collect(t, NULL);
	/* onto memory that is watched, and looks as before */
	tap_ok(mremap(from, PAGES * page, PAGES * page, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to,
	       "protected memory is moved onto protected memory");
	told = collect(t, to + 7 * page);
	tap_ok(!told.err && told.at, "which is told (%lu dirty, %lu assumed)", told.dirty,
	       told.assumed);
	to[7 * page]++;
	told = collect(t, to + 7 * page);
	tap_ok(told.at && told.dirty == 1, "and is exact from then on (%lu)", told.dirty);
	from = memory(PAGES);
	tap_ok(mremap(to, PAGES * page, PAGES * page, MREMAP_MAYMOVE | MREMAP_FIXED, from) == from,
	       "moved away, and not written before the end");
	pml_close(t);
	memset(from, 3, PAGES * page);
	tap_ok(from[0] == 3, "after close it may be written");
	munmap(from, PAGES * page);
	munmap(room, 3 * PAGES * page);
}

static void forked(void)
{
	struct pml *t = tracker(region, PAGES * page);
	struct told told;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct pml *mine;

		/* by its parent's protection, then by its own */
		memset(region, 7, PAGES * page / 2);
		mine = tracker(region, PAGES * page);
		region[40 * page]++;
		told = collect(mine, region + 40 * page);
		pml_close(mine);
		_exit(!mine || told.dirty != 1 || !told.at);
	}
	waitpid(pid, &status, 0);
	tap_ok(status == 0, "a child writes, and has a tracker of its own (status %#x)",
	       (unsigned int)status);
	told = collect(t, NULL);
	tap_ok(!told.err && told.dirty == 0, "the child's writes are not the parent's (%lu)", told.dirty);
	pml_close(t);
}

/* On a signal stack as small as may be. */
static void *on_small_stack(void *arg)
{
	stack_t small = { .ss_size = (size_t)sysconf(_SC_MINSIGSTKSZ) + 4096 };
	unsigned char *m = arg;

	small.ss_sp = malloc(small.ss_size);
	if (!small.ss_sp || sigaltstack(&small, NULL))
		return NULL;
	for (size_t i = 0; i < PAGES; i++)
		m[i * page]++;
	small.ss_flags = SS_DISABLE;
	sigaltstack(&small, NULL);
	free(small.ss_sp);
	return arg;
}

static void threads(void)
{
	struct pml *t = tracker(region, PAGES * page);
	pthread_t thread[8];
	struct told told;
	int good = 0;

	for (int i = 0; i < 8; i++)
		if (pthread_create(&thread[i], NULL, on_small_stack, region))
			exit(1);
	for (int i = 0; i < 8; i++) {
		void *ret;

		pthread_join(thread[i], &ret);
		good += ret != NULL;
	}
	told = collect(t, region);
	tap_ok(good == 8 && told.dirty == PAGES && !told.assumed,
	       "8 threads on small signal stacks write the same pages (%lu)", told.dirty);
	pml_close(t);
}

static void calls(void)
{
	struct pml *t = tracker(region, PAGES * page);
	int fds[2];
	ssize_t n;

	if (pipe(fds) || write(fds[1], "x", 1) != 1)
		exit(1);
	n = read(fds[0], region + 9 * page, 1);
	tap_ok(n < 0 && errno == EFAULT, "read(2) into protected memory fails with EFAULT");
	region[9 * page]++;
	n = read(fds[0], region + 9 * page, 1);
	tap_ok(n == 1, "once it was written, it works");
	close(fds[0]);
	close(fds[1]);
	pml_close(t);
}

static void refusals(void)
{
	struct pml_options o = { .size = sizeof(o), .backend = "mprotect" };
	struct pml *t = tracker(region, PAGES * page), *second = NULL;
	int err = pml_open(&second, &o);

	if (!err)
		err = pml_start(second);
	tap_ok(err == -ENOTSUP && strchr(pml_message(second), ';'), "without a name for it: %s",
	       pml_message(second));
	pml_watch(second, (uintptr_t)region, (uintptr_t)region + page);
	err = pml_start(second);
	tap_ok(err == -EBUSY && strchr(pml_message(second), ';'), "a second one: %s",
	       pml_message(second));
	pml_close(second);
	pml_close(t);
}

/* Every second page: as many mappings as pages, which is more than there may be. */
static void too_many(void)
{
	const size_t pages = 80000;
	unsigned char *m = memory(pages);
	struct pml *t;
	struct told told;
	size_t wrong = 0;

	madvise(m, pages * page, MADV_NOHUGEPAGE);
	t = tracker(m, pages * page);
	for (size_t i = 0; i < pages; i += 2)
		m[i * page] = 1;
	tap_ok(t != NULL, "%zu pages apart are written: the program lives on", pages / 2);
	told = collect(t, m + 2 * page);
	tap_ok(!told.err && told.overflow && told.assumed,
	       "what is not known any more is ASSUMED, overflow (%lu of %lu)", told.assumed,
	       told.dirty);
	for (size_t i = 0; i < pages; i += 2)
		wrong += m[i * page] != 1;
	tap_ok(told.dirty >= pages / 2 && !wrong, "and nothing is left out");
	m[11 * page] = 1;
	told = collect(t, m + 11 * page);
	tap_ok(told.at && told.dirty == 1, "the next one is exact again (%lu)", told.dirty);
	pml_close(t);
	munmap(m, pages * page);
}

/* A thread that has faulted, but has not come to the handler when the tracker goes: it
 * lost its processor just then, or a debugger holds it.  The debugger is the test. */
static struct between {
	atomic_int tid;		/* of the thread */
	atomic_bool held;
	atomic_bool closed;
} *between;

static void *write_once(void *arg)
{
	struct pml *t = arg;

	atomic_store(&between->tid, (int)syscall(SYS_gettid));
	while (atomic_load(&between->tid))
		sched_yield();
	region[11 * page]++;
	return t;
}

/* The program: it closes its tracker while the thread is held. */
static int close_meanwhile(void)
{
	struct pml *t = tracker(region, PAGES * page);
	struct sigaction now;
	pthread_t thread;

	if (!t || pthread_create(&thread, NULL, write_once, t))
		return 1;
	while (!atomic_load(&between->held))
		sched_yield();
	pml_close(t);
	atomic_store(&between->closed, true);
	pthread_join(thread, NULL);
	if (region[11 * page] != 2)
		return 2;
	/* nobody is on the way any more: the next one's end gives the signal back */
	pml_close(tracker(region, PAGES * page));
	sigaction(SIGSEGV, NULL, &now);
	return now.sa_handler == SIG_DFL ? 0 : 3;
}

/* Holds the thread from its fault to the end of the tracker; false: it cannot. */
static bool hold(pid_t program)
{
	int status, tid;

	while (!(tid = atomic_load(&between->tid)))
		if (waitpid(program, NULL, WNOHANG))
			return false;
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL))
		return false;
	atomic_store(&between->tid, 0);
	if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status) ||
	    WSTOPSIG(status) != SIGSEGV)
		return false;
	atomic_store(&between->held, true);
	while (!atomic_load(&between->closed))
		if (waitpid(program, NULL, WNOHANG))
			return false;
	return !ptrace(PTRACE_DETACH, tid, NULL, SIGSEGV);
}

static void faulted_before_the_end(void)
{
	int status = 0;
	pid_t program;
	bool held;

	between = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (between == MAP_FAILED)
		exit(1);
	region[11 * page] = 1;
	fflush(stdout);
	program = fork();
	if (!program)
		_exit(close_meanwhile());
	held = hold(program);
	if (!held)
		kill(program, SIGKILL);
	waitpid(program, &status, 0);
	if (held)
		tap_ok(status == 0, "a fault on its way when the tracker goes does not end the program (%#x)",
		       (unsigned int)status);
	else
		tap_skip("the thread cannot be held", "a fault on its way when the tracker goes");
	munmap(between, page);
}

int main(void)
{
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	for (int i = 0; i < n && i < 32; i++) {
		if (!strcmp(info[i].name, "mprotect") && !info[i].available) {
			printf("1..0 # SKIP mprotect: %s\n", info[i].reason);
			return TAP_SKIP_ALL;
		}
	}
	page = (size_t)sysconf(_SC_PAGESIZE);
	region = memory(PAGES);
	guard_page = memory(1);
	memset(region, 1, PAGES * page);
	mprotect(guard_page, page, PROT_READ);
	handler_before();
	handler_after();
	own_crashes();
	moved();
	forked();
	threads();
	calls();
	refusals();
	too_many();
	faulted_before_the_end();
	return tap_done();
}
