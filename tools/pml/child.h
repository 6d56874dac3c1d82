/* SPDX-License-Identifier: MIT */
/*
 * child.h - the command of `-- CMD ARG...`: started so that it stands still
 * before its first instruction until it is tracked.  track.c calls it.
 */
#ifndef PML_TOOL_CHILD_H
#define PML_TOOL_CHILD_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct child {
	pid_t pid;
	bool ended;
	int status;	/* as of waitpid(), once ended */
};

/*
 * Starts @argv with the signal mask @mask; when this returns 0 the new
 * program is loaded and stopped before its first instruction.  Returns -errno
 * when it could not be run.
 */
int child_start(struct child *c, char **argv, const sigset_t *mask);

/* Lets it run; nothing happens if none was started. */
void child_continue(struct child *c);

/* Ends a child that has not run yet: nobody would ever continue it. */
void child_abandon(struct child *c);

/* Looks whether it has ended; with @block waits for that. */
bool child_reap(struct child *c, bool block);

/* "exit status 3", "killed by signal 11 (Segmentation fault)", ... */
const char *child_words(const struct child *c, char *buf, size_t size);

#endif /* PML_TOOL_CHILD_H */
