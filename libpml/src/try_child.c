/* SPDX-License-Identifier: MIT */
/* Trying something in a child; see try_child.h. */
#define _GNU_SOURCE
#include "try_child.h"
#include "message.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int pml_try_in_child(int (*try)(void), const char *const *reasons, size_t n, char *why, size_t size)
{
	/* not fork: no handler of the program's runs, and it gets no SIGCHLD */
	long pid = syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
	unsigned int got = 1;
	int status = 0;

	if (!pid)
		_exit(try());
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
