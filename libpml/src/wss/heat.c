/* SPDX-License-Identifier: MIT */
/* What each page did in the last 64 epochs; see heat.h. */
#include "heat.h"

#include <string.h>

#define CHUNK_PAGES 512u
#define WHOLE UINT32_MAX	/* the chunk has no slot: all its pages are alike */

struct pml_heat_chunk {
	uint64_t number;	/* its first page's number, in chunks */
	uint32_t pid;
	uint32_t slot;
	struct pml_heat_page whole;
};

static struct pml_heat_chunk *chunks_of(const struct pml_heat *h)
{
	return h->chunks.p;
}

static struct pml_heat_page *slot_of(const struct pml_heat *h, uint32_t slot)
{
	return (struct pml_heat_page *)h->pages.p + (size_t)slot * CHUNK_PAGES;
}

void pml_heat_init(struct pml_heat *h, struct pml_pool *pool)
{
	memset(h, 0, sizeof(*h));
	h->pool = pool;
}

void pml_heat_free(struct pml_heat *h)
{
	pml_buf_free(&h->chunks);
	pml_buf_free(&h->table);
	pml_buf_free(&h->pages);
	pml_buf_free(&h->unused);
}

static uint32_t bucket_of(const struct pml_heat *h, uint32_t pid, uint64_t number)
{
	uint64_t x = (number ^ (uint64_t)pid << 40) * 0x9e3779b97f4a7c15ull;

	return (uint32_t)(x >> 32) & (h->buckets - 1);
}

static void enter(struct pml_heat *h, uint32_t index)
{
	const struct pml_heat_chunk *c = chunks_of(h) + index;
	uint32_t *table = h->table.p;
	uint32_t b = bucket_of(h, c->pid, c->number);

	while (table[b])
		b = (b + 1) & (h->buckets - 1);
	table[b] = index + 1;
}

static void enter_all(struct pml_heat *h)
{
	if (h->buckets)
		memset(h->table.p, 0, h->buckets * sizeof(uint32_t));
	for (uint32_t i = 0; i < h->nchunks; i++)
		enter(h, i);
	h->last = 0;
}

/* At most half of the buckets are in use. */
static bool grow_table(struct pml_heat *h)
{
	uint32_t buckets = h->buckets ? 2 * h->buckets : 4096;

	if (2 * ((uint64_t)h->nchunks + 1) <= h->buckets)
		return true;
	if (buckets <= h->buckets ||
	    pml_buf_reserve(h->pool, &h->table, buckets * sizeof(uint32_t)))
		return false;
	h->buckets = buckets;
	enter_all(h);
	return true;
}

static bool is(const struct pml_heat_chunk *c, uint32_t pid, uint64_t number)
{
	return c->number == number && c->pid == pid;
}

static struct pml_heat_chunk *find(struct pml_heat *h, uint32_t pid, uint64_t number)
{
	const uint32_t *table = h->table.p;

	/* results are sorted: the next chunk is often the one entered next */
	for (uint32_t i = h->last; i < h->last + 2 && i < h->nchunks; i++) {
		if (is(chunks_of(h) + i, pid, number)) {
			h->last = i;
			return chunks_of(h) + i;
		}
	}
	if (!h->buckets)
		return NULL;
	for (uint32_t b = bucket_of(h, pid, number); table[b]; b = (b + 1) & (h->buckets - 1)) {
		if (is(chunks_of(h) + table[b] - 1, pid, number)) {
			h->last = table[b] - 1;
			return chunks_of(h) + h->last;
		}
	}
	return NULL;
}

static struct pml_heat_chunk *add_chunk(struct pml_heat *h, uint32_t pid, uint64_t number)
{
	struct pml_heat_chunk *c;

	if (h->nchunks >= UINT32_MAX / 4 || !grow_table(h) ||
	    pml_buf_reserve(h->pool, &h->chunks, (h->nchunks + (size_t)1) * sizeof(*c)))
		return NULL;
	c = chunks_of(h) + h->nchunks;
	*c = (struct pml_heat_chunk){ .number = number, .pid = pid, .slot = WHOLE };
	h->last = h->nchunks;
	enter(h, h->nchunks++);
	return c;
}

/* Gives its pages histories of their own. */
static bool split(struct pml_heat *h, struct pml_heat_chunk *c)
{
	const size_t size = CHUNK_PAGES * sizeof(struct pml_heat_page);
	struct pml_heat_page *p;

	if (h->nunused) {
		c->slot = ((uint32_t *)h->unused.p)[--h->nunused];
	} else {
		/* with room to give every slot back */
		if (pml_buf_reserve(h->pool, &h->pages, (h->nslots + 1) * size) ||
		    pml_buf_reserve(h->pool, &h->unused, (h->nslots + 1) * sizeof(uint32_t)))
			return false;
		c->slot = h->nslots++;
	}
	p = slot_of(h, c->slot);
	for (uint32_t i = 0; i < CHUNK_PAGES; i++)
		p[i] = c->whole;
	return true;
}

static bool touch_chunk(struct pml_heat *h, uint32_t pid, uint64_t number, uint32_t from,
			uint32_t to, bool dirty)
{
	bool all = from == 0 && to == CHUNK_PAGES;
	struct pml_heat_chunk *c = find(h, pid, number);
	struct pml_heat_page *p;

	if (!c)
		c = add_chunk(h, pid, number);
	if (!c)
		return false;
	if (c->slot == WHOLE && !all && !split(h, c))
		return false;
	p = c->slot == WHOLE ? &c->whole : slot_of(h, c->slot) + from;
	for (uint32_t i = 0; i < (c->slot == WHOLE ? 1 : to - from); i++) {
		p[i].touched |= 1;
		p[i].dirty |= dirty;
	}
	return true;
}

uint64_t pml_heat_touch(struct pml_heat *h, const struct pml_range *r)
{
	uint64_t page = r->start >> h->page_shift, end = r->end >> h->page_shift, missed = 0;

	while (page < end) {
		uint64_t number = page / CHUNK_PAGES, last = (number + 1) * CHUNK_PAGES;
		uint64_t to = end < last ? end : last;

		if (!touch_chunk(h, r->pid, number, (uint32_t)(page % CHUNK_PAGES),
				 (uint32_t)(to - number * CHUNK_PAGES), r->events & PML_DIRTY))
			missed += to - page;
		page = to;
	}
	return missed;
}

/* Moves the histories of one chunk; false: nothing is left in them. */
static bool shift_chunk(struct pml_heat *h, struct pml_heat_chunk *c)
{
	uint32_t n = c->slot == WHOLE ? 1 : CHUNK_PAGES;
	struct pml_heat_page *p = c->slot == WHOLE ? &c->whole : slot_of(h, c->slot);
	uint64_t any = 0;

	for (uint32_t i = 0; i < n; i++) {
		p[i].touched <<= 1;
		p[i].dirty <<= 1;
		any |= p[i].touched;
	}
	return any;
}

void pml_heat_shift(struct pml_heat *h)
{
	struct pml_heat_chunk *c = chunks_of(h);
	uint32_t kept = 0;

	for (uint32_t i = 0; i < h->nchunks; i++) {
		if (shift_chunk(h, &c[i]))
			c[kept++] = c[i];
		else if (c[i].slot != WHOLE)
			((uint32_t *)h->unused.p)[h->nunused++] = c[i].slot;
	}
	if (kept == h->nchunks)
		return;
	h->nchunks = kept;
	enter_all(h);
}

void pml_heat_walk(const struct pml_heat *h,
		   void (*fn)(void *arg, const struct pml_heat_page *page, uint64_t times),
		   void *arg)
{
	const struct pml_heat_chunk *c = chunks_of(h);

	for (uint32_t i = 0; i < h->nchunks; i++) {
		const struct pml_heat_page *p;

		if (c[i].slot == WHOLE) {
			/* one that could not get its slot is empty */
			if (c[i].whole.touched)
				fn(arg, &c[i].whole, CHUNK_PAGES);
			continue;
		}
		p = slot_of(h, c[i].slot);
		for (uint32_t j = 0; j < CHUNK_PAGES; j++)
			if (p[j].touched)
				fn(arg, &p[j], 1);
	}
}
