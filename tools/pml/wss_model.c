/* SPDX-License-Identifier: MIT */
/*
 * wss_model.c - from an epoch of a tracker to an estimate: by counting, by the
 * library's estimator, or by a sample of pages.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "wss_model.h"

static const char *const names[] = {
	[WSS_DEFAULT] = "",
	[WSS_WRITTEN] = "written",
	[WSS_REFERENCED] = "referenced",
	[WSS_PML] = "pml",
	[WSS_SAMPLING] = "sampling",
	[WSS_COMMITTED] = "committed",
	[WSS_ZBALLOOND] = "zballoond",
	[WSS_MPA] = "mpa",
	[WSS_EXCLUSIVE] = "exclusive-cache",
	[WSS_GEIGER] = "geiger",
	[WSS_PRESENT] = "sampling-present",
};

const char *wss_kind_name(enum wss_kind kind)
{
	return names[kind];
}

bool wss_needs_ranges(enum wss_kind kind)
{
	return kind == WSS_PML || kind == WSS_SAMPLING || nodes_need_ranges();
}

int wss_model_init(struct wss_model *m, const struct wss_settings *settings)
{
	struct pml_wss_options o = {
		.size = sizeof(o),
		.events = settings->events,
		.window = settings->window,
		.threshold = settings->threshold,
		/* what a limit has swapped out is reported to be safe, and not in use */
		.flags = settings->apply ? PML_WSS_OBSERVED_ONLY : 0,
	};

	*m = (struct wss_model){ .settings = settings };
	return settings->kind == WSS_PML ? pml_wss_open(&m->pml, &o) : 0;
}

void wss_model_free(struct wss_model *m)
{
	pml_wss_close(m->pml);
	m->pml = NULL;
}

static int take_pml(struct wss_model *m, const struct epoch *e, struct wss_sample *s)
{
	struct pml_result r = {
		.epoch = e->number,
		.begin_ns = e->begin_ns,
		.end_ns = e->end_ns,
		.backend = e->backend,
		.page_size = e->page_size,
		.flags = e->lost ? PML_RESULT_LOST : 0,
		.ranges = e->ranges.ranges,
		.nranges = e->ranges.n,
		.cost = e->cost,
	};
	int rc = pml_wss_add(m->pml, &r);

	s->estimate = (struct pml_wss_estimate){ .size = sizeof(s->estimate) };
	s->forecast = (struct pml_wss_forecast){ .size = sizeof(s->forecast) };
	s->limit = (struct pml_wss_limit){ .size = sizeof(s->limit) };
	if (rc >= 0)
		rc = pml_wss_get(m->pml, &s->estimate);
	if (rc == 0)
		rc = pml_wss_recommend(m->pml, &s->limit);
	if (rc)
		return rc;
	/* the first epochs may all be lost: then there is no forecast yet */
	pml_wss_predict(m->pml, &s->forecast);
	s->has_more = true;
	s->memory_bytes += s->estimate.memory_bytes;
	s->wss_bytes = s->estimate.pages * e->page_size;
	s->dirty_bytes = s->estimate.dirty_pages * e->page_size;
	s->read_bytes = s->estimate.read_pages * e->page_size;
	return 0;
}

/* What of a mapping is watched; false: nothing. */
static bool clip(const struct wss_settings *settings, struct pml_range *r)
{
	if (settings->range_end) {
		if (r->start < settings->range_start)
			r->start = settings->range_start;
		if (r->end > settings->range_end)
			r->end = settings->range_end;
	}
	return r->end > r->start;
}

/* The writable mappings of a process, which are what trackers watch. */
static int add_mappings(const struct wss_settings *settings, struct range_list *list, uint32_t pid)
{
	char path[64], *line = NULL;
	size_t size = 0;
	FILE *maps;
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return 0;
	while (rc == 0 && getline(&line, &size, maps) > 0) {
		struct pml_range r = { .pid = pid };
		char *end;

		r.start = strtoull(line, &end, 16);
		if (*end == '-')
			r.end = strtoull(end + 1, &end, 16);
		if (strlen(end) > 2 && end[2] == 'w' && clip(settings, &r))
			rc = range_list_append(list, &r, 1);
	}
	free(line);
	fclose(maps);
	return rc;
}

static int take_sampling(struct wss_model *m, const struct epoch *e, struct wss_sample *s)
{
	struct range_list population = { 0 };
	uint64_t pages = 0;
	uint32_t pid = 0;
	int rc = s->pid ? add_mappings(m->settings, &population, (uint32_t)s->pid) : 0;

	for (size_t i = 0; rc == 0 && i < e->ranges.n; i++) {
		if (e->ranges.ranges[i].pid != pid && e->ranges.ranges[i].pid != (uint32_t)s->pid)
			rc = add_mappings(m->settings, &population, e->ranges.ranges[i].pid);
		pid = e->ranges.ranges[i].pid;
	}
	if (rc == 0)
		pml_wss_sample(e->ranges.ranges, e->ranges.n, population.ranges, population.n,
			       e->page_size, m->settings->samples, ++m->epochs, &pages);
	free(population.ranges);
	s->wss_bytes = pages * e->page_size;
	return rc;
}

int wss_model_take(struct wss_model *m, const struct epoch *e, struct wss_sample *s)
{
	s->estimator = names[m->settings->kind];
	s->page_size = e->page_size;
	s->knows_dirty = true;
	s->knows_read = m->settings->events & PML_REFERENCED;
	s->dirty_bytes = e->dirty_pages * e->page_size;
	nodes_count(&s->nodes, e, s->knows_read ? PML_REFERENCED : PML_DIRTY,
		    (s->knows_read ? e->referenced_pages : e->dirty_pages) * e->page_size);
	if (m->settings->kind == WSS_PML)
		return take_pml(m, e, s);
	if (m->settings->kind == WSS_SAMPLING) {
		s->knows_dirty = false;
		s->knows_read = false;
		return take_sampling(m, e, s);
	}
	s->wss_bytes = s->knows_read ? e->referenced_pages * e->page_size : s->dirty_bytes;
	/* What was read and not written: the rest of what was referenced. */
	s->read_bytes = s->wss_bytes > s->dirty_bytes ? s->wss_bytes - s->dirty_bytes : 0;
	return 0;
}
