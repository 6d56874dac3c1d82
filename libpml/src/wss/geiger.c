/* SPDX-License-Identifier: MIT */
/*
 * A working set from what is swapped out and fetched again, after Jones and others'
 * Geiger: pml_wss_geiger_open() and what belongs to it.
 *
 * A page that comes back would have been kept by a memory larger by the pages that went
 * out after it and are still out.  Within an epoch the order is not known: half of those
 * that went in the same one are taken, and half of those that went in the one in which it
 * came; but never more than were out at either end of that.  Where pml.ko tells of every
 * page in turn (pml_wss_geiger_follow()) the order is known, and nothing is halved.
 */
#define _GNU_SOURCE
#include "pml_wss.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "follow.h"
#include "ghosts.h"
#include "queue.h"
#include "reuse.h"

#define DEFAULT_MEMORY ((size_t)256 << 20)

struct pml_wss_geiger {
	struct pml_wss_geiger_options o;
	struct pml_pool pool;
	struct pml_ghosts ghosts;	/* while nobody is followed */
	struct pml_follow follow;
	struct pml_queue queue;		/* since somebody is */
	bool queued;
	struct pml_reuse depths;
	double decay;		/* of what is known of an epoch, by the next */
	uint64_t epochs;
	uint64_t resident;
	uint64_t went[PML_WSS_MAX_WINDOW];	/* by the epoch's number */
	uint64_t came[PML_WSS_MAX_WINDOW];
};

static bool take_options(struct pml_wss_geiger_options *o,
			 const struct pml_wss_geiger_options *options)
{
	if (options) {
		if (options->size < sizeof(options->size))
			return false;
		memcpy(o, options, options->size < sizeof(*o) ? options->size : sizeof(*o));
	}
	o->size = sizeof(*o);
	o->window = o->window ? o->window : 8;
	o->missed_permille = o->missed_permille ? o->missed_permille : 50;
	o->page_size = o->page_size ? o->page_size : (uint32_t)sysconf(_SC_PAGESIZE);
	o->max_memory = o->max_memory ? o->max_memory : DEFAULT_MEMORY;
	return o->window <= PML_WSS_MAX_WINDOW && o->missed_permille < 1000 &&
	       !(o->page_size & (o->page_size - 1));
}

int pml_wss_geiger_open(struct pml_wss_geiger **out, const struct pml_wss_geiger_options *options)
{
	struct pml_wss_geiger_options o = { 0 };
	struct pml_wss_geiger *g;

	*out = NULL;
	if (!take_options(&o, options))
		return -EINVAL;
	g = mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g == MAP_FAILED)
		return -ENOMEM;
	g->o = o;
	g->pool.limit = o.max_memory;
	g->decay = 1 / (1 + 0.7 / o.window);	/* about a half after a window */
	pml_ghosts_init(&g->ghosts, &g->pool, (uint8_t)__builtin_ctz(o.page_size));
	pml_follow_init(&g->follow, &g->pool);
	pml_queue_init(&g->queue, &g->pool, &g->depths, (uint8_t)__builtin_ctz(o.page_size));
	*out = g;
	return 0;
}

void pml_wss_geiger_close(struct pml_wss_geiger *g)
{
	if (!g)
		return;
	pml_ghosts_free(&g->ghosts);
	pml_follow_free(&g->follow);
	pml_queue_free(&g->queue);
	munmap(g, sizeof(*g));
}

/* Each page that came back asked for all that went after it. */
static void note_depths(struct pml_wss_geiger *g, const struct pml_ghost_moves *m,
			uint64_t most)
{
	uint64_t younger = m->went / 2;

	pml_reuse_decay(&g->depths, g->decay);
	for (uint32_t age = 0; age < PML_GHOST_AGES; age++) {
		uint64_t depth = younger + (m->out_by_age[age] + 1) / 2;

		younger += m->out_by_age[age];
		if (m->came_by_age[age])
			pml_reuse_note(&g->depths, depth < most ? depth : most,
				       m->came_by_age[age]);
	}
}

int pml_wss_geiger_follow(struct pml_wss_geiger *g, pid_t pid)
{
	int rc = pml_follow_add(&g->follow, pid);

	if (rc == 0)
		g->queued = true;
	return rc;
}

static void end_epoch(struct pml_wss_geiger *g, uint64_t resident, uint64_t went, uint64_t came)
{
	uint32_t slot = (uint32_t)(g->epochs % PML_WSS_MAX_WINDOW);

	/* what the first look shows did not go in an epoch of ours */
	g->went[slot] = g->epochs ? went : 0;
	g->came[slot] = came;
	g->resident = resident;
	g->epochs++;
}

static uint64_t resident_pages(const struct pml_wss_geiger *g, const struct pml_wss_place *places,
			       size_t nplaces)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < nplaces; i++)
		bytes += places[i].swapped ? 0 : places[i].end - places[i].start;
	return bytes / g->o.page_size;
}

static int add_followed(struct pml_wss_geiger *g, const struct pml_wss_place *places,
			size_t nplaces)
{
	struct pml_queue *q = &g->queue;
	int rc;

	pml_reuse_decay(&g->depths, g->decay);
	rc = pml_follow_read(&g->follow, q);
	if (rc == 0)
		rc = pml_queue_look(q, places, nplaces);
	if (rc)
		return rc;
	end_epoch(g, resident_pages(g, places, nplaces), q->went, q->came);
	q->went = 0;
	q->came = 0;
	return 0;
}

static bool are_sorted(const struct pml_wss_place *places, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (places[i].end <= places[i].start)
			return false;
		if (i && (places[i].pid < places[i - 1].pid ||
			  (places[i].pid == places[i - 1].pid &&
			   places[i].start < places[i - 1].end)))
			return false;
	}
	return true;
}

int pml_wss_geiger_add(struct pml_wss_geiger *g, const struct pml_wss_place *places,
		       size_t nplaces)
{
	uint64_t before = g->ghosts.pages;
	struct pml_ghost_moves moves;
	int rc;

	if (!are_sorted(places, nplaces))
		return -EINVAL;
	if (g->queued)
		return add_followed(g, places, nplaces);
	rc = pml_ghosts_take(&g->ghosts, places, nplaces, &moves);
	if (rc)
		return rc;
	end_epoch(g, moves.resident, moves.went, moves.came);
	note_depths(g, &moves, before > g->ghosts.pages ? before : g->ghosts.pages);
	return 0;
}

static uint64_t sum(const struct pml_wss_geiger *g, const uint64_t *counts)
{
	uint64_t pages = 0;

	for (uint64_t i = 0; i < g->o.window && i < g->epochs; i++)
		pages += counts[(g->epochs - 1 - i) % PML_WSS_MAX_WINDOW];
	return pages;
}

int pml_wss_geiger_get(const struct pml_wss_geiger *g, struct pml_wss_geiger_estimate *estimate)
{
	struct pml_wss_geiger_estimate e = { .epochs = g->epochs };
	size_t size = estimate->size;

	if (size < sizeof(estimate->size))
		return -EINVAL;
	e.size = size;
	e.resident_pages = g->resident;
	e.swapped_pages = g->queued ? g->queue.pages : g->ghosts.pages;
	e.followed = g->follow.n;
	e.went_pages = sum(g, g->went);
	e.came_pages = sum(g, g->came);
	e.memory_bytes = g->pool.used + sizeof(*g);
	if (e.came_pages > PML_WSS_FEW && g->depths.sum > PML_WSS_FEW) {
		e.more_pages = pml_reuse_pages(&g->depths, g->o.missed_permille / 1000.0);
		/* once it has more memory, it needs no more than is still out */
		if (e.more_pages > e.swapped_pages)
			e.more_pages = e.swapped_pages;
		e.pages = e.resident_pages + e.more_pages;
	}
	memcpy(estimate, &e, size < sizeof(e) ? size : sizeof(e));
	return e.pages ? 0 : -ENODATA;
}

int64_t pml_wss_geiger_miss_ppm(const struct pml_wss_geiger *g, uint64_t more_pages)
{
	if (sum(g, g->came) <= PML_WSS_FEW)
		return -ENODATA;
	return (int64_t)(pml_reuse_misses(&g->depths, more_pages) * 1000000 + 0.5);
}
