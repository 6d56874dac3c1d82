/* SPDX-License-Identifier: MIT */
/* A process's mappings; see maps.h.  Called by proc.c at start and collect. */
#define _GNU_SOURCE
#include "maps.h"
#include "kernel_abi.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const char *parse_hex(const char *p, const char *end, uint64_t *out)
{
	uint64_t v = 0;
	const char *from = p;

	for (; p < end; p++) {
		unsigned int c = (unsigned char)*p;

		if (c - '0' < 10)
			v = v << 4 | (c - '0');
		else if (c - 'a' < 6)
			v = v << 4 | (c - 'a' + 10);
		else
			break;
	}
	*out = v;
	return p > from ? p : NULL;
}

static const char *parse_dec(const char *p, const char *end, uint64_t *out)
{
	uint64_t v = 0;
	const char *from = p;

	for (; p < end && *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (uint64_t)(*p - '0');
	*out = v;
	return p > from ? p : NULL;
}

static bool starts(const char *p, const char *end, const char *with)
{
	size_t n = strlen(with);

	return (size_t)(end - p) >= n && memcmp(p, with, n) == 0;
}

/* Mappings that belong to the kernel: their content is not the process's. */
static bool is_kernels(const char *name, const char *end)
{
	return starts(name, end, "[vvar") || starts(name, end, "[vdso]") ||
	       starts(name, end, "[vsyscall]") || starts(name, end, "[uprobes]");
}

bool pml_maps_parse_line(const char *line, size_t len, struct pml_area *a, bool *aio)
{
	const char *p = line, *end = line + len;
	uint64_t major, minor;
	const char *perms;

	memset(a, 0, sizeof(*a));
	p = parse_hex(p, end, &a->start);
	if (!p || p >= end || *p++ != '-')
		return false;
	p = parse_hex(p, end, &a->end);
	if (!p || end - p < 7 || *p++ != ' ')
		return false;
	perms = p;
	p = parse_hex(p + 5, end, &a->offset);
	if (!p || p >= end || *p++ != ' ')
		return false;
	p = parse_hex(p, end, &major);
	if (!p || p >= end || *p++ != ':')
		return false;
	p = parse_hex(p, end, &minor);
	if (!p || p >= end || *p++ != ' ')
		return false;
	p = parse_dec(p, end, &a->inode);
	if (!p || a->start >= a->end)
		return false;
	while (p < end && *p == ' ')
		p++;
	a->dev = (uint32_t)(major << 20 | minor);

	if (starts(p, end, "/[aio]")) {
		*aio = true;
		return false;
	}
	if (a->inode == 0 && is_kernels(p, end))
		return false;
	if (perms[3] == 's')
		a->kind = PML_AREA_SHARED;
	else
		a->kind = a->inode ? PML_AREA_PRIVATE_FILE : PML_AREA_ANON;
	if (perms[1] == 'w')
		a->flags |= PML_AREA_WRITE;
	a->odd_rights = perms[0] != 'r' || perms[2] == 'x';
	/* private huge pages look like a file of this name */
	if (starts(p, end, "/anon_hugepage"))
		a->flags |= PML_AREA_HUGETLB;
	return true;
}

int pml_areas_push(struct pml_pool *pool, struct pml_areas *list, const struct pml_area *a)
{
	int err = pml_buf_reserve(pool, &list->buf, (list->n + 1) * sizeof(*a));

	if (err)
		return err;
	pml_areas_at(list)[list->n++] = *a;
	return 0;
}

void pml_areas_swap(struct pml_areas *a, struct pml_areas *b)
{
	size_t n = a->n;

	pml_buf_swap(&a->buf, &b->buf);
	a->n = b->n;
	b->n = n;
}

/* The size of a huge page mapping's pages, which maps does not tell. */
static void ask_page_size(int fd, struct pml_area *a)
{
	struct pml_procmap_query q = { .size = sizeof(q), .query_addr = a->start };

	if (a->kind == PML_AREA_ANON)
		return;
	if (ioctl(fd, PML_PROCMAP_QUERY, &q) == 0) {
		if (q.vma_page_size > (uint64_t)sysconf(_SC_PAGESIZE)) {
			a->flags |= PML_AREA_HUGETLB;
			a->granule_shift = (uint8_t)__builtin_ctzll(q.vma_page_size);
		}
	} else if (a->flags & PML_AREA_HUGETLB) {
		a->granule_shift = 21;
	}
}

/* Whether what is mapped now at an address can be what was armed there. */
static bool same_thing(const struct pml_area *now, const struct pml_area *was)
{
	if (was->flags & PML_AREA_GHOST)
		return false;
	if (now->kind != was->kind || now->inode != was->inode || now->dev != was->dev)
		return false;
	return now->kind == PML_AREA_ANON ||
	       now->offset - now->start == was->offset - was->start;
}

/* Whether a is the mapping that last was, when it was read. */
static bool is_more_of(const struct pml_area *last, const struct pml_area *a)
{
	return a->flags == last->flags && a->odd_rights == last->odd_rights &&
	       same_thing(a, last);
}

/*
 * The file is read in pieces, and mappings change in between: what grew or was
 * joined meanwhile comes again, from where it begins now.  It stays one area: two
 * would be registered one by one, and so split in two.  False: nothing to add.
 */
static bool after_last(struct pml_areas *list, struct pml_area *a, struct pml_maps_facts *facts)
{
	struct pml_area *last = list->n ? pml_areas_at(list) + list->n - 1 : NULL;
	uint64_t done = last ? last->end : 0;

	if (a->start >= done && a->end > done)
		return true;
	if (a->end <= done || is_more_of(last, a)) {
		if (a->end > done)
			last->end = last->around_end = a->end;
		facts->open_area = true;
		return false;
	}
	a->offset += done - a->start;
	a->start = a->around_start = done;
	return true;
}

/* The unmapped space around mappings; a is the next one, watched or not. */
static void look_around(struct pml_areas *list, struct pml_area *a, struct pml_maps_facts *facts)
{
	struct pml_area *last = list->n ? pml_areas_at(list) + list->n - 1 : NULL;

	if (facts->open_area && last && a->start > last->end)
		last->around_end = a->start;
	facts->open_area = false;
	a->around_end = a->end;
	a->around_start = a->start;
	a->limit_start = 0;
	a->limit_end = UINT64_MAX;
	if (facts->last_end && facts->last_end < a->start)
		a->around_start = facts->last_end;
	if (a->end > facts->last_end)
		facts->last_end = a->end;
}

static int parse_lines(const char *text, size_t *len, int fd, struct pml_pool *pool,
		       struct pml_areas *list, struct pml_maps_facts *facts)
{
	const char *p = text, *end = text + *len;
	struct pml_area a;

	for (;;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		bool watched;

		if (!nl)
			break;
		watched = pml_maps_parse_line(p, (size_t)(nl - p), &a, &facts->aio);

		/* the kernel's own (vsyscall) is nobody's neighbour */
		if (a.end > a.start && !(a.start >> 63))
			look_around(list, &a, facts);
		if (watched && after_last(list, &a, facts)) {
			int err;

			if (a.kind == PML_AREA_SHARED || (a.flags & PML_AREA_HUGETLB))
				ask_page_size(fd, &a);
			err = pml_areas_push(pool, list, &a);
			if (err)
				return err;
			facts->open_area = true;
		}
		p = nl + 1;
	}
	*len = (size_t)(end - p);
	return 0;
}

int pml_maps_read(int fd, struct pml_pool *pool, struct pml_buf *text, struct pml_areas *list,
		  struct pml_maps_facts *facts)
{
	size_t have = 0, total = 0;

	list->n = 0;
	memset(facts, 0, sizeof(*facts));
	for (;;) {
		ssize_t got;
		size_t left;
		int err = pml_buf_reserve(pool, text, have + 65536);

		if (err)
			return err;
		got = pread(fd, (char *)text->p + have, text->len - have, (off_t)total);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		total += (size_t)got;
		have += (size_t)got;
		left = have;
		err = parse_lines(text->p, &left, fd, pool, list, facts);
		if (err)
			return err;
		memmove(text->p, (char *)text->p + (have - left), left);
		have = left;
	}
	return total ? 0 : -ESRCH;
}

/* The part of a that lies in [start, end). */
static struct pml_area part(const struct pml_area *a, uint64_t start, uint64_t end)
{
	struct pml_area r = *a;

	if (start > a->start) {
		r.offset += start - a->start;
		r.start = start;
	}
	if (end < a->end)
		r.end = end;
	return r;
}

static int push_part(struct pml_pool *pool, struct pml_areas *list, const struct pml_area *a,
		     uint64_t start, uint64_t end, uint8_t flags)
{
	struct pml_area r;

	if (start >= end)
		return 0;
	r = part(a, start, end);
	r.flags |= flags;
	return pml_areas_push(pool, list, &r);
}

/* As push_part, where a list cuts: what lies beyond is not to be touched. */
static int push_cut(struct pml_pool *pool, struct pml_areas *list, const struct pml_area *a,
		    uint64_t start, uint64_t end)
{
	struct pml_area r = *a;

	if (start > a->start)
		r.around_start = r.limit_start = start;
	if (end < a->end)
		r.around_end = r.limit_end = end;
	return push_part(pool, list, &r, start, end, 0);
}

int pml_areas_filter(struct pml_pool *pool, struct pml_areas *list, const struct pml_span *spans,
		     size_t n, bool keep, struct pml_areas *scratch)
{
	scratch->n = 0;
	for (size_t i = 0; i < list->n; i++) {
		const struct pml_area *a = pml_areas_at(list) + i;
		uint64_t at = a->start;

		for (size_t k = 0; k < n && at < a->end; k++) {
			uint64_t s = spans[k].start > at ? spans[k].start : at;
			uint64_t e = spans[k].end < a->end ? spans[k].end : a->end;
			int err;

			if (s >= e)
				continue;
			err = keep ? push_cut(pool, scratch, a, s, e)
				   : push_cut(pool, scratch, a, at, s);
			if (err)
				return err;
			at = e;
		}
		if (!keep && at < a->end) {
			int err = push_cut(pool, scratch, a, at, a->end);

			if (err)
				return err;
		}
	}
	pml_areas_swap(list, scratch);
	return 0;
}

int pml_areas_match(struct pml_pool *pool, const struct pml_areas *now,
		    const struct pml_areas *armed, struct pml_areas *out)
{
	const struct pml_area *was = pml_areas_at(armed), *last = was + armed->n;

	out->n = 0;
	for (size_t i = 0; i < now->n; i++) {
		const struct pml_area *a = pml_areas_at(now) + i;
		uint64_t at = a->start;

		while (was < last && was->end <= at)
			was++;
		for (const struct pml_area *w = was; at < a->end; w++) {
			uint64_t s = w < last && w->start < a->end ? w->start : a->end;
			uint64_t e;
			uint8_t flags;
			int err;

			if (s > at) {
				err = push_part(pool, out, a, at, s, PML_AREA_FRESH);
				if (err)
					return err;
				at = s;
				if (at >= a->end)
					break;
			}
			e = w->end < a->end ? w->end : a->end;
			if (same_thing(a, w))
				flags = w->flags & (PML_AREA_UNWRITABLE | PML_AREA_OWNED |
						    PML_AREA_UNSUPPORTED);
			else
				flags = PML_AREA_FRESH | PML_AREA_REPLACED;
			/* what another userfaultfd held may be free by now, and what
			 * was read-only for ever may have been mapped anew: ask again */
			if ((flags & (PML_AREA_OWNED | PML_AREA_UNSUPPORTED)) ||
			    ((flags & PML_AREA_UNWRITABLE) && (a->flags & PML_AREA_WRITE)))
				flags = PML_AREA_FRESH | PML_AREA_REPLACED;
			err = push_part(pool, out, a, at, e, flags);
			if (err)
				return err;
			at = e;
		}
	}
	return 0;
}

/* As push_part, but joins what continues the last area: a heap that grows at
 * every collect must not become a list of its steps. */
static int push_joined(struct pml_pool *pool, struct pml_areas *list, const struct pml_area *a,
		       uint64_t start, uint64_t end)
{
	struct pml_area *last = list->n ? pml_areas_at(list) + list->n - 1 : NULL;

	if (start < end && last && last->end == start && last->flags == a->flags &&
	    last->granule_shift == a->granule_shift) {
		struct pml_area next = part(a, start, end);

		if ((a->flags & PML_AREA_GHOST) || same_thing(&next, last)) {
			last->end = end;
			return 0;
		}
	}
	return push_part(pool, list, a, start, end, 0);
}

/* Too many ghosts: neighbours become one, with the gap between them.  That
 * claims too much of what was there, which is safe. */
static void join_ghosts(struct pml_areas *list)
{
	struct pml_area *a = pml_areas_at(list);
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		if (n && (a[i].flags & PML_AREA_GHOST) && (a[n - 1].flags & PML_AREA_GHOST))
			a[n - 1].end = a[i].end;
		else
			a[n++] = a[i];
	}
	list->n = n;
}

/* What armed has in [start, end), but not in pieces, as ghosts; and pieces;
 * both in order. */
static int push_range(struct pml_pool *pool, struct pml_areas *out, const struct pml_areas *armed,
		      const struct pml_areas *pieces, uint64_t start, uint64_t end)
{
	const struct pml_area *w = pml_areas_at(armed), *wlast = w + armed->n;
	const struct pml_area *p = pml_areas_at(pieces), *plast = p + pieces->n;
	uint64_t at = start;
	int err = 0;

	while (p < plast && p->end <= start)
		p++;
	while (at < end && !err) {
		uint64_t gap_end = p < plast && p->start < end ? p->start : end;

		while (w < wlast && w->end <= at)
			w++;
		/* the gap before the next piece: whatever was armed there */
		for (const struct pml_area *g = w; g < wlast && g->start < gap_end && !err; g++) {
			struct pml_area ghost = *g;

			ghost.flags = PML_AREA_GHOST;
			if (g->end > at && at < gap_end)
				err = push_joined(pool, out, &ghost, g->start > at ? g->start : at,
						  g->end < gap_end ? g->end : gap_end);
		}
		if (p < plast && p->start < end && !err) {
			struct pml_area live = *p;

			live.flags &= (uint8_t)~(PML_AREA_FRESH | PML_AREA_REPLACED);
			at = p->end < end ? p->end : end;
			err = push_joined(pool, out, &live, p->start > start ? p->start : start, at);
			p++;
		} else {
			at = end;
		}
	}
	return err;
}

#define MAX_GHOSTS 4096u

int pml_areas_commit(struct pml_pool *pool, struct pml_areas *armed, const struct pml_areas *pieces,
		     uint64_t start, uint64_t end, struct pml_areas *scratch)
{
	const struct pml_area *a = pml_areas_at(armed);
	size_t ghosts = 0;
	int err = 0;

	scratch->n = 0;
	for (size_t i = 0; i < armed->n && a[i].start < start && !err; i++)
		err = push_joined(pool, scratch, a + i, a[i].start,
				  a[i].end < start ? a[i].end : start);
	if (!err)
		err = push_range(pool, scratch, armed, pieces, start, end);
	for (size_t i = 0; i < armed->n && !err; i++)
		if (a[i].end > end)
			err = push_joined(pool, scratch, a + i, a[i].start > end ? a[i].start : end,
					  a[i].end);
	if (err)
		return err;
	pml_areas_swap(armed, scratch);
	for (size_t i = 0; i < armed->n; i++)
		ghosts += (pml_areas_at(armed)[i].flags & PML_AREA_GHOST) != 0;
	if (ghosts > MAX_GHOSTS)
		join_ghosts(armed);
	return 0;
}
