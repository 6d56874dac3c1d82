/* SPDX-License-Identifier: MIT */
/*
 * The working-set estimator of pml_wss.h: takes results in, and counts from the
 * pages' histories (heat.c), the series of epochs (series.c) and the reuse of
 * pages (reuse.c) what is asked for.
 */
#define _GNU_SOURCE
#include "pml_wss.h"
#include "heat.h"
#include "reuse.h"
#include "series.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#define DEFAULT_MEMORY ((size_t)256 << 20)
#define ALL_EVENTS (PML_DIRTY | PML_REFERENCED)

struct pml_wss {
	struct pml_wss_options o;	/* with the defaults filled in */
	struct pml_pool pool;
	struct pml_heat heat;
	struct pml_series series;
	struct pml_reuse reuse;
	bool begun;			/* parts of an epoch have come, more are to */
	uint64_t epochs;
	uint64_t begins[PML_WSS_MAX_WINDOW];	/* when epochs began, by number */
	uint64_t end_ns;
	uint64_t collect_ns;		/* of the last epoch */
	uint64_t length_ns;
	uint64_t pages;			/* of the epoch under way */
	uint64_t assumed;
	uint64_t unplaced;		/* pages that did not fit into the memory */
	bool lost;
	uint64_t last_pages;		/* of the last complete one */
	uint64_t last_assumed;
	uint64_t last_unplaced;
	bool last_lost;
};

static bool take_options(struct pml_wss_options *o, const struct pml_wss_options *options)
{
	if (options) {
		if (options->size < sizeof(options->size))
			return false;
		memcpy(o, options, options->size < sizeof(*o) ? options->size : sizeof(*o));
	}
	o->size = sizeof(*o);
	o->events = o->events ? o->events : ALL_EVENTS;
	o->window = o->window ? o->window : 8;
	o->threshold = o->threshold ? o->threshold : 1;
	o->flat_permille = o->flat_permille ? o->flat_permille : 10;
	o->change_permille = o->change_permille ? o->change_permille : 100;
	o->history = o->history ? o->history : 256;
	o->max_memory = o->max_memory ? o->max_memory : DEFAULT_MEMORY;
	return !(o->events & ~ALL_EVENTS) && !(o->flags & ~PML_WSS_OBSERVED_ONLY) &&
	       o->window <= PML_WSS_MAX_WINDOW && o->threshold <= o->window &&
	       o->flat_permille < 1000 && o->change_permille <= 1000000 &&
	       o->history >= 16 && o->history <= 4096;
}

int pml_wss_open(struct pml_wss **out, const struct pml_wss_options *options)
{
	struct pml_wss_options o = { 0 };
	struct pml_wss *w;

	*out = NULL;
	if (!take_options(&o, options))
		return -EINVAL;
	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w == MAP_FAILED)
		return -ENOMEM;
	w->o = o;
	w->pool.limit = o.max_memory;
	pml_heat_init(&w->heat, &w->pool);
	if (pml_series_init(&w->series, &w->pool, o.history, o.change_permille)) {
		pml_wss_close(w);
		return -ENOMEM;
	}
	*out = w;
	return 0;
}

void pml_wss_close(struct pml_wss *w)
{
	if (!w)
		return;
	pml_heat_free(&w->heat);
	pml_series_free(&w->series);
	munmap(w, sizeof(*w));
}

/* Whether a range says that its pages were touched. */
static bool counts(const struct pml_wss *w, const struct pml_range *r)
{
	if (!r->granule || !(r->events & ALL_EVENTS) || r->known == PML_UNCOVERED)
		return false;
	if (r->known == PML_OBSERVED)
		return true;
	/* of these nothing at all is known */
	if (r->reason == PML_REASON_OVERFLOW || r->reason == PML_REASON_RESTART)
		return false;
	return !(w->o.flags & PML_WSS_OBSERVED_ONLY);
}

static void take_range(struct pml_wss *w, const struct pml_range *r)
{
	uint64_t pages = (r->end - r->start) >> w->heat.page_shift;

	if (!counts(w, r))
		return;
	w->pages += pages;
	if (r->known == PML_ASSUMED)
		w->assumed += pages;
	w->unplaced += pml_heat_touch(&w->heat, r);
}

static void begin_epoch(struct pml_wss *w, const struct pml_result *r)
{
	pml_heat_shift(&w->heat);
	w->begins[w->epochs % PML_WSS_MAX_WINDOW] = r->begin_ns;
	w->pages = 0;
	w->assumed = 0;
	w->unplaced = 0;
	w->lost = false;
	w->collect_ns = 0;
	w->begun = true;
}

static void end_epoch(struct pml_wss *w, const struct pml_result *r)
{
	w->length_ns = r->end_ns - w->begins[w->epochs % PML_WSS_MAX_WINDOW];
	w->end_ns = r->end_ns;
	w->epochs++;
	w->last_pages = w->pages;
	w->last_assumed = w->assumed;
	w->last_unplaced = w->unplaced;
	w->last_lost = w->lost;
	w->begun = false;
	pml_reuse_add(&w->reuse, &w->heat);
	/* the size of an epoch that was lost is not known, and no change either */
	if (!w->lost)
		pml_series_add(&w->series, w->pages, w->length_ns);
}

int pml_wss_add(struct pml_wss *w, const struct pml_result *result)
{
	uint8_t shift = (uint8_t)__builtin_ctz(result->page_size ? result->page_size : 1);

	if (!result->page_size || result->page_size & (result->page_size - 1) ||
	    (w->heat.page_shift && shift != w->heat.page_shift))
		return -EINVAL;
	w->heat.page_shift = shift;
	if (!w->begun)
		begin_epoch(w, result);
	for (size_t i = 0; i < result->nranges; i++)
		take_range(w, &result->ranges[i]);
	w->lost |= (result->flags & PML_RESULT_LOST) != 0;
	w->collect_ns += result->cost.collect_ns;
	if (result->flags & PML_RESULT_MORE)
		return 0;
	end_epoch(w, result);
	return 1;
}

/* ---- what is counted from the histories ---- */

struct tally {
	uint64_t mask;		/* the window's epochs */
	uint32_t epochs;
	uint32_t threshold;
	uint64_t pages;
	uint64_t dirty;
	uint64_t seen;
	uint64_t count[PML_WSS_MAX_WINDOW + 1];
	uint64_t dirty_count[PML_WSS_MAX_WINDOW + 1];
	uint64_t first[PML_WSS_MAX_WINDOW];	/* pages by the first epoch they were in */
	uint64_t last[PML_WSS_MAX_WINDOW];	/* and by the last */
};

static void tally_page(void *arg, const struct pml_heat_page *p, uint64_t times)
{
	struct tally *t = arg;
	uint64_t touched = p->touched & t->mask, dirty = p->dirty & t->mask;
	uint32_t count = (uint32_t)__builtin_popcountll(touched);

	if (!touched)
		return;
	t->seen += times;
	t->count[count] += times;
	/* bit 0 is the newest epoch, which is the last of the window */
	t->first[t->epochs - 1 - (63u - (uint32_t)__builtin_clzll(touched))] += times;
	t->last[t->epochs - 1 - (uint32_t)__builtin_ctzll(touched)] += times;
	if (dirty)
		t->dirty_count[__builtin_popcountll(dirty)] += times;
	if (count < t->threshold)
		return;
	t->pages += times;
	if (dirty)
		t->dirty += times;
}

static void tally(const struct pml_wss *w, struct tally *t, uint32_t epochs, uint32_t threshold)
{
	*t = (struct tally){
		.mask = epochs == 64 ? UINT64_MAX : (1ull << epochs) - 1,
		.epochs = epochs,
		.threshold = threshold,
	};
	pml_heat_walk(&w->heat, tally_page, t);
}

/* The window as it is: what is there, and not from before the last change. */
static uint32_t window_of(const struct pml_wss *w)
{
	uint32_t n = w->o.window;

	if (n > w->epochs)
		n = (uint32_t)w->epochs;
	if (n > w->series.since && w->series.since)
		n = w->series.since;
	return n;
}

/* The share of @flat_permille of a number of pages, rounded up. */
static uint64_t flat_share(const struct pml_wss *w, uint64_t pages)
{
	return (pages * w->o.flat_permille + 999) / 1000;
}

/*
 * The plain rule: stop when an epoch adds next to nothing.  What makes it a proof:
 * the curve has been flat for as long as it rose, and in that time nearly all of
 * its pages came round again.
 */
static void judge_curve(const struct pml_wss *w, const struct tally *t,
			struct pml_wss_estimate *e)
{
	uint64_t curve[PML_WSS_MAX_WINDOW], sum = 0;

	for (uint32_t i = 0; i < t->epochs; i++) {
		sum += t->first[i];
		curve[i] = sum;
	}
	for (uint32_t i = 1; i < t->epochs; i++) {
		uint32_t rose = i;	/* epochs, with the next one adding nothing */
		uint64_t again = 0;

		if (curve[i] - curve[i - 1] > flat_share(w, curve[i]))
			continue;
		if (!e->plateau) {
			e->plateau = rose;
			e->plateau_pages = curve[i - 1];
		}
		if (2 * rose > t->epochs ||
		    curve[t->epochs - 1] - curve[i - 1] > flat_share(w, curve[t->epochs - 1]))
			continue;
		for (uint32_t j = i; j < t->epochs; j++)
			again += t->last[j];
		if (again + flat_share(w, curve[i - 1]) < curve[i - 1])
			continue;
		e->settled = rose;
		e->settled_pages = curve[i - 1];
		return;
	}
}

static void fill(const struct pml_wss *w, struct pml_wss_estimate *e)
{
	struct tally t;

	e->epochs = w->epochs;
	e->window = window_of(w);
	e->begin_ns = w->begins[(w->epochs - e->window) % PML_WSS_MAX_WINDOW];
	e->end_ns = w->end_ns;
	e->page_size = 1u << w->heat.page_shift;
	e->change = w->last_lost ? 0 : w->series.change;
	tally(w, &t, e->window, w->o.threshold < e->window ? w->o.threshold : e->window);
	e->pages = t.pages + w->last_unplaced;
	e->dirty_pages = t.dirty;
	e->read_pages = w->o.events & PML_REFERENCED ? t.pages - t.dirty : 0;
	e->seen_pages = t.seen + w->last_unplaced;
	e->last_pages = w->last_pages;
	e->assumed_pages = w->last_assumed;
	e->flags = (w->last_lost ? PML_WSS_LOST : 0) | (w->last_unplaced ? PML_WSS_FULL : 0) |
		   (w->o.events & PML_REFERENCED ? 0 : PML_WSS_WRITES_ONLY);
	e->memory_bytes = w->pool.used + sizeof(*w);
	judge_curve(w, &t, e);
}

/* Copies what the caller's struct has room for, behind its size. */
static void give(void *out, size_t size, const void *from, size_t full)
{
	memcpy((char *)out + sizeof(size_t), (const char *)from + sizeof(size_t),
	       (size < full ? size : full) - sizeof(size_t));
}

int pml_wss_get(const struct pml_wss *w, struct pml_wss_estimate *estimate)
{
	struct pml_wss_estimate e = { .size = sizeof(e) };

	if (estimate->size < sizeof(size_t))
		return -EINVAL;
	if (!w->epochs || w->begun)
		return -ENODATA;
	fill(w, &e);
	give(estimate, estimate->size, &e, sizeof(e));
	return 0;
}

int pml_wss_counts(const struct pml_wss *w, uint32_t epochs, uint64_t *pages, uint64_t *dirty)
{
	struct tally t;

	if (!epochs || epochs > PML_WSS_MAX_WINDOW)
		return -EINVAL;
	if (!w->epochs || w->begun)
		return -ENODATA;
	tally(w, &t, epochs, 1);
	memcpy(pages, t.count, (epochs + 1) * sizeof(*pages));
	if (dirty)
		memcpy(dirty, t.dirty_count, (epochs + 1) * sizeof(*dirty));
	return 0;
}

int pml_wss_curve(const struct pml_wss *w, uint32_t epochs, uint64_t *distinct)
{
	struct tally t;
	uint64_t sum = 0;

	if (!epochs || epochs > PML_WSS_MAX_WINDOW)
		return -EINVAL;
	if (!w->epochs || w->begun)
		return -ENODATA;
	tally(w, &t, epochs, 1);
	for (uint32_t i = 0; i < epochs; i++) {
		sum += t.first[i];
		distinct[i] = sum;
	}
	return 0;
}

int pml_wss_predict(const struct pml_wss *w, struct pml_wss_forecast *forecast)
{
	struct pml_wss_forecast f = { .size = sizeof(f) };
	struct pml_outlook o = { 0 };

	if (forecast->size < sizeof(size_t))
		return -EINVAL;
	if (!w->series.n)
		return -ENODATA;
	pml_series_outlook(&w->series, &o);
	f.period = o.period;
	f.cycles = o.cycles;
	f.pages = o.next;
	f.low = o.low;
	f.high = o.high;
	f.peak = o.peak;
	give(forecast, forecast->size, &f, sizeof(f));
	return 0;
}

uint32_t pml_wss_miss_ppm(const struct pml_wss *w, uint64_t pages)
{
	double ppm = pml_reuse_misses(&w->reuse, pages) * 1e6 + 0.5;

	return ppm > 1e6 ? 1000000 : (uint32_t)ppm;
}

int pml_wss_recommend(const struct pml_wss *w, struct pml_wss_limit *limit)
{
	struct pml_wss_estimate e = { .size = sizeof(e) };
	struct pml_wss_forecast f = { .size = sizeof(f) };
	struct pml_wss_limit l = { .size = sizeof(l) };
	int rc;

	if (limit->size < sizeof(size_t) + 2 * sizeof(uint32_t))
		return -EINVAL;
	rc = pml_wss_get(w, &e);
	if (rc)
		return rc;
	l.miss_ppm = limit->miss_ppm ? limit->miss_ppm : 1000;
	l.margin_permille = limit->margin_permille ? limit->margin_permille : 100;
	l.bare_pages = pml_reuse_pages(&w->reuse, l.miss_ppm / 1e6);
	if (l.bare_pages < e.pages)
		l.bare_pages = e.pages;
	if (pml_wss_predict(w, &f) == 0 && f.period && l.bare_pages < f.peak)
		l.bare_pages = f.peak;
	l.pages = l.bare_pages + (l.bare_pages * l.margin_permille + 999) / 1000;
	give(limit, limit->size, &l, sizeof(l));
	return 0;
}

uint64_t pml_wss_interval_ns(const struct pml_wss *w, uint64_t log_entries, uint32_t cost_permille)
{
	const uint64_t shortest = 1000000, longest = 60000000000;
	uint64_t interval;

	if (!w->epochs)
		return 0;
	interval = w->collect_ns * 1000 / (cost_permille ? cost_permille : 10);
	if (log_entries && w->last_pages) {
		double half_full = (double)w->length_ns * (double)log_entries /
				   (2.0 * (double)w->last_pages);

		if ((double)interval > half_full)
			interval = (uint64_t)half_full;
	}
	if (interval < shortest)
		return shortest;
	return interval > longest ? longest : interval;
}
