/* SPDX-License-Identifier: MIT */
/*
 * test_referenced.c - mappings that are read or written are told of, others are
 * not; pages that stay hot are told of in every epoch.  Also what referenced has in
 * common with soft-dirty: the stop and the lock.  Run by CTest, and in guests:
 *
 *   test-referenced [EPOCHS]
 */
#define _GNU_SOURCE
#include "pml.h"
#include "progress.h"
#include "tap.h"
#include "tracker.h"

#include <errno.h>
#include <linux/mman.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 200
#define PROBES 20
#define FILES 64	/* that may be open, where they are few */

static unsigned char *hot, *cold;
static volatile unsigned long *rounds;	/* of a target; seen by both */
static size_t page;
static int epochs = 20;

static unsigned char *mapping(void)
{
	/* with a hole behind it, so that it is not joined with another */
	unsigned char *m = mmap(NULL, (PAGES + 1) * page, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED || munmap(m + PAGES * page, page))
		exit(1);
	madvise(m, PAGES * page, MADV_NOHUGEPAGE);
	memset(m, 1, PAGES * page);
	return m;
}

static unsigned int read_all(const volatile unsigned char *m)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < PAGES; i++)
		sum += m[i * page];
	return sum;
}

static bool told(const struct pml_result *r, const unsigned char *m)
{
	uint64_t start = (uintptr_t)m, end = start + PAGES * page;

	for (size_t i = 0; i < r->nranges; i++)
		if (r->ranges[i].start < end && r->ranges[i].end > start &&
		    (r->ranges[i].events & PML_REFERENCED) && r->ranges[i].granule >= PAGES * page)
			return true;
	return false;
}

/* Reads its hot mapping for ever. */
static pid_t busy_target(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		read_all(hot);
		++*rounds;
	}
}

static struct pml *tracker(pid_t pid)
{
	struct pml_options o = {
		.size = sizeof(o), .backend = "referenced", .events = PML_REFERENCED,
		.target = pid ? PML_TARGET_PID : PML_TARGET_SELF, .pid = pid,
	};

	return tracker_start(&o);
}

static void self(void)
{
	struct pml *t = tracker(0);
	const struct pml_result *r;
	int hits = 0, wrong = 0, err = 0;

	for (int i = 0; t && i < epochs && !err; i++) {
		/* so few that their translations stay in the processor */
		for (int k = 0; k < 50; k++)
			read_all(hot);
		err = pml_collect(t, NULL, &r);
		hits += !err && told(r, hot);
		wrong += !err && told(r, cold);
	}
	tap_ok(t && !err && hits == epochs, "self: what stays hot is told of in %d of %d epochs",
	       hits, epochs);
	tap_ok(t && !wrong, "self: what is not touched is told of in %d", wrong);
	if (t) {
		cold[7 * page]++;
		tap_ok(!pml_collect(t, NULL, &r) && told(r, cold) && !told(r, hot),
		       "self: a write is a reference too");
		tap_ok(r && r->referenced_pages && !r->dirty_pages, "self: and no dirty page");
	}
	pml_close(t);
}

static void outside(void)
{
	const struct pml_result *r;
	int hits = 0, wrong = 0;
	struct pml *t;
	pid_t pid = busy_target();

	progress_wait(rounds);
	t = tracker(pid);
	for (int i = 0; t && i < epochs; i++) {
		progress_wait(rounds);
		if (pml_collect(t, NULL, &r))
			break;
		hits += told(r, hot);
		wrong += told(r, cold);
	}
	tap_ok(hits == epochs, "outside: what stays hot is told of in %d of %d epochs", hits, epochs);
	tap_ok(!wrong, "outside: what is not touched is told of in %d", wrong);
	pml_close(t);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* A mapping that was told of in part is not told of again, and the rest later. */
static void parts(void)
{
	const uint64_t start = (uintptr_t)hot, end = start + PAGES * page;
	struct pml_span watch = { start, end };
	struct pml_options o = {
		.size = sizeof(o), .backend = "referenced", .events = PML_REFERENCED,
		.watch = &watch, .nwatch = 1,
	};
	struct pml_collect_args args = { .size = sizeof(args), .max_pages = 7 };
	struct pml *t = tracker_start(&o);
	const struct pml_result *r;
	uint64_t pages = 0, next = start;
	int err = 0, wrong = 0;

	if (t)
		read_all(hot);
	do {
		err = t ? pml_collect(t, &args, &r) : -1;
		for (size_t i = 0; !err && i < r->nranges; i++) {
			wrong += r->ranges[i].start != next || r->ranges[i].granule < PAGES * page;
			next = r->ranges[i].end;
			pages += (r->ranges[i].end - r->ranges[i].start) / page;
		}
		args.start = err ? 0 : r->resume;
		args.from_pid = err ? 0 : r->resume_pid;
	} while (!err && (r->flags & PML_RESULT_MORE));
	tap_ok(!err && !wrong && pages == PAGES, "in parts: each page once, in order (%lu, %d wrong)",
	       pages, wrong);
	pml_close(t);
}

/* A mapping of terabytes, as sanitizers have them: few pages of it are used. */
static void large(void)
{
	const size_t size = (size_t)1 << 43;
	unsigned char *m = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	const struct pml_result *r = NULL;
	bool seen = false;
	struct pml *t;

	if (m == MAP_FAILED) {
		tap_skip("it cannot be mapped here", "a mapping of 8 TiB");
		return;
	}
	madvise(m, size, MADV_NOHUGEPAGE);
	m[5 * page] = 1;
	t = tracker(0);
	if (t) {
		m[5 * page]++;
		read_all(hot);
		seen = !pml_collect(t, NULL, &r) && told(r, m) && told(r, hot) && !told(r, cold) &&
		       !r->assumed_pages;
	}
	tap_ok(seen, "beside a mapping of 8 TiB, others are told of as ever");
	pml_close(t);
	munmap(m, size);
}

/* Stopped by nobody: a debugger has the target, and does not let go of it. */
static pid_t traced_target(pid_t *tracer)
{
	int ready[2];
	char byte;
	pid_t pid = busy_target();

	if (pipe(ready))
		exit(1);
	*tracer = fork();
	if (!*tracer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) || write(ready[1], "y", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		tap_note("the target cannot be traced");
	close(ready[0]);
	return pid;
}

static bool uncovered(const struct pml_result *r, enum pml_reason reason)
{
	for (size_t i = 0; r && i < r->nuncovered; i++)
		if (r->uncovered[i].reason == reason)
			return true;
	return false;
}

/* A collect while there is room for one more open file, and no second. */
static int collect_short_of_files(struct pml *t, const struct pml_result **r)
{
	int fds[FILES], n = 0, err;
	struct rlimit before, few;

	getrlimit(RLIMIT_NOFILE, &before);
	few = before;
	few.rlim_cur = FILES;
	setrlimit(RLIMIT_NOFILE, &few);
	while (n < FILES && (fds[n] = dup(STDOUT_FILENO)) >= 0)
		n++;
	if (n)
		close(fds[--n]);
	err = pml_collect(t, NULL, r);
	while (n)
		close(fds[--n]);
	setrlimit(RLIMIT_NOFILE, &before);
	return err;
}

/* Where the stop is refused, what is read and cleared while the target runs is told. */
static void race_is_told(const char *backend, uint32_t events)
{
	struct pml_options o = {
		.size = sizeof(o), .backend = backend, .events = events, .target = PML_TARGET_PID,
	};
	const struct pml_result *r = NULL;
	struct pml *t = NULL;
	bool race = false, race_again = false;
	pid_t tracer;

	o.pid = traced_target(&tracer);
	if (!pml_open(&t, &o) && !pml_start(t)) {
		race = !pml_collect(t, NULL, &r) && uncovered(r, PML_REASON_RACE);
		race_again = !collect_short_of_files(t, &r) && uncovered(r, PML_REASON_RACE);
	}
	tap_ok(race, "%s: a target that a debugger has is not stopped, and race is told (%s)", backend,
	       t ? pml_message(t) : "");
	tap_ok(race_again, "%s: and so it is short of descriptors (%s)", backend,
	       t ? pml_message(t) : "");
	pml_close(t);
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	kill(o.pid, SIGKILL);
	waitpid(o.pid, NULL, 0);
}

/* A forked child closes its copy of a tracker: that is not the parent's end. */
static void closed_in_a_child(const char *backend, uint32_t events)
{
	struct pml_options o = { .size = sizeof(o), .backend = backend, .events = events };
	struct pml *t = tracker_start(&o), *second = NULL;
	int go[2], status = -1, err = 0, later = 0;
	char byte;
	pid_t pid;

	if (pipe(go))
		exit(1);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		close(go[1]);
		pml_close(t);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (!pml_open(&second, &o))
		err = pml_start(second);
	tap_ok(t && !status && err == -EBUSY,
	       "%s: a forked child closes its tracker, and the parent's keeps others out (%d)",
	       backend, err);
	pid = fork();
	if (!pid) {
		/* lives longer than its parent's tracker, and has its descriptors */
		close(go[1]);
		_exit(read(go[0], &byte, 1) != 0);
	}
	pml_close(t);
	later = second ? pml_start(second) : -1;
	tap_ok(!later, "%s: but not after its end, whoever has its descriptors still (%d)", backend,
	       later);
	close(go[1]);
	close(go[0]);
	waitpid(pid, &status, 0);
	pml_close(second);
}

/* ---- targets that wait, stopped more often than their time is up ---- */

#define WAIT_MS 300

static int epoll;

static void wait_by_epoll(void)
{
	struct epoll_event e;

	epoll_wait(epoll, &e, 1, WAIT_MS);
}

static void wait_by_signal(void)
{
	const struct timespec time = { 0, WAIT_MS * 1000000l };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigtimedwait(&set, NULL, &time);
}

static void wait_by_poll(void)
{
	poll(NULL, 0, WAIT_MS);
}

/* Whether it ends is seen by the count; within a minute, as in progress_wait(). */
static void waits_end(void (*wait)(void), const char *what)
{
	const time_t limit = time(NULL) + 60;
	const struct pml_result *r;
	unsigned long before;
	int stops = 0;
	struct pml *t;
	pid_t pid;

	epoll = epoll_create1(EPOLL_CLOEXEC);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			wait();
			++*rounds;
		}
	}
	t = tracker(pid);
	before = *rounds;
	while (t && *rounds - before < 2 && time(NULL) < limit && !pml_collect(t, NULL, &r))
		stops++;
	tap_ok(t && *rounds - before >= 2,
	       "%s: a wait ends, however often its process is stopped (%d times)", what, stops);
	pml_close(t);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(epoll);
}

/* ---- a program that gets signals while it probes ---- */

static struct signals {
	volatile pid_t program;
	volatile unsigned long here;	/* handled in the program */
	volatile unsigned long elsewhere;
} *signals;

static void count_signal(int sig)
{
	(void)sig;
	if (getpid() == signals->program)
		signals->here++;
	else
		signals->elsewhere++;
}

/* Signals for a process group reach whatever child is in it at the time. */
static void probe_under_signals(void)
{
	struct sigaction handler = { .sa_handler = count_signal, .sa_flags = SA_RESTART };
	struct pml_probe_info info[32];
	unsigned long before;
	pid_t sender;

	if (setpgid(0, 0))
		_exit(1);
	signals->program = getpid();
	sigaction(SIGUSR1, &handler, NULL);
	sender = fork();
	if (!sender) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGUSR1, SIG_IGN);
		for (;;)
			kill(0, SIGUSR1);
	}
	for (int i = 0; i < PROBES; i++) {
		before = signals->here;
		pml_probe(info, 32);
		while (signals->here == before)
			sched_yield();
	}
	kill(sender, SIGKILL);
	waitpid(sender, NULL, 0);
	_exit(0);
}

static void signals_while_probing(void)
{
	int status = -1;
	pid_t pid;

	signals = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (signals == MAP_FAILED)
		exit(1);
	fflush(stdout);
	pid = fork();
	if (!pid)
		probe_under_signals();
	waitpid(pid, &status, 0);
	tap_ok(!status && signals->here && !signals->elsewhere,
	       "%d probes under signals: the program's handler ran in it, and nowhere else (%lu)",
	       PROBES, signals->elsewhere);
	munmap(signals, page);
}

/* Huge pages of hugetlb: the kernel sums up no references for them. */
static void huge_pages(void)
{
	const size_t huge = (size_t)2 << 20;
	void *m = mmap(NULL, huge, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB | MAP_NORESERVE, -1, 0);
	const struct pml_result *r = NULL;
	bool told = false, others = false;
	struct pml *t;

	if (m == MAP_FAILED) {
		tap_skip("the kernel has no huge pages of 2 MiB", "a mapping of huge pages");
		return;
	}
	t = tracker(0);
	if (t && !pml_collect(t, NULL, &r))
		for (size_t i = 0; i < r->nuncovered; i++) {
			if (r->uncovered[i].reason != PML_REASON_UNSUPPORTED)
				continue;
			told |= r->uncovered[i].start <= (uintptr_t)m &&
				r->uncovered[i].end >= (uintptr_t)m + huge;
			others |= r->uncovered[i].start <= (uintptr_t)hot &&
				  r->uncovered[i].end > (uintptr_t)hot;
		}
	tap_ok(told && !others, "of a mapping of huge pages, and of no other, nothing is known: unsupported");
	pml_close(t);
	munmap(m, huge);
}

int main(int argc, char **argv)
{
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	for (int i = 0; i < n && i < 32; i++) {
		if (!strcmp(info[i].name, "referenced") && !info[i].available) {
			printf("1..0 # SKIP referenced: %s\n", info[i].reason);
			return TAP_SKIP_ALL;
		}
	}
	if (argc > 1)
		epochs = (int)strtol(argv[1], NULL, 10);
	page = (size_t)sysconf(_SC_PAGESIZE);
	hot = mapping();
	cold = mapping();
	rounds = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (rounds == MAP_FAILED)
		return 1;
	self();
	parts();
	large();
	huge_pages();
	outside();
	waits_end(wait_by_poll, "poll");
	waits_end(wait_by_epoll, "epoll_wait");
	waits_end(wait_by_signal, "sigtimedwait");
	signals_while_probing();
	for (int i = 0; i < n && i < 32; i++)
		if (info[i].available &&
		    (!strcmp(info[i].name, "referenced") || !strcmp(info[i].name, "soft-dirty"))) {
			race_is_told(info[i].name, info[i].events);
			closed_in_a_child(info[i].name, info[i].events);
		}
	return tap_done();
}
