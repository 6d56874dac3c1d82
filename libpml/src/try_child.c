/* SPDX-License-Identifier: MIT */
/* Trying something in a child; see try_child.h. */
#define _GNU_SOURCE
#include "try_child.h"
#include "message.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int pml_try_in_child(int (*try)(void), const char *const *reasons, size_t n, char *why, size_t size)
{
	unsigned int got = 1;
	sigset_t all, before;
	int status = 0;
	long pid;

	/* the child never opens them again: a signal for the process group must not run
	 * the program's handler there */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	/* not fork: what the program does at a fork is not done, and it gets no SIGCHLD */
	pid = syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
	if (!pid)
		_exit(try());
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0) {
		pml_words(why, size, "no process to try it in can be made");
		return -ENOTSUP;
	}
	while (waitpid((pid_t)pid, &status, __WCLONE) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && (unsigned int)WEXITSTATUS(status) < n)
		got = (unsigned int)WEXITSTATUS(status);
	pml_words(why, size, reasons[got]);
	return got ? -ENOTSUP : 0;
}
