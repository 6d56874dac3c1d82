/* SPDX-License-Identifier: MIT */
/* The pages that are swapped out, and since when; see ghosts.h. */
#define _GNU_SOURCE
#include "ghosts.h"

#include <errno.h>
#include <stdbool.h>

struct pml_ghost {
	uint64_t start;
	uint64_t end;
	uint64_t since;		/* the look that first showed it */
	uint32_t pid;
};

/* A walk along what was out before, in step with the places of the new look. */
struct walk {
	struct pml_ghosts *g;
	struct pml_ghost_moves *moves;
	size_t at;		/* of those before */
	size_t nnext;
	uint64_t pages;
};

void pml_ghosts_init(struct pml_ghosts *g, struct pml_pool *pool, uint8_t page_shift)
{
	*g = (struct pml_ghosts){ .pool = pool, .page_shift = page_shift };
}

void pml_ghosts_free(struct pml_ghosts *g)
{
	pml_buf_free(&g->out);
	pml_buf_free(&g->next);
}

static uint32_t age_of(const struct pml_ghosts *g, const struct pml_ghost *ghost)
{
	uint64_t age = g->look + 1 - ghost->since;

	return age < PML_GHOST_AGES ? (uint32_t)age : PML_GHOST_AGES - 1;
}

static int keep(struct walk *w, const struct pml_ghost *ghost)
{
	struct pml_ghost *last = w->g->next.p;
	uint64_t pages = (ghost->end - ghost->start) >> w->g->page_shift;

	w->pages += pages;
	if (w->nnext) {
		last += w->nnext - 1;
		if (last->pid == ghost->pid && last->end == ghost->start &&
		    last->since == ghost->since) {
			last->end = ghost->end;
			return 0;
		}
	}
	if (pml_buf_reserve(w->g->pool, &w->g->next, (w->nnext + 1) * sizeof(*last)))
		return -ENOMEM;
	last = w->g->next.p;
	last[w->nnext++] = *ghost;
	return 0;
}

static bool ends_before(const struct pml_ghost *ghost, uint32_t pid, uint64_t address)
{
	return ghost->pid < pid || (ghost->pid == pid && ghost->end <= address);
}

/* From @start to @end was out before, since the same look, or was not (@before NULL). */
static int take_part(struct walk *w, const struct pml_wss_place *place,
		     const struct pml_ghost *before, uint64_t start, uint64_t end)
{
	uint64_t pages = (end - start) >> w->g->page_shift;
	struct pml_ghost ghost = { start, end, w->g->look + 1, place->pid };

	if (!place->swapped) {
		w->moves->resident += pages;
		if (before) {
			w->moves->came += pages;
			w->moves->came_by_age[age_of(w->g, before)] += pages;
		}
		return 0;
	}
	if (before)
		ghost.since = before->since;
	else
		w->moves->went += pages;
	return keep(w, &ghost);
}

static int take_place(struct walk *w, const struct pml_wss_place *place)
{
	const struct pml_ghost *out = w->g->out.p;
	uint64_t at = place->start;
	int rc = 0;

	while (rc == 0 && at < place->end) {
		const struct pml_ghost *before = NULL;
		uint64_t end = place->end;

		while (w->at < w->g->nout && ends_before(&out[w->at], place->pid, at))
			w->at++;
		if (w->at < w->g->nout && out[w->at].pid == place->pid &&
		    out[w->at].start < end) {
			if (out[w->at].start > at)
				end = out[w->at].start;
			else
				before = &out[w->at];
			if (before && before->end < end)
				end = before->end;
		}
		rc = take_part(w, place, before, at, end);
		at = end;
	}
	return rc;
}

static void count_before(struct pml_ghosts *g, struct pml_ghost_moves *moves)
{
	const struct pml_ghost *out = g->out.p;

	for (size_t i = 0; i < g->nout; i++)
		moves->out_by_age[age_of(g, &out[i])] +=
			(out[i].end - out[i].start) >> g->page_shift;
}

int pml_ghosts_take(struct pml_ghosts *g, const struct pml_wss_place *places, size_t n,
		    struct pml_ghost_moves *moves)
{
	struct walk w = { .g = g, .moves = moves };

	*moves = (struct pml_ghost_moves){ 0 };
	count_before(g, moves);
	for (size_t i = 0; i < n; i++) {
		int rc = take_place(&w, &places[i]);

		if (rc)
			return rc;
	}
	pml_buf_swap(&g->out, &g->next);
	g->nout = w.nnext;
	g->pages = w.pages;
	g->look++;
	return 0;
}
