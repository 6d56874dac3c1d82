// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel takes a page's bits away: unmaps, drops, moves, cleans, migrates,
 * swaps out.  It says so before and after by the MMU notifier; every such page
 * is marked, and reported by the next collect of each watch.  Called by the
 * kernel; shared by all modes.
 *
 * A mark is made when the invalidation begins, while the page may still be
 * written.  So it is not used up before the invalidation's end, but told by every
 * collect until then, and by one more.  The kernel may even put off its flush of the TLB
 * until after that end (reclaim, MADV_FREE), and a processor goes on writing by what it
 * remembers: who uses up a mark flushes, and whoever writes afterwards faults.
 *
 * Which events matter on x86: protection changes (mprotect, NUMA hints,
 * userfaultfd, soft-dirty) keep the dirty bit, though it may spread.
 * PROTECTION_PAGE is fork, which keeps it too, and writeback's cleaning of shared
 * file pages, which does not; the latter is at most a huge page long, and fork is
 * of private mappings only.
 */
#include <linux/delay.h>
#include <linux/slab.h>
#include "compat.h"
#include "swaps.h"
#include "trace.h"
#include "track.h"

/* Marks of more than this are kept as a span. */
#define SMALL (2 * PML_CHUNK_SIZE)

static struct kmem_cache *chunk_cache;

int pml_notifier_setup(void)
{
	chunk_cache = KMEM_CACHE(pml_chunk, SLAB_ACCOUNT);
	return chunk_cache ? 0 : -ENOMEM;
}

void pml_notifier_teardown(void)
{
	mmu_notifier_synchronize();
	kmem_cache_destroy(chunk_cache);
}

void pml_mask(unsigned long *mask, unsigned long start, unsigned long end)
{
	unsigned int first = (start & ~PMD_MASK) >> PAGE_SHIFT;

	bitmap_zero(mask, PML_CHUNK_PAGES);
	bitmap_set(mask, first, (end - start) >> PAGE_SHIFT);
}

/* Finds or makes one; under marks.  NULL: no memory, or too many. */
struct pml_chunk *pml_chunk_make(struct pml_mm *pm, unsigned long index, gfp_t gfp)
{
	struct pml_chunk *c = xa_load(&pm->chunks, index);

	if (c || pm->nchunks >= PML_CHUNKS_MAX)
		return c;
	c = kmem_cache_zalloc(chunk_cache, gfp);
	if (c && xa_err(xa_store(&pm->chunks, index, c, gfp))) {
		kmem_cache_free(chunk_cache, c);
		c = NULL;
	}
	if (c)
		pm->nchunks++;
	return c;
}

static void mark_span(struct pml_mm *pm, unsigned long start, unsigned long end)
{
	struct pml_watch *w;

	list_for_each_entry(w, &pm->watches, in_mm)
		pml_spans_add(w->pending.spans, start, end, PML_WHY_INVALIDATED);
}

/* Frees one that says nothing; under marks. */
void pml_chunk_reap(struct pml_mm *pm, unsigned long index, struct pml_chunk *c)
{
	if (!bitmap_empty(c->known, PML_CHUNK_PAGES) ||
	    !bitmap_empty(c->touched, PML_CHUNK_PAGES) ||
	    !bitmap_empty(c->cleaned, PML_CHUNK_PAGES) ||
	    !bitmap_empty(c->pinned, PML_CHUNK_PAGES))
		return;
	xa_erase(&pm->chunks, index);
	pm->nchunks--;
	kmem_cache_free(chunk_cache, c);
}

/*
 * Nothing is mapped in [start, end): what is known of it becomes a span for
 * every watch, so that whatever is mapped there next is told, and that a
 * process that goes through ever new addresses does not fill the memory.
 */
void pml_chunks_retire(struct pml_mm *pm, unsigned long start, unsigned long end)
{
	unsigned long index = DIV_ROUND_UP(start, PML_CHUNK_SIZE);
	unsigned long last = end >> PML_CHUNK_SHIFT;
	struct pml_chunk *c;

	if (index >= last)
		return;
	spin_lock(&pm->marks);
	while ((c = xa_find(&pm->chunks, &index, last - 1, XA_PRESENT))) {
		xa_erase(&pm->chunks, index);
		pm->nchunks--;
		kmem_cache_free(chunk_cache, c);
		mark_span(pm, index << PML_CHUNK_SHIFT, (index + 1) << PML_CHUNK_SHIFT);
		cond_resched_lock(&pm->marks);
	}
	spin_unlock(&pm->marks);
}

/* Nobody watches any more, and so nobody marks. */
void pml_chunks_drop(struct pml_mm *pm)
{
	struct pml_chunk *c;
	unsigned long index;

	xa_for_each(&pm->chunks, index, c)
		kmem_cache_free(chunk_cache, c);
	xa_destroy(&pm->chunks);
	pm->nchunks = 0;
}

void pml_mark_pages(struct pml_mm *pm, unsigned long start, unsigned long end, bool cleaned)
{
	while (start < end) {
		unsigned long next = min(end, (start & PMD_MASK) + PML_CHUNK_SIZE);
		struct pml_chunk *c = pml_chunk_make(pm, start >> PML_CHUNK_SHIFT,
						     GFP_NOWAIT | __GFP_NOWARN);

		if (c)
			bitmap_set(cleaned ? c->cleaned : c->touched,
				   (start & ~PMD_MASK) >> PAGE_SHIFT, (next - start) >> PAGE_SHIFT);
		else
			mark_span(pm, start, next);
		start = next;
	}
}

/* What was not there at the last harvest has no chunk, and is told whole. */
static void mark_reprotected(struct pml_mm *pm, unsigned long start, unsigned long end)
{
	unsigned long index = start >> PML_CHUNK_SHIFT;
	struct pml_chunk *c;

	for (c = xa_find(&pm->chunks, &index, (end - 1) >> PML_CHUNK_SHIFT, XA_PRESENT); c;
	     c = xa_find_after(&pm->chunks, &index, (end - 1) >> PML_CHUNK_SHIFT, XA_PRESENT)) {
		unsigned long from = max(start, index << PML_CHUNK_SHIFT);
		unsigned long to = min(end, (index + 1) << PML_CHUNK_SHIFT);

		bitmap_set(c->reprotected, (from & ~PMD_MASK) >> PAGE_SHIFT,
			   (to - from) >> PAGE_SHIFT);
	}
}

/* Under marks. */
static void mark(struct pml_mm *pm, const struct mmu_notifier_range *range)
{
	unsigned long start = range->start & PAGE_MASK;
	unsigned long end = range->end > ULONG_MAX - PAGE_SIZE ? range->end & PAGE_MASK :
				PAGE_ALIGN(range->end);
	struct pml_watch *w;

	if (list_empty(&pm->watches) || start >= end || pml_broken(PML_BREAK_NO_NOTIFIER))
		return;
	list_for_each_entry(w, &pm->watches, in_mm)
		atomic64_inc(&w->counters->invalidations);
	switch (range->event) {
	case MMU_NOTIFY_PROTECTION_VMA:
		if (pml_protection_spreads())
			mark_reprotected(pm, start, end);
		return;
	case MMU_NOTIFY_SOFT_DIRTY:
	case MMU_NOTIFY_RELEASE:
		return;
	case MMU_NOTIFY_PROTECTION_PAGE:
		if (end - start <= SMALL)
			pml_mark_pages(pm, start, end, true);
		return;
	default:
		trace_pml_invalidate(start, end, range->event);
		if (end - start <= SMALL)
			pml_mark_pages(pm, start, end, false);
		else
			mark_span(pm, start, end);
	}
}

/*
 * Whoever changes a mapping (munmap, mprotect, mremap of a part) asks for a huge
 * page there to be split, and the kernel says so of the 2 MiB even where there is
 * none.  Nothing happens then: told apart so that whoever unmaps one page is not
 * told to have changed 512.  It is one of three that announce just 2 MiB while
 * holding mmap_lock for writing: a split; a collapse, which leaves a dirty huge
 * page, or parts of one as they were; and, by way of reclaim or migration, a huge
 * page that is mapped by parts.  The last is excluded by what is mapped.
 *
 * A collapse gives every page another frame: where they are known by it, the page
 * table that is gone at the end tells it from a split.
 */
static bool is_like_split(struct mm_struct *mm, const struct mmu_notifier_range *range)
{
	return range->event == MMU_NOTIFY_CLEAR && !(range->start & ~PMD_MASK) &&
	       range->end - range->start == PMD_SIZE && pml_is_changing(mm) &&
	       !(current->flags & PF_MEMALLOC);
}

static bool is_idle_split(struct mm_struct *mm, const struct mmu_notifier_range *range)
{
	return is_like_split(mm, range) && pml_ptscan_is_small(mm, range->start);
}

/* Under marks, and mmap_lock for writing: no other such change is under way. */
static bool was_collapse(struct pml_mm *pm, const struct mmu_notifier_range *range)
{
	unsigned long before = pm->table;

	if (!pm->by_frame || !is_like_split(pm->notifier.mm, range))
		return false;
	pm->table = 0;
	return before && before != pml_ptscan_table(pm->notifier.mm, range->start);
}

/* For tests: of one page of 64 it takes the kernel longer than a collect. */
static void linger(const struct mmu_notifier_range *range, enum mmu_notifier_event event)
{
	if (pml_broken(PML_HOOK_LINGER) && range->event == event &&
	    mmu_notifier_range_blockable(range) && !(range->start >> PAGE_SHIFT & 63))
		msleep(200);
}

static int range_start(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	struct pml_mm *pm = container_of(n, struct pml_mm, notifier);
	bool idle = is_idle_split(n->mm, range);

	spin_lock(&pm->marks);
	pm->invalidating++;
	if (!idle)
		mark(pm, range);
	else if (pm->by_frame)
		pm->table = pml_ptscan_table(n->mm, range->start);
	spin_unlock(&pm->marks);
	linger(range, MMU_NOTIFY_PROTECTION_PAGE);
	return 0;
}

static void range_end(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	struct pml_mm *pm = container_of(n, struct pml_mm, notifier);

	linger(range, MMU_NOTIFY_PROTECTION_PAGE);
	spin_lock(&pm->marks);
	if (was_collapse(pm, range) || pm->unmarked)
		mark(pm, range);
	if (!--pm->invalidating)
		pm->unmarked = false;
	spin_unlock(&pm->marks);
	pml_swaps_invalidated(range);
	/* reclaim, which has yet to flush */
	if (current->flags & PF_MEMALLOC)
		linger(range, MMU_NOTIFY_CLEAR);
}

static void release(struct mmu_notifier *n, struct mm_struct *mm)
{
	struct pml_mm *pm = container_of(n, struct pml_mm, notifier);
	struct pml_watch *w;

	spin_lock(&pm->marks);
	pm->ended = true;
	list_for_each_entry(w, &pm->watches, in_mm)
		wake_up_all(w->wait);
	spin_unlock(&pm->marks);
	pml_swaps_end(mm);
}

static struct mmu_notifier *alloc_notifier(struct mm_struct *mm)
{
	struct pml_mm *pm = kzalloc(sizeof(*pm), GFP_KERNEL_ACCOUNT);

	if (!pm)
		return ERR_PTR(-ENOMEM);
	mutex_init(&pm->lock);
	spin_lock_init(&pm->marks);
	xa_init(&pm->chunks);
	INIT_LIST_HEAD(&pm->watches);
	return &pm->notifier;
}

static void free_notifier(struct mmu_notifier *n)
{
	struct pml_mm *pm = container_of(n, struct pml_mm, notifier);

	pml_chunks_drop(pm);
	kfree(pm);
}

const struct mmu_notifier_ops pml_notifier_ops = {
	.release = release,
	.invalidate_range_start = range_start,
	.invalidate_range_end = range_end,
	.alloc_notifier = alloc_notifier,
	.free_notifier = free_notifier,
};
