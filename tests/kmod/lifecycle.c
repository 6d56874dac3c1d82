/* SPDX-License-Identifier: MIT */
/*
 * lifecycle.c - sessions begin, are shared, and end, in every way: what ends
 * leaves nothing, what goes on goes on by itself.  Processors go and come, memory
 * runs out.  Run as root in a guest by tests/kmod/inside.
 *
 *   lifecycle
 */
#define _GNU_SOURCE
#include "failing.h"
#include "session.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 1024u
#define PAGE 4096u
#define ALL (1ull << 47)
/* Nothing takes so long, unless it has gone wrong. */
#define PATIENCE_MS 60000
#define CPU1 "/sys/devices/system/cpu/cpu1/online"

static unsigned char *region;	/* shared by nobody: each process has its own */
/* What children are told, and tell. */
static struct shared {
	atomic_int command;
	atomic_int done;
} *shared;

static uint64_t start_of(size_t page)
{
	return (uintptr_t)region + page * PAGE;
}

static void write_page(size_t page)
{
	volatile unsigned char *p = region + page * PAGE;

	(*p)++;
}

/* Dirty pages of the region; or -errno. */
static long dirty_pages(int fd, int target)
{
	struct harvest h;
	int error = session_collect(fd, target, PML_EV_DIRTY, start_of(0), start_of(PAGES), &h);
	long pages = (long)harvest_pages(&h, start_of(0), start_of(PAGES));

	harvest_free(&h);
	return error ? error : pages;
}

/* Is it just these pages, from..to?  What was not as it should be is said. */
static bool is_just(int fd, int target, size_t from, size_t to)
{
	struct harvest h;
	int error = session_collect(fd, target, PML_EV_DIRTY, start_of(0), start_of(PAGES), &h);
	bool has = harvest_has(&h, start_of(from), start_of(to));
	uint64_t pages = harvest_pages(&h, start_of(0), start_of(PAGES));

	harvest_free(&h);
	if (error || !has || pages != to - from)
		tap_note("error %d, %lu pages, those of %zu-%zu are%s among them", error, pages,
			 from, to, has ? "" : " not");
	return !error && has && pages == to - from;
}

static void arm(int fd, int target)
{
	session_collect(fd, target, 0, 0, ALL, NULL);
}

static void give_command(int command)
{
	atomic_store(&shared->done, 0);
	atomic_store(&shared->command, command);
	for (int i = 0; i < PATIENCE_MS && !atomic_load(&shared->done); i++)
		usleep(1000);
}

/* A process that writes the page it is told of; 0 is none, below zero is exec. */
static pid_t start_writer(void)
{
	pid_t pid;

	atomic_store(&shared->command, 0);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		int command = atomic_exchange(&shared->command, 0);

		if (command < 0)
			execl("/bin/sleep", "sleep", "1000", NULL);
		if (command > 0) {
			write_page((size_t)command);
			atomic_store(&shared->done, 1);
		}
		usleep(500);
	}
}

static void end_process(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static long references(void)
{
	char line[256];
	long refs = -1;
	FILE *f = fopen("/proc/modules", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "pml %*d %ld", &refs) == 1)
			break;
	if (f)
		fclose(f);
	return refs;
}

/* The last reference may be dropped a little after the descriptor. */
static bool unreferenced(void)
{
	for (int i = 0; i < PATIENCE_MS / 20 && references() != 0; i++)
		usleep(20000);
	return references() == 0;
}

static void test_module_is_held(void)
{
	int fd = session_open();
	int error = syscall(SYS_delete_module, "pml", O_NONBLOCK) ? errno : 0;

	tap_ok(error == EBUSY || error == EWOULDBLOCK,
	       "the module is not unloaded while a session is open (%d)", error);
	tap_ok(references() > 0, "it has a reference");
	close(fd);
	tap_ok(unreferenced(), "and none after the session");
}

static void test_no_ring(void)
{
	int fd = session_open();
	void *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

	tap_ok(map == MAP_FAILED && errno == ENODEV, "mmap is ENODEV: there are no rings");
	close(fd);
}

static void test_tracker_killed(void)
{
	pid_t target = start_writer();
	int ready[2], bad = 0;

	for (int i = 0; i < 10; i++) {
		pid_t tracker;
		char c;

		if (pipe2(ready, O_CLOEXEC))
			return;
		tracker = fork();
		if (!tracker) {
			int fd = session_open(), t = session_add(fd, PML_TARGET_PID, target,
								 PML_EV_DIRTY);

			if (write(ready[1], "r", 1) != 1)
				_exit(1);
			for (;;)
				arm(fd, t);
		}
		bad += read(ready[0], &c, 1) != 1;
		usleep(2000 * (unsigned int)i);
		end_process(tracker);
		close(ready[0]);
		close(ready[1]);
	}
	tap_ok(!bad && unreferenced(), "trackers killed while they collect leave no reference");
	tap_ok(!kill(target, 0), "and their target lives");
	give_command(7);
	tap_ok(atomic_load(&shared->done), "and works");
	end_process(target);
}

static bool is_listed_as_ended(int fd, int target)
{
	struct pml_uapi_listed listed[8] = { { 0 } };
	struct pml_uapi_list l = { .size = sizeof(l), .vec = (uintptr_t)listed, .vec_len = 8 };

	if (ioctl(fd, PML_IOC_LIST, &l))
		return false;
	for (uint32_t i = 0; i < l.n; i++)
		if ((int)listed[i].target == target)
			return listed[i].flags & PML_LISTED_ENDED;
	return false;
}

static void test_target_ends(bool by_exec)
{
	const char *how = by_exec ? "calls exec" : "dies";
	pid_t pid = start_writer();
	int fd = session_open(), target = session_add(fd, PML_TARGET_PID, pid, PML_EV_DIRTY);
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	arm(fd, target);
	tap_ok(poll(&p, 1, 0) == 0 && !is_listed_as_ended(fd, target),
	       "a target is not said to have ended before it %s", how);
	if (by_exec)
		atomic_store(&shared->command, -1);
	else
		end_process(pid);
	tap_ok(poll(&p, 1, PATIENCE_MS) == 1 && (p.revents & POLLPRI),
	       "poll tells that the target has ended when it %s", how);
	tap_ok(dirty_pages(fd, target) == -ESRCH, "a target that %s is gone", how);
	tap_ok(dirty_pages(fd, target) == -ESRCH, "for good");
	tap_ok(is_listed_as_ended(fd, target), "and listed as ended");
	tap_ok(session_remove(fd, target) == 0 && dirty_pages(fd, target) == -ENOENT,
	       "it can be removed, and is no more");
	if (by_exec)
		end_process(pid);
	close(fd);
}

static void test_sessions_of_one_process(void)
{
	int a = session_open(), b = session_open(), c = session_open();
	int ta = session_add(a, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	int tb = session_add(b, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	int tc;

	arm(a, ta);
	arm(b, tb);
	write_page(3);
	tap_ok(is_just(a, ta, 3, 4), "a session sees a write");
	write_page(4);
	tap_ok(is_just(b, tb, 3, 5), "another one has its own epoch: both writes");
	tap_ok(is_just(a, ta, 4, 5), "which took nothing from the first");
	tc = session_add(c, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	write_page(9);
	tap_ok(dirty_pages(c, tc) >= 1, "a third one begins later");
	close(b);
	tap_ok(is_just(a, ta, 9, 10), "one that ends takes nothing with it");
	write_page(10);
	tap_ok(is_just(a, ta, 10, 11) && is_just(c, tc, 10, 11), "the others go on");
	tap_ok(session_add(a, PML_TARGET_SELF, 0, PML_EV_DIRTY) == -EEXIST,
	       "the same memory twice in one session is refused");
	close(a);
	close(c);
}

static void test_processes_of_one_session(void)
{
	pid_t pid = start_writer();
	int fd = session_open();
	int other = session_add(fd, PML_TARGET_PID, pid, PML_EV_DIRTY);
	int self = session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY);

	arm(fd, other);
	arm(fd, self);
	write_page(20);
	give_command(30);
	tap_ok(is_just(fd, other, 30, 31), "two processes in a session: the other one's write");
	tap_ok(is_just(fd, self, 20, 21), "and the own one");
	tap_ok(session_remove(fd, other) == 0 && dirty_pages(fd, other) == -ENOENT,
	       "one of them is removed");
	write_page(21);
	tap_ok(is_just(fd, self, 21, 22), "the other goes on");
	end_process(pid);
	close(fd);
}

/* What a child has inherited is its parent's session. */
static void test_inherited(void)
{
	int fd = session_open(), target = session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	int status = 1;
	pid_t child;

	arm(fd, target);
	write_page(40);
	child = fork();
	if (!child) {
		/* copy on write: not the parent's page */
		write_page(50);
		_exit(!(dirty_pages(fd, target) >= 1));
	}
	waitpid(child, &status, 0);
	tap_ok(status == 0, "a child that inherits a session collects its parent's pages");
	/* a fork write-protects all that was writable: that much may be assumed */
	arm(fd, target);
	write_page(41);
	tap_ok(is_just(fd, target, 41, 42), "and the session goes on as the parent's");
	close(fd);
}

static atomic_bool stop_threads;
static atomic_ulong toggles;

static bool set_cpu1(const char *on)
{
	int fd = open(CPU1, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, on, 1) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

static void *toggle_cpu(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop_threads)) {
		set_cpu1("0");
		usleep(20000);
		set_cpu1("1");
		usleep(20000);
		atomic_fetch_add(&toggles, 1);
	}
	return NULL;
}

static atomic_int share_page;

/* The second writer, on whatever processor there is. */
static void *write_share(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop_threads)) {
		int page = atomic_exchange(&share_page, 0);

		if (!page) {
			sched_yield();
			continue;
		}
		write_page((size_t)page);
		atomic_store(&shared->done, 1);
	}
	return NULL;
}

static void test_hotplug(void)
{
	int fd, target, wrong = 0, rounds = 0;
	pthread_t toggler, writer;

	if (access(CPU1, W_OK)) {
		tap_skip("one processor, or it cannot be taken away", "processors go and come");
		return;
	}
	fd = session_open();
	target = session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	atomic_store(&stop_threads, false);
	if (pthread_create(&toggler, NULL, toggle_cpu, NULL) ||
	    pthread_create(&writer, NULL, write_share, NULL))
		return;
	arm(fd, target);
	for (; rounds < 300 || (atomic_load(&toggles) < 10 && rounds < 20000); rounds++) {
		size_t page = 100 + (size_t)rounds % 400 * 2;

		write_page(page);
		atomic_store(&shared->done, 0);
		atomic_store(&share_page, (int)page + 1);
		while (!atomic_load(&shared->done))
			sched_yield();
		wrong += !is_just(fd, target, page, page + 2);
	}
	atomic_store(&stop_threads, true);
	pthread_join(toggler, NULL);
	pthread_join(writer, NULL);
	tap_ok(!wrong && atomic_load(&toggles) > 0,
	       "%d exact epochs while a processor went and came %lu times (%d wrong)", rounds,
	       atomic_load(&toggles), wrong);
	close(fd);
}

/* Each allocation of a call fails, one after the other. */
static void test_no_memory_to_add(void)
{
	unsigned int n, failures = 0, wrong = 0;

	for (n = 1; n < 400; n++) {
		int fd = session_open(), target;
		bool failed;

		failing_nth(n);
		target = session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY);
		failed = failing_nth(0);
		failures += failed;
		wrong += target < 0 && target != -ENOMEM;
		if (target > 0) {
			/* whatever failed, what was added works */
			write_page(60);
			wrong += dirty_pages(fd, target) < 1;
		}
		close(fd);
		if (!failed)
			break;
	}
	tap_ok(!wrong && failures > 0, "out of memory in ADD, at each of %u places (%u wrong)",
	       failures, wrong);
	tap_ok(unreferenced(), "leaves no reference");
}

static void test_no_memory_to_collect(void)
{
	unsigned int n, failures = 0, wrong = 0;
	int fd = session_open(), other = session_open();
	int target = session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	int second = session_add(other, PML_TARGET_SELF, 0, PML_EV_DIRTY);

	arm(fd, target);
	arm(other, second);
	for (n = 1; n < 400; n++) {
		bool failed;
		int error;

		for (size_t i = 0; i < PAGES; i += 2)
			write_page(i);
		failing_nth(n);
		error = session_collect(fd, target, PML_EV_DIRTY, start_of(0), start_of(PAGES),
					NULL);
		failed = failing_nth(0);
		failures += failed;
		wrong += error && error != -ENOMEM && error != -EFAULT;
		/* what was taken and not told is not lost, for either of them */
		if (error)
			wrong += dirty_pages(fd, target) < PAGES / 2;
		wrong += dirty_pages(other, second) < PAGES / 2;
		if (!failed)
			break;
	}
	tap_ok(!wrong, "out of memory in COLLECT, at each of %u places: nothing is lost (%u wrong)",
	       failures, wrong);
	close(fd);
	close(other);
}

static void test_no_memory(void)
{
	if (!failing_prepare()) {
		tap_skip("this kernel cannot fail on demand", "out of memory in ADD and COLLECT");
		return;
	}
	test_no_memory_to_add();
	test_no_memory_to_collect();
}

/* A vector that cannot be written: nothing is lost by that. */
static void test_bad_vector(void)
{
	int fd = session_open(), target = session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	struct pml_uapi_collect c = {
		.size = sizeof(c), .target = (uint32_t)target, .start = start_of(0),
		.end = start_of(PAGES), .vec = 8, .vec_len = 64,
	};

	arm(fd, target);
	write_page(70);
	tap_ok(ioctl(fd, PML_IOC_COLLECT, &c) && errno == EFAULT, "a bad vector is EFAULT");
	tap_ok(dirty_pages(fd, target) >= 1, "and what it did not get comes with the next collect");
	close(fd);
}

int main(void)
{
	need_module();
	region = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED || shared == MAP_FAILED)
		return 1;
	madvise(region, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < PAGES; i++)
		write_page(i);
	test_module_is_held();
	test_no_ring();
	test_bad_vector();
	test_sessions_of_one_process();
	test_processes_of_one_session();
	test_inherited();
	test_target_ends(false);
	test_target_ends(true);
	test_tracker_killed();
	test_hotplug();
	test_no_memory();
	tap_ok(unreferenced(), "at the end nobody holds the module");
	return tap_done();
}
