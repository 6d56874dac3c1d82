/* SPDX-License-Identifier: MIT */
/*
 * inject_remote.h - the contract between the library's process (inject.c) and
 * the short-lived injector process (inject_remote.c): one job, one reply.
 */
#ifndef PML_INJECT_REMOTE_H
#define PML_INJECT_REMOTE_H

#include <stdint.h>
#include <sys/types.h>

enum {
	PML_REMOTE_THREADS = 16,	/* threads of the target that may be tried */
	PML_REMOTE_FDS = 32,		/* descriptors that one job may close */
};

enum pml_remote_op {
	PML_REMOTE_MAKE,	/* make a userfaultfd, take it, close it there */
	PML_REMOTE_CLOSE,	/* close descriptors that are still strays */
	PML_REMOTE_CLOSE_COPY,	/* close fds[0] if it is the same file as ours */
};

/* One thread to try, and how its present system call bears a stop. */
struct pml_remote_thread {
	pid_t tid;
	/*
	 * 1: it sleeps in a call with a relative time-out that the kernel ends
	 * with EINTR at any stop: better to wait for it to leave that call.
	 */
	int32_t patience;
};

struct pml_remote_job {
	enum pml_remote_op op;
	pid_t pid;
	uint64_t insn;		/* where the target has a `syscall` instruction */
	struct pml_remote_thread threads[PML_REMOTE_THREADS];	/* best first */
	uint32_t nthreads;
	uint32_t nfds;
	int fds[PML_REMOTE_FDS];
	uint64_t inodes[PML_REMOTE_FDS];	/* PML_REMOTE_CLOSE: which files those are */
	int ours;		/* PML_REMOTE_CLOSE_COPY: our descriptor */
	int sock;		/* where the reply goes */
	/* Tests only: the step at which to kill the tracker, or the injector. */
	uint32_t kill_tracker_at;
	uint32_t kill_self_at;
	uint32_t broken;	/* and what to leave out: 1 << enum pml_remote_break */
};

/* What the injector was doing when it failed. */
enum pml_remote_where {
	PML_WHERE_DONE = 0,
	PML_WHERE_PIDFD,	/* pidfd_open of the process or the thread */
	PML_WHERE_SEIZE,	/* PTRACE_SEIZE */
	PML_WHERE_STOP,		/* it did not stop in time */
	PML_WHERE_GONE,		/* it ended meanwhile */
	PML_WHERE_REGISTERS,	/* registers or mask could not be read or set */
	PML_WHERE_COMPAT,	/* it runs 32-bit code */
	PML_WHERE_SECCOMP,	/* seccomp is on and may not be suspended */
	PML_WHERE_DISPATCH,	/* syscall user dispatch is on */
	PML_WHERE_RSEQ,		/* it never left its restartable sequences */
	PML_WHERE_INSN,		/* the syscall instruction has gone: exec */
	PML_WHERE_FROZEN,	/* stopped, but does not run: a frozen cgroup */
	PML_WHERE_CALL,		/* the target's system call itself failed */
	PML_WHERE_TAKE,		/* pidfd_getfd */
	PML_WHERE_LEFT,		/* the descriptor could not be closed there */
};

struct pml_remote_reply {
	int32_t error;		/* 0 or -errno */
	int32_t where;		/* enum pml_remote_where */
	uint64_t stop_ns;
	uint64_t window_ns;
	uint32_t closed;	/* how many descriptors were closed, but for MAKE */
	int32_t made;		/* PML_REMOTE_MAKE: the number that it had there */
	int32_t tracer;		/* PML_WHERE_SEIZE: who traced it then, or 0 */
};

/*
 * The steps at which tests kill (PML_TEST_KILL_AT: the library's process,
 * PML_TEST_KILL_INJECTOR_AT: the injector).
 */
enum pml_remote_step {
	PML_STEP_NONE = 0,
	PML_STEP_CHECKED,	/* the library's process has done its checks */
	PML_STEP_CLONED,	/* and made the injector */
	PML_STEP_SEIZED,	/* from here on: seen by the injector */
	PML_STEP_INTERRUPTED,
	PML_STEP_STOPPED,
	PML_STEP_MASKED,	/* all signals blocked in the target's thread */
	PML_STEP_ENTERED,	/* the target is at the entry of userfaultfd() */
	PML_STEP_MADE,
	PML_STEP_TAKEN,
	PML_STEP_CLOSED,
	PML_STEP_RESTORED,	/* registers and mask are the target's own again */
	PML_STEP_DETACHED,
	PML_STEP_SENT,
	PML_STEP_RECEIVED,	/* the library's process has the descriptor */
	PML_STEP_COUNT,
};

/* What tests leave out on purpose (PML_TEST_BREAK), to see that they notice. */
enum pml_remote_break {
	PML_BREAK_REGISTERS,	/* one register comes back changed */
	PML_BREAK_MASK,		/* signals are not held back */
	PML_BREAK_EINTR,	/* calls that a stop ends are left at that */
	PML_BREAK_RSEQ,		/* restartable sequences are not looked for */
	PML_BREAK_COUNT,
};

#ifdef PML_TEST_HOOKS
/* The name of a step as the environment variables spell it. */
const char *pml_remote_step_name(unsigned int step);
#endif

/*
 * pml_remote_main - the injector's whole life; called in the new process
 *
 * Uses nothing but system calls and its own stack: the process is a copy of
 * one thread of a program whose locks may be held by threads it lacks.
 */
__attribute__((noreturn)) void pml_remote_main(const struct pml_remote_job *job);

#endif /* PML_INJECT_REMOTE_H */
