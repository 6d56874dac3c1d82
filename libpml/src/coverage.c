/* SPDX-License-Identifier: MIT */
/*
 * What could hide writes from any back-end, read from the kernel at every
 * collect: pinned buffers (VmPin; io_uring's registered buffers, which are
 * named and so can be reported dirty every time), direct and asynchronous I/O
 * that may be in flight, shared mappings.  Called by collect.c.
 */
#define _GNU_SOURCE
#include "internal.h"
#include "listing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void pml_proc_uncovered(struct pml_proc *p, uint64_t start, uint64_t end, enum pml_reason reason)
{
	struct pml_range u = {
		.start = start, .end = end, .pid = (uint32_t)p->pid, .events = PML_DIRTY,
		.known = PML_UNCOVERED, .reason = (uint8_t)reason,
	};

	for (struct pml_reader *r = p->t->readers; r; r = r->next)
		pml_reader_uncovered(r, &u);
}

void pml_proc_lost(struct pml_proc *p)
{
	for (struct pml_reader *r = p->t->readers; r; r = r->next)
		r->lost = true;
}

/* All that is watched of the process. */
static void uncover_all(struct pml_proc *p, enum pml_reason reason)
{
	const struct pml_area *a = pml_areas_at(&p->now);

	if (p->now.n)
		pml_proc_uncovered(p, a[0].start, a[p->now.n - 1].end, reason);
}

/* The number after "name:" in the text of a /proc file; false: not there. */
static bool field(const char *text, const char *name, int base, uint64_t *out)
{
	const char *at = strstr(text, name);

	if (!at)
		return false;
	*out = strtoull(at + strlen(name), NULL, base);
	return true;
}

/* Reads an open /proc file into p->text. */
static ssize_t read_fd(struct pml_proc *p, int fd)
{
	size_t n = 0;

	for (;;) {
		ssize_t got;

		if (pml_buf_reserve(p->pool, &p->text, n + 4097))
			return -ENOMEM;
		got = pread(fd, (char *)p->text.p + n, 4096, (off_t)n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	((char *)p->text.p)[n] = '\0';
	return (ssize_t)n;
}

static ssize_t read_file(struct pml_proc *p, int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read_fd(p, fd);
	close(fd);
	return n;
}

static void add_pin(struct pml_proc *p, uint64_t start, uint64_t len)
{
	uint64_t mask = (uint64_t)p->page_size - 1;
	struct pml_span *s;

	if (!len)
		return;
	if (pml_buf_reserve(p->pool, &p->pins, (p->npins + 1) * sizeof(*s))) {
		/* there is one more, which cannot be named */
		uncover_all(p, PML_REASON_UNKNOWN_PIN);
		return;
	}
	s = (struct pml_span *)p->pins.p + p->npins++;
	s->start = start & ~mask;
	s->end = (start + len + mask) & ~mask;
}

/* "    0: 0x7f5c3d400000/4096", a line a buffer, after "UserBufs:". */
static uint64_t read_buffers(struct pml_proc *p, const char *at)
{
	uint64_t bytes = 0;

	for (;;) {
		char *end;
		uint64_t start, len;

		at = strchr(at, '\n');
		if (!at || at[1] != ' ')
			return bytes;
		at = strchr(++at, ':');
		if (!at)
			return bytes;
		start = strtoull(at + 1, &end, 16);
		if (*end != '/')
			continue;
		len = strtoull(end + 1, NULL, 10);
		add_pin(p, start, len);
		if (p->npins) {
			const struct pml_span *s = (struct pml_span *)p->pins.p + p->npins - 1;

			bytes += s->end - s->start;
		}
	}
}

/* One io_uring: what is registered is named; what is in flight is not. */
static uint64_t look_at_ring(struct pml_proc *p, const char *info)
{
	const char *bufs = strstr(info, "UserBufs:");
	uint64_t submitted, completed;

	if (!bufs || !field(info, "CachedSqHead:", 10, &submitted) ||
	    !field(info, "CachedCqTail:", 10, &completed)) {
		/* the ring was locked while we looked: it is being used */
		uncover_all(p, PML_REASON_IO);
		return 0;
	}
	if (submitted != completed)
		uncover_all(p, PML_REASON_IO);
	return read_buffers(p, bufs);
}

/* Whether /proc/PID lists the very descriptors that this thread has: one may have taken
 * a table of its own.  Then one call tells what takes four in fdinfo. */
static bool has_these_fds(const struct pml_proc *p)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);

	return p->self && (tid == p->pid || syscall(SYS_kcmp, p->pid, tid, KCMP_FILES, 0, 0) == 0);
}

/* The descriptors of a process. */
struct fds {
	struct pml_proc *p;
	int links;
	int infos;
	bool own;	/* they are this thread's too */
	uint64_t bytes;	/* of registered buffers */
};

static int look_at_fd(void *arg, const char *name)
{
	struct fds *f = arg;
	struct pml_proc *p = f->p;
	char link[64];
	ssize_t n = readlinkat(f->links, name, link, sizeof(link) - 1);
	uint64_t flags;
	bool ring;
	int mine;

	if (n < 0)
		return 0;
	link[n] = '\0';
	ring = strcmp(link, "anon_inode:[io_uring]") == 0;
	/* only files and block devices are read and written directly */
	if (!ring && link[0] != '/')
		return 0;
	mine = f->own && !ring ? fcntl((int)strtol(name, NULL, 10), F_GETFL) : -1;
	if (mine >= 0) {
		if (mine & O_DIRECT)
			uncover_all(p, PML_REASON_IO);
		return 0;
	}
	if (read_file(p, f->infos, name) < 0)
		return 0;
	if (ring)
		f->bytes += look_at_ring(p, p->text.p);
	else if (field(p->text.p, "flags:", 8, &flags) && (flags & O_DIRECT))
		uncover_all(p, PML_REASON_IO);
	return 0;
}

static uint64_t look_at_fds(struct pml_proc *p)
{
	struct fds f = {
		.p = p,
		.links = openat(p->dirfd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.infos = openat(p->dirfd, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.own = has_these_fds(p),
	};

	if (f.links < 0 || f.infos < 0 || pml_list(f.links, look_at_fd, &f)) {
		uncover_all(p, PML_REASON_UNREADABLE);
		f.bytes = 0;
	}
	if (f.links >= 0)
		close(f.links);
	if (f.infos >= 0)
		close(f.infos);
	return f.bytes;
}

static void look_at_areas(struct pml_proc *p)
{
	const struct pml_area *a = pml_areas_at(&p->now);

	for (size_t i = 0; i < p->now.n; i++)
		if (a[i].kind == PML_AREA_SHARED &&
		    ((a[i].flags & PML_AREA_WRITE) || (p->ops->caps & PML_CAP_PROTECTS)))
			pml_proc_uncovered(p, a[i].start, a[i].end, PML_REASON_SHARED);
}

void pml_coverage_read(struct pml_proc *p)
{
	uint64_t pinned = 0, swapped = 0, named;

	p->npins = 0;
	look_at_areas(p);
	if (read_fd(p, p->status_fd) <= 0) {
		uncover_all(p, PML_REASON_UNREADABLE);
	} else {
		const char *state = strstr(p->text.p, "State:\t");

		p->stopped = state && state[7] == 'T';
		field(p->text.p, "VmPin:", 10, &pinned);
		field(p->text.p, "VmSwap:", 10, &swapped);
	}
	p->swap_bytes = swapped * 1024;
	if (p->t->flags & PML_NO_IO_CHECKS) {
		uncover_all(p, PML_REASON_NOT_CHECKED);
		return;
	}
	named = look_at_fds(p);
	if (p->has_aio)
		uncover_all(p, PML_REASON_IO);
	if (pinned * 1024 > named)
		uncover_all(p, PML_REASON_UNKNOWN_PIN);
}
