/* SPDX-License-Identifier: MIT */
/*
 * Hashes of a process's pages, and what has changed since they were taken.
 * Used by the hash back-end and by the oracle (check.c).  8 bytes a page.
 */
#ifndef PML_HASHES_H
#define PML_HASHES_H

#include <stdbool.h>
#include <stdint.h>
#include "backend.h"

struct pml_hashes {
	struct pml_pool *pool;
	struct pml_buf index;	/* sorted chunk numbers and their places */
	struct pml_buf chunks;
	struct pml_buf pages;	/* what is being read */
	uint32_t n;
	uint64_t zero;		/* the hash of a page of zeros: also of no page */
	int mem;		/* /proc/PID/mem */
	int pagemap;
	bool no_scan;		/* the kernel has no PAGEMAP_SCAN */
};

/* What hashes can tell of a page. */
enum pml_hash_news {
	PML_HASH_CHANGED = 1,	/* its content differs */
	PML_HASH_APPEARED = 2,	/* of a file: it was not there, now it is */
	PML_HASH_GONE = 3,	/* of a file: it was there, now it is not */
};

typedef int (*pml_hash_fn)(void *arg, uint64_t start, uint64_t end, enum pml_hash_news news);

int pml_hashes_init(struct pml_hashes *h, struct pml_proc *p);
void pml_hashes_free(struct pml_hashes *h);

/*
 * Hashes what has content in the part [start, end) of area a, and calls fn (if
 * not NULL) for runs of pages with news, in order, at most 512 runs a segment.
 * Stops early, at *walk_end, when room (if not NULL) returns 0; otherwise that
 * is how many more pages with news it takes.
 */
int pml_hashes_walk(struct pml_hashes *h, struct pml_proc *p, const struct pml_area *a,
		    uint64_t start, uint64_t end, pml_hash_fn fn, void *arg,
		    uint64_t (*room)(void *arg), uint64_t *walk_end);

/* Whether the hash of any page of [start, end), within one segment, is held. */
bool pml_hashes_known(const struct pml_hashes *h, const struct pml_proc *p, uint64_t start,
		      uint64_t end);
void pml_hashes_forget(struct pml_hashes *h, const struct pml_proc *p, uint64_t start,
		       uint64_t end);

#endif /* PML_HASHES_H */
