/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Walking the page tables of a memory, with mmap_lock held.  What is bad is left
 * alone; a table may be replaced until its lock is held.  Used by ptscan.c,
 * reverse_map.c, and swaps.c, which goes without that lock and says why it may.
 */
#ifndef PML_WALK_H
#define PML_WALK_H

#include <linux/mm.h>

/* The middle entry for addr; NULL: there is none, nor before *next. */
pmd_t *pml_find_pmd(struct mm_struct *mm, unsigned long addr, unsigned long end,
		    unsigned long *next);
/*
 * Calls fn with the page table at pmd, which is locked, and lives on meanwhile even
 * if it is taken away.  True: fn says so, or there is nothing; false: fn says so, or
 * the table was replaced, or is bad.
 */
bool pml_with_table(struct mm_struct *mm, pmd_t *pmd, bool (*fn)(pte_t *table, void *arg),
		    void *arg);

#endif
