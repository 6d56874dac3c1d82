/* SPDX-License-Identifier: MIT */
/*
 * test_soft_dirty.c - what soft-dirty alone can get wrong: somebody else clears
 * the bits, a second tracker comes, the tracker is killed while its target
 * stands still, a call of the target ends early because of the stop, a signal
 * handler writes, the descriptors are closed.  Run by CTest, and in guests.
 */
#define _GNU_SOURCE
#include "pml.h"
#include "progress.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 64
#define KILLS 60
#define COLLECTS 100
#define SIGNAL_PAGES 2048u
#define MAPPINGS 25000u

static unsigned char *region;
static size_t page;

/* Seen by all: how far the target got, and what it met. */
static struct shared {
	volatile unsigned long steps;
	volatile unsigned long interrupted;
} *shared;

static void pause_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

/* Whether the kernel has PAGEMAP_SCAN: 6.7. */
static bool scans(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	return !uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 7));
}

/* As CRIU, or a collector of its own, does. */
static bool clear_bits(pid_t pid)
{
	char path[64];
	int fd;
	bool ok;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, "4", 1) == 1;
	if (fd >= 0)
		close(fd);
	return ok;
}

static struct pml *tracker(pid_t pid)
{
	struct pml_span watch = { (uintptr_t)region, (uintptr_t)region + PAGES * page };
	struct pml_options o = {
		.size = sizeof(o), .backend = "soft-dirty", .watch = &watch, .nwatch = 1,
		.target = pid ? PML_TARGET_PID : PML_TARGET_SELF, .pid = pid,
	};
	struct pml *t;

	return pml_open(&t, &o) ? NULL : t;
}

static unsigned long dirty_of(struct pml *t, uint32_t *flags)
{
	const struct pml_result *r;
	int err = pml_collect(t, NULL, &r);

	if (err) {
		tap_note("pml_collect: %d, %s", err, pml_message(t));
		*flags = ~0u;
		return 0;
	}
	*flags = r->flags;
	return r->dirty_pages;
}

/* A target that writes its first page all the time. */
static pid_t busy_target(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		region[0]++;
		shared->steps++;
	}
}

static void somebody_clears(pid_t pid)
{
	const char *where = pid ? "outside" : "self";
	struct pml *t = tracker(pid);
	uint32_t flags;
	unsigned long n;

	if (!t || pml_start(t)) {
		tap_ok(false, "%s: started (%s)", where, t ? pml_message(t) : "pml_open");
		return;
	}
	region[5 * page]++;
	if (pid)
		progress_wait(&shared->steps);
	n = dirty_of(t, &flags);
	tap_ok(!(flags & PML_RESULT_LOST) && n == 1, "%s: nobody cleared, nothing lost", where);
	region[7 * page]++;
	tap_ok(clear_bits(pid ? pid : getpid()), "%s: another program clears the bits", where);
	n = dirty_of(t, &flags);
	tap_ok((flags & PML_RESULT_LOST) && n == PAGES,
	       "%s: the result is LOST, and all %d pages are dirty (%lu)", where, PAGES, n);
	region[9 * page]++;
	if (pid)
		progress_wait(&shared->steps);
	n = dirty_of(t, &flags);
	tap_ok(!(flags & PML_RESULT_LOST) && n == 1, "%s: the next one is exact again", where);
	pml_close(t);
}

/* ---- where a clear by somebody else might go unnoticed ---- */

/* More than a megabyte of /proc/PID/maps. */
static void map_a_lot(void)
{
	unsigned char *m = mmap(NULL, 2 * MAPPINGS * page, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		_exit(1);
	for (size_t i = 0; i < MAPPINGS; i++)
		munmap(m + 2 * i * page, page);
}

/* The page of its stack that holds its arguments. */
static volatile unsigned char *find_stack_top(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long end = 0;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "[stack]"))
			end = strtoul(strchr(line, '-') + 1, NULL, 16);
	if (maps)
		fclose(maps);
	return end ? (unsigned char *)end - page : NULL;
}

/* What was relocated and then protected is made writable; false: something is not. */
static bool unprotect_all(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	bool all = maps;

	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long start, end, inode;
		char perms[8];

		if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &start, &end, perms, &inode) == 4 &&
		    inode && !strcmp(perms, "r--p"))
			all &= !mprotect((void *)start, end - start, PROT_READ | PROT_WRITE);
	}
	if (maps)
		fclose(maps);
	return all;
}

enum kind { WITH_MANY_MAPPINGS, THAT_WRITES_ITS_STACK, WITHOUT_A_PAGE };

static pid_t difficult_target(enum kind kind)
{
	volatile unsigned char *top;
	unsigned char same;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	top = find_stack_top();
	if (kind == WITH_MANY_MAPPINGS)
		map_a_lot();
	if (kind == WITHOUT_A_PAGE && !unprotect_all())
		_exit(1);
	for (;;) {
		if (kind == THAT_WRITES_ITS_STACK && top) {
			same = *top;
			*top = same;
		}
		region[2 * page]++;
		shared->steps++;
		pause_ms(1);
	}
}

static bool unguarded(struct pml *t, uint32_t *flags)
{
	const struct pml_result *r;
	bool told = false;

	*flags = ~0u;
	if (pml_collect(t, NULL, &r))
		return false;
	*flags = r->flags;
	for (size_t i = 0; i < r->nuncovered; i++)
		told |= r->uncovered[i].reason == PML_REASON_UNGUARDED;
	return told;
}

static void difficult_clear(enum kind kind, const char *what)
{
	uint32_t flags = 0, after = 0;
	bool told = false, told_after = false;
	pid_t target = difficult_target(kind);
	struct pml *t;

	progress_wait(&shared->steps);
	t = tracker(target);
	if (t && !pml_start(t)) {
		progress_wait(&shared->steps);
		told = unguarded(t, &flags);
		clear_bits(target);
		progress_wait(&shared->steps);
		told_after = unguarded(t, &after);
	}
	if (kind == WITHOUT_A_PAGE)
		tap_ok(told && told_after, "%s: the result says that a clear would not be seen (%s)",
		       what, t ? pml_message(t) : "");
	else
		tap_ok(!told && !told_after && !(flags & PML_RESULT_LOST) && (after & PML_RESULT_LOST),
		       "%s: a clear by another program is seen, LOST (%#x, then %#x; told %d, %d)", what,
		       flags, after, told, told_after);
	pml_close(t);
	kill(target, SIGKILL);
	waitpid(target, NULL, 0);
}

static void difficult_clears(void)
{
	difficult_clear(WITH_MANY_MAPPINGS, "a target with many mappings");
	difficult_clear(THAT_WRITES_ITS_STACK, "a target that writes the top of its stack");
	difficult_clear(WITHOUT_A_PAGE, "a target with no page that it may not write");
}

static void second_tracker(void)
{
	struct pml *a = tracker(0), *b = tracker(0);
	int err;

	tap_ok(a && b && !pml_start(a), "one tracker");
	err = b ? pml_start(b) : 0;
	tap_ok(err == -EBUSY && strchr(pml_message(b), ';'), "a second is refused in words: %s",
	       b ? pml_message(b) : "");
	pml_close(a);
	tap_ok(b && !pml_start(b), "and may begin when the first is gone");
	pml_close(b);
}

/* The tracker dies at any moment of a collect: the target must run on. */
static void killed_trackers(void)
{
	pid_t target = busy_target();
	int stuck = 0;

	for (int i = 0; i < KILLS; i++) {
		unsigned long before;
		pid_t pid = fork();

		if (!pid) {
			struct pml *t = tracker(target);
			uint32_t flags;

			if (!t || pml_start(t))
				_exit(1);
			for (;;)
				dirty_of(t, &flags);
		}
		pause_ms(5 + i % 11);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		before = shared->steps;
		for (int k = 0; k < 200 && shared->steps == before; k++)
			pause_ms(5);
		stuck += shared->steps == before;
	}
	tap_ok(!stuck, "%d trackers killed: the target ran on each time but %d", KILLS, stuck);
	kill(target, SIGKILL);
	waitpid(target, NULL, 0);
}

static void *write_on(void *arg)
{
	volatile bool *go = arg;

	while (*go)
		region[3 * page]++;
	return NULL;
}

/* A target with a thread that waits for events, and one that writes. */
static pid_t waiting_target(void)
{
	struct epoll_event e;
	bool go = true;
	pthread_t thread;
	int fd;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = epoll_create1(EPOLL_CLOEXEC);
	pthread_create(&thread, NULL, write_on, &go);
	shared->steps++;
	for (;;)
		if (epoll_wait(fd, &e, 1, -1) < 0 && errno == EINTR)
			shared->interrupted++;
}

static void calls_go_on(void)
{
	pid_t target;
	struct pml *t;
	uint32_t flags;
	bool seen = true;

	shared->steps = shared->interrupted = 0;
	target = waiting_target();
	while (!shared->steps)
		pause_ms(1);
	pause_ms(20);
	t = tracker(target);
	if (!t || pml_start(t)) {
		tap_ok(false, "a waiting target: %s", t ? pml_message(t) : "pml_open");
		return;
	}
	for (int i = 0; i < COLLECTS; i++) {
		pause_ms(1);
		seen &= dirty_of(t, &flags) <= 1 && !(flags & PML_RESULT_LOST);
	}
	tap_ok(seen, "a running target: what it writes is seen, and nothing else");
	tap_ok(!shared->interrupted, "%d stops: epoll_wait never ended with EINTR (%lu)", COLLECTS,
	       shared->interrupted);
	pml_close(t);
	kill(target, SIGKILL);
	waitpid(target, NULL, 0);
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* What the kernel makes huge, as khugepaged does, it marks: nobody wrote it. */
static void made_huge(void)
{
	const size_t huge = (size_t)2 << 20;
	char *room = mmap(NULL, 2 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *m = room + (huge - (uintptr_t)room % huge);
	struct pml_span watch = { (uintptr_t)m, (uintptr_t)m + huge };
	struct pml_options o = { .size = sizeof(o), .backend = "soft-dirty", .watch = &watch, .nwatch = 1 };
	const struct pml_result *r = NULL;
	struct pml *t = NULL;
	size_t observed = 0, pages = 0;

	if (room == MAP_FAILED)
		return;
	madvise(m, huge, MADV_NOHUGEPAGE);
	memset(m, 1, huge);
	madvise(m, huge, MADV_HUGEPAGE);
	if (pml_open(&t, &o) || pml_start(t) || pml_collect(t, NULL, &r)) {
		tap_ok(false, "a tracker of small pages: %s", t ? pml_message(t) : "pml_open");
	} else if (m[5 * page]++, madvise(m, huge, MADV_COLLAPSE)) {
		/* one that was written: where none may be, nothing is collapsed */
		tap_skip(strerror(errno), "pages made huge");
	} else {
		if (!pml_collect(t, NULL, &r))
			for (size_t i = 0; i < r->nranges; i++)
				observed += r->ranges[i].known == PML_OBSERVED;
		pages = r->dirty_pages;
		/* without PAGEMAP_SCAN nobody can tell that they are huge */
		if (observed && !scans())
			tap_skip("huge pages cannot be told from others here", "pages made huge");
		else
			tap_ok(!observed && pages, "pages made huge, one of them written: ASSUMED (%zu)",
			       pages);
	}
	pml_close(t);
	munmap(room, 2 * huge);
}

/* ---- a program of one thread, and its signal handler ---- */

static unsigned char *written;
static volatile unsigned int writes;

static void write_next(int signal)
{
	(void)signal;
	written[writes++ % SIGNAL_PAGES * page]++;
}

static void copy_reported(const struct pml_result *r, unsigned char *copy)
{
	for (size_t i = 0; i < r->nranges; i++) {
		uint64_t from = r->ranges[i].start - (uintptr_t)written;

		memcpy(copy + from, written + from, r->ranges[i].end - r->ranges[i].start);
	}
}

static size_t differing_pages(const unsigned char *copy)
{
	size_t n = 0;

	for (size_t i = 0; i < SIGNAL_PAGES; i++)
		n += memcmp(copy + i * page, written + i * page, page) != 0;
	return n;
}

/* Each page is written once or so: one that is lost is not found again. */
static int collect_under_signals(struct pml *t, unsigned char *copy)
{
	struct itimerval often = { .it_interval.tv_usec = 500, .it_value.tv_usec = 500 };
	const struct itimerval never = { 0 };
	const struct pml_result *r;
	int err = pml_start(t);

	if (!err)
		err = pml_collect(t, NULL, &r);
	memcpy(copy, written, SIGNAL_PAGES * page);
	setitimer(ITIMER_REAL, &often, NULL);
	while (!err && writes < SIGNAL_PAGES / 2) {
		err = pml_collect(t, NULL, &r);
		if (!err)
			copy_reported(r, copy);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	if (!err)
		err = pml_collect(t, NULL, &r);
	if (!err)
		copy_reported(r, copy);
	return err;
}

static void signal_handler(void)
{
	struct sigaction handler = { .sa_handler = write_next, .sa_flags = SA_RESTART };
	size_t size = SIGNAL_PAGES * page;
	struct pml_span watch;
	struct pml_options o = { .size = sizeof(o), .backend = "soft-dirty", .watch = &watch,
				 .nwatch = 1, .target = PML_TARGET_SELF };
	unsigned char *copy;
	struct pml *t;
	int err;

	written = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	copy = malloc(size);
	if (written == MAP_FAILED || !copy)
		exit(1);
	madvise(written, size, MADV_NOHUGEPAGE);
	memset(written, 1, size);
	watch.start = (uintptr_t)written;
	watch.end = watch.start + size;
	sigaction(SIGALRM, &handler, NULL);
	err = pml_open(&t, &o);
	if (!err) {
		err = collect_under_signals(t, copy);
		pml_close(t);
	}
	tap_ok(!err && !differing_pages(copy), "%u writes by a signal handler: %zu lost (%d)",
	       writes, differing_pages(copy), err);
	munmap(written, size);
	free(copy);
}

/* All descriptors are closed, and their numbers go to a file of the program's own. */
static int lose_descriptors(void)
{
	struct pml *t = tracker(0);
	char text[8] = "";
	uint32_t flags;
	int fd;

	if (!t || pml_start(t))
		return 1;
	dirty_of(t, &flags);
	closefrom(3);
	fd = memfd_create("own", 0);
	if (fd < 0 || write(fd, "own", 3) != 3)
		return 1;
	while (dup(fd) < 20)
		;
	if (pml_collect(t, NULL, &(const struct pml_result *){ NULL }) != -ESTALE)
		return 2;
	return pread(fd, text, sizeof(text), 0) == 3 && !strcmp(text, "own") ? 0 : 3;
}

static void descriptors_lost(void)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(lose_descriptors());
	waitpid(pid, &status, 0);
	tap_ok(WIFEXITED(status) && !WEXITSTATUS(status),
	       "descriptors closed and used again: -ESTALE, and nothing is written to them (%d)",
	       WEXITSTATUS(status));
}

int main(void)
{
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);
	pid_t target;

	for (int i = 0; i < n && i < 32; i++) {
		if (!strcmp(info[i].name, "soft-dirty") && !info[i].available) {
			printf("1..0 # SKIP soft-dirty: %s\n", info[i].reason);
			return TAP_SKIP_ALL;
		}
	}
	page = (size_t)sysconf(_SC_PAGESIZE);
	region = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED || shared == MAP_FAILED)
		return 1;
	memset(region, 1, PAGES * page);
	somebody_clears(0);
	target = fork();
	if (!target) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			/* the pages that the parent expects */
			pause_ms(1);
			region[2 * page]++;
			shared->steps++;
		}
	}
	somebody_clears(target);
	kill(target, SIGKILL);
	waitpid(target, NULL, 0);
	difficult_clears();
	second_tracker();
	killed_trackers();
	calls_go_on();
	made_huge();
	signal_handler();
	descriptors_lost();
	return tap_done();
}
