/* SPDX-License-Identifier: MIT */
/*
 * strays.c - pml_detach_strays(): removes userfaultfds that an injector, killed
 * in the middle, has left in a process.
 *
 * A stray is told from an application's own userfaultfd by its fdinfo: nobody
 * ever made the API handshake on it (the second number of the line "API:" is
 * 0), and it has just the flags that the injector gives.  A program has such a
 * descriptor too, between two lines of its own; so a stray must have been there
 * for a while, and the injector looks again before it has it closed.
 */
#include "inject_run.h"
#include "pause.h"
#include "pml.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long a descriptor must have stayed without a handshake, in milliseconds. */
enum { STRAY_AGE_MS = 200 };

struct strays {
	int n;
	int fds[PML_REMOTE_FDS];
	uint64_t inodes[PML_REMOTE_FDS];	/* each userfaultfd has its own */
};

/*
 * The inode of the descriptor if nobody made the handshake on it and it looks
 * like the injector's; else 0.
 */
static uint64_t stray_inode(pid_t pid, int fd)
{
	char path[64], link[64], text[512];
	const char *flags, *inode;
	unsigned int bits;
	ssize_t n;
	int info;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n <= 0)
		return 0;
	link[n] = '\0';
	if (strcmp(link, "anon_inode:[userfaultfd]") != 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return 0;
	n = read(info, text, sizeof(text) - 1);
	close(info);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	flags = strstr(text, "flags:");
	inode = strstr(text, "\nino:");
	if (!flags || !inode || !strstr(text, "\nAPI:\taa:0:"))
		return 0;
	bits = (unsigned int)strtoul(flags + strlen("flags:"), NULL, 8);
	if (!(bits & O_CLOEXEC) || !(bits & O_NONBLOCK))
		return 0;
	return strtoull(inode + strlen("\nino:"), NULL, 10);
}

/* Fills found with as many as it holds.  Returns 0 or -errno. */
static int find_strays(pid_t pid, struct strays *found, const struct pml_inject_words *words)
{
	char path[64];
	const struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return pml_inject_say_no_access(pid, -errno, words);
	while (found->n < PML_REMOTE_FDS && (entry = readdir(dir))) {
		int fd = (int)strtol(entry->d_name, NULL, 10);
		uint64_t inode = entry->d_name[0] == '.' ? 0 : stray_inode(pid, fd);

		if (!inode)
			continue;
		found->fds[found->n] = fd;
		found->inodes[found->n++] = inode;
	}
	closedir(dir);
	return 0;
}

/* Keeps those that are still strays, and the same, after a while. */
static void keep_lasting(pid_t pid, struct strays *found)
{
	int i, kept = 0;

	if (found->n)
		pml_pause_ns(STRAY_AGE_MS * 1000000ull);
	for (i = 0; i < found->n; i++) {
		if (stray_inode(pid, found->fds[i]) != found->inodes[i])
			continue;
		found->fds[kept] = found->fds[i];
		found->inodes[kept++] = found->inodes[i];
	}
	found->n = kept;
}

static int close_strays(pid_t pid, const struct strays *found,
			const struct pml_inject_words *words)
{
	struct pml_remote_reply reply;
	struct pml_remote_job job;
	int fd, r;

	memset(&job, 0, sizeof(job));
	job.op = PML_REMOTE_CLOSE;
	job.pid = pid;
	job.ours = -1;
	job.nfds = (uint32_t)found->n;
	memcpy(job.fds, found->fds, sizeof(job.fds));
	memcpy(job.inodes, found->inodes, sizeof(job.inodes));
	r = pml_inject_run(&job, &reply, &fd, words);
	return r ? r : (int)reply.closed;
}

int pml_detach_strays(pid_t pid, int *found, char *message, size_t size)
{
	const struct pml_inject_words words = { message, size };
	const int errno_before = errno;
	struct strays strays;
	int r;

	memset(&strays, 0, sizeof(strays));
	r = find_strays(pid, &strays, &words);
	if (!r)
		keep_lasting(pid, &strays);
	if (!r && strays.n)
		r = close_strays(pid, &strays, &words);
	if (found)
		*found = strays.n;
	if (r >= 0)
		pml_inject_say(&words, 0, strays.n ?
			       "process %d: %d stray userfaultfd(s) found, %d closed" :
			       "process %d: no stray userfaultfd; nothing to do", pid, strays.n, r);
	errno = errno_before;
	return r;
}
