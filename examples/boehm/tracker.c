/* SPDX-License-Identifier: MIT */
/*
 * A dirty provider over libpml; see tracker.h.
 *
 * What makes it sound:
 * - Only the heap is watched.  A part that is new to libpml comes back from the
 *   collect that arms it as dirty, so that nobody here has to remember parts.
 * - Whatever the result does not vouch for (LOST, UNCOVERED) is dirty, but for
 *   those reasons that do not concern a collector whose world stands still.
 * - The tracker's descriptors are looked at before every collect: a program may
 *   close all there are.  And a canary, a page that is written before every
 *   collect, has to be in the result.  If either fails, everything is dirty, and
 *   tracking begins anew.
 * - A forked child has lost the tracking; process.c tells it from its parent.
 */
#define _GNU_SOURCE
#include "tracker.h"
#include "descriptors.h"
#include "process.h"

#include <errno.h>
#include <pml.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A program that keeps on taking our descriptors away is not fought with. */
#define MAX_RESTARTS 64
/* Nor is what cannot be had asked for at every stop for ever. */
#define SOME_STOPS 16

static struct {
	struct pml *pml;
	struct pml_gc_process owner;
	bool broken;
	bool closed;
	uint64_t restarts;
	unsigned int lost;	/* how often by this process, which has not forked */
	unsigned int failed;	/* stops since in which none could be opened */
	uint64_t pages;
	uint64_t doubted;
	int doubt;		/* enum pml_reason */
	volatile unsigned char *canary;
	uint64_t page;
	struct pml_gc_descriptors descriptors;
} tracker;

static bool map_canary(void)
{
	void *p;

	if (tracker.canary)
		return true;
	tracker.page = (uint64_t)sysconf(_SC_PAGESIZE);
	p = mmap(NULL, tracker.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return false;
	tracker.canary = p;
	return true;
}

/* The oracle has lost no object on these, best first; mprotect is what libgc does by
 * itself, and the others see no writes. */
static const char *const verified[] = { "ptscan", "epml", "spml", "wp-async", "soft-dirty",
					"uffd-sync", "hash" };
#define NVERIFIED (sizeof(verified) / sizeof(verified[0]))

static int open_tracker(struct pml_options *options)
{
	const char *asked = secure_getenv("PML_BACKEND");
	int err = -ENOTSUP;

	for (size_t i = 0; i < NVERIFIED && err; i++) {
		if (asked && *asked && strcmp(asked, verified[i]) != 0)
			continue;
		options->backend = verified[i];
		err = pml_open(&tracker.pml, options);
		if (asked && *asked)
			return err;
	}
	if (asked && *asked)
		snprintf(options->message, options->message_size,
			 "pml: libpml-gc: back-end %s: it has not been shown to lose no object; use ptscan, epml, spml, wp-async, soft-dirty, uffd-sync or hash",
			 asked);
	return err;
}

/* libpml knows a forked child by its process id. */
static bool child_passes_for_parent(void)
{
	return tracker.owner.pid == getpid() && !pml_gc_process_is(&tracker.owner);
}

static void drop(void)
{
	/* Closing what is no longer ours would hit the program's own files, and in a child
	 * that libpml takes for the parent end the parent's tracking. */
	if (tracker.pml && !tracker.descriptors.unknown && !child_passes_for_parent() &&
	    pml_gc_descriptors_same(&tracker.descriptors))
		pml_close(tracker.pml);
	else if (tracker.pml)
		pml_gc_descriptors_let_go(&tracker.descriptors);
	tracker.descriptors.n = 0;
	tracker.pml = NULL;
}

static int begin(char *words, size_t size)
{
	struct pml_options options = { .size = sizeof(options), .flags = PML_ADAPTIVE };
	static struct pml_gc_open before;	/* large; the caller holds libgc's lock */
	struct pml_span watch;
	int err;

	if (!map_canary()) {
		snprintf(words, size, "pml: libpml-gc: out of memory; raise the limit");
		return -ENOMEM;
	}
	/* until the heap's parts are named, only this is watched */
	watch.start = (uintptr_t)tracker.canary;
	watch.end = watch.start + tracker.page;
	options.watch = &watch;
	options.nwatch = 1;
	options.message = words;
	options.message_size = size;
	pml_gc_descriptors_now(&before);
	err = open_tracker(&options);
	if (!err) {
		err = pml_start(tracker.pml);
		if (err) {
			snprintf(words, size, "%s", pml_message(tracker.pml));
			pml_close(tracker.pml);
			tracker.pml = NULL;
		}
	}
	if (err)
		return err;
	pml_gc_descriptors_since(&tracker.descriptors, &before);
	tracker.owner = pml_gc_process_now();
	tracker.broken = false;
	return 0;
}

/* A child that never collects would hold the parent's userfaultfd: were the parent's
 * closed, nobody could have the memory, nor let those go on who write to it. */
static void forked(void)
{
	int saved = errno;

	pml_gc_descriptors_forked(&tracker.descriptors);
	errno = saved;
}

int pml_gc_tracker_open(char *words, size_t size)
{
	static bool told;

	/* without it forked children are as they would be */
	if (!told)
		told = pthread_atfork(NULL, NULL, forked) == 0;
	tracker.closed = false;
	return begin(words, size);
}

void pml_gc_tracker_close(void)
{
	tracker.closed = true;
	drop();
}

static bool usable(void)
{
	return tracker.pml && !tracker.broken && pml_gc_process_is(&tracker.owner);
}

/* Descriptors or memory that are short now may not be so later. */
static bool is_time_to_try(void)
{
	return tracker.failed < MAX_RESTARTS || tracker.failed % SOME_STOPS == 0;
}

/* Before the world is stopped: what was lost is opened anew here, where malloc
 * and locks are still allowed. */
static void GC_CALLBACK prepare(void *client_data)
{
	int saved = errno;
	char words[256];

	(void)client_data;
	if (tracker.closed || usable())
		return;
	if (!pml_gc_process_is(&tracker.owner))
		tracker.lost = 0;
	if (tracker.lost >= MAX_RESTARTS)
		return;
	drop();
	/* not now: all is dirty until it works */
	if (!is_time_to_try() || begin(words, sizeof(words))) {
		tracker.failed++;
	} else {
		tracker.failed = 0;
		tracker.lost++;
		tracker.restarts++;
	}
	errno = saved;
}

/* Reasons that leave pages clean for a collector.  Nothing runs between a
 * collect's two steps while the world is stopped (RACE); a page that holds what
 * it held at the last stop has no pointer that was not followed then
 * (CLEAN_BY_HASH); nor has one that was dropped and so holds nothing (DROPS).  What
 * another process writes through the kernel (REMOTE) holds no pointer into this
 * heap; libgc's own ways do not see it either. */
static bool is_harmless(const struct pml_range *u)
{
	return u->reason == PML_REASON_RACE || u->reason == PML_REASON_CLEAN_BY_HASH ||
	       u->reason == PML_REASON_DROPS || u->reason == PML_REASON_REMOTE;
}

struct answer {
	const struct GC_dirty_range_s *parts;
	size_t nparts;
	GC_dirty_found_proc found;
	void *closure;
	bool canary;
	bool lost;
	int doubt;		/* enum pml_reason: told dirty for it */
};

static void tell(const struct answer *a, uint64_t start, uint64_t end)
{
	struct GC_dirty_range_s r = { (void *)(uintptr_t)start, (void *)(uintptr_t)end };

#ifdef PML_TEST_HOOKS
	const char *how = getenv("PML_GC_TEST_BREAK");

	if (how && strcmp(how, "withhold") == 0)
		return;
#endif
	a->found(a->closure, r);
	tracker.pages += (end - start) / tracker.page;
}

/* The parts of the heap that lie in [start, end); whether there are any. */
static bool tell_parts(const struct answer *a, uint64_t start, uint64_t end)
{
	bool any = false;

	for (size_t i = 0; i < a->nparts; i++) {
		uint64_t s = (uintptr_t)a->parts[i].start, e = (uintptr_t)a->parts[i].end;

		s = s > start ? s : start;
		e = e < end ? e : end;
		if (s >= e)
			continue;
		tell(a, s, e);
		any = true;
	}
	return any;
}

static void tell_result(struct answer *a, const struct pml_result *r)
{
	uint64_t canary = (uintptr_t)tracker.canary;

	for (size_t i = 0; i < r->nranges; i++) {
		if (!(r->ranges[i].events & PML_DIRTY))
			continue;
		if (r->ranges[i].start <= canary && canary < r->ranges[i].end)
			a->canary = true;
		tell_parts(a, r->ranges[i].start, r->ranges[i].end);
	}
	for (size_t i = 0; i < r->nuncovered; i++)
		if (!is_harmless(r->uncovered + i) &&
		    tell_parts(a, r->uncovered[i].start, r->uncovered[i].end))
			a->doubt = r->uncovered[i].reason;
	if (r->flags & (PML_RESULT_LOST | PML_RESULT_UNCOVERED_CUT))
		a->lost = true;
}

static int collect(struct answer *a)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	const struct pml_result *r;
	int err;

	do {
		err = pml_collect(tracker.pml, &args, &r);
		if (err)
			return err;
		tell_result(a, r);
		args.start = r->resume;
		args.from_pid = r->resume_pid;
	} while (r->flags & PML_RESULT_MORE);
	return 0;
}

static int read_parts(struct answer *a)
{
	int err = 0;

	if (!usable())
		return -ENODATA;
	if (!pml_gc_descriptors_same(&tracker.descriptors)) {
		tracker.broken = true;
		return -EBADF;
	}
	for (size_t i = 0; i < a->nparts && !err; i++)
		err = pml_watch(tracker.pml, (uintptr_t)a->parts[i].start,
				(uintptr_t)a->parts[i].end);
	if (err)
		return err;
	++*tracker.canary;
	err = collect(a);
	if (err) {
		tracker.broken = err != -EBUSY;
		return err;
	}
	if (!a->canary) {
		tracker.broken = true;
		return -ESTALE;
	}
	if (a->doubt) {
		tracker.doubted++;
		tracker.doubt = a->doubt;
	}
	return a->lost ? -EOVERFLOW : 0;
}

static int GC_CALLBACK read_dirty(void *client_data, const struct GC_dirty_range_s *parts,
				  size_t nparts, GC_dirty_found_proc found, void *closure)
{
	struct answer a = { .parts = parts, .nparts = nparts, .found = found, .closure = closure };
	int saved = errno, err = read_parts(&a);

	(void)client_data;
	errno = saved;
	return err;
}

const struct GC_dirty_provider_s pml_gc_provider = {
	.size = sizeof(struct GC_dirty_provider_s),
	.prepare = prepare,
	.read = read_dirty,
};

const char *pml_gc_tracker_backend(void)
{
	return tracker.pml ? pml_backend_name(tracker.pml) : "";
}

uint64_t pml_gc_tracker_restarts(void)
{
	return tracker.restarts;
}

bool pml_gc_tracker_goes_on(void)
{
	return !tracker.closed && (usable() || tracker.lost < MAX_RESTARTS ||
				   !pml_gc_process_is(&tracker.owner));
}

uint64_t pml_gc_tracker_doubted(const char **why)
{
	*why = tracker.doubt ? pml_reason_name(tracker.doubt) : "";
	return tracker.doubted;
}

uint64_t pml_gc_tracker_pages(void)
{
	return tracker.pages;
}
