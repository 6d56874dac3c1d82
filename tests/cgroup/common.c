/* SPDX-License-Identifier: MIT */
/* A cgroup of the test's own, and processes to put into it; see common.h. */
#define _GNU_SOURCE
#include "common.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/pml-cgroup-XXXXXX";
char v2[64], v1[64], group[128], below[160];
unsigned char *region;
size_t page;

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

struct child born(void)
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

void writes(const struct child *c, unsigned char which)
{
	char byte;

	if (write(c->to, &which, 1) != 1 || read(c->from, &byte, 1) != 1)
		tap_note("a child does not answer");
}

void dies(struct child *c)
{
	close(c->to);
	close(c->from);
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
}

bool put(pid_t pid, const char *where)
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
unsigned int dirty(const struct pml_result *r, pid_t pid)
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

bool unseen(const struct pml_result *r)
{
	for (size_t i = 0; i < r->nuncovered; i++)
		if (r->uncovered[i].reason == PML_REASON_UNSEEN_PROCESS)
			return true;
	return false;
}

int collect_part(struct pml *t, const struct pml_collect_args *args, const struct pml_result **r)
{
	int err = pml_collect(t, args, r);

	if (err)
		tap_note("pml_collect: %d, %s", err, pml_message(t));
	return err;
}

int collect(struct pml *t, const struct pml_result **r)
{
	return collect_part(t, NULL, r);
}

bool prepare(void)
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
	/* others may look in, too */
	if (chmod(dir, 0755))
		return false;
	return !mkdir(v2, 0700) && !mkdir(v1, 0700) && !mount("none", v2, "cgroup2", 0, NULL) &&
	       !mkdir(group, 0755) && !mkdir(below, 0755);
}

void clean_up(void)
{
	rmdir(below);
	rmdir(group);
	umount2(v2, MNT_DETACH);
	umount2(v1, MNT_DETACH);
	rmdir(v2);
	rmdir(v1);
	rmdir(dir);
}
