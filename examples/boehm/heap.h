/* SPDX-License-Identifier: MIT */
/*
 * heap.h - where the heap of a libgc without GC_set_dirty_provider() is, found
 * by public calls while the world is stopped.  Used by hook.c.
 */
#ifndef PML_GC_HEAP_H
#define PML_GC_HEAP_H

#include "gc_provider.h"

/* The heap's parts, sorted, valid until the next call; or -errno.  No malloc,
 * no stdio, no lock. */
int pml_gc_heap_find(const struct GC_dirty_range_s **parts, size_t *n);

#endif /* PML_GC_HEAP_H */
