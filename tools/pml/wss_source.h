/* SPDX-License-Identifier: MIT */
/*
 * wss_source.h - one thing that `pml wss` measures at each interval, and the methods by
 * which it can.  wss_rounds.c goes round the sources; the methods are there, in
 * wss_methods.c, wss_short.c and wss_present.c.
 */
#ifndef PML_TOOL_WSS_SOURCE_H
#define PML_TOOL_WSS_SOURCE_H

#include "apply.h"
#include "balloon.h"
#include "limit.h"
#include "options.h"
#include "smaps.h"
#include "wss_model.h"

struct source {
	const struct track_options *o;
	const struct wss_settings *settings;
	struct source *all;		/* this one is among them */
	size_t nall;
	const char *cgroup;
	pid_t pid;
	bool ended;
	struct pml *tracker;
	struct wss_model model;
	struct smaps smaps;
	struct limit limit;		/* of the cgroup, if it is to be limited */
	struct balloon balloon;
	struct apply apply;
	int directory;			/* the cgroup's, for what is read there */
	struct pml_wss_cache_look looks[PML_WSS_MAX_WINDOW + 1];
	size_t nlooks;
	struct pml_wss_geiger *geiger;
	bool unfollowed;		/* the module does not tell of it: by looks alone */
	struct pml_wss_present *present;
	struct epoch epoch;
};

/* Both return 0, or -errno after having said what is wrong. */
struct method {
	int (*begin)(struct source *s);
	int (*take)(struct source *s, struct wss_sample *sample);
};

extern const struct method smaps_method;
extern const struct method committed_method;
extern const struct method balloon_method;
extern const struct method mpa_method;
extern const struct method cache_method;
extern const struct method geiger_method;
extern const struct method present_method;

/* Says why a cgroup cannot be limited; returns @rc. */
int source_limit_failed(const struct source *s, int rc);

/* Says that the process has exited; not of a command, which is waited for: that it has
 * ended is no failure. */
void source_exited(const struct source *s);

/* What it is never limited below, in bytes. */
uint64_t source_floor(const struct source *s);

/* An epoch of a method without a tracker ends now. */
void source_begin_epoch(struct source *s, const char *backend);

/* Ends what the methods of wss_short.c began. */
void source_end_short(struct source *s);

/* ... and that of wss_present.c. */
void source_end_present(struct source *s);

#endif /* PML_TOOL_WSS_SOURCE_H */
