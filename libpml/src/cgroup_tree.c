/* SPDX-License-Identifier: MIT */
/*
 * Walks a cgroup v2 and those below it, and finds out where a process is; see
 * cgroup_tree.h.  No malloc, no stdio, and no more stack for a deeper tree.
 */
#define _GNU_SOURCE
#include "cgroup_tree.h"
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A process that is moved while it is looked for is looked for again. */
#define MOVES 32

/* One cgroup on the way down: its directory, and where to go on reading it. */
struct level {
	int64_t next;
	int fd;
};

/* As getdents64(2) gives them. */
struct dir_entry {
	uint64_t ino;
	int64_t next;
	uint16_t len;
	uint8_t type;
	char name[];
};

static bool is_gone(int err)
{
	return err == -ENODEV || err == -ENOENT;
}

/* The text of a small file, or of the front of a large one. */
static ssize_t read_text(int dir, const char *name, char *text, size_t size)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t got = 1;
	int err;

	if (fd < 0)
		return -errno;
	while (got > 0 && n < size - 1) {
		got = read(fd, text + n, size - 1 - n);
		if (got > 0)
			n += (size_t)got;
	}
	err = got < 0 ? -errno : 0;
	close(fd);
	text[n] = '\0';
	return err ? err : (ssize_t)n;
}

static int visit_list(int dir, bool top, const struct pml_cgroup_visit *visit)
{
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	int err = fd < 0 ? -errno : visit->list(visit->arg, fd);

	if (fd >= 0)
		close(fd);
	else if (!top && !is_gone(err))
		err = visit->closed(visit->arg, err);
	return err;
}

static struct level *level(const struct pml_cgroup_tree *tree, size_t n)
{
	return (struct level *)tree->levels.p + n;
}

static int go_down(struct pml_cgroup_tree *tree, size_t *depth, int fd)
{
	if (pml_buf_reserve(tree->pool, &tree->levels, (*depth + 1) * sizeof(struct level))) {
		close(fd);
		return -ENOMEM;
	}
	level(tree, *depth)->fd = fd;
	level(tree, *depth)->next = 0;
	++*depth;
	return 0;
}

/* Opens the next cgroup in the directory: its descriptor; -ENOENT: no more. */
static int next_below(struct level *l, const struct pml_cgroup_visit *visit)
{
	char entries[2048] __attribute__((aligned(8)));
	long n = 0;

	if (lseek(l->fd, l->next, SEEK_SET) < 0)
		return -errno;
	while ((n = syscall(SYS_getdents64, l->fd, entries, sizeof(entries))) > 0) {
		for (long at = 0; at < n;) {
			const struct dir_entry *e = (const void *)(entries + at);
			int fd, err;

			at += e->len;
			l->next = e->next;
			if (e->type != 4 /* DT_DIR */ || e->name[0] == '.')
				continue;
			fd = openat(l->fd, e->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (fd >= 0)
				return fd;
			err = -errno;
			/* one that was removed meanwhile has no processes */
			if (is_gone(err))
				continue;
			err = visit->closed(visit->arg, err);
			if (err)
				return err;
		}
	}
	return n < 0 ? -errno : -ENOENT;
}

int pml_cgroup_walk(struct pml_cgroup_tree *tree, const struct pml_cgroup_visit *visit)
{
	int fd = openat(tree->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 ? -errno : visit_list(fd, true, visit);
	size_t depth = 0;

	if (err) {
		if (fd >= 0)
			close(fd);
		return err;
	}
	err = go_down(tree, &depth, fd);
	while (depth && !err) {
		fd = next_below(level(tree, depth - 1), visit);
		if (is_gone(fd)) {
			close(level(tree, --depth)->fd);
			continue;
		}
		if (fd < 0) {
			err = fd;
			break;
		}
		err = visit_list(fd, false, visit);
		/* removed meanwhile; or threaded: its processes are in one above it */
		if (is_gone(err) || err == -EOPNOTSUPP)
			err = 0;
		if (err)
			close(fd);
		else
			err = go_down(tree, &depth, fd);
	}
	while (depth)
		close(level(tree, --depth)->fd);
	return err;
}

/* The directory above one of a cgroup's; -ENOENT: it is the top of its mount. */
static int open_above(int dir)
{
	struct stat here, above;
	int fd = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (!fstat(dir, &here) && !fstat(fd, &above) && here.st_dev == above.st_dev &&
	    here.st_ino != above.st_ino)
		return fd;
	close(fd);
	return -ENOENT;
}

/* The top of the mount, by which paths in procfs go. */
static int open_top(int dir)
{
	int top = openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), above;

	if (top < 0)
		return -errno;
	while ((above = open_above(top)) >= 0) {
		close(top);
		top = above;
	}
	if (above == -ENOENT)
		return top;
	close(top);
	return above;
}

/* Whether one is the other, or is below it.  Closes dir. */
static int is_within(int dir, int tree)
{
	struct stat here, top;
	int above;

	if (fstat(tree, &top)) {
		close(dir);
		return -errno;
	}
	for (;;) {
		if (!fstat(dir, &here) && here.st_dev == top.st_dev && here.st_ino == top.st_ino) {
			close(dir);
			return 1;
		}
		above = open_above(dir);
		close(dir);
		if (above < 0)
			return above == -ENOENT ? 0 : above;
		dir = above;
	}
}

static int lists_thread(int dir, int32_t tid)
{
	int fd = openat(dir, "cgroup.threads", O_RDONLY | O_CLOEXEC);
	char text[4096];
	int32_t number = -1;
	bool found = false;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (!found && (n = read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n && !found; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				number = (number < 0 ? 0 : number * 10) + (text[i] - '0');
			} else {
				found = number == tid;
				number = -1;
			}
		}
	}
	close(fd);
	return found;
}

/* The line of version 2, "0::/path", in the process's account of its cgroups. */
static int own_account(int proc_dir, char path[PATH_MAX + 1024])
{
	ssize_t n = read_text(proc_dir, "cgroup", path, PATH_MAX + 1024);
	const char *line = path;
	size_t len;

	if (n < 0)
		return (int)n;
	while (line && strncmp(line, "0::/", 4) != 0) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	if (!line)
		return -ENOENT;
	len = strcspn(line + 3, "\n");
	memmove(path, line + 3, len);
	path[len] = '\0';
	return 0;
}

int pml_cgroup_holds(const struct pml_cgroup_tree *tree, int proc_dir, int32_t pid)
{
	char path[PATH_MAX + 1024], before[PATH_MAX + 1024] = "";
	int top = open_top(tree->fd), ret = -EAGAIN;

	if (top < 0)
		return top;
	for (int i = 0; i < MOVES; i++) {
		int dir, err = own_account(proc_dir, path);

		if (err) {
			ret = err;
			break;
		}
		dir = openat(top, path[1] ? path + 1 : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
		err = dir < 0 ? -errno : lists_thread(dir, pid);
		if (err == 1) {
			ret = is_within(dir, tree->fd);
			break;
		}
		if (dir >= 0)
			close(dir);
		/* neither moved nor there: the path goes by another top than this */
		if (strcmp(path, before) == 0) {
			ret = err ? err : -ENOENT;
			break;
		}
		pml_words(before, sizeof(before), path);
	}
	close(top);
	return ret;
}

static bool is_threaded(int dir)
{
	char type[32];

	/* the root has no such file */
	return read_text(dir, "cgroup.type", type, sizeof(type)) > 0 &&
	       strcmp(type, "threaded\n") == 0;
}

int pml_cgroup_domain(int fd)
{
	int dir, above;

	if (!is_threaded(fd))
		return -ENOENT;
	dir = open_above(fd);
	while (dir >= 0 && is_threaded(dir)) {
		above = open_above(dir);
		close(dir);
		dir = above;
	}
	return dir;
}
