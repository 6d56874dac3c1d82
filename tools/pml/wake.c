/* SPDX-License-Identifier: MIT */
/*
 * wake.c - waits for an epoch's end, the target's exit, or Ctrl-C, without
 * signal handlers: all three are descriptors to poll.
 */
#include <errno.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "wake.h"

uint64_t wake_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int wake_init(struct wake *w)
{
	struct sigaction action;
	sigset_t set;

	w->target = -1;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	w->interrupt_ignored = sigaction(SIGINT, NULL, &action) == 0 &&
			       action.sa_handler == SIG_IGN;
	/* Under nohup a hang-up is to be ignored, as it was before. */
	if (sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &w->former);
	w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return w->signals < 0 ? -errno : 0;
}

int wake_watch(struct wake *w, pid_t pid)
{
	w->target = pidfd_open(pid, 0);
	return w->target < 0 ? -errno : 0;
}

bool wake_exited(const struct wake *w)
{
	struct pollfd fd = { .fd = w->target, .events = POLLIN };

	return poll(&fd, 1, 0) > 0;
}

static int read_signal(struct wake *w)
{
	struct signalfd_siginfo info;

	if (read(w->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return -EAGAIN;
	w->signal = (int)info.ssi_signo;
	w->from_terminal = info.ssi_code == SI_KERNEL;
	return 0;
}

void wake_end(struct wake *w)
{
	/* else those that came would end the caller now, who is about to end */
	while (read_signal(w) == 0)
		;
	close(w->signals);
	if (w->target >= 0)
		close(w->target);
	sigprocmask(SIG_SETMASK, &w->former, NULL);
}

enum wake_reason wake_wait(struct wake *w, uint64_t deadline)
{
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = w->signals, .events = POLLIN },
			{ .fd = w->target, .events = POLLIN },
		};
		uint64_t now = wake_now();
		uint64_t left = deadline > now ? deadline - now : 0;
		struct timespec timeout = {
			.tv_sec = (time_t)(left / 1000000000),
			.tv_nsec = (long)(left % 1000000000),
		};
		int n = ppoll(fds, 2, deadline == WAKE_NEVER ? NULL : &timeout, NULL);

		if (n < 0 && errno != EINTR)
			return WAKE_ERROR;
		if (n > 0 && fds[0].revents && read_signal(w) == 0)
			return WAKE_SIGNAL;
		if (n > 0 && fds[1].revents)
			return WAKE_EXIT;
		if (n == 0)
			return WAKE_TIME;
	}
}
