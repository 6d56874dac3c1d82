/* SPDX-License-Identifier: MIT */
/*
 * states.c - see states.h.  Three levels, the lowest a 4 KiB table for 2 MiB,
 * so that memory follows what was touched; tables are added without a lock
 * and live as long as the whole.
 */
#include <errno.h>
#include <stdlib.h>

#include "states.h"

#define LEAF_BITS	9
#define MID_BITS	13
#define ROOT_BITS	(PML_STATES_PAGE_BITS - MID_BITS - LEAF_BITS)
#define LAST_GENERATION	((uint32_t)((1ull << PML_GENERATION_BITS) - 1))
#define EVENTS		2

struct cell {
	_Atomic uint32_t generation[EVENTS];
};

struct leaf {
	struct cell cell[1 << LEAF_BITS];
};

struct mid {
	_Atomic(struct leaf *) leaf[1 << MID_BITS];
};

struct pml_states {
	_Atomic uint32_t generation[EVENTS];
	_Atomic uint64_t logged[EVENTS];
	struct pml_budget *budget;
	_Atomic(struct mid *) mid[1 << ROOT_BITS];
};

static void *take(struct pml_budget *b, size_t size)
{
	void *p;

	if (atomic_fetch_add(&b->used, size) + size > b->cap) {
		atomic_fetch_sub(&b->used, size);
		return NULL;
	}
	p = calloc(1, size);
	if (!p)
		atomic_fetch_sub(&b->used, size);
	return p;
}

static void give(struct pml_budget *b, void *p, size_t size)
{
	if (!p)
		return;
	atomic_fetch_sub(&b->used, size);
	free(p);
}

struct pml_states *pml_states_new(struct pml_budget *budget)
{
	struct pml_states *s = take(budget, sizeof(*s));
	int e;

	if (!s)
		return NULL;
	s->budget = budget;
	for (e = 0; e < EVENTS; e++)
		atomic_init(&s->generation[e], 1);
	return s;
}

void pml_states_free(struct pml_states *s)
{
	struct mid *mid;
	size_t i, j;

	if (!s)
		return;
	for (i = 0; i < 1u << ROOT_BITS; i++) {
		mid = atomic_load(&s->mid[i]);
		if (!mid)
			continue;
		for (j = 0; j < 1u << MID_BITS; j++)
			give(s->budget, atomic_load(&mid->leaf[j]), sizeof(struct leaf));
		give(s->budget, mid, sizeof(*mid));
	}
	give(s->budget, s, sizeof(*s));
}

/* The page's cell, or NULL if nothing near it was logged yet. */
static inline struct cell *find(struct pml_states *s, uint64_t page)
{
	struct mid *mid;
	struct leaf *leaf;

	if (page >> PML_STATES_PAGE_BITS)
		return NULL;
	mid = atomic_load_explicit(&s->mid[page >> (MID_BITS + LEAF_BITS)], memory_order_acquire);
	if (!mid)
		return NULL;
	leaf = atomic_load_explicit(&mid->leaf[(page >> LEAF_BITS) & ((1 << MID_BITS) - 1)],
				    memory_order_acquire);
	return leaf ? &leaf->cell[page & ((1 << LEAF_BITS) - 1)] : NULL;
}

static struct mid *make_mid(struct pml_states *s, uint64_t page)
{
	_Atomic(struct mid *) *slot = &s->mid[page >> (MID_BITS + LEAF_BITS)];
	struct mid *mid = atomic_load(slot), *won = NULL;

	if (mid)
		return mid;
	mid = take(s->budget, sizeof(*mid));
	if (mid && !atomic_compare_exchange_strong(slot, &won, mid)) {
		give(s->budget, mid, sizeof(*mid));
		return won;
	}
	return mid;
}

static struct leaf *make_leaf(struct pml_states *s, struct mid *mid, uint64_t page)
{
	_Atomic(struct leaf *) *slot = &mid->leaf[(page >> LEAF_BITS) & ((1 << MID_BITS) - 1)];
	struct leaf *leaf = atomic_load(slot), *won = NULL;

	if (leaf)
		return leaf;
	leaf = take(s->budget, sizeof(*leaf));
	if (leaf && !atomic_compare_exchange_strong(slot, &won, leaf)) {
		give(s->budget, leaf, sizeof(*leaf));
		return won;
	}
	return leaf;
}

bool pml_states_logged(struct pml_states *s, uint64_t page, unsigned int events)
{
	struct cell *c = find(s, page);
	unsigned int e;

	if (!c)
		return false;
	for (e = 0; e < EVENTS; e++)
		if (events & 1u << e &&
		    atomic_load_explicit(&c->generation[e], memory_order_relaxed) !=
			    atomic_load_explicit(&s->generation[e], memory_order_relaxed))
			return false;
	return true;
}

int pml_states_mark(struct pml_states *s, uint64_t page, unsigned int events)
{
	struct mid *mid;
	struct leaf *leaf;
	struct cell *c;
	unsigned int e;
	uint32_t now;
	int news = 0;

	if (page >> PML_STATES_PAGE_BITS)
		return -ERANGE;
	mid = make_mid(s, page);
	leaf = mid ? make_leaf(s, mid, page) : NULL;
	if (!leaf)
		return -ENOMEM;
	c = &leaf->cell[page & ((1 << LEAF_BITS) - 1)];
	for (e = 0; e < EVENTS; e++) {
		if (!(events & 1u << e))
			continue;
		now = atomic_load(&s->generation[e]);
		if (atomic_exchange(&c->generation[e], now) == now)
			continue;
		atomic_fetch_add(&s->logged[e], 1);
		news |= 1 << e;
	}
	return news;
}

/* No page may keep a generation that will come again. */
static void forget(struct pml_states *s, unsigned int e)
{
	struct mid *mid;
	struct leaf *leaf;
	size_t i, j, k;

	for (i = 0; i < 1u << ROOT_BITS; i++) {
		mid = atomic_load(&s->mid[i]);
		for (j = 0; mid && j < 1u << MID_BITS; j++) {
			leaf = atomic_load(&mid->leaf[j]);
			for (k = 0; leaf && k < 1u << LEAF_BITS; k++)
				atomic_store(&leaf->cell[k].generation[e], 0);
		}
	}
}

uint64_t pml_states_rearm_all(struct pml_states *s, unsigned int events)
{
	uint64_t cleared = 0;
	unsigned int e;
	uint32_t now;

	for (e = 0; e < EVENTS; e++) {
		if (!(events & 1u << e))
			continue;
		cleared += atomic_exchange(&s->logged[e], 0);
		now = atomic_load(&s->generation[e]);
		if (now == LAST_GENERATION) {
			forget(s, e);
			now = 0;
		}
		atomic_store(&s->generation[e], now + 1);
	}
	return cleared;
}

uint64_t pml_states_rearm(struct pml_states *s, uint64_t page, unsigned int events)
{
	struct cell *c = find(s, page);
	uint64_t cleared = 0;
	unsigned int e;

	for (e = 0; c && e < EVENTS; e++) {
		if (!(events & 1u << e) ||
		    atomic_load(&c->generation[e]) != atomic_load(&s->generation[e]))
			continue;
		atomic_store(&c->generation[e], 0);
		atomic_fetch_sub(&s->logged[e], 1);
		cleared++;
	}
	return cleared;
}

uint64_t pml_states_count(struct pml_states *s, unsigned int event)
{
	return atomic_load(&s->logged[event >> 1]);
}
