/* SPDX-License-Identifier: MIT */
/*
 * plot.h - a curve of `pml wss` as a picture, drawn by gnuplot.
 */
#ifndef PML_TOOL_PLOT_H
#define PML_TOOL_PLOT_H

#include <stddef.h>
#include <stdint.h>

struct plot_point {
	double seconds;
	uint64_t wss_bytes;
	uint64_t rss_bytes;
};

struct plot {
	struct plot_point *points;
	size_t n;
	size_t room;
};

/*
 * Whether @file can be drawn: its name ends in .svg or .png, and gnuplot is
 * installed.  Returns 0, or an exit status after having said what is wrong.
 */
int plot_check(const char *command, const char *file);

/* Returns 0 or -ENOMEM. */
int plot_add(struct plot *p, struct plot_point point);

/* Draws; returns an exit status after having said what is wrong. */
int plot_draw(const struct plot *p, const char *command, const char *file, const char *title);

void plot_free(struct plot *p);

#endif /* PML_TOOL_PLOT_H */
