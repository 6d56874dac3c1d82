/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is swapped out of a memory and asked for again, in order: PML_MODE_SWAPS.
 * Opened and read by session.c; told by notifier.c.
 */
#ifndef PML_SWAPS_H
#define PML_SWAPS_H

#include <linux/mmu_notifier.h>
#include <linux/wait.h>
#include "budget.h"

struct pml_follower;
struct pml_mm;
struct pml_swaps;
struct pml_uapi_swap;

/* The kernel has the tracepoints that it takes. */
bool pml_swaps_work(void);
void pml_swaps_setup(void);

/* What a session keeps for all whom it follows until it is read; NULL: no memory. */
struct pml_swaps *pml_swaps_open(struct pml_budget *budget);
/* After those who are followed. */
void pml_swaps_close(struct pml_swaps *s);
/* Takes up to max events out; *lost: some are missing behind them, told once. */
u32 pml_swaps_take(struct pml_swaps *s, struct pml_uapi_swap *to, u32 max, bool *lost);
/* What was taken has got lost on its way. */
void pml_swaps_lose(struct pml_swaps *s);

/*
 * Follows a memory, by that number; the caller holds mm's users.  -ENOMEM;
 * -EOPNOTSUPP: the kernel has no such tracepoints.
 */
struct pml_follower *pml_follower_open(struct mm_struct *mm, struct pml_swaps *s, u32 number,
				       wait_queue_head_t *wait);
void pml_follower_close(struct pml_follower *f);
struct pml_mm *pml_follower_mm(const struct pml_follower *f);

/* An invalidation has ended; the memory has ended. */
void pml_swaps_invalidated(const struct mmu_notifier_range *range);
void pml_swaps_end(struct mm_struct *mm);

#endif
