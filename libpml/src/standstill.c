/* SPDX-License-Identifier: MIT */
/* Work that is done while a process stands still; see standstill.h. */
#define _GNU_SOURCE
#include "standstill.h"
#include "broken.h"
#include "inject_arch.h"
#include "listing.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ptrace.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long the threads may take to stop; a stopped world must not wait longer. */
#define STOP_LIMIT_NS 200000000ull
#define LATE_LIMIT_NS 2000000000ull	/* for those that have not stopped by then */
#define STEP_NS 20000
/* ... but they must have had so many chances to: in a virtual machine that stood still
 * itself, time has passed and nothing else. */
#define LEAST_STEPS 50u
#define STACK_SIZE 65536u

struct stop {
	struct pml_proc *p;
	int (*work)(void *arg);
	void *arg;
	int32_t owner;		/* the process that wants it */
	int32_t caller;		/* the thread that is left alone; 0: none */
	int result;
	bool stood;
	int tasks;		/* its threads, while they are looked for */
	struct pml_buf tids;	/* int32_t */
	size_t ntids;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static long trace(long request, int32_t tid, unsigned long addr, unsigned long data)
{
	return syscall(SYS_ptrace, request, (long)tid, addr, data);
}

/* Whether the thread has ended, so that it need not be stopped.  What cannot be looked
 * at, for want of a descriptor, say, may run. */
static bool has_ended(int tasks, int32_t tid)
{
	struct pml_stat stat;
	int err = pml_stat_read(&stat, tasks, tid);

	if (err)
		return err == -ENOENT || err == -ESRCH;
	return *stat.state == 'Z' || *stat.state == 'X';
}

static bool is_known(const struct stop *s, int32_t tid)
{
	const int32_t *tids = s->tids.p;

	if (tid == s->caller)
		return true;
	for (size_t i = 0; i < s->ntids; i++)
		if (tids[i] == tid)
			return true;
	return false;
}

static int seize(void *arg, const char *name)
{
	const int32_t tid = (int32_t)strtol(name, NULL, 10);
	struct stop *s = arg;

	if (is_known(s, tid))
		return 0;
	if (pml_buf_reserve(s->p->pool, &s->tids, (s->ntids + 1) * sizeof(tid)))
		return -ENOMEM;
	if (trace(PTRACE_SEIZE, tid, 0, 0))
		return has_ended(s->tasks, tid) ? 0 : -EPERM;
	((int32_t *)s->tids.p)[s->ntids++] = tid;
	trace(PTRACE_INTERRUPT, tid, 0, 0);
	return 0;
}

/* Seizes the threads that are new since the last look. */
static int seize_new(struct stop *s, size_t *found)
{
	const size_t before = s->ntids;
	int err;

	s->tasks = openat(s->p->dirfd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->tasks < 0)
		return -ESRCH;
	err = pml_list(s->tasks, seize, s);
	close(s->tasks);
	*found = s->ntids - before;
	return err == -ENOENT ? -ESRCH : err;
}

#if PML_INJECT_ARCH
/* Two words of a stopped thread's memory; false: they cannot be read. */
static bool peek_time(int32_t tid, uint64_t addr, uint64_t *ns)
{
	long words[2];

	for (unsigned int i = 0; i < 2; i++)
		/* the call itself, unlike glibc's function, puts the word where it is told */
		if (trace(PTRACE_PEEKDATA, tid, addr + 8 * i, (unsigned long)&words[i]) < 0)
			return false;
	if (words[0] < 0 || words[0] > 1000000000l)
		return false;
	*ns = (uint64_t)words[0] * 1000000000ull + (uint64_t)words[1];
	return true;
}

/* Whether the call that the thread is in may start again: not, if that has gone on for
 * as long as it may wait. */
static bool may_start_again(struct stop *s, int32_t tid, const pml_regs *regs)
{
	struct pml_wait w = {
		.tid = tid, .call = (uint64_t)pml_regs_call(regs), .insn = pml_regs_insn(regs),
		.stack = pml_regs_stack(regs),
	};
	uint64_t arg = 0;

	switch (pml_regs_wait(regs, &arg)) {
	case PML_WAIT_MS:
		w.limit_ns = arg * 1000000;
		break;
	case PML_WAIT_TIMESPEC:
		/* a time like that is as good as none */
		if (!peek_time(tid, arg, &w.limit_ns))
			return true;
		break;
	default:
		return true;
	}
	w.since_ns = w.seen_ns = now_ns();
	return pml_waits_again(&s->p->waits, s->p->pool, w);
}

/* A thread that had no processor since the last stop has not come to its call again. */
static void note_on_its_way(struct stop *s, int32_t tid, const pml_regs *regs)
{
	struct pml_wait w = {
		.tid = tid, .call = (uint64_t)pml_regs_result(regs), .insn = pml_regs_insn(regs),
		.stack = pml_regs_stack(regs), .seen_ns = now_ns(),
	};

	pml_waits_on_its_way(&s->p->waits, s->p->pool, w);
}
#endif

/* Some calls would end early, with EINTR, because of the stop alone. */
static void hide_stop(struct stop *s, int32_t tid)
{
#if PML_INJECT_ARCH
	pml_regs regs, before;
	struct iovec iov = { &regs, sizeof(regs) };

	if (trace(PTRACE_GETREGSET, tid, NT_PRSTATUS, (unsigned long)&iov) ||
	    iov.iov_len != sizeof(regs))
		return;
	if (pml_regs_may_be_on_its_way(&regs))
		note_on_its_way(s, tid, &regs);
	if (!pml_regs_stop_ended_call(&regs))
		return;
	before = regs;
	if (may_start_again(s, tid, &before))
		pml_regs_hide_stop(&regs);
	else
		pml_regs_show_stop(&regs);
	if (memcmp(&before, &regs, sizeof(regs)) != 0)
		trace(PTRACE_SETREGSET, tid, NT_PRSTATUS, (unsigned long)&iov);
#else
	(void)s;
	(void)tid;
#endif
}

/*
 * Waits until the thread is stopped, or has ended.  What it stops for is looked
 * at and left where it is (WNOWAIT): a signal that was on its way is delivered
 * when the thread goes on.  Without a deadline it is only asked.
 */
static int wait_stopped(struct stop *s, int32_t tid, uint64_t deadline)
{
	const int how = WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL;
	const struct timespec step = { 0, STEP_NS };

	for (unsigned int steps = 0;; steps++) {
		siginfo_t info;

		memset(&info, 0, sizeof(info));
		if (syscall(SYS_waitid, P_PID, tid, &info, how, NULL) < 0)
			return 0;
		if (info.si_pid == tid) {
			if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED)
				hide_stop(s, tid);
			return 0;
		}
		if (!deadline || (steps >= LEAST_STEPS && now_ns() > deadline))
			return -EBUSY;
		nanosleep(&step, NULL);
	}
}

static int stop_all(struct stop *s)
{
	uint64_t deadline = now_ns() + STOP_LIMIT_NS;
	size_t done = 0, found;

	pml_waits_begin(&s->p->waits);
	do {
		int err = seize_new(s, &found);

		for (; !err && done < s->ntids; done++)
			err = wait_stopped(s, ((int32_t *)s->tids.p)[done], deadline);
		if (err)
			return err;
	} while (found);
	return 0;
}

/*
 * Not all have stopped, but all have the request to, and will when they get a
 * processor: let go one by one, those that stand first, so that none of their
 * calls fails for it.
 */
static void let_go_late(struct stop *s)
{
	const uint64_t deadlines[] = { 0, now_ns() + LATE_LIMIT_NS };

	for (size_t turn = 0; turn < 2; turn++)
		for (size_t i = 0; i < s->ntids; i++) {
			int32_t tid = ((int32_t *)s->tids.p)[i];

			if (!wait_stopped(s, tid, deadlines[turn]))
				trace(PTRACE_DETACH, tid, 0, 0);
		}
}

static int helper(void *arg)
{
	struct stop *s = arg;

	/* whoever is to be stopped must not stand still for one that was killed, nor must
	 * the lock of clear_refs be held for it: the helper has all its descriptors */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != s->owner)
		return 0;
	s->stood = stop_all(s) == 0;
	s->result = s->work(s->arg);
	if (!s->stood)
		let_go_late(s);
	/* its end lets all of them go on */
	return 0;
}

/* A process that was stopped by a job-control signal stops again by itself when
 * it is let go: it is waited for, so that it is seen as it was found. */
static void wait_job_stop(const struct pml_proc *p)
{
	const struct timespec step = { 0, 5 * STEP_NS };

	for (int i = 0; i < 200; i++) {
		char text[512];
		const char *at;
		ssize_t n = pread(p->status_fd, text, sizeof(text) - 1, 0);

		text[n > 0 ? n : 0] = '\0';
		at = strstr(text, "\nState:\t");
		if (!at || at[8] == 'T')
			return;
		nanosleep(&step, NULL);
	}
}

/* How many threads the calling process has. */
static bool is_alone(const struct pml_proc *p)
{
	char text[4096];
	const char *at;
	ssize_t n = pread(p->status_fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return false;
	text[n] = '\0';
	at = strstr(text, "\nThreads:");
	return at && strtol(at + 9, NULL, 10) == 1;
}

static int run_helper(struct stop *s)
{
	char *stack;
	pid_t pid;

	stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack == MAP_FAILED)
		return -ENOMEM;
	/* no signal at its end: the program's own wait() does not see it */
	pid = clone(helper, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK, s);
	if (pid > 0)
		while (waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
			;
	munmap(stack, STACK_SIZE);
	return pid > 0 ? 0 : -EAGAIN;
}

int pml_standstill(struct pml_proc *p, int (*work)(void *arg), void *arg, bool *stood)
{
	struct stop s = {
		.p = p, .work = work, .arg = arg, .result = -ECANCELED, .owner = getpid(),
		.caller = p->self ? (int32_t)syscall(SYS_gettid) : 0,
	};
	sigset_t all, before;

	/* a negative control: nobody is stopped, and nobody is told */
	if (pml_broken("no-stop")) {
		*stood = true;
		return work(arg);
	}
	/* the handlers of the calling thread write, too */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	if (p->self && is_alone(p)) {
		s.stood = true;
		s.result = work(arg);
	} else if (run_helper(&s)) {
		s.stood = false;
		s.result = work(arg);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pml_buf_free(&s.tids);
	if (p->stopped)
		wait_job_stop(p);
	*stood = s.stood;
	return s.result;
}
