/* SPDX-License-Identifier: MIT */
/*
 * test_cgroup.c - what a tracker of a cgroup tells: of processes that are there,
 * that join, leave, and come and go unseen; of a cgroup that is removed; and
 * what is no cgroup v2.  Run by CTest; mounts what it needs for itself alone.
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16

static char dir[] = "/tmp/pml-cgroup-XXXXXX";
static char v2[64], v1[64], group[128], below[160];
static unsigned char *region;
static size_t page;

struct child {
	pid_t pid;
	int to;
	int from;
};

/* Writes a page for each byte that comes. */
static void live(int in, int out)
{
	unsigned char which;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(region, 1, PAGES * page);
	if (write(out, "r", 1) != 1)
		_exit(1);
	while (read(in, &which, 1) == 1) {
		region[which * page]++;
		if (write(out, "d", 1) != 1)
			break;
	}
	_exit(0);
}

static struct child born(void)
{
	struct child c = { .pid = -1 };
	int in[2], out[2];
	char byte;

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		return c;
	c.pid = fork();
	if (!c.pid)
		live(in[0], out[1]);
	close(in[0]);
	close(out[1]);
	c.to = in[1];
	c.from = out[0];
	if (read(c.from, &byte, 1) != 1)
		c.pid = -1;
	return c;
}

static void writes(const struct child *c, unsigned char which)
{
	char byte;

	if (write(c->to, &which, 1) != 1 || read(c->from, &byte, 1) != 1)
		tap_note("a child does not answer");
}

static void dies(struct child *c)
{
	close(c->to);
	close(c->from);
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
}

static bool put(pid_t pid, const char *where)
{
	char path[256], text[16];
	int n = snprintf(text, sizeof(text), "%d", pid), fd;
	bool ok;

	snprintf(path, sizeof(path), "%s/cgroup.procs", where);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, text, (size_t)n) == n;
	if (fd >= 0)
		close(fd);
	return ok;
}

/* How many of the region's pages a result reports dirty of a process. */
static unsigned int dirty(const struct pml_result *r, pid_t pid)
{
	uint64_t start = (uintptr_t)region, end = start + PAGES * page;
	unsigned int n = 0;

	for (size_t i = 0; i < r->nranges; i++) {
		uint64_t a = r->ranges[i].start > start ? r->ranges[i].start : start;
		uint64_t b = r->ranges[i].end < end ? r->ranges[i].end : end;

		if ((pid_t)r->ranges[i].pid == pid && a < b)
			n += (unsigned int)((b - a) / page);
	}
	return n;
}

static bool unseen(const struct pml_result *r)
{
	for (size_t i = 0; i < r->nuncovered; i++)
		if (r->uncovered[i].reason == PML_REASON_UNSEEN_PROCESS)
			return true;
	return false;
}

static int collect(struct pml *t, const struct pml_result **r)
{
	int err = pml_collect(t, NULL, r);

	if (err)
		tap_note("pml_collect: %d, %s", err, pml_message(t));
	return err;
}

static void refused(const char *what, const char *path, int expected)
{
	char message[256] = "";
	struct pml_options o = {
		.size = sizeof(o), .target = PML_TARGET_CGROUP, .cgroup = path,
		.message = message, .message_size = sizeof(message),
	};
	struct pml *t;
	int err = pml_open(&t, &o);

	tap_ok(err == expected && strchr(message, ';'), "%s is refused in words (%d, %s)", what,
	       err, message);
	if (!err)
		pml_close(t);
}

static bool prepare(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	region = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED || !mkdtemp(dir))
		return false;
	snprintf(v2, sizeof(v2), "%s/v2", dir);
	snprintf(v1, sizeof(v1), "%s/v1", dir);
	snprintf(group, sizeof(group), "%s/%s", v2, dir + 5);
	snprintf(below, sizeof(below), "%s/below", group);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return false;
	return !mkdir(v2, 0700) && !mkdir(v1, 0700) && !mount("none", v2, "cgroup2", 0, NULL) &&
	       !mkdir(group, 0755) && !mkdir(below, 0755);
}

static void clean_up(void)
{
	rmdir(below);
	rmdir(group);
	umount2(v2, MNT_DETACH);
	umount2(v1, MNT_DETACH);
	rmdir(v2);
	rmdir(v1);
	rmdir(dir);
}

/* The tree is mounted at another place for one collect; a cgroup itself cannot be
 * renamed in version 2. */
static void moved_tree(struct pml *t, const struct pml_result **r)
{
	char other[sizeof(below) + 8];

	snprintf(other, sizeof(other), "%s-renamed", below);
	tap_ok(rename(below, other) && access(below, F_OK) == 0, "a cgroup v2 cannot be renamed");
	*r = NULL;
	if (mount(v2, v1, NULL, MS_MOVE, NULL)) {
		tap_note("the mount cannot be moved: %s", strerrordesc_np(errno));
		collect(t, r);
		return;
	}
	collect(t, r);
	mount(v1, v2, NULL, MS_MOVE, NULL);
}

static void follow(struct pml *t)
{
	struct child a = born(), b = born(), c;
	const struct pml_result *r;

	tap_ok(put(a.pid, group) && !pml_start(t), "started with one process in it: %s",
	       pml_message(t));
	writes(&a, 3);
	tap_ok(!collect(t, &r) && dirty(r, a.pid) == 1 && r->processes == 1,
	       "the page that it writes is told, and no other");
	writes(&b, 1);
	tap_ok(!collect(t, &r) && !dirty(r, b.pid), "a process outside is not told of");
	put(b.pid, below);
	tap_ok(!collect(t, &r) && dirty(r, b.pid) == PAGES,
	       "one that joins, in a cgroup below, is told of with all that is there");
	writes(&b, 5);
	tap_ok(!collect(t, &r) && dirty(r, b.pid) == 1 && !dirty(r, a.pid) && r->processes == 2,
	       "and then with what it writes");
	put(a.pid, v2);
	writes(&a, 7);
	tap_ok(!collect(t, &r) && !dirty(r, a.pid) && r->processes == 1,
	       "one that leaves is not told of any more");
	put(a.pid, group);
	tap_ok(!collect(t, &r) && dirty(r, a.pid) == PAGES, "one that comes back is new");
	writes(&a, 2);
	moved_tree(t, &r);
	tap_ok(r && dirty(r, a.pid) == 1, "where its tree is mounted elsewhere, it is still followed");
	c = born();
	put(c.pid, group);
	dies(&c);
	tap_ok(!collect(t, &r) && unseen(r), "one that came and went between two polls is uncovered");
	dies(&b);
	tap_ok(!collect(t, &r) && r->processes == 1, "one that exits is no error");
	dies(&a);
	tap_ok(!collect(t, &r) && r->processes == 0, "nor is an empty cgroup");
}

int main(void)
{
	struct pml_options o = { .size = sizeof(o), .target = PML_TARGET_CGROUP };
	const struct pml_result *r;
	char message[256] = "";
	struct pml *t;
	int err;

	if (!prepare()) {
		printf("1..0 # SKIP no cgroup v2 can be mounted here: %s\n", strerrordesc_np(errno));
		clean_up();
		return TAP_SKIP_ALL;
	}
	o.cgroup = group;
	o.message = message;
	o.message_size = sizeof(message);
	refused("a directory that is none", "/tmp", -EINVAL);
	refused("one that is not there", "/nowhere", -ESRCH);
	refused("no name", "", -EINVAL);
	if (mount("none", v1, "cgroup", 0, "none,name=pml-test"))
		tap_skip("the kernel has no cgroup v1", "a cgroup v1 is refused");
	else
		refused("a cgroup v1", v1, -ENOTSUP);
	err = pml_open(&t, &o);
	if (err) {
		tap_ok(false, "pml_open of a cgroup: %d, %s", err, message);
	} else {
		follow(t);
		rmdir(below);
		tap_ok(!rmdir(group) && pml_collect(t, NULL, &r) == -ESRCH &&
		       strstr(pml_message(t), "removed"), "a cgroup that is removed is told of: %s",
		       pml_message(t));
		pml_close(t);
	}
	clean_up();
	return tap_done();
}
