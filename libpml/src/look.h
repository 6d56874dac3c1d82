/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says of pages: is there content, is it soft-dirty.  By
 * PAGEMAP_SCAN (Linux 6.7), or by the kernel's word for each page.  Used by the
 * back-ends that keep their own account of pages: soft_dirty.c, uffd_sync.c,
 * mprotect.c.
 */
#ifndef PML_LOOK_H
#define PML_LOOK_H

#include "backend.h"

/* What is seen of a page; of one that is not there, nothing. */
#define PML_SEEN_CONTENT	1u	/* there, or swapped out; not the zero page */
#define PML_SEEN_SOFT_DIRTY	2u
#define PML_SEEN_FILE		4u	/* the file's page, or shared; not a private copy */
#define PML_SEEN_HUGE		8u	/* part of a huge page, as far as can be told */
#define PML_SEEN_UNSURE		16u	/* with CONTENT: it may be the zero page */
#define PML_SEEN_ARMED		32u	/* write-protected by a userfaultfd */

/* Whether that is content of the process's own: of private memory, neither the file's
 * page nor a huge zero page, which looks like one. */
static inline bool pml_seen_content(enum pml_area_kind kind, unsigned int seen)
{
	return (seen & PML_SEEN_CONTENT) && (kind == PML_AREA_SHARED || !(seen & PML_SEEN_FILE));
}

struct pml_look {
	int pagemap;
	bool no_scan;		/* the kernel has no PAGEMAP_SCAN */
	uint64_t zero_frame;	/* of the zero page; 0: may not be known */
	struct pml_buf vec;
};

/* 0, or -errno. */
int pml_look_open(struct pml_look *l, struct pml_proc *p);
void pml_look_close(struct pml_look *l);

/* Calls fn for runs of pages of which the same is seen, in order.  A page of
 * which nothing is seen is left out.  0, -errno, or what fn returned. */
typedef int (*pml_look_fn)(void *arg, uint64_t start, uint64_t end, unsigned int seen);
int pml_look(struct pml_look *l, struct pml_proc *p, uint64_t start, uint64_t end, pml_look_fn fn,
	     void *arg);

/* Whether every page of [start, end), even of its holes, is soft-dirty, as those
 * of a mapping are that was made since the last clear, or joined with one. */
int pml_look_all_dirty(struct pml_look *l, struct pml_proc *p, uint64_t start, uint64_t end,
		       bool *all);

#endif /* PML_LOOK_H */
