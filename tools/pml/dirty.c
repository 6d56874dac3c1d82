/* SPDX-License-Identifier: MIT */
/*
 * dirty.c - `pml dirty`: which pages of a process are written, epoch by epoch.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "maps.h"
#include "options.h"
#include "pml.h"
#include "say.h"
#include "text.h"
#include "track.h"

struct dirty_options {
	struct track_options track;
	bool ranges;
	bool by_mapping;
};

static void print_help(void)
{
	fputs("Usage: pml dirty (-p PID | -- CMD ARG...) [OPTION...]\n"
	      "\n"
	      "Shows, at the end of each epoch, which pages were written in it.\n"
	      "\n", stdout);
	fputs(track_help, stdout);
	fputs("      --ranges           with the address ranges\n"
	      "      --by-mapping       with the mappings that the pages lie in\n"
	      "      --adaptive[=verify]  leave hot blocks unarmed and report them as assumed\n"
	      "                         dirty; verify: hash them and report those that changed\n",
	      stdout);
}

static int print_header(void *context, FILE *out)
{
	(void)context;
	fprintf(out, "%7s %9s %9s %10s %10s %9s %9s  %s\n", "EPOCH", "TIME", "INTERVAL", "PAGES",
		"SIZE", "ASSUMED", "COLLECT", "NOTES");
	return fflush(out) ? -errno : 0;
}

/* "uncovered: 3 (shared, io)": which reasons, each once. */
static void print_uncovered(FILE *out, const struct epoch *e)
{
	bool seen[256] = { false };
	const char *comma = "";

	if (!e->uncovered.n)
		return;
	fprintf(out, " uncovered: %zu%s (", e->uncovered.n, e->uncovered_cut ? "+" : "");
	for (size_t i = 0; i < e->uncovered.n; i++) {
		uint8_t reason = e->uncovered.ranges[i].reason;

		if (seen[reason])
			continue;
		seen[reason] = true;
		fprintf(out, "%s%s", comma, pml_reason_name(reason));
		comma = ", ";
	}
	fputc(')', out);
}

static void print_ranges(FILE *out, const struct epoch *e)
{
	for (size_t i = 0; i < e->ranges.n; i++) {
		const struct pml_range *r = &e->ranges.ranges[i];

		fprintf(out, "        %" PRIu32 " %#" PRIx64 "-%#" PRIx64 " %" PRIu64, r->pid,
			r->start, r->end, epoch_range_pages(e, r));
		if (r->known == PML_ASSUMED)
			fprintf(out, " assumed: %s", pml_reason_name(r->reason));
		fputc('\n', out);
	}
}

static void print_mappings(FILE *out, const struct epoch *e, const struct mapping_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct mapping *m = &list->mappings[i];
		char size[TEXT_MAX];

		text_size(size, m->pages * e->page_size);
		fprintf(out, "        %" PRIu32 " %#" PRIx64 "-%#" PRIx64 " %s %10" PRIu64
			" %10s  %s\n", m->pid, m->start, m->end, m->perms, m->pages, size, m->name);
	}
}

static int print_text(FILE *out, const struct track_epoch *t, const struct dirty_options *d,
		      const struct mapping_list *mappings)
{
	const struct epoch *e = t->epoch;
	char interval[TEXT_MAX], size[TEXT_MAX], collect[TEXT_MAX], since[TEXT_MAX];

	fprintf(out, "%7" PRIu64 " %9s %9s %10" PRIu64 " %10s %9" PRIu64 " %9s ", e->number,
		text_time(since, t->since_start_ns), text_time(interval, e->end_ns - e->begin_ns),
		e->dirty_pages, text_size(size, e->dirty_pages * e->page_size), e->assumed_pages,
		text_time(collect, e->cost.collect_ns));
	if (e->lost)
		fputs(" LOST TRACK", out);
	print_uncovered(out, e);
	fputc('\n', out);
	if (d->by_mapping)
		print_mappings(out, e, mappings);
	if (d->ranges)
		print_ranges(out, e);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static json_t *mappings_json(const struct epoch *e, const struct mapping_list *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->n; i++) {
		const struct mapping *m = &list->mappings[i];
		uint64_t bytes = m->pages * e->page_size;
		char start[24], end[24];

		snprintf(start, sizeof(start), "%#" PRIx64, m->start);
		snprintf(end, sizeof(end), "%#" PRIx64, m->end);
		json_array_append_new(array,
			json_pack("{s:I, s:s, s:s, s:s, s:o, s:I, s:I, s:I}",
				  "pid", (json_int_t)m->pid, "start", start, "end", end,
				  "perms", m->perms, "name", json_text(m->name),
				  "pages", (json_int_t)m->pages, "bytes", (json_int_t)bytes,
				  "assumed_pages", (json_int_t)m->assumed_pages));
	}
	return array;
}

static int print_json(FILE *out, const struct track_epoch *t, const struct dirty_options *d,
		      const struct mapping_list *mappings)
{
	const struct epoch *e = t->epoch;
	uint64_t bytes = e->dirty_pages * e->page_size;
	json_t *object = json_epoch("epoch", e, t->memory_bytes);
	json_t *numbers = json_pack("{s:I, s:I, s:I}",
				    "pages", (json_int_t)e->dirty_pages,
				    "bytes", (json_int_t)bytes,
				    "assumed_pages", (json_int_t)e->assumed_pages);
	int rc = json_object_update(object, numbers);

	if (rc == 0 && d->by_mapping)
		rc = json_object_set_new(object, "mappings", mappings_json(e, mappings));
	rc = rc ? -ENOMEM : json_epoch_line(out, object, e, d->ranges);
	json_decref(numbers);
	json_decref(object);
	return rc;
}

static int print_epoch(void *context, FILE *out, const struct track_epoch *t)
{
	const struct dirty_options *d = context;
	struct mapping_list mappings = { 0 };
	int rc = 0;

	if (d->by_mapping)
		rc = maps_group(&mappings, t->epoch);
	if (rc == 0)
		rc = d->track.json ? print_json(out, t, d, &mappings)
				   : print_text(out, t, d, &mappings);
	maps_free(&mappings);
	return rc;
}

static int option_adaptive(struct dirty_options *d, const char *how)
{
	d->track.flags |= PML_ADAPTIVE;
	if (how && strcmp(how, "verify") != 0)
		return say_usage("dirty", "--adaptive=%s: the only value is verify", how);
	if (how)
		d->track.flags |= PML_ADAPTIVE_VERIFY;
	return 0;
}

int dirty_command(int argc, char **argv)
{
	enum { RANGES = TRACK_OWN, BY_MAPPING, ADAPTIVE };
	static const struct option longs[] = {
		TRACK_LONG,
		{ "ranges", no_argument, NULL, RANGES },
		{ "by-mapping", no_argument, NULL, BY_MAPPING },
		{ "adaptive", optional_argument, NULL, ADAPTIVE },
		{ 0 },
	};
	struct dirty_options d = { .track = track_options_default("dirty") };
	struct track_printer printer = { &d, false, print_header, print_epoch };
	int c, rc = 0;

	opterr = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, TRACK_SHORT, longs, NULL)) != -1) {
		switch (c) {
		case 'h':
			print_help();
			return STATUS_OK;
		case RANGES:
			d.ranges = true;
			break;
		case BY_MAPPING:
			d.by_mapping = true;
			break;
		case ADAPTIVE:
			rc = option_adaptive(&d, optarg);
			break;
		default:
			rc = track_option(&d.track, c, argv);
		}
	}
	if (rc == 0)
		rc = track_options_end(&d.track, argc, argv);
	if (rc)
		return rc;
	printer.ranges = d.ranges || d.by_mapping;
	return track(&d.track, &printer);
}
