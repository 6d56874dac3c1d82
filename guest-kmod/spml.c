// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the log of frames (PML_MODE_SPML) has beyond that of addresses: log.c keeps what
 * was logged by frame until its epoch has ended; here it becomes pages of the memory.
 * Called by collect.c, under mm->lock and with mmap_lock held for reading.
 *
 * Between a store and this moment the page may have got another frame, or none: then
 * the MMU notifier has marked it before its entry changed, and the mark is told.  So a
 * frame need not be looked for at once, and a frame that has meanwhile become another
 * page's is at worst told too much; as ASSUMED, if that page looks unwritten.
 *
 * Frames that the memory does not map are the kernel's, or another process's: nobody
 * is told of them.
 */
#include <linux/ktime.h>
#include "log.h"
#include "reverse_map.h"
#include "track.h"

/* Whatever they are, they are told once, as ASSUMED. */
static void mark_clean(struct pml_mm *pm, unsigned long index, const unsigned long *clean)
{
	unsigned long base = index << PML_CHUNK_SHIFT;
	unsigned int bit;

	spin_lock(&pm->marks);
	for_each_set_bit(bit, clean, PML_CHUNK_PAGES)
		pml_mark_pages(pm, base + bit * PAGE_SIZE, base + (bit + 1) * PAGE_SIZE, false);
	spin_unlock(&pm->marks);
}

static bool tell_pages(void *arg, unsigned long index, const struct pml_found *found)
{
	const struct pml_logged *pages = &found->logged;
	struct pml_mm *pm = arg;
	struct pml_log *log = pm->log;
	struct pml_logged *to;

	if (!bitmap_empty(found->clean, PML_CHUNK_PAGES))
		mark_clean(pm, index, found->clean);
	if (bitmap_empty(pages->dirty, PML_CHUNK_PAGES) &&
	    bitmap_empty(pages->referenced, PML_CHUNK_PAGES))
		return true;

	to = pml_logged_make(log, log->told, index);
	if (to) {
		bitmap_or(to->dirty, to->dirty, pages->dirty, PML_CHUNK_PAGES);
		bitmap_or(to->referenced, to->referenced, pages->referenced, PML_CHUNK_PAGES);
		/* more than there are, until the next one settles it */
		to->words = ~0ul >> (BITS_PER_LONG - BITS_TO_LONGS(PML_CHUNK_PAGES));
	}
	return to;
}

static bool tell_page(void *arg, unsigned long addr, bool dirty, bool referenced, bool is_clean)
{
	struct pml_mm *pm = arg;
	struct pml_log *log = pm->log;
	struct pml_logged *to;

	if (is_clean) {
		spin_lock(&pm->marks);
		pml_mark_pages(pm, addr, addr + PAGE_SIZE, false);
		spin_unlock(&pm->marks);
	}
	if (!dirty && !referenced)
		return true;
	to = pml_logged_make(log, log->told, addr >> PML_CHUNK_SHIFT);
	if (to)
		to->words |= BIT(BIT_WORD(pte_index(addr)));
	if (to && dirty)
		__set_bit(pte_index(addr), to->dirty);
	if (to && referenced)
		__set_bit(pte_index(addr), to->referenced);
	return to;
}

bool pml_spml_resolve(struct pml_mm *pm, struct pml_counters *counters)
{
	struct pml_log *log = pm->log;
	struct pml_reverse r = {
		.mm = log->mm, .frames = log->frames, .found = tell_pages,
		.found_page = tell_page, .arg = pm,
	};
	u64 begin = ktime_get_ns();
	bool done;

	if (!log->frames->nlive)
		return true;
	done = pml_reverse_map(&r);
	pml_logged_clear(log->frames);
	atomic64_add(r.nframes, &counters->log_frames);
	atomic64_add(r.npages, &counters->log_mapped);
	atomic64_inc(r.joined ? &counters->log_joins : &counters->log_lookups);
	atomic64_add(ktime_get_ns() - begin, &counters->log_map_ns);
	return done;
}
