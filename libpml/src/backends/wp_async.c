/* SPDX-License-Identifier: MIT */
/*
 * wp-async: userfaultfd in asynchronous write-protect mode, read and re-armed
 * in one step by PAGEMAP_SCAN (Linux 6.7).  Called through struct pml_backend.
 *
 * What decides its correctness, each found by trying the kernel:
 *
 * - Where a page table exists and every page of it is armed, with markers for
 *   pages that are not there, one scan for exactly WRITTEN is exact and twice
 *   as fast as any other: reads are not reported, and a page that the program
 *   dropped (MADV_DONTNEED) is, because its marker went with it.  Such
 *   segments (2 MiB) are remembered.
 * - Elsewhere arming would make page tables for memory that nobody uses.  So
 *   the holes of private anonymous memory are only looked at, for pages with
 *   content; a segment in which some appear is converted.  A mapping of 64 GB
 *   with 1 GB in it costs what 1 GB costs.
 * - Files and shared memory are armed whole: under other masks the kernel
 *   drops what was written and then zapped.  A private copy of a file's page
 *   that is dropped leaves its marker, though its content is the file's again:
 *   private copies are remembered, and missed when they are gone.
 * - EPERM: the mapping is not registered, so it is new, whatever its address.
 */
#define _GNU_SOURCE
#include "../adaptive.h"
#include "../backend.h"
#include "../broken.h"
#include "../hashes.h"
#include "../inject.h"
#include "../kernel_abi.h"
#include "../message.h"
#include "../segments.h"
#include "../uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VEC_LEN 4096u
/* How many segments are converted at once: their worst case fits a vector. */
#define CONVERT_SEGMENTS 8u
#define CONVERT_PAGES (CONVERT_SEGMENTS * PML_SEGMENT_PAGES)

struct wp {
	struct pml_buf self;	/* this struct */
	int32_t owner;		/* getpid() of who attached */
	int uffd;
	int pagemap;
#ifdef PML_TEST_HOOKS
	bool no_rearm;		/* negative controls */
	bool arm_early;
	bool keep_armed;
#endif
	struct pml_segments exact;
	struct pml_set copies;	/* private copies of file pages */
	struct pml_set gone;	/* of them, those missed in this drain */
	struct pml_adaptive adaptive;
	struct pml_hashes hashes;	/* of blocks left unarmed; with verify */
	struct pml_buf vec;	/* 2 * VEC_LEN regions */
};

/* What a scan looks for. */
struct query {
	uint64_t flags;
	uint64_t inverted;
	uint64_t mask;
	uint64_t anyof;
};

/* Written since armed, in segments of which every page is armed. */
static const struct query find_written = { .mask = PML_PAGE_WRITTEN };
/* Armed, and there. */
static const struct query find_armed = {
	.inverted = PML_PAGE_WRITTEN, .mask = PML_PAGE_WRITTEN | PML_PAGE_PRESENT,
};
/* Pages with content of their own; markers look like swapped pages. */
static const struct query find_content = {
	.inverted = PML_PAGE_PFNZERO, .mask = PML_PAGE_PFNZERO,
	.anyof = PML_PAGE_PRESENT | PML_PAGE_SWAPPED,
};
/* The same, but surely there. */
static const struct query find_present = {
	.inverted = PML_PAGE_PFNZERO, .mask = PML_PAGE_PFNZERO | PML_PAGE_PRESENT,
};
/* Private copies of file pages. */
static const struct query find_copies = {
	.inverted = PML_PAGE_PFNZERO | PML_PAGE_FILE,
	.mask = PML_PAGE_PFNZERO | PML_PAGE_FILE | PML_PAGE_PRESENT,
};

static struct pml_page_region *vec_at(const struct wp *w, unsigned int which)
{
	return (struct pml_page_region *)w->vec.p + (size_t)which * VEC_LEN;
}

/*
 * Where a scan got to.  The kernel's own walk_end is where its inner buffer of
 * 512 regions was full last, even if it went on from there and reached the end:
 * unless the vector or the budget is used up, it did.
 */
static uint64_t walked_to(const struct pml_scan_arg *a, long n, uint64_t end)
{
	const struct pml_page_region *v = (const struct pml_page_region *)(uintptr_t)a->vec;
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t pages = 0;

	for (long i = 0; a->max_pages && i < n; i++)
		pages += (v[i].end - v[i].start) / page;
	if ((uint64_t)n < a->vec_len && (!a->max_pages || pages < a->max_pages))
		return end;
	return n && v[n - 1].end > a->walk_end ? v[n - 1].end : a->walk_end;
}

/* One PAGEMAP_SCAN.  The number of regions, or -errno. */
static long scan(struct pml_proc *p, const struct query *q, bool arm, uint64_t start, uint64_t end,
		 unsigned int which, size_t len, uint64_t max_pages, uint64_t *walk_end)
{
	const struct wp *w = p->state;
	struct pml_scan_arg a = {
		.size = sizeof(a), .start = start, .end = end,
		.flags = PML_SCAN_CHECK_WPASYNC | (arm ? PML_SCAN_WP_MATCHING : 0),
		.vec = (uintptr_t)vec_at(w, which), .vec_len = len < VEC_LEN ? len : VEC_LEN,
		.max_pages = max_pages, .category_inverted = q->inverted,
		.category_mask = q->mask, .category_anyof_mask = q->anyof,
		.return_mask = q->mask == PML_PAGE_WRITTEN ? PML_PAGE_WRITTEN : 0,
	};
	long n;

#ifdef PML_TEST_HOOKS
	if (w->no_rearm)
		a.flags &= ~(uint64_t)PML_SCAN_WP_MATCHING;
#endif
	do {
		n = ioctl(w->pagemap, PML_PAGEMAP_SCAN, &a);
	} while (n < 0 && errno == EINTR);
	p->cost.scans++;
	if (n < 0)
		return -errno;
	*walk_end = walked_to(&a, n, end);
	p->cost.scanned_bytes += *walk_end - start;
	return n;
}

/* Arms all of [start, end) and forgets what was written in it. */
static int arm_all(struct pml_proc *p, uint64_t start, uint64_t end)
{
	while (start < end) {
		long n = scan(p, &find_written, true, start, end, 0, VEC_LEN, 0, &start);

		if (n < 0)
			return (int)n;
	}
	return 0;
}

static int set_protection(struct pml_proc *p, uint64_t start, uint64_t end, uint64_t mode)
{
	const struct wp *w = p->state;
	struct uffdio_writeprotect protect = {
		.range = { .start = start, .len = end - start }, .mode = mode,
	};

	while (ioctl(w->uffd, UFFDIO_WRITEPROTECT, &protect)) {
		if (errno == EAGAIN || errno == EINTR)
			continue;
		return errno == ENOENT ? -EPERM : -errno;
	}
	return 0;
}

/*
 * A mapping that has lost its registration keeps its protection bits, also of pages
 * that were written since and are writable: to a scan they look armed, and it leaves
 * them so.  This arms them whatever they look like.
 */
static int protect_all(struct pml_proc *p, uint64_t start, uint64_t end)
{
	return set_protection(p, start, end, UFFDIO_WRITEPROTECT_MODE_WP);
}

/*
 * The same, where we have armed nothing: the bits are those of a tracker before us, whose
 * end tidied up only what was registered with it still.  Without them these pages are
 * what they are, and get told and armed as any others.
 */
static int forget_armed(struct pml_proc *p, uint64_t start, uint64_t end)
{
	const struct wp *w = p->state;
	const struct pml_page_region *v = vec_at(w, 0);
	int err = 0;

#ifdef PML_TEST_HOOKS
	if (w->keep_armed)
		return 0;
#endif
	while (start < end && !err) {
		long n = scan(p, &find_armed, false, start, end, 0, VEC_LEN, 0, &start);

		if (n < 0)
			return (int)n;
		for (long i = 0; i < n && !err; i++)
			err = set_protection(p, v[i].start, v[i].end, 0);
	}
	return err;
}

static uint64_t granule(const struct pml_proc *p, const struct pml_area *a)
{
	return a->granule_shift ? 1ull << a->granule_shift : p->page_size;
}

/* How far one may report at once within the budget; a page at least. */
static uint64_t within_budget(const struct pml_proc *p, const struct pml_sink *s, uint64_t start,
			      uint64_t end)
{
	uint64_t pages = pml_sink_pages(s);

	if (pages >= (end - start) >> p->page_shift)
		return end;
	return start + (pages << p->page_shift);
}

/* Everything in [start, end) is taken as dirty, and armed. */
static int assume(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
		  enum pml_reason reason, struct pml_sink *s, uint64_t *walk_end)
{
	int err;

	*walk_end = start;
	if (s) {
		end = within_budget(p, s, start, end);
		if (!pml_sink_room(s) || start == end)
			return 0;
	}
	err = a->flags & PML_AREA_REPLACED ? protect_all(p, start, end) :
					     forget_armed(p, start, end);
	if (!err)
		err = arm_all(p, start, end);
	if (err)
		return err;
	if (s)
		pml_sink_emit(s, start, end, granule(p, a), PML_DIRTY, PML_ASSUMED, reason);
	*walk_end = end;
	return 0;
}

/* ---- private copies of file pages ---- */

/* Those of read-only mappings are not remembered: a program that drops its own
 * relocations does not run on. */
static bool keeps_copies(const struct pml_area *a)
{
	return a->kind == PML_AREA_PRIVATE_FILE && (a->flags & PML_AREA_WRITE) &&
	       !(a->flags & PML_AREA_HUGETLB);
}

/* Remembers the private copies in [start, end), and, when it knew some that
 * are not there any more, puts those into w->gone. */
static int update_copies(struct pml_proc *p, uint64_t start, uint64_t end, bool compare)
{
	struct wp *w = p->state;
	struct pml_range page = { .events = PML_DIRTY };
	uint64_t at = start, pos = start;
	int err = 0;

	pml_set_clear(&w->gone);
	while (compare && !err && pml_set_next(&w->copies, &pos, end, &page))
		err = pml_set_add(&w->gone, &page);
	/* swapped ones cannot be told from dropped ones: they stay known */
	if (!p->swap_bytes)
		pml_set_remove(&w->copies, start, end, PML_DIRTY | PML_REFERENCED);
	while (at < end && !err) {
		const struct pml_page_region *v = vec_at(w, 0);
		long n = scan(p, &find_copies, false, at, end, 0, VEC_LEN, 0, &at);

		if (n < 0)
			return (int)n;
		for (long i = 0; i < n && !err; i++) {
			page.start = v[i].start;
			page.end = v[i].end;
			page.known = PML_OBSERVED;
			err = pml_set_add(&w->copies, &page);
			if (compare)
				pml_set_remove(&w->gone, page.start, page.end, PML_DIRTY | PML_REFERENCED);
		}
	}
	return err;
}

/* Reports the missing copies before `end`, in order.  Those that were never
 * seen, but reported as written, may not have been copies. */
static void emit_gone(struct pml_proc *p, struct pml_sink *s, uint64_t start, uint64_t end)
{
	struct wp *w = p->state;
	struct pml_range r;

	while (pml_set_next(&w->gone, &start, end, &r)) {
		bool sure = r.known == PML_OBSERVED && !p->swap_bytes;

		pml_sink_emit(s, r.start, r.end, p->page_size, PML_DIRTY,
			      sure ? PML_OBSERVED : PML_ASSUMED,
			      sure ? PML_REASON_NONE : PML_REASON_DROPPED);
	}
}

static void remember_copies(struct wp *w, uint64_t start, uint64_t end)
{
	struct pml_range r = {
		.start = start, .end = end, .events = PML_DIRTY, .known = PML_ASSUMED,
		.reason = PML_REASON_DROPPED,
	};

	/* a set that cannot grow is full: every page counts as a copy then */
	(void)pml_set_add(&w->copies, &r);
}

/* ---- scanning what is armed page by page ---- */

#ifdef PML_TEST_HOOKS
/* A negative control: one page in eight is armed again before anybody looked
 * whether it was written. */
static void arm_too_early(struct pml_proc *p, uint64_t start, uint64_t end)
{
	const struct wp *w = p->state;
	uint64_t step = 8ull << p->page_shift;

	for (uint64_t at = (start + step - 1) & ~(step - 1); w->arm_early && at < end; at += step)
		(void)arm_all(p, at, at + p->page_size);
}
#endif

/* Writes that were seen, each at the cost of a fault. */
static void emit_written(struct pml_proc *p, const struct pml_area *a, struct pml_sink *s,
			 const struct pml_page_region *v, size_t n, enum pml_arming arming)
{
	bool again = arming == PML_ARM_AGAIN;
	uint64_t bytes = pml_sink_emit_regions(s, v, n, granule(p, a), PML_DIRTY,
					       again ? PML_ASSUMED : PML_OBSERVED,
					       again ? PML_REASON_UNARMED : PML_REASON_NONE);

	p->cost.faults += bytes >> (a->granule_shift ? a->granule_shift : p->page_shift);
}

static void emit_region(struct pml_proc *p, const struct pml_area *a, struct pml_sink *s,
			const struct pml_page_region *v, enum pml_arming arming)
{
	struct wp *w = p->state;

	emit_written(p, a, s, v, 1, arming);
	if (p->adaptive && arming == PML_ARM_NORMAL)
		pml_adaptive_note(&w->adaptive, v->start, v->end);
}

static int scan_run(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
		    enum pml_arming arming, struct pml_sink *s, uint64_t *walk_end)
{
	struct wp *w = p->state;
	bool copies = keeps_copies(a) && !pml_set_empty(&w->gone);

	*walk_end = start;
	while (*walk_end < end) {
		uint64_t from = *walk_end, stop = end, pages = pml_sink_pages(s);
		size_t room = pml_sink_room(s);
		const struct pml_page_region *v = vec_at(w, 0);
		long n;

		if (!room || !pages)
			return 0;
		/* missing copies come on top of what is found: by pages, all fits */
		if (copies && room < (end - from) >> p->page_shift)
			stop = from + ((uint64_t)room << p->page_shift);
#ifdef PML_TEST_HOOKS
		arm_too_early(p, from, end);
#endif
		n = scan(p, &find_written, true, from, stop, 0, room,
			 pages == UINT64_MAX ? 0 : pages, walk_end);
		if (n < 0)
			return (int)n;
		/* all at once, unless each has something to be remembered */
		if (!keeps_copies(a) && !p->adaptive) {
			emit_written(p, a, s, v, (size_t)n, arming);
			continue;
		}
		for (long i = 0; i < n; i++) {
			if (copies) {
				pml_set_remove(&w->gone, v[i].start, v[i].end, PML_DIRTY | PML_REFERENCED);
				emit_gone(p, s, from, v[i].start);
				from = v[i].end;
			}
			emit_region(p, a, s, v + i, arming);
			if (keeps_copies(a))
				remember_copies(w, v[i].start, v[i].end);
		}
		if (copies)
			emit_gone(p, s, from, *walk_end);
	}
	return 0;
}

/* ---- blocks that are left unarmed ---- */

struct changed {
	struct pml_proc *p;
	const struct pml_area *a;
	struct pml_sink *s;
};

static int emit_changed(void *arg, uint64_t start, uint64_t end, enum pml_hash_news news)
{
	const struct changed *c = arg;

	(void)news;
	pml_sink_emit(c->s, start, end, granule(c->p, c->a), PML_DIRTY, PML_OBSERVED,
		      PML_REASON_NONE);
	return 0;
}

static void emit_unarmed(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
			 struct pml_sink *s)
{
	pml_sink_emit(s, start, end, granule(p, a), PML_DIRTY, PML_ASSUMED, PML_REASON_UNARMED);
}

/*
 * One block, by the hashes of its pages: what differs has changed.  What does
 * not is unchanged by its hash only, which is told, unless the target stands
 * still.  The first time there is nothing to compare with.
 */
static int verify_block(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
			struct pml_sink *s)
{
	struct wp *w = p->state;
	struct changed c = { .p = p, .a = a, .s = s };
	bool known = pml_hashes_known(&w->hashes, p, start, end);
	uint64_t walk_end;
	int err = pml_hashes_walk(&w->hashes, p, a, start, end, known ? emit_changed : NULL, &c,
				  NULL, &walk_end);

	if (err)
		return err;
	if (!known)
		emit_unarmed(p, a, start, end, s);
	else if (!p->stopped)
		pml_proc_uncovered(p, start, end, PML_REASON_CLEAN_BY_HASH);
	return 0;
}

/* A run of blocks that are left unarmed. */
static int tell_unarmed(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
			struct pml_sink *s, uint64_t *walk_end)
{
	uint64_t block = (uint64_t)PML_BLOCK_PAGES << p->page_shift;

	*walk_end = start;
	if (!p->verify) {
		end = within_budget(p, s, start, end);
		if (pml_sink_room(s) && start < end) {
			emit_unarmed(p, a, start, end, s);
			p->unarmed_bytes += end - start;
			*walk_end = end;
		}
		return 0;
	}
	while (*walk_end < end) {
		uint64_t from = *walk_end, stop = (from & ~(block - 1)) + block;
		int err;

		if (stop > end)
			stop = end;
		if (pml_sink_room(s) < PML_BLOCK_PAGES || !pml_sink_pages(s))
			return 0;
		err = verify_block(p, a, from, stop, s);
		if (err)
			return err;
		p->unarmed_bytes += stop - from;
		*walk_end = stop;
	}
	return 0;
}

/* A run of armed pages, without the blocks that are better left alone. */
static int scan_exact(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
		      struct pml_sink *s, uint64_t *walk_end)
{
	struct wp *w = p->state;

	*walk_end = start;
	while (*walk_end < end) {
		enum pml_arming arming = PML_ARM_NORMAL;
		uint64_t from = *walk_end, run_end = end;
		int err;

		if (p->adaptive)
			arming = pml_adaptive_run(&w->adaptive, from, end, &run_end);
		if (arming == PML_ARM_LEFT) {
			err = tell_unarmed(p, a, from, run_end, s, walk_end);
		} else {
			if (arming == PML_ARM_AGAIN && p->verify)
				pml_hashes_forget(&w->hashes, p, from, run_end);
			err = scan_run(p, a, from, run_end, arming, s, walk_end);
		}
		if (err || *walk_end < run_end)
			return err;
	}
	return 0;
}

/* ---- segments of anonymous memory that get armed page by page ---- */

/* A bit per page of the segments being converted. */
struct content {
	uint64_t base;
	uint64_t bits[CONVERT_PAGES / 64];
};

static void add_content(const struct pml_proc *p, struct content *c,
			const struct pml_page_region *v, long n)
{
	for (long i = 0; i < n; i++) {
		uint64_t page = (v[i].start - c->base) >> p->page_shift;
		uint64_t end = (v[i].end - c->base) >> p->page_shift;

		for (; page < end; page++)
			c->bits[page / 64] |= 1ull << (page % 64);
	}
}

static bool has_content(const struct pml_proc *p, const struct content *c, uint64_t addr)
{
	uint64_t page = (addr - c->base) >> p->page_shift;

	return c->bits[page / 64] >> (page % 64) & 1;
}

/* Looks for pages with content in [start, end); both fit a vector. */
static int look(struct pml_proc *p, const struct query *q, uint64_t start, uint64_t end,
		struct content *c)
{
	const struct wp *w = p->state;

	while (start < end) {
		long n = scan(p, q, false, start, end, 1, VEC_LEN, 0, &start);

		if (n < 0)
			return (int)n;
		add_content(p, c, vec_at(w, 1), n);
	}
	return 0;
}

/* Of what arming found unarmed, reports the pages that have content. */
static void emit_converted(struct pml_proc *p, const struct pml_area *a, const struct content *c,
			   const struct pml_page_region *v, long n, struct pml_sink *s)
{
	for (long i = 0; i < n; i++) {
		uint64_t at = v[i].start;

		while (at < v[i].end) {
			bool has = has_content(p, c, at);
			uint64_t from = at;

			do
				at += p->page_size;
			while (at < v[i].end && has_content(p, c, at) == has);
			if (has)
				emit_region(p, a, s, &(struct pml_page_region){ from, at, 0 },
					    PML_ARM_NORMAL);
			else if (p->swap_bytes)
				/* written and swapped out while we armed? it looks so */
				pml_sink_emit(s, from, at, granule(p, a), PML_DIRTY, PML_ASSUMED,
					      PML_REASON_FIRST_SIGHT);
		}
	}
}

/*
 * Arms every page of a few segments, with markers where there is none, and
 * reports those with content that were not armed.  A page may be written for
 * the first time between looking and arming: so the look is repeated.
 */
static int convert(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
		   struct pml_sink *s)
{
	struct wp *w = p->state;
	struct content c = { .base = start };
	uint64_t at = start;
	int err = look(p, &find_content, start, end, &c);
	long n = 0;

	/* at most one page in two differs from its neighbour: one vector holds it */
	while (at < end && !err) {
		long got = scan(p, &find_written, true, at, end, 0, VEC_LEN, 0, &at);

		if (got < 0)
			return (int)got;
		n = got;
		if (at < end) {
			/* cut short by a signal, say: tell what there is and go on */
			err = look(p, &find_present, start, at, &c);
			if (!err)
				emit_converted(p, a, &c, vec_at(w, 0), n, s);
			n = 0;
		}
	}
	if (!err)
		err = look(p, &find_present, start, end, &c);
	if (err)
		return err;
	emit_converted(p, a, &c, vec_at(w, 0), n, s);
	return pml_segments_mark(&w->exact, start, end);
}

/* How many segments may be converted at once: what they report, a range a page
 * at worst, must fit.  With a budget one, so that it is not much exceeded. */
static uint64_t segments_at_once(const struct pml_sink *s)
{
	if (!pml_sink_pages(s) || pml_sink_room(s) < PML_SEGMENT_PAGES)
		return 0;
	if (pml_sink_pages(s) != UINT64_MAX || pml_sink_room(s) < CONVERT_PAGES)
		return 1;
	return CONVERT_SEGMENTS;
}

/* Segments [start, end), all of which are to be armed page by page. */
static int convert_all(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
		       struct pml_sink *s, uint64_t *walk_end)
{
	const struct wp *w = p->state;
	uint64_t mask = pml_segment_size(&w->exact) - 1;

	*walk_end = start;
	while (*walk_end < end) {
		uint64_t n = segments_at_once(s);
		uint64_t stop = (*walk_end & ~mask) + n * (mask + 1);
		int err;

		if (!n)
			return 0;
		if (stop > end)
			stop = end;
		err = convert(p, a, *walk_end, stop, s);
		if (err)
			return err;
		*walk_end = stop;
	}
	return 0;
}

/* Arms segments in which there is something, and forgets what was written. */
static int convert_quietly(struct pml_proc *p, uint64_t start, uint64_t end)
{
	struct wp *w = p->state;
	int err = arm_all(p, start, end);

	return err ? err : pml_segments_mark(&w->exact, start, end);
}

/* A hole: looked at for pages with content, converted where there are some. */
static int scan_hole(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
		     struct pml_sink *s, uint64_t *walk_end)
{
	const struct wp *w = p->state;
	uint64_t mask = pml_segment_size(&w->exact) - 1;
	uint64_t at = start;

	*walk_end = start;
	while (at < end) {
		const struct pml_page_region *v = vec_at(w, 0);
		uint64_t from, to, looked = at;
		/* one region is enough: what is converted next is found by it */
		long n = scan(p, &find_content, false, at, end, 0, 1, 0, &looked);
		int err;

		if (n < 0)
			return (int)n;
		if (n == 0) {
			at = *walk_end = looked;
			continue;
		}
		from = v[0].start & ~mask;
		to = (v[0].end + mask) & ~mask;
		if (from < at)
			from = at;
		if (to > end)
			to = end;
		if (s) {
			err = convert_all(p, a, from, to, s, walk_end);
			if (err || *walk_end < to)
				return err;
		} else {
			err = convert_quietly(p, from, to);
			if (err)
				return err;
		}
		at = *walk_end = to;
	}
	return 0;
}

/* ---- areas ---- */

/* The segments at an area's ends may be shared with another area: they are
 * armed page by page at once, whatever is in them, as their one bit says so for
 * both.  Whether `at` lies in such a segment, and how far that goes. */
static bool at_an_end(const struct wp *w, const struct pml_area *a, uint64_t at, uint64_t *run_end)
{
	uint64_t size = pml_segment_size(&w->exact);
	uint64_t segment = at & ~(size - 1);

	if (segment < a->start || segment + size > a->end) {
		if (*run_end > segment + size)
			*run_end = segment + size;
		return true;
	}
	/* whole segments up to the one in which the area ends */
	if (*run_end > (a->end & ~(size - 1)))
		*run_end = a->end & ~(size - 1);
	return false;
}

/* An area that is new here: everything that differs from before is dirty. */
static int drain_fresh(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
		       struct pml_sink *s, uint64_t *walk_end)
{
	struct wp *w = p->state;
	uint64_t at = start;
	int err = 0;

	if (a->kind != PML_AREA_ANON) {
		err = assume(p, a, start, end, PML_REASON_FIRST_SIGHT, s, walk_end);
		if (!err && keeps_copies(a) && *walk_end > start)
			err = update_copies(p, start, *walk_end, false);
		return err;
	}
	*walk_end = start;
	while (at < end && !err) {
		uint64_t run_end;
		bool exact = pml_segments_run(&w->exact, at, end, &run_end);
		bool shared = at_an_end(w, a, at, &run_end);
		bool replaced = exact && (a->flags & PML_AREA_REPLACED);

		err = replaced ? 0 : forget_armed(p, at, run_end);
		if (err)
			return err;
		if (!exact && !shared)
			err = scan_hole(p, a, at, run_end, s, walk_end);
		else if (replaced)
			/* pages with content were here; what is here now differs */
			err = assume(p, a, at, run_end, PML_REASON_FIRST_SIGHT, s, walk_end);
		else if (s)
			err = convert_all(p, a, at, run_end, s, walk_end);
		else
			err = convert_quietly(p, at, *walk_end = run_end);
		if (err || *walk_end < run_end)
			return err;
		at = run_end;
	}
	return err;
}

static int drain_known(struct pml_proc *p, const struct pml_area *a, uint64_t start, uint64_t end,
		       struct pml_sink *s, uint64_t *walk_end)
{
	struct wp *w = p->state;
	uint64_t at = start;
	int err = 0;

	if (a->kind != PML_AREA_ANON) {
		pml_set_clear(&w->gone);
		if (keeps_copies(a))
			err = update_copies(p, start, end, true);
		return err ? err : scan_exact(p, a, start, end, s, walk_end);
	}
	*walk_end = start;
	while (at < end && !err) {
		uint64_t run_end;

		if (pml_segments_run(&w->exact, at, end, &run_end))
			err = scan_exact(p, a, at, run_end, s, walk_end);
		else
			err = scan_hole(p, a, at, run_end, s, walk_end);
		if (err || *walk_end < run_end)
			return err;
		at = run_end;
	}
	return err;
}

/* Whether the mapping at `at` is registered no more. */
static bool is_lost(const struct wp *w, uint64_t at, uint64_t page)
{
	struct pml_page_region v;
	struct pml_scan_arg a = {
		.size = sizeof(a), .start = at, .end = at + page,
		.flags = PML_SCAN_CHECK_WPASYNC, .vec = (uintptr_t)&v, .vec_len = 1,
		.category_mask = PML_PAGE_WRITTEN, .return_mask = PML_PAGE_WRITTEN,
	};

	return ioctl(w->pagemap, PML_PAGEMAP_SCAN, &a) < 0 && errno == EPERM;
}

/* It may be more than one mapping by now. */
static bool has_lost(const struct pml_proc *p, const struct pml_area *a)
{
	const struct wp *w = p->state;

	return is_lost(w, a->start, p->page_size) || is_lost(w, a->end - p->page_size, p->page_size);
}

static void tell_uncovered(struct pml_proc *p, const struct pml_area *a)
{
	if (a->flags & PML_AREA_OWNED)
		pml_proc_uncovered(p, a->start, a->end, PML_REASON_OWNED);
	else if (a->flags & PML_AREA_UNSUPPORTED)
		pml_proc_uncovered(p, a->start, a->end, PML_REASON_UNSUPPORTED);
}

/* One area, or the part of it in [start, end). */
static int drain_area(struct pml_proc *p, struct pml_area *a, uint64_t start, uint64_t end,
		      struct pml_sink *s, uint64_t *walk_end)
{
	const struct wp *w = p->state;
	bool half_armed = false;
	int err;

	*walk_end = start;
	if (!(a->flags & (PML_AREA_FRESH | PML_AREA_UNWRITABLE))) {
		err = s ? drain_known(p, a, start, end, s, walk_end) : arm_all(p, start, end);
		if (err != -EPERM)
			return err;
		/* not registered: something else was mapped at the same place */
		a->flags |= PML_AREA_FRESH | PML_AREA_REPLACED;
		start = *walk_end;
		half_armed = true;
	}
	if (!(a->flags & PML_AREA_UNWRITABLE)) {
		err = pml_uffd_register(p, w->uffd, has_lost, a, true);
		if (err == -ENOMEM) {
			pml_uffd_assume_all(p, a, start, end, s, walk_end);
			return 0;
		}
		if (!err) {
			err = drain_fresh(p, a, start, end, s, walk_end);
			if (err != -EPERM)
				return err;
		}
		if (err != -EBUSY && err != -EPERM && err != -ENOENT)
			return err;
		/* What is unmapped while we look at it is the next collect's news.  But what
		 * the scan that failed had armed by then, nobody has told. */
		if (err == -EPERM || (err == -ENOENT && half_armed))
			a->flags |= PML_AREA_UNSUPPORTED;
		tell_uncovered(p, a);
	}
	*walk_end = end;
	return 0;
}

static int wp_drain(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
		    struct pml_sink *s, uint64_t *walk_end)
{
	struct wp *w = p->state;
	struct pml_area *a = pml_areas_at(&p->pieces), *last = a + p->pieces.n;
	bool whole_range = true;

	(void)events;
	*walk_end = start;
	for (; a < last && a->start < end; a++) {
		uint64_t from = a->start > start ? a->start : start;
		uint64_t to = a->end < end ? a->end : end;
		int err;

		if (from >= to)
			continue;
		err = drain_area(p, a, from, to, s, walk_end);
		if (err)
			return err;
		if (*walk_end < to) {
			whole_range = false;
			break;
		}
	}
	if (whole_range)
		*walk_end = end;
	if (p->adaptive && s && *walk_end > start)
		pml_adaptive_epoch(&w->adaptive, start, *walk_end);
	return 0;
}

/* Without the tracker's tables: another thread may be collecting meanwhile. */
static int wp_count(int pagemap, const struct pml_area *a, size_t n, uint64_t max, uint64_t *pages)
{
	struct pml_page_region v[256];
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	*pages = 0;
	for (size_t i = 0; i < n && *pages < max; i++) {
		bool anon = a[i].kind == PML_AREA_ANON;
		struct pml_scan_arg arg = {
			.size = sizeof(arg), .start = a[i].start, .end = a[i].end,
			.vec = (uintptr_t)v, .vec_len = 256,
			.category_inverted = anon ? PML_PAGE_PFNZERO : 0,
			.category_mask = PML_PAGE_WRITTEN | (anon ? PML_PAGE_PFNZERO : 0),
			.category_anyof_mask = anon ? PML_PAGE_PRESENT | PML_PAGE_SWAPPED : 0,
			.return_mask = PML_PAGE_WRITTEN,
		};

		if (a[i].flags & (PML_AREA_GHOST | PML_AREA_UNWRITABLE | PML_AREA_OWNED |
				  PML_AREA_UNSUPPORTED))
			continue;
		while (arg.start < a[i].end && *pages < max) {
			long got;

			arg.max_pages = max - *pages;
			got = ioctl(pagemap, PML_PAGEMAP_SCAN, &arg);
			if (got < 0)
				return -errno;
			for (long k = 0; k < got; k++)
				*pages += (v[k].end - v[k].start) / page;
			arg.start = walked_to(&arg, got, a[i].end);
		}
	}
	return 0;
}

/* ---- coming and going ---- */

static int handshake(int uffd)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC |
			    UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};

	return ioctl(uffd, UFFDIO_API, &api) ? -errno : 0;
}

static int own_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	return fd < 0 ? -errno : fd;
}

static int get_userfaultfd(struct pml_proc *p, struct wp *w)
{
	struct pml_injected in;
	char words[256];
	int err;

	if (p->self) {
		w->uffd = own_userfaultfd();
		if (w->uffd == -EMFILE || w->uffd == -ENFILE)
			return pml_proc_fail(p, -EMFILE, "wp-async: out of file descriptors; raise the limit (ulimit -n)");
		if (w->uffd < 0)
			return pml_proc_fail(p, -EPERM, "wp-async: userfaultfd was refused, perhaps by seccomp; allow userfaultfd(2), or choose another back-end");
		return 0;
	}
	words[0] = '\0';
	err = pml_inject_userfaultfd(p->pid, &in, words, sizeof(words));
	if (err)
		return pml_proc_fail(p, err, words);
	w->uffd = in.uffd;
	p->stop_ns = in.stop_ns;
	return 0;
}

static void wp_detach(struct pml_proc *p)
{
	struct wp *w = p->state;
	struct pml_buf self;

	if (!w)
		return;
	/* that leaves the pages writable; a forked child has no say in it */
	if (w->uffd >= 0 && w->owner == getpid() && !pml_proc_restored(p))
		pml_uffd_unregister_all(p, w->uffd);
	if (w->uffd >= 0)
		close(w->uffd);
	if (w->pagemap >= 0)
		close(w->pagemap);
	pml_segments_free(&w->exact);
	pml_set_free(&w->copies);
	pml_set_free(&w->gone);
	pml_adaptive_free(&w->adaptive);
	pml_hashes_free(&w->hashes);
	pml_buf_free(&w->vec);
	p->state = NULL;
	self = w->self;
	munmap(self.p, self.len);
}

static int wp_attach(struct pml_proc *p)
{
	size_t len = (sizeof(struct wp) + p->page_size - 1) & ~((size_t)p->page_size - 1);
	struct wp *w = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (w == MAP_FAILED)
		return pml_proc_fail(p, -ENOMEM, "wp-async: out of memory");
	w->owner = getpid();
	w->self.p = w;
	w->self.len = len;
	w->uffd = w->pagemap = w->hashes.mem = w->hashes.pagemap = -1;
	p->state = w;
	pml_segments_init(&w->exact, p->pool, p->page_shift);
	pml_set_init(&w->copies, p->pool, p->page_shift);
	pml_set_init(&w->gone, p->pool, p->page_shift);
	pml_adaptive_init(&w->adaptive, p->pool, p->page_shift, p->seed);
#ifdef PML_TEST_HOOKS
	w->no_rearm = pml_broken("no-rearm");
	w->arm_early = pml_broken("arm-early");
	w->keep_armed = pml_broken("keep-armed");
#endif
	/* the userfaultfd first: whoever cannot be tracked is told why there */
	err = get_userfaultfd(p, w);
	if (!err)
		pml_proc_tracked_by(p, w->uffd);
	if (!err && handshake(w->uffd))
		err = pml_proc_fail(p, -ENOTSUP, "wp-async: this kernel's userfaultfd has no asynchronous write-protect (Linux 6.7); choose another back-end");
	if (!err) {
		w->pagemap = openat(p->dirfd, "pagemap", O_RDONLY | O_CLOEXEC);
		/* it may have exited since: for a tree that is no failure */
		if (w->pagemap < 0 && (errno == ESRCH || errno == ENOENT))
			err = -ESRCH;
		else if (w->pagemap < 0)
			err = pml_proc_fail(p, errno == EMFILE ? -EMFILE : -EPERM,
					    "wp-async: /proc/PID/pagemap cannot be opened; ptrace rights are needed, and a free descriptor");
	}
	if (!err && p->verify && pml_hashes_init(&w->hashes, p))
		err = pml_proc_fail(p, -EPERM, "wp-async: /proc/PID/mem cannot be opened, which verifying needs; ptrace rights are needed, and two free descriptors");
	if (!err)
		err = pml_buf_reserve(p->pool, &w->vec, 2 * VEC_LEN * sizeof(struct pml_page_region));
	if (err)
		wp_detach(p);
	return err;
}

/* ---- is it here, and does it do what is written at the top? ---- */

struct scratch {
	int uffd;
	int pagemap;
	char *mem;
	size_t len;
};

/* Scans the scratch mapping; the number of pages found, or -errno. */
static long found(const struct scratch *t, const struct query *q, bool arm)
{
	struct pml_page_region v[16];
	struct pml_scan_arg a = {
		.size = sizeof(a), .start = (uintptr_t)t->mem, .end = (uintptr_t)t->mem + t->len,
		.flags = PML_SCAN_CHECK_WPASYNC | (arm ? PML_SCAN_WP_MATCHING : 0),
		.vec = (uintptr_t)v, .vec_len = 16, .category_inverted = q->inverted,
		.category_mask = q->mask, .category_anyof_mask = q->anyof,
		.return_mask = q->mask == PML_PAGE_WRITTEN ? PML_PAGE_WRITTEN : 0,
	};
	long n = ioctl(t->pagemap, PML_PAGEMAP_SCAN, &a), pages = 0;

	if (n < 0)
		return -errno;
	for (long i = 0; i < n; i++)
		pages += (long)((v[i].end - v[i].start) / (uint64_t)sysconf(_SC_PAGESIZE));
	return pages;
}

static const char *try_scratch(struct scratch *t)
{
	struct uffdio_register r = {
		.range = { .start = (uintptr_t)t->mem, .len = t->len },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	long page = sysconf(_SC_PAGESIZE), pages = (long)t->len / page;
	volatile char *m = t->mem;

	if (ioctl(t->uffd, UFFDIO_REGISTER, &r))
		return "memory cannot be registered for asynchronous write-protect";
	m[0] = 1;
	if (found(t, &find_content, false) != 1)
		return "PAGEMAP_SCAN does not find the pages that have content";
	if (found(t, &find_written, true) != pages)
		return "PAGEMAP_SCAN does not arm pages that are not there yet";
	m[0] = 2;
	m[page] = 1;
	(void)m[2 * page];
	if (found(t, &find_written, true) != 2)
		return "PAGEMAP_SCAN does not report exactly the pages that were written";
	if (found(t, &find_written, true) != 0)
		return "PAGEMAP_SCAN does not re-arm";
	if (madvise(t->mem, (size_t)page, MADV_DONTNEED) || found(t, &find_written, true) != 1)
		return "PAGEMAP_SCAN does not report a dropped page";
	return NULL;
}

static int wp_probe(char *why, size_t size)
{
	struct scratch t = { .len = 16 * (size_t)sysconf(_SC_PAGESIZE), .pagemap = -1 };
	const char *reason = NULL;

	t.uffd = own_userfaultfd();
	if (t.uffd < 0) {
		pml_words(why, size, t.uffd == -ENOSYS ? "the kernel has no userfaultfd" :
			  t.uffd == -EMFILE ? "out of file descriptors" :
			  "userfaultfd is refused (seccomp, or vm.unprivileged_userfaultfd)");
		return -ENOTSUP;
	}
	t.mem = mmap(NULL, t.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	t.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (handshake(t.uffd))
		reason = "userfaultfd has no asynchronous write-protect: it needs Linux 6.7";
	else if (t.mem == MAP_FAILED)
		reason = "out of memory";
	else if (t.pagemap < 0)
		reason = "/proc/self/pagemap cannot be opened: is /proc mounted?";
	else
		reason = try_scratch(&t);
	if (t.mem != MAP_FAILED)
		munmap(t.mem, t.len);
	if (t.pagemap >= 0)
		close(t.pagemap);
	close(t.uffd);
	pml_words(why, size, reason ? reason : "");
	return reason ? -ENOTSUP : 0;
}

const struct pml_backend pml_backend_wp_async = {
	.name = "wp-async",
	.source = "userfaultfd asynchronous write-protect, PAGEMAP_SCAN",
	.events = PML_DIRTY,
	.caps = PML_CAP_SELF | PML_CAP_EXTERNAL | PML_CAP_ATOMIC_REARM | PML_CAP_MAPS |
		PML_CAP_PARTIAL,
	.granularity = 1,
	.probe = wp_probe,
	.attach = wp_attach,
	.detach = wp_detach,
	.drain = wp_drain,
	.count = wp_count,
};
