/* SPDX-License-Identifier: MIT */
/*
 * descriptors.h - which descriptors a tracker opened, so that it is closed only
 * while they are still its own: a program may close all there are and open
 * others with the same numbers.  Used by tracker.c.
 */
#ifndef PML_GC_DESCRIPTORS_H
#define PML_GC_DESCRIPTORS_H

#include <stdbool.h>
#include <stdint.h>

#define PML_GC_MAX_DESCRIPTORS 32
#define PML_GC_NUMBERS 1024	/* those below are looked at */

struct pml_gc_descriptor {
	int fd;
	uint64_t dev;
	uint64_t ino;
	bool holds;		/* memory: a userfaultfd, which nobody else can watch then */
};

struct pml_gc_descriptors {
	unsigned int n;
	bool unknown;		/* some could not be listed */
	struct pml_gc_descriptor list[PML_GC_MAX_DESCRIPTORS];
};

/* The lowest free descriptors are taken by whoever opens next: what is open now, to be
 * compared by pml_gc_descriptors_since(). */
struct pml_gc_open {
	uint64_t dev[PML_GC_NUMBERS];
	uint64_t ino[PML_GC_NUMBERS];
};

void pml_gc_descriptors_now(struct pml_gc_open *open);
void pml_gc_descriptors_since(struct pml_gc_descriptors *d, const struct pml_gc_open *before);
/* Whether all that are known still are what they were. */
bool pml_gc_descriptors_same(const struct pml_gc_descriptors *d);
/* Of a tracker that has lost some of them: closes what holds memory and still is what
 * it was.  The others stay: one may be a file that a thread opened meanwhile. */
void pml_gc_descriptors_let_go(const struct pml_gc_descriptors *d);
/* In a forked child: what holds its parent's memory is another file's number from now
 * on, and the list says so.  No malloc, no lock. */
void pml_gc_descriptors_forked(struct pml_gc_descriptors *d);

#endif /* PML_GC_DESCRIPTORS_H */
