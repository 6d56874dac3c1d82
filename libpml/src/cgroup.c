/* SPDX-License-Identifier: MIT */
/*
 * The processes of a cgroup v2 and of the cgroups below it: they join and leave
 * by poll, at every collect.  Called by tracker.c and proc.c.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Cgroups below one another that are looked into. */
#define MAX_DEPTH 16

int pml_cgroup_open(struct pml *t, const char *path)
{
	struct statfs fs;
	int fd;

	if (!path || !*path)
		return pml_fail(t, -EINVAL, "pml_open: no cgroup: options.cgroup is empty; name a directory of cgroup v2");
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return pml_fail(t, errno == EACCES ? -EPERM : errno == EMFILE ? -EMFILE : -ESRCH,
				"cgroup ", path, ": ", strerrordesc_np(errno),
				"; name a directory of cgroup v2, such as one below /sys/fs/cgroup");
	if (fstatfs(fd, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC) {
		bool v1 = fs.f_type == CGROUP_SUPER_MAGIC;

		close(fd);
		return pml_fail(t, v1 ? -ENOTSUP : -EINVAL, "cgroup ", path, v1 ?
				": it is of cgroup v1, which is not supported; mount cgroup2 and name a directory there" :
				": it is not a cgroup; name a directory of cgroup v2");
	}
	t->cgroup_fd = fd;
	return 0;
}

/* How many processes and threads the machine has made so far; 0: unknown. */
static uint64_t count_forks(void)
{
	char text[65536];
	int fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
	const char *at;
	size_t n = 0;

	if (fd < 0)
		return 0;
	while (n < sizeof(text) - 1) {
		ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	close(fd);
	text[n] = '\0';
	at = strstr(text, "\nprocesses ");
	return at ? strtoull(at + 11, NULL, 10) : 0;
}

static int see(struct pml *t, int32_t pid, uint64_t *joined)
{
	struct pml_proc *p = pml_proc_find(t, pid);
	int err;

	/* 0: it is of another pid namespace, and has no name here */
	if (pid <= 0) {
		pml_procs_unseen(t, 0);
		return 0;
	}
	if (p && pml_proc_exited(p)) {
		/* its number has gone to another one */
		pml_proc_remove(t, p);
		p = NULL;
	}
	if (!p) {
		++*joined;
		err = pml_proc_add(t, pid, &p);
		if (err == -ENOMEM || err == -EMFILE)
			return err;
		if (err) {
			pml_procs_unseen(t, pid);
			return 0;
		}
	}
	p->polled = t->polls;
	return 0;
}

static int see_listed(struct pml *t, int dir, uint64_t *joined)
{
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = pml_each_listed(t, fd, see, joined);
	close(fd);
	/* a threaded cgroup lists no processes: they are in the one above it */
	return err == -EOPNOTSUPP ? 0 : err;
}

/* The cgroup itself, and those below it. */
static int see_tree(struct pml *t, int dir, int depth, uint64_t *joined)
{
	char entries[2048] __attribute__((aligned(8)));
	int err = see_listed(t, dir, joined);
	long n;

	if (err || depth == MAX_DEPTH || lseek(dir, 0, SEEK_SET) < 0)
		return err;
	while (!err && (n = syscall(SYS_getdents64, dir, entries, sizeof(entries))) > 0) {
		for (long at = 0; at < n && !err;) {
			const char *name = entries + at + 19;
			uint16_t len;

			memcpy(&len, entries + at + 16, sizeof(len));
			if (entries[at + 18] == 4 /* DT_DIR */ && name[0] != '.') {
				int below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

				if (below >= 0) {
					err = see_tree(t, below, depth + 1, joined);
					close(below);
				}
				/* one that was removed meanwhile has no processes */
				if (err == -ENODEV || err == -ENOENT)
					err = 0;
			}
			at += len;
		}
	}
	return err;
}

int pml_cgroup_poll(struct pml *t)
{
	uint64_t joined = 0, forks = count_forks();
	int err;

	t->polls++;
	err = see_tree(t, t->cgroup_fd, 0, &joined);
	if (err == -ENODEV || err == -ENOENT)
		return pml_fail(t, -ESRCH, "the cgroup has been removed: nothing is left to track");
	if (err)
		return err;
	for (uint32_t i = 0; i < t->nprocs; i++) {
		struct pml_proc *p = pml_proc_at(t, i);

		/* it has left for another cgroup, or has exited */
		if (p && p->polled != t->polls)
			pml_proc_remove(t, p);
	}
	/* more were made than have joined: one may have come and gone unseen */
	if (t->started && (!forks || forks - t->forks > joined))
		pml_procs_unseen(t, 0);
	t->forks = forks;
	return 0;
}
