/* SPDX-License-Identifier: MIT */
/*
 * inject_target.c - the checks on a target that need not stop it, all from
 * /proc, and which of its threads bears a stop best.  Called by inject.c.
 */
#include "inject_target.h"
#include "pause.h"
#include "inject_arch.h"
#include "inject_remote.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The kernel's PF_EXITING and PF_KTHREAD, in the flags field of /proc/PID/stat. */
#define TASK_IS_EXITING 0x00000004u
#define TASK_IS_KTHREAD 0x00200000u

/* Better threads first. */
enum fitness {
	FIT_FREE,		/* runs, or sleeps in a call that goes on exactly */
	FIT_SHORT,		/* in a call that a stop may end early (a short read) */
	FIT_PATIENCE,		/* in a call with a time-out that a stop ends */
	FIT_DEEP_SLEEP,		/* in uninterruptible sleep */
	FIT_NOT,		/* ended */
};

struct task_stat {
	char state;
	unsigned int flags;
	pid_t parent;
};

int pml_inject_say(const struct pml_inject_words *words, int error, const char *format, ...)
{
	va_list args;

	if (!words->text || !words->size)
		return error;
	va_start(args, format);
	/* the analyzer of clang 14 takes args for uninitialized */
	vsnprintf(words->text, words->size, format, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
	va_end(args);
	return error;
}

/* Returns the number of bytes read, with a NUL behind them, or -errno. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int error;

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	error = errno;
	close(fd);
	if (n < 0)
		return -error;
	text[n] = '\0';
	return n;
}

static int read_stat(pid_t pid, pid_t tid, struct task_stat *stat)
{
	char path[64], text[1024];
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	n = read_file(path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	/* The name may hold anything, brackets too: the last one ends it. */
	at = strrchr(text, ')');
	if (!at || sscanf(at + 1, " %c %d %*d %*d %*d %*d %u", &stat->state, &stat->parent,
			  &stat->flags) != 3)
		return -EIO;
	return 0;
}

/* A number of the process's status, or -errno. */
static long read_status(pid_t pid, const char *name)
{
	char path[64], text[4096];
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	n = read_file(path, text, sizeof(text));
	if (n < 0)
		return n;
	at = strstr(text, name);
	return at ? strtol(at + strlen(name), NULL, 10) : -ENODATA;
}

static bool has_ended(pid_t pid)
{
	struct task_stat stat;

	if (read_stat(pid, pid, &stat))
		return true;
	return (stat.state == 'Z' || stat.state == 'X') && read_status(pid, "\nThreads:") <= 1;
}

/* No zombie yet, but nothing of it will run again. */
static bool is_ending(pid_t pid)
{
	struct task_stat stat;

	if (read_stat(pid, pid, &stat))
		return true;
	return (stat.flags & TASK_IS_EXITING) && read_status(pid, "\nThreads:") <= 1;
}

int pml_inject_say_denied(pid_t pid, long tracer, const struct pml_inject_words *words)
{
	char text[16] = "";
	long user = read_status(pid, "\nUid:");
	uid_t me = geteuid();

	/* The kernel denies access to one that is just ending, whoever asks. */
	if (is_ending(pid))
		return pml_inject_say(words, -ESRCH, "process %d: it has ended; nothing to do",
				      pid);
	if (tracer <= 0)
		tracer = read_status(pid, "\nTracerPid:");
	if (tracer > 0)
		return pml_inject_say(words, -EBUSY,
				      "process %d cannot be stopped: process %ld traces it already; "
				      "end that debugger or tracer first", pid, tracer);
	if (user >= 0 && me != 0 && (uid_t)user != me)
		return pml_inject_say(words, -EPERM,
				      "process %d cannot be stopped: it belongs to user %ld, not to "
				      "user %u; run as that user or as root", pid, user, me);
	if (me != 0 && read_file("/proc/sys/kernel/yama/ptrace_scope", text, sizeof(text)) > 0 &&
	    text[0] != '0')
		return pml_inject_say(words, -EPERM,
				      "process %d cannot be stopped: Yama's ptrace_scope is %c; run "
				      "as root, set kernel.yama.ptrace_scope to 0, or let the "
				      "process call prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)",
				      pid, text[0]);
	return pml_inject_say(words, -EPERM,
			      "process %d cannot be stopped: ptrace is not permitted (fewer "
			      "capabilities, a process made undumpable, a seccomp filter here, or a "
			      "security module); run as root with CAP_SYS_PTRACE", pid);
}

static bool is_lack(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

/* The fault is not with the target: this process cannot open another file. */
static int say_lack(pid_t pid, int error, const struct pml_inject_words *words)
{
	return pml_inject_say(words, error == -ENFILE ? -EMFILE : error,
			      "process %d: its facts in /proc cannot be read: %s here; close "
			      "descriptors or raise the limit", pid, strerrordesc_np(-error));
}

int pml_inject_say_no_access(pid_t pid, int error, const struct pml_inject_words *words)
{
	if (is_lack(error))
		return say_lack(pid, error, words);
	if (error == -ENOENT || error == -ESRCH)
		return pml_inject_say(words, -ESRCH, "process %d: it has ended; nothing to do", pid);
	return pml_inject_say_denied(pid, 0, words);
}

static int check_process(pid_t pid, const struct pml_inject_words *words)
{
	struct task_stat stat;
	long leader = read_status(pid, "\nTgid:");
	long tracer = read_status(pid, "\nTracerPid:");

	if (is_lack((int)leader))
		return say_lack(pid, (int)leader, words);
	if (leader < 0 || read_stat(pid, pid, &stat))
		return pml_inject_say(words, -ESRCH,
				      "process %d: there is no such process; check the number", pid);
	if (leader != pid)
		return pml_inject_say(words, -ESRCH,
				      "process %d: it is a thread of process %ld; name that one", pid,
				      leader);
	if (stat.flags & TASK_IS_KTHREAD)
		return pml_inject_say(words, -ENOTSUP,
				      "process %d: it is a kernel thread and has no memory of its "
				      "own; choose a program", pid);
	if (has_ended(pid))
		return pml_inject_say(words, -ENOTSUP,
				      "process %d: it is a zombie, it has ended and waits for its "
				      "parent %d; nothing to do", pid, stat.parent);
	if (tracer > 0)
		return pml_inject_say_denied(pid, tracer, words);
	/*
	 * Until it calls exec, the memory is its parent's: the parent would be
	 * watched in its place.
	 */
	if (stat.parent > 0 && syscall(SYS_kcmp, stat.parent, pid, KCMP_VM, 0, 0) == 0)
		return pml_inject_say(words, -EBUSY,
				      "process %d: it shares the memory of its parent %d, as after "
				      "vfork; try again when it has called exec, or name the parent",
				      pid, stat.parent);
	return 0;
}

/* Seen before the first touch; a 64-bit program that runs 32-bit code is seen later. */
static int check_elf(pid_t pid, const struct pml_inject_words *words)
{
	char path[64], head[EI_NIDENT + 1] = "";

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	if (read_file(path, head, sizeof(head)) < EI_NIDENT)
		return 0;
	if (head[EI_CLASS] != ELFCLASS64)
		return pml_inject_say(words, -ENOTSUP,
				      "process %d: it is a 32-bit program; only 64-bit ones can be "
				      "tracked this way", pid);
	return 0;
}

#if PML_INJECT_ARCH

/* How long to wait for an exec that is under way. */
enum { EXEC_TRIES = 20, EXEC_PAUSE_NS = 5000000 };

/* The address of a system call instruction in [start, end), or 0. */
static uint64_t find_insn(int mem, uint64_t start, uint64_t end)
{
	unsigned char buffer[16384];
	const size_t length = sizeof(pml_syscall_insn);

	while (start + length <= end) {
		size_t want = end - start < sizeof(buffer) ? end - start : sizeof(buffer);
		ssize_t n = pread(mem, buffer, want, (off_t)start);
		const unsigned char *at;

		if (n < (ssize_t)length)
			return 0;
		at = memmem(buffer, (size_t)n, pml_syscall_insn, length);
		if (at)
			return start + (uint64_t)(at - buffer);
		start += (uint64_t)n - (length - 1);
	}
	return 0;
}

/* In the vdso if it has one, else in any executable mapping. */
static int find_syscall_once(struct pml_remote_job *job, const struct pml_inject_words *words)
{
	const pid_t tid = job->threads[0].tid;
	char path[64], *line = NULL;
	size_t size = 0;
	uint64_t vdso = 0, other = 0;
	FILE *maps;
	int mem;

	/* By way of a thread: a main thread that has ended has no memory any more. */
	snprintf(path, sizeof(path), "/proc/%d/task/%d/mem", job->pid, tid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (mem < 0)
		return pml_inject_say_no_access(job->pid, -errno, words);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/maps", job->pid, tid);
	maps = fopen(path, "re");
	if (!maps) {
		int error = -errno;

		close(mem);
		return pml_inject_say_no_access(job->pid, error, words);
	}
	while (!vdso && getline(&line, &size, maps) > 0) {
		uint64_t start, end;
		char perms[5];

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, perms) != 3 ||
		    perms[2] != 'x' || strstr(line, "[vsyscall]"))
			continue;
		if (strstr(line, "[vdso]"))
			vdso = find_insn(mem, start, end);
		else if (!other)
			other = find_insn(mem, start, end);
	}
	free(line);
	fclose(maps);
	close(mem);
	job->insn = vdso ? vdso : other;
	return 0;
}

/* In the middle of exec, a process has no mappings yet. */
static int find_syscall(struct pml_remote_job *job, const struct pml_inject_words *words)
{
	int i, r;

	for (i = 0; i < EXEC_TRIES; i++) {
		if (i)
			pml_pause_ns(EXEC_PAUSE_NS);
		r = find_syscall_once(job, words);
		if (r || job->insn)
			return r;
	}
	return pml_inject_say(words, -ENOTSUP,
			      "process %d: it has no system call instruction in any executable "
			      "mapping (or is just ending); it cannot be tracked this way",
			      job->pid);
}

/*
 * How a system call bears a stop.  Most go on as if nothing had been.  A few
 * end early with EINTR and start over (inject_arch.h), which makes a time-out
 * begin again; any other may return what it has got so far.
 */
static enum fitness fitness_of_call(long nr, const unsigned long *arg)
{
	switch (nr) {
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
	case SYS_restart_syscall:
	case SYS_poll:
	case SYS_ppoll:
	case SYS_select:
	case SYS_pselect6:
	case SYS_futex:
	case SYS_wait4:
	case SYS_waitid:
	case SYS_pause:
	case SYS_rt_sigsuspend:
	case SYS_accept:
	case SYS_accept4:
	case SYS_semop:
		return FIT_FREE;
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return (int)arg[3] > 0 ? FIT_PATIENCE : FIT_FREE;
	case SYS_epoll_pwait2:
	case SYS_semtimedop:
		return arg[3] ? FIT_PATIENCE : FIT_FREE;
	case SYS_rt_sigtimedwait:
		return arg[2] ? FIT_PATIENCE : FIT_FREE;
	case SYS_io_getevents:
		return arg[4] ? FIT_PATIENCE : FIT_FREE;
	default:
		return FIT_SHORT;
	}
}

static enum fitness fitness_of(pid_t pid, pid_t tid)
{
	char path[64], text[256];
	unsigned long arg[6];
	struct task_stat stat;
	enum fitness fit;
	long nr;

	if (read_stat(pid, tid, &stat) || stat.state == 'Z' || stat.state == 'X')
		return FIT_NOT;
	if (stat.state == 'D')
		return FIT_DEEP_SLEEP;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	if (read_file(path, text, sizeof(text)) < 0)
		return FIT_SHORT;
	if (sscanf(text, "%ld %lx %lx %lx %lx %lx %lx", &nr, &arg[0], &arg[1], &arg[2], &arg[3],
		   &arg[4], &arg[5]) != 7)
		return FIT_FREE;
	fit = fitness_of_call(nr, arg);
	/* A thread that is stopped stays where it is: waiting for it is in vain. */
	if (fit == FIT_PATIENCE && stat.state == 'T')
		fit = FIT_SHORT;
	return fit;
}

/* The best threads first; of equals the main thread, then the older. */
static int choose_threads(struct pml_remote_job *job, const struct pml_inject_words *words)
{
	enum fitness fit[PML_REMOTE_THREADS];
	char path[64];
	const struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", job->pid);
	dir = opendir(path);
	if (!dir)
		return pml_inject_say_no_access(job->pid, -errno, words);
	job->nthreads = 0;
	while ((entry = readdir(dir))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		enum fitness new = tid > 0 ? fitness_of(job->pid, tid) : FIT_NOT;
		uint32_t i = job->nthreads, last;

		if (new == FIT_NOT)
			continue;
		while (i > 0 && new < fit[i - 1])
			i--;
		if (i == PML_REMOTE_THREADS)
			continue;
		last = job->nthreads < PML_REMOTE_THREADS ? job->nthreads++ :
							    PML_REMOTE_THREADS - 1;
		for (; last > i; last--) {
			fit[last] = fit[last - 1];
			job->threads[last] = job->threads[last - 1];
		}
		fit[i] = new;
		job->threads[i].tid = tid;
		job->threads[i].patience = new == FIT_PATIENCE;
	}
	closedir(dir);
	if (job->nthreads)
		return 0;
	return pml_inject_say(words, -ESRCH, "process %d: it has ended; nothing to do", job->pid);
}

int pml_inject_examine(struct pml_remote_job *job, const struct pml_inject_words *words)
{
	int r = check_process(job->pid, words);

	if (!r)
		r = check_elf(job->pid, words);
	if (!r)
		r = choose_threads(job, words);
	return r ? r : find_syscall(job, words);
}

#else

int pml_inject_examine(struct pml_remote_job *job, const struct pml_inject_words *words)
{
	int r = check_process(job->pid, words);

	if (!r)
		r = check_elf(job->pid, words);
	if (r)
		return r;
	return pml_inject_say(words, -ENOTSUP,
			      "process %d: tracking another process with a userfaultfd is not "
			      "supported on this processor; let the program track itself, or use "
			      "another back-end", job->pid);
}

#endif
