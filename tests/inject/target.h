/* SPDX-License-Identifier: MIT */
/*
 * target.h - processes to attach to, that check themselves all the time.  Used
 * by the test programs of this folder; the behaviours are in target_*.c.
 */
#ifndef PML_TESTS_INJECT_TARGET_H
#define PML_TESTS_INJECT_TARGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Shared by a target and its test. */
struct shared {
	atomic_bool ready;
	atomic_bool stop;	/* the test asks it to end */
	atomic_ulong rounds;	/* rounds of checking that were good */
	atomic_ulong errors;
	atomic_long helper;	/* a number for the test: a pid, a descriptor, an address */
	atomic_ulong sent;	/* signal storm: sent ... */
	atomic_ulong seen;	/* ... and handled */
	char why[256];		/* of the first error */
};

struct target {
	pid_t pid;
	struct shared *shared;
};

/* What a target does: calls ready(), then works until shared->stop. */
typedef void (*behaviour)(struct shared *shared);

/* Starts a process that does it and waits until it is ready. */
struct target target_start(behaviour run);
/*
 * Asks it to end.  True if it had done more rounds since `rounds`, no error, and
 * ended by itself; else the reason is noted.
 */
bool target_end(struct target *target, unsigned long rounds);
/* Kills it, for targets that do nothing. */
void target_kill(struct target *target);
/* Waits until it has done n more good rounds.  False: it does not get on. */
bool target_goes_on(const struct target *target, unsigned long n);
/* The list of its descriptors as text. */
void target_fds(const struct target *target, char *text, size_t size);
/* The letter of its state, as in /proc/PID/stat. */
char target_state(pid_t pid);

/* For behaviours. */
void target_ready(struct shared *shared);
__attribute__((format(printf, 2, 3)))
void target_error(struct shared *shared, const char *format, ...);
/*
 * As vfork: runs it in a child that has the same memory, and returns when the
 * child has ended.  The child's number is put into shared->helper.
 */
void target_vfork(struct shared *shared, behaviour run);
/* Runs a behaviour in n threads, the main thread among them, until stop. */
void target_threads(struct shared *shared, unsigned int n, behaviour run);

/* The behaviours: registers. */
void run_registers(struct shared *shared);
void run_registers_in_32_threads(struct shared *shared);
void run_rseq(struct shared *shared);
const char *rseq_missing(void);
/* Sleepers: each call must end by its time-out only, with nothing cut short. */
void run_nanosleep(struct shared *shared);
void run_poll(struct shared *shared);
void run_ppoll(struct shared *shared);
void run_select(struct shared *shared);
void run_futex(struct shared *shared);
void run_epoll(struct shared *shared);
void run_epoll_pwait2(struct shared *shared);
void run_semtimedop(struct shared *shared);
void run_sigtimedwait(struct shared *shared);
/* These sleep without a time-out and are woken at the end. */
void run_epoll_forever(struct shared *shared);
void run_read_forever(struct shared *shared);
/* The main thread does that on the first processor, another naps on the second. */
void run_epoll_beside(struct shared *shared);
/* Sleeps for ten minutes in epoll_wait: nobody can wait for it to leave. */
void run_epoll_long(struct shared *shared);
/* Signals. */
void run_signal_storm(struct shared *shared);
void run_epoll_needs_eintr(struct shared *shared);

#endif /* PML_TESTS_INJECT_TARGET_H */
