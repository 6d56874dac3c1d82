/* SPDX-License-Identifier: MIT */
/*
 * test_attach.c - a process in whatever state does not notice that it is
 * attached to: its registers, its sleeps, its signals, its descriptors.
 */
#include "attach.h"
#include "inject.h"
#include "tap.h"
#include "target.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct attach_times times;

static void attach_to(const char *truth, behaviour run, unsigned int n, unsigned int pause_ms)
{
	char before[8192], after[8192];
	struct target target = target_start(run);
	unsigned int failed;
	unsigned long rounds = 0;

	times.n = 0;
	target_goes_on(&target, 1);
	target_fds(&target, before, sizeof(before));
	failed = attach_times(target.pid, n, pause_ms, &times);
	rounds = atomic_load(&target.shared->rounds);
	target_fds(&target, after, sizeof(after));
	attach_note(&times, truth);
	tap_ok(!failed, "%s: %u attaches succeed", truth, n);
	tap_ok(strcmp(before, after) == 0, "%s: has the same descriptors afterwards", truth);
	if (strcmp(before, after) != 0)
		tap_note("before: %s; after: %s", before, after);
	/* Rounds before the last attach: none if each attach began a sleep anew. */
	tap_ok(rounds > 0, "%s: gets on while it is attached to", truth);
	tap_ok(target_end(&target, rounds), "%s: finds nothing wrong", truth);
}

static void stopped_stays_stopped(void)
{
	struct target target = target_start(run_registers);
	int status = 0;
	unsigned long rounds;

	kill(target.pid, SIGSTOP);
	waitpid(target.pid, &status, WUNTRACED);
	rounds = atomic_load(&target.shared->rounds);
	tap_ok(!attach_times(target.pid, 50, 0, NULL), "a stopped process can be attached to");
	/* it goes back to its stop by itself, when it is given a processor */
	for (int i = 0; i < 10000 && target_state(target.pid) != 'T'; i++)
		usleep(1000);
	tap_ok(target_state(target.pid) == 'T', "it is stopped afterwards");
	tap_ok(atomic_load(&target.shared->rounds) == rounds, "it has not run meanwhile");
	tap_ok(waitpid(target.pid, &status, WUNTRACED | WCONTINUED | WNOHANG) == 0,
	       "its parent is not told of a second stop");
	kill(target.pid, SIGCONT);
	tap_ok(target_end(&target, rounds), "it goes on after SIGCONT");
}

/* SIGSTOP and SIGCONT all the time, while it is attached to all the time. */
static void stop_and_go(void)
{
	const struct timespec pause = { 0, 700000 };
	struct target target = target_start(run_registers);
	pid_t sender = fork();

	if (!sender) {
		for (;;) {
			kill(target.pid, SIGSTOP);
			nanosleep(&pause, NULL);
			kill(target.pid, SIGCONT);
			nanosleep(&pause, NULL);
		}
	}
	tap_ok(!attach_times(target.pid, 300, 0, NULL),
	       "a process that stops and goes on all the time can be attached to");
	kill(sender, SIGKILL);
	waitpid(sender, NULL, 0);
	kill(target.pid, SIGCONT);
	tap_ok(target_end(&target, 0), "it is not left stopped, and finds nothing wrong");
}

/* The main thread has ended, the others live on. */
static void *still_running(void *arg)
{
	struct shared *shared = arg;

	run_registers(shared);
	_exit(0);
}

static void run_without_main_thread(struct shared *shared)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, still_running, shared))
		pthread_exit(NULL);
}

static void dead_main_thread(void)
{
	struct target target = target_start(run_without_main_thread);
	struct pml_injected injected;
	char words[512] = "";
	int i, r;

	for (i = 0; i < 1000 && target_state(target.pid) != 'Z'; i++)
		usleep(1000);
	r = pml_inject_userfaultfd(target.pid, &injected, words, sizeof(words));
	if (r == -ENOTSUP && strstr(words, "step"))
		tap_skip("no descriptors of single threads before Linux 6.9",
			 "a process whose main thread has ended can be attached to");
	else
		tap_ok(!r, "a process whose main thread has ended can be attached to %s", words);
	if (!r)
		close(injected.uffd);
	tap_ok(target_end(&target, 0), "it finds nothing wrong");
}

/* One thread waits in vfork for a child that does not call exec; others are free. */
static void wait_for_stop(struct shared *shared)
{
	while (!atomic_load(&shared->stop))
		usleep(1000);
}

static void *sit_in_vfork(void *arg)
{
	target_vfork(arg, wait_for_stop);
	return NULL;
}

static void run_vfork_in_a_thread(struct shared *shared)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, sit_in_vfork, shared))
		return;
	while (!atomic_load(&shared->helper))
		usleep(1000);
	run_registers(shared);
	pthread_join(thread, NULL);
}

/* The main thread sits in vfork: another one has to do. */
static void *registers_thread(void *arg)
{
	run_registers(arg);
	return NULL;
}

static void run_vfork_in_main(struct shared *shared)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, registers_thread, shared))
		return;
	sit_in_vfork(shared);
	pthread_join(thread, NULL);
}

/* What was made is the target's: a mapping that only it has can be registered. */
static void run_with_mapping(struct shared *shared)
{
	void *mapping = mmap((void *)0x123450000000, 65536, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	atomic_store(&shared->helper, (long)mapping);
	run_registers(shared);
}

static void descriptor_is_the_targets(void)
{
	struct target target = target_start(run_with_mapping);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct pml_injected injected = { .uffd = -1 };
	char words[512] = "";

	reg.range.start = (uint64_t)atomic_load(&target.shared->helper);
	reg.range.len = 65536;
	tap_ok(!pml_inject_userfaultfd(target.pid, &injected, words, sizeof(words)),
	       "a descriptor comes here %s", words);
	tap_ok(!ioctl(injected.uffd, UFFDIO_API, &api) &&
	       !ioctl(injected.uffd, UFFDIO_REGISTER, &reg),
	       "it registers memory that only the target has");
	close(injected.uffd);
	tap_ok(target_end(&target, 0), "the target runs on when it is closed");
}

/* Nobody can wait ten minutes for the call to end: it is started again. */
static void long_epoll_is_not_cut(void)
{
	struct target target = target_start(run_epoll_long);
	unsigned int failed;
	char path[64];
	int fd;

	usleep(20000);
	failed = attach_times(target.pid, 2, 0, NULL);
	tap_ok(!failed, "a process in a ten-minute epoll_wait can be attached to");
	tap_ok(!atomic_load(&target.shared->rounds) && !atomic_load(&target.shared->errors),
	       "its epoll_wait goes on");
	/* An eventfd cannot be written through /proc; end it the plain way. */
	snprintf(path, sizeof(path), "/proc/%d/fd/%ld", target.pid,
		 atomic_load(&target.shared->helper));
	fd = access(path, F_OK);
	tap_ok(!fd, "its descriptors are there");
	target_kill(&target);
}

/* Where a hog and those that it keeps from running are. */
static int on_first_processor(pid_t pid)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	return sched_setaffinity(pid, sizeof(first), &first);
}

/* Keeps the first processor for itself.  Its pid, or -errno. */
static pid_t hog(void)
{
	const struct sched_param high = { .sched_priority = 50 };
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (on_first_processor(0) || sched_setscheduler(0, SCHED_FIFO, &high))
		_exit(TAP_SKIP_ALL);
	for (clock_t end = clock() + CLOCKS_PER_SEC * 2 / 5; clock() < end;)
		;
	_exit(0);
}

/* The same for longer than the kernel lets such a one: by weight, against one that has
 * next to none until the hog ends. */
static pid_t hog_by_weight(pid_t other)
{
	const struct sched_param none = { .sched_priority = 0 };
	struct timespec now;
	time_t end;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (on_first_processor(0) || on_first_processor(other) ||
	    setpriority(PRIO_PROCESS, 0, -20) || sched_setscheduler(other, SCHED_IDLE, &none))
		_exit(TAP_SKIP_ALL);
	clock_gettime(CLOCK_MONOTONIC, &now);
	for (end = now.tv_sec + 4; now.tv_sec < end;)
		clock_gettime(CLOCK_MONOTONIC, &now);
	_exit(sched_setscheduler(other, SCHED_OTHER, &none) ? 1 : 0);
}

/* It would stop, but does not come to it for some seconds. */
static void without_a_processor(void)
{
	struct target target = target_start(run_registers);
	pid_t pid = hog_by_weight(target.pid);
	unsigned int failed;
	int status = 0;

	usleep(20000);
	failed = attach_times(target.pid, 1, 0, NULL);
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == TAP_SKIP_ALL)
		tap_skip("no right to a high priority", "a process without a processor");
	else
		tap_ok(!failed && !status,
		       "a process that gets no processor for some seconds can be attached to");
	tap_ok(target_end(&target, 0), "it finds nothing wrong");
}

/* Its main thread gets no processor until another thread has been used. */
static void who_stops_late_does_not_notice(void)
{
	static const char truth[] = "a thread that stops too late: its epoll_wait goes on";
	struct target target;
	unsigned int failed;
	int status = 0;
	pid_t pid;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		tap_skip("one processor", "%s", truth);
		return;
	}
	target = target_start(run_epoll_beside);
	target_goes_on(&target, 5);
	pid = hog();
	usleep(20000);
	failed = attach_times(target.pid, 1, 0, NULL);
	waitpid(pid, &status, 0);
	target_goes_on(&target, 5);
	tap_ok(!failed, "a process with a thread that does not run can be attached to");
	if (WIFEXITED(status) && WEXITSTATUS(status) == TAP_SKIP_ALL)
		tap_skip("no right to SCHED_FIFO", "%s", truth);
	else
		tap_ok(!atomic_load(&target.shared->errors), "%s", truth);
	target_end(&target, 0);
}

int main(void)
{
	const char *no_rseq = rseq_missing();

	descriptor_is_the_targets();
	attach_to("a busy loop", run_registers, 200, 1);
	attach_to("32 busy threads", run_registers_in_32_threads, 500, 0);
	attach_to("nanosleep", run_nanosleep, 60, 10);
	attach_to("poll", run_poll, 60, 10);
	attach_to("ppoll", run_ppoll, 60, 10);
	attach_to("select", run_select, 60, 10);
	attach_to("futex", run_futex, 60, 10);
	attach_to("epoll_wait", run_epoll, 15, 10);
	attach_to("epoll_pwait2", run_epoll_pwait2, 15, 10);
	attach_to("semtimedop", run_semtimedop, 15, 10);
	attach_to("sigtimedwait", run_sigtimedwait, 15, 10);
	attach_to("epoll_wait without end", run_epoll_forever, 100, 3);
	attach_to("read", run_read_forever, 100, 3);
	attach_to("a signal storm", run_signal_storm, 300, 1);
	attach_to("epoll_pwait that a signal must end", run_epoll_needs_eintr, 300, 1);
	if (no_rseq)
		tap_skip(no_rseq, "restartable sequences");
	else
		attach_to("restartable sequences", run_rseq, 400, 0);
	attach_to("a thread in vfork", run_vfork_in_a_thread, 30, 1);
	attach_to("the main thread in vfork", run_vfork_in_main, 30, 1);
	stopped_stays_stopped();
	stop_and_go();
	dead_main_thread();
	long_epoll_is_not_cut();
	who_stops_late_does_not_notice();
	without_a_processor();
	return tap_done();
}
