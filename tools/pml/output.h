/* SPDX-License-Identifier: MIT */
/*
 * output.h - where the results go, for track.c and wss_rounds.c: a stream that a reader
 * which takes nothing cannot hold for ever.
 */
#ifndef PML_TOOL_OUTPUT_H
#define PML_TOOL_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

#include "wake.h"

struct output {
	FILE *file;
	int fd;
	const struct wake *wake;
	const char *path;	/* NULL: standard output */
	bool given_up;
};

/*
 * @path: a file, or NULL for standard output.  Once @w has a signal, what cannot be written
 * within some seconds fails with ECANCELED.  Returns 0 or -errno.
 */
int output_open(struct output *o, const char *path, const struct wake *w);

/* Returns 0 or -errno: what was printed last has not got there.  May be called twice. */
int output_close(struct output *o);

/* Its name, for messages. */
const char *output_name(const struct output *o);

#endif /* PML_TOOL_OUTPUT_H */
