/* SPDX-License-Identifier: MIT */
/*
 * precopy_target.c - the process that is copied; see precopy.h.  Every store is
 * of a number that this word never held, so that a lost page is a wrong word.
 */
#define _GNU_SOURCE
#include "precopy.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE ((size_t)2 << 20)

struct worker {
	const struct layout *l;
	struct control *c;
	uint64_t random;
	uint64_t count;
	unsigned int index;
};

/* PART_MOVED moves in blocks; each is in the lower half, or in the upper one. */
#define BLOCK 16
#define MAX_BLOCKS 4096
static bool is_upper[MAX_BLOCKS];

const char *deed_name(enum deed deed)
{
	static const char *const names[DEEDS] = {
		"pageout", "dontneed", "free", "free+pageout", "collapse",
		"fork", "merge", "move", "remap", "protect",
	};

	return names[deed];
}

/* splitmix64: repeatable from the seed. */
uint64_t precopy_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static unsigned char *at(const struct layout *l, size_t page)
{
	return l->base + page * l->page;
}

static size_t moved_pages(const struct layout *l)
{
	return (l->from[PARTS] - l->from[PART_MOVED]) / 2;
}

static unsigned char *block_at(const struct layout *l, size_t block, bool upper)
{
	return at(l, l->from[PART_MOVED] + (upper ? moved_pages(l) : 0) + block * BLOCK);
}

static size_t some_block(struct worker *w)
{
	size_t blocks = moved_pages(w->l) / BLOCK;

	return precopy_random(&w->random) % (blocks < MAX_BLOCKS ? blocks : MAX_BLOCKS);
}

int target_layout(struct layout *l, size_t pages)
{
	static const unsigned int sixteenths[PARTS] = { 4, 4, 4, 2, 2 };
	size_t unit;
	unsigned char *area;

	l->page = (size_t)sysconf(_SC_PAGESIZE);
	/* so that the parts of huge pages are whole ones */
	unit = 4 * HUGE / l->page;
	l->pages = (pages + unit - 1) / unit * unit;
	area = mmap(NULL, l->pages * l->page + HUGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	l->base = (unsigned char *)(((uintptr_t)area + HUGE - 1) & ~(HUGE - 1));
	l->from[0] = 0;
	for (int i = 0; i < PARTS; i++)
		l->from[i + 1] = l->from[i] + l->pages / 16 * sixteenths[i];
	for (int i = 0; i < PARTS; i++) {
		size_t size = (l->from[i + 1] - l->from[i]) * l->page;

		madvise(at(l, l->from[i]), size,
			i == PART_HUGE || i == PART_DROPPED ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		if (i == PART_MERGED)
			madvise(at(l, l->from[i]), size, MADV_MERGEABLE);
	}
	return 0;
}

struct control *control_map(const struct layout *l)
{
	size_t size = sizeof(struct control) +
		      l->from[PART_DROPPED] * STORERS * SLOTS * sizeof(uint64_t);
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

static void park(struct control *c)
{
	struct timespec pause = { 0, 100000 };

	if (!atomic_load(&c->halt))
		return;
	atomic_fetch_add(&c->parked, 1);
	while (atomic_load(&c->halt))
		nanosleep(&pause, NULL);
	atomic_fetch_sub(&c->parked, 1);
}

/*
 * Most of the stores go to a few pages, so that many meet a collect under way; the
 * others to any page but KSM's, which have their peace.
 */
static void store_once(struct worker *w)
{
	const struct layout *l = w->l;
	uint64_t r = precopy_random(&w->random);
	size_t pages = l->from[PART_MERGED];
	size_t page = r % 16 ? (r >> 8) % 64 * (pages / 64) : (r >> 8) % pages;
	size_t slot = (r >> 56) % SLOTS;
	uint64_t *words = (uint64_t *)at(l, page);

	w->count++;
	__atomic_store_n(&words[word_of(w->index, slot)], w->count, __ATOMIC_RELAXED);
	if (is_kept(l, page))
		atomic_store_explicit(last_of(w->c, page, w->index, slot), w->count,
				      memory_order_relaxed);
}

static void *write_on(void *arg)
{
	struct timespec pause = { 0, 50000 };
	struct worker *w = arg;

	for (;;) {
		park(w->c);
		nanosleep(&pause, NULL);
		for (int i = 0; i < 64; i++)
			store_once(w);
		atomic_fetch_add_explicit(&w->c->stores, 64, memory_order_relaxed);
	}
	return NULL;
}

/* A child writes to what it shares with its parent, which goes on meanwhile. */
static int fork_once(struct worker *w, size_t from, size_t n)
{
	pid_t child = fork();

	if (child < 0)
		return -1;
	if (!child) {
		for (size_t i = 0; i < n; i++)
			memset(at(w->l, from + i), 0xee, 64);
		_exit(0);
	}
	for (size_t i = 0; i < 256; i++)
		store_once(w);
	waitpid(child, NULL, 0);
	return 0;
}

/* Pages of one of four contents; KSM makes one of those that are alike. */
static int merge_once(struct worker *w, size_t n)
{
	size_t pages = w->l->from[PART_MOVED] - w->l->from[PART_MERGED];

	for (size_t i = 0; i < n; i++) {
		uint64_t r = precopy_random(&w->random);
		unsigned char *to = at(w->l, w->l->from[PART_MERGED] + r % pages);

		memset(to, 1 + (int)(r >> 60) % 4, w->l->page);
	}
	return 0;
}

static void store_in_block(struct worker *w, unsigned char *block, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*(uint64_t *)(block + precopy_random(&w->random) % BLOCK * w->l->page) =
			++w->count;
}

/* A block goes to the other half, some of its pages written before and after. */
static int move_once(struct worker *w, size_t n)
{
	size_t block = some_block(w), size = BLOCK * w->l->page;
	unsigned char *from = block_at(w->l, block, is_upper[block]);
	unsigned char *to = block_at(w->l, block, !is_upper[block]);

	store_in_block(w, from, n);
	if (mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		return -1;
	is_upper[block] = !is_upper[block];
	store_in_block(w, to, n);
	return 0;
}

/* A block's memory is replaced by other memory at the same address. */
static int remap_once(struct worker *w, size_t n)
{
	size_t block = some_block(w), size = BLOCK * w->l->page;
	unsigned char *to = block_at(w->l, block, is_upper[block]);

	munmap(to, size);
	if (mmap(to, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != to)
		return -1;
	store_in_block(w, to, n);
	return 0;
}

static int do_deed(struct worker *w, enum deed deed)
{
	const struct layout *l = w->l;
	uint64_t r = precopy_random(&w->random);
	size_t n = 1 + r % 64;
	size_t kept = (r >> 8) % (l->from[PART_DROPPED] - n);
	size_t any = (r >> 8) % (l->from[PART_MOVED] - n);
	size_t dropped = l->from[PART_DROPPED] +
			 (r >> 8) % (l->from[PART_MERGED] - l->from[PART_DROPPED] - n);
	size_t huge = l->from[PART_HUGE] + (r >> 8) % (l->from[PART_DROPPED] - l->from[PART_HUGE]);

	switch (deed) {
	case DEED_PAGEOUT:
		return madvise(at(l, any), n * l->page, MADV_PAGEOUT);
	case DEED_DONTNEED:
		return madvise(at(l, dropped), n * l->page, MADV_DONTNEED);
	case DEED_FREE:
		return madvise(at(l, dropped), n * l->page, MADV_FREE);
	case DEED_FREE_AND_PAGEOUT:
		return madvise(at(l, dropped), n * l->page, MADV_FREE) ||
		       madvise(at(l, dropped), n * l->page, MADV_PAGEOUT);
	case DEED_COLLAPSE:
		return madvise((void *)((uintptr_t)at(l, huge) & ~(HUGE - 1)), HUGE, MADV_COLLAPSE);
	case DEED_FORK:
		return fork_once(w, kept, n);
	case DEED_MERGE:
		return merge_once(w, n / 4);
	case DEED_MOVE:
		return move_once(w, n / 16);
	case DEED_REMAP:
		return remap_once(w, n / 16);
	default:
		return mprotect(at(l, kept), n * l->page, PROT_READ | PROT_WRITE | PROT_EXEC) ||
		       mprotect(at(l, kept), n * l->page, PROT_READ | PROT_WRITE);
	}
}

/* Forks are few, for each of them stops the world a little. */
static enum deed next_deed(struct worker *w)
{
	enum deed deed = (enum deed)(precopy_random(&w->random) % DEEDS);

	if (deed == DEED_FORK && precopy_random(&w->random) % 4)
		deed = DEED_PAGEOUT;
	return deed;
}

static void churn_on(struct worker *w)
{
	struct timespec pause = { 0, 200000 };

	/* not before: whatever else is mapped would come to lie in the hole */
	munmap(block_at(w->l, 0, true), moved_pages(w->l) * w->l->page);
	atomic_store(&w->c->ready, true);
	merge_once(w, w->l->from[PART_MOVED] - w->l->from[PART_MERGED]);
	for (;;) {
		enum deed deed = next_deed(w);

		park(w->c);
		if (do_deed(w, deed))
			atomic_fetch_add(&w->c->failed[deed], 1);
		atomic_fetch_add(&w->c->deeds[deed], 1);
		nanosleep(&pause, NULL);
	}
}

void target_run(const struct layout *l, struct control *c, uint64_t seed)
{
	struct worker w[STORERS];
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* the tracker is not to wait for its turn */
	setpriority(PRIO_PROCESS, 0, 10);
	for (unsigned int i = 0; i < STORERS; i++)
		w[i] = (struct worker){ .l = l, .c = c, .random = seed * 31 + i, .index = i };
	for (unsigned int i = 0; i < WRITERS; i++)
		if (pthread_create(&thread, NULL, write_on, &w[i]))
			_exit(1);
	churn_on(&w[WRITERS]);
	_exit(0);
}
