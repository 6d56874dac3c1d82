/* SPDX-License-Identifier: MIT */
/*
 * gc_provider.h - the contract of a dirty provider: who tells the collector
 * which parts of its heap were written.  libgc has it in gc_mark.h once
 * dirty-provider.patch is applied; this is the same text for a libgc without,
 * where hook.c does the calling through libgc's public calls.
 */
#ifndef PML_GC_PROVIDER_H
#define PML_GC_PROVIDER_H

#include <gc/gc.h>
#include <gc/gc_mark.h>
#include <stddef.h>

#ifndef GC_DIRTY_PROVIDER_VERSION
#define GC_DIRTY_PROVIDER_VERSION 1

/* Some of the heap, or some of what was written: [start, end). */
struct GC_dirty_range_s {
	void *start;
	void *end;
};

/* To be called by `read` for what was written. */
typedef void (GC_CALLBACK *GC_dirty_found_proc)(void *closure, struct GC_dirty_range_s found);

struct GC_dirty_provider_s {
	size_t size;		/* sizeof(struct GC_dirty_provider_s) */
	void *client_data;
	/* Before the world is stopped, with the allocation lock held.  May be null. */
	void (GC_CALLBACK *prepare)(void *client_data);
	/*
	 * With the world stopped and the allocation lock held: no malloc, no
	 * lock, no stdio.  Tells what was written in these parts of the heap
	 * since the last time, and begins anew, in one step.  What it was not
	 * asked for the last time counts as written.  Nonzero: it does not
	 * know, and everything is to be taken as written.
	 */
	int (GC_CALLBACK *read)(void *client_data, const struct GC_dirty_range_s *parts, size_t nparts,
				GC_dirty_found_proc found, void *closure);
};
#endif

/* GC_set_dirty_provider() of a patched libgc; looked up at run time. */
typedef int (GC_CALL *pml_gc_set_provider_proc)(const struct GC_dirty_provider_s *provider);

#endif /* PML_GC_PROVIDER_H */
