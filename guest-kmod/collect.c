// SPDX-License-Identifier: GPL-2.0-only
/*
 * One watch's collect: harvests, adds what was pending, and writes records.
 * Called by session.c.
 */
#include <linux/hugetlb_inline.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include "compat.h"
#include "track.h"

struct run {
	struct pml_watch *w;
	struct pml_records *out;
	u32 events;
	bool forget;
	bool all;			/* what has content is told */
	bool uncovered;			/* what is not seen, too */
	struct pml_pages pages;		/* of the chunk at hand */
	struct pml_pages before;
};

/* Adds one record, as far as there is room; returns where it ends. */
static unsigned long put(struct run *r, unsigned long start, unsigned long end, u64 granule,
			 u16 events, u8 known, u8 reason)
{
	struct pml_records *o = r->out;
	struct pml_uapi_range *last = o->n ? o->at + o->n - 1 : NULL;

	if (r->forget)
		return end;
	if (known != PML_KNOWN_UNCOVERED && (end - start) >> PAGE_SHIFT > o->max_pages - o->pages) {
		end = start + ((o->max_pages - o->pages) << PAGE_SHIFT);
		o->full = true;
		if (start == end)
			return start;
	}
	if (last && last->end == start && last->granule == granule && last->events == events &&
	    last->known == known && last->reason == reason) {
		last->end = end;
	} else if (o->n < o->max) {
		o->at[o->n++] = (struct pml_uapi_range){
			.start = start, .end = end, .granule = granule, .target = o->target,
			.events = events, .known = known, .reason = reason,
		};
	} else {
		end = start;
		o->full = true;
	}
	if (known != PML_KNOWN_UNCOVERED)
		o->pages += (end - start) >> PAGE_SHIFT;
	return end;
}

/* What is told of one page: events, how it is known, why; 0: nothing. */
struct verdict {
	u16 events;
	u8 known;
	u8 reason;
};

static struct verdict verdict_of(const struct run *r, unsigned int i)
{
	const struct pml_pages *p = &r->pages;
	bool dirty = test_bit(i, p->plane[PML_PLANE_DIRTY]);
	bool assumed = test_bit(i, p->plane[PML_PLANE_ASSUMED]);
	struct verdict v = { 0 };

	if (dirty || assumed)
		v.events |= PML_EV_DIRTY;
	if (dirty || test_bit(i, p->plane[PML_PLANE_REFERENCED]))
		v.events |= PML_EV_REFERENCED;
	v.events &= r->events;
	if (v.events && assumed && !dirty) {
		v.known = PML_KNOWN_ASSUMED;
		v.reason = pml_pages_why(p, i);
	}
	return v;
}

/* The next page at or after i of which anything is known; to: none. */
static unsigned int next_page(const struct pml_pages *p, unsigned int i, unsigned int to)
{
	return min3(find_next_bit(p->plane[PML_PLANE_DIRTY], to, i),
		    find_next_bit(p->plane[PML_PLANE_REFERENCED], to, i),
		    find_next_bit(p->plane[PML_PLANE_ASSUMED], to, i));
}

/* The next page after i of which other things are told; to: none. */
static unsigned int alike_until(const struct run *r, unsigned int i, unsigned int to,
				struct verdict v)
{
	struct verdict other;

	do {
		other = ++i < to ? verdict_of(r, i) : (struct verdict){ 0 };
	} while (i < to && other.events == v.events && other.known == v.known &&
		 other.reason == v.reason);
	return i;
}

/* Writes the records of [start, end) of the chunk at hand; returns how far. */
static unsigned long put_pages(struct run *r, unsigned long start, unsigned long end)
{
	unsigned long base = start & PMD_MASK;
	unsigned int i = (start - base) >> PAGE_SHIFT, to = (end - base) >> PAGE_SHIFT;
	u64 granule = r->pages.huge ? PML_CHUNK_SIZE : PAGE_SIZE;
	const unsigned long *dirty = r->pages.plane[PML_PLANE_DIRTY];

	for (i = next_page(&r->pages, i, to); i < to; i = next_page(&r->pages, i, to)) {
		struct verdict v = verdict_of(r, i);
		unsigned int first = i;
		unsigned long wanted, got;

		/* of a page that is dirty nothing else matters */
		if (test_bit(i, dirty))
			i = find_next_zero_bit(dirty, to, i);
		else
			i = alike_until(r, i, to, v);
		if (!v.events)
			continue;
		wanted = base + ((unsigned long)i << PAGE_SHIFT);
		got = put(r, base + ((unsigned long)first << PAGE_SHIFT), wanted, granule, v.events,
			  v.known, v.reason);
		if (got < wanted)
			return got;
	}
	return end;
}

/* Takes what was told out of what is pending; another event may still wait. */
static void forget_told(struct run *r, unsigned long start, unsigned long end)
{
	u32 later = r->w->events & ~r->events;
	struct pml_pages *p = &r->pages;
	DECLARE_BITMAP(mask, PML_CHUNK_PAGES);

	pml_mask(mask, start, end);
	if (later & PML_EV_REFERENCED) {
		DECLARE_BITMAP(used, PML_CHUNK_PAGES);

		bitmap_or(used, p->plane[PML_PLANE_DIRTY], p->plane[PML_PLANE_ASSUMED],
			  PML_CHUNK_PAGES);
		bitmap_and(used, used, mask, PML_CHUNK_PAGES);
		bitmap_or(p->plane[PML_PLANE_REFERENCED], p->plane[PML_PLANE_REFERENCED], used,
			  PML_CHUNK_PAGES);
	} else {
		bitmap_andnot(p->plane[PML_PLANE_REFERENCED], p->plane[PML_PLANE_REFERENCED], mask,
			      PML_CHUNK_PAGES);
	}
	if (later & PML_EV_DIRTY)
		return;
	for (unsigned int i = 0; i < PML_PLANES; i++)
		if (i != PML_PLANE_REFERENCED)
			bitmap_andnot(p->plane[i], p->plane[i], mask, PML_CHUNK_PAGES);
}

/* What is dirty as a whole, in a chunk that is read anyway. */
static void add_spans(struct run *r, unsigned long start, unsigned long end)
{
	const struct pml_spans *taken = r->w->taken;

	for (unsigned int i = 0; i < taken->n; i++) {
		unsigned long from = max(start, taken->at[i].start);
		unsigned long to = min(end, taken->at[i].end);
		DECLARE_BITMAP(mask, PML_CHUNK_PAGES);

		if (from >= to)
			continue;
		pml_mask(mask, from, to);
		pml_pages_assume(&r->pages, mask, taken->at[i].why);
		bitmap_or(r->pages.plane[PML_PLANE_REFERENCED],
			  r->pages.plane[PML_PLANE_REFERENCED], mask, PML_CHUNK_PAGES);
	}
}

/* ... and where there is nothing to read. */
static unsigned long put_spans(struct run *r, unsigned long start, unsigned long end)
{
	const struct pml_span *s;

	while (start < end && (s = pml_spans_find(r->w->taken, start)) && s->start < end) {
		unsigned long to = min(end, s->end);

		start = put(r, max(start, s->start), to, PAGE_SIZE, r->events, PML_KNOWN_ASSUMED,
			    s->why);
		if (start < to)
			return start;
	}
	return end;
}

/*
 * A word of what is in the log, from `base` on: mask says which pages.  What is told is
 * cleared.  False: there was no room for all, but up to *reached.
 */
static bool put_word(struct run *r, unsigned long *dirty, unsigned long *referenced,
		     unsigned long mask, unsigned long base, unsigned long *reached)
{
	bool both = r->events & PML_EV_REFERENCED;
	unsigned long any = (both ? *dirty | *referenced : *dirty) & mask;

	while (any) {
		unsigned int i = __ffs(any);
		bool is_dirty = *dirty >> i & 1;
		unsigned long same = (is_dirty ? any & *dirty : any & ~*dirty) >> i;
		unsigned int n = ~same ? ffz(same) : BITS_PER_LONG;
		unsigned long run = GENMASK(i + n - 1, i);
		unsigned long start = base + i * PAGE_SIZE, end = start + n * PAGE_SIZE, got;

		got = put(r, start, end, PAGE_SIZE, is_dirty ? r->events : PML_EV_REFERENCED,
			  PML_KNOWN_OBSERVED, 0);
		if (got < end)
			run = got > start ? GENMASK(i + (got - start) / PAGE_SIZE - 1, i) : 0;
		any &= ~run;
		*dirty &= ~run;
		if (both)
			*referenced &= ~run;
		if (got < end) {
			*reached = got;
			return false;
		}
	}
	return true;
}

/* What is in the log of a chunk, as it is there; returns how far. */
static unsigned long put_logged(struct run *r, struct pml_logged *p, unsigned long start,
				unsigned long end)
{
	unsigned long base = start & PMD_MASK, reached = end, words = 0;
	unsigned int from = (start - base) >> PAGE_SHIFT, to = (end - base) >> PAGE_SHIFT, i;
	bool is_room = true;

	pml_for_each_word(i, p) {
		unsigned long mask = ~0ul;

		if (i <= BIT_WORD(from))
			mask = i == BIT_WORD(from) ? BITMAP_FIRST_WORD_MASK(from) : 0;
		if (i >= BIT_WORD(to))
			mask &= i == BIT_WORD(to) ? BIT(to % BITS_PER_LONG) - 1 : 0;
		if (is_room)
			is_room = put_word(r, p->dirty + i, p->referenced + i, mask,
					   base + i * BITS_PER_LONG * PAGE_SIZE, &reached);
		if (pml_logged_word(p, i))
			words |= BIT(i);
	}
	p->words = words;
	if (!words)
		pml_logged_quieten(r->w->mm->log->told, p);
	return reached;
}

static unsigned long collect_chunk(struct run *r, struct vm_area_struct *vma,
				   unsigned long start, unsigned long end)
{
	unsigned long index = start >> PML_CHUNK_SHIFT, reached;
	struct pml_watch *w = r->w;

	pml_harvest_chunk(w, vma, start, end, r->events, r->all, &r->pages);
	pml_set_take(&w->pending, index, &r->before);
	pml_pages_merge(&r->pages, &r->before);
	add_spans(r, start, end);
	reached = put_pages(r, start, end);
	if (reached > start)
		forget_told(r, start, reached);
	if (!pml_pages_empty(&r->pages) && !pml_set_add(&w->pending, index, &r->pages))
		pml_watch_lose_locked(w);
	return reached;
}

/* So many chunks of the log are told before it is asked whether others wait. */
#define CHUNKS_BETWEEN 16

/* Others wait for the memory or the processor. */
static bool should_yield(struct mm_struct *mm)
{
	return need_resched() || mmap_lock_is_contended(mm) || signal_pending(current);
}

/* Where the log says all; its cost is that of what is in the log. */
static unsigned long collect_calm(struct run *r, struct mm_struct *mm, unsigned long at,
				  unsigned long end, bool *yield)
{
	struct pml_log *log = r->w->mm->log;
	unsigned long last = (end - 1) >> PML_CHUNK_SHIFT, to;
	XA_STATE(xas, &log->told->chunks, at >> PML_CHUNK_SHIFT);
	struct pml_logged *p;
	unsigned int n = 0;
	bool is_full = false;

	rcu_read_lock();
	while (!is_full && !*yield && (p = pml_log_walk(log, &xas, last))) {
		to = min(end, (p->index + 1) << PML_CHUNK_SHIFT);
		at = put_logged(r, p, max(at, p->index << PML_CHUNK_SHIFT), to);
		is_full = at < to;
		*yield = !(++n % CHUNKS_BETWEEN) && should_yield(mm);
	}
	rcu_read_unlock();
	return is_full || *yield ? at : end;
}

static unsigned long collect_mapping(struct run *r, struct vm_area_struct *vma,
				     unsigned long at, unsigned long end, bool *yield)
{
	while (at < end && !*yield) {
		unsigned long next = at;

		if (!r->w->taken->n)
			next = pml_harvest_calm(r->w, vma, at, end, r->events, r->all);
		if (next > at) {
			at = collect_calm(r, vma->vm_mm, at, next, yield);
			if (at < next)
				break;
			continue;
		}
		next = pml_harvest_next(r->w, vma, at, end, r->all);
		if (next > at) {
			at = put_spans(r, at, next);
		} else {
			next = min(end, (at & PMD_MASK) + PML_CHUNK_SIZE);
			at = collect_chunk(r, vma, at, next);
			*yield = should_yield(vma->vm_mm);
		}
		if (at < next)
			break;
	}
	return at;
}

unsigned int pml_why_uncovered(const struct vm_area_struct *vma)
{
	if (is_vm_hugetlb_page((struct vm_area_struct *)vma))
		return PML_WHY_HUGETLB;
	if (vma->vm_flags & VM_SHADOW_STACK)
		return PML_WHY_SHADOW_STACK;
	if ((vma->vm_flags & (VM_PFNMAP | VM_IO | VM_MIXEDMAP)) || vma_is_dax(vma))
		return PML_WHY_DEVICE;
	return 0;
}

/* Nothing is mapped in [start, end): its marks wait until something is. */
static void skip_gap(struct run *r, unsigned long start, unsigned long end)
{
	struct pml_watch *w = r->w;

	if (start >= end)
		return;
	pml_chunks_retire(w->mm, start, end);
	if (w->mm->log)
		pml_log_forget(w->mm->log, start, end);
	if (r->forget)
		return;
	spin_lock(&w->mm->marks);
	for (unsigned int i = 0; i < w->taken->n; i++) {
		unsigned long from = max(start, w->taken->at[i].start);
		unsigned long to = min(end, w->taken->at[i].end);

		if (from < to)
			pml_spans_add(w->pending.spans, from, to, PML_WHY_INVALIDATED);
	}
	spin_unlock(&w->mm->marks);
}

/* Takes the spans for this collect; as any mark, they stay until their end has come. */
static void take_spans(struct pml_watch *w, unsigned long start, unsigned long end)
{
	struct pml_spans *taken = w->taken;

	taken->n = 0;
	spin_lock(&w->mm->marks);
	pml_spans_move(w->pending.spans, start, end, taken);
	for (unsigned int i = 0; w->mm->invalidating && i < taken->n; i++)
		pml_spans_add(w->pending.spans, taken->at[i].start, taken->at[i].end,
			      PML_WHY_INVALIDATED);
	spin_unlock(&w->mm->marks);
}

static void give_back_spans(struct pml_watch *w, unsigned long start, unsigned long end)
{
	spin_lock(&w->mm->marks);
	pml_spans_move(w->taken, start, end, w->pending.spans);
	spin_unlock(&w->mm->marks);
}

static unsigned long collect_locked(struct run *r, struct mm_struct *mm, unsigned long start,
				    unsigned long end)
{
	VMA_ITERATOR(vmi, mm, start);
	unsigned long at = start;
	struct vm_area_struct *vma;
	bool yield = false;

	for_each_vma_range(vmi, vma, end) {
		unsigned long from = max(at, vma->vm_start), to = min(end, vma->vm_end);
		unsigned int why = pml_why_uncovered(vma);

		skip_gap(r, at, from);
		at = from;
		if (!why)
			at = collect_mapping(r, vma, from, to, &yield);
		else if (!r->uncovered)
			at = to;
		else
			at = put(r, from, to, 0, r->events, PML_KNOWN_UNCOVERED, why);
		if (at < to || yield)
			return at;
	}
	skip_gap(r, at, end);
	return end;
}

/* So many addresses have been used and left that the tables are full of them. */
static void retire_all(struct pml_mm *pm)
{
	VMA_ITERATOR(vmi, pm->notifier.mm, 0);
	struct vm_area_struct *vma;
	unsigned long at = 0;

	for_each_vma(vmi, vma) {
		pml_chunks_retire(pm, at, vma->vm_start);
		at = vma->vm_end;
	}
	pml_chunks_retire(pm, at, TASK_SIZE_MAX);
}

int pml_watch_collect(struct pml_watch *w, unsigned long *start, unsigned long end, u32 events,
		      u32 flags, struct pml_records *out)
{
	struct mm_struct *mm = w->mm->notifier.mm;
	struct run *r;
	int err;

	r = kzalloc(sizeof(*r), GFP_KERNEL);
	if (!r)
		return -ENOMEM;
	r->w = w;
	r->out = out;
	r->events = events;
	r->forget = !out->max;
	r->all = flags & PML_COLLECT_ALL;
	r->uncovered = flags & PML_COLLECT_UNCOVERED;
	err = -ESRCH;
	if (!mmget_not_zero(mm))
		goto out_free;
	err = -EOPNOTSUPP;
	if (pml_mm_has_pasid(mm))
		goto out_mm;
	err = mutex_lock_killable(&w->mm->lock);
	if (err)
		goto out_mm;
	err = out->drained ? 0 : pml_watch_drain(w, events);
	if (err)
		goto out_lock;
	out->drained = true;
	err = mmap_read_lock_killable(mm);
	if (err)
		goto out_lock;
	if (w->mm->nchunks >= PML_CHUNKS_MAX)
		retire_all(w->mm);
	pml_watch_resolve(w);
	take_spans(w, *start, end);
	if (w->taken->n && !pml_broken(PML_BREAK_NO_MARK_FLUSH))
		pml_flush(w);
	out->lost |= pml_spans_has(w->taken, PML_WHY_OVERFLOW);
	*start = collect_locked(r, mm, *start, end);
	give_back_spans(w, *start, end);
	mmap_read_unlock(mm);
out_lock:
	mutex_unlock(&w->mm->lock);
out_mm:
	mmput(mm);
out_free:
	kfree(r);
	return err;
}
