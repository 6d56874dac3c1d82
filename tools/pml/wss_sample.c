/* SPDX-License-Identifier: MIT */
/*
 * wss_sample.c - prints one estimate of `pml wss`, as text or as a JSON line.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "json.h"
#include "text.h"
#include "wss_sample.h"

int wss_print_header(FILE *out, bool with_cgroup)
{
	fprintf(out, "%9s %9s %10s %10s %10s %9s  %s%s\n", "TIME", "INTERVAL", "WSS", "RSS",
		"WRITTEN", "COLLECT", with_cgroup ? "CGROUP " : "", "NOTES");
	return fflush(out) ? -errno : 0;
}

static void print_more(FILE *out, const struct wss_sample *s)
{
	char text[TEXT_MAX];

	if (s->estimate.change)
		fputs(s->estimate.change > 0 ? "rise, " : "fall, ", out);
	fprintf(out, "limit %s", text_size(text, s->limit.pages * s->page_size));
	if (s->forecast.period)
		fprintf(out, ", period %u, next %s", s->forecast.period,
			text_size(text, s->forecast.pages * s->page_size));
	if (s->estimate.flags & PML_WSS_FULL)
		fputs(", TABLES FULL", out);
	fputc(' ', out);
}

int wss_print_text(FILE *out, const struct epoch *e, const struct wss_sample *s)
{
	char since[TEXT_MAX], interval[TEXT_MAX], wss[TEXT_MAX], rss[TEXT_MAX], dirty[TEXT_MAX];
	char collect[TEXT_MAX];

	fprintf(out, "%9s %9s %10s %10s %10s %9s  ", text_time(since, s->since_start_ns),
		text_time(interval, e->end_ns - e->begin_ns),
		s->unknown ? "-" : text_size(wss, s->wss_bytes),
		text_size(rss, s->rss_bytes),
		s->knows_dirty ? text_size(dirty, s->dirty_bytes) : "-",
		text_time(collect, e->cost.collect_ns));
	if (s->cgroup)
		fprintf(out, "%s ", s->cgroup);
	if (s->has_more)
		print_more(out, s);
	if (s->limits && s->high_bytes)
		fprintf(out, "high %s ", text_size(rss, s->high_bytes));
	if (s->limits && s->refaults)
		fprintf(out, "%" PRIu64 " refaults ", s->refaults);
	if (s->limits && s->released)
		fputs("released ", out);
	if (s->pressure)
		fprintf(out, "%s %s, share %s ", s->pressure, text_size(rss, s->host_bytes),
			text_size(wss, s->share_bytes));
	if (s->fetches && s->unknown)
		fputs("no pressure ", out);
	else if (s->fetches)
		fprintf(out, "%s%s more ", s->at_least ? "at least " : "",
			text_size(wss, s->more_bytes));
	if (s->asks)
		fprintf(out, "of %" PRIu64 " pages, %" PRIu64 " did not go ", s->asked_pages,
			s->refused_pages);
	fputs(e->lost ? "LOST TRACK\n" : "\n", out);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static json_t *more_json(const struct wss_sample *s)
{
	json_int_t page = (json_int_t)s->page_size;
	const struct pml_wss_estimate *e = &s->estimate;
	static const char *const changes[] = { "fall", "none", "rise" };

	return json_pack("{s:i, s:s, s:I, s:I, s:I, s:I, s:i, s:i, s:I, s:I, s:I, s:I, s:i, s:b}",
			 "window", (int)e->window,
			 "change", changes[e->change + 1],
			 "seen_bytes", (json_int_t)e->seen_pages * page,
			 "last_bytes", (json_int_t)e->last_pages * page,
			 "assumed_bytes", (json_int_t)e->assumed_pages * page,
			 "settled_bytes", (json_int_t)e->settled_pages * page,
			 "settled", (int)e->settled,
			 "plateau", (int)e->plateau,
			 "plateau_bytes", (json_int_t)e->plateau_pages * page,
			 "forecast_bytes", (json_int_t)s->forecast.pages * page,
			 "forecast_peak_bytes", (json_int_t)s->forecast.peak * page,
			 "limit_bytes", (json_int_t)s->limit.pages * page,
			 "period", (int)s->forecast.period,
			 "full", (e->flags & PML_WSS_FULL) != 0);
}

static json_t *nodes_json(const struct nodes *nodes)
{
	json_t *object = json_object();
	char name[16];

	for (uint32_t i = 0; i < nodes->n; i++) {
		snprintf(name, sizeof(name), "%u", i);
		json_object_set_new(object, name, json_integer((json_int_t)nodes->bytes[i]));
	}
	return object;
}

static int add_limit(json_t *object, const struct wss_sample *s)
{
	json_t *high = s->high_bytes ? json_integer((json_int_t)s->high_bytes) : json_null();

	return json_object_set_new(object, "high_bytes", high) |
	       json_object_set_new(object, "refaults", json_integer((json_int_t)s->refaults)) |
	       json_object_set_new(object, "stalled_s", json_real((double)s->stalled_us / 1e6)) |
	       json_object_set_new(object, "released", json_boolean(s->released));
}

static int add_share(json_t *object, const struct wss_sample *s)
{
	return json_object_set_new(object, "pressure", json_string(s->pressure)) |
	       json_object_set_new(object, "share_bytes",
				   json_integer((json_int_t)s->share_bytes)) |
	       json_object_set_new(object, "host_bytes", json_integer((json_int_t)s->host_bytes));
}

static int add_fetches(json_t *object, const struct wss_sample *s)
{
	json_t *more = s->unknown ? json_null() : json_integer((json_int_t)s->more_bytes);

	return json_object_set_new(object, "more_bytes", more) |
	       json_object_set_new(object, "stored_bytes",
				   json_integer((json_int_t)s->stored_bytes)) |
	       json_object_set_new(object, "came_pages", json_integer((json_int_t)s->came_pages)) |
	       json_object_set_new(object, "at_least", json_boolean(s->at_least));
}

static int add_asked(json_t *object, const struct wss_sample *s)
{
	return json_object_set_new(object, "asked_pages",
				   json_integer((json_int_t)s->asked_pages)) |
	       json_object_set_new(object, "refused_pages",
				   json_integer((json_int_t)s->refused_pages));
}

int wss_print_json(FILE *out, const struct epoch *e, const struct wss_sample *s)
{
	json_t *object = json_epoch("wss", e, s->memory_bytes);
	json_t *numbers = json_pack("{s:s, s:o, s:o, s:I, s:o, s:o, s:o}",
				    "estimator", s->estimator,
				    "pid", s->pid ? json_integer(s->pid) : json_null(),
				    "wss_bytes", s->unknown
						 ? json_null()
						 : json_integer((json_int_t)s->wss_bytes),
				    "rss_bytes", (json_int_t)s->rss_bytes,
				    "dirty_bytes", s->knows_dirty
						   ? json_integer((json_int_t)s->dirty_bytes)
						   : json_null(),
				    "read_bytes", s->knows_read
						  ? json_integer((json_int_t)s->read_bytes)
						  : json_null(),
				    "nodes", nodes_json(&s->nodes));
	json_t *more = s->has_more ? more_json(s) : json_object();
	int rc = json_object_update(object, numbers) | json_object_update(object, more);

	if (rc == 0 && s->limits)
		rc = add_limit(object, s);
	if (rc == 0 && s->pressure)
		rc = add_share(object, s);
	if (rc == 0 && s->fetches)
		rc = add_fetches(object, s);
	if (rc == 0 && s->asks)
		rc = add_asked(object, s);
	if (rc == 0 && s->cgroup)
		rc = json_object_set_new(object, "cgroup", json_text(s->cgroup));
	rc = rc ? -ENOMEM : json_epoch_line(out, object, e, false);
	json_decref(more);
	json_decref(numbers);
	json_decref(object);
	return rc;
}
