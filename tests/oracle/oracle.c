/* SPDX-License-Identifier: MIT */
/*
 * oracle.c - the commands that change memory and know what they changed; see
 * oracle.h.  Every write stores a number never stored before, so that a write
 * is always a change of content.
 */
#define _GNU_SOURCE
#include "oracle.h"
#include "oracle_io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
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
#define MAX_THREADS 16

/* What is known of a page's past. */
enum { NEVER, READ, WRITTEN };

struct job {
	size_t *pages;
	size_t n;
	uint64_t value;
};

struct worker {
	struct oracle *o;
	pthread_t thread;
	int index;
	uint64_t random;	/* of a racer; goes on from race to race, ... */
	uint64_t count;		/* ... so that no number is stored twice */
};

enum pace {
	STEADY,
	RARELY,		/* with a pause after each write */
	CHURNING,	/* one thread drops and remaps instead */
};

struct oracle_private {
	int fd;
	bool moved;		/* a part was: see spare_from */
	unsigned char *area;	/* what was mapped to find an aligned base */
	size_t area_size;
	size_t spare_from, spare_n;	/* the part that was moved away */
	uint8_t *state;
	uint64_t random;
	uint64_t value;		/* the last number stored */
	size_t *list;		/* pages of the command under way */
	/* The threads that share a command's writes. */
	struct worker workers[MAX_THREADS];
	int nworkers;
	pthread_mutex_t lock;
	pthread_cond_t begin, end;
	struct job job;
	unsigned int generation;
	int busy;
	bool quit;
	/* The threads of a race. */
	struct worker racers[MAX_THREADS];
	atomic_int racing;	/* of these, how many have written something */
	int nracers;
	enum pace pace;
	atomic_bool stop;
	struct oracle_io *io;	/* rings, descriptors, mappings held open */
	pthread_t syncer;	/* writes the file back without end */
	bool has_syncer;
	atomic_bool sync_stop;
};

static const char *const kind_names[ORACLE_KINDS] = {
	"anon", "memfd", "file-private", "file-shared", "hugetlb",
};

const char *oracle_kind_name(enum oracle_kind kind)
{
	return kind_names[kind];
}

int oracle_kind_by_name(const char *name)
{
	for (int i = 0; i < ORACLE_KINDS; i++)
		if (!strcmp(name, kind_names[i]))
			return i;
	return -1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64: repeatable from the seed, and good enough to scatter pages. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static size_t below(struct oracle *o, size_t n)
{
	return n ? next_random(&o->priv->random) % n : 0;
}

static bool is_shared(const struct oracle *o)
{
	return o->spec.kind == ORACLE_MEMFD || o->spec.kind == ORACLE_FILE_SHARED;
}

static bool is_file(const struct oracle *o)
{
	return o->priv->fd >= 0;
}

static void store(struct oracle *o, size_t page, uint64_t value)
{
	uint64_t *words = (uint64_t *)(o->base + page * o->page);
	size_t slot = (value * 7919) % (o->page / sizeof(*words));

	__atomic_store_n(&words[slot], value, __ATOMIC_RELAXED);
}

static void load(struct oracle *o, size_t page)
{
	(void)__atomic_load_n((uint64_t *)(o->base + page * o->page), __ATOMIC_RELAXED);
}

static void mark_written(struct oracle *o, size_t page)
{
	o->changed[page] = 1;
	if (o->priv->state[page] != WRITTEN)
		o->soft[page] |= ORACLE_SOFT;
	o->priv->state[page] = WRITTEN;
}

/* What the kernel maps beside a page of a file that is read. */
#define FAULT_AROUND 16u

static void mark_read(struct oracle *o, size_t page)
{
	size_t from = page - page % FAULT_AROUND;

	if (o->priv->state[page] != NEVER)
		return;
	o->soft[page] |= ORACLE_SOFT;
	o->priv->state[page] = READ;
	for (size_t i = from; is_file(o) && i < from + FAULT_AROUND && i < o->main_pages; i++)
		if (o->priv->state[i] == NEVER)
			o->soft[i] |= ORACLE_SOFT;
}

/* The content went back to what it is without a page of its own. */
static void mark_dropped(struct oracle *o, size_t page)
{
	if (o->priv->state[page] == WRITTEN && !is_shared(o))
		o->changed[page] = 1;
	/* a dropped page counts as dirty, whether or not anything was in it */
	o->soft[page] |= ORACLE_SOFT | ORACLE_DROPPED;
	o->priv->state[page] = NEVER;
}

static void store_share(struct oracle *o, int index)
{
	const struct job *job = &o->priv->job;

	for (size_t i = (size_t)index; i < job->n; i += (size_t)o->spec.threads)
		store(o, job->pages[i], job->value + i);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct oracle_private *p = w->o->priv;
	unsigned int seen = 0;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (p->generation == seen && !p->quit)
			pthread_cond_wait(&p->begin, &p->lock);
		if (p->quit)
			break;
		seen = p->generation;
		pthread_mutex_unlock(&p->lock);
		store_share(w->o, w->index);
		pthread_mutex_lock(&p->lock);
		if (--p->busy == 0)
			pthread_cond_signal(&p->end);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Stores into the n pages of p->list, by all threads. */
static void write_list(struct oracle *o, size_t n)
{
	struct oracle_private *p = o->priv;

	p->job = (struct job){ p->list, n, p->value + 1 };
	p->value += n;
	if (p->nworkers) {
		pthread_mutex_lock(&p->lock);
		p->generation++;
		p->busy = p->nworkers;
		pthread_cond_broadcast(&p->begin);
		pthread_mutex_unlock(&p->lock);
	}
	store_share(o, 0);
	if (p->nworkers) {
		pthread_mutex_lock(&p->lock);
		while (p->busy)
			pthread_cond_wait(&p->end, &p->lock);
		pthread_mutex_unlock(&p->lock);
	}
	for (size_t i = 0; i < n; i++)
		mark_written(o, p->list[i]);
}

/* Random pages of the part of the region that is mapped. */
static size_t pick(struct oracle *o, size_t n, int only_state)
{
	struct oracle_private *p = o->priv;
	size_t got = 0, among = p->moved ? o->pages : o->main_pages;

	if (n > o->main_pages)
		n = o->main_pages;
	for (size_t tries = 0; got < n && tries < 16 * among; tries++) {
		size_t page = below(o, among);

		if (only_state < 0 || p->state[page] == only_state)
			p->list[got++] = page;
	}
	return got;
}

/* A row of n pages, aligned to huge pages where the kind needs that. */
static size_t pick_row(struct oracle *o, size_t *n)
{
	size_t align = o->spec.kind == ORACLE_HUGETLB ? HUGE / o->page : 1;
	size_t want = (*n + align - 1) / align * align;

	if (want > o->main_pages)
		want = o->main_pages;
	*n = want;
	return below(o, (o->main_pages - want) / align + 1) * align;
}

static int cmd_none(struct oracle *o, size_t n)
{
	(void)o;
	(void)n;
	return 0;
}

static int cmd_write(struct oracle *o, size_t n)
{
	write_list(o, pick(o, n, -1));
	return 0;
}

static int cmd_writeall(struct oracle *o, size_t n)
{
	(void)n;
	for (size_t i = 0; i < o->main_pages; i++)
		o->priv->list[i] = i;
	write_list(o, o->main_pages);
	return 0;
}

static int cmd_writenew(struct oracle *o, size_t n)
{
	size_t got = pick(o, n, NEVER);

	if (!got)
		return -ENODATA;
	write_list(o, got);
	return 0;
}

static int read_state(struct oracle *o, size_t n, int state)
{
	size_t got = pick(o, n, state);

	for (size_t i = 0; i < got; i++) {
		load(o, o->priv->list[i]);
		mark_read(o, o->priv->list[i]);
	}
	return got ? 0 : -ENODATA;
}

static int cmd_read(struct oracle *o, size_t n)
{
	return read_state(o, n, WRITTEN);
}

static int cmd_readnew(struct oracle *o, size_t n)
{
	return read_state(o, n, NEVER);
}

static int cmd_kread(struct oracle *o, size_t n)
{
	struct oracle_private *p = o->priv;
	size_t got = pick(o, n, -1);
	int fds[2], error = 0;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	for (size_t i = 0; i < got && !error; i++) {
		uint64_t value = ++p->value;
		void *to = o->base + p->list[i] * o->page + (value * 8) % o->page;

		if (write(fds[1], &value, sizeof(value)) != sizeof(value) ||
		    read(fds[0], to, sizeof(value)) != sizeof(value))
			error = -errno;
		else
			mark_written(o, p->list[i]);
	}
	close(fds[0]);
	close(fds[1]);
	return error;
}

static int cmd_dontneed(struct oracle *o, size_t n)
{
	size_t from = pick_row(o, &n);

	if (madvise(o->base + from * o->page, n * o->page, MADV_DONTNEED))
		return -errno;
	for (size_t i = from; i < from + n; i++)
		mark_dropped(o, i);
	return 0;
}

static int cmd_free(struct oracle *o, size_t n)
{
	size_t from = pick_row(o, &n);

	if (o->spec.kind != ORACLE_ANON)
		return -ENOTSUP;
	if (madvise(o->base + from * o->page, n * o->page, MADV_FREE))
		return -errno;
	/*
	 * The kernel may drop them at any later moment: a write brings each back
	 * to life, which is a change, whatever happened before.
	 */
	for (size_t i = 0; i < n; i++) {
		o->soft[from + i] |= ORACLE_SOFT;
		o->priv->list[i] = from + i;
	}
	write_list(o, n);
	return 0;
}

/* The kernel's word for a page, and what is in it. */
#define PRESENT	(1ull << 63)
#define FRAME	((1ull << 55) - 1)

/* There, in a frame of which nothing is known, if it cannot be read. */
static uint64_t page_word(struct oracle *o, size_t page)
{
	uint64_t word;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	off_t at = (off_t)(((uintptr_t)o->base / o->page + page) * sizeof(word));

	if (fd < 0)
		return PRESENT;
	if (pread(fd, &word, sizeof(word), at) != sizeof(word))
		word = PRESENT;
	close(fd);
	return word;
}

static bool page_is_there(struct oracle *o, size_t page)
{
	return page_word(o, page) & PRESENT;
}

static int cmd_discard(struct oracle *o, size_t n)
{
	size_t from = pick_row(o, &n), gone = 0;
	unsigned char *at = o->base + from * o->page;

	if (o->spec.kind != ORACLE_ANON)
		return -ENOTSUP;
	/* Reclaim takes freed pages at once, and needs no swap for them. */
	if (madvise(at, n * o->page, MADV_FREE) || madvise(at, n * o->page, MADV_PAGEOUT))
		return -errno;
	for (size_t i = from; i < from + n; i++) {
		o->soft[i] |= ORACLE_SOFT;
		if (o->priv->state[i] == WRITTEN && !page_is_there(o, i)) {
			mark_dropped(o, i);
			gone++;
		}
	}
	return gone ? 0 : -ENODATA;
}

static int map_at(struct oracle *o, size_t from, size_t n)
{
	int prot = PROT_READ | PROT_WRITE;
	int flags = MAP_FIXED | (is_shared(o) ? MAP_SHARED : MAP_PRIVATE);
	void *at = o->base + from * o->page;

	if (!is_file(o))
		flags |= MAP_ANONYMOUS;
	if (o->spec.kind == ORACLE_HUGETLB)
		flags |= MAP_HUGETLB;
	/* Not by mmap(): ThreadSanitizer would call a drop in mid-race a race. */
	if (syscall(SYS_mmap, at, n * o->page, prot, flags, o->priv->fd, from * o->page) == -1)
		return -errno;
	/* Without THP asked for there shall be none, whatever the default is. */
	if (o->spec.kind != ORACLE_HUGETLB)
		madvise(at, n * o->page, o->spec.thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return 0;
}

static int cmd_remap(struct oracle *o, size_t n)
{
	size_t from = pick_row(o, &n);
	int error;

	if (munmap(o->base + from * o->page, n * o->page))
		return -errno;
	error = map_at(o, from, n);
	for (size_t i = from; i < from + n && !error; i++)
		mark_dropped(o, i);
	return error;
}

static int move_pages(struct oracle *o, size_t from, size_t to, size_t n)
{
	struct oracle_private *p = o->priv;
	size_t size = n * o->page;

	if (mremap(o->base + from * o->page, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
		   o->base + to * o->page) == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < n; i++) {
		o->soft[to + i] |= ORACLE_SOFT | ORACLE_DROPPED;
		if (p->state[from + i] == WRITTEN || p->state[to + i] == WRITTEN || is_file(o))
			o->changed[to + i] = 1;
		p->state[to + i] = p->state[from + i];
		p->state[from + i] = NEVER;
	}
	return 0;
}

/* Nobody else shall be given the addresses of the spare part. */
static int keep_spare(struct oracle *o)
{
	size_t size = (o->pages - o->main_pages) * o->page;

	if (mmap(o->base + o->main_pages * o->page, size, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

static int cmd_move(struct oracle *o, size_t n)
{
	struct oracle_private *p = o->priv;
	int error;

	(void)n;
	if (o->pages == o->main_pages)
		return -ENOTSUP;
	/*
	 * The kernel may join what it moves with its neighbours, and then they
	 * lose their registration with it.
	 */
	for (size_t i = 0; i < o->pages; i++)
		o->soft[i] |= ORACLE_SOFT;
	p->spare_n = o->pages - o->main_pages;
	if (p->moved) {
		error = move_pages(o, o->main_pages, p->spare_from, p->spare_n);
		if (error)
			return error;
		p->moved = false;
		/* Where it was there is now something else, though nothing readable. */
		for (size_t i = o->main_pages; i < o->pages; i++)
			o->soft[i] |= ORACLE_DROPPED;
		return keep_spare(o);
	}
	p->spare_from = below(o, o->main_pages - p->spare_n);
	error = move_pages(o, p->spare_from, o->main_pages, p->spare_n);
	if (error)
		return error;
	/* Its old place is used again at once, by pages of zeros. */
	error = map_at(o, p->spare_from, p->spare_n);
	for (size_t i = 0; i < p->spare_n && !error; i++) {
		o->soft[p->spare_from + i] |= ORACLE_SOFT | ORACLE_DROPPED;
		o->changed[p->spare_from + i] = o->changed[o->main_pages + i];
	}
	p->moved = true;
	return error;
}

static int cmd_fork(struct oracle *o, size_t n)
{
	struct oracle_private *p = o->priv;
	size_t got = pick(o, n, -1);
	int ready[2], status = 0;
	pid_t child;

	if (is_shared(o))
		return -ENOTSUP;
	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0) {
		close(ready[0]);
		close(ready[1]);
		return -errno;
	}
	if (!child) {
		/* Its own copies: nothing of this is the parent's. */
		for (size_t i = 0; i < o->main_pages; i++)
			store(o, i, p->value + i + 1);
		_exit(write(ready[1], "x", 1) != 1);
	}
	/* Its writes and ours overlap in time: both break the sharing. */
	for (size_t i = 0; i < got; i++)
		store(o, p->list[i], ++p->value);
	for (size_t i = 0; i < got; i++)
		mark_written(o, p->list[i]);
	close(ready[0]);
	close(ready[1]);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	return 0;
}

static int cmd_protect(struct oracle *o, size_t n)
{
	size_t from = pick_row(o, &n);
	unsigned char *at = o->base + from * o->page;

	if (mprotect(at, n * o->page, PROT_READ) ||
	    mprotect(at, n * o->page, PROT_READ | PROT_WRITE))
		return -errno;
	for (size_t i = from; i < from + n; i++)
		o->soft[i] |= ORACLE_PROTECTED;
	return 0;
}

static int cmd_sync(struct oracle *o, size_t n)
{
	struct statfs on;

	(void)n;
	if (o->spec.kind != ORACLE_FILE_SHARED)
		return -ENOTSUP;
	if (fstatfs(o->priv->fd, &on) || fsync(o->priv->fd))
		return -errno;
	if (on.f_type == TMPFS_MAGIC)
		return -ENODATA;
	for (size_t i = 0; i < o->main_pages; i++)
		o->soft[i] |= ORACLE_CLEANED;
	return 0;
}

static int cmd_collapse(struct oracle *o, size_t n)
{
	(void)n;
	for (size_t i = 0; i < o->main_pages; i++)
		if (o->priv->state[i] == NEVER)
			o->soft[i] |= ORACLE_SOFT;
	/* A tracker may stand in its way: then nothing happens, which is fine. */
	madvise(o->base, o->main_pages * o->page, MADV_COLLAPSE);
	return 0;
}

static int pageout_row(struct oracle *o, size_t from, size_t n)
{
	size_t gone = 0;

	if (madvise(o->base + from * o->page, n * o->page, MADV_PAGEOUT))
		return -errno;
	for (size_t i = from; i < from + n; i++) {
		o->soft[i] |= ORACLE_SOFT;
		gone += !page_is_there(o, i);
	}
	return gone ? 0 : -ENODATA;
}

static int cmd_pageout(struct oracle *o, size_t n)
{
	size_t from = pick_row(o, &n);

	return pageout_row(o, from, n);
}

static int cmd_swapwrite(struct oracle *o, size_t n)
{
	size_t from = pick_row(o, &n);

	for (size_t i = 0; i < n; i++)
		o->priv->list[i] = from + i;
	write_list(o, n);
	return pageout_row(o, from, n);
}

/* Whether n pages are one page of the machine's; frames are for root alone. */
static bool are_one(struct oracle *o, size_t from, size_t n)
{
	uint64_t first = page_word(o, from);
	bool one = (first & PRESENT) && (first & FRAME);

	for (size_t i = 1; i < n && one; i++)
		one = ((page_word(o, from + i) ^ first) & (PRESENT | FRAME)) == 0;
	return one;
}

/* How long KSM is given. */
#define MERGE_MS 5000
#define MERGE_STEP_MS 20

static int cmd_merge(struct oracle *o, size_t n)
{
	const struct timespec step = { 0, MERGE_STEP_MS * 1000000L };
	size_t from = pick_row(o, &n);
	unsigned char *at = o->base + from * o->page;
	uint64_t value = ++o->priv->value;

	if (madvise(at, n * o->page, MADV_MERGEABLE))
		return errno == EINVAL ? -ENODATA : -errno;
	for (size_t i = 0; i < n * o->page / sizeof(value); i++)
		__atomic_store_n((uint64_t *)at + i, value, __ATOMIC_RELAXED);
	for (size_t i = from; i < from + n; i++) {
		mark_written(o, i);
		o->soft[i] |= ORACLE_SOFT;
	}
	for (int ms = 0; ms < MERGE_MS; ms += MERGE_STEP_MS) {
		if (are_one(o, from, n))
			return 0;
		nanosleep(&step, NULL);
	}
	return -ENODATA;
}

/* Whether KSM has nothing of this process on its list; Linux 6.1. */
static bool ksm_has_forgotten(void)
{
	char text[256] = "";
	const char *at;
	int fd = open("/proc/self/ksm_stat", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	at = strstr(text, "ksm_rmap_items ");
	return at && strtoul(at + strlen("ksm_rmap_items "), NULL, 10) == 0;
}

static int cmd_unmerge(struct oracle *o, size_t n)
{
	const struct timespec step = { 0, MERGE_STEP_MS * 1000000L };

	(void)n;
	if (madvise(o->base, o->main_pages * o->page, MADV_UNMERGEABLE))
		return errno == EINVAL ? -ENODATA : -errno;
	for (int ms = 0; ms < MERGE_MS; ms += MERGE_STEP_MS) {
		if (ksm_has_forgotten())
			return 0;
		nanosleep(&step, NULL);
	}
	return -ENODATA;
}

static int cmd_alias(struct oracle *o, size_t n)
{
	struct oracle_private *p = o->priv;
	size_t got = pick(o, n, -1), size = o->main_pages * o->page;
	unsigned char *own = o->base;
	unsigned char *other;

	if (!is_shared(o))
		return -ENOTSUP;
	other = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	if (other == MAP_FAILED)
		return -errno;
	o->base = other;
	for (size_t i = 0; i < got; i++)
		store(o, p->list[i], ++p->value);
	o->base = own;
	for (size_t i = 0; i < got; i++)
		mark_written(o, p->list[i]);
	munmap(other, size);
	return 0;
}

static int cmd_mix(struct oracle *o, size_t n)
{
	static const size_t parts[] = { 0, 1, 8, 100, 10, 4, 2 };	/* 1/parts of all */
	size_t which = below(o, sizeof(parts) / sizeof(parts[0]) + 1), count;

	(void)n;
	if (which == sizeof(parts) / sizeof(parts[0]))
		count = 3;
	else if (which == 1)
		count = o->main_pages;
	else
		count = parts[which] ? o->main_pages / parts[which] : 0;
	if (below(o, 8) == 0 && o->spec.kind == ORACLE_ANON)
		cmd_dontneed(o, 1 + below(o, 16));
	cmd_read(o, below(o, o->main_pages / 4));
	if (below(o, 4) == 0)
		cmd_readnew(o, 1 + below(o, 8));
	if (which == 1)
		return cmd_writeall(o, 0);
	return cmd_write(o, count);
}

static void churn_once(struct oracle *o, uint64_t *random)
{
	size_t n = 1 + next_random(random) % 32;
	size_t from = next_random(random) % (o->main_pages - n);
	unsigned char *at = o->base + from * o->page;

	switch (next_random(random) % 4) {
	case 0:
		map_at(o, from, n);
		break;
	case 1:
		mprotect(at, n * o->page, PROT_READ | PROT_WRITE);
		break;
	default:
		madvise(at, n * o->page, MADV_DONTNEED);
	}
	usleep(200);
}

/*
 * Each thread counts in words of its own, one of many in random pages: what a
 * word held last is what must be in the tracker's copy at the end.  Threads that
 * write rarely do not come to a page again that was lost before they are stopped.
 */
static void *race(void *arg)
{
	struct worker *w = arg;
	struct oracle *o = w->o;
	struct oracle_private *p = o->priv;
	size_t slots = o->page / sizeof(uint64_t) / MAX_THREADS;
	bool racing = false;

	while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
		uint64_t r = next_random(&w->random);
		/* Half of the writes go to an eighth of the pages. */
		size_t among = r & 1 ? o->main_pages / 8 : o->main_pages;
		size_t page = (r >> 1) % among, slot = (r >> 40) % slots;
		uint64_t *words = (uint64_t *)(o->base + page * o->page);

		if (p->pace == CHURNING && w->index == 0)
			churn_once(o, &w->random);
		else
			__atomic_store_n(&words[slot * MAX_THREADS + (size_t)w->index],
					 ++w->count, __ATOMIC_RELAXED);
		if (!racing) {
			racing = true;
			atomic_fetch_add(&p->racing, 1);
		}
		if (p->pace == RARELY)
			usleep(50);
	}
	return NULL;
}

/* A race has begun when each has written: on a busy machine a thread may come to run
 * so late that all is over. */
static int race_begin(struct oracle *o, size_t n, enum pace pace)
{
	struct oracle_private *p = o->priv;

	if (p->nracers || n < 1 || n > MAX_THREADS)
		return -EINVAL;
	atomic_store(&p->stop, false);
	atomic_store(&p->racing, 0);
	p->pace = pace;
	for (size_t i = 0; i < n; i++) {
		struct worker *w = &p->racers[i];

		w->o = o;
		w->index = (int)i;
		if (!w->count)
			w->random = o->spec.seed * 31 + i;
		if (pthread_create(&w->thread, NULL, race, w))
			return -EAGAIN;
		p->nracers++;
	}
	while (atomic_load(&p->racing) < p->nracers)
		usleep(100);
	return 0;
}

static int cmd_race(struct oracle *o, size_t n)
{
	return race_begin(o, n, STEADY);
}

static int cmd_rarely(struct oracle *o, size_t n)
{
	return race_begin(o, n, RARELY);
}

static int cmd_churn(struct oracle *o, size_t n)
{
	if (o->spec.kind != ORACLE_ANON)
		return -ENOTSUP;
	return race_begin(o, n, CHURNING);
}

static int cmd_stop(struct oracle *o, size_t n)
{
	struct oracle_private *p = o->priv;

	(void)n;
	atomic_store(&p->stop, true);
	for (int i = 0; i < p->nracers; i++)
		pthread_join(p->racers[i].thread, NULL);
	p->nracers = 0;
	memset(p->state, WRITTEN, o->main_pages);
	return 0;
}

/* The first n pages become an I/O buffer that the kernel has pinned. */
static int cmd_pin(struct oracle *o, size_t n)
{
	if (n > o->main_pages)
		n = o->main_pages;
	for (size_t i = 0; i < n; i++)
		o->priv->list[i] = i;
	write_list(o, n);
	return oracle_io_pin(&o->priv->io, o->base, n * o->page);
}

static int cmd_pinread(struct oracle *o, size_t n)
{
	size_t page = below(o, n);
	uint64_t value = ++o->priv->value;
	int error = oracle_io_read_fixed(o->priv->io, o->base + page * o->page, value);

	if (!error)
		mark_written(o, page);
	return error;
}

static int cmd_direct(struct oracle *o, size_t n)
{
	(void)n;
	return oracle_io_direct(&o->priv->io);
}

static int cmd_share(struct oracle *o, size_t n)
{
	(void)n;
	if (!is_shared(o))
		return -ENOTSUP;
	return oracle_io_share(&o->priv->io, o->priv->fd, o->main_pages * o->page);
}

static int cmd_own(struct oracle *o, size_t n)
{
	return oracle_io_own(&o->priv->io, o->base, n * o->page);
}

static void *sync_without_end(void *arg)
{
	struct oracle_private *p = ((struct oracle *)arg)->priv;

	while (!atomic_load(&p->sync_stop)) {
		fsync(p->fd);
		usleep(1000);
	}
	return NULL;
}

static int cmd_syncing(struct oracle *o, size_t n)
{
	struct oracle_private *p = o->priv;
	int error = cmd_sync(o, n);

	if (error)
		return error;
	atomic_store(&p->sync_stop, false);
	if (p->has_syncer || pthread_create(&p->syncer, NULL, sync_without_end, o))
		return -EAGAIN;
	p->has_syncer = true;
	return 0;
}

static void end_syncing(struct oracle_private *p)
{
	atomic_store(&p->sync_stop, true);
	if (p->has_syncer)
		pthread_join(p->syncer, NULL);
	p->has_syncer = false;
}

static int cmd_release(struct oracle *o, size_t n)
{
	(void)n;
	end_syncing(o->priv);
	oracle_io_release(&o->priv->io);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct oracle *o, size_t n);
} commands[] = {
	{ "none", cmd_none },	      { "mix", cmd_mix },
	{ "write", cmd_write },	      { "writeall", cmd_writeall },
	{ "writenew", cmd_writenew }, { "readnew", cmd_readnew },
	{ "read", cmd_read },	      { "kread", cmd_kread },
	{ "dontneed", cmd_dontneed }, { "free", cmd_free },
	{ "discard", cmd_discard },   { "remap", cmd_remap },
	{ "move", cmd_move },	      { "fork", cmd_fork },
	{ "protect", cmd_protect },   { "collapse", cmd_collapse },
	{ "pageout", cmd_pageout },   { "swapwrite", cmd_swapwrite },
	{ "merge", cmd_merge },	      { "unmerge", cmd_unmerge },
	{ "alias", cmd_alias },	      { "race", cmd_race },
	{ "rarely", cmd_rarely },
	{ "churn", cmd_churn },	      { "stop", cmd_stop },
	{ "pin", cmd_pin },	      { "pinread", cmd_pinread },
	{ "direct", cmd_direct },     { "share", cmd_share },
	{ "own", cmd_own },	      { "release", cmd_release },
	{ "sync", cmd_sync },	      { "syncing", cmd_syncing },
};

int oracle_do(struct oracle *o, const char *command)
{
	char name[16] = "";
	unsigned long n = 1;
	int error = -EINVAL;

	if (sscanf(command, "%15s %lu", name, &n) < 1)
		return -EINVAL;
	memset(o->changed, 0, o->pages);
	memset(o->soft, 0, o->pages);
	o->begin_ns = now_ns();
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(name, commands[i].name))
			error = commands[i].run(o, n);
	o->end_ns = now_ns();
	return error;
}

static int open_file(const struct oracle *o)
{
	char path[4096];
	const char *dir = getenv("TMPDIR");
	int fd;

	if (o->spec.kind == ORACLE_MEMFD)
		return memfd_create("pml-oracle", MFD_CLOEXEC);
	/* /var/tmp: on a disk, unlike /tmp on some machines. */
	snprintf(path, sizeof(path), "%s/pml-oracle-XXXXXX", dir ? dir : "/var/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

/* A file whose pages are all different, and none of zeros. */
static int fill_file(const struct oracle *o)
{
	uint64_t block[512];
	size_t size = o->main_pages * o->page;

	for (size_t at = 0; at < size; at += sizeof(block)) {
		for (size_t i = 0; i < 512; i++)
			block[i] = ~(uint64_t)(at + i);
		if (pwrite(o->priv->fd, block, sizeof(block), (off_t)at) != sizeof(block))
			return errno ? -errno : -EIO;
	}
	return 0;
}

static int map_region(struct oracle *o)
{
	struct oracle_private *p = o->priv;
	size_t size = o->pages * o->page;

	p->area_size = size + HUGE;
	p->area = mmap(NULL, p->area_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	if (p->area == MAP_FAILED)
		return -errno;
	o->base = (unsigned char *)(((uintptr_t)p->area + HUGE - 1) & ~(HUGE - 1));
	return map_at(o, 0, o->main_pages);
}

static int start_workers(struct oracle *o)
{
	struct oracle_private *p = o->priv;

	for (int i = 1; i < o->spec.threads; i++) {
		struct worker *w = &p->workers[p->nworkers];

		*w = (struct worker){ .o = o, .index = i };
		if (pthread_create(&w->thread, NULL, work, w))
			return -EAGAIN;
		p->nworkers++;
	}
	return 0;
}

int oracle_open(struct oracle *o, const struct oracle_spec *spec)
{
	size_t huge_pages;
	struct oracle_private *p = calloc(1, sizeof(*p));
	int error = 0;

	memset(o, 0, sizeof(*o));
	if (!p)
		return -ENOMEM;
	o->spec = *spec;
	if (o->spec.threads < 1)
		o->spec.threads = 1;
	if (o->spec.threads > MAX_THREADS)
		o->spec.threads = MAX_THREADS;
	o->priv = p;
	o->page = (size_t)sysconf(_SC_PAGESIZE);
	huge_pages = HUGE / o->page;
	o->main_pages = (spec->pages + huge_pages - 1) / huge_pages * huge_pages;
	o->pages = o->main_pages;
	if (spec->kind == ORACLE_ANON)
		o->pages += 64;
	p->fd = -1;
	p->random = spec->seed;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->begin, NULL);
	pthread_cond_init(&p->end, NULL);
	o->changed = calloc(3, o->pages);
	p->list = calloc(o->pages, sizeof(*p->list));
	if (!o->changed || !p->list)
		return -ENOMEM;
	o->soft = o->changed + o->pages;
	p->state = o->soft + o->pages;
	if (spec->kind != ORACLE_ANON && spec->kind != ORACLE_HUGETLB) {
		p->fd = open_file(o);
		if (p->fd < 0)
			return -errno;
		if (ftruncate(p->fd, (off_t)(o->main_pages * o->page)))
			return -errno;
		if (spec->kind != ORACLE_MEMFD)
			error = fill_file(o);
	}
	if (!error)
		error = map_region(o);
	if (!error)
		error = start_workers(o);
	if (error)
		return error;
	for (size_t i = 0; i < o->main_pages - o->main_pages / 8; i++)
		p->list[i] = i;
	write_list(o, o->main_pages - o->main_pages / 8);
	/* A huge page is whole: what is beside a written page was touched too. */
	if (spec->thp || spec->kind == ORACLE_HUGETLB)
		cmd_writeall(o, 0);
	memset(o->changed, 0, 2 * o->pages);
	return 0;
}

void oracle_close(struct oracle *o)
{
	struct oracle_private *p = o->priv;

	if (!p)
		return;
	cmd_stop(o, 0);
	end_syncing(p);
	oracle_io_release(&p->io);
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->begin);
	pthread_mutex_unlock(&p->lock);
	for (int i = 0; i < p->nworkers; i++)
		pthread_join(p->workers[i].thread, NULL);
	if (p->area && p->area != MAP_FAILED)
		munmap(p->area, p->area_size);
	if (p->fd >= 0)
		close(p->fd);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->begin);
	pthread_cond_destroy(&p->end);
	free(p->list);
	free(o->changed);
	free(p);
	o->priv = NULL;
}
