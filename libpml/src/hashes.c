/* SPDX-License-Identifier: MIT */
/* Hashes of a process's pages; see hashes.h. */
#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include "hashes.h"
#include "kernel_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define CHUNK_PAGES 512u
#define READ_PAGES 64u

struct chunk {
	uint64_t known[CHUNK_PAGES / 64];	/* pages whose hash is held */
	uint64_t hash[CHUNK_PAGES];
};

struct entry {
	uint64_t number;
	uint64_t place;
};

int pml_hashes_init(struct pml_hashes *h, struct pml_proc *p)
{
	int err;

	memset(h, 0, sizeof(*h));
	h->pool = p->pool;
	h->mem = openat(p->dirfd, "mem", O_RDONLY | O_CLOEXEC);
	h->pagemap = h->mem < 0 ? -1 : openat(p->dirfd, "pagemap", O_RDONLY | O_CLOEXEC);
	if (h->pagemap < 0) {
		err = -errno;
		pml_hashes_free(h);
		return err == -EACCES ? -EPERM : err;
	}
	err = pml_buf_reserve(h->pool, &h->pages, (size_t)READ_PAGES * p->page_size);
	if (err)
		pml_hashes_free(h);
	else
		h->zero = XXH3_64bits(h->pages.p, p->page_size);
	return err;
}

void pml_hashes_free(struct pml_hashes *h)
{
	if (h->mem >= 0)
		close(h->mem);
	if (h->pagemap >= 0)
		close(h->pagemap);
	pml_buf_free(&h->index);
	pml_buf_free(&h->chunks);
	pml_buf_free(&h->pages);
}

/* The first entry at or after number. */
static uint32_t find(const struct pml_hashes *h, uint64_t number)
{
	const struct entry *e = h->index.p;
	uint32_t lo = 0, hi = h->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (e[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct chunk *have_chunk(const struct pml_hashes *h, uint64_t number)
{
	uint32_t at = find(h, number);
	const struct entry *e = h->index.p;

	if (at < h->n && e[at].number == number)
		return (struct chunk *)h->chunks.p + e[at].place;
	return NULL;
}

static struct chunk *get_chunk(struct pml_hashes *h, uint64_t number)
{
	struct chunk *c = have_chunk(h, number);
	uint32_t at = find(h, number);
	struct entry *e;

	if (c)
		return c;
	if (pml_buf_reserve(h->pool, &h->index, (h->n + 1) * sizeof(*e)) ||
	    pml_buf_reserve(h->pool, &h->chunks, (h->n + 1) * sizeof(struct chunk)))
		return NULL;
	e = h->index.p;
	memmove(e + at + 1, e + at, (h->n - at) * sizeof(*e));
	e[at].number = number;
	e[at].place = h->n++;
	memset((struct chunk *)h->chunks.p + e[at].place, 0, sizeof(struct chunk));
	return (struct chunk *)h->chunks.p + e[at].place;
}

/* Sets the bits of pages with content of [start, end), all in one chunk, by
 * reading the kernel's word for each page.  Reading them says nothing of the
 * zero page: that it is all zero shows when it is hashed. */
static int content_by_words(const struct pml_hashes *h, const struct pml_proc *p, uint64_t start,
			    uint64_t end, uint64_t bits[CHUNK_PAGES / 64])
{
	uint64_t words[CHUNK_PAGES];
	uint64_t first = start >> p->page_shift, n = (end - start) >> p->page_shift;
	ssize_t got = pread(h->pagemap, words, n * 8, (off_t)(first * 8));

	if (got < 0)
		return -errno;
	if (!got)
		return -ESRCH;
	for (uint64_t i = 0; i < (uint64_t)got / 8; i++)
		if (words[i] >> 62)
			bits[(first + i) % CHUNK_PAGES / 64] |= 1ull << ((first + i) % 64);
	return 0;
}

/* The first content at or after start: *from; end if there is none. */
static int next_content(struct pml_hashes *h, uint64_t start, uint64_t end, uint64_t *from)
{
	struct pml_page_region v;
	struct pml_scan_arg a = {
		.size = sizeof(a), .start = start, .end = end,
		.vec = (uintptr_t)&v, .vec_len = 1,
		.category_inverted = PML_PAGE_PFNZERO, .category_mask = PML_PAGE_PFNZERO,
		.category_anyof_mask = PML_PAGE_PRESENT | PML_PAGE_SWAPPED,
	};
	long n = ioctl(h->pagemap, PML_PAGEMAP_SCAN, &a);

	if (n < 0 && (errno == ENOTTY || errno == EINVAL)) {
		h->no_scan = true;
		n = 1;
		v.start = start;
	}
	if (n < 0)
		return -errno;
	*from = n ? v.start : end;
	return 0;
}

/* What one chunk's pages have come to. */
struct news {
	uint64_t set[3][CHUNK_PAGES / 64];
	uint64_t left;		/* how many more pages with news may be found */
};

static void add_news(struct news *n, enum pml_hash_news what, unsigned int page)
{
	n->set[what - 1][page / 64] |= 1ull << (page % 64);
	n->left--;
}

/* One page, which has content; its hash is kept. */
static void compare(const struct pml_hashes *h, struct chunk *c, unsigned int page, uint64_t hash,
		    bool file, struct news *n)
{
	uint64_t bit = 1ull << (page % 64);

	if (!(c->known[page / 64] & bit)) {
		if (file)
			add_news(n, PML_HASH_APPEARED, page);
		else if (hash != h->zero)
			add_news(n, PML_HASH_CHANGED, page);
	} else if (c->hash[page] != hash) {
		add_news(n, PML_HASH_CHANGED, page);
	}
	c->known[page / 64] |= bit;
	c->hash[page] = hash;
}

/* One page, which has no content. */
static void miss(const struct pml_hashes *h, struct chunk *c, unsigned int page, bool file,
		 struct news *n)
{
	uint64_t bit = 1ull << (page % 64);

	if (!(c->known[page / 64] & bit))
		return;
	if (file)
		add_news(n, PML_HASH_GONE, page);
	else if (c->hash[page] != h->zero)
		add_news(n, PML_HASH_CHANGED, page);
	c->known[page / 64] &= ~bit;
}

/* A run of pages of a chunk is read and compared, as far as the budget goes and as they
 * can be read: *page moves on.  The one that cannot, a guard page, say, or one that was
 * unmapped meanwhile, keeps its hash, by which it is compared when it can be read again;
 * those behind it are dealt with by the next run. */
static int hash_pages(struct pml_hashes *h, struct pml_proc *p, struct chunk *c, uint64_t base,
		      unsigned int *page, unsigned int n, bool file, struct news *news)
{
	uint64_t addr = base + ((uint64_t)*page << p->page_shift);
	ssize_t got = pread(h->mem, h->pages.p, (size_t)n * p->page_size, (off_t)addr);

	/* the memory is gone, not a page of it */
	if (!got)
		return -ESRCH;
	if (got < (ssize_t)p->page_size) {
		++*page;
		return 0;
	}
	for (size_t at = 0; at + p->page_size <= (size_t)got && news->left; at += p->page_size)
		compare(h, c, (*page)++, XXH3_64bits((char *)h->pages.p + at, p->page_size), file,
			news);
	return 0;
}

static int call_runs(pml_hash_fn fn, void *arg, const struct pml_proc *p, uint64_t base,
		     uint64_t const set[3][CHUNK_PAGES / 64])
{
	unsigned int page = 0;
	int err = 0;

	while (page < CHUNK_PAGES && !err) {
		unsigned int news = 0, from = page;

		for (unsigned int k = 0; k < 3 && !news; k++)
			if (set[k][page / 64] >> (page % 64) & 1)
				news = k + 1;
		page++;
		if (!news)
			continue;
		while (page < CHUNK_PAGES && set[news - 1][page / 64] >> (page % 64) & 1)
			page++;
		err = fn(arg, base + ((uint64_t)from << p->page_shift),
			 base + ((uint64_t)page << p->page_shift), (enum pml_hash_news)news);
	}
	return err;
}

/* The part [start, end) of one chunk, as far as the budget goes: *walk_end. */
static int walk_chunk(struct pml_hashes *h, struct pml_proc *p, const struct pml_area *a,
		      uint64_t start, uint64_t end, uint64_t budget, pml_hash_fn fn, void *arg,
		      uint64_t *walk_end)
{
	uint64_t number = start >> p->page_shift >> 9;
	uint64_t base = number << (p->page_shift + 9);
	uint64_t has[CHUNK_PAGES / 64] = { 0 };
	struct news news = { .left = budget };
	unsigned int page = (unsigned int)((start - base) >> p->page_shift);
	unsigned int to = (unsigned int)((end - base) >> p->page_shift);
	bool file = a->kind != PML_AREA_ANON;
	struct chunk *c;
	int err = content_by_words(h, p, start, end, has);

	if (err)
		return err;
	c = get_chunk(h, number);
	if (!c)
		return -ENOMEM;
	while (!err && page < to && news.left) {
		unsigned int n = 0;

		while (page + n < to && n < READ_PAGES && (has[(page + n) / 64] >> ((page + n) % 64) & 1))
			n++;
		if (n)
			err = hash_pages(h, p, c, base, &page, n, file, &news);
		else
			miss(h, c, page++, file, &news);
	}
	*walk_end = base + ((uint64_t)page << p->page_shift);
	if (err)
		return err;
	return fn ? call_runs(fn, arg, p, base, news.set) : 0;
}

/* The first chunk at or after addr for which there is content or a hash. */
static int next_busy(struct pml_hashes *h, const struct pml_proc *p, uint64_t addr, uint64_t end,
		     uint64_t *at)
{
	const struct entry *e = h->index.p;
	unsigned int shift = p->page_shift + 9u;
	uint32_t i = find(h, addr >> shift);
	uint64_t hashed = i < h->n ? e[i].number << shift : end;
	int err = 0;

	if (h->no_scan)
		*at = addr;
	else
		err = next_content(h, addr, end, at);
	if (hashed < *at)
		*at = hashed > addr ? hashed : addr;
	return err;
}

int pml_hashes_walk(struct pml_hashes *h, struct pml_proc *p, const struct pml_area *a,
		    uint64_t start, uint64_t end, pml_hash_fn fn, void *arg,
		    uint64_t (*room)(void *arg), uint64_t *walk_end)
{
	uint64_t chunk_size = (uint64_t)p->page_size * CHUNK_PAGES, at = start;

	while (at < end) {
		uint64_t stop, budget = UINT64_MAX;
		int err = next_busy(h, p, at, end, &at);

		*walk_end = at;
		if (err)
			return err;
		if (at >= end)
			break;
		stop = (at & ~(chunk_size - 1)) + chunk_size;
		if (stop > end)
			stop = end;
		if (room)
			budget = room(arg);
		if (!budget)
			return 0;
		err = walk_chunk(h, p, a, at, stop, budget, fn, arg, &at);
		if (err)
			return err;
	}
	*walk_end = end;
	return 0;
}

bool pml_hashes_known(const struct pml_hashes *h, const struct pml_proc *p, uint64_t start,
		      uint64_t end)
{
	const struct chunk *c = have_chunk(h, start >> p->page_shift >> 9);

	for (uint64_t page = start >> p->page_shift; c && page < end >> p->page_shift; page++)
		if (c->known[page % CHUNK_PAGES / 64] >> (page % 64) & 1)
			return true;
	return false;
}

void pml_hashes_forget(struct pml_hashes *h, const struct pml_proc *p, uint64_t start, uint64_t end)
{
	for (uint64_t page = start >> p->page_shift; page < end >> p->page_shift; page++) {
		struct chunk *c = have_chunk(h, page / CHUNK_PAGES);

		if (c)
			c->known[page % CHUNK_PAGES / 64] &= ~(1ull << (page % 64));
	}
}
