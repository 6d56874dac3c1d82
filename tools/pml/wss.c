/* SPDX-License-Identifier: MIT */
/*
 * wss.c - `pml wss`: how much memory a process, cgroups or the system work with,
 * epoch by epoch.
 *
 * Here the options are read and the way is chosen: one tracker on a process or a
 * command is a session of track.c, all else one of wss_rounds.c.
 */
#include <errno.h>
#include <getopt.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "number.h"
#include "options.h"
#include "plot.h"
#include "pml.h"
#include "rss.h"
#include "say.h"
#include "track.h"
#include "wss_model.h"
#include "wss_rounds.h"

#define MAX_CGROUPS 64

struct wss_options {
	struct track_options track;
	struct wss_settings settings;
	struct wss_model model;
	const char *cgroups[MAX_CGROUPS];
	size_t ncgroups;
	bool system;
	char system_path[256];
	const char *plot_file;
	struct plot plot;
};

static void print_help(void)
{
	fputs("Usage: pml wss (-p PID | --cgroup PATH... | --system | -- CMD ARG...) [OPTION...]\n"
	      "\n"
	      "Estimates, at the end of each epoch, how much memory was worked with in it.\n"
	      "\n", stdout);
	fputs(track_help, stdout);
	fputs("      --range START-END  with -p: only these addresses, as /proc/PID/maps has them\n"
	      "      --cgroup PATH      all processes of a cgroup v2; may be given several times\n"
	      "      --system           all processes of the machine\n"
	      "      --estimator NAME   referenced: pages read or written; written: pages written\n"
	      "                         (the default is the first that works here); pml: over a\n"
	      "                         window of epochs, with a forecast and a limit; sampling:\n"
	      "                         from random pages; committed: Committed_AS; zballoond: by\n"
	      "                         giving a cgroup less and less, which changes it; mpa:\n"
	      "                         what cgroups ask for together, and each one's share;\n"
	      "                         exclusive-cache: by what comes back from zswap; geiger: by\n"
	      "                         what is swapped out and comes back; sampling-present:\n"
	      "                         by taking random pages away, which changes it\n"
	      "      --apply            set the cgroups' memory.high to what they work with by the\n"
	      "                         estimator pml, and to more where that is too little\n"
	      "      --active           allow zballoond, sampling-present and --apply to change what they\n"
	      "                         measure\n"
	      "      --floor MIB        never give less than this (a tenth of what there is)\n"
	      "      --window N         of pml, exclusive-cache and geiger: epochs, 1 to 64 (8)\n"
	      "      --threshold M      of the estimator pml: only pages touched in M of them (1)\n"
	      "      --memory MIB       of the estimator mpa: what is shared (the machine's memory)\n"
	      "      --samples N        of sampling and sampling-present: how many pages (100)\n"
	      "      --plot FILE        draw the curve at the end, as FILE.svg or FILE.png\n",
	      stdout);
}

static int plot_sample(void *context, const struct wss_sample *s)
{
	struct wss_options *w = context;

	/* where nothing is known there is no point */
	if (s->unknown)
		return 0;
	return plot_add(&w->plot, (struct plot_point){
		(double)s->since_start_ns / 1e9, s->wss_bytes, s->rss_bytes });
}

static int print_header(void *context, FILE *out)
{
	const struct wss_options *w = context;

	if (!(w->settings.events & PML_REFERENCED))
		fprintf(out, "Estimator: %s. Pages that are only read are not counted.\n",
			wss_kind_name(w->settings.kind));
	return wss_print_header(out, false);
}

static int print_epoch(void *context, FILE *out, const struct track_epoch *t)
{
	struct wss_options *w = context;
	struct wss_sample s = {
		.pid = t->pid,
		.since_start_ns = t->since_start_ns,
		.memory_bytes = t->memory_bytes,
		.rss_bytes = w->track.argv ? rss_of_tree(t->pid) : rss_of(t->pid),
	};
	int rc = wss_model_take(&w->model, t->epoch, &s);

	if (rc == 0 && w->plot_file)
		rc = plot_sample(w, &s);
	if (rc == 0)
		rc = w->track.json ? wss_print_json(out, t->epoch, &s)
				   : wss_print_text(out, t->epoch, &s);
	return rc;
}

/* Whether the back-end asked for, or any, tells references of other processes. */
static bool references_work(const char *backend)
{
	int room = pml_probe(NULL, 0);
	struct pml_probe_info *info;
	bool found = false;
	int n;

	if (!backend)
		backend = getenv("PML_BACKEND");
	if (room <= 0)
		return false;
	info = calloc((size_t)room, sizeof(*info));
	if (!info)
		return false;
	n = pml_probe(info, (size_t)room);
	for (int i = 0; i < n && i < room; i++) {
		if (backend && *backend && strcmp(backend, info[i].name) != 0)
			continue;
		if (info[i].available && info[i].external && info[i].granularity &&
		    (info[i].events & PML_REFERENCED) && (info[i].events & PML_DIRTY))
			found = true;
	}
	free(info);
	return found;
}

/* "referenced", asked for where no back-end tells pages: the sums in smaps are left. */
static int choose_smaps(struct wss_options *w)
{
	const char *backend = w->track.backend ? w->track.backend : getenv("PML_BACKEND");

	if (w->ncgroups || w->track.range_end ||
	    (backend && *backend && strcmp(backend, "referenced") != 0))
		return say_failed("wss", "--estimator referenced: no back-end here tells which "
				  "pages were read; 'pml info' says why, --estimator written does "
				  "without");
	w->settings.from_smaps = true;
	return 0;
}

/* Those that need no tracker. */
static bool reads_numbers(enum wss_kind kind)
{
	return kind >= WSS_ZBALLOOND && kind < WSS_KINDS;
}

static int choose_estimator(struct wss_options *w)
{
	struct wss_settings *s = &w->settings;

	if (reads_numbers(s->kind))
		return 0;
	if (s->kind == WSS_COMMITTED) {
		if (!w->system)
			return say_usage("wss", "--estimator committed: it is known of the whole "
					 "system only; give --system and no other target");
		w->ncgroups = 0;
		return 0;
	}
	if (s->kind != WSS_WRITTEN && references_work(w->track.backend))
		s->events = PML_DIRTY | PML_REFERENCED;
	else if (s->kind == WSS_REFERENCED)
		return choose_smaps(w);
	else if (s->apply)
		return say_failed("wss", "--apply: no back-end here tells which pages were read, and "
				  "a limit from writes alone would starve what is read; 'pml info' "
				  "says why");
	if (s->kind == WSS_DEFAULT)
		s->kind = s->events & PML_REFERENCED ? WSS_REFERENCED : WSS_WRITTEN;
	w->track.events = s->events;
	return 0;
}

/* All processes are in the cgroup at the root of the tree, or below it. */
static int find_root_cgroup(struct wss_options *w)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *entry;

	while (mounts && (entry = getmntent(mounts))) {
		if (strcmp(entry->mnt_type, "cgroup2") != 0)
			continue;
		snprintf(w->system_path, sizeof(w->system_path), "%s", entry->mnt_dir);
		w->cgroups[0] = w->system_path;
		w->ncgroups = 1;
		break;
	}
	if (mounts)
		endmntent(mounts);
	if (w->ncgroups)
		return 0;
	return say_failed("wss", "--system: no cgroup v2 is mounted, by which processes are found; "
			  "mount -t cgroup2 none /sys/fs/cgroup, or give --estimator committed");
}

static int measure(struct wss_options *w)
{
	struct track_printer printer = {
		w, wss_needs_ranges(w->settings.kind), print_header, print_epoch
	};
	struct wss_listener listener = { w, plot_sample };
	int status;

	w->settings.range_start = w->track.range_start;
	w->settings.range_end = w->track.range_end;
	if (w->settings.kind == WSS_COMMITTED || w->settings.kind == WSS_GEIGER ||
	    w->settings.kind == WSS_PRESENT || w->settings.from_smaps || w->ncgroups)
		return wss_rounds(&w->track, &w->settings, w->cgroups, w->ncgroups,
				  w->plot_file ? &listener : NULL);
	if (wss_model_init(&w->model, &w->settings))
		return say_failed("wss", "out of memory: it needs some MiB; end something");
	status = track(&w->track, &printer);
	wss_model_free(&w->model);
	return status;
}

static int run(struct wss_options *w)
{
	char title[96];
	int status;

	status = w->plot_file ? plot_check("wss", w->plot_file) : 0;
	if (status == 0 && w->system && w->settings.kind != WSS_COMMITTED)
		status = find_root_cgroup(w);
	if (status == 0)
		status = choose_estimator(w);
	if (status)
		return status;
	status = measure(w);
	if (w->plot_file && status == STATUS_OK) {
		snprintf(title, sizeof(title), "%.40s: estimator %s",
			 w->track.argv ? w->track.argv[0] : w->ncgroups ? w->cgroups[0] :
			 w->system ? "system" : "process", wss_kind_name(w->settings.kind));
		status = plot_draw(&w->plot, "wss", w->plot_file, title);
	}
	plot_free(&w->plot);
	return status;
}

static int option_estimator(struct wss_options *w, const char *name)
{
	for (enum wss_kind kind = WSS_WRITTEN; kind < WSS_KINDS; kind++) {
		if (strcmp(name, wss_kind_name(kind)) != 0)
			continue;
		w->settings.kind = kind;
		return 0;
	}
	return say_usage("wss", "--estimator %s: there is none of that name; give referenced, "
			 "written, pml, sampling, committed, zballoond, mpa, exclusive-cache, "
			 "geiger or sampling-present", name);
}

static int option_count(const char *option, const char *text, uint32_t most, uint32_t *value)
{
	uint64_t number;

	if (option_number(text, most, &number))
		return say_usage("wss", "%s %s: not such a number; give one from 1 to %u", option,
				 text, most);
	*value = (uint32_t)number;
	return 0;
}

static int option_cgroup(struct wss_options *w, const char *path)
{
	if (w->ncgroups == MAX_CGROUPS)
		return say_usage("wss", "--cgroup %s: that is one too many; give at most %d", path,
				 MAX_CGROUPS);
	w->cgroups[w->ncgroups++] = path;
	w->track.elsewhere = true;
	return 0;
}

enum { ESTIMATOR = TRACK_OWN, PLOT, CGROUP, SYSTEM, WINDOW, THRESHOLD, MEMORY, SAMPLES, APPLY,
       ACTIVE, FLOOR, RANGE, LISTEN };

static int own_option(struct wss_options *w, int c, char **argv)
{
	switch (c) {
	case ESTIMATOR:
		return option_estimator(w, optarg);
	case PLOT:
		w->plot_file = optarg;
		return 0;
	case CGROUP:
		return option_cgroup(w, optarg);
	case SYSTEM:
		w->system = true;
		w->track.elsewhere = true;
		return 0;
	case WINDOW:
		return option_count("--window", optarg, PML_WSS_MAX_WINDOW, &w->settings.window);
	case THRESHOLD:
		return option_count("--threshold", optarg, PML_WSS_MAX_WINDOW,
				    &w->settings.threshold);
	case MEMORY:
		return option_count("--memory", optarg, 1u << 30, &w->settings.memory_mib);
	case SAMPLES:
		return option_count("--samples", optarg, 1000000, &w->settings.samples);
	case APPLY:
		w->settings.apply = true;
		return 0;
	case ACTIVE:
		w->settings.active = true;
		return 0;
	case FLOOR:
		return option_count("--floor", optarg, 1u << 30, &w->settings.floor_mib);
	case RANGE:
		return option_range(&w->track, optarg);
	case LISTEN:
		return say_usage("wss", "--listen: this version serves no metrics; "
				 "--json gives the same numbers as lines");
	default:
		return track_option(&w->track, c, argv);
	}
}

static int check_active(const struct wss_settings *s, size_t ncgroups)
{
	bool limits = s->kind == WSS_ZBALLOOND || s->apply;

	if (s->apply && s->kind != WSS_PML)
		return say_usage("wss", "--apply: it goes by what the estimator pml tells; leave "
				 "--estimator out, or give pml");
	if (limits && (!ncgroups || !s->active))
		return say_usage("wss", "%s: it limits what it measures; give --cgroup PATH and "
				 "--active", s->apply ? "--apply" : "--estimator zballoond");
	if (s->kind == WSS_PRESENT && !s->active)
		return say_usage("wss", "--estimator sampling-present: it takes pages away from what "
				 "it measures; give --active");
	if (!limits && s->floor_mib)
		return say_usage("wss", "--floor goes with --estimator zballoond and --apply");
	if (!limits && s->active && s->kind != WSS_PRESENT)
		return say_usage("wss", "--active goes with --estimator zballoond and "
				 "sampling-present, and with --apply");
	return 0;
}

static bool has_window(enum wss_kind kind)
{
	return kind == WSS_PML || kind == WSS_EXCLUSIVE || kind == WSS_GEIGER;
}

static int check_options(const struct wss_options *w)
{
	uint32_t window = w->settings.window ? w->settings.window : 8;

	if (w->system && w->ncgroups)
		return say_usage("wss", "two targets: give either --system or --cgroup PATH");
	if (w->track.range_end && !w->track.pid)
		return say_usage("wss", "--range: addresses are those of one process; give -p PID");
	if (w->settings.kind != WSS_PML && w->settings.threshold)
		return say_usage("wss", "--threshold goes with --estimator pml");
	if (w->settings.window && !has_window(w->settings.kind))
		return say_usage("wss", "--window goes with --estimator pml, exclusive-cache and "
				 "geiger");
	if (w->settings.memory_mib && w->settings.kind != WSS_MPA)
		return say_usage("wss", "--memory goes with --estimator mpa");
	if ((w->settings.kind == WSS_MPA || w->settings.kind == WSS_EXCLUSIVE) && !w->ncgroups)
		return say_usage("wss", "--estimator %s: it is known of cgroups only; give --cgroup "
				 "PATH", wss_kind_name(w->settings.kind));
	if (w->settings.kind == WSS_GEIGER && w->track.range_end)
		return say_usage("wss", "--range: --estimator geiger is of whole processes; leave "
				 "one of them out");
	if (w->settings.kind == WSS_PRESENT && w->track.elsewhere)
		return say_usage("wss", "--estimator sampling-present: it is of one process; give "
				 "-p PID or -- CMD");
	if (w->settings.threshold > window)
		return say_usage("wss", "--threshold %u: no page is touched in so many of %u epochs; "
				 "give a larger --window", w->settings.threshold, window);
	return check_active(&w->settings, w->ncgroups);
}

int wss_command(int argc, char **argv)
{
	static const struct option longs[] = {
		TRACK_LONG,
		{ "estimator", required_argument, NULL, ESTIMATOR },
		{ "plot", required_argument, NULL, PLOT },
		{ "cgroup", required_argument, NULL, CGROUP },
		{ "system", no_argument, NULL, SYSTEM },
		{ "window", required_argument, NULL, WINDOW },
		{ "threshold", required_argument, NULL, THRESHOLD },
		{ "memory", required_argument, NULL, MEMORY },
		{ "samples", required_argument, NULL, SAMPLES },
		{ "apply", no_argument, NULL, APPLY },
		{ "active", no_argument, NULL, ACTIVE },
		{ "floor", required_argument, NULL, FLOOR },
		{ "range", required_argument, NULL, RANGE },
		{ "listen", required_argument, NULL, LISTEN },
		{ 0 },
	};
	struct wss_options w = {
		.track = track_options_default("wss"),
		.settings = { .events = PML_DIRTY, .samples = 100 },
	};
	int c, rc = 0;

	opterr = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, TRACK_SHORT, longs, NULL)) != -1) {
		if (c == 'h') {
			print_help();
			return STATUS_OK;
		}
		rc = own_option(&w, c, argv);
	}
	if (rc == 0)
		rc = track_options_end(&w.track, argc, argv);
	if (w.settings.apply && w.settings.kind == WSS_DEFAULT)
		w.settings.kind = WSS_PML;
	if (rc == 0)
		rc = check_options(&w);
	return rc ? rc : run(&w);
}
