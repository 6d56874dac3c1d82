/* SPDX-License-Identifier: MIT */
/*
 * inject_remote.c - the injector: a short-lived process that stops one thread
 * of the target, has it make (or close) a userfaultfd, puts everything back
 * and lets go.  Started by inject.c; runs pml_remote_main() and exits.
 *
 * Why each step is as it is:
 *   - The thread is stopped by PTRACE_INTERRUPT, which leaves signals and job
 *     control alone, and every change is made and undone in a stop of that
 *     kind.  Such a stop lies inside the kernel's signal delivery, so after it
 *     the kernel itself restarts an interrupted call (nanosleep, poll, futex)
 *     with its remaining time, from the registers that we have put back.
 *   - All signals are blocked while registers are altered, so none is
 *     delivered onto them; they stay pending and come after.  SIGSTOP cannot
 *     be blocked: it is passed on, and the group stop is left as it is.
 *   - Stops are looked at with WNOWAIT: a signal on its way to the thread is
 *     still delivered if this process is killed.
 *   - Nothing is written to the target's memory.
 * Only system calls and this stack: see pml_remote_main() in inject_remote.h.
 */
#include "inject_remote.h"
#include "inject_arch.h"

#if PML_INJECT_ARCH

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/rseq.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Younger than the oldest headers that this is built with. */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
enum {
	PML_PTRACE_GET_RSEQ = 0x420f,
	PML_PTRACE_GET_DISPATCH = 0x4210,
	PML_KERNEL_SIGSET = 8,		/* bytes of the kernel's signal set */
};

struct pml_ptrace_rseq {
	uint64_t pointer;
	uint32_t size;
	uint32_t signature;
	uint32_t flags;
	uint32_t pad;
};

struct pml_ptrace_dispatch {
	uint64_t mode;
	uint64_t selector;
	uint64_t offset;
	uint64_t len;
};

/* Bounds, in nanoseconds. */
static const uint64_t stop_limit = 2000000000;		/* for the target to stop, once all were tried */
static const uint64_t stop_share = 100000000;		/* for one thread, if there are others */
static const uint64_t starved_limit = 10000000000;	/* for one that only lacks a processor */
static const uint64_t patience_limit = 1000000000;	/* for a thread to leave its call */
static const uint64_t patience_step = 500000;
static const uint64_t seize_pause = 200000;		/* before a refused PTRACE_SEIZE is repeated */
static const unsigned int seize_tries = 25;
static const uint64_t enter_limit = 1000000000;		/* from resumed to the call's entry */
static const uint64_t no_limit = UINT64_MAX;

struct session {
	const struct pml_remote_job *job;
	struct pml_remote_reply reply;
	pid_t tid;		/* the thread in use */
	int pidfd;
	int fd;			/* the userfaultfd here, or -1 */
	bool suspended;		/* seccomp is suspended while we trace */
	pml_regs saved;
	uint64_t mask;		/* its signal mask */
	uint64_t starved_ns;	/* until then it may lack a processor; 0: no longer than others */
	uint64_t begin_ns;	/* when the stop was asked for */
	uint64_t window_begin_ns;
};

static uint64_t now_ns(void)
{
	struct timespec ts = { 0, 0 };

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	syscall(SYS_nanosleep, &ts, NULL);
}

static int result(long r)
{
	return r < 0 ? -errno : 0;
}

static int fail(struct session *s, enum pml_remote_where where, int error)
{
	s->reply.where = where;
	s->reply.error = error;
	return error;
}

/* A test may have either process killed here; otherwise this is nothing. */
static void at_step(const struct session *s, enum pml_remote_step step)
{
#ifdef PML_TEST_HOOKS
	static bool killed;

	if (s->job->kill_self_at == step)
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	/* the next thread gets here, too: by then the parent is somebody else */
	if (s->job->kill_tracker_at == step && !killed) {
		long parent = syscall(SYS_getppid);

		killed = true;
		syscall(SYS_kill, parent, SIGKILL);
		while (syscall(SYS_getppid) == parent)
			sleep_ns(100000);
	}
#else
	(void)s;
	(void)step;
#endif
}

static bool is_broken(const struct session *s, enum pml_remote_break what)
{
	return s->job->broken & 1u << what;
}

/* --- reading /proc without the C library --- */

static char *put_text(char *at, const char *text)
{
	while (*text)
		*at++ = *text++;
	*at = '\0';
	return at;
}

static char *put_number(char *at, unsigned int n)
{
	char digits[12];
	int i = 0;

	do {
		digits[i++] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	while (i)
		*at++ = digits[--i];
	*at = '\0';
	return at;
}

/* Reads a small file whole, as text.  Returns 0 or -errno. */
static int read_text(const char *path, char *text, size_t size)
{
	size_t have = 0;
	long n = 0;
	long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	do {
		n = syscall(SYS_read, fd, text + have, size - 1 - have);
		if (n > 0)
			have += (size_t)n;
	} while (n > 0 && have < size - 1);
	text[have] = '\0';
	syscall(SYS_close, fd);
	return n < 0 ? -EIO : 0;
}

/* The text after a field's name and the blanks behind it, or NULL. */
static const char *field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	if (!at)
		return NULL;
	at += strlen(name);
	while (*at == ' ' || *at == '\t')
		at++;
	return at;
}

static int read_status(const struct session *s, pid_t tid, char *text, size_t size)
{
	char path[64];
	char *at = put_text(path, "/proc/");

	at = put_number(at, (unsigned int)s->job->pid);
	at = put_text(at, "/task/");
	at = put_number(at, (unsigned int)tid);
	put_text(at, "/status");
	return read_text(path, text, size);
}

/* --- stopping --- */

static long ptrace_raw(long request, pid_t tid, unsigned long addr, unsigned long data)
{
	return syscall(SYS_ptrace, request, (long)tid, addr, data);
}

/*
 * Waits for the thread's next stop.  Returns 1 and its status, 0 when the time
 * is up, -ESRCH when it has ended.  SIGCHLD, which is blocked here, cuts the
 * sleep short.
 */
static int wait_stop(pid_t tid, uint64_t deadline, int *status)
{
	const uint64_t set = UINT64_C(1) << (SIGCHLD - 1);
	const int how = WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL;

	for (;;) {
		siginfo_t info;
		uint64_t now, left;
		struct timespec ts;

		memset(&info, 0, sizeof(info));
		if (syscall(SYS_waitid, P_PID, tid, &info, how, NULL) < 0)
			return -ESRCH;
		if (info.si_pid == tid) {
			if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED)
				return -ESRCH;
			*status = info.si_status;
			return 1;
		}
		now = now_ns();
		if (now >= deadline)
			return 0;
		left = deadline - now;
		if (left > 100000000)
			left = 100000000;
		ts.tv_sec = 0;
		ts.tv_nsec = (long)left;
		syscall(SYS_rt_sigtimedwait, &set, NULL, &ts, PML_KERNEL_SIGSET);
	}
}

static bool is_event_stop(int status)
{
	return (status >> 8) == PTRACE_EVENT_STOP;
}

static bool is_call_stop(int status)
{
	return status == (SIGTRAP | 0x80);
}

/* The signal that a stop holds back and that has to be passed on; 0: none. */
static unsigned long held_signal(int status)
{
	return (status >> 8) == 0 && !is_call_stop(status) ? (unsigned long)status : 0;
}

/* Whether the thread would stop at once if it had a processor. */
static bool is_runnable(const struct session *s)
{
	const char *state;
	char text[4096];

	if (read_status(s, s->tid, text, sizeof(text)))
		return false;
	state = field(text, "\nState:");
	return state && *state == 'R';
}

/* Waits until the thread is in an event stop, passing signals on meanwhile. */
static int wait_event_stop(const struct session *s, uint64_t deadline)
{
	for (;;) {
		int status = 0;
		int r = wait_stop(s->tid, deadline, &status);

		if (r == 0 && now_ns() < s->starved_ns && is_runnable(s)) {
			deadline = now_ns() + stop_share;
			continue;
		}
		if (r <= 0)
			return r;
		if (is_event_stop(status))
			return 1;
		/* Any stop uses the interrupt up: ask again before going on. */
		ptrace_raw(PTRACE_INTERRUPT, s->tid, 0, 0);
		ptrace_raw(PTRACE_CONT, s->tid, 0, held_signal(status));
	}
}

static int get_regs(const struct session *s, pml_regs *regs)
{
	struct iovec iov = { regs, sizeof(*regs) };
	int r = result(ptrace_raw(PTRACE_GETREGSET, s->tid, NT_PRSTATUS, (unsigned long)&iov));

	return !r && iov.iov_len != sizeof(*regs) ? -ENOEXEC : r;
}

static int set_regs(const struct session *s, pml_regs *regs)
{
	struct iovec iov = { regs, sizeof(*regs) };

	return result(ptrace_raw(PTRACE_SETREGSET, s->tid, NT_PRSTATUS, (unsigned long)&iov));
}

/*
 * Waits, without touching the thread, until it has just entered the call that
 * it sleeps in: started again after the stop, that call then ends when it
 * should.  A thread that stays longer than the limit is stopped all the same.
 */
static void wait_for_new_sleep(const struct session *s, pid_t tid)
{
	const uint64_t deadline = now_ns() + patience_limit;
	const char *name = "\nvoluntary_ctxt_switches:";
	char first[4096], text[4096];
	const char *before;

	if (read_status(s, tid, first, sizeof(first)))
		return;
	before = field(first, name);
	if (!before)
		return;
	while (now_ns() < deadline) {
		const char *now;
		size_t i = 0;

		sleep_ns(patience_step);
		if (read_status(s, tid, text, sizeof(text)))
			return;
		now = field(text, name);
		if (!now)
			return;
		while (before[i] == now[i] && before[i] != '\n' && before[i] != '\0')
			i++;
		if (before[i] != now[i])
			return;
	}
}

/* With the right to do it, no filter of the target's can hit the injected call. */
static int seize_once(struct session *s, pid_t tid)
{
	const unsigned long options = PTRACE_O_TRACESYSGOOD;
	const unsigned long more = options | PTRACE_O_SUSPEND_SECCOMP;
	int r;

	s->suspended = true;
	r = result(ptrace_raw(PTRACE_SEIZE, tid, 0, more));
	if (r == -EPERM || r == -EINVAL) {
		s->suspended = false;
		r = result(ptrace_raw(PTRACE_SEIZE, tid, 0, options));
	}
	return r;
}

static pid_t tracer_of(const struct session *s, pid_t tid)
{
	const char *at = NULL;
	char text[4096];
	pid_t tracer = 0;

	if (!read_status(s, tid, text, sizeof(text)))
		at = field(text, "\nTracerPid:");
	while (at && *at >= '0' && *at <= '9')
		tracer = tracer * 10 + (*at++ - '0');
	return tracer;
}

/*
 * A tracer that comes and goes (a leak checker at a program's end is one) makes
 * the kernel refuse, with no cause to be seen before or after.  So a refusal
 * counts when it is repeated, and a tracer seen in between is its cause.
 */
static int seize(struct session *s, const struct pml_remote_thread *thread)
{
	unsigned int i;
	int r;

	if (thread->patience)
		wait_for_new_sleep(s, thread->tid);
	r = seize_once(s, thread->tid);
	for (i = 1; r == -EPERM && !s->reply.tracer && i < seize_tries; i++) {
		s->reply.tracer = tracer_of(s, thread->tid);
		/* not in step with whatever else happens at intervals */
		sleep_ns(seize_pause + i % 7 * 30000u);
		r = seize_once(s, thread->tid);
	}
	if (r)
		return fail(s, r == -ESRCH ? PML_WHERE_GONE : PML_WHERE_SEIZE, r);
	return 0;
}

/* In a restartable sequence, a detour would be unseen by its abort handler. */
static bool in_rseq(const struct session *s)
{
	struct pml_ptrace_rseq config;
	uint64_t area = 0, ip = pml_regs_ip(&s->saved);
	uint64_t start = 0, length = 0;

	if (pml_regs_call(&s->saved) >= 0 || is_broken(s, PML_BREAK_RSEQ))
		return false;
	memset(&config, 0, sizeof(config));
	if (ptrace_raw(PML_PTRACE_GET_RSEQ, s->tid, sizeof(config), (unsigned long)&config) < 0)
		return false;
	if (!config.pointer)
		return false;
	if (ptrace_raw(PTRACE_PEEKDATA, s->tid, config.pointer + offsetof(struct rseq, rseq_cs),
		       (unsigned long)&area) < 0)
		return false;
	if (!area)
		return false;
	if (ptrace_raw(PTRACE_PEEKDATA, s->tid, area + offsetof(struct rseq_cs, start_ip),
		       (unsigned long)&start) < 0 ||
	    ptrace_raw(PTRACE_PEEKDATA, s->tid,
		       area + offsetof(struct rseq_cs, post_commit_offset),
		       (unsigned long)&length) < 0)
		return false;
	return ip - start < length;
}

/* Lets the thread run on for a moment and stops it again, until it is outside. */
static int leave_rseq(struct session *s)
{
	const uint64_t deadline = now_ns() + stop_limit;
	unsigned int i;

	for (i = 0; in_rseq(s); i++) {
		int r;

		if (now_ns() > deadline)
			return fail(s, PML_WHERE_RSEQ, -EBUSY);
		ptrace_raw(PTRACE_CONT, s->tid, 0, 0);
		sleep_ns(20000 + i % 10 * 7000u);
		s->begin_ns = now_ns();
		ptrace_raw(PTRACE_INTERRUPT, s->tid, 0, 0);
		r = wait_event_stop(s, now_ns() + stop_limit);
		if (r <= 0)
			return fail(s, r ? PML_WHERE_GONE : PML_WHERE_STOP, r ? r : -EBUSY);
		r = get_regs(s, &s->saved);
		if (r)
			return fail(s, PML_WHERE_REGISTERS, r);
	}
	return 0;
}

/* The stopped thread: may a system call be put into it?  Nothing is changed yet. */
static int check_stopped(struct session *s)
{
	struct pml_ptrace_dispatch dispatch;
	long word = 0;
	int r = get_regs(s, &s->saved);

	if (r == -ENOEXEC || (!r && !pml_regs_are_64bit(&s->saved)))
		return fail(s, PML_WHERE_COMPAT, -ENOTSUP);
	if (r)
		return fail(s, PML_WHERE_REGISTERS, r);
	memset(&dispatch, 0, sizeof(dispatch));
	if (ptrace_raw(PML_PTRACE_GET_DISPATCH, s->tid, sizeof(dispatch),
		       (unsigned long)&dispatch) >= 0 && dispatch.mode)
		return fail(s, PML_WHERE_DISPATCH, -ENOTSUP);
	if (!s->suspended) {
		const char *mode = NULL;
		char text[4096];

		if (!read_status(s, s->tid, text, sizeof(text)))
			mode = field(text, "\nSeccomp:");
		/* No such line: a kernel without seccomp. */
		if (mode && *mode != '0')
			return fail(s, PML_WHERE_SECCOMP, -EPERM);
	}
	r = leave_rseq(s);
	if (r)
		return r;
	if (ptrace_raw(PTRACE_PEEKTEXT, s->tid, s->job->insn, (unsigned long)&word) < 0 ||
	    !pml_word_is_syscall(word))
		return fail(s, PML_WHERE_INSN, -EBUSY);
	r = result(ptrace_raw(PTRACE_GETSIGMASK, s->tid, PML_KERNEL_SIGSET,
			      (unsigned long)&s->mask));
	return r ? fail(s, PML_WHERE_REGISTERS, r) : 0;
}

/* Stops the thread s->tid, which is seized, and checks it.  Returns 0 or -errno. */
static int stop_thread(struct session *s, uint64_t deadline)
{
	int r;

	s->begin_ns = now_ns();
	r = result(ptrace_raw(PTRACE_INTERRUPT, s->tid, 0, 0));
	if (r)
		return fail(s, PML_WHERE_GONE, -ESRCH);
	at_step(s, PML_STEP_INTERRUPTED);
	r = wait_event_stop(s, deadline);
	if (r <= 0)
		return fail(s, r ? PML_WHERE_GONE : PML_WHERE_STOP, r ? r : -EBUSY);
	at_step(s, PML_STEP_STOPPED);
	return check_stopped(s);
}

/* --- calls --- */

static void let_go(const struct session *s)
{
	ptrace_raw(PTRACE_DETACH, s->tid, 0, 0);
}

/*
 * From an event stop to an event stop with one system call between.  Returns 0
 * and the call's result, or -errno if the call was not made.
 */
static int remote_call(struct session *s, long nr, long arg, long *value, bool first)
{
	pml_regs regs = s->saved;
	uint64_t deadline = now_ns() + enter_limit;
	int status = 0;
	int r;

	pml_regs_set_call(&regs, s->job->insn, nr, arg);
	r = set_regs(s, &regs);
	if (r)
		return fail(s, PML_WHERE_REGISTERS, r);
	ptrace_raw(PTRACE_SYSCALL, s->tid, 0, 0);
	for (;;) {
		r = wait_stop(s->tid, deadline, &status);
		if (r < 0)
			return fail(s, PML_WHERE_GONE, r);
		if (r > 0 && is_call_stop(status))
			break;
		if (r > 0 && is_event_stop(status) && deadline == no_limit)
			return fail(s, PML_WHERE_FROZEN, -EBUSY);
		if (r > 0) {
			/* A SIGSTOP, or the news of a group stop's begin or end. */
			ptrace_raw(PTRACE_SYSCALL, s->tid, 0, held_signal(status));
			continue;
		}
		/* It does not run.  The next stop, however late, must undo all. */
		deadline = no_limit;
		ptrace_raw(PTRACE_INTERRUPT, s->tid, 0, 0);
	}
	if (first)
		at_step(s, PML_STEP_ENTERED);
	ptrace_raw(PTRACE_INTERRUPT, s->tid, 0, 0);
	ptrace_raw(PTRACE_CONT, s->tid, 0, 0);
	r = wait_event_stop(s, no_limit);
	if (r < 0)
		return fail(s, PML_WHERE_GONE, r);
	r = get_regs(s, &regs);
	if (r)
		return fail(s, PML_WHERE_REGISTERS, r);
	*value = pml_regs_result(&regs);
	return 0;
}

static int block_signals(struct session *s)
{
	const uint64_t all = ~UINT64_C(0);
	int r;

	s->window_begin_ns = now_ns();
	if (is_broken(s, PML_BREAK_MASK))
		return 0;
	r = result(ptrace_raw(PTRACE_SETSIGMASK, s->tid, PML_KERNEL_SIGSET,
			      (unsigned long)&all));
	if (r)
		return fail(s, PML_WHERE_REGISTERS, r);
	at_step(s, PML_STEP_MASKED);
	return 0;
}

static void restore(struct session *s)
{
	pml_regs regs = s->saved;

	if (!is_broken(s, PML_BREAK_EINTR))
		pml_regs_hide_stop(&regs);
	if (is_broken(s, PML_BREAK_REGISTERS))
		pml_regs_spoil(&regs);
	set_regs(s, &regs);
	ptrace_raw(PTRACE_SETSIGMASK, s->tid, PML_KERNEL_SIGSET, (unsigned long)&s->mask);
	s->reply.window_ns = now_ns() - s->window_begin_ns;
	at_step(s, PML_STEP_RESTORED);
}

static int take_fd(const struct session *s, long fd)
{
	long r = syscall(SYS_pidfd_getfd, s->pidfd, fd, 0);

	return r < 0 ? -errno : (int)r;
}

/* Another thread may have closed the number and used it anew: never close that. */
static bool is_same_file(const struct session *s, int ours, long theirs)
{
	long r = syscall(SYS_kcmp, syscall(SYS_getpid), s->tid, KCMP_FILE, ours, theirs);

	return r == 0 || (r < 0 && (errno == ENOSYS || errno == EOPNOTSUPP));
}

static int make_userfaultfd(struct session *s)
{
	const long flags = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;
	long fd = 0, closed = 0;
	int r = remote_call(s, SYS_userfaultfd, flags, &fd, true);

	if (r)
		return r;
	at_step(s, PML_STEP_MADE);
	if (fd < 0)
		return fail(s, PML_WHERE_CALL, (int)fd);
	s->reply.made = (int)fd;
	s->fd = take_fd(s, fd);
	if (s->fd == -EBADF)
		return fail(s, PML_WHERE_TAKE, -EBADF);
	at_step(s, PML_STEP_TAKEN);
	if (s->fd >= 0 && !is_same_file(s, s->fd, fd))
		return fail(s, PML_WHERE_TAKE, -EBADF);
	r = remote_call(s, SYS_close, fd, &closed, false);
	at_step(s, PML_STEP_CLOSED);
	if (r)
		return s->reply.where == PML_WHERE_FROZEN ? fail(s, PML_WHERE_LEFT, r) : r;
	if (s->fd < 0)
		return fail(s, PML_WHERE_TAKE, s->fd);
	return closed < 0 ? fail(s, PML_WHERE_LEFT, (int)closed) : 0;
}

static uint64_t parse_number(const char *text)
{
	uint64_t n = 0;

	while (*text >= '0' && *text <= '9')
		n = n * 10 + (uint64_t)(*text++ - '0');
	return n;
}

/* Is the target's descriptor still that userfaultfd, and has nobody set it up? */
static bool is_stray(const struct session *s, long theirs, uint64_t inode)
{
	char path[64], text[512];
	const char *api = NULL, *ino = NULL;
	bool stray = false;
	int fd = take_fd(s, theirs);

	if (fd < 0)
		return false;
	put_number(put_text(path, "/proc/self/fdinfo/"), (unsigned int)fd);
	if (!read_text(path, text, sizeof(text))) {
		api = field(text, "\nAPI:");
		ino = field(text, "\nino:");
	}
	/* The first number is the API's own, the second is what a handshake chose. */
	if (api && ino && is_same_file(s, fd, theirs))
		stray = !strncmp(api, "aa:0:", 5) && parse_number(ino) == inode;
	syscall(SYS_close, fd);
	return stray;
}

/* Closes what the job names, after a last look at each. */
static int close_fds(struct session *s)
{
	const bool copy = s->job->op == PML_REMOTE_CLOSE_COPY;
	uint32_t i;

	for (i = 0; i < s->job->nfds; i++) {
		const int fd = s->job->fds[i];
		long value = 0;
		int r;

		if (copy ? !is_same_file(s, s->job->ours, fd) : !is_stray(s, fd, s->job->inodes[i]))
			continue;
		r = remote_call(s, SYS_close, fd, &value, false);
		if (r)
			return r;
		if (!value)
			s->reply.closed++;
	}
	return 0;
}

/* The stopped and checked thread does the job and is as before.  0 or -errno. */
static int do_job(struct session *s)
{
	int r = block_signals(s);

	if (r)
		return r;
	r = s->job->op == PML_REMOTE_MAKE ? make_userfaultfd(s) : close_fds(s);
	if (s->reply.where == PML_WHERE_GONE)
		return r;
	restore(s);
	return r;
}

/* --- which thread --- */

/* Its descriptor table is what counts, and a thread may have one of its own. */
static int open_pidfd(struct session *s)
{
	long fd = syscall(SYS_pidfd_open, s->tid, PIDFD_THREAD);

	if (fd < 0 && errno == EINVAL) {
		/* Before Linux 6.9 only the process as a whole has one. */
		fd = syscall(SYS_pidfd_open, s->job->pid, 0);
		if (fd >= 0 && s->tid != s->job->pid &&
		    syscall(SYS_kcmp, s->job->pid, s->tid, KCMP_FILES, 0, 0) != 0) {
			syscall(SYS_close, fd);
			return fail(s, PML_WHERE_PIDFD, -ENOTSUP);
		}
	}
	if (fd < 0)
		return fail(s, PML_WHERE_PIDFD, -errno);
	s->pidfd = (int)fd;
	return 0;
}

/* Did this thread fail for a reason that another one may not have? */
static bool another_may_do(const struct session *s)
{
	switch (s->reply.where) {
	case PML_WHERE_STOP:
	case PML_WHERE_GONE:
	case PML_WHERE_PIDFD:
	case PML_WHERE_COMPAT:
	case PML_WHERE_SECCOMP:
	case PML_WHERE_DISPATCH:
	case PML_WHERE_RSEQ:
		return true;
	default:
		return false;
	}
}

/* One thread: stop, do the job, let go.  Seized before, if not for the first time. */
static int try_thread(struct session *s, const struct pml_remote_thread *thread, bool again,
		      uint64_t limit)
{
	int r;

	s->tid = thread->tid;
	r = open_pidfd(s);
	if (r)
		return r;
	if (!again) {
		r = seize(s, thread);
		if (!r)
			at_step(s, PML_STEP_SEIZED);
	}
	if (!r)
		r = stop_thread(s, now_ns() + limit);
	if (!r) {
		s->reply.where = PML_WHERE_DONE;
		s->reply.error = 0;
		r = do_job(s);
	}
	if (s->reply.where != PML_WHERE_SEIZE && s->reply.where != PML_WHERE_STOP &&
	    s->reply.where != PML_WHERE_GONE) {
		let_go(s);
		s->reply.stop_ns = now_ns() - s->begin_ns;
		at_step(s, PML_STEP_DETACHED);
	}
	syscall(SYS_close, s->pidfd);
	return r;
}

/*
 * Threads that did not stop in time still have the request to, and will stop
 * when they get a processor: let go as they were, not by this process's exit,
 * after which a sleep that the stop ended would fail with EINTR.
 */
static void let_go_late(struct session *s, const bool *pending)
{
	const uint64_t deadline = now_ns() + stop_limit;
	uint32_t i;

	for (i = 0; i < s->job->nthreads; i++) {
		pml_regs regs;

		if (!pending[i])
			continue;
		s->tid = s->job->threads[i].tid;
		if (wait_event_stop(s, deadline) <= 0)
			continue;
		if (!is_broken(s, PML_BREAK_EINTR) && !get_regs(s, &regs)) {
			pml_regs_hide_stop(&regs);
			set_regs(s, &regs);
		}
		let_go(s);
	}
}

/*
 * Threads in turn, the best first.  One that did not stop keeps its request to
 * stop and is looked at again at the end.
 */
static void try_in_turn(struct session *s, bool *pending)
{
	const uint32_t n = s->job->nthreads;
	struct pml_remote_reply worst = { .error = -ESRCH, .where = PML_WHERE_GONE };
	uint32_t i, waiting = 0;
	uint64_t limit;

	for (i = 0; i < n; i++) {
		limit = n > 1 ? stop_share : stop_limit;
		s->starved_ns = n > 1 ? 0 : now_ns() + starved_limit;

		if (!try_thread(s, &s->job->threads[i], false, limit) || !another_may_do(s))
			return;
		pending[i] = s->reply.where == PML_WHERE_STOP;
		waiting += pending[i];
		if (s->reply.where != PML_WHERE_GONE)
			worst = s->reply;
	}
	s->starved_ns = now_ns() + starved_limit;
	for (i = 0; i < n && n > 1; i++) {
		if (!pending[i])
			continue;
		limit = stop_limit / waiting;
		pending[i] = false;
		if (!try_thread(s, &s->job->threads[i], true, limit) || !another_may_do(s))
			return;
		pending[i] = s->reply.where == PML_WHERE_STOP;
	}
	s->reply = worst;
}

static void try_threads(struct session *s)
{
	bool pending[PML_REMOTE_THREADS] = { false };

	try_in_turn(s, pending);
	let_go_late(s, pending);
}

/* --- the process --- */

static void close_others(const struct pml_remote_job *job)
{
	const int kept[2] = { job->ours < job->sock ? job->ours : job->sock,
			      job->ours < job->sock ? job->sock : job->ours };
	int i, from = 0;

	for (i = 0; i < 2; i++) {
		if (kept[i] > from)
			syscall(SYS_close_range, from, kept[i] - 1, 0);
		if (kept[i] >= from)
			from = kept[i] + 1;
	}
	syscall(SYS_close_range, from, ~0U, 0);
}

static void become_nobodys_child(const struct pml_remote_job *job)
{
	const struct sched_param first = { .sched_priority = 1 };

	/* Handler none, flags none: stops of the target are told by SIGCHLD. */
	static const uint64_t default_action[4] = { 0, 0, 0, 0 };

	syscall(SYS_setsid);
	/* Where it may: the target stands still for as long as we wait for a CPU. */
	syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &first);
	syscall(SYS_rt_sigaction, SIGCHLD, default_action, NULL, PML_KERNEL_SIGSET);
	/* The program's pipes and files must not live on in here. */
	close_others(job);
}

static void send_reply(const struct session *s)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { (void *)&s->reply, sizeof(s->reply) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	memset(&control, 0, sizeof(control));
	if (s->fd >= 0 && !s->reply.error) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &s->fd, sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
	}
	syscall(SYS_sendmsg, s->job->sock, &msg, MSG_NOSIGNAL);
}

void pml_remote_main(const struct pml_remote_job *job)
{
	struct session s;

	memset(&s, 0, sizeof(s));
	s.job = job;
	s.fd = -1;
	become_nobodys_child(job);
	try_threads(&s);
	send_reply(&s);
	at_step(&s, PML_STEP_SENT);
	for (;;)
		syscall(SYS_exit_group, 0);
}

#endif /* PML_INJECT_ARCH */
