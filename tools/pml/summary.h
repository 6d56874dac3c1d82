/* SPDX-License-Identifier: MIT */
/*
 * summary.h - what a tracking session came to.  track.c fills and prints it.
 */
#ifndef PML_TOOL_SUMMARY_H
#define PML_TOOL_SUMMARY_H

#include <stdint.h>
#include <stdio.h>

#include "child.h"
#include "epoch.h"
#include "options.h"

enum summary_end {
	END_COUNT,	/* -n epochs are done */
	END_SIGNAL,	/* Ctrl-C or a request to end */
	END_COMMAND,	/* the command that was run has ended */
	END_TARGET,	/* the process given with -p has exited */
	END_ERROR,
};

struct summary {
	enum summary_end end;
	char backend[32];
	uint32_t page_size;
	uint64_t start_ns;
	uint64_t elapsed_ns;
	uint64_t epochs;
	uint64_t lost_epochs;
	uint64_t pages;		/* sum over the epochs */
	uint64_t max_pages;	/* most in one epoch */
	uint64_t assumed_pages;
	uint64_t collect_ns;
	uint64_t stop_ns;	/* the target stood still */
	uint64_t memory_bytes;
	uint64_t memory_limit;
	int64_t split_bytes;	/* huge pages left split */
	const struct child *child;	/* NULL without a command */
};

void summary_add(struct summary *s, const struct epoch *e);

/* As text to @out, or as a JSON line if o->json; returns 0 or -errno. */
int summary_print(const struct summary *s, FILE *out, const struct track_options *o);

#endif /* PML_TOOL_SUMMARY_H */
