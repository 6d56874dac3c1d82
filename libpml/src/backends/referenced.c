/* SPDX-License-Identifier: MIT */
/*
 * referenced: which mappings were read or written, by the accessed bits that
 * smaps sums up ("Referenced:"), cleared by writing 1 to clear_refs.  Called
 * through struct pml_backend.
 *
 * What decides its correctness:
 *
 * - Clearing by 1 leaves translations in the processors' buffers, and a page
 *   that is used by way of one does not get its bit back: a loop over 200 pages
 *   reads 0 kB.  Writing 4 right afterwards flushes them.  It also clears
 *   soft-dirty bits: so nobody else may use those, and a lock keeps the
 *   soft-dirty back-end out.
 * - Reading and clearing are two steps: the process stands still meanwhile.
 * - The kernel sums up per mapping: the granule is the mapping.  So mappings are
 *   what is kept, in a list, not their pages: some are terabytes, of which a few
 *   pages are used, as a sanitizer's.
 * - Of huge pages of hugetlb it sums up nothing: UNCOVERED, UNSUPPORTED.
 */
#define _GNU_SOURCE
#include "../backend.h"
#include "../clear_refs.h"
#include "../message.h"
#include "../standstill.h"
#include "../try_child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEXT_SIZE 65536u

/* What is left to tell of a mapping; empty if nothing is. */
struct span {
	uint64_t start;
	uint64_t end;
	uint64_t granule;	/* of the mapping as it was */
};

/* Sorted, not overlapping. */
struct spans {
	struct pml_buf buf;
	size_t n;
};

struct ref {
	struct pml_proc *p;
	struct pml_clear_refs clear_refs;
	struct spans pending;		/* what was read, but not told yet */
	struct spans fresh;		/* while reading */
	bool full;			/* no room: all mappings are taken as referenced */
	bool stale;			/* this collect has not read yet */
};

static struct span *at(const struct spans *l)
{
	return l->buf.p;
}

/* The power of two that holds the mapping as a whole. */
static uint64_t granule_of(const struct ref *s, uint64_t start, uint64_t end)
{
	uint64_t granule = s->p->page_size;

	while (granule < end - start)
		granule <<= 1;
	return granule;
}

static bool reserve(struct ref *s, struct spans *l, size_t n)
{
	if (pml_buf_reserve(s->p->pool, &l->buf, n * sizeof(struct span)))
		s->full = true;
	return !s->full;
}

/* Adds what was read to what is pending, from behind; then unites what overlaps. */
static void add_fresh(struct ref *s)
{
	size_t n = s->pending.n, k = s->fresh.n, kept = 0;
	struct span *to;

	if (!reserve(s, &s->pending, n + k + 1))
		return;
	to = at(&s->pending);
	while (k) {
		const struct span *f = at(&s->fresh) + k - 1;

		if (n && to[n - 1].start > f->start) {
			to[n + k - 1] = to[n - 1];
			n--;
		} else {
			to[n + k - 1] = *f;
			k--;
		}
	}
	n = s->pending.n + s->fresh.n;
	for (size_t i = 0; i < n; i++) {
		struct span *last = to + kept - 1;

		if (to[i].start == to[i].end)
			continue;
		if (!kept || to[i].start >= last->end) {
			to[kept++] = to[i];
			continue;
		}
		if (to[i].end > last->end)
			last->end = to[i].end;
		last->granule = granule_of(s, last->start, last->end);
	}
	s->pending.n = kept;
}

/* The first part of what is pending in [pos, end), and in whose span it is. */
static struct span *next_span(struct ref *s, uint64_t pos, uint64_t end, struct pml_range *r)
{
	size_t low = 0, high = s->pending.n;
	struct span *to = at(&s->pending);

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (to[mid].end > pos)
			high = mid;
		else
			low = mid + 1;
	}
	while (low < s->pending.n && to[low].start == to[low].end)
		low++;
	if (low == s->pending.n || to[low].start >= end)
		return NULL;
	*r = (struct pml_range){
		.start = to[low].start > pos ? to[low].start : pos,
		.end = to[low].end < end ? to[low].end : end, .granule = to[low].granule,
		.events = PML_REFERENCED, .known = PML_OBSERVED,
	};
	return to + low;
}

/* Takes a part of it out, which was told. */
static void take_out(struct ref *s, struct span *from, uint64_t start, uint64_t end)
{
	size_t i = (size_t)(from - at(&s->pending));

	if (start == from->start) {
		from->start = end;
	} else if (end == from->end) {
		from->end = start;
	} else if (reserve(s, &s->pending, s->pending.n + 1)) {
		from = at(&s->pending) + i;
		memmove(from + 1, from, (s->pending.n - i) * sizeof(*from));
		from[0].end = start;
		from[1].start = end;
		s->pending.n++;
	}
}

/* Calls fn for each mapping of smaps with its "Referenced:" in kB. */
static int read_smaps(int fd, char *text, void (*fn)(void *arg, uint64_t start, uint64_t end,
						     unsigned long kb), void *arg)
{
	uint64_t start = 0, end = 0;
	size_t have = 0;

	for (;;) {
		ssize_t n = read(fd, text + have, TEXT_SIZE - 1 - have);
		char *line = text, *nl;

		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		have += (size_t)n;
		text[have] = '\0';
		for (; (nl = strchr(line, '\n')); line = nl + 1) {
			char *at;
			uint64_t first;

			*nl = '\0';
			first = strtoull(line, &at, 16);
			if (at > line && *at == '-') {
				start = first;
				end = strtoull(at + 1, NULL, 16);
			} else if (!strncmp(line, "Referenced:", 11)) {
				fn(arg, start, end, strtoul(line + 11, NULL, 10));
			}
		}
		have -= (size_t)(line - text);
		memmove(text, line, have);
	}
}

static void take(void *arg, uint64_t start, uint64_t end, unsigned long kb)
{
	struct ref *s = arg;

	if (kb && start < end && reserve(s, &s->fresh, s->fresh.n + 1))
		at(&s->fresh)[s->fresh.n++] = (struct span){ start, end, granule_of(s, start, end) };
}

static int clear(const struct pml_clear_refs *c)
{
	int err = pml_clear_refs_write(c, '1');

	return err ? err : pml_clear_refs_write(c, '4');
}

/* While the process stands still. */
static int read_and_clear(void *arg)
{
	struct ref *s = arg;
	int fd = openat(s->p->dirfd, "smaps", O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	s->fresh.n = 0;
	err = pml_buf_reserve(s->p->pool, &s->p->text, TEXT_SIZE);
	if (!err)
		err = read_smaps(fd, s->p->text.p, take, s);
	close(fd);
	if (!err)
		add_fresh(s);
	return err ? err : clear(&s->clear_refs);
}

static void tell_uncovered(struct pml_proc *p, bool stood)
{
	const struct pml_area *a = pml_areas_at(&p->pieces);

	for (size_t i = 0; i < p->pieces.n; i++)
		if (a[i].flags & PML_AREA_HUGETLB)
			pml_proc_uncovered(p, a[i].start, a[i].end, PML_REASON_UNSUPPORTED);
	if (!stood && p->pieces.n)
		pml_proc_uncovered(p, a[0].start, a[p->pieces.n - 1].end, PML_REASON_RACE);
}

static int refresh(struct ref *s)
{
	bool stood;
	int err = pml_standstill(s->p, read_and_clear, s, &stood);

	if (err == -ECANCELED) {
		s->full = true;
		pml_proc_lost(s->p);
		err = 0;
	}
	if (err)
		return err;
	s->stale = false;
	tell_uncovered(s->p, stood);
	return 0;
}

static int ref_begin(struct pml_proc *p)
{
	struct ref *s = p->state;

	s->stale = true;
	return 0;
}

/* What of one area is pending.  False: there is no more room. */
static bool tell_area(struct ref *s, uint64_t start, uint64_t end, struct pml_sink *sink,
		      uint64_t *walk_end)
{
	uint64_t pos = start;
	struct pml_range r;

	while (pos < end) {
		uint64_t pages = pml_sink_pages(sink);
		struct span *from = NULL;

		if (s->full) {
			r = (struct pml_range){
				.start = pos, .end = end, .granule = s->p->page_size,
				.events = PML_REFERENCED, .known = PML_ASSUMED,
				.reason = PML_REASON_OVERFLOW,
			};
		} else {
			from = next_span(s, pos, end, &r);
			if (!from)
				break;
		}
		*walk_end = r.start;
		if (!pml_sink_room(sink) || !pages)
			return false;
		if (pages < (r.end - r.start) >> s->p->page_shift)
			r.end = r.start + (pages << s->p->page_shift);
		pml_sink_emit(sink, r.start, r.end, r.granule, r.events, r.known, r.reason);
		pos = r.end;
		if (from)
			take_out(s, from, r.start, r.end);
	}
	*walk_end = end;
	return true;
}

static int ref_drain(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
		     struct pml_sink *sink, uint64_t *walk_end)
{
	struct ref *s = p->state;
	const struct pml_area *a = pml_areas_at(&p->pieces);

	(void)events;
	*walk_end = start;
	if (s->stale) {
		int err = refresh(s);

		if (err)
			return err;
	}
	for (size_t i = 0; sink && i < p->pieces.n; i++) {
		uint64_t from = a[i].start > start ? a[i].start : start;
		uint64_t to = a[i].end < end ? a[i].end : end;

		if (from < to && !tell_area(s, from, to, sink, walk_end))
			return 0;
	}
	/* what is left is of mappings that are gone, or not watched */
	if (!start && end > UINT64_MAX >> 1) {
		s->pending.n = 0;
		s->full = false;
	}
	*walk_end = end;
	return 0;
}

static void ref_detach(struct pml_proc *p)
{
	struct ref *s = p->state;

	if (!s)
		return;
	pml_clear_refs_release(&s->clear_refs);
	pml_buf_free(&s->pending.buf);
	pml_buf_free(&s->fresh.buf);
	p->state = NULL;
	munmap(s, sizeof(*s));
}

static int say_why(struct pml_proc *p, int err)
{
	switch (err) {
	case -EBUSY:
		return pml_proc_fail(p, err, "referenced: another tracker uses this process's clear_refs; end that one, or choose another back-end");
	case -EMFILE:
	case -ENFILE:
		return pml_proc_fail(p, -EMFILE, "referenced: out of file descriptors; raise the limit (ulimit -n)");
	case -ESRCH:
		return pml_proc_fail(p, -ENOTSUP, "referenced: the process has no memory: it is a kernel thread, or a zombie; name another");
	case -ENOENT:
		return pml_proc_fail(p, -ESRCH, "referenced: the process has exited; check the pid");
	default:
		return pml_proc_fail(p, -EPERM, "referenced: clear_refs of the process cannot be opened; run as its user or as root");
	}
}

static int ref_attach(struct pml_proc *p)
{
	struct ref *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	int err;

	if (s == MAP_FAILED)
		return pml_proc_fail(p, -ENOMEM, "referenced: out of memory");
	s->p = p;
	p->state = s;
	s->clear_refs.fd = -1;
	err = pml_clear_refs_take(&s->clear_refs, p);
	if (!err)
		return 0;
	ref_detach(p);
	return say_why(p, err);
}

/* ---- is it here? ---- */

struct asked {
	uint64_t addr;
	unsigned long kb;
};

static void look_for(void *arg, uint64_t start, uint64_t end, unsigned long kb)
{
	struct asked *q = arg;

	if (start <= q->addr && q->addr < end)
		q->kb = kb;
}

static unsigned long referenced_kb(const volatile char *m, char *text)
{
	struct asked q = { .addr = (uintptr_t)m };
	int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read_smaps(fd, text, look_for, &q))
		return ~0ul;
	close(fd);
	return q.kb;
}

/* What does not work, as a number; 0: all does. */
static int try_scratch(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), len = 16 * page;
	volatile char *m = mmap(NULL, len + TEXT_SIZE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *text = (char *)m + len;
	struct pml_clear_refs c = { .fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC) };

	if (m == MAP_FAILED)
		return 1;
	/* the zero page would not count; and a mapping of its own */
	m[0] = 1;
	if (mprotect((void *)m, page, PROT_READ) || c.fd < 0)
		return 1;
	(void)m[0];
	if (clear(&c))
		return 1;
	if (referenced_kb(m, text))
		return 2;
	(void)m[0];
	return referenced_kb(m, text) ? 0 : 3;
}

/* In a child: the clear would take the bits of whoever uses them here. */
static int ref_probe(char *why, size_t size)
{
	static const char *const reasons[] = {
		"", "clear_refs is refused, or smaps cannot be read",
		"the kernel does not clear accessed bits",
		"the kernel does not tell what was accessed: smaps has no Referenced",
	};

	return pml_try_in_child(try_scratch, reasons, sizeof(reasons) / sizeof(*reasons), why, size);
}

const struct pml_backend pml_backend_referenced = {
	.name = "referenced",
	.source = "accessed bits per mapping, clear_refs and smaps",
	.events = PML_REFERENCED,
	.caps = PML_CAP_SELF | PML_CAP_EXTERNAL | PML_CAP_ATOMIC_REARM | PML_CAP_MAPS |
		PML_CAP_PARTIAL | PML_CAP_STOPS,
	.granularity = 0,
	.probe = ref_probe,
	.attach = ref_attach,
	.detach = ref_detach,
	.begin = ref_begin,
	.drain = ref_drain,
};
