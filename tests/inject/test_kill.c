/* SPDX-License-Identifier: MIT */
/*
 * test_kill.c - whoever dies in the middle of an attach, the target lives: the
 * tracker killed at every step; the target itself ending, forking, calling exec.
 * And what a killed injector can leave behind is found and removed.
 */
#include "attach.h"
#include "inject.h"
#include "inject_remote.h"
#include "pml.h"
#include "tap.h"
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A field of /proc/PID/status, as a number. */
static unsigned long status_number(pid_t pid, const char *name, int base)
{
	char path[64], line[256];
	unsigned long value = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			value = strtoul(line + strlen(name), NULL, base);
	if (file)
		fclose(file);
	return value;
}

/* A process that attaches, with the hook set.  Returns its wait status. */
static int attach_hooked(pid_t pid, const char *hook, unsigned int step)
{
	int status = 0;
	pid_t child = fork();

	if (!child) {
		struct pml_injected injected;
		char words[512] = "";
		int r;

		setenv(hook, pml_remote_step_name(step), 1);
		r = pml_inject_userfaultfd(pid, &injected, words, sizeof(words));
		_exit(!r ? 0 : r == -EBUSY && strstr(words, "was killed") ? 2 : 1);
	}
	waitpid(child, &status, 0);
	return status;
}

/* Calls act for every child of a process. */
static void for_children(pid_t parent, void (*act)(pid_t child, void *arg), void *arg)
{
	const struct dirent *entry;
	DIR *proc = opendir("/proc");

	while (proc && (entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 0 && (pid_t)status_number(pid, "PPid:", 10) == parent)
			act(pid, arg);
	}
	if (proc)
		closedir(proc);
}

struct orphans {
	pid_t target;
	unsigned int n;
};

static void reap_orphan(pid_t child, void *arg)
{
	struct orphans *orphans = arg;

	if (child == orphans->target)
		return;
	orphans->n++;
	waitpid(child, NULL, WNOHANG | __WALL);
}

/* An injector whose tracker was killed becomes our child: waits for its end. */
static void wait_for_injector(pid_t target)
{
	struct orphans orphans;
	int i = 0;

	do {
		orphans.target = target;
		orphans.n = 0;
		for_children(getpid(), reap_orphan, &orphans);
		if (orphans.n)
			usleep(1000);
	} while (orphans.n && i++ < 60000);
}

static void run_4_threads(struct shared *shared)
{
	target_threads(shared, 4, run_registers);
}

static void kill_tracker(const char *what, behaviour run)
{
	char after[8192];
	struct target target = target_start(run);
	unsigned int step;

	for (step = PML_STEP_CHECKED; step < PML_STEP_COUNT; step++) {
		int status = attach_hooked(target.pid, "PML_TEST_KILL_AT", step);
		bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

		wait_for_injector(target.pid);
		target_fds(&target, after, sizeof(after));
		tap_ok(killed && target_goes_on(&target, 2) &&
		       !strstr(after, "userfaultfd") &&
		       !status_number(target.pid, "SigBlk:", 16) &&
		       !status_number(target.pid, "TracerPid:", 10) &&
		       !atomic_load(&target.shared->errors),
		       "%s: goes on when the tracker is killed at '%s'", what,
		       pml_remote_step_name(step));
	}
	tap_ok(!attach_times(target.pid, 3, 0, NULL), "%s: can be attached to afterwards", what);
	tap_ok(target_end(&target, 0), "%s: finds nothing wrong", what);
}

static bool is_in_window(unsigned int step)
{
	return step >= PML_STEP_MASKED && step <= PML_STEP_CLOSED;
}

/*
 * The injector itself killed.  Before and after the window the target must not
 * notice; within it harm is possible and only noted: nothing but SIGKILL to
 * this one short-lived process does that.
 */
static void kill_injector(void)
{
	struct attach_times times = { .n = 0 };
	struct target target;
	unsigned int step;

	for (step = PML_STEP_SEIZED; step <= PML_STEP_SENT; step++) {
		const char *name = pml_remote_step_name(step);
		int status;
		bool told;

		target = target_start(run_registers);
		status = attach_hooked(target.pid, "PML_TEST_KILL_INJECTOR_AT", step);
		told = WIFEXITED(status) && WEXITSTATUS(status) == (step == PML_STEP_SENT ? 0 : 2);
		tap_ok(told, "the tracker is told when the injector is killed at '%s'", name);
		if (!is_in_window(step)) {
			tap_ok(target_end(&target, 0),
			       "the target goes on when the injector is killed at '%s'", name);
			continue;
		}
		usleep(50000);
		tap_note("injector killed at '%s' (the documented exception): the target %s", name,
			 waitpid(target.pid, NULL, WNOHANG) == target.pid ? "died" :
			 status_number(target.pid, "SigBlk:", 16) ? "runs with all signals blocked" :
			 "runs");
		target_kill(&target);
	}
	target = target_start(run_registers);
	attach_times(target.pid, 300, 0, &times);
	attach_note(&times, "one thread in a busy loop");
	target_end(&target, 0);
}

/* --- strays --- */

static int make_userfaultfd(void)
{
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
}

/* Two as an injector leaves them, and one of the program's own, set up. */
static void run_with_strays(struct shared *shared)
{
	struct uffdio_api api = { .api = UFFD_API };
	int own = make_userfaultfd();

	if (own < 0 || ioctl(own, UFFDIO_API, &api))
		target_error(shared, "no userfaultfd: %s", strerror(errno));
	make_userfaultfd();
	make_userfaultfd();
	atomic_store(&shared->helper, own);
	run_registers(shared);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Makes one and sets it up a moment later, all the time.  Where a moment takes as long
 * as a stray must have been there, by now a busy machine's, it may be taken for one. */
static void run_making_its_own(struct shared *shared)
{
	while (!atomic_load(&shared->stop)) {
		struct uffdio_api api = { .api = UFFD_API };
		uint64_t began = now_ms();
		int fd = make_userfaultfd();
		bool good;

		usleep(20000);
		good = fd >= 0 && !ioctl(fd, UFFDIO_API, &api) && !close(fd);
		if (now_ms() - began > 100)
			atomic_fetch_add(&shared->helper, 1);
		else if (!good)
			target_error(shared, "its userfaultfd: %s", strerror(errno));
		atomic_fetch_add(&shared->rounds, 1);
		target_ready(shared);
	}
}

static unsigned int count_userfaultfds(const struct target *target)
{
	char text[8192];
	const char *at = text;
	unsigned int n = 0;

	target_fds(target, text, sizeof(text));
	while ((at = strstr(at, "userfaultfd"))) {
		at++;
		n++;
	}
	return n;
}

static void not_yet_set_up(const struct target *target, const char *what)
{
	int i, r = 0;

	for (i = 0; i < 5; i++)
		r |= pml_detach_strays(target->pid, NULL, NULL, 0);
	if (r && atomic_load(&target->shared->helper))
		tap_skip("the machine is too busy: a moment took too long", "%s", what);
	else
		tap_ok(r == 0, "%s", what);
}

static void handle(int number)
{
	(void)number;
}

/* One each so many microseconds; 0: no more. */
static void signals_all_the_time(long each_us)
{
	const struct itimerval timer = { { 0, each_us }, { 0, each_us } };
	const struct sigaction action = { .sa_handler = handle };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void strays(void)
{
	struct target target = target_start(run_with_strays);
	char words[512] = "", own[32];
	char fds[8192];
	int found = -1, r;

	r = pml_detach_strays(target.pid, &found, words, sizeof(words));
	tap_ok(r == 2 && found == 2, "two strays are found and closed");
	tap_note("%d: %s", r, words);
	target_fds(&target, fds, sizeof(fds));
	snprintf(own, sizeof(own), "%ld -> anon_inode:[userfaultfd]",
		 atomic_load(&target.shared->helper));
	tap_ok(count_userfaultfds(&target) == 1 && strstr(fds, own),
	       "the program's own userfaultfd stays");
	r = pml_detach_strays(target.pid, &found, words, sizeof(words));
	tap_ok(r == 0 && found == 0, "a second time there is nothing to do");
	tap_note("%d: %s", r, words);
	tap_ok(target_end(&target, 0), "the program finds nothing wrong");

	target = target_start(run_making_its_own);
	not_yet_set_up(&target, "a userfaultfd that is just being set up is no stray");
	signals_all_the_time(1000);
	not_yet_set_up(&target, "nor for one who handles signals all the time");
	signals_all_the_time(0);
	tap_ok(target_end(&target, 0), "the program finds nothing wrong");
	r = pml_detach_strays(target.pid, &found, words, sizeof(words));
	tap_ok(r == -ESRCH, "a process that is gone: ESRCH");
}

/* --- fork, exec, exit --- */

static void *fork_all_the_time(void *arg)
{
	struct shared *shared = arg;

	while (!atomic_load(&shared->stop)) {
		pid_t child = fork();

		if (!child) {
			usleep(300000);
			_exit(0);
		}
		usleep(500);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	return NULL;
}

static void run_forking(struct shared *shared)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fork_all_the_time, shared))
		return;
	run_registers(shared);
	pthread_join(thread, NULL);
}

static void count_copies(pid_t child, void *arg)
{
	const struct target target = { .pid = child };
	unsigned int *n = arg;

	*n += count_userfaultfds(&target);
}

static void forking(void)
{
	struct target target = target_start(run_forking);
	unsigned int i, failed = 0, left = 0;

	for (i = 0; i < 40; i++) {
		struct pml_injected injected;
		char words[512] = "";

		if (pml_inject_userfaultfd(target.pid, &injected, words, sizeof(words))) {
			tap_note("%s", words);
			failed++;
			continue;
		}
		usleep(2000);
		for_children(target.pid, count_copies, &left);
		close(injected.uffd);
	}
	tap_ok(!failed, "a program that forks all the time can be attached to");
	tap_ok(!left, "no child keeps a copy of the descriptor (%u do)", left);
	tap_ok(target_end(&target, 0), "it finds nothing wrong");
}

/* Attaches until the process has ended: any answer will do, but for a hang. */
static int attach_until_end(pid_t pid, unsigned int *good, unsigned int *wrong)
{
	int status = -1;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		struct pml_injected injected;
		char words[512] = "";
		int r = pml_inject_userfaultfd(pid, &injected, words, sizeof(words));

		if (!r) {
			close(injected.uffd);
			++*good;
		} else if (r != -ESRCH && r != -EBUSY && r != -ENOTSUP) {
			tap_note("%d: %s", r, words);
			++*wrong;
		}
	}
	return status;
}

static void exec_all_the_time(void)
{
	unsigned int good = 0, wrong = 0;
	int status;
	pid_t pid = fork();

	if (!pid) {
		execl("/proc/self/exe", "inject-kill", "exec", "400", NULL);
		_exit(1);
	}
	status = attach_until_end(pid, &good, &wrong);
	tap_note("%u attaches succeeded", good);
	tap_ok(status == 0, "a program that calls exec all the time ends as it should");
	tap_ok(!wrong, "attaching to it succeeds or says that it is gone or busy");
}

static void exit_all_the_time(void)
{
	unsigned int i, good = 0, wrong = 0, bad = 0;

	for (i = 0; i < 300; i++) {
		pid_t pid = fork();

		if (!pid) {
			usleep(i * 10);
			_exit(0);
		}
		bad += attach_until_end(pid, &good, &wrong) != 0;
	}
	tap_note("%u attaches succeeded", good);
	tap_ok(!bad, "300 programs that end while they are attached to end as they should");
	tap_ok(!wrong, "attaching to them succeeds or says that they are gone");
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "exec")) {
		char left[32];
		long n = strtol(argv[2], NULL, 10);

		snprintf(left, sizeof(left), "%ld", n - 1);
		if (n > 0)
			execl("/proc/self/exe", argv[0], "exec", left, NULL);
		/* A leak checker would trace it, and fail where it is traced already. */
		_exit(n > 0);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	kill_tracker("a busy loop", run_registers);
	kill_tracker("4 busy threads", run_4_threads);
	kill_tracker("nanosleep", run_nanosleep);
	kill_tracker("epoll_wait", run_epoll_forever);
	kill_injector();
	strays();
	forking();
	exec_all_the_time();
	exit_all_the_time();
	return tap_done();
}
