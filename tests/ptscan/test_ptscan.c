/* SPDX-License-Identifier: MIT */
/*
 * test_ptscan.c - what ptscan does beyond the behaviour suite: written and read
 * pages told apart by one tracker, trackers that do not steal from one another,
 * no page fault, cgroups, huge pages split on request, signals all the time.  Run
 * by CTest, and in guests that have the module:
 *
 *   test-ptscan [EPOCHS]
 */
#define _GNU_SOURCE
#include "common.h"
#include "pml_uapi.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 1024u
#define HUGE (2u << 20)
#define MAPPINGS 2000u	/* for which the kernel takes a while */

static unsigned char *mem;
static size_t page;
static int epochs = 20;
static volatile unsigned int sum;

static struct pml *open_tracker(uint32_t events, const struct pml_span *watch)
{
	struct pml_options o = { .events = events, .watch = watch, .nwatch = watch ? 1 : 0 };

	return start_tracker(&o);
}

/* What a result says of each page of mem: its events; 0 where nothing. */
static void lay(const struct pml_result *r, uint8_t *set)
{
	uint64_t base = (uintptr_t)mem, end = base + PAGES * page;

	memset(set, 0, PAGES);
	for (size_t i = 0; i < r->nranges; i++)
		for (uint64_t at = r->ranges[i].start; at < r->ranges[i].end; at += page)
			if (at >= base && at < end)
				set[(at - base) / page] |= (uint8_t)r->ranges[i].events;
}

/* Reads some pages, writes others; what each of them must be told as. */
static void touch(uint8_t *expect, unsigned int seed)
{
	srand(seed);
	for (size_t i = 0; i < PAGES; i++) {
		int what = rand() % 4;

		expect[i] = 0;
		if (what == 1) {
			sum += *(volatile unsigned char *)(mem + i * page);
			expect[i] = PML_REFERENCED;
		} else if (what == 2) {
			++*(volatile unsigned char *)(mem + i * page);
			expect[i] = PML_DIRTY | PML_REFERENCED;
		}
	}
}

static size_t differing(const uint8_t *a, const uint8_t *b, uint8_t events)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += ((a[i] ^ b[i]) & events) != 0;
	return n;
}

static void reads_and_writes(const struct pml_span *watch)
{
	struct pml *t = open_tracker(PML_DIRTY | PML_REFERENCED, watch);
	uint8_t expect[PAGES], got[PAGES];
	const struct pml_result *r;
	size_t wrong = 0;
	int error = -1;

	for (int i = 0; t && i < epochs; i++) {
		touch(expect, (unsigned int)i);
		error = pml_collect(t, NULL, &r);
		if (error)
			break;
		lay(r, got);
		wrong += differing(expect, got, PML_DIRTY | PML_REFERENCED);
	}
	tap_ok(!error && !wrong, "read and written pages are told apart: %zu of %zu differ", wrong,
	       (size_t)epochs * PAGES);
	pml_close(t);
}

/* One looks for dirty pages in each epoch, the other for references, now and then. */
static void two_trackers(const struct pml_span *watch)
{
	struct pml *a = open_tracker(PML_DIRTY, watch);
	struct pml *b = open_tracker(PML_DIRTY | PML_REFERENCED, watch);
	uint8_t expect[PAGES], both[PAGES] = { 0 }, got[PAGES];
	const struct pml_result *r;
	size_t wrong = 0;
	int error = a && b ? 0 : -1;

	for (int i = 0; !error && i < epochs; i++) {
		touch(expect, 1000u + (unsigned int)i);
		for (size_t p = 0; p < PAGES; p++)
			both[p] |= expect[p];
		error = pml_collect(a, NULL, &r);
		if (error)
			break;
		lay(r, got);
		wrong += differing(expect, got, PML_DIRTY);
		if (i % 4 != 3)
			continue;
		error = pml_collect(b, NULL, &r);
		if (error)
			break;
		lay(r, got);
		wrong += differing(both, got, PML_DIRTY | PML_REFERENCED);
		memset(both, 0, sizeof(both));
	}
	tap_ok(!error && !wrong, "two trackers of one process do not steal: %zu pages differ", wrong);
	pml_close(a);
	pml_close(b);
}

static long faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt + u.ru_majflt;
}

static void no_faults(const struct pml_span *watch)
{
	struct pml *t = open_tracker(PML_DIRTY, watch);
	const struct pml_result *r;
	long caused = 0;
	int error = t ? 0 : -1;

	for (int i = 0; !error && i < epochs; i++) {
		long before;

		error = pml_collect(t, NULL, &r);
		before = faults();
		for (size_t p = 0; p < PAGES; p++)
			++*(volatile unsigned char *)(mem + p * page);
		caused += faults() - before;
	}
	/* the few are of the scheduler's own pages: none of them comes with each epoch */
	tap_ok(!error && caused < epochs, "no page fault by tracking: %ld while %zu pages were written",
	       caused, (size_t)epochs * PAGES);
	pml_close(t);
}

/* ---- cgroups ---- */

static bool put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* A process that writes 100 pages of its own whenever it is told to. */
static pid_t writer(int *to, int *from)
{
	int down[2], up[2];
	char byte;
	pid_t pid;

	if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		close(down[1]);
		close(up[0]);
		while (write(up[1], "r", 1) == 1 && read(down[0], &byte, 1) == 1)
			for (size_t i = 0; i < 100; i++)
				++*(volatile unsigned char *)(mem + i * page);
		_exit(0);
	}
	close(down[0]);
	close(up[1]);
	*to = down[1];
	*from = up[0];
	return pid;
}

static bool tell(int to, int from)
{
	char byte;

	return write(to, "w", 1) == 1 && read(from, &byte, 1) == 1;
}

static size_t dirty_of(const struct pml_result *r, pid_t pid)
{
	uint8_t got[PAGES];
	size_t n = 0;

	for (size_t i = 0; i < r->nranges; i++)
		if ((pid_t)r->ranges[i].pid != pid)
			return SIZE_MAX;
	lay(r, got);
	for (size_t i = 0; i < PAGES; i++)
		n += got[i] & PML_DIRTY;
	return n;
}

static void library_cgroup(const char *path, pid_t pid, int to, int from)
{
	struct pml_options o = {
		.size = sizeof(o), .target = PML_TARGET_CGROUP, .cgroup = path, .backend = "ptscan",
	};
	const struct pml_result *r = NULL;
	struct pml *t = NULL;
	size_t wrong = 0;
	int error = pml_open(&t, &o);

	if (!error)
		error = pml_start(t);
	if (!error)
		error = pml_collect(t, NULL, &r);
	for (int i = 0; !error && i < epochs; i++) {
		if (!tell(to, from))
			error = -EPIPE;
		if (!error)
			error = pml_collect(t, NULL, &r);
		if (!error)
			wrong += dirty_of(r, pid) != 100;
	}
	tap_ok(!error && !wrong, "a cgroup, by its processes: %zu epochs differ (%d)", wrong, error);
	pml_close(t);
}

static void module_cgroup(const char *path, int to, int from)
{
	int fd = open("/dev/pml", O_RDWR | O_CLOEXEC), dir = open(path, O_RDONLY | O_CLOEXEC);
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = PML_TARGET_CGROUP, .id = dir,
		.mode = PML_MODE_PTSCAN, .events = PML_EV_DIRTY,
	};
	struct pml_uapi_listed listed[4] = { 0 };
	struct pml_uapi_list list = { .size = sizeof(list), .vec_len = 4, .vec = (uintptr_t)listed };
	struct pml_uapi_range vec[64] = { 0 };
	struct pml_uapi_collect c = {
		.size = sizeof(c), .vec = (uintptr_t)vec, .vec_len = 64,
		.start = (uintptr_t)mem, .end = (uintptr_t)mem + PAGES * page,
	};
	bool good = !ioctl(fd, PML_IOC_ADD, &add) && add.added == 1;

	good = good && !ioctl(fd, PML_IOC_LIST, &list) && list.n == 1;
	c.target = good ? listed[0].target : 0;
	good = good && tell(to, from) && !ioctl(fd, PML_IOC_COLLECT, &c) && c.pages == 100;
	tap_ok(good, "the module's own cgroup target: %u added, %llu of 100 pages", add.added,
	       (unsigned long long)c.pages);
	add.added = 9;
	tap_ok(!ioctl(fd, PML_IOC_ADD, &add) && !add.added, "... adds nobody twice");
	close(dir);
	close(fd);
}

static void cgroups(void)
{
	char mount_point[] = "/tmp/pml-cgroup-XXXXXX", path[64], procs[96], number[16];
	int to = -1, from = -1;
	char byte;
	pid_t pid;

	if (!mkdtemp(mount_point))
		return;
	snprintf(path, sizeof(path), "%s/pml-test", mount_point);
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	if (mount("none", mount_point, "cgroup2", 0, NULL) || (mkdir(path, 0755) && errno != EEXIST)) {
		tap_skip("cgroup2 cannot be mounted", "cgroups");
		rmdir(mount_point);
		return;
	}
	pid = writer(&to, &from);
	snprintf(number, sizeof(number), "%d", pid);
	if (pid > 0 && read(from, &byte, 1) == 1 && put_text(procs, number)) {
		library_cgroup(path, pid, to, from);
		module_cgroup(path, to, from);
	} else {
		tap_skip("a process cannot be put into a cgroup", "cgroups");
	}
	close(to);
	close(from);
	waitpid(pid, NULL, 0);
	rmdir(path);
	umount2(mount_point, MNT_DETACH);
	rmdir(mount_point);
}

/* ---- huge pages ---- */

/* The granule at which a write to one byte of huge is known; 0: it is not. */
static uint64_t granule_of_write(int fd, uint32_t target, volatile unsigned char *huge)
{
	struct pml_uapi_range vec[16] = { 0 };
	struct pml_uapi_collect c = {
		.size = sizeof(c), .target = target, .start = (uintptr_t)huge,
		.end = (uintptr_t)huge + HUGE, .vec = (uintptr_t)vec, .vec_len = 16,
	};

	if (ioctl(fd, PML_IOC_COLLECT, &c))
		return 0;
	++huge[17 * page];
	if (ioctl(fd, PML_IOC_COLLECT, &c) || c.n != 1 ||
	    vec[0].known != PML_KNOWN_OBSERVED || c.pages * page != vec[0].granule)
		return 0;
	return vec[0].granule;
}

static void huge_pages(void)
{
	unsigned char *m = mmap(NULL, 2ul * HUGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *huge = (unsigned char *)(((uintptr_t)m + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = PML_TARGET_SELF, .mode = PML_MODE_PTSCAN,
		.events = PML_EV_DIRTY,
	};
	int fd = open("/dev/pml", O_RDWR | O_CLOEXEC), other = open("/dev/pml", O_RDWR | O_CLOEXEC);
	uint64_t granule;

	madvise(huge, HUGE, MADV_HUGEPAGE);
	memset(huge, 1, HUGE);
	if (ioctl(fd, PML_IOC_ADD, &add))
		tap_ok(0, "the process is added");
	granule = granule_of_write(fd, add.target, huge);
	if (granule == page) {
		tap_skip("the kernel gave no huge page", "huge pages");
	} else {
		tap_ok(granule == HUGE, "a huge page is known by 2 MiB (%lu)", granule);
		add.flags = PML_ADD_SPLIT;
		if (ioctl(other, PML_IOC_ADD, &add))
			tap_ok(0, "the process is added once more");
		/* the split itself is told once */
		granule_of_write(other, add.target, huge);
		granule = granule_of_write(other, add.target, huge);
		tap_ok(granule == page, "split on request, by 4 KiB (%lu)", granule);
	}
	close(fd);
	close(other);
	munmap(m, 2ul * HUGE);
}

static void nothing(int signal)
{
	(void)signal;
}

/* A profiler's timer. */
static void signals(const struct pml_span *watch)
{
	struct itimerval often = { .it_interval.tv_usec = 200, .it_value.tv_usec = 200 };
	const struct itimerval never = { 0 };
	struct sigaction handler = { .sa_handler = nothing };
	char *m = mmap(NULL, MAPPINGS * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int failed = 0;

	for (size_t i = 0; i < MAPPINGS; i += 2)
		mprotect(m + i * page, page, PROT_NONE);
	sigaction(SIGALRM, &handler, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < epochs; i++) {
		struct pml *t = open_tracker(PML_DIRTY, watch);

		failed += !t;
		pml_close(t);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	munmap(m, MAPPINGS * page);
	tap_ok(!failed, "signals all the time: %d of %d trackers were not opened", failed, epochs);
}

int main(int argc, char **argv)
{
	struct pml_span watch;

	need_module();
	if (argc > 1)
		epochs = (int)strtol(argv[1], NULL, 10);
	stop_damon();
	page = (size_t)sysconf(_SC_PAGESIZE);
	mem = mmap(NULL, (PAGES + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	if (mem == MAP_FAILED || madvise(mem, PAGES * page, MADV_NOHUGEPAGE))
		return 1;
	memset(mem, 1, PAGES * page);
	watch.start = (uintptr_t)mem;
	watch.end = watch.start + PAGES * page;
	reads_and_writes(&watch);
	two_trackers(&watch);
	no_faults(&watch);
	cgroups();
	huge_pages();
	signals(&watch);
	return tap_done();
}
