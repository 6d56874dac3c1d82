/* SPDX-License-Identifier: MIT */
/*
 * wake.h - waits for what ends an epoch: its time, the target's exit, or a
 * signal such as Ctrl-C.  track.c calls it.
 */
#ifndef PML_TOOL_WAKE_H
#define PML_TOOL_WAKE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WAKE_NEVER UINT64_MAX

enum wake_reason {
	WAKE_TIME,	/* the moment has come */
	WAKE_EXIT,	/* the target has exited */
	WAKE_SIGNAL,	/* Ctrl-C or a request to end; see signal, from_terminal */
	WAKE_ERROR,
};

struct wake {
	int signals;		/* a signalfd */
	int target;		/* a pidfd, or -1 */
	sigset_t former;	/* the signal mask as it was, for children */
	bool interrupt_ignored;	/* it was when we began, and is in our children */
	int signal;		/* which signal came last */
	bool from_terminal;	/* it went to the whole foreground group */
};

/* Takes over SIGINT, SIGTERM and SIGHUP; returns 0 or -errno. */
int wake_init(struct wake *w);
/* Gives them back. */
void wake_end(struct wake *w);

/* From now on the exit of @pid wakes; returns 0 or -errno. */
int wake_watch(struct wake *w, pid_t pid);

/* Waits until @deadline (nanoseconds of the monotonic clock) or before. */
enum wake_reason wake_wait(struct wake *w, uint64_t deadline);

/* Whether the watched process has exited. */
bool wake_exited(const struct wake *w);

/* Now, on the monotonic clock. */
uint64_t wake_now(void);

#endif /* PML_TOOL_WAKE_H */
