/* SPDX-License-Identifier: MIT */
/* A sparse set of pages with what is known of each; see pageset.h. */
#include "pageset.h"

#include <errno.h>
#include <string.h>

#define CHUNK_PAGES 512u
#define CHUNK_WORDS (CHUNK_PAGES / 64)
#define DIR_CHUNKS 512u

struct pml_set_chunk {
	uint64_t plane[PML_PLANES][CHUNK_WORDS];
	uint8_t granule_shift;	/* the coarsest of what was added; 0: a page */
	uint8_t reason;		/* of what is assumed here */
};

struct pml_set_dir {
	uint64_t index;			/* chunk number / DIR_CHUNKS */
	uint32_t chunk[DIR_CHUNKS];	/* 0: none, else number + 1 */
};

void pml_set_init(struct pml_set *s, struct pml_pool *pool, unsigned int page_shift)
{
	memset(s, 0, sizeof(*s));
	s->pool = pool;
	s->page_shift = (uint8_t)page_shift;
}

void pml_set_free(struct pml_set *s)
{
	pml_buf_free(&s->dirs);
	pml_buf_free(&s->chunks);
	s->ndirs = s->nchunks = 0;
}

void pml_set_clear(struct pml_set *s)
{
	s->ndirs = 0;
	s->nchunks = 0;
	s->last_dir = 0;
	s->full = false;
}

bool pml_set_empty(const struct pml_set *s)
{
	return s->nchunks == 0 && !s->full;
}

/* The directory at or after index. */
static uint32_t find_dir(const struct pml_set *s, uint64_t index)
{
	const struct pml_set_dir *d = s->dirs.p;
	uint32_t lo = 0, hi = s->ndirs;

	if (s->last_dir < s->ndirs && d[s->last_dir].index == index)
		return s->last_dir;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (d[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct pml_set_chunk *find_chunk(const struct pml_set *s, uint64_t number)
{
	const struct pml_set_dir *d = s->dirs.p;
	uint32_t at = find_dir(s, number / DIR_CHUNKS);
	uint32_t c;

	if (at >= s->ndirs || d[at].index != number / DIR_CHUNKS)
		return NULL;
	c = d[at].chunk[number % DIR_CHUNKS];
	return c ? (struct pml_set_chunk *)s->chunks.p + (c - 1) : NULL;
}

/* A set leaves an eighth of the tracker's memory to what cannot do with less: a
 * full set is a result, too little memory for the list of mappings is an error. */
static int grow(const struct pml_set *s, struct pml_buf *b, size_t need)
{
	const struct pml_pool *pool = s->pool;

	/* it grows by doubling */
	if (need > b->len && pool->used + b->len > pool->limit - pool->limit / 8)
		return -ENOMEM;
	return pml_buf_reserve(s->pool, b, need);
}

static struct pml_set_dir *make_dir(struct pml_set *s, uint64_t index)
{
	uint32_t at = find_dir(s, index);
	struct pml_set_dir *d = s->dirs.p;

	if (at >= s->ndirs || d[at].index != index) {
		if (grow(s, &s->dirs, (s->ndirs + 1) * sizeof(*d)))
			return NULL;
		d = s->dirs.p;
		memmove(d + at + 1, d + at, (s->ndirs - at) * sizeof(*d));
		memset(d + at, 0, sizeof(*d));
		d[at].index = index;
		s->ndirs++;
	}
	s->last_dir = at;
	return d + at;
}

static struct pml_set_chunk *make_chunk(struct pml_set *s, uint64_t number)
{
	struct pml_set_dir *d = make_dir(s, number / DIR_CHUNKS);
	struct pml_set_chunk *c;
	uint32_t *slot;

	if (!d)
		return NULL;
	slot = &d->chunk[number % DIR_CHUNKS];
	if (!*slot) {
		if (grow(s, &s->chunks, (s->nchunks + 1) * sizeof(*c)))
			return NULL;
		c = (struct pml_set_chunk *)s->chunks.p + s->nchunks;
		memset(c, 0, sizeof(*c));
		*slot = ++s->nchunks;
	}
	return (struct pml_set_chunk *)s->chunks.p + (*slot - 1);
}

/* The bits of word w that lie in [from, to) of a chunk. */
static uint64_t word_mask(unsigned int w, unsigned int from, unsigned int to)
{
	unsigned int lo = w * 64, hi = lo + 64;
	uint64_t m = ~0ull;

	if (from > lo)
		m &= ~0ull << (from - lo);
	if (to < hi)
		m &= ~0ull >> (hi - to);
	return m;
}

static void chunk_add(struct pml_set_chunk *c, unsigned int from, unsigned int to,
		      const struct pml_range *r, uint8_t granule_shift)
{
	for (unsigned int w = from / 64; w <= (to - 1) / 64; w++) {
		uint64_t m = word_mask(w, from, to);
		uint64_t had = c->plane[PML_PLANE_DIRTY][w] | c->plane[PML_PLANE_REFERENCED][w];

		if (r->events & PML_DIRTY)
			c->plane[PML_PLANE_DIRTY][w] |= m;
		if (r->events & PML_REFERENCED)
			c->plane[PML_PLANE_REFERENCED][w] |= m;
		/* once observed, a page is known: a later guess takes nothing away */
		if (r->known == PML_ASSUMED)
			c->plane[PML_PLANE_ASSUMED][w] |= m & ~had;
		else
			c->plane[PML_PLANE_ASSUMED][w] &= ~m;
	}
	if (r->known == PML_ASSUMED)
		c->reason = r->reason;
	if (granule_shift > c->granule_shift)
		c->granule_shift = granule_shift;
}

int pml_set_add(struct pml_set *s, const struct pml_range *r)
{
	uint64_t page = r->start >> s->page_shift, end = r->end >> s->page_shift;
	uint8_t granule_shift = 0;

	if (s->full)
		return -ENOMEM;
	if (r->granule > 1ull << s->page_shift)
		granule_shift = (uint8_t)(63 - __builtin_clzll(r->granule));
	while (page < end) {
		uint64_t number = page / CHUNK_PAGES;
		uint64_t stop = (number + 1) * CHUNK_PAGES;
		struct pml_set_chunk *c = make_chunk(s, number);

		if (!c) {
			s->full = true;
			return -ENOMEM;
		}
		if (stop > end)
			stop = end;
		chunk_add(c, (unsigned int)(page % CHUNK_PAGES),
			  (unsigned int)(stop - number * CHUNK_PAGES), r, granule_shift);
		page = stop;
	}
	return 0;
}

static void chunk_remove(struct pml_set_chunk *c, unsigned int from, unsigned int to, uint32_t events)
{
	for (unsigned int w = from / 64; w <= (to - 1) / 64; w++) {
		uint64_t m = word_mask(w, from, to), left;

		if (events & PML_DIRTY)
			c->plane[PML_PLANE_DIRTY][w] &= ~m;
		if (events & PML_REFERENCED)
			c->plane[PML_PLANE_REFERENCED][w] &= ~m;
		left = c->plane[PML_PLANE_DIRTY][w] | c->plane[PML_PLANE_REFERENCED][w];
		c->plane[PML_PLANE_ASSUMED][w] &= left;
	}
}

void pml_set_remove(struct pml_set *s, uint64_t start, uint64_t end, uint32_t events)
{
	struct pml_range r;
	uint64_t pos = start;

	while (pml_set_next(s, &pos, end, &r)) {
		uint64_t page = r.start >> s->page_shift, last = r.end >> s->page_shift;

		while (page < last) {
			uint64_t number = page / CHUNK_PAGES;
			uint64_t stop = (number + 1) * CHUNK_PAGES;
			struct pml_set_chunk *c = find_chunk(s, number);

			if (stop > last)
				stop = last;
			if (c)
				chunk_remove(c, (unsigned int)(page % CHUNK_PAGES),
					     (unsigned int)(stop - number * CHUNK_PAGES), events);
			page = stop;
		}
	}
}

bool pml_set_test(const struct pml_set *s, uint64_t addr, enum pml_plane plane)
{
	uint64_t page = addr >> s->page_shift;
	const struct pml_set_chunk *c;

	if (s->full)
		return true;
	c = find_chunk(s, page / CHUNK_PAGES);
	return c && (c->plane[plane][page % CHUNK_PAGES / 64] >> (page % 64) & 1);
}

/* What is known of a page of a chunk, as a number; 0: it is not in the set. */
static unsigned int page_state(const struct pml_set_chunk *c, unsigned int page)
{
	unsigned int state = 0;

	for (int p = 0; p < PML_PLANES; p++)
		state |= (unsigned int)(c->plane[p][page / 64] >> (page % 64) & 1) << p;
	return state & 3 ? state : 0;
}

/* Where the run of pages like `page` ends, at most at `to`. */
static unsigned int run_end(const struct pml_set_chunk *c, unsigned int page, unsigned int to)
{
	unsigned int state = page_state(c, page);

	while (page < to) {
		uint64_t differs = 0;

		for (int p = 0; p < PML_PLANES; p++)
			differs |= c->plane[p][page / 64] ^ (state >> p & 1 ? ~0ull : 0);
		differs >>= page % 64;
		if (differs) {
			page += (unsigned int)__builtin_ctzll(differs);
			break;
		}
		page = (page / 64 + 1) * 64;
	}
	return page < to ? page : to;
}

static unsigned int first_page(const struct pml_set_chunk *c, unsigned int page, unsigned int to)
{
	while (page < to) {
		uint64_t any = c->plane[PML_PLANE_DIRTY][page / 64] |
			       c->plane[PML_PLANE_REFERENCED][page / 64];

		any >>= page % 64;
		if (any) {
			page += (unsigned int)__builtin_ctzll(any);
			break;
		}
		page = (page / 64 + 1) * 64;
	}
	return page < to ? page : to;
}

/* The first chunk numbered at or after `number` and before `end`. */
static struct pml_set_chunk *next_chunk(struct pml_set *s, uint64_t *number, uint64_t end)
{
	const struct pml_set_dir *d = s->dirs.p;

	for (uint32_t at = find_dir(s, *number / DIR_CHUNKS); at < s->ndirs; at++) {
		uint64_t base = d[at].index * DIR_CHUNKS;
		uint64_t n = *number > base ? *number : base;

		for (; n < base + DIR_CHUNKS && n < end; n++) {
			if (d[at].chunk[n % DIR_CHUNKS]) {
				s->last_dir = at;
				*number = n;
				return (struct pml_set_chunk *)s->chunks.p +
				       (d[at].chunk[n % DIR_CHUNKS] - 1);
			}
		}
	}
	return NULL;
}

static void describe(const struct pml_set *s, const struct pml_set_chunk *c, unsigned int state,
		     struct pml_range *out)
{
	out->events = (uint16_t)((state & 1 ? PML_DIRTY : 0) | (state & 2 ? PML_REFERENCED : 0));
	out->known = state & 4 ? PML_ASSUMED : PML_OBSERVED;
	out->reason = state & 4 ? c->reason : PML_REASON_NONE;
	out->granule = 1ull << (c->granule_shift ? c->granule_shift : s->page_shift);
	out->pid = 0;
}

static bool same_kind(const struct pml_range *a, const struct pml_range *b)
{
	return a->events == b->events && a->known == b->known && a->reason == b->reason &&
	       a->granule == b->granule;
}

/* The first run within one chunk. */
static bool next_in_chunk(struct pml_set *s, uint64_t pos, uint64_t end, struct pml_range *out)
{
	uint64_t page = pos >> s->page_shift;
	uint64_t last = (end >> s->page_shift) + ((end & ((1ull << s->page_shift) - 1)) != 0);
	uint64_t number = page / CHUNK_PAGES;
	struct pml_set_chunk *c;

	while ((c = next_chunk(s, &number, (last + CHUNK_PAGES - 1) / CHUNK_PAGES))) {
		uint64_t base = number * CHUNK_PAGES;
		unsigned int from = page > base ? (unsigned int)(page - base) : 0;
		unsigned int to = last - base < CHUNK_PAGES ? (unsigned int)(last - base)
							    : CHUNK_PAGES;

		from = first_page(c, from, to);
		if (from < to) {
			describe(s, c, page_state(c, from), out);
			out->start = (base + from) << s->page_shift;
			out->end = (base + run_end(c, from, to)) << s->page_shift;
			return true;
		}
		number++;
	}
	return false;
}

bool pml_set_next(struct pml_set *s, uint64_t *pos, uint64_t end, struct pml_range *out)
{
	struct pml_range more;

	if (*pos >= end || !next_in_chunk(s, *pos, end, out))
		return false;
	*pos = out->end;
	while (*pos < end && (*pos >> s->page_shift) % CHUNK_PAGES == 0 &&
	       next_in_chunk(s, *pos, end < *pos + (CHUNK_PAGES << s->page_shift) ?
			     end : *pos + (CHUNK_PAGES << s->page_shift), &more) &&
	       more.start == *pos && same_kind(out, &more))
		*pos = out->end = more.end;
	return true;
}
