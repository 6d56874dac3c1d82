/* SPDX-License-Identifier: MIT */
/*
 * One process of a tracker: its descriptors under /proc, its mappings, and
 * joining and leaving for trees of processes.  Called by tracker.c and
 * collect.c.
 */
#define _GNU_SOURCE
#include "internal.h"
#include "listing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_under(const struct pml_proc *p, const char *name, int flags)
{
	int fd = openat(p->dirfd, name, flags | O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static ssize_t read_small(int dirfd, const char *name, char *text, size_t size)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	size_t n = 0;

	if (fd < 0)
		return -errno;
	while (n < size - 1) {
		ssize_t got = read(fd, text + n, size - 1 - n);

		if (got <= 0)
			break;
		n += (size_t)got;
	}
	close(fd);
	text[n] = '\0';
	return (ssize_t)n;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int why_not(struct pml *t, int err, int32_t pid)
{
	char num[24];
	const char *who = pml_number(num, (uint64_t)pid);

	switch (err) {
	case -ENOENT:
	case -ESRCH:
		return pml_fail(t, -ESRCH, "process ", who,
				": it does not exist, or has exited; check the pid");
	case -EINVAL:
		return pml_fail(t, -ESRCH, "process ", who,
				": it is a thread of one; name the process (Tgid in its /proc/PID/status)");
	case -EACCES:
	case -EPERM:
		return pml_fail(t, -EPERM, "process ", who,
				": not permitted to look into it; run as its user or as root (ptrace rights are needed)");
	case -EBUSY:
		return pml_fail(t, -EBUSY, "process ", who,
				": it shares its parent's memory, as after vfork; try again when it has called exec, or name the parent");
	case -EMFILE:
	case -ENFILE:
		return pml_fail(t, -EMFILE, "process ", who,
				": out of file descriptors; raise the limit (ulimit -n)");
	default:
		return pml_fail(t, err, "process ", who, ": ", strerrordesc_np(-err));
	}
}

/*
 * Until it calls exec, the memory is its parent's: so are the files of procfs that are
 * opened here, and they stay the parent's afterwards.
 */
static bool shares_parents_memory(const struct pml_proc *p)
{
	char text[512];
	const char *at;
	long parent;

	if (read_small(p->dirfd, "status", text, sizeof(text)) <= 0)
		return false;
	at = strstr(text, "\nPPid:\t");
	parent = at ? strtol(at + 7, NULL, 10) : 0;
	return parent > 0 && syscall(SYS_kcmp, parent, p->pid, KCMP_VM, 0, 0) == 0;
}

/* A thread has a directory as a process has, but no pidfd.  -EINVAL: it is one. */
static int no_pidfd(const char *path, int err)
{
	return (err == -EINVAL || err == -ENOENT) && access(path, F_OK) == 0 ? -EINVAL : err;
}

static int open_files(struct pml_proc *p)
{
	char path[64], num[24];
	int fd;

	if (p->self)
		pml_words(path, sizeof(path), "/proc/self");
	else
		pml_words(path, sizeof(path), "/proc/", pml_number(num, (uint64_t)p->pid));
	if (!p->self) {
		p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
		/* a kernel without pidfds (before 5.3) tells exits by /proc alone */
		if (p->pidfd < 0 && errno != ENOSYS)
			return no_pidfd(path, -errno);
	}
	p->dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->dirfd < 0)
		return -errno;
	/* gone meanwhile: then that may be the directory of the number's next owner */
	if (p->pidfd >= 0 && syscall(SYS_pidfd_send_signal, p->pidfd, 0, NULL, 0) &&
	    errno == ESRCH)
		return -ESRCH;
	if (!p->self && shares_parents_memory(p))
		return -EBUSY;
	fd = open_under(p, "maps", 0);
	if (fd < 0)
		return fd;
	p->maps_fd = fd;
	fd = open_under(p, "status", 0);
	if (fd < 0)
		return fd;
	p->status_fd = fd;
	return 0;
}

static void free_proc(struct pml_proc *p)
{
	close_fd(&p->pidfd);
	close_fd(&p->dirfd);
	close_fd(&p->maps_fd);
	close_fd(&p->status_fd);
	pml_buf_free(&p->text);
	pml_buf_free(&p->pins);
	pml_waits_free(&p->waits);
	pml_buf_free(&p->now.buf);
	pml_buf_free(&p->armed.buf);
	pml_buf_free(&p->pieces.buf);
	pml_buf_free(&p->scratch.buf);
	munmap(p, sizeof(*p));
}

/* The lists of mappings change places in a collect: room for each of them from the
 * beginning, so that too little memory is told by pml_start, not later. */
static int reserve_lists(struct pml_proc *p)
{
	struct pml_areas *const lists[] = { &p->now, &p->armed, &p->pieces, &p->scratch };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (pml_buf_reserve(p->pool, &lists[i]->buf, 1))
			return -ENOMEM;
	return 0;
}

static int find_slot(struct pml *t, uint32_t *slot)
{
	for (*slot = 0; *slot < PML_MAX_PROCS; ++*slot)
		if (!pml_proc_at(t, *slot))
			return 0;
	return -ENOMEM;
}

int pml_proc_add(struct pml *t, int32_t pid, struct pml_proc **out)
{
	struct pml_proc *p;
	uint32_t slot;
	int err;

	if (find_slot(t, &slot))
		return pml_fail(t, -ENOMEM, "too many processes: one tracker takes 1,024; track fewer");
	p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return pml_fail(t, -ENOMEM, "out of memory");
	p->t = t;
	p->ops = t->ops;
	p->pool = &t->pool;
	p->pid = pid;
	p->slot = slot;
	p->self = pid == t->owner;
	p->page_size = t->page_size;
	p->page_shift = t->page_shift;
	p->adaptive = t->flags & PML_ADAPTIVE;
	p->verify = t->flags & PML_ADAPTIVE_VERIFY;
	p->seed = (uint64_t)pid * 0x9e3779b97f4a7c15ull;
	p->pidfd = p->dirfd = p->maps_fd = p->status_fd = p->tracks_fd = -1;
	err = open_files(p);
	if (err) {
		free_proc(p);
		return why_not(t, err, pid);
	}
	if (reserve_lists(p)) {
		free_proc(p);
		return pml_fail(t, -ENOMEM, "out of memory, or over the tracker's own bound; raise max_memory");
	}
	err = p->ops->attach(p);
	if (err) {
		free_proc(p);
		return err;
	}
	p->attached = true;
	p->serial = ++t->joined;
	t->stop_ns += p->stop_ns;
	((struct pml_proc **)t->procs.p)[slot] = p;
	if (slot >= t->nprocs)
		t->nprocs = slot + 1;
	if (out)
		*out = p;
	return 0;
}

void pml_proc_remove(struct pml *t, struct pml_proc *p)
{
	uint32_t slot = p->slot;

	if (p->attached)
		p->ops->detach(p);
	for (struct pml_reader *r = t->readers; r; r = r->next)
		pml_reader_forget(r, slot);
	free_proc(p);
	((struct pml_proc **)t->procs.p)[slot] = NULL;
	while (t->nprocs && !pml_proc_at(t, t->nprocs - 1))
		t->nprocs--;
}

void pml_proc_tracked_by(struct pml_proc *p, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return;
	p->tracks_fd = fd;
	p->tracks_dev = st.st_dev;
	p->tracks_ino = st.st_ino;
}

/* A kernel thread, or a zombie, has no mappings; its files may still be opened. */
bool pml_proc_has_memory(const struct pml_proc *p)
{
	char byte;

	return pread(p->maps_fd, &byte, 1, 0) == 1;
}

bool pml_proc_restored(const struct pml_proc *p)
{
	struct stat st;

	return p->tracks_fd >= 0 && (fstat(p->tracks_fd, &st) || st.st_dev != p->tracks_dev ||
				     st.st_ino != p->tracks_ino);
}

/* Its memory is gone: has it exited?  A process gives up its memory before it
 * is dead, so that its pidfd may not tell yet; one that has called exec has
 * another memory by now. */
bool pml_proc_exited(const struct pml_proc *p)
{
	static const char name[] = "\nVmSize:";
	char text[4096];
	off_t at = 0;
	ssize_t n;

	if (p->self)
		return false;
	/* needs no descriptor, of which there may be no more */
	while ((n = pread(p->status_fd, text, sizeof(text) - 1, at)) > 0) {
		text[n] = '\0';
		if (strstr(text, name))
			return false;
		/* it may have been cut in two */
		at += n < (ssize_t)sizeof(name) ? n : n - (ssize_t)sizeof(name) + 2;
		if (n < (ssize_t)sizeof(name))
			break;
	}
	return true;
}

/* Leaves the tables of this tracker out of what is watched in its own process:
 * every collect writes them.  Those beyond the array are watched, which does no
 * harm. */
static int leave_own(struct pml_proc *p)
{
	struct pml_span own[256];
	size_t n = 0;

	for (const struct pml_buf *b = p->pool->first; b && n < 256; b = b->next) {
		size_t at = n;

		if (!b->p)
			continue;
		for (; at && own[at - 1].start > (uintptr_t)b->p; at--)
			own[at] = own[at - 1];
		own[at].start = (uintptr_t)b->p;
		own[at].end = own[at].start + b->len;
		n++;
	}
	return pml_areas_filter(p->pool, &p->now, own, n, false, &p->scratch);
}

int pml_proc_refresh(struct pml_proc *p)
{
	struct pml *t = p->t;
	struct pml_maps_facts facts;
	int err = pml_maps_read(p->maps_fd, p->pool, &p->text, &p->now, &facts);

	p->has_aio = facts.aio;
	if (!err && t->any_watch)
		err = pml_areas_filter(p->pool, &p->now, t->watch.p, t->nwatch, true, &p->scratch);
	if (!err && t->nleave)
		err = pml_areas_filter(p->pool, &p->now, t->leave.p, t->nleave, false, &p->scratch);
	if (!err && p->self)
		err = leave_own(p);
	if (!err)
		err = pml_areas_match(p->pool, &p->now, &p->armed, &p->pieces);
	return err;
}

/* Arms everything that is there; what happened before does not count. */
int pml_proc_begin(struct pml_proc *p)
{
	uint64_t walk_end;
	int err = pml_proc_refresh(p);

	if (err)
		return err == -ESRCH ? why_not(p->t, err, p->pid) : err;
	if (p->ops->begin) {
		err = p->ops->begin(p);
		if (err)
			return err;
	}
	err = p->ops->drain(p, 0, UINT64_MAX & ~((uint64_t)p->page_size - 1), p->t->events, NULL,
			    &walk_end);
	if (!err && !(p->ops->caps & PML_CAP_ATOMIC_REARM))
		err = p->ops->rearm(p, 0, walk_end, p->t->events);
	if (p->ops->end)
		p->ops->end(p);
	if (!err)
		err = pml_areas_commit(p->pool, &p->armed, &p->pieces, 0, walk_end, &p->scratch);
	return err == -ESRCH ? why_not(p->t, err, p->pid) : err;
}

/* AnonHugePages of the process; 0 where that cannot be told. */
uint64_t pml_proc_thp_bytes(const struct pml_proc *p)
{
	char text[4096];
	int fd = open_under(p, "smaps_rollup", 0);
	ssize_t n;
	char *at;

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strstr(text, "AnonHugePages:");
	return at ? strtoull(at + 14, NULL, 10) * 1024 : 0;
}

struct pml_proc *pml_proc_find(const struct pml *t, int32_t pid)
{
	for (uint32_t i = 0; i < t->nprocs; i++)
		if (pml_proc_at(t, i) && pml_proc_at(t, i)->pid == pid)
			return pml_proc_at(t, i);
	return NULL;
}

void pml_procs_unseen(struct pml *t, int32_t pid)
{
	struct pml_range u = {
		.end = UINT64_MAX & ~((uint64_t)t->page_size - 1), .pid = (uint32_t)pid,
		.events = (uint16_t)t->events, .known = PML_UNCOVERED,
		.reason = PML_REASON_UNSEEN_PROCESS,
	};

	for (struct pml_reader *r = t->readers; r; r = r->next)
		pml_reader_uncovered(r, &u);
	/* why, was said; but this is no failure of the call */
	t->message[0] = '\0';
}

/* A process that is seen for the first time: attached, armed by its first
 * collect, which tells all that is there.  One that cannot be attached is told,
 * and tried again at the next look: between vfork and exec, say, its memory is
 * its parent's. */
static int join(struct pml *t, int32_t pid, uint64_t *count)
{
	int err;

	(void)count;
	if (pml_proc_find(t, pid))
		return 0;
	err = pml_proc_add(t, pid, NULL);
	if (err == -ENOMEM || err == -EMFILE)
		return err;
	if (err == -ESRCH)
		t->message[0] = '\0';
	else if (err)
		pml_procs_unseen(t, pid);
	return 0;
}

int pml_each_listed(struct pml *t, int fd, pml_listed_proc *each, uint64_t *count)
{
	char text[4096];
	int32_t pid = -1;
	ssize_t n;
	int err = 0;

	while (!err && (n = read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n && !err; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				pid = (pid < 0 ? 0 : pid * 10) + (text[i] - '0');
			} else if (pid >= 0) {
				err = each(t, pid, count);
				pid = -1;
			}
		}
	}
	return !err && n < 0 ? -errno : err;
}

/* What cannot be opened is a thread, or a process, that has ended meanwhile; if not, who
 * is there would be missed. */
static int no_descriptors(struct pml *t)
{
	if (errno != EMFILE && errno != ENFILE)
		return 0;
	return pml_fail(t, -EMFILE, "the descendants cannot be looked for: out of file descriptors; raise the limit (ulimit -n)");
}

static int join_listed(struct pml *t, int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return no_descriptors(t);
	err = pml_each_listed(t, fd, join, NULL);
	close(fd);
	return err == -ESRCH ? 0 : err;
}

struct parent {
	struct pml *t;
	int dir;	/* its threads */
};

static int join_children_of(void *arg, const char *tid)
{
	const struct parent *p = arg;
	char name[64];

	pml_words(name, sizeof(name), tid, "/children");
	return join_listed(p->t, p->dir, name);
}

/* The children of every thread of a process join; theirs are found when their
 * slot is looked at, which is later in the same pass. */
static int join_children(struct pml *t, const struct pml_proc *p)
{
	struct parent parent = {
		t, openat(p->dirfd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	};
	int err;

	if (parent.dir < 0)
		return no_descriptors(t);
	err = pml_list(parent.dir, join_children_of, &parent);
	close(parent.dir);
	/* it ended meanwhile */
	return err == -ENOENT || err == -ESRCH ? 0 : err;
}

static bool lives(int32_t pid)
{
	return kill(pid, 0) == 0 || errno == EPERM;
}

int pml_procs_poll(struct pml *t)
{
	int err = 0;

	if (t->target == PML_TARGET_CGROUP)
		return pml_cgroup_poll(t);
	if (t->target != PML_TARGET_TREE)
		return 0;
	if (t->rejoin) {
		err = join(t, t->pid, NULL);
		t->rejoin = !pml_proc_find(t, t->pid) && lives(t->pid);
	}
	for (uint32_t i = 0; i < t->nprocs && !err; i++) {
		struct pml_proc *p = pml_proc_at(t, i);

		if (p)
			err = join_children(t, p);
	}
	return err;
}
