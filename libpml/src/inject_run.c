/* SPDX-License-Identifier: MIT */
/*
 * inject_run.c - makes the injector process, waits for its reply, and puts what
 * failed into words.  The library's side of inject_remote.h.
 */
#include "inject_run.h"
#include "inject_arch.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#if PML_INJECT_ARCH

/* How often a target that changed between the checks and the stop is tried again. */
enum { EXEC_TRIES = 3 };

#ifdef PML_TEST_HOOKS
static const char *const step_names[PML_STEP_COUNT] = {
	"none", "checked", "cloned", "seized", "interrupted", "stopped", "masked", "entered",
	"made", "taken", "closed", "restored", "detached", "sent", "received",
};

const char *pml_remote_step_name(unsigned int step)
{
	return step < PML_STEP_COUNT ? step_names[step] : "unknown";
}

/* The step that an environment variable asks for, by name or by number. */
static uint32_t asked_step(const char *variable)
{
	const char *text = getenv(variable);
	uint32_t i;

	if (!text)
		return PML_STEP_NONE;
	for (i = 0; i < PML_STEP_COUNT; i++)
		if (!strcmp(text, step_names[i]))
			return i;
	return (uint32_t)strtoul(text, NULL, 10);
}

static uint32_t asked_breaks(void)
{
	static const char *const names[PML_BREAK_COUNT] = {
		"registers", "mask", "eintr", "rseq",
	};
	const char *text = getenv("PML_TEST_BREAK");
	uint32_t i;

	for (i = 0; text && i < PML_BREAK_COUNT; i++)
		if (!strcmp(text, names[i]))
			return 1u << i;
	return 0;
}

static void read_hooks(struct pml_remote_job *job)
{
	job->broken = asked_breaks();
	job->kill_tracker_at = asked_step("PML_TEST_KILL_AT");
	job->kill_self_at = asked_step("PML_TEST_KILL_INJECTOR_AT");
}

static void at_step(const struct pml_remote_job *job, enum pml_remote_step step)
{
	if (job->kill_tracker_at == step)
		raise(SIGKILL);
}
#else
static void read_hooks(struct pml_remote_job *job)
{
	job->kill_tracker_at = PML_STEP_NONE;
	job->kill_self_at = PML_STEP_NONE;
	job->broken = 0;
}

static void at_step(const struct pml_remote_job *job, enum pml_remote_step step)
{
	(void)job;
	(void)step;
}
#endif

/* Receives the reply and the descriptor.  Returns 0, or -EIO if there is none. */
static int receive(int sock, struct pml_remote_reply *reply, int *fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { reply, sizeof(*reply) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	const struct cmsghdr *header;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(*reply))
		return -EIO;
	header = CMSG_FIRSTHDR(&msg);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(header), sizeof(int));
	return 0;
}

/*
 * A raw clone: no at-fork handler of the program runs, its exit sends no
 * signal, and the program's own wait() does not see it.  All signals stay
 * blocked in it; being a session of its own, it is not reached by Ctrl-C.
 */
static pid_t start_injector(const struct pml_remote_job *job)
{
	sigset_t all, before;
	long pid;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid = syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
	if (!pid)
		pml_remote_main(job);
	error = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid < 0 ? -error : (pid_t)pid;
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
		;
}

static int run_injector(struct pml_remote_job *job, struct pml_remote_reply *reply, int *fd,
			const struct pml_inject_words *words)
{
	int pair[2];
	pid_t pid;
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return pml_inject_say(words, errno == ENFILE ? -EMFILE : -errno,
				      "process %d: no socket for the injector: %s; close descriptors "
				      "here or raise the limit", job->pid, strerrordesc_np(errno));
	job->sock = pair[1];
	at_step(job, PML_STEP_CHECKED);
	pid = start_injector(job);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return pml_inject_say(words, pid == -EAGAIN ? -ENOMEM : pid,
				      "process %d: no process for the injector: %s; raise the limit "
				      "of processes or free memory", job->pid,
				      strerrordesc_np(-pid));
	}
	at_step(job, PML_STEP_CLONED);
	r = receive(pair[0], reply, fd);
	close(pair[0]);
	reap(pid);
	if (r)
		return pml_inject_say(words, -EBUSY,
				      "process %d: the injector was killed in the middle; look "
				      "whether the process still runs, clean it with `pml detach`, "
				      "then try again", job->pid);
	at_step(job, PML_STEP_RECEIVED);
	return 0;
}

/* The target's own system call failed: which limit was it? */
static int explain_call(pid_t pid, int error, const struct pml_inject_words *words)
{
	switch (error) {
	case -EMFILE:
		return pml_inject_say(words, -EMFILE,
				      "process %d: it has no free descriptor (RLIMIT_NOFILE); let it "
				      "close some, or raise its limit with prlimit", pid);
	case -ENFILE:
		return pml_inject_say(words, -EMFILE,
				      "process %d: the machine has no free descriptor; raise "
				      "fs.file-max", pid);
	case -ENOSYS:
		return pml_inject_say(words, -ENOTSUP,
				      "process %d: this kernel has no userfaultfd, or a seccomp filter "
				      "hides it from the process; use another back-end", pid);
	case -EPERM:
		return pml_inject_say(words, -EPERM,
				      "process %d: it may not make a userfaultfd (a security module or "
				      "a seccomp filter forbids it, or vm.unprivileged_userfaultfd is "
				      "0 on a kernel before 5.11); permit it, or use another back-end",
				      pid);
	case -EINVAL:
		return pml_inject_say(words, -ENOTSUP,
				      "process %d: this kernel's userfaultfd is too old (before "
				      "5.11); use another back-end", pid);
	case -ENOMEM:
		return pml_inject_say(words, -ENOMEM,
				      "process %d: no memory for a userfaultfd in it; free some, or "
				      "raise its memory limit", pid);
	default:
		return pml_inject_say(words, error,
				      "process %d: userfaultfd in it failed: %s; use another back-end",
				      pid, strerrordesc_np(-error));
	}
}

static int explain(const struct pml_remote_job *job, const struct pml_remote_reply *reply,
		   const struct pml_inject_words *words)
{
	const pid_t pid = job->pid;

	switch (reply->where) {
	case PML_WHERE_SEIZE:
		return pml_inject_say_denied(pid, reply->tracer, words);
	case PML_WHERE_STOP:
		return pml_inject_say(words, -EBUSY,
				      "process %d: it did not stop within 2 seconds (uninterruptible "
				      "sleep, a vfork whose child has not called exec, or a frozen "
				      "cgroup), or had no processor for 10; try again later", pid);
	case PML_WHERE_GONE:
		return pml_inject_say(words, -ESRCH,
				      "process %d: it ended, or called exec, meanwhile; try again if it "
				      "is still there", pid);
	case PML_WHERE_COMPAT:
		return pml_inject_say(words, -ENOTSUP,
				      "process %d: it runs 32-bit code; only 64-bit programs can be "
				      "tracked this way", pid);
	case PML_WHERE_SECCOMP:
		return pml_inject_say(words, -EPERM,
				      "process %d: seccomp is on in it, and could kill it for the call "
				      "that tracking needs; run as root (CAP_SYS_ADMIN), which can "
				      "suspend the filter for that moment", pid);
	case PML_WHERE_DISPATCH:
		return pml_inject_say(words, -ENOTSUP,
				      "process %d: it catches its own system calls (syscall user "
				      "dispatch, as Wine does); use another back-end", pid);
	case PML_WHERE_RSEQ:
		return pml_inject_say(words, -EBUSY,
				      "process %d: it never left its restartable sequences; try again",
				      pid);
	case PML_WHERE_INSN:
		return pml_inject_say(words, -EBUSY,
				      "process %d: its program changed meanwhile (exec); try again",
				      pid);
	case PML_WHERE_FROZEN:
		return pml_inject_say(words, -EBUSY,
				      "process %d: it is stopped and does not run on (a frozen cgroup); "
				      "thaw it and try again", pid);
	case PML_WHERE_CALL:
		return explain_call(pid, reply->error, words);
	case PML_WHERE_LEFT:
		return pml_inject_say(words, -EBUSY,
				      "process %d: it did not run on to close the descriptor made in "
				      "it (a frozen cgroup); thaw it and clean it with `pml detach`",
				      pid);
	case PML_WHERE_TAKE:
		if (reply->error == -EBADF)
			return pml_inject_say(words, -EBUSY,
					      "process %d: another thread of it closed the new "
					      "descriptor at once; try again", pid);
		if (reply->error == -EMFILE)
			return pml_inject_say(words, -EMFILE,
					      "process %d: no free descriptor here for its "
					      "userfaultfd; close some or raise the limit", pid);
		break;
	default:
		break;
	}
	return pml_inject_say(words, reply->error == -EACCES ? -EPERM : reply->error,
			      "process %d: the injection failed (step %d): %s; use another back-end",
			      pid, reply->where, strerrordesc_np(-reply->error));
}

/* After an exec, or the end of the thread that was chosen, another look may do. */
static bool changed_meanwhile(const struct pml_remote_reply *reply)
{
	return reply->where == PML_WHERE_GONE || reply->where == PML_WHERE_INSN;
}

int pml_inject_run(struct pml_remote_job *job, struct pml_remote_reply *reply, int *fd,
		   const struct pml_inject_words *words)
{
	int i, r;

	read_hooks(job);
	for (i = 0; ; i++) {
		memset(reply, 0, sizeof(*reply));
		*fd = -1;
		r = pml_inject_examine(job, words);
		if (!r)
			r = run_injector(job, reply, fd, words);
		if (r || !reply->error)
			return r;
		if (i == EXEC_TRIES || !changed_meanwhile(reply))
			return explain(job, reply, words);
	}
}

#else /* the examination refuses every process there, in words */

int pml_inject_run(struct pml_remote_job *job, struct pml_remote_reply *reply, int *fd,
		   const struct pml_inject_words *words)
{
	memset(reply, 0, sizeof(*reply));
	*fd = -1;
	return pml_inject_examine(job, words);
}

#endif
