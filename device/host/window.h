/* SPDX-License-Identifier: MIT */
/*
 * window.h - the working set of a whole machine over a window of intervals, by the
 * library's estimator: that of `pml wss`, over frames instead of pages.  pml-host.c
 * collects and prints.
 */
#ifndef PML_HOST_WINDOW_H
#define PML_HOST_WINDOW_H

#include "control.h"
#include "pml_wss.h"

/* What is known after an interval. */
struct window_estimate {
	struct pml_wss_estimate now;
	struct pml_wss_forecast next;
	struct pml_wss_limit limit;
};

/*
 * Takes in what was collected and re-armed at @end_ns: two bitmaps, of the frames written
 * and of those referenced.  Returns 0 or -errno.
 */
int window_add(struct pml_wss *w, const struct pml_control_reply *reply, const uint64_t *bitmaps,
	       uint64_t begin_ns, uint64_t end_ns, struct window_estimate *e);

#endif /* PML_HOST_WINDOW_H */
