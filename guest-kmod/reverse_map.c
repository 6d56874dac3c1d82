// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reverse mapping; see reverse_map.h.
 */
#include <linux/ksm.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include "compat.h"
#include "reverse_map.h"
#include "track.h"
#include "walk.h"

/* A lookup costs as much as so many entries of a page table; see bench/spml. */
#define LOOKUP_COST 24
/* ... and so many mappings that are asked as much as one entry. */
#define PLACES_PER_ENTRY 4
/* As many are kept; with more mappings there is a join. */
#define PLACES_MAX 4096
/* A bitmap larger than this (of 1 TiB) is not made: chunks are looked up instead. */
#define FILTER_MAX (1ul << 28)
/* A table is being replaced each time that it is looked at. */
#define TRIES 100

/* Where a mapping has its part of a file, or of what is counted like one. */
struct place {
	unsigned long start;
	unsigned long offset;	/* in pages */
	unsigned long npages;
};

struct map {
	struct pml_reverse *r;
	/* all frames that are wanted are among so many from the first on */
	unsigned long first;
	unsigned long span;
	/* in a join, a bit for each from first on; NULL: they are looked up by chunk */
	unsigned long *dirty;
	unsigned long *referenced;	/* NULL: none is */
	bool any_referenced;
	/* the chunk of frames looked up last */
	unsigned long chunk;
	struct pml_logged *wanted;
	/* what was found in one chunk of addresses */
	unsigned long index;
	struct pml_found found;
	bool failed;
	/* of the table at hand */
	unsigned long start;
	unsigned long end;
	unsigned long frame;		/* in a lookup: the one that is looked for */
	bool is_lookup;
	struct place *places;
	unsigned int nplaces;
};

/* What is wanted of the frame's chunk; NULL: nothing of this frame. */
static struct pml_logged *find_wanted(struct map *m, unsigned long frame)
{
	unsigned long i = frame - m->first;

	if (i >= m->span)
		return NULL;
	if (frame / PML_CHUNK_PAGES != m->chunk) {
		m->chunk = frame / PML_CHUNK_PAGES;
		m->wanted = xa_load(m->r->frames, m->chunk);
	}
	return m->wanted;
}

/* One of 16 pages is forgotten; or all places of a frame but the first. */
static bool is_forgotten(unsigned long *dirty, unsigned long addr, unsigned long bit)
{
	if (pml_broken(PML_BREAK_LOSE_MAPPED) && !(addr >> PAGE_SHIFT & 15))
		return true;
	if (pml_broken(PML_BREAK_ONE_PLACE))
		__clear_bit(bit, dirty);
	return false;
}

/* By its entry, is it as it was read from a file or from swap?  Its table is locked. */
static bool is_clean(pte_t value)
{
	struct folio *folio;

	if (pte_flags(value) & PML_DIRTY_BITS)
		return false;
	folio = page_folio(pte_page(value));
	return !folio_test_dirty(folio) &&
	       (!folio_test_anon(folio) || folio_test_swapcache(folio));
}

/* The page at addr, which is in the chunk at hand, maps this frame; value: by a table. */
static void meet(struct map *m, unsigned long addr, unsigned long frame, const pte_t *value)
{
	struct pml_logged *wanted = find_wanted(m, frame);
	unsigned int bit = frame % PML_CHUNK_PAGES, i = (addr & ~PMD_MASK) >> PAGE_SHIFT;
	bool dirty;

	if (!wanted)
		return;
	dirty = test_bit(bit, wanted->dirty);
	if (test_bit(bit, wanted->referenced))
		__set_bit(i, m->found.logged.referenced);
	if (dirty && !is_forgotten(wanted->dirty, addr, bit))
		__set_bit(i, value && is_clean(*value) ? m->found.clean : m->found.logged.dirty);
}

/* Tells what was found of the chunk at hand, and goes on to another. */
static void tell(struct map *m, unsigned long index)
{
	DECLARE_BITMAP(any, PML_CHUNK_PAGES);
	unsigned int n = 0;

	if (m->index == index)
		return;
	if (m->index != ULONG_MAX) {
		bitmap_or(any, m->found.logged.dirty, m->found.logged.referenced,
			  PML_CHUNK_PAGES);
		bitmap_or(any, any, m->found.clean, PML_CHUNK_PAGES);
		n = bitmap_weight(any, PML_CHUNK_PAGES);
	}
	if (n) {
		m->r->npages += n;
		if (!m->r->found(m->r->arg, m->index, &m->found))
			m->failed = true;
		memset(&m->found, 0, sizeof(m->found));
	}
	m->index = index;
}

/* ---- one table, or huge page ---- */

static bool meet_table(pte_t *table, void *arg)
{
	struct map *m = arg;
	pte_t *pte = table + pte_index(m->start);

	for (unsigned long addr = m->start; addr < m->end; addr += PAGE_SIZE, pte++) {
		pte_t value = READ_ONCE(*pte);

		/* what is on its way has its mark; the zero page is nobody's */
		if (!pte_present(value) || pte_special(value))
			continue;
		if (!m->is_lookup || pte_pfn(value) == m->frame)
			meet(m, addr, pte_pfn(value), &value);
	}
	return true;
}

/*
 * The same for a join, of one entry: the body of the loop over all that is mapped.  By
 * far the most are of pages that are there, and not wanted.
 */
static void join_entry(struct map *m, unsigned long addr, pte_t value)
{
	unsigned long v = pte_val(value), at;
	unsigned int i = pte_index(addr);

	if ((v & (_PAGE_PRESENT | _PAGE_SPECIAL)) == _PAGE_PRESENT)
		at = (v & PTE_PFN_MASK) >> PAGE_SHIFT;
	else if (pte_present(value) && !pte_special(value))
		at = pte_pfn(value);
	else
		return;
	at -= m->first;
	if (at >= m->span)
		return;
	if (m->referenced && test_bit(at, m->referenced))
		__set_bit(i, m->found.logged.referenced);
	if (!test_bit(at, m->dirty) || is_forgotten(m->dirty, addr, at))
		return;
	__set_bit(i, is_clean(value) ? m->found.clean : m->found.logged.dirty);
}

static bool join_table(pte_t *table, void *arg)
{
	struct map *m = arg;
	pte_t *pte = table + pte_index(m->start);

	for (unsigned long addr = m->start; addr < m->end; addr += PAGE_SIZE, pte++)
		join_entry(m, addr, READ_ONCE(*pte));
	return true;
}

/* False: it is none. */
static bool meet_huge(struct map *m, pmd_t *pmd)
{
	spinlock_t *ptl = pmd_lock(m->r->mm, pmd);
	pmd_t value = READ_ONCE(*pmd);
	bool is_huge = !pmd_none(value) && (pmd_trans_huge(value) || !pmd_present(value));

	if (pmd_trans_huge(value)) {
		unsigned long frame = pmd_pfn(value) + ((m->start & ~PMD_MASK) >> PAGE_SHIFT);

		for (unsigned long addr = m->start; addr < m->end; addr += PAGE_SIZE, frame++)
			if (!m->is_lookup || frame == m->frame)
				meet(m, addr, frame, NULL);
	}
	spin_unlock(ptl);
	return is_huge;
}

/* [start, end) of one chunk, as far as it is mapped. */
static void meet_chunk(struct map *m, pmd_t *pmd, unsigned long start, unsigned long end)
{
	tell(m, start >> PML_CHUNK_SHIFT);
	m->start = start;
	m->end = end;
	for (unsigned int tries = 0; tries < TRIES; tries++) {
		pmd_t value = READ_ONCE(*pmd);

		if (pmd_none(value))
			return;
		if (pmd_trans_huge(value) || !pmd_present(value)) {
			if (meet_huge(m, pmd))
				return;
		} else if (pml_with_table(m->r->mm, pmd, m->dirty ? join_table : meet_table, m)) {
			return;
		}
		cond_resched();
	}
	m->failed = true;
}

/* ---- join ---- */

static void join(struct map *m)
{
	VMA_ITERATOR(vmi, m->r->mm, 0);
	struct vm_area_struct *vma;
	unsigned long next;

	for_each_vma(vmi, vma) {
		if (pml_why_uncovered(vma))
			continue;
		for (unsigned long at = vma->vm_start; at < vma->vm_end; at = next) {
			pmd_t *pmd = pml_find_pmd(m->r->mm, at, vma->vm_end, &next);

			if (pmd)
				meet_chunk(m, pmd, at, next);
			cond_resched();
		}
	}
}

static unsigned long *make_bits(unsigned long n)
{
	return kvcalloc(BITS_TO_LONGS(n), sizeof(long), GFP_KERNEL | __GFP_NOWARN);
}

/* A bit for each frame, so that most entries need no more than a look at it. */
static void make_filter(struct map *m)
{
	unsigned long index;
	struct pml_logged *p;

	if (m->span > FILTER_MAX)
		return;
	m->dirty = make_bits(m->span);
	if (m->any_referenced)
		m->referenced = make_bits(m->span);
	if (m->any_referenced && !m->referenced) {
		kvfree(m->dirty);
		m->dirty = NULL;
	}
	if (!m->dirty)
		return;
	xa_for_each(m->r->frames, index, p) {
		/* first is the first of a chunk, and so of a word */
		unsigned long at = index * PML_CHUNK_PAGES - m->first;

		bitmap_copy(m->dirty + BIT_WORD(at), p->dirty, PML_CHUNK_PAGES);
		if (m->referenced)
			bitmap_copy(m->referenced + BIT_WORD(at), p->referenced, PML_CHUNK_PAGES);
	}
}

/* ---- lookup ---- */

static int list_places(struct map *m)
{
	VMA_ITERATOR(vmi, m->r->mm, 0);
	unsigned int max = READ_ONCE(m->r->mm->map_count);
	struct vm_area_struct *vma;

	m->places = kvmalloc_array(max, sizeof(*m->places), GFP_KERNEL | __GFP_NOWARN);
	if (!m->places)
		return -ENOMEM;
	for_each_vma(vmi, vma) {
		if (pml_why_uncovered(vma))
			continue;
		if (m->nplaces == max)
			return -ENOMEM;
		m->places[m->nplaces++] = (struct place){
			.start = vma->vm_start, .offset = vma->vm_pgoff,
			.npages = vma_pages(vma),
		};
	}
	return 0;
}

/* The frame's place in its mapping; 0: it is mapped nowhere; -1: it does not say. */
static int ask_frame(unsigned long frame, unsigned long *offset)
{
	struct page *page = pfn_to_online_page(frame);
	struct folio *folio;
	int said = -1;

	if (!page)
		return 0;
	folio = page_folio(page);
	/* free, the kernel's own, or just now being moved, which has a mark */
	if (!folio_try_get(folio))
		return 0;
	if (page_folio(page) == folio) {
		if (folio_test_slab(folio) || !folio_mapped(folio)) {
			said = 0;
		} else if (folio->mapping && !folio_test_ksm(folio)) {
			*offset = folio->index + (frame - folio_pfn(folio));
			said = 1;
		}
	}
	folio_put(folio);
	return said;
}

static void look_at(struct map *m, const struct place *p, unsigned long offset)
{
	unsigned long addr = p->start + ((offset - p->offset) << PAGE_SHIFT), next;
	pmd_t *pmd = pml_find_pmd(m->r->mm, addr, addr + PAGE_SIZE, &next);

	if (pmd)
		meet_chunk(m, pmd, addr, addr + PAGE_SIZE);
}

/* False: the frame does not say where it is. */
static bool look_up(struct map *m, unsigned long frame)
{
	unsigned long offset;
	int said = ask_frame(frame, &offset);

	if (said <= 0)
		return !said;
	m->frame = frame;
	for (unsigned int i = 0; i < m->nplaces; i++)
		if (offset - m->places[i].offset < m->places[i].npages)
			look_at(m, m->places + i, offset);
	return true;
}

static bool look_up_all(struct map *m)
{
	DECLARE_BITMAP(any, PML_CHUNK_PAGES);
	struct pml_logged *p;
	unsigned long index;
	unsigned int bit;

	m->is_lookup = true;
	xa_for_each(m->r->frames, index, p) {
		bitmap_or(any, p->dirty, p->referenced, PML_CHUNK_PAGES);
		for_each_set_bit(bit, any, PML_CHUNK_PAGES)
			if (!look_up(m, index * PML_CHUNK_PAGES + bit))
				return false;
		cond_resched();
	}
	return true;
}

/* ---- which ---- */

/* Do so many frames cost less than all the entries that there are? */
static bool is_small(const struct pml_reverse *r)
{
	unsigned long entries = mm_pgtables_bytes(r->mm) / sizeof(pte_t);
	unsigned long places = READ_ONCE(r->mm->map_count);

	if (places > PLACES_MAX || pml_broken(PML_HOOK_JOIN))
		return false;
	return pml_broken(PML_HOOK_LOOKUP) ||
	       r->nframes * (LOOKUP_COST + places / PLACES_PER_ENTRY) < entries;
}

static void count(struct map *m)
{
	DECLARE_BITMAP(any, PML_CHUNK_PAGES);
	struct pml_logged *p;
	unsigned long index;

	m->first = ULONG_MAX;
	xa_for_each(m->r->frames, index, p) {
		bitmap_or(any, p->dirty, p->referenced, PML_CHUNK_PAGES);
		m->any_referenced |= !bitmap_empty(p->referenced, PML_CHUNK_PAGES);
		m->r->nframes += bitmap_weight(any, PML_CHUNK_PAGES);
		m->first = min(m->first, index * PML_CHUNK_PAGES);
		m->span = (index + 1) * PML_CHUNK_PAGES - m->first;
	}
}

bool pml_reverse_map(struct pml_reverse *r)
{
	struct map *m = kzalloc(sizeof(*m), GFP_KERNEL);
	bool done = false;

	r->nframes = 0;
	r->npages = 0;
	r->joined = false;
	if (!m)
		return false;
	m->r = r;
	m->chunk = ULONG_MAX;
	m->index = ULONG_MAX;
	count(m);
	if (r->nframes && is_small(r) && !list_places(m))
		done = look_up_all(m);
	if (r->nframes && !done) {
		m->is_lookup = false;
		r->joined = true;
		r->npages = 0;
		make_filter(m);
		join(m);
	}
	tell(m, ULONG_MAX);
	done = !m->failed;
	kvfree(m->dirty);
	kvfree(m->referenced);
	kvfree(m->places);
	kfree(m);
	return done;
}
