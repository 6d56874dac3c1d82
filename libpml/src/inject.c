/* SPDX-License-Identifier: MIT */
/*
 * inject.c - a userfaultfd for another process's memory.  Called by wp_async.c.
 * The parts: inject_target.c checks the target from outside, inject_run.c
 * starts the injector, inject_remote.c is the injector, inject_copies.c looks
 * after children that the target forked meanwhile.
 */
#include "inject.h"
#include "inject_copies.h"
#include "inject_run.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int pml_inject_userfaultfd(pid_t pid, struct pml_injected *out, char *msg, size_t msg_size)
{
	const struct pml_inject_words words = { msg, msg_size };
	const int errno_before = errno;
	struct pml_remote_reply reply;
	struct pml_remote_job job;
	int fd, r;

	if (pid <= 0 || pid == getpid() || !out)
		return pml_inject_say(&words, -EINVAL,
				      "process %d: not another process; name one by its number", pid);
	memset(&job, 0, sizeof(job));
	job.op = PML_REMOTE_MAKE;
	job.pid = pid;
	job.ours = -1;
	r = pml_inject_run(&job, &reply, &fd, &words);
	if (!r && fd < 0)
		r = pml_inject_say(&words, -EMFILE,
				   "process %d: no free descriptor here for its userfaultfd; close "
				   "some or raise the limit", pid);
	/* A thread of it may have forked in between. */
	if (!r && job.nthreads > 1) {
		r = pml_inject_drop_copies(pid, job.threads[0].tid, fd, reply.made, &words);
		if (r)
			close(fd);
	}
	if (!r) {
		out->uffd = fd;
		out->stop_ns = reply.stop_ns;
		out->window_ns = reply.window_ns;
	}
	errno = errno_before;
	return r;
}
