// SPDX-License-Identifier: GPL-2.0-only
/*
 * ptscan: reads and clears the dirty and accessed bits that the processor sets
 * in a process's page tables.  Called by track.c, with mmap_lock held.
 *
 * What makes it sound:
 *  - A bit is cleared by a locked operation and the TLB is flushed before the
 *    page table's lock is let go: whoever writes afterwards sets it again.
 *  - A page whose dirty bit is taken away is marked dirty under the same lock,
 *    or reclaim would throw its content away.
 *  - Tables are walked with the kernel's own rules: what is bad is left alone,
 *    a table may be replaced until its lock is held.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include "compat.h"
#include "trace.h"
#include "track.h"
#include "walk.h"

/* Under Xen PV the tables are the hypervisor's, and cannot be written here. */
bool pml_ptscan_works(void)
{
	return !boot_cpu_has(X86_FEATURE_XENPV);
}

unsigned long pml_ptscan_next(struct mm_struct *mm, unsigned long addr, unsigned long end)
{
	while (addr < end) {
		unsigned long next;
		pmd_t *pmd = pml_find_pmd(mm, addr, end, &next);

		if (pmd && !pmd_none(READ_ONCE(*pmd)))
			return addr;
		addr = next;
	}
	return end;
}

static bool table_is_small(pte_t *table, void *arg)
{
	for (unsigned int i = 0; i < PTRS_PER_PTE; i++) {
		pte_t entry = READ_ONCE(table[i]);

		if (pte_present(entry) && !pte_special(entry) &&
		    folio_order(page_folio(pte_page(entry))) >= PMD_SHIFT - PAGE_SHIFT)
			return false;
	}
	return true;
}

/*
 * Is there a page table at addr, and does it not map a huge page by parts?  The
 * caller keeps the tables' shape by holding mmap_lock for writing.
 */
bool pml_ptscan_is_small(struct mm_struct *mm, unsigned long addr)
{
	unsigned long next;
	pmd_t *pmd = pml_find_pmd(mm, addr, addr + PMD_SIZE, &next);

	return !pmd || pml_with_table(mm, pmd, table_is_small, NULL);
}

/* The frame of the page table at addr, or 0.  The caller is as above. */
unsigned long pml_ptscan_table(struct mm_struct *mm, unsigned long addr)
{
	unsigned long next;
	pmd_t *pmd = pml_find_pmd(mm, addr, addr + PMD_SIZE, &next);
	pmd_t value = pmd ? READ_ONCE(*pmd) : __pmd(0);

	return pmd_present(value) && !pmd_trans_huge(value) ? pmd_pfn(value) : 0;
}

/* Clears the dirty bits that were seen in an entry; true if one was still set. */
static bool take_dirty(unsigned long *entry, unsigned long value)
{
	bool was = false;

	if (value & _PAGE_DIRTY)
		was |= test_and_clear_bit(_PAGE_BIT_DIRTY, entry);
	if (value & PML_DIRTY_BITS & ~_PAGE_DIRTY)
		was |= test_and_clear_bit(PML_BIT_SAVED_DIRTY, entry);
	return was;
}

static bool take_accessed(unsigned long *entry, unsigned long value, u32 events)
{
	return (events & PML_EV_REFERENCED) && (value & _PAGE_ACCESSED) &&
	       test_and_clear_bit(_PAGE_BIT_ACCESSED, entry);
}

struct scan {
	struct pml_watch *w;
	struct pml_harvest *h;
	unsigned long start;
	unsigned long end;
	u32 events;
	unsigned long news;	/* bits of an entry: with none but the first it has no news */
	bool pins;	/* something of this memory has been pinned */
};

/* The bits of a page's entry that say more than that it is there. */
static unsigned long news_bits(u32 events, bool pins)
{
	unsigned long bits = _PAGE_PRESENT | _PAGE_SPECIAL;

	if (events & PML_EV_DIRTY)
		bits |= PML_DIRTY_BITS;
	if (events & PML_EV_REFERENCED)
		bits |= _PAGE_ACCESSED;
	/* whether it is pinned is not in the entry: each is looked at */
	return pins ? ~0ul : bits;
}

/* What an entry that maps pages tells, for n pages from the first. */
static void take_entry(struct scan *s, unsigned long *entry, unsigned long value,
		       struct folio *folio, unsigned int first, unsigned int n)
{
	bitmap_set(s->h->content, first, n);
	if ((s->events & PML_EV_DIRTY) && take_dirty(entry, value)) {
		folio_mark_dirty(folio);
		bitmap_set(s->h->dirty, first, n);
		s->h->ndirty++;
		if (n == 1 && folio_test_large(folio))
			__set_bit(first, s->h->parts);
	}
	if (take_accessed(entry, value, s->events)) {
		folio_mark_accessed(folio);
		bitmap_set(s->h->accessed, first, n);
		s->h->naccessed++;
	}
	if (s->pins && folio_maybe_dma_pinned(folio))
		bitmap_set(s->h->pinned, first, n);
}

static bool scan_table(pte_t *table, void *arg)
{
	struct scan *s = arg;
	unsigned int i = pte_index(s->start), end = i + ((s->end - s->start) >> PAGE_SHIFT);
	unsigned long news = s->news, *content = s->h->content;

	for (; i < end; i++) {
		pte_t value = READ_ONCE(table[i]);

		if (pte_none(value))
			continue;
		/* Most are this: nothing else is read then, least of all the frame's struct
		 * page, which is rarely in the cache.  Nor is a page that is swapped out, or
		 * on its way to another frame.
		 */
		if ((pte_flags(value) & news) == _PAGE_PRESENT || !pte_present(value)) {
			__set_bit(i, content);
			continue;
		}
		/* the zero page: as if nothing was there */
		if (pte_special(value))
			continue;
		take_entry(s, (unsigned long *)&table[i].pte, pte_val(value),
			   page_folio(pte_page(value)), i, 1);
	}
	if (s->h->ndirty || s->h->naccessed)
		pml_flush(s->w);
	return true;
}

/* A huge page, or one on its way.  False: it is neither. */
static bool scan_huge(struct scan *s, struct mm_struct *mm, pmd_t *pmd)
{
	spinlock_t *ptl = pmd_lock(mm, pmd);
	pmd_t value = READ_ONCE(*pmd);
	bool is_huge = true;

	if (pmd_trans_huge(value)) {
		s->h->huge = true;
		take_entry(s, (unsigned long *)&pmd->pmd, pmd_val(value),
			   page_folio(pmd_page(value)), 0, PML_CHUNK_PAGES);
		if (s->h->ndirty || s->h->naccessed)
			pml_flush(s->w);
	} else if (!pmd_none(value) && !pmd_present(value)) {
		bitmap_fill(s->h->content, PML_CHUNK_PAGES);
		s->h->huge = true;
	} else {
		is_huge = false;
	}
	spin_unlock(ptl);
	return is_huge;
}

/* Splits the huge page at addr; when that fails it stays one. */
static void split(struct pml_watch *w, struct mm_struct *mm, unsigned long addr)
{
	struct page *page;

	if (pml_get_page(mm, addr, FOLL_SPLIT_PMD | FOLL_FORCE, &page) == 1) {
		put_page(page);
		atomic64_inc(&w->counters->splits);
	}
}

void pml_ptscan(struct pml_watch *w, struct vm_area_struct *vma, unsigned long start,
		unsigned long end, u32 events, struct pml_harvest *h)
{
	struct mm_struct *mm = vma->vm_mm;
	struct scan s = {
		.w = w, .h = h, .start = start, .end = end, .events = events,
		.pins = pml_mm_has_pinned(mm),
	};
	unsigned long next;
	pmd_t *pmd = pml_find_pmd(mm, start, end, &next);
	int tries = 0;

	s.news = news_bits(events, s.pins);
	memset(h, 0, sizeof(*h));
	if (!pmd)
		return;
	atomic64_inc(&w->counters->tables);
	for (;;) {
		pmd_t value = READ_ONCE(*pmd);

		if (pmd_none(value))
			break;
		if (pmd_trans_huge(value) || !pmd_present(value)) {
			if (scan_huge(&s, mm, pmd))
				break;
		} else if (pml_with_table(mm, pmd, scan_table, &s)) {
			break;
		}
		/* replaced under our hands, or bad: it cannot be read now */
		if (++tries > 100) {
			h->unread = true;
			break;
		}
		cond_resched();
	}
	if (h->huge && (w->flags & PML_ADD_SPLIT))
		split(w, mm, start);
	atomic64_add(h->ndirty, &w->counters->dirty_bits);
	atomic64_add(h->naccessed, &w->counters->accessed_bits);
	trace_pml_harvest(start, h->ndirty, h->naccessed, h->huge);
}
