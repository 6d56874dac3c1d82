/* SPDX-License-Identifier: MIT */
/*
 * Reuse distances by the epoch; see reuse.h.
 *
 * A page that is touched now, and was g epochs ago before, needs a memory of all
 * the distinct pages of these g + 1 epochs to be still there: within an epoch the
 * order is not known, so that both of its ends count.  One walk over the histories
 * gives both the gaps and the distinct pages.
 */
#include "reuse.h"

#define DECAY 0.98923		/* to the power of 64: a half */

struct ages {
	uint64_t seen[PML_HEAT_EPOCHS];	/* pages by the epochs since they were touched */
	uint64_t again[PML_HEAT_EPOCHS]; /* pages touched now, by the epochs since then */
};

static void note(void *arg, const struct pml_heat_page *p, uint64_t times)
{
	struct ages *a = arg;
	uint64_t before = p->touched & ~1ull;

	a->seen[__builtin_ctzll(p->touched)] += times;
	if ((p->touched & 1) && before)
		a->again[__builtin_ctzll(before)] += times;
}

/* The lowest index whose sizes reach @pages: never a smaller memory than needed. */
static uint32_t index_of(uint64_t pages)
{
	uint32_t power;
	uint64_t below, step;

	if (pages <= PML_REUSE_STEPS)
		return (uint32_t)pages;
	power = 63u - (uint32_t)__builtin_clzll(pages - 1);
	below = 1ull << power;
	step = below / PML_REUSE_STEPS;
	return (power - 3) * PML_REUSE_STEPS + (uint32_t)((pages - below + step - 1) / step);
}

/* The largest size that index_of() puts there. */
static uint64_t size_of(uint32_t index)
{
	uint32_t power = index / PML_REUSE_STEPS + 3;
	uint32_t steps = index % PML_REUSE_STEPS;

	if (index <= PML_REUSE_STEPS)
		return index;
	return (1ull << power) + steps * ((1ull << power) / PML_REUSE_STEPS);
}

void pml_reuse_decay(struct pml_reuse *u, double factor)
{
	for (uint32_t i = 0; i < PML_REUSE_SIZES; i++)
		u->weight[i] *= factor;
	u->sum *= factor;
}

void pml_reuse_note(struct pml_reuse *u, uint64_t pages, uint64_t touches)
{
	u->weight[index_of(pages)] += (double)touches;
	u->sum += (double)touches;
}

void pml_reuse_add(struct pml_reuse *u, const struct pml_heat *h)
{
	struct ages ages = { 0 };
	uint64_t distinct;

	pml_heat_walk(h, note, &ages);
	pml_reuse_decay(u, DECAY);
	distinct = ages.seen[0];
	for (uint32_t gap = 1; gap < PML_HEAT_EPOCHS; gap++) {
		distinct += ages.seen[gap];
		pml_reuse_note(u, distinct, ages.again[gap]);
	}
}

double pml_reuse_misses(const struct pml_reuse *u, uint64_t pages)
{
	double misses = 0;

	if (u->sum <= 0)
		return 0;
	for (uint32_t i = PML_REUSE_SIZES; i-- > 0 && size_of(i) > pages;)
		misses += u->weight[i];
	return misses / u->sum;
}

uint64_t pml_reuse_pages(const struct pml_reuse *u, double misses)
{
	double left = misses * u->sum, above = 0;

	for (uint32_t i = PML_REUSE_SIZES; i-- > 0;) {
		above += u->weight[i];
		if (above > left)
			return size_of(i);
	}
	return 0;
}
