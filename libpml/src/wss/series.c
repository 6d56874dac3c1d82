/* SPDX-License-Identifier: MIT */
/* The sizes of past epochs as a series; see series.h. */
#include "series.h"
#include "period.h"
#include "rank.h"

#include <stdbool.h>
#include <string.h>

#define LEVEL_OF 15u		/* so many values at most make a level */
#define RESTLESS_OF 16u		/* and so many steps tell how restless it is */
#define ERRORS PML_RANK_MOST		/* past errors that the bounds come from */
#define USUAL_OF 63u		/* epochs that tell how long one usually is */

static uint64_t *values_of(const struct pml_series *s)
{
	return (uint64_t *)s->values.p + s->first;
}

static uint64_t *lengths_of(const struct pml_series *s)
{
	return (uint64_t *)s->lengths.p + s->first;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

int pml_series_init(struct pml_series *s, struct pml_pool *pool, uint32_t most, uint32_t permille)
{
	memset(s, 0, sizeof(*s));
	s->most = most;
	s->permille = permille;
	if (pml_buf_reserve(pool, &s->values, 2 * sizeof(uint64_t) * most) ||
	    pml_buf_reserve(pool, &s->lengths, 2 * sizeof(uint64_t) * most) ||
	    pml_buf_reserve(pool, &s->errors, ERRORS * sizeof(uint64_t)) ||
	    pml_buf_reserve(pool, &s->grid, sizeof(uint64_t) * most) ||
	    pml_buf_reserve(pool, &s->shifts, PML_PERIOD_ROOM(most)))
		return -1;
	return 0;
}

void pml_series_free(struct pml_series *s)
{
	pml_buf_free(&s->values);
	pml_buf_free(&s->lengths);
	pml_buf_free(&s->errors);
	pml_buf_free(&s->grid);
	pml_buf_free(&s->shifts);
}

/* The level that the series has had since its last change. */
static uint64_t level_of(const struct pml_series *s)
{
	uint32_t n = s->since < LEVEL_OF ? s->since : LEVEL_OF;

	return pml_rank(values_of(s) + s->n - n, n, 50);
}

/*
 * Two and a half times the usual step of late.  A load that moves up and down all
 * the time has hardly any changes; one that stands still between its steps, however
 * large they are, has.
 */
static uint64_t restlessness_of(const struct pml_series *s)
{
	const uint64_t *v = values_of(s);
	uint32_t n = s->n - 1 < RESTLESS_OF ? s->n - 1 : RESTLESS_OF;
	uint64_t steps[RESTLESS_OF] = { 0 };

	for (uint32_t i = 0; i < n; i++)
		steps[i] = distance(v[s->n - 1 - i], v[s->n - 2 - i]);
	return pml_rank(steps, n, 50) * 5 / 2;
}

/* An epoch into which a step falls lies between two levels: what goes on in the same
 * direction is still that step. */
static bool goes_on_to(const struct pml_series *s, uint64_t value)
{
	uint64_t last = values_of(s)[s->n - 1];

	return s->since == 1 &&
	       ((s->change > 0 && value > last) || (s->change < 0 && value < last));
}

static int32_t change_of(const struct pml_series *s, uint64_t value)
{
	uint64_t level, bound, restless;

	if (!s->n)
		return 0;
	level = level_of(s);
	/* level * permille may not fit */
	bound = level / 1000 * s->permille + level % 1000 * s->permille / 1000;
	restless = restlessness_of(s);
	if (bound < restless && !goes_on_to(s, value))
		bound = restless;
	if (distance(value, level) <= bound)
		return 0;
	return value > level ? 1 : -1;
}

/* To the begin of a table that has been read to where the oldest is. */
static void move_down(const struct pml_series *s, struct pml_buf *b)
{
	memmove(b->p, (uint64_t *)b->p + s->first, (s->most - 1) * sizeof(uint64_t));
}

static void push(struct pml_series *s, uint64_t value, uint64_t length)
{
	if (s->n < s->most) {
		s->n++;
	} else if (++s->first == s->most) {
		move_down(s, &s->values);
		move_down(s, &s->lengths);
		s->first = 0;
	}
	values_of(s)[s->n - 1] = value;
	lengths_of(s)[s->n - 1] = length;
}

/*
 * The values on a grid of the usual epoch: one that took twice as long has two places,
 * as the load went on meanwhile.  Returns how many there are in s->grid.
 */
static uint32_t make_grid(const struct pml_series *s)
{
	const uint64_t *v = values_of(s), *lengths = lengths_of(s);
	uint64_t *grid = s->grid.p;
	uint32_t recent = s->n < USUAL_OF ? s->n : USUAL_OF, at = s->most;
	uint64_t usual = pml_rank(lengths + s->n - recent, recent, 50), past = 0;

	/* from the newest on; a place is the epoch's that its middle falls into */
	for (uint32_t i = s->n; i-- && at;) {
		past += usual ? lengths[i] : 0;
		if (!usual)
			grid[--at] = v[i];
		while (usual && at && (double)(s->most - at) + 0.5 < (double)past / (double)usual)
			grid[--at] = v[i];
	}
	memmove(grid, grid + at, (s->most - at) * sizeof(*grid));
	return s->most - at;
}

static void predict(const struct pml_series *s, struct pml_outlook *out)
{
	struct pml_period p = { 0 };

	if (pml_period_find(s->grid.p, make_grid(s), s->permille, s->shifts.p, &p)) {
		out->next = p.next;
		out->peak = p.peak;
	} else {
		out->next = level_of(s);
		out->peak = out->next;
	}
	out->period = p.period;
	out->cycles = p.cycles;
}

void pml_series_outlook(const struct pml_series *s, struct pml_outlook *out)
{
	uint64_t off = s->nerrors ? pml_rank(s->errors.p, s->nerrors, 90) : 0;

	predict(s, out);
	out->low = out->next > off ? out->next - off : 0;
	out->high = out->next + off;
	if (!out->period)
		out->peak = out->high;
}

static void note_error(struct pml_series *s, uint64_t value)
{
	uint64_t *errors = s->errors.p;
	struct pml_outlook was;

	predict(s, &was);
	if (s->nerrors == ERRORS)
		memmove(errors, errors + 1, --s->nerrors * sizeof(*errors));
	errors[s->nerrors++] = distance(was.next, value);
}

void pml_series_add(struct pml_series *s, uint64_t value, uint64_t length)
{
	if (s->n)
		note_error(s, value);
	s->change = change_of(s, value);
	s->since = s->change || !s->n ? 1 : s->since + 1;
	push(s, value, length);
	if (s->since > s->n)
		s->since = s->n;
}
