/* SPDX-License-Identifier: MIT */
/*
 * maps.h - which mapping a dirty page lies in, for `pml dirty --by-mapping`.
 */
#ifndef PML_TOOL_MAPS_H
#define PML_TOOL_MAPS_H

#include <stdint.h>

#include "epoch.h"

/* A mapping with what was written in it. */
struct mapping {
	uint32_t pid;
	uint64_t start;
	uint64_t end;
	char perms[8];	/* as in /proc/PID/maps; "----" if it is gone */
	char *name;	/* "[heap]", a file, "[anon]", or "[gone]" */
	uint64_t pages;
	uint64_t assumed_pages;
};

struct mapping_list {
	struct mapping *mappings;
	size_t n;
	size_t room;
};

/*
 * Sorts the epoch's ranges into the mappings that the processes have now, and
 * keeps those with dirty pages.  Returns 0 or -ENOMEM.
 */
int maps_group(struct mapping_list *list, const struct epoch *e);

void maps_free(struct mapping_list *list);

#endif /* PML_TOOL_MAPS_H */
