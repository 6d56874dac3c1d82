/* SPDX-License-Identifier: MIT */
/*
 * inject_copies.c - for some tens of microseconds the target has the new
 * userfaultfd among its descriptors.  A child that another of its threads forks
 * just then inherits it, and would keep the target registered for as long as
 * it lives, even beyond the tracker's death.  Called by inject.c.
 */
#include "inject_copies.h"
#include "inject_run.h"
#include "pause.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From a fork's copying of descriptors to its taking the lock on the memory map. */
enum { FORK_STEP_NS = 1000000 };

/* For a child that holds a copy to get to where it can be stopped. */
enum { COPY_TRIES = 50, COPY_PAUSE_NS = 2000000 };

/*
 * A fork that has copied the descriptors becomes visible only when it has
 * copied the memory too.  It holds the lock on the memory map for that, and so
 * a read from the target's memory waits for it, however large the target is.
 */
static void wait_for_forks(pid_t pid, pid_t tid)
{
	char path[64], byte;
	int mem;

	pml_pause_ns(FORK_STEP_NS);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/mem", pid, tid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (mem >= 0) {
		/* What is read, or whether, does not matter. */
		if (pread(mem, &byte, 1, 0) < 0)
			errno = 0;
		close(mem);
	}
	pml_pause_ns(FORK_STEP_NS);
}

static bool holds_copy(pid_t pid, int ours, int theirs)
{
	return syscall(SYS_kcmp, getpid(), pid, KCMP_FILE, ours, theirs) == 0;
}

static int close_copy(pid_t pid, pid_t holder, int ours, int theirs,
		      const struct pml_inject_words *words)
{
	const struct pml_inject_words quiet = { NULL, 0 };
	struct pml_remote_reply reply;
	struct pml_remote_job job;
	int fd, i, r = 0;

	memset(&job, 0, sizeof(job));
	job.op = PML_REMOTE_CLOSE_COPY;
	job.pid = holder;
	job.ours = ours;
	job.nfds = 1;
	job.fds[0] = theirs;
	/* One that is just ending, or calling exec, drops it by itself. */
	for (i = 0; i < COPY_TRIES && holds_copy(holder, ours, theirs); i++) {
		if (i)
			pml_pause_ns(COPY_PAUSE_NS);
		r = pml_inject_run(&job, &reply, &fd, &quiet);
	}
	if (!holds_copy(holder, ours, theirs))
		return 0;
	return pml_inject_say(words, -EBUSY,
			      "process %d: it forked process %d at this very moment, which holds a "
			      "copy of the descriptor and cannot be made to close it (%s); try again",
			      pid, holder, strerrordesc_np(-r));
}

int pml_inject_drop_copies(pid_t pid, pid_t tid, int ours, int theirs,
			   const struct pml_inject_words *words)
{
	const pid_t self = getpid();
	const struct dirent *entry;
	DIR *proc;
	int r = 0;

	wait_for_forks(pid, tid);
	proc = opendir("/proc");
	if (!proc)
		return pml_inject_say(words, errno == ENFILE ? -EMFILE : -errno,
				      "process %d: /proc cannot be read: %s; mount it, or close "
				      "descriptors here", pid, strerrordesc_np(errno));
	while (!r && (entry = readdir(proc))) {
		pid_t holder = (pid_t)strtol(entry->d_name, NULL, 10);

		if (holder <= 0 || holder == self || holder == pid)
			continue;
		if (holds_copy(holder, ours, theirs))
			r = close_copy(pid, holder, ours, theirs, words);
	}
	closedir(proc);
	return r;
}
