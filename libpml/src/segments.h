/* SPDX-License-Identifier: MIT */
/*
 * One bit per segment: the stretch of address space that one page table maps
 * (512 pages, 2 MiB with 4 KiB pages).  wp-async keeps here which segments it
 * has armed page by page, so that a single cheap scan is exact there.
 */
#ifndef PML_SEGMENTS_H
#define PML_SEGMENTS_H

#include <stdbool.h>
#include <stdint.h>
#include "rows.h"

#define PML_SEGMENT_PAGES 512u

struct pml_segments {
	struct pml_rows rows;	/* 512 segments each */
	uint8_t shift;		/* of a segment */
};

void pml_segments_init(struct pml_segments *s, struct pml_pool *pool, unsigned int page_shift);
void pml_segments_free(struct pml_segments *s);
/* Marks every segment that [start, end) touches. */
int pml_segments_mark(struct pml_segments *s, uint64_t start, uint64_t end);
/* Whether at's segment is marked; *run_end: how far that goes, at most end. */
bool pml_segments_run(struct pml_segments *s, uint64_t at, uint64_t end, uint64_t *run_end);

static inline uint64_t pml_segment_size(const struct pml_segments *s)
{
	return 1ull << s->shift;
}

#endif /* PML_SEGMENTS_H */
