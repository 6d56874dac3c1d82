/* SPDX-License-Identifier: MIT */
/*
 * Whether a series repeats; see period.h.
 *
 * The period of a load is hardly ever a whole number of epochs, and no two of its
 * cycles take the same time: a fixed shift by the period drifts away from what it is
 * to be compared with.  So only the last few periods are asked whether there is one,
 * and each cycle before now is looked for near where it should be, at the shift that
 * makes it most like the present one.
 */
#include "period.h"
#include "rank.h"

#define MIN_CYCLES 2u		/* fewer are no period */
#define MAX_CYCLES 5u		/* of which a forecast is the median */
#define RECENT_CYCLES 3u	/* that are asked whether there is a period */
#define RECENT 16u		/* and so many values at least */
#define AWAY 0.7		/* of the usual difference: unlike itself */
#define BACK 0.5		/* and like itself again */
#define ABOUT 0.15		/* as well as the best, about */

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* The mean of |v(t) - v(t - shift)| over the last @m values. */
static double unlikeness(const uint64_t *v, uint32_t n, uint32_t shift, uint32_t m)
{
	double sum = 0;

	if (m > n - shift)
		m = n - shift;
	for (uint32_t t = n - m; t < n; t++)
		sum += (double)distance(v[t], v[t - shift]);
	return sum / m;
}

/* For each shift how unlike itself the series is of late; returns the mean of it all. */
static double measure_shifts(const uint64_t *v, uint32_t n, uint32_t longest, double *unlike)
{
	double sum = 0;

	for (uint32_t shift = 1; shift <= longest; shift++) {
		uint32_t m = RECENT_CYCLES * shift;

		unlike[shift] = unlikeness(v, n, shift, m > RECENT ? m : RECENT);
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
	double best = movement * BACK;

	while (away <= longest && unlike[away] < movement * AWAY)
		away++;
	for (period = away; period <= longest; period++)
		if (unlike[period] < best)
			best = unlike[period];
	if (away > longest || best >= movement * BACK)
		return 0;
	for (period = away; unlike[period] > best + movement * ABOUT;)
		period++;
	while (period < longest && unlike[period + 1] < unlike[period])
		period++;
	return period;
}

static uint32_t period_of(const uint64_t *v, uint32_t n, uint32_t permille, double *unlike)
{
	uint32_t longest = n / MIN_CYCLES;
	double movement;

	if (longest < 2)
		return 0;
	movement = measure_shifts(v, n, longest, unlike);
	/* a level with a little noise on it repeats nothing */
	if (movement * 1000 <= mean_value(v, n) * permille / 2)
		return 0;
	return first_return(unlike, longest, movement);
}

/* The shift near @about that makes the last period most like what was then; 0: there
 * is nothing to compare with.  Of two as good, the nearer one. */
static uint32_t nearby_shift(const uint64_t *v, uint32_t n, uint32_t period, uint32_t about,
			     double *unlike)
{
	uint32_t found = 0;

	for (uint32_t off = 0; off <= period / 4; off++) {
		for (int side = 0; side < (off ? 2 : 1); side++) {
			uint32_t shift = side ? about + off : about - off;
			double here;

			/* half of a period at least is to be there */
			if (shift + period > n + period / 2 || shift >= n)
				continue;
			here = unlikeness(v, n, shift, period);
			if (found && here >= *unlike)
				continue;
			found = shift;
			*unlike = here;
		}
	}
	return found;
}

/* What came in this place of the cycles before. */
static uint64_t from_cycles(const uint64_t *v, uint32_t n, const uint32_t *shifts,
			    uint32_t nshifts, uint32_t ahead)
{
	uint64_t past[MAX_CYCLES];
	uint32_t npast = 0;

	for (uint32_t i = 0; i < nshifts; i++)
		if (shifts[i] > ahead)
			past[npast++] = v[n - shifts[i] + ahead];
	return pml_rank(past, npast, 50);
}

bool pml_period_find(const uint64_t *v, uint32_t n, uint32_t permille, double *room,
		     struct pml_period *p)
{
	uint32_t period = period_of(v, n, permille, room);
	uint32_t shifts[MAX_CYCLES], nshifts = 0, last = 0;
	double unlike = 0, first = 0;

	if (!period)
		return false;
	while (nshifts < MAX_CYCLES) {
		last = nearby_shift(v, n, period, last + period, &unlike);
		if (!last)
			break;
		if (!nshifts)
			first = unlike;
		shifts[nshifts++] = last;
	}
	/* in the last period it did repeat, more than that it stood still */
	if (!nshifts || first >= unlikeness(v, n, 1, period))
		return false;
	p->period = period;
	p->cycles = n / period;
	p->next = from_cycles(v, n, shifts, nshifts, 0);
	p->peak = p->next;
	for (uint32_t ahead = 1; ahead < period; ahead++) {
		uint64_t then = from_cycles(v, n, shifts, nshifts, ahead);

		if (then > p->peak)
			p->peak = then;
	}
	return true;
}
