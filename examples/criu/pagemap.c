/* SPDX-License-Identifier: MIT */
/*
 * CRIU's view of /proc/PID/pagemap: see pagemap.h.  What is there and what is not
 * the kernel says, but for what our own watching has put there; the soft-dirty bit is
 * ours.  A page that criu was told of is one
 * that it puts into its images: these are the base of the next round.
 *
 * criu is one thread, and so is what is called here.
 */
#define _GNU_SOURCE
#include "pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "criu_abi.h"
#include "entry.h"
#include "say.h"
#include "view.h"

#define MAX_FILES 16
#define PAGE 4096u

enum kind { PAGEMAP, CLEAR_REFS };

/* One open descriptor of criu's. */
struct file {
	struct view view;
	int fd;
	enum kind kind;
	bool used;
};

static struct file files[MAX_FILES];
static struct pagemap_seen seen;
static bool trying;

static struct file *find(int fd)
{
	for (size_t i = 0; i < MAX_FILES; i++)
		if (files[i].used && files[i].fd == fd)
			return &files[i];
	return NULL;
}

static void forget(struct file *f)
{
	view_free(&f->view);
	*f = (struct file){ 0 };
}

/* Whose directory of /proc it is: the number in its own stat. */
static int pid_of(int dir)
{
	char text[32];
	int fd = openat(dir, "stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	return (int)strtol(text, NULL, 10);
}

/* A descriptor that criu has open and that we do not know is one of the kernel's,
 * with its own soft-dirty bit: of that nothing may be believed. */
static int note_open(int fd, int dir, enum kind kind)
{
	int pid = pid_of(dir);
	struct file *f = find(fd);

	if (pid == getpid() && !trying)
		return fd;
	if (f)
		forget(f);
	for (size_t i = 0; i < MAX_FILES && !f; i++)
		if (!files[i].used)
			f = &files[i];
	if (!f || pid <= 0) {
		say(CRIU_LOG_ERROR, "too many pagemaps are open, or one of nobody");
		close(fd);
		errno = EMFILE;
		return -1;
	}
	*f = (struct file){ .used = true, .fd = fd, .view.pid = pid, .kind = kind };
	seen.opened++;
	return fd;
}

int pagemap_openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;
	int fd;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	fd = openat(dir, path, flags, mode);
	if (fd < 0)
		return fd;
	if (!strcmp(path, "pagemap"))
		return note_open(fd, dir, PAGEMAP);
	if (!strcmp(path, "clear_refs"))
		return note_open(fd, dir, CLEAR_REFS);
	return fd;
}

static void ask_keeper(struct file *f)
{
	seen.read++;
	if (!trying)
		view_ask(&f->view);
}

/* Regions for criu, as many as fit. */
struct out {
	struct page_region *v;
	size_t n;
	size_t room;
};

/* One region of the kernel's, in pieces that are dirty and clean by turns.  Where
 * it stopped for want of room, or the region's end. */
static uint64_t split(struct file *f, const struct page_region *r, struct out *out)
{
	uint64_t at = r->start;
	size_t i = spans_find(&f->view.clean, at);

	while (at < r->end && out->n < out->room) {
		const struct keeper_span *c = i < f->view.clean.n ? &f->view.clean.v[i] : NULL;
		bool dirty = !c || c->start > at;
		uint64_t end = !c ? r->end : dirty ? c->start : c->end;

		if (end > r->end)
			end = r->end;
		out->v[out->n++] = (struct page_region){
			at, end, r->categories | (dirty ? PAGE_SOFT_DIRTY : 0) };
		if (r->categories & (PAGE_PRESENT | PAGE_SWAPPED) && !(r->categories & PAGE_GUARD))
			view_tell(&f->view, at, end);
		i += !dirty;
		at = end;
	}
	return at;
}

/* Where the first page from here on is that is a marker, or is none. */
static uint64_t next(struct entries *e, uint64_t at, uint64_t end, bool marker)
{
	while (at < end && entry_is_marker(entries_at(e, at)) != marker)
		at += PAGE;
	return at;
}

/* One of the kernel's regions without its markers; returns as split() does. */
static uint64_t take(struct file *f, const struct page_region *r, struct out *out)
{
	struct entries e = { .fd = f->fd };
	struct page_region piece = *r;
	uint64_t at = r->start;

	if (r->categories & PAGE_PRESENT)
		return split(f, r, out);
	while (at < r->end) {
		piece.start = next(&e, at, r->end, false);
		piece.end = next(&e, piece.start, r->end, true);
		at = split(f, &piece, out);
		if (at < piece.end)
			break;
	}
	return at;
}

static int scan(struct file *f, struct scan_arg *a)
{
	struct page_region some[512];
	struct out out = { .v = (struct page_region *)a->vec, .room = a->vec_len }; // NOLINT
	struct scan_arg inner = *a;

	ask_keeper(f);
	inner.return_mask &= ~(uint64_t)PAGE_SOFT_DIRTY;
	inner.vec = (uintptr_t)some;
	inner.vec_len = sizeof(some) / sizeof(some[0]);
	while (inner.start < a->end) {
		int n = ioctl(f->fd, PAGEMAP_SCAN_CALL, &inner);

		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			uint64_t at = take(f, &some[i], &out);

			if (at < some[i].end || out.n == out.room) {
				a->walk_end = at;
				return (int)out.n;
			}
		}
		if (inner.walk_end <= inner.start)
			break;
		inner.start = inner.walk_end;
	}
	a->walk_end = a->end;
	return (int)out.n;
}

int pagemap_ioctl(int fd, unsigned long request, ...)
{
	struct file *f = find(fd);
	struct scan_arg *a;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!f || f->kind != PAGEMAP || request != PAGEMAP_SCAN_CALL)
		return ioctl(fd, request, arg);
	a = arg;
	/* only what criu is known to ask */
	if ((a->category_mask | a->category_anyof_mask | a->category_inverted) & PAGE_SOFT_DIRTY ||
	    a->flags || a->max_pages || !a->vec_len || a->size != sizeof(*a)) {
		say(CRIU_LOG_ERROR, "this criu asks the pagemap in a way that is not known here");
		errno = EINVAL;
		return -1;
	}
	return scan(f, a);
}

ssize_t pagemap_pread(int fd, void *buffer, size_t size, off_t offset)
{
	struct file *f = find(fd);
	ssize_t n = pread(fd, buffer, size, offset);
	uint64_t *entries = buffer;
	uint64_t at;

	if (!f || f->kind != PAGEMAP || n <= 0)
		return n;
	ask_keeper(f);
	at = (uint64_t)offset / sizeof(*entries) * PAGE;
	for (ssize_t i = 0; i < n / (ssize_t)sizeof(*entries); i++, at += PAGE) {
		size_t c = spans_find(&f->view.clean, at);

		entries[i] |= ENTRY_SOFT_DIRTY;
		if (c < f->view.clean.n && f->view.clean.v[c].start <= at)
			entries[i] &= ~ENTRY_SOFT_DIRTY;
		if (entry_is_marker(entries[i]))
			entries[i] = 0;
		else if (entry_in_images(entries[i]))
			view_tell(&f->view, at, at + PAGE);
	}
	return n;
}

/* criu resets what it has just read, with the pagemap still open. */
static void reset(int pid)
{
	struct view *v = NULL;

	for (size_t i = 0; i < MAX_FILES; i++)
		if (files[i].used && files[i].kind == PAGEMAP && files[i].view.pid == pid &&
		    files[i].view.asked)
			v = &files[i].view;
	view_reset(v, pid);
}

ssize_t pagemap_write(int fd, const void *buffer, size_t size)
{
	struct file *f = find(fd);

	if (!f || f->kind != CLEAR_REFS)
		return write(fd, buffer, size);
	if (size < 1 || *(const char *)buffer != '4') {
		say(CRIU_LOG_ERROR, "this criu writes to clear_refs what is not known here");
		errno = EINVAL;
		return -1;
	}
	seen.cleared++;
	if (!trying)
		reset(f->view.pid);
	return (ssize_t)size;
}

int pagemap_close(int fd)
{
	struct file *f = find(fd);

	if (f) {
		forget(f);
		seen.closed++;
	}
	return close(fd);
}

void pagemap_try(bool on, struct pagemap_seen *was)
{
	*was = seen;
	seen = (struct pagemap_seen){ 0 };
	trying = on;
	for (size_t i = 0; i < MAX_FILES; i++)
		if (files[i].used)
			forget(&files[i]);
}
