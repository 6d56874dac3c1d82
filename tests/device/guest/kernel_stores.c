/* SPDX-License-Identifier: MIT */
/*
 * kernel_stores.c - see stores.h: system calls that write into at.  They go
 * through syscall(2), so that libc and the vDSO do not write in their stead.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "stores.h"

#define CALL(name, ...)                           \
	static void name##_call(char *at)         \
	{                                         \
		syscall(SYS_##name, __VA_ARGS__); \
	}

CALL(getrandom, at, 64, 0)
CALL(uname, at)
CALL(sysinfo, at)
CALL(getrusage, RUSAGE_SELF, at)
CALL(times, at)
CALL(clock_gettime, CLOCK_MONOTONIC, at)
CALL(clock_getres, CLOCK_MONOTONIC, at)
CALL(gettimeofday, at, NULL)
CALL(time, at)
CALL(stat, "/", at)
CALL(statfs, "/", at)
CALL(statx, AT_FDCWD, "/", 0, STATX_BASIC_STATS, at)
CALL(getcwd, at, 512)
CALL(readlink, "/proc/self/exe", at, 512)
CALL(sched_getaffinity, 0, 128, at)
CALL(getcpu, at, NULL, NULL)
CALL(rt_sigprocmask, SIG_BLOCK, NULL, at, 8)
CALL(rt_sigaction, SIGUSR1, NULL, at, 8)
CALL(rt_sigpending, at, 8)
CALL(sigaltstack, NULL, at)
CALL(getitimer, 0, at)
CALL(prctl, PR_GET_NAME, at, 0, 0, 0)
CALL(prlimit64, 0, RLIMIT_NOFILE, NULL, at)
CALL(sched_getparam, 0, at)
CALL(sched_rr_get_interval, 0, at)
CALL(get_robust_list, 0, at, at + 64)
CALL(getresuid, at, at + 64, at + 128)

static void read_zero(char *at)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	syscall(SYS_read, fd, at, 64);
	close(fd);
}

static void read_proc(char *at)
{
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	syscall(SYS_read, fd, at, 512);
	close(fd);
}

static void pread_file(char *at)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	syscall(SYS_pread64, fd, at, 512, 0);
	close(fd);
}

static void readv_file(char *at)
{
	struct iovec iov[2] = { { at, 16 }, { at + 64, 16 } };
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	syscall(SYS_readv, fd, iov, 2);
	close(fd);
}

static void pipe_fds(char *at)
{
	int *fd = (int *)at;

	syscall(SYS_pipe2, fd, O_CLOEXEC);
	close(fd[0]);
	close(fd[1]);
}

static void pipe_data(char *at)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		return;
	syscall(SYS_write, fd[1], "data", 4);
	syscall(SYS_read, fd[0], at, 4);
	close(fd[0]);
	close(fd[1]);
}

static void socket_fds(char *at)
{
	int *fd = (int *)at;

	syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd);
	close(fd[0]);
	close(fd[1]);
}

static void socket_data(char *at)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
		return;
	syscall(SYS_sendto, fd[1], "data", 4, 0, NULL, 0);
	syscall(SYS_recvfrom, fd[0], at, 4, 0, NULL, NULL);
	close(fd[0]);
	close(fd[1]);
}

static void pending_bytes(char *at)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		return;
	syscall(SYS_ioctl, fd[0], FIONREAD, at);
	close(fd[0]);
	close(fd[1]);
}

static void epoll_event(char *at)
{
	struct epoll_event e = { .events = EPOLLOUT };
	int ep = epoll_create1(EPOLL_CLOEXEC), fd[2];

	if (pipe2(fd, O_CLOEXEC))
		return;
	epoll_ctl(ep, EPOLL_CTL_ADD, fd[1], &e);
	syscall(SYS_epoll_wait, ep, at, 4, 0);
	close(fd[0]);
	close(fd[1]);
	close(ep);
}

static void directory(char *at)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	syscall(SYS_getdents64, fd, at, 1024);
	close(fd);
}

static void residency(char *at)
{
	syscall(SYS_mincore, (uintptr_t)at & ~4095ul, 4096, at);
}

static void process_vm_read(char *at)
{
	static char from[16];
	struct iovec to = { at, 16 }, source = { from, 16 };

	syscall(SYS_process_vm_readv, getpid(), &to, 1, &source, 1, 0);
}

#define CALLED(name) { #name, name##_call, false }
#define ROW(name) { #name, name, false }

const struct store kernel_stores[] = {
	CALLED(getrandom), CALLED(uname), CALLED(sysinfo), CALLED(getrusage), CALLED(times), CALLED(clock_gettime),
	CALLED(clock_getres), CALLED(gettimeofday), CALLED(time), CALLED(stat), CALLED(statfs), CALLED(statx),
	CALLED(getcwd), CALLED(readlink), CALLED(sched_getaffinity), CALLED(getcpu), CALLED(rt_sigprocmask),
	CALLED(rt_sigaction), CALLED(rt_sigpending), CALLED(sigaltstack), CALLED(getitimer), CALLED(prctl),
	CALLED(prlimit64), CALLED(sched_getparam), CALLED(sched_rr_get_interval), CALLED(get_robust_list),
	CALLED(getresuid), ROW(read_zero), ROW(read_proc), ROW(pread_file), ROW(readv_file),
	ROW(pipe_fds), ROW(pipe_data), ROW(socket_fds), ROW(socket_data), ROW(pending_bytes),
	ROW(epoll_event), ROW(directory), ROW(residency), ROW(process_vm_read),
};
const size_t kernel_stores_count = sizeof(kernel_stores) / sizeof(kernel_stores[0]);

static void process_vm_write(char *at)
{
	static char from[16] = "written";
	struct iovec source = { from, 16 }, to = { at, 16 };

	syscall(SYS_process_vm_writev, getpid(), &source, 1, &to, 1, 0);
}

static void proc_mem(char *at)
{
	int fd = open("/proc/self/mem", O_WRONLY | O_CLOEXEC);

	syscall(SYS_pwrite64, fd, "written", 7, at);
	close(fd);
}

const struct store direct_stores[] = { ROW(process_vm_write), ROW(proc_mem) };
const size_t direct_stores_count = sizeof(direct_stores) / sizeof(direct_stores[0]);
