/* SPDX-License-Identifier: MIT */
/*
 * A page that shows whether somebody else has cleared a process's soft-dirty bits: it
 * is marked at once after every clear of ours, and found clean if there was another.
 * Used by soft_dirty.c.
 *
 * So it must be a page that the process does not write itself, which would mark it
 * again.  In the calling process it is one of our own.  In another nothing is added:
 * there it is a page of a private mapping of a file that the process may not write to,
 * but wrote before that, so that it has the page to itself: what a dynamic linker
 * relocates and then protects (RELRO), in almost every program, and in every shared
 * library.  One of its bytes is written with what is there, by /proc/PID/mem.
 */
#ifndef PML_CANARY_H
#define PML_CANARY_H

#include "look.h"

struct pml_canary {
	uint64_t addr;		/* in the process */
	void *own;		/* the same, in this process */
	int mem;		/* /proc/PID/mem of another */
	bool armed;		/* it was marked, and seen to be */
};

enum pml_canary_state {
	PML_CANARY_NONE,	/* none is armed, or it was unmapped: nothing is known */
	PML_CANARY_MARKED,	/* nobody else has cleared */
	PML_CANARY_CLEAN,	/* somebody has */
};

/* 0, or -errno. */
int pml_canary_open(struct pml_canary *c, struct pml_proc *p);
void pml_canary_close(struct pml_canary *c);

enum pml_canary_state pml_canary_look(const struct pml_canary *c, struct pml_look *l,
				      struct pml_proc *p);

/* Looks for a page and marks it: c->armed, if there is one.  Mappings come and go, so
 * that it is looked for each time; it is mostly among the first. */
void pml_canary_arm(struct pml_canary *c, struct pml_look *l, struct pml_proc *p);

#endif /* PML_CANARY_H */
