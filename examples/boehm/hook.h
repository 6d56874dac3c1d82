/* SPDX-License-Identifier: MIT */
/*
 * hook.h - libgc's collection events: the time each part of a stop takes, and,
 * for a libgc without GC_set_dirty_provider(), the dirty pages themselves.
 * Used by enable.c.
 */
#ifndef PML_GC_HOOK_H
#define PML_GC_HOOK_H

#include "pml_gc.h"

#include <gc/gc.h>
#include <gc/gc_mark.h>
#include <stdbool.h>

/* Sets our hooks, in front of those that are set.  before_first, if not NULL, is
 * called once, before the world is stopped for the first time. */
void pml_gc_hook_install(void (*before_first)(void));
/* Puts back what was there, as far as nobody came after us. */
void pml_gc_hook_remove(void);
/* From now on the events carry the dirty pages. */
void pml_gc_hook_feed(bool on);
/* Fills the numbers that the events gave. */
void pml_gc_hook_stats(struct pml_gc_stats *s);
/* A collect was made: also by a patched libgc, which enable.c tells. */
void pml_gc_hook_collected(uint64_t began_ns, bool all_dirty, uint64_t heap_bytes);
uint64_t pml_gc_now(void);

#endif /* PML_GC_HOOK_H */
