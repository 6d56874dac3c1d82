/* SPDX-License-Identifier: MIT */
/*
 * soft-dirty: the kernel's own bit for pages that were written, read by
 * PAGEMAP_SCAN (Linux 6.7) or from /proc/PID/pagemap, and cleared for the whole
 * process by writing 4 to clear_refs.  Called through struct pml_backend.
 *
 * What decides its correctness:
 *
 * - Reading and clearing are two steps, and what is written in between is lost.
 *   So the process stands still meanwhile (standstill.h); the calling process's
 *   other threads too.  Where they cannot be stopped, the result says so: RACE.
 * - The clear is of the whole process, whatever range is collected.  So all that
 *   is watched is read each time, and what was not asked for yet is kept.
 * - The bit is in the page tables.  It goes when the page goes (MADV_DONTNEED;
 *   a shared page that is reclaimed).  So the pages with content are remembered,
 *   and taken as dirty when they are missing.  A page that was written for the
 *   first time and then dropped, in one epoch, leaves no trace: UNCOVERED, DROPS.
 * - What is mapped anew is soft-dirty as a whole, and so is an old mapping that
 *   it is joined with: the pages' own bits do not show then.  smaps tells (the
 *   flag "sd"), and what has content there is ASSUMED.
 * - The bit has no owner.  One page, the canary (canary.h), is dirtied at once after
 *   every clear; found clean, somebody else has cleared, and track was lost.  Where no
 *   page serves, all is told: UNCOVERED, UNGUARDED.  Another libpml tracker is kept out
 *   by a lock.
 * - A huge page has one bit for 2 MiB: that is its granule then.  When it is split,
 *   6.12 marks all of its pages; later, when the protection of some is changed and
 *   changed back, 7.2 marks those: what was huge once, and is not now, is ASSUMED.
 *   When the kernel makes one of small pages (khugepaged), it is marked as a whole:
 *   what is huge now, and was small at the last look, is ASSUMED too.
 * - KSM puts the page that it merges others into in their place without the bit.  No
 *   page says so of itself: where the kernel has pages of the process under its eye
 *   for that, or may have had and forgotten them since the last clear, UNCOVERED, MERGED.
 */
#define _GNU_SOURCE
#include "../backend.h"
#include "../broken.h"
#include "../canary.h"
#include "../clear_refs.h"
#include "../ksm.h"
#include "../look.h"
#include "../message.h"
#include "../standstill.h"
#include "../try_child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_SHIFT 21u
/* In the sets of content: part of a huge page. */
#define IS_HUGE PML_REFERENCED

struct soft {
	struct pml_proc *p;
	struct pml_clear_refs clear_refs;
	struct pml_canary canary;
	struct pml_look look;
	struct pml_set pending;		/* what was read, but not told yet */
	struct pml_set content[2];	/* the pages that had content, and have now */
	struct pml_set huge;		/* pages that were part of a huge page once */
	unsigned int which;
	bool stale;			/* this collect has not read yet */
	/* while reading */
	const struct pml_area *area;
	uint64_t asked_end;		/* of the mapping that was asked about last */
	bool is_new;			/* it is soft-dirty as a whole */
	bool had_huge;			/* by words: there may be huge pages */
	bool has_huge;
	bool merges;			/* at the last look: KSM knows the process */
	uint64_t passes;		/* of KSM's, before the last clear; */
	bool cleared;			/* if there was one */
	bool lost;			/* somebody else has cleared */
	bool unguarded;			/* or may have: there is no canary to tell */
	/* negative controls, only with PML_TEST_HOOKS */
	bool no_clear;
	bool blind;			/* to KSM */
};

static struct pml_set *had(struct soft *s)
{
	return &s->content[s->which];
}

static struct pml_set *has(struct soft *s)
{
	return &s->content[!s->which];
}

/* A set that cannot grow is full, and is looked at when it is told. */
static void add(struct pml_set *set, uint64_t start, uint64_t end, uint64_t granule,
		enum pml_reason reason)
{
	struct pml_range r = {
		.start = start, .end = end, .granule = granule, .events = PML_DIRTY,
		.known = reason ? PML_ASSUMED : PML_OBSERVED, .reason = (uint8_t)reason,
	};

	if (start < end)
		(void)pml_set_add(set, &r);
}

/* Remembers what has content, and what of it is in huge pages. */
static void add_content(struct soft *s, uint64_t start, uint64_t end, bool huge)
{
	struct pml_range r = {
		.start = start, .end = end, .granule = s->p->page_size,
		.events = PML_DIRTY | (huge ? IS_HUGE : 0),
	};

	(void)pml_set_add(has(s), &r);
}

/* Whether the block of a huge page's size at this address may have been one when
 * it was written. */
static bool was_huge(struct soft *s, uint64_t block)
{
	uint64_t pos = block, end = block + (1ull << HUGE_SHIFT);
	struct pml_range r;

	if (!s->look.no_scan)
		return pml_set_test(&s->huge, block, PML_PLANE_DIRTY);
	/* its word does not tell; only that a huge page has content in all of it */
	return (s->had_huge || s->has_huge) && s->area->kind != PML_AREA_PRIVATE_FILE &&
	       (!pml_set_next(had(s), &pos, end, &r) || (r.start == block && r.end >= end));
}

/* Whether there were small pages in the block at the last look. */
static bool was_small(struct soft *s, uint64_t block)
{
	uint64_t pos = block;
	struct pml_range r;

	return pml_set_next(had(s), &pos, block + (1ull << HUGE_SHIFT), &r) &&
	       !(r.events & IS_HUGE);
}

/* Observed, at its granule. */
static void add_observed(struct soft *s, uint64_t start, uint64_t end, bool huge)
{
	const uint64_t size = 1ull << HUGE_SHIFT;

	while (start < end) {
		uint64_t block = start & ~(size - 1);
		uint64_t stop = block + size < end ? block + size : end;
		bool big = huge || was_huge(s, block);
		bool sure = s->look.no_scan || !big || (huge && !was_small(s, block));

		add(&s->pending, start, stop, big ? size : s->p->page_size,
		    sure ? PML_REASON_NONE : PML_REASON_FIRST_SIGHT);
		start = stop;
	}
}

static int take(void *arg, uint64_t start, uint64_t end, unsigned int seen)
{
	struct soft *s = arg;
	const struct pml_area *a = s->area;
	bool dirty = seen & PML_SEEN_SOFT_DIRTY;
	enum pml_reason reason = PML_REASON_NONE;

	if (!pml_seen_content(a->kind, seen))
		return 0;
	add_content(s, start, end, seen & PML_SEEN_HUGE);
	if (seen & PML_SEEN_HUGE)
		add(&s->huge, start, end, s->p->page_size, PML_REASON_NONE);
	if (dirty && !s->is_new) {
		add_observed(s, start, end, seen & PML_SEEN_HUGE);
		return 0;
	}
	if (dirty || (a->flags & PML_AREA_FRESH))
		reason = PML_REASON_FIRST_SIGHT;
	else if (s->lost)
		reason = PML_REASON_RESTART;
	else if ((seen & PML_SEEN_UNSURE) && a->kind == PML_AREA_ANON)
		/* dropped, and only read since then? */
		reason = PML_REASON_DROPPED;
	if (reason)
		add(&s->pending, start, end, s->p->page_size, reason);
	return 0;
}

/* Whether smaps says of the mapping at an address that it is soft-dirty itself.
 * Reading smaps is slow: only asked of mappings of which no page is clean. */
static bool smaps_says_new(struct pml_proc *p, uint64_t addr)
{
	int fd = openat(p->dirfd, "smaps", O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	bool here = false, is_new = true;
	ssize_t n = 0;

	if (fd < 0 || pml_buf_reserve(p->pool, &p->text, 65536))
		return true;
	while (have < 65535 && (n = read(fd, (char *)p->text.p + have, 65535 - have)) > 0) {
		char *line = p->text.p, *nl;

		have += (size_t)n;
		line[have] = '\0';
		for (; (nl = strchr(line, '\n')); line = nl + 1) {
			char *dash;
			uint64_t start;

			*nl = '\0';
			start = strtoull(line, &dash, 16);
			if (*dash == '-' && dash > line) {
				here = start <= addr && strtoull(dash + 1, NULL, 16) > addr;
			} else if (here && !strncmp(line, "VmFlags:", 8)) {
				is_new = strstr(line, " sd") != NULL;
				goto out;
			}
		}
		have -= (size_t)(line - (char *)p->text.p);
		memmove(p->text.p, line, have);
	}
out:
	close(fd);
	return is_new;
}

/* Pieces are parts of mappings: the question is for the whole, and asked once. */
static int ask_whether_new(struct soft *s, const struct pml_area *piece)
{
	const struct pml_area *a = pml_areas_at(&s->p->now);
	int err = 0;

	if (piece->start < s->asked_end)
		return 0;
	for (size_t i = 0; i < s->p->now.n && !err; i++) {
		if (a[i].end <= piece->start)
			continue;
		s->asked_end = a[i].end;
		err = pml_look_all_dirty(&s->look, s->p, a[i].start, a[i].end, &s->is_new);
		if (!err && s->is_new)
			s->is_new = smaps_says_new(s->p, a[i].start);
		break;
	}
	return err;
}

static int read_area(struct soft *s, const struct pml_area *a)
{
	int err = ask_whether_new(s, a);

	if (err)
		return err;
	s->area = a;
	if (a->flags & PML_AREA_HUGETLB)
		return 0;
	/* of a file that is mapped anew, or was replaced, all is new */
	if ((a->flags & PML_AREA_FRESH) && a->kind != PML_AREA_ANON)
		add(&s->pending, a->start, a->end, s->p->page_size, PML_REASON_FIRST_SIGHT);
	return pml_look(&s->look, s->p, a->start, a->end, take, s);
}

/* Pages that had content and have none now.  Those of mappings that are gone
 * stay remembered: what is mapped there next differs from them. */
static void compare_content(struct soft *s)
{
	const struct pml_area *a = pml_areas_at(&s->p->pieces);
	struct pml_range r;
	uint64_t pos = 0;

	while (pml_set_next(has(s), &pos, UINT64_MAX, &r))
		pml_set_remove(had(s), r.start, r.end, PML_DIRTY | IS_HUGE);
	for (size_t i = 0; i < s->p->pieces.n; i++) {
		pos = a[i].start;
		while (pml_set_next(had(s), &pos, a[i].end, &r))
			add(&s->pending, r.start, r.end, s->p->page_size, PML_REASON_DROPPED);
		pml_set_remove(had(s), a[i].start, a[i].end, PML_DIRTY | IS_HUGE);
	}
	pos = 0;
	while (pml_set_next(had(s), &pos, UINT64_MAX, &r))
		add(has(s), r.start, r.end, s->p->page_size, PML_REASON_NONE);
	if (had(s)->full)
		has(s)->full = true;
	if (has(s)->full)
		s->pending.full = true;
	pml_set_clear(had(s));
	s->which = !s->which;
}

/* It is always dirty, and not by its process. */
static void mark_canary(struct soft *s)
{
	const uint64_t start = s->canary.addr, end = start + s->p->page_size;

	if (!s->canary.armed)
		return;
	pml_set_remove(&s->pending, start, end, PML_DIRTY);
	if (!s->canary.own)
		add(&s->pending, start, end, s->p->page_size, PML_REASON_UNARMED);
}

/* ---- read and clear ---- */

/* Whether the process has any huge page, where its pages' words do not tell. */
static bool has_huge(const struct pml_proc *p)
{
	static const char *const names[] = { "AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:" };
	char text[4096];
	int fd = openat(p->dirfd, "smaps_rollup", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return true;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return true;
	text[n] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *at = strstr(text, names[i]);

		if (at && strtoul(at + strlen(names[i]), NULL, 10))
			return true;
	}
	return false;
}

/* While the process stands still. */
static int read_and_clear(void *arg)
{
	struct soft *s = arg;
	const struct pml_area *a = pml_areas_at(&s->p->pieces);
	enum pml_canary_state canary = pml_canary_look(&s->canary, &s->look, s->p);
	int err = 0;

	s->lost = canary == PML_CANARY_CLEAN;
	s->unguarded = s->cleared && canary == PML_CANARY_NONE;
	s->asked_end = 0;
	s->has_huge = s->look.no_scan && has_huge(s->p);
	for (size_t i = 0; i < s->p->pieces.n && !err; i++)
		err = read_area(s, a + i);
	compare_content(s);
	s->had_huge = s->has_huge;
	mark_canary(s);
	if (!err && !s->no_clear)
		err = pml_clear_refs_write(&s->clear_refs, '4');
	if (!err)
		pml_canary_arm(&s->canary, &s->look, s->p);
	return err;
}

static void tell_uncovered(const struct soft *s, bool stood)
{
	struct pml_proc *p = s->p;
	const struct pml_area *a = pml_areas_at(&p->pieces);

	for (size_t i = 0; i < p->pieces.n; i++)
		if (a[i].flags & PML_AREA_HUGETLB)
			pml_proc_uncovered(p, a[i].start, a[i].end, PML_REASON_UNSUPPORTED);
	/* one word for all: shared memory is told of in any case */
	if (p->pieces.n)
		pml_proc_uncovered(p, a[0].start, a[p->pieces.n - 1].end, PML_REASON_DROPS);
	if (!stood && p->pieces.n)
		pml_proc_uncovered(p, a[0].start, a[p->pieces.n - 1].end, PML_REASON_RACE);
	if (s->unguarded && p->pieces.n)
		pml_proc_uncovered(p, a[0].start, a[p->pieces.n - 1].end, PML_REASON_UNGUARDED);
}

/* Whether KSM may have forgotten, since the last clear, what it enlisted since. */
static bool may_have_forgotten(const struct soft *s)
{
	uint64_t passes = pml_ksm_passes(PML_KSM_DIR);

	return passes != s->passes || passes == PML_KSM_UNKNOWN;
}

/*
 * Asked after the pages were read: KSM enlists a page before it merges it.  What it
 * knew at the last look, but gave up since, may have been merged in this epoch too; and
 * so may what it has enlisted and forgotten within the epoch.
 */
static void tell_merges(struct soft *s, uint64_t passes)
{
	const struct pml_area *a = pml_areas_at(&s->p->pieces);
	bool merges = !s->blind && pml_ksm_knows(s->p->dirfd, PML_KSM_DIR);
	bool forgot = !s->blind && s->cleared && may_have_forgotten(s);

	if ((merges || s->merges || forgot) && s->p->pieces.n)
		pml_proc_uncovered(s->p, a[0].start, a[s->p->pieces.n - 1].end, PML_REASON_MERGED);
	s->merges = merges;
	s->passes = passes;
	s->cleared = true;
}

static int refresh(struct soft *s)
{
	uint64_t passes = pml_ksm_passes(PML_KSM_DIR);
	bool stood;
	int err = pml_standstill(s->p, read_and_clear, s, &stood);

	if (err == -ECANCELED) {
		/* nobody knows how far it got */
		s->lost = s->pending.full = true;
		err = 0;
	}
	if (err)
		return err;
	s->stale = false;
	if (s->lost)
		pml_proc_lost(s->p);
	tell_uncovered(s, stood);
	tell_merges(s, passes);
	return 0;
}

static int soft_begin(struct pml_proc *p)
{
	struct soft *s = p->state;

	s->stale = true;
	return 0;
}

static void soft_end(struct pml_proc *p)
{
	struct soft *s = p->state;

	s->stale = false;
}

/* ---- telling ---- */

/* Tells of one area what is pending, as far as room and budget go. */
static void tell_area(struct soft *s, uint64_t start, uint64_t end, struct pml_sink *sink,
		      uint64_t *walk_end)
{
	struct pml_range r;
	uint64_t pos = start;

	*walk_end = start;
	for (;;) {
		uint64_t pages = pml_sink_pages(sink);

		if (s->pending.full) {
			r = (struct pml_range){
				.start = pos, .end = end, .granule = s->p->page_size,
				.events = PML_DIRTY, .known = PML_ASSUMED,
				.reason = PML_REASON_OVERFLOW,
			};
			if (pos >= end)
				break;
			pos = end;
		} else if (!pml_set_next(&s->pending, &pos, end, &r)) {
			break;
		}
		if (!pml_sink_room(sink) || !pages) {
			*walk_end = r.start;
			return;
		}
		if (pages < (r.end - r.start) >> s->p->page_shift)
			pos = r.end = r.start + (pages << s->p->page_shift);
		pml_sink_emit(sink, r.start, r.end, r.granule, r.events, r.known, r.reason);
		if (!s->pending.full)
			pml_set_remove(&s->pending, r.start, r.end, PML_DIRTY);
		*walk_end = r.end;
	}
	*walk_end = end;
}

static int soft_drain(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
		      struct pml_sink *sink, uint64_t *walk_end)
{
	struct soft *s = p->state;
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

		if (from >= to)
			continue;
		tell_area(s, from, to, sink, walk_end);
		if (*walk_end < to)
			return 0;
	}
	/* what is left is of mappings that are gone, or not watched any more */
	if (!start && end > UINT64_MAX >> 1)
		pml_set_clear(&s->pending);
	*walk_end = end;
	return 0;
}

/* ---- counting, without the tracker's tables ---- */

static int soft_count(int pagemap, const struct pml_area *a, size_t n, uint64_t max, uint64_t *pages)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t words[512];

	*pages = 0;
	for (size_t i = 0; i < n && *pages < max; i++) {
		uint64_t at = a[i].start;

		if (a[i].flags & (PML_AREA_GHOST | PML_AREA_HUGETLB))
			continue;
		while (at < a[i].end && *pages < max) {
			uint64_t want = (a[i].end - at) / page;
			ssize_t got = pread(pagemap, words, (want < 512 ? want : 512) * 8,
					    (off_t)(at / page * 8));

			if (got < 8)
				return got < 0 ? -errno : 0;
			for (uint64_t k = 0; k < (uint64_t)got / 8; k++)
				*pages += (words[k] >> 55 & 1) && (words[k] >> 62);
			at += (uint64_t)got / 8 * page;
		}
	}
	return 0;
}

/* ---- coming and going ---- */

static void soft_detach(struct pml_proc *p)
{
	struct soft *s = p->state;

	if (!s)
		return;
	pml_clear_refs_release(&s->clear_refs);
	pml_canary_close(&s->canary);
	pml_look_close(&s->look);
	pml_set_free(&s->pending);
	pml_set_free(&s->content[0]);
	pml_set_free(&s->content[1]);
	pml_set_free(&s->huge);
	p->state = NULL;
	munmap(s, sizeof(*s));
}

static int open_files(struct pml_proc *p, struct soft *s)
{
	int err = pml_clear_refs_take(&s->clear_refs, p);

	if (err)
		return err;
	err = pml_canary_open(&s->canary, p);
	if (err)
		return err;
	return pml_look_open(&s->look, p);
}

static int say_why(struct pml_proc *p, int err)
{
	switch (err) {
	case -EBUSY:
		return pml_proc_fail(p, err, "soft-dirty: another tracker has this process's bits, which have only one clear for all; end that one, or choose another back-end");
	case -EMFILE:
	case -ENFILE:
		return pml_proc_fail(p, -EMFILE, "soft-dirty: out of file descriptors; raise the limit (ulimit -n)");
	case -ENOMEM:
		return pml_proc_fail(p, err, "soft-dirty: out of memory: the tables do not fit into max_memory; raise it");
	case -ESRCH:
		return pml_proc_fail(p, -ENOTSUP, "soft-dirty: the process has no memory: it is a kernel thread, or a zombie; name another");
	case -ENOENT:
		return pml_proc_fail(p, -ESRCH, "soft-dirty: the process has exited; check the pid");
	default:
		return pml_proc_fail(p, -EPERM, "soft-dirty: clear_refs, mem or pagemap of the process cannot be opened; ptrace rights are needed");
	}
}

static int soft_attach(struct pml_proc *p)
{
	struct soft *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);
	int err;

	if (s == MAP_FAILED)
		return pml_proc_fail(p, -ENOMEM, "soft-dirty: out of memory");
	s->p = p;
	s->clear_refs.fd = s->canary.mem = s->look.pagemap = -1;
	p->state = s;
	pml_set_init(&s->pending, p->pool, p->page_shift);
	pml_set_init(&s->content[0], p->pool, p->page_shift);
	pml_set_init(&s->content[1], p->pool, p->page_shift);
	pml_set_init(&s->huge, p->pool, p->page_shift);
	s->no_clear = pml_broken("no-rearm");
	s->blind = pml_broken("no-ksm");
	err = open_files(p, s);
	if (err) {
		soft_detach(p);
		return say_why(p, err);
	}
	return 0;
}

/* ---- is it here? ---- */

static bool is_dirty(int pagemap, const char *m, size_t page)
{
	uint64_t word = 0;

	return pread(pagemap, &word, sizeof(word), (off_t)((uintptr_t)m / page * 8)) == sizeof(word) &&
	       (word >> 55 & 1);
}

/* What does not work, as a number; 0: all does. */
static int try_scratch(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	volatile char *m = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int clear_refs = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (m == MAP_FAILED || pagemap < 0 || clear_refs < 0)
		return 1;
	madvise((void *)m, 2 * page, MADV_NOHUGEPAGE);
	m[0] = 1;
	m[page] = 1;
	if (write(clear_refs, "4", 1) != 1)
		return 2;
	if (is_dirty(pagemap, (const char *)m, page))
		return 3;
	m[0] = 2;
	if (!is_dirty(pagemap, (const char *)m, page))
		return 4;
	return is_dirty(pagemap, (const char *)m + page, page) ? 3 : 0;
}

/* In a child: the clear would take the bits of whoever uses them here. */
static int soft_probe(char *why, size_t size)
{
	static const char *const reasons[] = {
		"", "/proc/self/pagemap or clear_refs cannot be opened: is /proc mounted?",
		"clear_refs is refused",
		"the kernel does not clear soft-dirty bits: clear_refs is taken and has no effect",
		"the kernel has no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY): a written page is not marked",
	};

	return pml_try_in_child(try_scratch, reasons, sizeof(reasons) / sizeof(*reasons), why, size);
}

const struct pml_backend pml_backend_soft_dirty = {
	.name = "soft-dirty",
	.source = "the kernel's soft-dirty bits, clear_refs",
	.events = PML_DIRTY,
	.caps = PML_CAP_SELF | PML_CAP_EXTERNAL | PML_CAP_ATOMIC_REARM | PML_CAP_MAPS |
		PML_CAP_PARTIAL | PML_CAP_STOPS,
	.granularity = 1,
	.probe = soft_probe,
	.attach = soft_attach,
	.detach = soft_detach,
	.begin = soft_begin,
	.end = soft_end,
	.drain = soft_drain,
	.count = soft_count,
};
