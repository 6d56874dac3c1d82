/* SPDX-License-Identifier: MIT */
/* target_signals.c - targets that count signals, none of which may get lost. */
#include "target.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct shared *counted;

/* Real-time signals queue, in order: each carries its number. */
static void count_signal(int nr, siginfo_t *info, void *context)
{
	unsigned long number = (unsigned long)info->si_value.sival_int;

	(void)nr;
	(void)context;
	if (number != atomic_load(&counted->seen))
		target_error(counted, "signal %lu came when %lu was due", number,
			     atomic_load(&counted->seen));
	atomic_fetch_add(&counted->seen, 1);
	atomic_fetch_add(&counted->rounds, 1);
}

static void handle_with(int nr, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = handler;
	action.sa_flags = SA_SIGINFO | SA_RESTART;
	sigaction(nr, &action, NULL);
}

static void send_until_stop(struct shared *shared, pid_t to)
{
	const struct timespec pause = { 0, 100000 };

	while (!atomic_load(&shared->stop)) {
		union sigval value = { .sival_int = (int)atomic_load(&shared->sent) };

		if (!sigqueue(to, SIGRTMIN, value))
			atomic_fetch_add(&shared->sent, 1);
		else if (errno != EAGAIN)
			return;
		if (atomic_load(&shared->sent) % 16 == 0)
			nanosleep(&pause, NULL);
	}
}

void run_signal_storm(struct shared *shared)
{
	volatile unsigned long spin = 0;
	pid_t self = getpid(), sender;

	counted = shared;
	handle_with(SIGRTMIN, count_signal);
	sender = fork();
	if (!sender) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		send_until_stop(shared, self);
		_exit(0);
	}
	target_ready(shared);
	/* In user mode half of the time, in a system call the other half. */
	while (!atomic_load(&shared->stop)) {
		const struct timespec pause = { 0, 50000 };

		while (++spin % 10000)
			;
		nanosleep(&pause, NULL);
	}
	while (waitpid(sender, NULL, 0) < 0 && errno == EINTR)
		;
	/* All that were sent are pending by now, and come before this returns. */
	kill(self, 0);
	if (atomic_load(&shared->seen) != atomic_load(&shared->sent))
		target_error(shared, "%lu signals sent, %lu seen", atomic_load(&shared->sent),
			     atomic_load(&shared->seen));
}

/*
 * A loop as many servers have it: a handler sets a flag, and epoll_wait() must
 * return EINTR after the handler, or the flag is never looked at.
 */
static atomic_bool flag;

static void set_flag(int nr, siginfo_t *info, void *context)
{
	(void)nr;
	(void)info;
	(void)context;
	atomic_store(&flag, true);
}

static void send_when_answered(const struct shared *shared, pid_t to)
{
	const struct timespec pause = { 0, 300000 };
	unsigned long answered = 0;

	while (!atomic_load(&shared->stop)) {
		kill(to, SIGUSR1);
		while (atomic_load(&shared->rounds) == answered && !atomic_load(&shared->stop))
			nanosleep(&pause, NULL);
		answered = atomic_load(&shared->rounds);
	}
	kill(to, SIGUSR1);
}

void run_epoll_needs_eintr(struct shared *shared)
{
	struct epoll_event event = { .events = EPOLLIN };
	sigset_t blocked, open;
	pid_t self = getpid(), sender;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(epoll, EPOLL_CTL_ADD, eventfd(0, EFD_CLOEXEC), &event);
	handle_with(SIGUSR1, set_flag);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &open);
	sigdelset(&open, SIGUSR1);
	sender = fork();
	if (!sender) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		send_when_answered(shared, self);
		_exit(0);
	}
	target_ready(shared);
	while (!atomic_load(&shared->stop)) {
		int r = epoll_pwait(epoll, &event, 1, -1, &open);

		if (r != -1 || errno != EINTR)
			target_error(shared, "epoll_pwait returned %d", r);
		else if (!atomic_exchange(&flag, false))
			target_error(shared, "EINTR without a handler");
		else
			atomic_fetch_add(&shared->rounds, 1);
	}
	waitpid(sender, NULL, 0);
}
