/* SPDX-License-Identifier: MIT */
/*
 * wss_rounds.h - the sessions of `pml wss` that are not one tracker on one process:
 * cgroups, one or several, the whole system, and methods without a tracker.
 */
#ifndef PML_TOOL_WSS_ROUNDS_H
#define PML_TOOL_WSS_ROUNDS_H

#include "options.h"
#include "wss_model.h"

/* Where to draw what comes; returns 0 or -errno. */
struct wss_listener {
	void *context;
	int (*sample)(void *context, const struct wss_sample *s);
};

/*
 * Measures @ncgroups cgroups; with none, the process or the command of @o by smaps,
 * or the system.  Returns the exit status.
 */
int wss_rounds(const struct track_options *o, const struct wss_settings *settings,
	       const char *const *cgroups, size_t ncgroups, const struct wss_listener *listener);

#endif /* PML_TOOL_WSS_ROUNDS_H */
