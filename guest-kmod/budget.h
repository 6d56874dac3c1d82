/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a session may keep of the kernel's memory, and what all sessions of one
 * user may keep together.  Used by session.c, track.c and pageset.c; any context
 * but for opening and closing, which sleep.
 */
#ifndef PML_BUDGET_H
#define PML_BUDGET_H

#include <linux/atomic.h>

struct pml_user;

/* A session's; shared by its sets. */
struct pml_budget {
	struct pml_user *user;	/* who opened it */
	long fixed;		/* what it costs as long as it is open; the user's alone */
	atomic_long_t used;
	long limit;
	atomic64_t overflows;	/* times that it did not suffice */
};

/* 0, or -ENOMEM: the user has too much already. */
int pml_budget_open(struct pml_budget *b, long fixed, unsigned long limit);
void pml_budget_close(struct pml_budget *b);

/* False: that would be too much. */
bool pml_charge(struct pml_budget *b, long bytes);
void pml_uncharge(struct pml_budget *b, long bytes);

#endif
