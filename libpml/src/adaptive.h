/* SPDX-License-Identifier: MIT */
/*
 * Adaptive arming: which blocks of 64 pages are better left unarmed, because
 * they are written all the time anyway.  Used by wp-async.
 *
 * A block of which three quarters were dirty in two epochs running is left
 * unarmed for 16 to 64 epochs (at random, so that not all come back at once)
 * and reported ASSUMED meanwhile.  Then it is armed again and watched for one
 * epoch: still hot, and it is left alone twice as long as before, up to 255
 * epochs; otherwise it is an ordinary block again.
 */
#ifndef PML_ADAPTIVE_H
#define PML_ADAPTIVE_H

#include <stdint.h>
#include "rows.h"

#define PML_BLOCK_PAGES 64u

enum pml_arming {
	PML_ARM_NORMAL = 0,
	PML_ARM_LEFT = 1,	/* do not scan: report it ASSUMED */
	PML_ARM_AGAIN = 2,	/* scan and arm; what is found may be older: ASSUMED */
};

struct pml_adaptive {
	struct pml_rows rows;	/* 4,096 blocks each */
	uint8_t page_shift;
	uint64_t random;
	uint64_t left_blocks;
};

void pml_adaptive_init(struct pml_adaptive *a, struct pml_pool *pool, unsigned int page_shift,
		       uint64_t seed);
void pml_adaptive_free(struct pml_adaptive *a);
/* What to do at `at`, and how far (*run_end, at most end) that goes. */
enum pml_arming pml_adaptive_run(struct pml_adaptive *a, uint64_t at, uint64_t end,
				 uint64_t *run_end);
/* These pages were found dirty in this epoch. */
void pml_adaptive_note(struct pml_adaptive *a, uint64_t start, uint64_t end);
/* The epoch of [start, end) is over: decide for the next one. */
void pml_adaptive_epoch(struct pml_adaptive *a, uint64_t start, uint64_t end);

#endif /* PML_ADAPTIVE_H */
