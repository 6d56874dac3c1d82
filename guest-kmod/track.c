// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who watches a memory, and what a harvest of it means for each of them.
 * Called by session.c and collect.c.
 */
#include <linux/slab.h>
#include <linux/userfaultfd_k.h>
#include "compat.h"
#include "trace.h"
#include "track.h"

static bool is_logged(const struct pml_watch *w)
{
	return w->way.mode != PML_MODE_PTSCAN;
}

static void watch_free(struct pml_watch *w)
{
	pml_set_free(&w->pending);
	kvfree(w->taken);
	kfree(w);
}

/* The caller holds mm's users. */
struct pml_watch *pml_watch_open(struct mm_struct *mm, const struct pml_uapi_add *add,
				 struct pml_budget *budget, struct pml_counters *counters,
				 wait_queue_head_t *wait)
{
	struct pml_watch *w = kzalloc(sizeof(*w), GFP_KERNEL_ACCOUNT);
	struct mmu_notifier *n;
	int err;

	if (!w)
		return ERR_PTR(-ENOMEM);
	w->way.mode = add->mode;
	w->way.trigger_ept = add->flags & PML_ADD_TRIGGER_EPT;
	w->events = add->events;
	w->flags = add->flags;
	w->counters = counters;
	w->wait = wait;
	w->taken = kvzalloc(sizeof(*w->taken), GFP_KERNEL_ACCOUNT);
	err = pml_set_init(&w->pending, budget);
	if (!w->taken || err) {
		watch_free(w);
		return ERR_PTR(-ENOMEM);
	}
	n = mmu_notifier_get(&pml_notifier_ops, mm);
	if (IS_ERR(n)) {
		watch_free(w);
		return ERR_CAST(n);
	}
	w->mm = container_of(n, struct pml_mm, notifier);
	mutex_lock(&w->mm->lock);
	err = is_logged(w) ? pml_log_join(&w->mm->log, mm, w->way, w->events) : 0;
	if (err) {
		mutex_unlock(&w->mm->lock);
		mmu_notifier_put(n);
		watch_free(w);
		return ERR_PTR(err);
	}
	spin_lock(&w->mm->marks);
	list_add(&w->in_mm, &w->mm->watches);
	if (w->way.mode == PML_MODE_SPML)
		w->mm->by_frame = true;
	/* an invalidation that is under way was not marked for this watch */
	w->mm->unmarked |= w->mm->invalidating;
	spin_unlock(&w->mm->marks);
	mutex_unlock(&w->mm->lock);
	return w;
}

void pml_watch_close(struct pml_watch *w)
{
	struct pml_mm *pm = w->mm;

	mutex_lock(&pm->lock);
	spin_lock(&pm->marks);
	list_del(&w->in_mm);
	spin_unlock(&pm->marks);
	if (list_empty(&pm->watches))
		pml_chunks_drop(pm);
	if (is_logged(w))
		pml_log_leave(&pm->log);
	if (!pm->log) {
		spin_lock(&pm->marks);
		pm->by_frame = false;
		pm->table = 0;
		spin_unlock(&pm->marks);
	}
	mutex_unlock(&pm->lock);
	mmu_notifier_put(&pm->notifier);
	watch_free(w);
}

void pml_watch_lose_locked(struct pml_watch *w)
{
	pml_set_drop(&w->pending);
	spin_lock(&w->mm->marks);
	pml_spans_add(w->pending.spans, 0, TASK_SIZE_MAX, PML_WHY_OVERFLOW);
	spin_unlock(&w->mm->marks);
	atomic64_inc(&w->pending.budget->overflows);
	trace_pml_overflow(atomic_long_read(&w->pending.budget->used), w->pending.budget->limit);
}

void pml_watch_lose(struct pml_watch *w)
{
	mutex_lock(&w->mm->lock);
	pml_watch_lose_locked(w);
	mutex_unlock(&w->mm->lock);
}

/* Of what the device has logged of this memory, something is missing. */
static void lose_logged(struct pml_mm *pm)
{
	struct pml_watch *w;

	list_for_each_entry(w, &pm->watches, in_mm)
		if (is_logged(w))
			pml_watch_lose_locked(w);
}

int pml_watch_drain(struct pml_watch *w, u32 events)
{
	struct pml_mm *pm = w->mm;
	bool lost = false;
	u64 rearmed = 0, taken;
	int err;

	if (!is_logged(w))
		return 0;
	err = pml_log_drain(pm->log, events, &lost, &rearmed);
	taken = pml_log_taken(pm->log);
	atomic64_inc(&w->counters->log_drains);
	atomic64_add(rearmed, &w->counters->log_rearmed);
	atomic64_add(taken - w->log_taken, &w->counters->log_entries);
	w->log_taken = taken;
	if (lost)
		lose_logged(pm);
	return err;
}

void pml_watch_resolve(struct pml_watch *w)
{
	if (w->way.mode == PML_MODE_SPML && !pml_spml_resolve(w->mm, w->counters))
		lose_logged(w->mm);
}

void pml_flush(struct pml_watch *w)
{
	if (pml_broken(PML_BREAK_NO_FLUSH))
		return;
	if (pml_broken(PML_BREAK_NO_FLUSH_LATER) && atomic64_read(&w->counters->collects) > 7)
		return;
	atomic64_add(pml_flush_mm(w->mm->notifier.mm), &w->counters->ipis);
	atomic64_inc(&w->counters->flushes);
}

/* What is known of a chunk before its page table is read. */
struct before {
	DECLARE_BITMAP(known, PML_CHUNK_PAGES);
	DECLARE_BITMAP(touched, PML_CHUNK_PAGES);
	DECLARE_BITMAP(reprotected, PML_CHUNK_PAGES);
	DECLARE_BITMAP(pinned, PML_CHUNK_PAGES);
	bool huge;
};

/* Adds the marks to b, under marks; they are used up, unless their end is to come. */
static void take_touched(struct pml_mm *pm, struct pml_chunk *c, const unsigned long *mask,
			 bool shared, struct before *b)
{
	DECLARE_BITMAP(touched, PML_CHUNK_PAGES);

	bitmap_copy(touched, c->touched, PML_CHUNK_PAGES);
	if (shared)
		bitmap_or(touched, touched, c->cleaned, PML_CHUNK_PAGES);
	bitmap_and(touched, touched, mask, PML_CHUNK_PAGES);
	bitmap_or(b->touched, b->touched, touched, PML_CHUNK_PAGES);
	if (pm->invalidating && !pml_broken(PML_BREAK_NO_KEEP))
		return;
	bitmap_andnot(c->touched, c->touched, mask, PML_CHUNK_PAGES);
	bitmap_andnot(c->cleaned, c->cleaned, mask, PML_CHUNK_PAGES);
}

/* What the harvest begins with. */
static void take_marks(struct pml_mm *pm, unsigned long index, const unsigned long *mask,
		       bool shared, u32 events, struct before *b)
{
	struct pml_chunk *c;

	memset(b, 0, sizeof(*b));
	spin_lock(&pm->marks);
	c = xa_load(&pm->chunks, index);
	if (c) {
		take_touched(pm, c, mask, shared, b);
		/* it is about dirty bits: those stay where nobody looks for them */
		if (events & PML_EV_DIRTY) {
			bitmap_and(b->reprotected, c->reprotected, mask, PML_CHUNK_PAGES);
			bitmap_andnot(c->reprotected, c->reprotected, mask, PML_CHUNK_PAGES);
		}
		bitmap_copy(b->known, c->known, PML_CHUNK_PAGES);
		bitmap_copy(b->pinned, c->pinned, PML_CHUNK_PAGES);
		b->huge = c->huge;
	}
	spin_unlock(&pm->marks);
}

/*
 * The page tables have been read.  Where a bit was taken away before that, but after
 * take_marks(), nothing was there to be read, and the mark is told now.
 */
static void take_late_marks(struct pml_watch *w, unsigned long start, unsigned long end,
			    const unsigned long *mask, bool shared, struct before *b)
{
	const struct pml_spans *spans = w->pending.spans;
	struct pml_mm *pm = w->mm;
	struct pml_chunk *c;

	if (pml_broken(PML_BREAK_NO_LATE))
		return;
	spin_lock(&pm->marks);
	c = xa_load(&pm->chunks, start >> PML_CHUNK_SHIFT);
	if (c)
		take_touched(pm, c, mask, shared, b);
	/* those of which no chunk could be made stay for the next collect as well */
	for (unsigned int i = 0; i < spans->n; i++) {
		unsigned long from = max(start, spans->at[i].start);
		unsigned long to = min(end, spans->at[i].end);

		if (from < to)
			bitmap_set(b->touched, (from & ~PMD_MASK) >> PAGE_SHIFT,
				   (to - from) >> PAGE_SHIFT);
	}
	spin_unlock(&pm->marks);
}

/* In a bitmap, what mask covers becomes what `now` says. */
static void replace(unsigned long *bits, const unsigned long *now, const unsigned long *mask)
{
	for (unsigned int i = 0; i < BITS_TO_LONGS(PML_CHUNK_PAGES); i++)
		bits[i] = (bits[i] & ~mask[i]) | (now[i] & mask[i]);
}

/*
 * Remembers what the harvest has seen.  Without memory for it, pages that are
 * there will seem to appear again: too much is told, not too little.
 */
static void remember(struct pml_mm *pm, unsigned long index, const unsigned long *mask,
		     const struct pml_harvest *h, u32 events)
{
	bool is_any = h->looked && !bitmap_empty(h->content, PML_CHUNK_PAGES);
	struct pml_chunk *c;

	spin_lock(&pm->marks);
	c = is_any ? pml_chunk_make(pm, index, GFP_NOWAIT | __GFP_NOWARN) :
		     xa_load(&pm->chunks, index);
	if (c && h->looked) {
		replace(c->known, h->content, mask);
		replace(c->pinned, h->pinned, mask);
		c->huge = h->huge || (c->huge && !(events & PML_EV_DIRTY));
	}
	if (c)
		pml_chunk_reap(pm, index, c);
	spin_unlock(&pm->marks);
}

/* What takes bits away, or may write without setting them: for everybody. */
static void judge_marks(const struct before *b, const struct pml_harvest *h,
			const unsigned long *mask, struct pml_pages *p)
{
	DECLARE_BITMAP(bits, PML_CHUNK_PAGES);

	memset(p, 0, sizeof(*p));
	pml_pages_assume(p, h->unread ? mask : b->touched, PML_WHY_INVALIDATED);
	bitmap_copy(p->plane[PML_PLANE_REFERENCED], h->unread ? mask : b->touched,
		    PML_CHUNK_PAGES);
	bitmap_or(bits, h->pinned, b->pinned, PML_CHUNK_PAGES);
	bitmap_and(bits, bits, mask, PML_CHUNK_PAGES);
	pml_pages_assume(p, bits, PML_WHY_PINNED);
}

/* What the harvest means, for who watches in the same way. */
static void judge(const struct before *b, const struct pml_harvest *h, const unsigned long *mask,
		  const struct pml_pages *marked, struct pml_pages *p)
{
	DECLARE_BITMAP(bits, PML_CHUNK_PAGES);

	memset(p, 0, sizeof(*p));
	p->huge = h->huge;
	if (h->appears) {
		bitmap_andnot(bits, h->content, b->known, PML_CHUNK_PAGES);
		bitmap_and(bits, bits, mask, PML_CHUNK_PAGES);
		pml_pages_assume(p, bits, PML_WHY_APPEARED);
	}
	/* small pages of what was huge have its bits: all of them the same */
	if (h->appears && b->huge && !h->huge) {
		pml_pages_assume(p, h->dirty, PML_WHY_SPLIT);
	} else {
		bitmap_and(bits, h->parts, b->reprotected, PML_CHUNK_PAGES);
		bitmap_andnot(p->plane[PML_PLANE_DIRTY], h->dirty, bits, PML_CHUNK_PAGES);
		pml_pages_assume(p, bits, PML_WHY_SPREAD);
	}
	bitmap_copy(p->plane[PML_PLANE_REFERENCED], h->accessed, PML_CHUNK_PAGES);
	pml_pages_merge(p, marked);
}

/*
 * What one has found is found for all who watch in the same way; in another way
 * they find it themselves, but for the marks, which were used up.
 */
static void fan_out(struct pml_watch *self, unsigned long index, const struct pml_pages *pages)
{
	struct pml_watch *w;

	if (pml_broken(PML_BREAK_NO_FANOUT))
		return;
	list_for_each_entry(w, &self->mm->watches, in_mm) {
		const struct pml_pages *told =
			w->way.mode == self->way.mode ? pages : &self->mm->marked;

		if (w != self && !pml_pages_empty(told) && !pml_set_add(&w->pending, index, told))
			pml_watch_lose_locked(w);
	}
}

/*
 * Are the page tables looked at in a mode that has a log?  Where pages may come with
 * content that was not stored there, and where they may be pinned.
 */
static bool looks(const struct vm_area_struct *vma, bool all)
{
	return all || userfaultfd_armed((struct vm_area_struct *)vma) ||
	       pml_mm_has_pinned(vma->vm_mm);
}

/* The same as pml_ptscan(), of what is in the log. */
static void harvest_log(struct pml_watch *w, struct vm_area_struct *vma, unsigned long start,
			unsigned long end, u32 events, bool all, const unsigned long *mask)
{
	struct pml_harvest *h = &w->mm->harvest;

	if (looks(vma, all)) {
		/* without events it takes nothing away */
		pml_ptscan(w, vma, start, end, 0, h);
		h->huge = false;
		h->looked = true;
		h->appears = userfaultfd_armed(vma);
	} else {
		memset(h, 0, sizeof(*h));
	}
	pml_log_harvest(w->mm->log, start >> PML_CHUNK_SHIFT, mask, events, h->dirty, h->accessed);
}

void pml_harvest_chunk(struct pml_watch *w, struct vm_area_struct *vma, unsigned long start,
		       unsigned long end, u32 events, bool all, struct pml_pages *own)
{
	unsigned long index = start >> PML_CHUNK_SHIFT;
	struct pml_mm *pm = w->mm;
	struct pml_harvest *h = &pm->harvest;
	struct before b;
	DECLARE_BITMAP(mask, PML_CHUNK_PAGES);

	pml_mask(mask, start, end);
	take_marks(pm, index, mask, vma->vm_flags & VM_SHARED, is_logged(w) ? 0 : events,
		   &b);
	if (is_logged(w)) {
		harvest_log(w, vma, start, end, events, all, mask);
		events = 0;
	} else {
		pml_ptscan(w, vma, start, end, events, h);
		h->looked = true;
		h->appears = true;
	}
	take_late_marks(w, start, end, mask, vma->vm_flags & VM_SHARED, &b);
	if (!bitmap_empty(b.touched, PML_CHUNK_PAGES) && !pml_broken(PML_BREAK_NO_MARK_FLUSH))
		pml_flush(w);
	/* a huge page is harvested whole, whatever was asked for */
	if (h->huge)
		bitmap_fill(mask, PML_CHUNK_PAGES);
	remember(pm, index, mask, h, events);
	judge_marks(&b, h, mask, &pm->marked);
	judge(&b, h, mask, &pm->marked, own);
	if (!list_is_singular(&pm->watches) && !pml_pages_empty(own))
		fan_out(w, index, own);
	/* new to this one, whatever the others know */
	if (all) {
		bitmap_and(mask, mask, h->content, PML_CHUNK_PAGES);
		pml_pages_assume(own, mask, PML_WHY_APPEARED);
		bitmap_or(own->plane[PML_PLANE_REFERENCED], own->plane[PML_PLANE_REFERENCED],
			  mask, PML_CHUNK_PAGES);
	}
}

/* What is marked from now on is the next collect's. */
unsigned long pml_harvest_calm(struct pml_watch *w, struct vm_area_struct *vma,
			       unsigned long addr, unsigned long end, u32 events, bool all)
{
	unsigned long index = addr >> PML_CHUNK_SHIFT, last = (end - 1) >> PML_CHUNK_SHIFT;
	unsigned long i = index;

	if (!is_logged(w) || looks(vma, all) || !list_is_singular(&w->mm->watches))
		return addr;
	/* an event that is not asked for now would have to be kept */
	if (w->events & ~events || !(events & PML_EV_DIRTY))
		return addr;
	if (xa_find(&w->mm->chunks, &i, last, XA_PRESENT))
		end = min(end, i << PML_CHUNK_SHIFT);
	i = pml_set_next(&w->pending, index, last);
	if (i != ULONG_MAX)
		end = min(end, i << PML_CHUNK_SHIFT);
	return max(end, addr);
}

unsigned long pml_harvest_next(struct pml_watch *w, struct vm_area_struct *vma,
			       unsigned long addr, unsigned long end, bool all)
{
	unsigned long index = addr >> PML_CHUNK_SHIFT, last = (end - 1) >> PML_CHUNK_SHIFT;
	unsigned long found = end, i = index;

	if (is_logged(w)) {
		i = pml_log_next(w->mm->log, index, last);
		if (i != ULONG_MAX)
			found = i << PML_CHUNK_SHIFT;
		i = index;
	}
	if (!is_logged(w) || looks(vma, all))
		found = min(found, pml_ptscan_next(vma->vm_mm, addr, end));
	if (found <= addr)
		return addr;
	if (found < end)
		last = found >> PML_CHUNK_SHIFT;
	if (xa_find(&w->mm->chunks, &i, last, XA_PRESENT))
		found = min(found, i << PML_CHUNK_SHIFT);
	i = pml_set_next(&w->pending, index, last);
	if (i != ULONG_MAX)
		found = min(found, i << PML_CHUNK_SHIFT);
	return max(found, addr);
}
