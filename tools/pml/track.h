/* SPDX-License-Identifier: MIT */
/*
 * track.h - one tracking session: the target, the epochs, the end of it.
 * dirty.c and wss.c say what to print for an epoch.
 */
#ifndef PML_TOOL_TRACK_H
#define PML_TOOL_TRACK_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "epoch.h"
#include "options.h"

/* What a printer is told about an epoch. */
struct track_epoch {
	const struct epoch *epoch;
	pid_t pid;			/* the target, or the command that was started */
	uint64_t since_start_ns;	/* when the epoch ended */
	uint64_t memory_bytes;		/* the tracker's own tables */
};

struct track_printer {
	void *context;
	bool ranges;	/* epochs are to have their ranges */
	/* Both return 0 or -errno; an error ends the session. */
	int (*header)(void *context, FILE *out);	/* for text; may be NULL */
	int (*epoch)(void *context, FILE *out, const struct track_epoch *e);
};

/* Tracks until the end, prints epochs and the summary; returns the exit status. */
int track(const struct track_options *o, const struct track_printer *printer);

#endif /* PML_TOOL_TRACK_H */
