/* SPDX-License-Identifier: MIT */
/*
 * wss_sample.h - one estimate of `pml wss`, whoever made it, and how it is printed.
 * wss.c and wss_rounds.c fill it.
 */
#ifndef PML_TOOL_WSS_SAMPLE_H
#define PML_TOOL_WSS_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "epoch.h"
#include "nodes.h"
#include "pml_wss.h"

struct wss_sample {
	const char *estimator;
	const char *cgroup;	/* NULL: not of one */
	pid_t pid;		/* 0: not of one process */
	bool knows_dirty;
	bool knows_read;
	bool unknown;		/* there is no estimate: the memory is not short */
	bool at_least;		/* the estimate is a lower bound */
	bool fetches;		/* more_bytes and what follows it are told */
	uint64_t wss_bytes;
	uint64_t dirty_bytes;
	uint64_t read_bytes;
	uint64_t rss_bytes;
	struct nodes nodes;	/* of what the epoch touched */
	uint64_t since_start_ns;
	uint64_t memory_bytes;	/* what the tables of whoever made it take */
	bool has_more;		/* what follows is told: the estimator "pml" */
	struct pml_wss_estimate estimate;
	struct pml_wss_forecast forecast;
	struct pml_wss_limit limit;
	uint32_t page_size;
	bool limits;		/* what follows is told: zballoond, or --apply */
	uint64_t high_bytes;	/* memory.high now; 0: as it was before */
	uint64_t refaults;	/* pages fetched again in the epoch */
	uint64_t stalled_us;	/* time at a stand for want of memory */
	bool released;		/* the limit was taken away at once */
	const char *pressure;	/* what follows is told, unless NULL: mpa */
	uint64_t share_bytes;	/* what it is to be given of what all share ... */
	uint64_t host_bytes;	/* ... which is that */
	uint64_t more_bytes;	/* of the estimate, what the memory is too small by */
	uint64_t stored_bytes;	/* what is out now */
	uint64_t came_pages;	/* fetched again in the window */
	bool asks;		/* what follows is told: sampling-present */
	uint64_t asked_pages;	/* pages of the sample that went ... */
	uint64_t refused_pages;	/* ... and that did not */
};

/* All return 0 or -errno. */
int wss_print_header(FILE *out, bool with_cgroup);
int wss_print_text(FILE *out, const struct epoch *e, const struct wss_sample *s);
int wss_print_json(FILE *out, const struct epoch *e, const struct wss_sample *s);

#endif /* PML_TOOL_WSS_SAMPLE_H */
