/* SPDX-License-Identifier: MIT */
/* A page that shows whether the bits were cleared; see canary.h. */
#define _GNU_SOURCE
#include "canary.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* maps is read by so much at a time: what is looked for is near its beginning. */
#define PIECE 8192u
/* Of one mapping, so many pages at most are looked at. */
#define MAX_PAGES 4096u

int pml_canary_open(struct pml_canary *c, struct pml_proc *p)
{
	c->addr = 0;
	c->own = NULL;
	c->mem = -1;
	c->armed = false;
	if (!p->self) {
		c->mem = openat(p->dirfd, "mem", O_RDWR | O_CLOEXEC);
		return c->mem < 0 ? -errno : 0;
	}
	c->own = mmap(NULL, p->page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->own == MAP_FAILED) {
		c->own = NULL;
		return -ENOMEM;
	}
	/* a page of its own, never a part of a huge one */
	madvise(c->own, p->page_size, MADV_NOHUGEPAGE);
	c->addr = (uintptr_t)c->own;
	return 0;
}

void pml_canary_close(struct pml_canary *c)
{
	if (c->mem >= 0)
		close(c->mem);
	if (c->own)
		munmap(c->own, (size_t)sysconf(_SC_PAGESIZE));
	c->own = NULL;
	c->mem = -1;
}

static int see(void *arg, uint64_t start, uint64_t end, unsigned int seen)
{
	enum pml_canary_state *state = arg;

	(void)start;
	(void)end;
	if (pml_seen_content(PML_AREA_PRIVATE_FILE, seen))
		*state = seen & PML_SEEN_SOFT_DIRTY ? PML_CANARY_MARKED : PML_CANARY_CLEAN;
	return 0;
}

static enum pml_canary_state look_at(uint64_t addr, struct pml_look *l, struct pml_proc *p)
{
	enum pml_canary_state state = PML_CANARY_NONE;

	if (pml_look(l, p, addr, addr + p->page_size, see, &state))
		return PML_CANARY_NONE;
	return state;
}

enum pml_canary_state pml_canary_look(const struct pml_canary *c, struct pml_look *l,
				      struct pml_proc *p)
{
	return c->armed ? look_at(c->addr, l, p) : PML_CANARY_NONE;
}

/* ---- looking for one in another process ---- */

/* The first page that the process has to itself. */
static int find_page(void *arg, uint64_t start, uint64_t end, unsigned int seen)
{
	uint64_t *page = arg;

	(void)end;
	if (!pml_seen_content(PML_AREA_PRIVATE_FILE, seen) || (seen & PML_SEEN_HUGE))
		return 0;
	*page = start;
	return 1;
}

/* Whether a page of this mapping serves; then it is marked. */
static bool try_area(struct pml_canary *c, const struct pml_area *a, struct pml_look *l,
		     struct pml_proc *p)
{
	uint64_t most = (uint64_t)MAX_PAGES << p->page_shift, page = 0;
	uint64_t end = a->end - a->start > most ? a->start + most : a->end;
	char byte;

	if (a->kind != PML_AREA_PRIVATE_FILE || a->odd_rights ||
	    (a->flags & (PML_AREA_WRITE | PML_AREA_HUGETLB)))
		return false;
	if (pml_look(l, p, a->start, end, find_page, &page) != 1)
		return false;
	/* a kernel may refuse this (proc_mem.force_override) */
	if (pread(c->mem, &byte, 1, (off_t)page) != 1 || pwrite(c->mem, &byte, 1, (off_t)page) != 1)
		return false;
	/* and in some memory there are no such bits */
	if (look_at(page, l, p) != PML_CANARY_MARKED)
		return false;
	c->addr = page;
	return true;
}

/* The lines of maps, until one of them serves.  *len becomes what is left of the text:
 * the beginning of a line. */
static bool try_lines(struct pml_canary *c, const char *text, size_t *len, struct pml_look *l,
		      struct pml_proc *p)
{
	const char *line = text, *end = text + *len, *nl;
	struct pml_area a;
	bool aio;

	while ((nl = memchr(line, '\n', (size_t)(end - line)))) {
		if (pml_maps_parse_line(line, (size_t)(nl - line), &a, &aio) &&
		    try_area(c, &a, l, p))
			return true;
		line = nl + 1;
	}
	*len = (size_t)(end - line);
	return false;
}

static bool find(struct pml_canary *c, struct pml_look *l, struct pml_proc *p)
{
	size_t have = 0;
	off_t total = 0;

	for (;;) {
		size_t left;
		ssize_t n;
		char *text;

		if (pml_buf_reserve(p->pool, &p->text, have + PIECE))
			return false;
		text = p->text.p;
		n = pread(p->maps_fd, text + have, PIECE, total);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		total += n;
		have += (size_t)n;
		left = have;
		if (try_lines(c, text, &left, l, p))
			return true;
		memmove(text, text + (have - left), left);
		have = left;
	}
}

void pml_canary_arm(struct pml_canary *c, struct pml_look *l, struct pml_proc *p)
{
	if (c->own) {
		++*(volatile char *)c->own;
		c->armed = true;
		return;
	}
	c->armed = find(c, l, p);
}
