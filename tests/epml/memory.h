/* SPDX-License-Identifier: MIT */
/*
 * memory.h - some pages of this process, and trackers of them: what the tests of the
 * PML device's log share.
 */
#ifndef PML_TESTS_EPML_MEMORY_H
#define PML_TESTS_EPML_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "pml.h"

struct memory {
	volatile unsigned char *at;
	size_t pages;
	size_t page;		/* the size of one */
};

/* Small pages with content; NULL in `at`: there is no memory. */
struct memory memory_make(size_t pages);
void memory_free(struct memory *m);
/* A tracker of it alone, started; NULL: none, and why is noted. */
struct pml *memory_track(const struct memory *m, const char *backend, uint32_t events);
/* The same where it may fail. */
struct pml *memory_try(const struct memory *m, const char *backend);

/* What a collect says: the events of each page, and whether track was lost. */
struct told {
	int error;
	bool lost;
	uint8_t *events;	/* [pages]; the caller's */
};

/* False: it failed, or track was lost. */
bool memory_collect(const struct memory *m, struct pml *t, struct told *told);
/* Pages of which one says dirty and the other not. */
size_t memory_differs(const struct memory *m, const uint8_t *a, const uint8_t *b);
/* Pages that are dirty, and were not told so. */
size_t memory_missed(const struct memory *m, const uint8_t *dirty, const uint8_t *told);
/* Writes about one page of four, chosen by chance; `dirty` says which. */
void memory_write_some(const struct memory *m, uint8_t *dirty);

/* Why a back-end is not to be had here; "" if it is. */
const char *why_not(const char *backend);

#endif
