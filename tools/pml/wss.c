/* SPDX-License-Identifier: MIT */
/*
 * wss.c - `pml wss`: how much memory a process works with, epoch by epoch.
 *
 * Two estimators so far: "referenced" counts the pages that were read or
 * written, where a back-end can tell; "written" counts those written, which
 * is less than the working set, and says so by its name.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "json.h"
#include "options.h"
#include "plot.h"
#include "pml.h"
#include "say.h"
#include "text.h"
#include "track.h"

struct wss_options {
	struct track_options track;
	const char *estimator;	/* NULL: the best there is */
	const char *plot_file;
	struct plot plot;
};

static void print_help(void)
{
	fputs("Usage: pml wss (-p PID | -- CMD ARG...) [OPTION...]\n"
	      "\n"
	      "Estimates, at the end of each epoch, how much memory was worked with in it.\n"
	      "\n", stdout);
	fputs(track_help, stdout);
	fputs("      --estimator NAME   referenced: pages read or written; written: pages written\n"
	      "                         (the default is the first that works here)\n"
	      "      --plot FILE        draw the curve at the end, as FILE.svg or FILE.png\n",
	      stdout);
}

/* The resident size of one process; 0 if it has gone. */
static uint64_t rss_of(pid_t pid)
{
	unsigned long long resident = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%*u %llu", &resident) != 1)
		resident = 0;
	fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t rss_of_tree(pid_t pid);

/* The children that one thread has. */
static uint64_t rss_of_children(pid_t pid, const char *thread)
{
	uint64_t sum = 0;
	char path[300];
	FILE *file;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, thread);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fscanf(file, "%d", &child) == 1)
		sum += rss_of_tree(child);
	fclose(file);
	return sum;
}

static uint64_t rss_of_tree(pid_t pid)
{
	uint64_t sum = rss_of(pid);
	struct dirent *entry;
	char path[64];
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	threads = opendir(path);
	if (!threads)
		return sum;
	while ((entry = readdir(threads))) {
		if (entry->d_name[0] != '.')
			sum += rss_of_children(pid, entry->d_name);
	}
	closedir(threads);
	return sum;
}

struct sample {
	bool referenced;	/* reads were seen too */
	uint64_t wss_bytes;
	uint64_t dirty_bytes;
	uint64_t rss_bytes;
};

static struct sample take_sample(const struct wss_options *w, const struct track_epoch *t)
{
	const struct epoch *e = t->epoch;
	struct sample s = {
		.referenced = (w->track.events & PML_REFERENCED) != 0,
		.dirty_bytes = e->dirty_pages * e->page_size,
		.rss_bytes = w->track.argv ? rss_of_tree(t->pid) : rss_of(t->pid),
	};

	s.wss_bytes = s.referenced ? e->referenced_pages * e->page_size : s.dirty_bytes;
	return s;
}

static int print_header(void *context, FILE *out)
{
	const struct wss_options *w = context;

	if (!(w->track.events & PML_REFERENCED))
		fputs("Estimator: written. Pages that are only read are not counted.\n", out);
	fprintf(out, "%9s %9s %10s %10s %10s %9s  %s\n", "TIME", "INTERVAL", "WSS", "RSS",
		"WRITTEN", "COLLECT", "NOTES");
	return fflush(out) ? -errno : 0;
}

static int print_text(FILE *out, const struct track_epoch *t, const struct sample *s)
{
	const struct epoch *e = t->epoch;
	char since[TEXT_MAX], interval[TEXT_MAX], wss[TEXT_MAX], rss[TEXT_MAX], dirty[TEXT_MAX];
	char collect[TEXT_MAX];

	fprintf(out, "%9s %9s %10s %10s %10s %9s  %s\n", text_time(since, t->since_start_ns),
		text_time(interval, e->end_ns - e->begin_ns), text_size(wss, s->wss_bytes),
		text_size(rss, s->rss_bytes), text_size(dirty, s->dirty_bytes),
		text_time(collect, e->cost.collect_ns), e->lost ? "LOST TRACK" : "");
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static int print_json(FILE *out, const struct track_epoch *t, const struct sample *s)
{
	/* What was read and not written: the rest of what was referenced. */
	uint64_t read_bytes = s->wss_bytes > s->dirty_bytes ? s->wss_bytes - s->dirty_bytes : 0;
	json_t *object = json_epoch("wss", t->epoch, t->memory_bytes);
	json_t *numbers = json_pack("{s:s, s:i, s:I, s:I, s:I, s:o, s:{}}",
				    "estimator", s->referenced ? "referenced" : "written",
				    "pid", (int)t->pid,
				    "wss_bytes", (json_int_t)s->wss_bytes,
				    "rss_bytes", (json_int_t)s->rss_bytes,
				    "dirty_bytes", (json_int_t)s->dirty_bytes,
				    "read_bytes", s->referenced
						  ? json_integer((json_int_t)read_bytes)
						  : json_null(),
				    "nodes");
	int rc = json_object_update(object, numbers);

	rc = rc ? -ENOMEM : json_epoch_line(out, object, t->epoch, false);
	json_decref(numbers);
	json_decref(object);
	return rc;
}

static int print_epoch(void *context, FILE *out, const struct track_epoch *t)
{
	struct wss_options *w = context;
	struct sample s = take_sample(w, t);
	int rc = 0;

	if (w->plot_file)
		rc = plot_add(&w->plot, (struct plot_point){
			(double)t->since_start_ns / 1e9, s.wss_bytes, s.rss_bytes });
	if (rc == 0)
		rc = w->track.json ? print_json(out, t, &s) : print_text(out, t, &s);
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

static int choose_estimator(struct wss_options *w)
{
	bool asked = w->estimator && !strcmp(w->estimator, "referenced");

	if (w->estimator && !asked && strcmp(w->estimator, "written") != 0)
		return say_usage("wss", "--estimator %s: there is none of that name; "
				 "give referenced or written", w->estimator);
	if (w->estimator && !asked)
		return 0;
	if (references_work(w->track.backend))
		w->track.events = PML_DIRTY | PML_REFERENCED;
	else if (asked)
		return say_failed("wss", "--estimator referenced: no back-end here tells which "
				  "pages were read; 'pml info' says why, --estimator written does "
				  "without");
	return 0;
}

static int run(struct wss_options *w)
{
	struct track_printer printer = { w, false, print_header, print_epoch };
	char title[96];
	int status;

	status = w->plot_file ? plot_check("wss", w->plot_file) : 0;
	if (status == 0)
		status = choose_estimator(w);
	if (status)
		return status;
	status = track(&w->track, &printer);
	if (w->plot_file && status == STATUS_OK) {
		snprintf(title, sizeof(title), "%.40s: estimator %s",
			 w->track.argv ? w->track.argv[0] : "process",
			 w->track.events & PML_REFERENCED ? "referenced" : "written");
		status = plot_draw(&w->plot, "wss", w->plot_file, title);
	}
	plot_free(&w->plot);
	return status;
}

int wss_command(int argc, char **argv)
{
	enum { ESTIMATOR = TRACK_OWN, PLOT, CGROUP, LISTEN };
	static const struct option longs[] = {
		TRACK_LONG,
		{ "estimator", required_argument, NULL, ESTIMATOR },
		{ "plot", required_argument, NULL, PLOT },
		{ "cgroup", required_argument, NULL, CGROUP },
		{ "listen", required_argument, NULL, LISTEN },
		{ 0 },
	};
	struct wss_options w = { .track = track_options_default("wss") };
	int c, rc = 0;

	opterr = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, TRACK_SHORT, longs, NULL)) != -1) {
		switch (c) {
		case 'h':
			print_help();
			return STATUS_OK;
		case ESTIMATOR:
			w.estimator = optarg;
			break;
		case PLOT:
			w.plot_file = optarg;
			break;
		case CGROUP:
			return say_usage("wss", "--cgroup: this version measures single processes "
					 "and their descendants; give -p PID or -- CMD");
		case LISTEN:
			return say_usage("wss", "--listen: this version serves no metrics; "
					 "--json gives the same numbers as lines");
		default:
			rc = track_option(&w.track, c, argv);
		}
	}
	if (rc == 0)
		rc = track_options_end(&w.track, argc, argv);
	return rc ? rc : run(&w);
}
