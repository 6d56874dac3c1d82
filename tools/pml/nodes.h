/* SPDX-License-Identifier: MIT */
/*
 * nodes.h - on which NUMA nodes the pages of an epoch lie.  wss_model.c asks for
 * it, wss_sample.c prints it.
 */
#ifndef PML_TOOL_NODES_H
#define PML_TOOL_NODES_H

#include <stdint.h>

#include "epoch.h"

enum { NODES_MAX = 64 };

struct nodes {
	uint32_t n;		/* of the machine; 0: not known */
	uint64_t bytes[NODES_MAX];
};

/*
 * Whether it takes the epoch's ranges to tell: on a machine of one node it does
 * not.
 */
bool nodes_need_ranges(void);

/*
 * Counts the pages of the epoch with one of these events by the node on which they
 * lie now; `all` is what they are together, for a machine of one node.  A page that
 * has gone or is swapped out is on none.  Not to be told (another user's process):
 * n is 0.
 */
void nodes_count(struct nodes *nodes, const struct epoch *e, uint32_t events, uint64_t all);

#endif /* PML_TOOL_NODES_H */
