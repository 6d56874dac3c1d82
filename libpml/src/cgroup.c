/* SPDX-License-Identifier: MIT */
/*
 * The processes of a cgroup v2 and of the cgroups below it: they join and leave
 * by poll, at every collect.  Called by tracker.c and proc.c.
 */
#define _GNU_SOURCE
#include "internal.h"
#include "listing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* A process that every walk misses, and whose place cannot be told, has left. */
#define MAX_WALKS 4

/* Says where the processes of a threaded cgroup are to be found. */
static int refuse_threaded(struct pml *t, const char *path, int domain)
{
	char link[64], num[24], where[4096];
	ssize_t n;

	pml_words(link, sizeof(link), "/proc/self/fd/", pml_number(num, (uint64_t)domain));
	n = readlink(link, where, sizeof(where) - 1);
	where[n > 0 ? n : 0] = '\0';
	return pml_fail(t, -ENOTSUP, "cgroup ", path,
			": it is threaded: it has threads, and their processes are listed in the cgroup above that is its domain; name that one",
			n > 0 ? ", " : "", where);
}

int pml_cgroup_open(struct pml *t, const char *path)
{
	struct statfs fs;
	int fd, domain, err;

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
	domain = pml_cgroup_domain(fd);
	if (domain >= 0) {
		err = refuse_threaded(t, path, domain);
		close(domain);
		close(fd);
		return err;
	}
	t->cgroup.fd = fd;
	t->cgroup.pool = &t->pool;
	return 0;
}

void pml_cgroup_close(struct pml *t)
{
	if (t->cgroup.fd >= 0)
		close(t->cgroup.fd);
	t->cgroup.fd = -1;
	pml_buf_free(&t->cgroup.levels);
}

/* One look at all of it. */
struct look {
	struct pml *t;
	uint64_t born;	/* of those that were seen for the first time, since the last look */
};

/* How many processes and threads the machine has made so far; 0: unknown. */
static uint64_t count_forks(void)
{
	static const char name[] = "\nprocesses ";
	int fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
	char text[4096];
	size_t matched = 0;
	uint64_t forks = 0;
	bool done = false;
	ssize_t n;

	if (fd < 0)
		return 0;
	/* the line may come late, and be cut in two */
	while (!done && (n = read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n && !done; i++) {
			if (matched < sizeof(name) - 1)
				matched = text[i] == name[matched] ? matched + 1 : text[i] == '\n';
			else if (text[i] >= '0' && text[i] <= '9')
				forks = forks * 10 + (uint64_t)(text[i] - '0');
			else
				done = true;
		}
	}
	close(fd);
	return done ? forks : 0;
}

/* Now, as the kernel tells when a process began: in ticks since the machine did. */
static uint64_t now_ticks(void)
{
	uint64_t tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec) / tick_ns;
}

/* When a process began: the 22nd field of its stat; 0: unknown. */
static uint64_t born_ticks(int32_t pid)
{
	int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct pml_stat stat;
	const char *at;

	if (proc < 0)
		return 0;
	at = pml_stat_read(&stat, proc, pid) ? NULL : stat.state;
	close(proc);
	for (int field = 3; at && field < 22; field++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	return at ? strtoull(at, NULL, 10) : 0;
}

static int see(struct pml *t, int32_t pid, uint64_t *born)
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
		bool is_new = born_ticks(pid) > t->forks_tick;

		err = pml_proc_add(t, pid, &p);
		if (err == -ENOMEM || err == -EMFILE)
			return err;
		if (err) {
			pml_procs_unseen(t, pid);
			return 0;
		}
		/* one that was there before, elsewhere, accounts for no birth */
		*born += is_new;
	}
	p->polled = t->polls;
	return 0;
}

static int see_listed(void *arg, int procs)
{
	struct look *look = arg;

	return pml_each_listed(look->t, procs, see, &look->born);
}

static int say_no_descriptors(struct pml *t)
{
	return pml_fail(t, -EMFILE, "the cgroup cannot be looked into: out of file descriptors; raise the limit (ulimit -n)");
}

/* What is in there is not watched: that is told, or ends the collect. */
static int cannot_see(void *arg, int err)
{
	struct look *look = arg;

	if (err == -EMFILE || err == -ENFILE || err == -ENOMEM)
		return err;
	pml_procs_unseen(look->t, 0);
	return 0;
}

static int walk(struct look *look)
{
	const struct pml_cgroup_visit visit = {
		.arg = look, .list = see_listed, .closed = cannot_see,
	};
	struct pml *t = look->t;
	int err = pml_cgroup_walk(&t->cgroup, &visit);

	switch (err) {
	case -ENODEV:
	case -ENOENT:
		return pml_fail(t, -ESRCH, "the cgroup has been removed: nothing is left to track; name another");
	case -EOPNOTSUPP:
		return pml_fail(t, -ENOTSUP, "the cgroup has been made threaded: its processes are listed in the one above that is its domain; name that one");
	case -EMFILE:
	case -ENFILE:
		return t->message[0] ? -EMFILE : say_no_descriptors(t);
	default:
		return err;
	}
}

/*
 * Those that the walk has not seen have exited, or left, or were moved within
 * the tree meanwhile.  A process itself knows where it is.  *unsure: that one
 * cannot tell.
 */
static int part_with_missed(struct pml *t, bool last, bool *unsure)
{
	*unsure = false;
	for (uint32_t i = 0; i < t->nprocs; i++) {
		struct pml_proc *p = pml_proc_at(t, i);
		int held;

		if (!p || p->polled == t->polls)
			continue;
		held = pml_proc_exited(p) ? 0 : pml_cgroup_holds(&t->cgroup, p->dirfd, p->pid);
		if (held == -EMFILE || held == -ENFILE)
			return say_no_descriptors(t);
		if (held == 1 || held == -EAGAIN)
			p->polled = t->polls;
		else if (!held || held == -ESRCH || last)
			pml_proc_remove(t, p);
		else
			*unsure = true;
	}
	return 0;
}

int pml_cgroup_poll(struct pml *t)
{
	struct look look = { .t = t };
	bool unsure = true;
	uint64_t forks;

	t->polls++;
	for (int i = 1; unsure; i++) {
		int err = walk(&look);

		if (!err)
			err = part_with_missed(t, i == MAX_WALKS, &unsure);
		if (err)
			return err;
	}
	/* Whoever was seen is among these, and whoever is made after the moment that
	 * is read next is not. */
	forks = count_forks();
	/* more were made than have joined: one may have come and gone unseen */
	if (t->started && (!forks || forks - t->forks > look.born))
		pml_procs_unseen(t, 0);
	t->forks = forks;
	t->forks_tick = now_ticks();
	return 0;
}
