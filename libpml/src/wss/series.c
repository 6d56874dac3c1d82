/* SPDX-License-Identifier: MIT */
/* The sizes of past epochs as a series; see series.h. */
#include "series.h"

#include <stdbool.h>
#include <string.h>

#define LEVEL_OF 15u		/* so many values at most make a level */
#define RESTLESS_OF 16u		/* and so many steps tell how restless it is */
#define ERRORS 64u		/* past errors that the bounds come from */
#define MAX_CYCLES 5u		/* of which a forecast is the median */
#define MIN_CYCLES 2u		/* fewer are no period */

static uint64_t *values_of(const struct pml_series *s)
{
	return (uint64_t *)s->values.p + s->first;
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
	    pml_buf_reserve(pool, &s->errors, ERRORS * sizeof(uint64_t)) ||
	    pml_buf_reserve(pool, &s->shifts, (most / MIN_CYCLES + 1) * sizeof(double)))
		return -1;
	return 0;
}

void pml_series_free(struct pml_series *s)
{
	pml_buf_free(&s->values);
	pml_buf_free(&s->errors);
	pml_buf_free(&s->shifts);
}

/* Into a copy of at most ERRORS numbers: the one that @rank of 100 do not exceed. */
static uint64_t rank_of(const uint64_t *values, uint32_t n, uint32_t rank)
{
	uint64_t sorted[ERRORS] = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = i;

		for (; at && sorted[at - 1] > values[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = values[i];
	}
	return n ? sorted[(uint64_t)(n - 1) * rank / 100] : 0;
}

/* The level that the series has had since its last change. */
static uint64_t level_of(const struct pml_series *s)
{
	uint32_t n = s->since < LEVEL_OF ? s->since : LEVEL_OF;

	return rank_of(values_of(s) + s->n - n, n, 50);
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
	return rank_of(steps, n, 50) * 5 / 2;
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

static void push(struct pml_series *s, uint64_t value)
{
	if (s->n < s->most) {
		s->n++;
	} else if (++s->first == s->most) {
		memmove(s->values.p, (uint64_t *)s->values.p + s->first,
			(s->most - 1) * sizeof(uint64_t));
		s->first = 0;
	}
	values_of(s)[s->n - 1] = value;
}

/* The sum of |x(t) - x(t - period)| over all t, and over how many. */
static double mean_difference(const uint64_t *v, uint32_t n, uint32_t period)
{
	double sum = 0;

	for (uint32_t t = period; t < n; t++)
		sum += (double)distance(v[t], v[t - period]);
	return sum / (n - period);
}

/* How unlike itself the series is when shifted by 1, 2, ...; the mean of it all. */
static double measure_shifts(const uint64_t *v, uint32_t n, uint32_t longest, double *unlike)
{
	double sum = 0;

	for (uint32_t shift = 1; shift <= longest; shift++) {
		unlike[shift] = mean_difference(v, n, shift);
		sum += unlike[shift];
	}
	return sum / longest;
}

static double mean_value(const uint64_t *v, uint32_t n)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += (double)v[i];
	return sum / n;
}

/* From a shift on that makes the series unlike itself: the shortest that makes it
 * like itself again, about as well as any does.  Twice a period is as good as once. */
static uint32_t first_return(const double *unlike, uint32_t longest, double movement)
{
	uint32_t away = 1, period;
	double best = movement * 0.4;

	while (away <= longest && unlike[away] < movement * 0.7)
		away++;
	for (period = away; period <= longest; period++)
		if (unlike[period] < best)
			best = unlike[period];
	if (away > longest || best >= movement * 0.4)
		return 0;
	for (period = away; unlike[period] > best + movement * 0.1;)
		period++;
	while (period < longest && unlike[period + 1] < unlike[period])
		period++;
	return period;
}

/* Whether it did repeat in the last period, more than that it stood still. */
static bool goes_on(const uint64_t *v, uint32_t n, uint32_t period)
{
	uint64_t from_before = 0, from_last = 0;

	for (uint32_t t = n - period; t < n; t++) {
		from_before += distance(v[t], v[t - period]);
		from_last += distance(v[t], v[t - 1]);
	}
	return from_before < from_last;
}

static uint32_t period_of(const struct pml_series *s)
{
	const uint64_t *v = values_of(s);
	uint32_t longest = s->n / MIN_CYCLES, period;
	double movement;

	if (longest < 2)
		return 0;
	movement = measure_shifts(v, s->n, longest, s->shifts.p);
	/* a level with a little noise on it repeats nothing */
	if (movement * 1000 <= mean_value(v, s->n) * s->permille / 2)
		return 0;
	period = first_return(s->shifts.p, longest, movement);
	return period && goes_on(v, s->n, period) ? period : 0;
}

/* What came in this place of the period before: the median of some cycles. */
static uint64_t from_cycles(const struct pml_series *s, uint32_t period, uint32_t ahead)
{
	const uint64_t *v = values_of(s);
	uint64_t past[MAX_CYCLES];
	uint32_t n = 0;

	for (uint32_t back = period - ahead; back <= s->n && n < MAX_CYCLES; back += period)
		past[n++] = v[s->n - back];
	return rank_of(past, n, 50);
}

static void predict(const struct pml_series *s, struct pml_outlook *out)
{
	out->period = period_of(s);
	out->cycles = out->period ? s->n / out->period : 0;
	if (!out->period) {
		out->next = level_of(s);
		out->peak = out->next;
		return;
	}
	out->next = from_cycles(s, out->period, 0);
	out->peak = out->next;
	for (uint32_t ahead = 1; ahead < out->period; ahead++) {
		uint64_t then = from_cycles(s, out->period, ahead);

		if (then > out->peak)
			out->peak = then;
	}
}

void pml_series_outlook(const struct pml_series *s, struct pml_outlook *out)
{
	uint64_t off = s->nerrors ? rank_of(s->errors.p, s->nerrors, 90) : 0;

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

void pml_series_add(struct pml_series *s, uint64_t value)
{
	if (s->n)
		note_error(s, value);
	s->change = change_of(s, value);
	s->since = s->change || !s->n ? 1 : s->since + 1;
	push(s, value);
	if (s->since > s->n)
		s->since = s->n;
}
