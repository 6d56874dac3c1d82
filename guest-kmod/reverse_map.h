/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From frames to the addresses at which one memory maps them: all of them, and none
 * of a frame that it does not map.  Called by spml.c.
 *
 * Two ways, the cheaper of which is taken.  A JOIN goes once through the page tables
 * and looks up each entry's frame in a bitmap: its cost is that of what is mapped.  A
 * LOOKUP asks each frame for the place in its mapping, and each of the memory's
 * mappings that has such a place whether it maps the frame there: its cost is that of
 * the frames.  What a frame says of itself is only where to look; the page table
 * decides.
 */
#ifndef PML_REVERSE_MAP_H
#define PML_REVERSE_MAP_H

#include <linux/mm_types.h>
#include <linux/xarray.h>
#include "log.h"

/* What was found in one chunk of addresses. */
struct pml_found {
	struct pml_logged logged;
	/*
	 * Their frame was written, but they are as they were read from a file or from
	 * swap: it may have been so before it became theirs.  Not in `logged'.
	 */
	DECLARE_BITMAP(clean, PML_CHUNK_PAGES);
};

struct pml_reverse {
	struct mm_struct *mm;
	struct pml_logged_set *frames;	/* by frame number / PML_CHUNK_PAGES */
	/* Pages of one chunk that map some of them.  False: could not be kept. */
	bool (*found)(void *arg, unsigned long index, const struct pml_found *found);
	/* The same of one page; is_clean: as above. */
	bool (*found_page)(void *arg, unsigned long addr, bool dirty, bool referenced,
			   bool is_clean);
	void *arg;
	/* what was done: */
	unsigned long nframes;	/* that there were */
	unsigned long npages;	/* that were found */
	bool joined;
};

/*
 * With mmap_lock held for reading.  A page whose entry changes meanwhile may not be
 * found: its mark by the MMU notifier was made before.  False: not all could be done.
 */
bool pml_reverse_map(struct pml_reverse *r);

#endif
