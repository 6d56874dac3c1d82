/* SPDX-License-Identifier: MIT */
/*
 * stop_at_unlink.c - preloaded into a keeper by keeper.py: it stops before it removes a file,
 * and goes on when it is told to (SIGCONT).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int unlink(const char *path)
{
	raise(SIGSTOP);
	return unlinkat(AT_FDCWD, path, 0);
}
