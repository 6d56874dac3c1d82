// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reverse mapping; see reverse_map.h.
 */
#include <linux/ksm.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sort.h>
#include "compat.h"
#include "reverse_map.h"
#include "track.h"
#include "walk.h"

/* A lookup costs as much as so many entries of a page table in a join; see bench/spml. */
#define LOOKUP_COST 24
/* ... and so does to list one mapping. */
#define PLACE_COST 16
/* As many are kept; with more mappings there is a join. */
#define PLACES_MAX 4096
/* From so many frames on it pays to sort the mappings. */
#define SORT_MIN 64
/* So many are asked about one frame before others may run. */
#define PLACES_BETWEEN 64
/* A bitmap larger than this (of 1 TiB) is not made: chunks are looked up instead. */
#define FILTER_MAX (1ul << 28)
/* A table is being replaced each time that it is looked at. */
#define TRIES 100

/* Where a mapping has its part of a file, or of what is counted like one. */
struct place {
	unsigned long start;
	unsigned long offset;	/* in pages */
	unsigned long npages;
	unsigned long reach;	/* where this one, and all before it, end by offset */
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
	bool failed;
	/* the chunk of addresses at hand, and what was found in it by a join */
	unsigned long index;
	struct pml_found found;
	bool any;
	/* what is looked at of it */
	unsigned long start;
	unsigned long end;
	/* in a lookup: the frame that is looked for, and whether it is at start */
	unsigned long frame;
	bool is_place;
	bool is_clean;
	pmd_t *pmds;			/* those above the tables around it; or NULL */
	unsigned long pmds_of;
	struct place *places;
	unsigned int nplaces;
	unsigned int near;		/* places up to the one that was right last */
	bool is_sorted;
};

/* What is wanted of the frame's chunk; NULL: nothing of this frame. */
static struct pml_logged *find_wanted(struct map *m, unsigned long frame)
{
	unsigned long i = frame - m->first;

	if (i >= m->span)
		return NULL;
	if (frame / PML_CHUNK_PAGES != m->chunk) {
		m->chunk = frame / PML_CHUNK_PAGES;
		m->wanted = xa_load(&m->r->frames->chunks, m->chunk);
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

/* Tells what was found of the chunk at hand, and goes on to another. */
static void tell(struct map *m, unsigned long index)
{
	DECLARE_BITMAP(any, PML_CHUNK_PAGES);

	if (m->any) {
		bitmap_or(any, m->found.logged.dirty, m->found.logged.referenced,
			  PML_CHUNK_PAGES);
		bitmap_or(any, any, m->found.clean, PML_CHUNK_PAGES);
		m->r->npages += bitmap_weight(any, PML_CHUNK_PAGES);
		if (!m->r->found(m->r->arg, m->index, &m->found))
			m->failed = true;
		memset(&m->found, 0, sizeof(m->found));
		m->any = false;
	}
	m->index = index;
}

/* ---- a table, or huge page, in a join ---- */

/* The page at addr, which is in the chunk at hand, maps this frame; value: by a table. */
static void meet(struct map *m, unsigned long addr, unsigned long frame, const pte_t *value)
{
	struct pml_logged *wanted = find_wanted(m, frame);
	unsigned int bit = frame % PML_CHUNK_PAGES, i = (addr & ~PMD_MASK) >> PAGE_SHIFT;

	if (!wanted)
		return;
	if (test_bit(bit, wanted->referenced)) {
		__set_bit(i, m->found.logged.referenced);
		m->any = true;
	}
	if (test_bit(bit, wanted->dirty) && !is_forgotten(wanted->dirty, addr, bit)) {
		__set_bit(i, value && is_clean(*value) ? m->found.clean : m->found.logged.dirty);
		m->any = true;
	}
}

/* What is on its way has its mark; the zero page is nobody's. */
static bool is_there(pte_t value)
{
	return pte_present(value) && !pte_special(value);
}

/* Without a filter. */
static bool meet_table(pte_t *table, void *arg)
{
	struct map *m = arg;
	pte_t *pte = table + pte_index(m->start);

	for (unsigned long addr = m->start; addr < m->end; addr += PAGE_SIZE, pte++) {
		pte_t value = READ_ONCE(*pte);

		if (is_there(value))
			meet(m, addr, pte_pfn(value), &value);
	}
	return true;
}

/* With one: any entry. */
static void join_entry(struct map *m, unsigned int i, pte_t value)
{
	unsigned long at = pte_pfn(value) - m->first;

	if (!is_there(value) || at >= m->span)
		return;
	if (m->referenced && test_bit(at, m->referenced)) {
		__set_bit(i, m->found.logged.referenced);
		m->any = true;
	}
	if (test_bit(at, m->dirty) &&
	    !is_forgotten(m->dirty, (m->start & PMD_MASK) + i * PAGE_SIZE, at)) {
		__set_bit(i, is_clean(value) ? m->found.clean : m->found.logged.dirty);
		m->any = true;
	}
}

/*
 * The body of the loop over all that is mapped: of so many entries, at most a word,
 * those whose frame was written, and which say by their dirty bit that they are no
 * copy of a file.  *others: those that have to be looked at one by one.
 */
static unsigned long join_word(const struct map *m, const pte_t *pte, unsigned int n,
			       unsigned long *others)
{
	const unsigned long *dirty = m->dirty;
	unsigned long first = m->first, span = m->span, found = 0, rest = 0;

	for (unsigned int k = 0; k < n; k++) {
		unsigned long v = pte_val(READ_ONCE(pte[k])), at;

		if (unlikely(!(v & _PAGE_PRESENT))) {
			/* nothing; or swapped, on its way, without access */
			if (v)
				rest |= BIT(k);
			continue;
		}
		at = ((v & PTE_PFN_MASK) >> PAGE_SHIFT) - first;
		if (at >= span || !(dirty[BIT_WORD(at)] >> at % BITS_PER_LONG & 1))
			continue;
		if (v & PML_DIRTY_BITS && !(v & _PAGE_SPECIAL))
			found |= BIT(k);
		else
			rest |= BIT(k);
	}
	*others = rest;
	return found;
}

/* Does each entry have to be looked at by itself? */
static bool is_one_by_one(const struct map *m)
{
	return m->referenced || pml_broken(PML_BREAK_LOSE_MAPPED | PML_BREAK_ONE_PLACE);
}

static bool join_table(pte_t *table, void *arg)
{
	struct map *m = arg;
	unsigned int i = pte_index(m->start), to = i + ((m->end - m->start) >> PAGE_SHIFT), n;

	for (; i < to; i += n) {
		unsigned long found = 0, others = ~0ul;

		n = min_t(unsigned int, to - i, BITS_PER_LONG - i % BITS_PER_LONG);
		if (!is_one_by_one(m))
			found = join_word(m, table + i, n, &others);
		if (found) {
			m->found.logged.dirty[BIT_WORD(i)] |= found << i % BITS_PER_LONG;
			m->any = true;
		}
		for (unsigned int k = 0; others && k < n; k++)
			if (others >> k & 1)
				join_entry(m, i + k, READ_ONCE(table[i + k]));
	}
	return true;
}

/* The table's place in the tables above it says that it is none, but one page. */
static inline bool is_huge(pmd_t value)
{
	return !pmd_none(value) && (pmd_trans_huge(value) || !pmd_present(value));
}

/* False: it is none. */
static bool meet_huge(struct map *m, pmd_t *pmd)
{
	spinlock_t *ptl = pmd_lock(m->r->mm, pmd);
	pmd_t value = READ_ONCE(*pmd);

	if (pmd_trans_huge(value)) {
		unsigned long frame = pmd_pfn(value) + ((m->start & ~PMD_MASK) >> PAGE_SHIFT);

		for (unsigned long addr = m->start; addr < m->end; addr += PAGE_SIZE, frame++)
			meet(m, addr, frame, NULL);
	}
	spin_unlock(ptl);
	return is_huge(value);
}

/*
 * What the entry at pmd leads to is handed to one of the two, again if it has been
 * replaced meanwhile.
 */
static void with_entry(struct map *m, pmd_t *pmd, bool (*huge)(struct map *m, pmd_t *pmd),
		       bool (*table)(pte_t *table, void *arg))
{
	for (unsigned int tries = 0; tries < TRIES; tries++) {
		pmd_t value = READ_ONCE(*pmd);

		if (pmd_none(value))
			return;
		if (is_huge(value) ? huge(m, pmd) : pml_with_table(m->r->mm, pmd, table, m))
			return;
		cond_resched();
	}
	m->failed = true;
}

/* [start, end) of one chunk, as far as it is mapped. */
static void meet_chunk(struct map *m, pmd_t *pmd, unsigned long start, unsigned long end)
{
	tell(m, start >> PML_CHUNK_SHIFT);
	m->start = start;
	m->end = end;
	with_entry(m, pmd, meet_huge, m->dirty ? join_table : meet_table);
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
	list_for_each_entry(p, &m->r->frames->live, live) {
		/* first is the first of a chunk, and so of a word */
		unsigned long at = p->index * PML_CHUNK_PAGES - m->first;

		bitmap_copy(m->dirty + BIT_WORD(at), p->dirty, PML_CHUNK_PAGES);
		if (m->referenced)
			bitmap_copy(m->referenced + BIT_WORD(at), p->referenced, PML_CHUNK_PAGES);
	}
}

/* ---- lookup ---- */

static int by_offset(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Those that may have an offset are then found without asking all of them. */
static void sort_places(struct map *m)
{
	unsigned long reach = 0;

	sort(m->places, m->nplaces, sizeof(*m->places), by_offset, NULL);
	for (struct place *p = m->places; p < m->places + m->nplaces; p++) {
		reach = max(reach, p->offset + p->npages);
		p->reach = reach;
	}
	m->is_sorted = true;
}

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
			.npages = vma_pages(vma), .reach = ULONG_MAX,
		};
	}
	if (m->r->nframes >= SORT_MIN)
		sort_places(m);
	return 0;
}

/* Are these the places that begin at this offset or before it? */
static bool is_up_to(const struct map *m, unsigned int n, unsigned long offset)
{
	return n && m->places[n - 1].offset <= offset &&
	       (n == m->nplaces || m->places[n].offset > offset);
}

/* How many places begin at this offset or before it, and so may have it. */
static unsigned int count_places(struct map *m, unsigned long offset)
{
	unsigned int from = 0, to = m->nplaces;

	if (!m->is_sorted)
		return to;
	/* the next frame is mostly in the same mapping */
	if (is_up_to(m, m->near, offset))
		return m->near;
	while (from < to) {
		unsigned int i = (from + to) / 2;

		if (m->places[i].offset <= offset)
			from = i + 1;
		else
			to = i;
	}
	m->near = from;
	return from;
}

/*
 * The frame's place in its mapping; 0: it is mapped nowhere; -1: it does not say.
 * page: the frame's.
 */
static int ask_frame(struct page *page, unsigned long *offset)
{
	struct folio *folio = page_folio(page);
	int said = -1;

	/* free, the kernel's own, or just now being moved, which has a mark */
	if (!folio_try_get(folio))
		return 0;
	if (page_folio(page) == folio) {
		if (folio_test_slab(folio) || !folio_mapped(folio)) {
			said = 0;
		} else if (folio->mapping && !folio_test_ksm(folio)) {
			*offset = folio->index + (page_to_pfn(page) - folio_pfn(folio));
			said = 1;
		}
	}
	folio_put(folio);
	return said;
}

/* The entry of m->start, by a table, is the frame's. */
static bool look_at_entry(pte_t *table, void *arg)
{
	struct map *m = arg;
	pte_t value = READ_ONCE(table[pte_index(m->start)]);

	m->is_place = is_there(value) && pte_pfn(value) == m->frame;
	m->is_clean = m->is_place && is_clean(value);
	return true;
}

static bool look_at_huge(struct map *m, pmd_t *pmd)
{
	spinlock_t *ptl = pmd_lock(m->r->mm, pmd);
	pmd_t value = READ_ONCE(*pmd);

	m->is_place = pmd_trans_huge(value) &&
		      pmd_pfn(value) + ((m->start & ~PMD_MASK) >> PAGE_SHIFT) == m->frame;
	m->is_clean = false;
	spin_unlock(ptl);
	return is_huge(value);
}

/*
 * The entry above the table of addr, which is mostly near the last one.  What is mapped
 * keeps the tables in which these entries are, while mmap_lock is held.
 */
static pmd_t *find_pmd(struct map *m, unsigned long addr)
{
	unsigned long next;
	pmd_t *pmd;

	if (m->pmds && !((addr ^ m->pmds_of) & PUD_MASK))
		return m->pmds + pmd_index(addr);
	pmd = pml_find_pmd(m->r->mm, addr, addr + PAGE_SIZE, &next);
	m->pmds = pmd ? pmd - pmd_index(addr) : NULL;
	m->pmds_of = addr;
	return pmd;
}

static void look_at(struct map *m, struct pml_logged *wanted, unsigned long addr)
{
	unsigned int bit = m->frame % PML_CHUNK_PAGES;
	bool is_dirty = test_bit(bit, wanted->dirty), is_referenced;
	pmd_t *pmd = find_pmd(m, addr);

	if (!pmd)
		return;
	m->start = addr;
	m->is_place = false;
	with_entry(m, pmd, look_at_huge, look_at_entry);
	if (!m->is_place)
		return;
	is_referenced = test_bit(bit, wanted->referenced);
	if (is_dirty && is_forgotten(wanted->dirty, addr, bit))
		is_dirty = false;
	if (!is_dirty && !is_referenced)
		return;
	m->r->npages++;
	if (!m->r->found_page(m->r->arg, addr, is_dirty && !m->is_clean, is_referenced,
			      is_dirty && m->is_clean))
		m->failed = true;
}

/* False: the frame does not say where it is. */
static bool look_up(struct map *m, struct pml_logged *wanted, struct page *page)
{
	unsigned int n, asked = 0;
	unsigned long offset;
	int said = ask_frame(page, &offset);

	if (said <= 0)
		return !said;
	m->frame = page_to_pfn(page);
	for (n = count_places(m, offset); n && m->places[n - 1].reach > offset; n--) {
		const struct place *p = m->places + n - 1;

		if (offset - p->offset < p->npages)
			look_at(m, wanted, p->start + ((offset - p->offset) << PAGE_SHIFT));
		if (!(++asked % PLACES_BETWEEN))
			cond_resched();
	}
	return true;
}

static bool look_up_all(struct map *m)
{
	unsigned long any;
	struct pml_logged *p;
	unsigned int i;

	list_for_each_entry(p, &m->r->frames->live, live) {
		/* the frames of one chunk are there, or not, all together */
		struct page *first = pfn_to_online_page(p->index * PML_CHUNK_PAGES);

		if (!first)
			continue;
		pml_for_each_word(i, p)
			for (any = pml_logged_word(p, i); any; any &= any - 1)
				if (!look_up(m, p, first + i * BITS_PER_LONG + __ffs(any)))
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
	       r->nframes * LOOKUP_COST + places * PLACE_COST < entries;
}

static void count(struct map *m)
{
	unsigned long first = ULONG_MAX, last = 0, n = 0, any_referenced = 0;
	struct pml_logged *p;
	unsigned int i;

	list_for_each_entry(p, &m->r->frames->live, live) {
		pml_for_each_word(i, p) {
			n += hweight_long(pml_logged_word(p, i));
			any_referenced |= p->referenced[i];
		}
		first = min(first, p->index);
		last = max(last, p->index);
	}
	m->r->nframes = n;
	m->any_referenced = any_referenced;
	m->first = first * PML_CHUNK_PAGES;
	m->span = (last - first + 1) * PML_CHUNK_PAGES;
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
		r->joined = true;
		r->npages = 0;
		m->index = ULONG_MAX;
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
