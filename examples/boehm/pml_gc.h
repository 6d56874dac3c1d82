/* SPDX-License-Identifier: MIT */
/*
 * pml_gc.h - libpml-gc: the Boehm collector (libgc) takes its dirty pages from
 * libpml, so that it collects by generations without page faults of its own.
 *
 * A program needs this header only if it wants to know whether it worked, or
 * what it cost.  The other ways, which change no line, are in docs/boehm.md:
 * link with -lpml-gc, `patchelf --add-needed libpml-gc.so.0`, or load it as a
 * guile extension.
 *
 * The environment
 *   PML_GC        0: the library does nothing; measure: it only measures, for
 *                 comparisons with what libgc does by itself
 *   PML_GC_STATS  a file; at exit the statistics are appended to it, a line a
 *                 number ("-": standard error)
 *   PML_BACKEND   the back-end, as for any program that uses libpml
 *   GC_DISABLE_INCREMENTAL is respected: then the library does nothing
 * A setuid program does not listen to those of ours.
 */
#ifndef PML_GC_H
#define PML_GC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/**
 * pml_gc_enable - let libgc collect by generations with libpml's dirty pages
 *
 * Call it before GC_INIT() (which it then does itself), or at any later time
 * before incremental collection is on.  What libgc lets a program set only
 * before GC_INIT() has to be set before this.  A hook that is set for
 * collection events is called as before.  When it fails, libgc is as it was.
 *
 * Return: 0; -ENOTSUP no back-end is sound here, or libgc has been told not to
 * collect incrementally; -EALREADY libgc already collects incrementally in its
 * own way; -EPERM; -ENOMEM.  Collections leave errno as it was.  pml_gc_message() has the words.
 */
int pml_gc_enable(void);

/**
 * pml_gc_message - what failed last, why, and what to do; "" if nothing did
 *
 * Return: a string that lives as long as the library.
 */
const char *pml_gc_message(void);

/** struct pml_gc_times - how long something took, over the collections */
struct pml_gc_times {
	uint64_t total_ns;
	uint64_t max_ns;
	uint64_t first_ns;	/* the first time, which arms everything */
};

/** struct pml_gc_stats - what the collections were and cost */
struct pml_gc_stats {
	size_t size;		/* sizeof(struct pml_gc_stats), set by the caller */
	uint64_t enabled;	/* 1: dirty pages come from libpml; 0 also when it has
				 * given up, and all is taken as dirty */
	uint64_t provider;	/* 1: by way of GC_set_dirty_provider() of a patched libgc */
	uint64_t stops;		/* how often the world was stopped for marking */
	uint64_t all_dirty;	/* of these, with everything taken as dirty for want of facts */
	uint64_t restarts;	/* how often tracking began anew (fork, lost descriptors) */
	uint64_t bypassed;	/* stops in which the event hook was not called: another
				 * has replaced it, and dirty pages were taken as roots */
	uint64_t dirty_pages;	/* reported dirty, all together */
	uint64_t heap_bytes;	/* watched, at the last stop */
	struct pml_gc_times stopped;	/* the world stood still */
	struct pml_gc_times collect;	/* of it, finding the heap and asking libpml */
	struct pml_gc_times mark;	/* of it, libgc's marking */
	char backend[24];	/* the back-end's name; "" when none is in use */
	uint64_t doubted;	/* stops in which some of the heap was taken as dirty because
				 * libpml could not vouch for it, and for that alone */
	char doubt[24];		/* why, the last time, as pml_reason_name() has it: io for a
				 * file open for direct I/O or an io_uring; "" if never */
};

/**
 * pml_gc_get_stats - what the collections were and cost so far
 * @stats: filled, as far as its size says
 *
 * Return: 0; -EINVAL.
 */
int pml_gc_get_stats(struct pml_gc_stats *stats);

/**
 * scm_init_pml_gc - as pml_gc_enable(), for guile
 *
 * (load-extension "libpml-gc" "scm_init_pml_gc"); words on standard error if
 * it fails.
 */
void scm_init_pml_gc(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* PML_GC_H */
