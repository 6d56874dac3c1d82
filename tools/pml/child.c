/* SPDX-License-Identifier: MIT */
/*
 * child.c - starts the command of `-- CMD ARG...` for track.c.
 *
 * The child asks to be traced, so that the kernel stops it when exec has
 * loaded the new program and before that runs; there it is let go into an
 * ordinary stop, which leaves the place of the tracer free for the library.
 * Whatever the program writes, from its first instruction on, is tracked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

/* In the child; returns only if the command cannot be run. */
static void run(char **argv, const sigset_t *mask, int report)
{
	int error;

	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, mask, NULL);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
		execvp(argv[0], argv);
	error = errno;
	while (write(report, &error, sizeof(error)) < 0 && errno == EINTR)
		;
	_exit(127);
}

/* What the child could not do, or 0 once exec has closed the pipe. */
static int read_report(int fd)
{
	int error = 0;
	ssize_t n;

	do
		n = read(fd, &error, sizeof(error));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(error) ? error : 0;
}

static int wait_for(pid_t pid, int *status, int flags)
{
	int rc;

	do
		rc = waitpid(pid, status, flags);
	while (rc < 0 && errno == EINTR);
	return rc;
}

/*
 * From the stop at exec into an ordinary stop.  A signal that comes first
 * (a Ctrl-C, say) is passed on and may end the child: that is seen later.
 */
static int stop_at_exec(struct child *c)
{
	int status;

	for (;;) {
		if (wait_for(c->pid, &status, 0) < 0)
			return -errno;
		if (!WIFSTOPPED(status))
			break;
		if (WSTOPSIG(status) == SIGTRAP)
			break;
		ptrace(PTRACE_CONT, c->pid, NULL, (void *)(long)WSTOPSIG(status));
	}
	if (WIFSTOPPED(status)) {
		if (ptrace(PTRACE_DETACH, c->pid, NULL, (void *)(long)SIGSTOP))
			return -errno;
		if (wait_for(c->pid, &status, WUNTRACED) < 0)
			return -errno;
	}
	if (!WIFSTOPPED(status)) {
		c->ended = true;
		c->status = status;
	}
	return 0;
}

int child_start(struct child *c, char **argv, const sigset_t *mask)
{
	int fds[2];
	int rc, error;

	*c = (struct child){ 0 };
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	c->pid = fork();
	if (c->pid < 0) {
		rc = -errno;
		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	if (c->pid == 0)
		run(argv, mask, fds[1]);
	close(fds[1]);
	/* exec stops the child only after it has closed the pipe. */
	error = read_report(fds[0]);
	close(fds[0]);
	rc = error ? -error : stop_at_exec(c);
	if (rc)
		child_abandon(c);
	return rc;
}

void child_continue(struct child *c)
{
	/* kill() of process 0 would be for the whole process group. */
	if (!c->ended && c->pid > 0)
		kill(c->pid, SIGCONT);
}

void child_abandon(struct child *c)
{
	if (c->ended || c->pid <= 0)
		return;
	kill(c->pid, SIGKILL);
	child_reap(c, true);
}

bool child_reap(struct child *c, bool block)
{
	int status;

	if (!c->ended && wait_for(c->pid, &status, block ? 0 : WNOHANG) == c->pid) {
		c->ended = true;
		c->status = status;
	}
	return c->ended;
}

const char *child_words(const struct child *c, char *buf, size_t size)
{
	if (!c->ended)
		snprintf(buf, size, "still running");
	else if (WIFSIGNALED(c->status))
		snprintf(buf, size, "killed by signal %d (%s)", WTERMSIG(c->status),
			 strsignal(WTERMSIG(c->status)));
	else
		snprintf(buf, size, "exit status %d", WEXITSTATUS(c->status));
	return buf;
}
