/* SPDX-License-Identifier: MIT */
/*
 * Where libgc's heap is: the private, anonymous, readable mappings in which any
 * page belongs to it.  What is read-only now may have been written since the last
 * stop, so the right to write does not matter; what cannot be read, libgc cannot
 * mark from, and has unmapped itself.  Every stop looks anew, so that growth, unmapping and
 * mapping again need no rule: a part that was not there the last time is new to
 * the tracker and thereby dirty.
 */
#define _GNU_SOURCE
#include "heap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_PARTS 4096u
#define TEXT_SIZE 65536u
#define BLOCK 4096u	/* no libgc that can do manual dirty bits has smaller blocks */

static struct GC_dirty_range_s found[MAX_PARTS];
static char text[TEXT_SIZE];

struct line {
	uintptr_t start;
	uintptr_t end;
	bool readable;		/* private and readable */
	bool anonymous;
	bool stack;
};

static const char *hex(const char *p, uintptr_t *out)
{
	*out = 0;
	for (;; p++) {
		unsigned int c = (unsigned char)*p;

		if (c - '0' < 10)
			*out = *out << 4 | (c - '0');
		else if (c - 'a' < 6)
			*out = *out << 4 | (c - 'a' + 10);
		else
			return p;
	}
}

/* "start-end r--p offset dev inode  name", ended by a null byte. */
static void parse(const char *p, struct line *l)
{
	const char *perms;
	uintptr_t offset;

	p = hex(p, &l->start);
	p = hex(*p ? p + 1 : p, &l->end);
	perms = *p ? p + 1 : p;
	l->readable = strlen(perms) > 4 && perms[0] == 'r' && perms[3] == 'p';
	p = hex(l->readable ? perms + 5 : perms, &offset);
	/* device, then inode: 0 for anonymous memory */
	for (int i = 0; i < 2 && p; i++)
		p = strchr(p + (i > 0), ' ');
	l->anonymous = p && p[1] == '0' && (p[2] == ' ' || p[2] == '\0');
	l->stack = strstr(perms, "[stack") != NULL;
}

static bool has_heap(uintptr_t start, uintptr_t end)
{
	for (uintptr_t at = start; at < end; at += BLOCK)
		if (GC_is_heap_ptr((void *)at))
			return true;
	return false;
}

static int consider(const struct line *l, size_t *n)
{
	uintptr_t low = (uintptr_t)GC_least_plausible_heap_addr & ~(uintptr_t)(BLOCK - 1);
	uintptr_t high = (uintptr_t)GC_greatest_plausible_heap_addr;

	if (!l->readable || !l->anonymous || l->stack || l->end <= low || l->start > high)
		return 0;
	if (!has_heap(l->start > low ? l->start : low, l->end <= high ? l->end : high + 1))
		return 0;
	if (*n && (uintptr_t)found[*n - 1].end == l->start) {
		found[*n - 1].end = (void *)l->end;
		return 0;
	}
	if (*n == MAX_PARTS)
		return -ENOMEM;
	found[*n].start = (void *)l->start;
	found[(*n)++].end = (void *)l->end;
	return 0;
}

/* Lines that are whole; the rest moves to the front. */
static int consider_lines(size_t *have, size_t *n)
{
	char *p = text, *end = text + *have, *nl;
	int err = 0;

	while (!err && (nl = memchr(p, '\n', (size_t)(end - p))) != NULL) {
		struct line l;

		*nl = '\0';
		parse(p, &l);
		err = consider(&l, n);
		p = nl + 1;
	}
	*have = (size_t)(end - p);
	memmove(text, p, *have);
	return err;
}

int pml_gc_heap_find(const struct GC_dirty_range_s **parts, size_t *n)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), err = 0;
	size_t have = 0;

	*parts = found;
	*n = 0;
	if (fd < 0)
		return -errno;
	while (!err) {
		ssize_t got = read(fd, text + have, sizeof(text) - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			err = -errno;
		if (got <= 0)
			break;
		have += (size_t)got;
		err = consider_lines(&have, n);
		if (have == sizeof(text))
			err = -EOVERFLOW;
	}
	close(fd);
	return err;
}
