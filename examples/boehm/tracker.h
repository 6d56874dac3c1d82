/* SPDX-License-Identifier: MIT */
/*
 * tracker.h - a dirty provider over libpml: one tracker of this process, opened
 * anew when it is lost.  It knows nothing of how libgc is told.  Used by
 * enable.c and hook.c; the provider also goes to a patched libgc as it is.
 */
#ifndef PML_GC_TRACKER_H
#define PML_GC_TRACKER_H

#include "gc_provider.h"

#include <stdbool.h>
#include <stdint.h>

/* The provider; client_data is not used, there is one tracker a process. */
extern const struct GC_dirty_provider_s pml_gc_provider;

/* Opens the tracker for the first time.  0 or -errno, with words. */
int pml_gc_tracker_open(char *words, size_t size);
/* Closes it, for good. */
void pml_gc_tracker_close(void);

/* The back-end's name; "" when there is none. */
const char *pml_gc_tracker_backend(void);
/* How often it was opened anew; pages that it reported. */
uint64_t pml_gc_tracker_restarts(void);
uint64_t pml_gc_tracker_pages(void);
/* Whether it tracks, or will again at the next stop: not closed, not given up. */
bool pml_gc_tracker_goes_on(void);
/* In how many stops libpml could not vouch for some of the heap, and why the last time. */
uint64_t pml_gc_tracker_doubted(const char **why);

#endif /* PML_GC_TRACKER_H */
