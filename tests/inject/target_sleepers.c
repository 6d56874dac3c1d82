/* SPDX-License-Identifier: MIT */
/*
 * target_sleepers.c - targets that sleep in system calls.  A call with a
 * time-out must end by it: not early, not with EINTR.  And it must end at all:
 * the tests attach more often than once per time-out, so that a call whose time
 * began anew at each attach would never do a round.
 */
#include "target.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 150 };

static const struct timespec timeout = { 0, TIMEOUT_MS * 1000000L };

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A call that returns 0 (or -1 and `error`) when its time is up; argument: a descriptor. */
typedef int (*sleeper)(int fd);

static void sleep_all_the_time(struct shared *shared, sleeper call, int fd, int error)
{
	target_ready(shared);
	while (!atomic_load(&shared->stop)) {
		uint64_t begin = now_ns();
		int r = call(fd);

		if (error ? r != -1 || errno != error : r != 0)
			target_error(shared, "the call returned %d: %s", r, strerror(errno));
		else if (now_ns() - begin < TIMEOUT_MS * UINT64_C(1000000))
			target_error(shared, "the call ended after %lu us",
				     (now_ns() - begin) / 1000);
		else
			atomic_fetch_add(&shared->rounds, 1);
	}
}

static int call_nanosleep(int fd)
{
	(void)fd;
	return nanosleep(&timeout, NULL);
}

static int call_poll(int fd)
{
	struct pollfd poll_fd = { fd, POLLIN, 0 };

	return poll(&poll_fd, 1, TIMEOUT_MS);
}

static int call_ppoll(int fd)
{
	struct pollfd poll_fd = { fd, POLLIN, 0 };
	sigset_t mask;

	sigfillset(&mask);
	return ppoll(&poll_fd, 1, &timeout, &mask);
}

static int call_select(int fd)
{
	struct timeval time = { 0, TIMEOUT_MS * 1000 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	return select(fd + 1, &set, NULL, NULL, &time);
}

static int call_futex(int fd)
{
	static uint32_t word;

	(void)fd;
	return (int)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0);
}

static int call_epoll(int fd)
{
	struct epoll_event event;

	return epoll_wait(fd, &event, 1, TIMEOUT_MS);
}

static int call_epoll_pwait2(int fd)
{
	struct epoll_event event;

	return (int)syscall(SYS_epoll_pwait2, fd, &event, 1, &timeout, NULL, 8);
}

static int call_semtimedop(int id)
{
	struct sembuf take = { 0, -1, 0 };

	return semtimedop(id, &take, 1, &timeout);
}

static int call_sigtimedwait(int fd)
{
	sigset_t set;

	(void)fd;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigtimedwait(&set, NULL, &timeout);
}

static int idle_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(fd, EPOLL_CTL_ADD, eventfd(0, EFD_CLOEXEC), &event);
	return fd;
}

void run_nanosleep(struct shared *shared)
{
	sleep_all_the_time(shared, call_nanosleep, -1, 0);
}

void run_poll(struct shared *shared)
{
	sleep_all_the_time(shared, call_poll, eventfd(0, EFD_CLOEXEC), 0);
}

void run_ppoll(struct shared *shared)
{
	sleep_all_the_time(shared, call_ppoll, eventfd(0, EFD_CLOEXEC), 0);
}

void run_select(struct shared *shared)
{
	sleep_all_the_time(shared, call_select, eventfd(0, EFD_CLOEXEC), 0);
}

void run_futex(struct shared *shared)
{
	sleep_all_the_time(shared, call_futex, -1, ETIMEDOUT);
}

void run_epoll(struct shared *shared)
{
	sleep_all_the_time(shared, call_epoll, idle_epoll(), 0);
}

void run_epoll_pwait2(struct shared *shared)
{
	sleep_all_the_time(shared, call_epoll_pwait2, idle_epoll(), 0);
}

void run_semtimedop(struct shared *shared)
{
	int id = semget(IPC_PRIVATE, 1, 0600);

	sleep_all_the_time(shared, call_semtimedop, id, EAGAIN);
	semctl(id, 0, IPC_RMID);
}

void run_sigtimedwait(struct shared *shared)
{
	sleep_all_the_time(shared, call_sigtimedwait, -1, EAGAIN);
}

/* Wakes what reads from an eventfd, now and then. */
static void *waker(void *arg)
{
	const struct timespec pause = { 0, 20000000 };
	const int fd = *(const int *)arg;
	const uint64_t one = 1;

	for (;;) {
		nanosleep(&pause, NULL);
		if (write(fd, &one, sizeof(one)) != sizeof(one))
			return NULL;
	}
}

static int wakened_eventfd(void)
{
	static int fd;
	pthread_t thread;

	fd = eventfd(0, EFD_CLOEXEC);
	if (pthread_create(&thread, NULL, waker, &fd))
		return -1;
	return fd;
}

void run_epoll_forever(struct shared *shared)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = wakened_eventfd();
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t value;

	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	target_ready(shared);
	while (!atomic_load(&shared->stop)) {
		if (epoll_wait(epoll, &event, 1, -1) != 1)
			target_error(shared, "epoll_wait: %s", strerror(errno));
		else if (read(fd, &value, sizeof(value)) != sizeof(value))
			target_error(shared, "read: %s", strerror(errno));
		else
			atomic_fetch_add(&shared->rounds, 1);
	}
}

void run_read_forever(struct shared *shared)
{
	int fd = wakened_eventfd();
	uint64_t value;

	target_ready(shared);
	while (!atomic_load(&shared->stop)) {
		if (read(fd, &value, sizeof(value)) != sizeof(value))
			target_error(shared, "read: %s", strerror(errno));
		else
			atomic_fetch_add(&shared->rounds, 1);
	}
}

static void run_on(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

struct nap {
	struct shared *shared;
	int wakes;
};

static void *nap(void *arg)
{
	const struct timespec pause = { 0, 1000000 };
	const struct nap *n = arg;
	const uint64_t one = 1;

	run_on(1);
	while (!atomic_load(&n->shared->stop)) {
		nanosleep(&pause, NULL);
		atomic_fetch_add(&n->shared->rounds, 1);
	}
	return write(n->wakes, &one, sizeof(one)) == sizeof(one) ? arg : NULL;
}

void run_epoll_beside(struct shared *shared)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct nap other = { .shared = shared, .wakes = eventfd(0, EFD_CLOEXEC) };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	pthread_t thread;

	run_on(0);
	epoll_ctl(epoll, EPOLL_CTL_ADD, other.wakes, &event);
	if (pthread_create(&thread, NULL, nap, &other))
		return;
	target_ready(shared);
	if (epoll_wait(epoll, &event, 1, -1) != 1)
		target_error(shared, "epoll_wait: %s", strerror(errno));
	pthread_join(thread, NULL);
}

void run_epoll_long(struct shared *shared)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int fd = eventfd(0, EFD_CLOEXEC);

	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	atomic_store(&shared->helper, fd);
	target_ready(shared);
	if (epoll_wait(epoll, &event, 1, 600000) != 1)
		target_error(shared, "epoll_wait: %s", strerror(errno));
	while (!atomic_load(&shared->stop)) {
		atomic_fetch_add(&shared->rounds, 1);
		nanosleep(&timeout, NULL);
	}
}
