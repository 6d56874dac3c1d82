/* SPDX-License-Identifier: MIT */
/*
 * test_tracker.c - a tracker knows whose it is and whom it watches: in a fork that
 * has its owner's process number, after an exec, and where descriptors are short.
 * Run by CTest.
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 500u
#define PATIENCE_MS 60000	/* a truth that takes longer has failed */

static size_t page;
static int to_target[2], from_target[2];

static bool say(int fd)
{
	return write(fd, "x", 1) == 1;
}

static bool hear(int fd)
{
	char byte;

	return read(fd, &byte, 1) == 1;
}

/* Its descriptors are 0 and 1.  After an exec it writes when it is asked to. */
static int writer(void)
{
	unsigned char *memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (memory == MAP_FAILED)
		return 1;
	while (say(1) && hear(0))
		for (size_t i = 0; i < PAGES; i++)
			memory[i * page]++;
	return 0;
}

static pid_t started(void)
{
	pid_t pid;

	if (pipe(to_target) || pipe(from_target))
		exit(1);
	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(to_target[0], 0);
	dup2(from_target[1], 1);
	if (say(1) && hear(0))
		execl("/proc/self/exe", "test-tracker", "--writer", NULL);
	_exit(1);
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

static struct pml *tracker(enum pml_target target, pid_t pid, const char *backend)
{
	struct pml_options o = {
		.size = sizeof(o), .target = (int32_t)target, .pid = pid, .backend = backend,
	};
	struct pml *t = NULL;

	if (pml_open(&t, &o) || !pml_start(t))
		return t;
	tap_note("pml_start: %s", pml_message(t));
	pml_close(t);
	return NULL;
}

static struct rlimit no_descriptors(void)
{
	struct rlimit before, none;

	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	return before;
}

static bool becomes_readable(int fd)
{
	struct pollfd pf = { .fd = fd, .events = POLLIN };

	return poll(&pf, 1, PATIENCE_MS) == 1;
}

/* The descriptor that polls counts in the memory that the process has now. */
static void after_exec(void)
{
	const struct pml_result *r;
	pid_t pid = started();
	struct pml *t = hear(from_target[0]) ? tracker(PML_TARGET_PID, pid, NULL) : NULL;
	int fd = t ? pml_poll_fd(t, PAGES / 2, 5) : -1;
	struct rlimit before;
	uint64_t count;
	int err;

	if (!t) {
		tap_skip("no back-end can track another process here", "exec");
		ended(pid);
		return;
	}
	tap_ok(say(to_target[1]) && hear(from_target[0]), "the target has called exec");
	before = no_descriptors();
	err = pml_collect(t, NULL, &r);
	setrlimit(RLIMIT_NOFILE, &before);
	tap_ok(err == -ESTALE, "which is no exit, however few descriptors there are: %d, %s", err,
	       pml_message(t));
	err = pml_start(t);
	if (fd < 0) {
		tap_skip("the back-end cannot count", "pml_poll_fd after an exec");
	} else {
		while (!err && !pml_collect(t, NULL, &r) && r->dirty_pages > PAGES / 2)
			;
		if (read(fd, &count, sizeof(count)) < 0)
			tap_note("it had not been readable");
		tap_ok(!err && say(to_target[1]) && hear(from_target[0]) && becomes_readable(fd),
		       "what it writes from then on makes the descriptor readable");
	}
	pml_close(t);
	ended(pid);
}

/* Whoever is not looked for would not be watched. */
static void descendants(void)
{
	const struct pml_result *r;
	pid_t pid = started();
	struct pml *t = hear(from_target[0]) ? tracker(PML_TARGET_TREE, pid, "hash") : NULL;
	struct rlimit before = no_descriptors();
	int err = t ? pml_collect(t, NULL, &r) : 0;

	setrlimit(RLIMIT_NOFILE, &before);
	tap_ok(err == -EMFILE && strchr(pml_message(t), ';'),
	       "too few descriptors to look for descendants is an error in words: %d, %s", err,
	       pml_message(t));
	tap_ok(t && !pml_collect(t, NULL, &r) && (r->flags & PML_RESULT_LOST),
	       "after which it goes on");
	pml_close(t);
	ended(pid);
}

/* The first of a pid namespace: 0 if a fork with its number is known for one. */
static int first_of_namespace(void)
{
	const struct pml_result *r;
	int status = 0, err;
	struct pml *t;
	pid_t pid;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL) || unshare(CLONE_NEWPID))
		return 77;
	t = tracker(PML_TARGET_SELF, 0, NULL);
	if (!t || pml_collect(t, NULL, &r))
		return 2;
	pid = fork();
	if (!pid) {
		err = getpid() == 1 ? pml_collect(t, NULL, &r) : 0;
		pml_close(t);
		_exit(err == -ECHILD ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	err = pml_collect(t, NULL, &r);
	pml_close(t);
	return err ? 3 : WIFEXITED(status) ? WEXITSTATUS(status) : 4;
}

static void same_number(void)
{
	const char *what = "a fork that has its parent's number in another namespace is told";
	int status = 0;
	pid_t outer, pid;

	fflush(stdout);
	outer = fork();
	if (!outer) {
		if (unshare(CLONE_NEWPID | CLONE_NEWNS))
			_exit(77);
		pid = fork();
		if (!pid)
			_exit(first_of_namespace());
		waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 5);
	}
	waitpid(outer, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		tap_skip("no pid namespace can be made here", "%s", what);
	else
		tap_ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s (%x)", what, status);
}

static void *wait_for_end(void *end)
{
	int *fds = end;
	pid_t tid = (pid_t)syscall(SYS_gettid);

	if (write(fds[1], &tid, sizeof(tid)) == sizeof(tid))
		hear(to_target[0]);
	return NULL;
}

/* The number of a thread is none of a process. */
static void thread_number(void)
{
	struct pml_options o = {
		.size = sizeof(o), .target = PML_TARGET_PID, .backend = "hash",
	};
	struct pml *t = NULL;
	pthread_t thread;
	int fds[2], err;

	if (pipe(to_target) || pipe(fds) || pthread_create(&thread, NULL, wait_for_end, fds) ||
	    read(fds[0], &o.pid, sizeof(o.pid)) != sizeof(o.pid))
		exit(1);
	err = pml_open(&t, &o);
	if (!err)
		err = pml_start(t);
	tap_ok(err == -ESRCH && t && strstr(pml_message(t), "thread"),
	       "a thread is not taken for a process: %d, %s", err, t ? pml_message(t) : "");
	pml_close(t);
	say(to_target[1]);
	pthread_join(thread, NULL);
	for (int i = 0; i < 2; i++) {
		close(to_target[i]);
		close(fds[i]);
	}
}

int main(int argc, char **argv)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	if (argc > 1 && strcmp(argv[1], "--writer") == 0)
		return writer();
	same_number();
	after_exec();
	descendants();
	thread_number();
	return tap_done();
}
