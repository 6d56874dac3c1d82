/* SPDX-License-Identifier: MIT */
/*
 * view.h - one process as this round of criu sees it: the pages that may be left to the
 * parent, and those that criu was told of.  Used by pagemap.c and hooks.c, which are the
 * two ways in which criu asks.
 */
#ifndef PML_CRIU_VIEW_H
#define PML_CRIU_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "spans.h"

struct view {
	int pid;
	struct spans clean;
	struct spans told;
	bool asked;		/* the keeper, for `clean` */
	bool broken;		/* told of more than could be kept: no base */
};

/* Asks the keeper what is clean, once. */
void view_ask(struct view *v);
/* criu was told of these pages, clean or not: it puts them into its images, or finds
 * them in the parent's. */
void view_tell(struct view *v, uint64_t start, uint64_t end);
/* criu has read all that it wants to: what it was told of is the base of the next
 * round.  NULL, or never asked: there is none, and that is said. */
void view_reset(struct view *v, int pid);
void view_free(struct view *v);

#endif
