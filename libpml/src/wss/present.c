/* SPDX-License-Identifier: MIT */
/*
 * A working set from a sample of random pages that are taken away, after VMware's ESX:
 * pml_wss_present_open() and what belongs to it.
 *
 * ESX takes the mapping of a sampled page away and counts the faults.  From outside a
 * process its pages can be taken away by process_madvise(MADV_PAGEOUT); who touches one
 * makes it present again.  Pages that do not go (locked, shared with another process, no
 * swap) are no part of the sample.  One that is back at once is told from them by its
 * frame, which then is another, or still the swap cache's.
 */
#define _GNU_SOURCE
#include "pml_wss.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "open_maps.h"
#include "random.h"

#define MAX_SAMPLES 1000000u
#define TRIES 3
#define WORD_PRESENT (1ull << 63)
#define WORD_FRAME ((1ull << 55) - 1)
#define FLAG_SWAPCACHE (1ull << 13)

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

struct span {
	uint64_t start;
	uint64_t end;
};

struct pml_wss_present {
	struct pml_wss_present_options o;
	pid_t pid;
	int directory;		/* of the process in /proc */
	int pidfd;
	int pagemap;
	int kpageflags;		/* or -1 */
	uint64_t page_size;
	uint64_t random;
	uint64_t population;	/* pages that the sample was drawn from */
	uint64_t *sample;	/* addresses */
	uint32_t n;		/* of them, those that went */
	uint32_t back;		/* that went and came back before one could look */
	uint32_t refused;	/* that did not go */
};

static int read_word(const struct pml_wss_present *p, uint64_t address, uint64_t *word)
{
	ssize_t got = pread(p->pagemap, word, sizeof(*word),
			    (off_t)(address / p->page_size * sizeof(*word)));

	if (got < 0)
		return -errno;
	/* the process has ended, and its memory is gone */
	return got < (ssize_t)sizeof(*word) ? -ESRCH : 0;
}

/* Private anonymous memory that can be written: what swap is for. */
static bool take_line(const struct pml_wss_present *p, const char *line, struct span *s)
{
	char perms[5];
	unsigned long inode;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %lu", &s->start, &s->end, perms,
		   &inode) != 4 || inode || perms[1] != 'w' || perms[3] != 'p')
		return false;
	if (p->o.range_end) {
		s->start = s->start > p->o.range_start ? s->start : p->o.range_start;
		s->end = s->end < p->o.range_end ? s->end : p->o.range_end;
	}
	return s->end > s->start;
}

static int read_spans(const struct pml_wss_present *p, struct span **spans, size_t *n)
{
	size_t size = 0, room = 0;
	char *line = NULL;
	FILE *maps;
	int rc;

	*spans = NULL;
	*n = 0;
	maps = pml_open_maps(p->directory, &rc);
	while (maps && getline(&line, &size, maps) > 0) {
		struct span s, *grown;

		if (!take_line(p, line, &s))
			continue;
		if (*n == room) {
			room = room ? 2 * room : 64;
			grown = reallocarray(*spans, room, sizeof(*grown));
			if (!grown) {
				rc = -ENOMEM;
				break;
			}
			*spans = grown;
		}
		(*spans)[(*n)++] = s;
	}
	free(line);
	if (maps)
		fclose(maps);
	return rc;
}

static void draw(struct pml_wss_present *p, const struct span *spans, size_t nspans)
{
	p->population = 0;
	for (size_t i = 0; i < nspans; i++)
		p->population += (spans[i].end - spans[i].start) / p->page_size;
	p->n = p->population ? p->o.samples : 0;
	for (uint32_t i = 0; i < p->n; i++) {
		uint64_t number = pml_random(&p->random) % p->population;
		const struct span *s = spans;

		for (;; s++) {
			uint64_t here = (s->end - s->start) / p->page_size;

			if (number < here)
				break;
			number -= here;
		}
		p->sample[i] = s->start + number * p->page_size;
	}
}

static int by_address(const void *a, const void *b)
{
	const uint64_t *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

static bool in_swap_cache(const struct pml_wss_present *p, uint64_t frame)
{
	uint64_t flags = 0;

	return pread(p->kpageflags, &flags, sizeof(flags), (off_t)(frame * sizeof(flags))) ==
	       sizeof(flags) && (flags & FLAG_SWAPCACHE);
}

enum fate { GONE, BACK, REFUSED };

/* One page; returns its fate or -errno. */
static int take_away(const struct pml_wss_present *p, uint64_t address)
{
	struct iovec page = { (void *)(uintptr_t)address, p->page_size };
	uint64_t before, after;
	int rc;

	for (int i = 0; i < TRIES; i++) {
		rc = read_word(p, address, &before);
		if (rc || !(before & WORD_PRESENT))
			return rc ? rc : GONE;
		if (syscall(SYS_process_madvise, p->pidfd, &page, 1, MADV_PAGEOUT, 0) < 0 &&
		    errno != EINVAL && errno != ENOMEM && errno != EAGAIN)
			return -errno;
		rc = read_word(p, address, &after);
		if (rc || !(after & WORD_PRESENT))
			return rc ? rc : GONE;
		if ((before ^ after) & WORD_FRAME)
			return BACK;
		if ((after & WORD_FRAME) && in_swap_cache(p, after & WORD_FRAME))
			return BACK;
	}
	return REFUSED;
}

/* A page that was drawn twice is asked about once, and counts once. */
static int take_all_away(struct pml_wss_present *p)
{
	uint32_t kept = 0, n = p->n;
	uint64_t last = UINT64_MAX;

	qsort(p->sample, n, sizeof(*p->sample), by_address);
	p->back = p->refused = 0;
	for (uint32_t i = 0; i < n; i++) {
		int fate;

		if (p->sample[i] == last)
			continue;
		last = p->sample[i];
		fate = take_away(p, last);
		if (fate < 0)
			return fate;
		if (fate == GONE)
			p->sample[kept++] = last;
		else if (fate == BACK)
			p->back++;
		else
			p->refused++;
	}
	p->n = kept;
	return 0;
}

static int begin_epoch(struct pml_wss_present *p)
{
	struct span *spans;
	size_t nspans;
	int rc = read_spans(p, &spans, &nspans);

	if (rc == 0)
		draw(p, spans, nspans);
	free(spans);
	return rc ? rc : take_all_away(p);
}

static int end_epoch(const struct pml_wss_present *p, struct pml_wss_present_estimate *e)
{
	e->population_pages = p->population;
	e->asked = p->n + p->back;
	e->touched = p->back;
	e->refused = p->refused;
	for (uint32_t i = 0; i < p->n; i++) {
		uint64_t word;
		int rc = read_word(p, p->sample[i], &word);

		if (rc)
			return rc;
		e->touched += !!(word & WORD_PRESENT);
	}
	if (e->asked)
		e->pages = (uint64_t)((double)e->population_pages * e->touched / e->asked + 0.5);
	return 0;
}

static int open_all(struct pml_wss_present *p)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d", (int)p->pid);
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0)
		return -errno;
	p->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->directory < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	p->pagemap = openat(p->directory, "pagemap", O_RDONLY | O_CLOEXEC);
	if (p->pagemap < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	p->kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	p->sample = calloc(p->o.samples, sizeof(*p->sample));
	return p->sample ? 0 : -ENOMEM;
}

int pml_wss_present_open(struct pml_wss_present **out, pid_t pid,
			 const struct pml_wss_present_options *options)
{
	struct pml_wss_present *p;
	int rc;

	*out = NULL;
	if (pid <= 0 || (options && options->size < sizeof(options->size)))
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	if (options)
		memcpy(&p->o, options, options->size < sizeof(p->o) ? options->size : sizeof(p->o));
	p->o.samples = p->o.samples ? p->o.samples : 100;
	p->pid = pid;
	p->directory = p->pidfd = p->pagemap = p->kpageflags = -1;
	p->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	p->random = p->o.seed;
	rc = p->o.samples > MAX_SAMPLES ? -EINVAL : open_all(p);
	if (rc == 0)
		rc = begin_epoch(p);
	if (rc) {
		pml_wss_present_close(p);
		return rc;
	}
	*out = p;
	return 0;
}

int pml_wss_present_next(struct pml_wss_present *p, struct pml_wss_present_estimate *estimate)
{
	struct pml_wss_present_estimate e = { 0 };
	int rc;

	if (estimate->size < sizeof(estimate->size))
		return -EINVAL;
	rc = end_epoch(p, &e);
	if (rc == 0)
		rc = begin_epoch(p);
	if (rc == 0 && !e.asked)
		rc = -ENODATA;
	e.size = estimate->size;
	memcpy(estimate, &e, e.size < sizeof(e) ? e.size : sizeof(e));
	return rc;
}

static void close_one(int fd)
{
	if (fd >= 0)
		close(fd);
}

void pml_wss_present_close(struct pml_wss_present *p)
{
	if (!p)
		return;
	close_one(p->directory);
	close_one(p->pidfd);
	close_one(p->pagemap);
	close_one(p->kpageflags);
	free(p->sample);
	free(p);
}
