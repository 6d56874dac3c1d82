/* SPDX-License-Identifier: MIT */
/*
 * wss_model.h - from an epoch of a tracker to an estimate.  wss.c and
 * wss_rounds.c have one for each tracker.
 */
#ifndef PML_TOOL_WSS_MODEL_H
#define PML_TOOL_WSS_MODEL_H

#include "wss_sample.h"

enum wss_kind {
	WSS_DEFAULT,		/* referenced or written: the first that works */
	WSS_WRITTEN,
	WSS_REFERENCED,
	WSS_PML,
	WSS_SAMPLING,
	WSS_COMMITTED,
	WSS_ZBALLOOND,
	WSS_MPA,
	WSS_EXCLUSIVE,
	WSS_GEIGER,
	WSS_PRESENT,
	WSS_KINDS,
};

struct wss_settings {
	enum wss_kind kind;
	bool from_smaps;	/* referenced, by the sums in smaps */
	uint32_t events;	/* that the tracker is to tell */
	uint32_t window;	/* of the estimators that have one; 0: its default */
	uint32_t threshold;
	uint32_t memory_mib;	/* that those of "mpa" share; 0: the machine's */
	uint32_t samples;	/* of "sampling" and "sampling-present" */
	uint64_t range_start;	/* only there is anything watched; 0, 0: everywhere */
	uint64_t range_end;
	bool apply;		/* the estimate becomes a limit */
	bool active;		/* may change what it measures */
	uint32_t floor_mib;	/* but not below this; 0: a tenth */
};

struct wss_model {
	const struct wss_settings *settings;
	struct pml_wss *pml;
	uint64_t epochs;
};

const char *wss_kind_name(enum wss_kind kind);

/* Whether the estimator needs to know which pages, not only how many. */
bool wss_needs_ranges(enum wss_kind kind);

/* Returns 0 or -errno. */
int wss_model_init(struct wss_model *m, const struct wss_settings *settings);
void wss_model_free(struct wss_model *m);

/* Fills what the epoch tells; returns 0 or -errno. */
int wss_model_take(struct wss_model *m, const struct epoch *e, struct wss_sample *s);

#endif /* PML_TOOL_WSS_MODEL_H */
