/* SPDX-License-Identifier: MIT */
/*
 * The only sound way to tell an unmodified libgc what is dirty: at
 * GC_EVENT_MARK_START, where the world is stopped and libgc is about to read
 * its dirty bits, GC_end_stubborn_change() for every block that was written.
 * Every collection passes there, partial or full, abandoned or not.
 *
 * Another hook may be set after ours that does not call it.  So the roots'
 * callback is ours too: it is called later in the same stop, and when the event
 * did not come, what is dirty is pushed there as roots, together with all that
 * it holds.  That keeps more alive than need be, and loses nothing.
 *
 * Called by libgc with its lock held, by one thread at a time.
 */
#define _GNU_SOURCE
#include "hook.h"
#include "heap.h"
#include "tracker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
/* More blocks than any libgc's table of dirty blocks has entries: that many in a
 * row set them all, wherever the heap is. */
#define TABLE (1u << 22)

static struct {
	GC_on_collection_event_proc next_event;
	GC_push_other_roots_proc next_roots;
	bool installed;
	bool feed;
	void (*before_first)(void);
	bool fed;		/* since roots were pushed last */
	GC_word seen;		/* collections that had ended when events came last */
	uint64_t stopped_at;
	uint64_t marking_at;
	uint64_t collect_here;	/* within this marking */
	struct pml_gc_stats stats;
} hook;

uint64_t pml_gc_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void add_time(struct pml_gc_times *t, uint64_t ns, bool first)
{
	t->total_ns += ns;
	if (ns > t->max_ns)
		t->max_ns = ns;
	if (first)
		t->first_ns = ns;
}

void pml_gc_hook_collected(uint64_t began_ns, bool all_dirty, uint64_t heap_bytes)
{
	uint64_t ns = pml_gc_now() - began_ns;

	add_time(&hook.stats.collect, ns, hook.stats.collect.total_ns == 0);
	hook.collect_here += ns;
	hook.stats.all_dirty += all_dirty;
	hook.stats.heap_bytes = heap_bytes;
}

static void GC_CALLBACK mark_dirty(void *closure, struct GC_dirty_range_s r)
{
	(void)closure;
	for (char *p = r.start; p < (char *)r.end; p += BLOCK)
		GC_end_stubborn_change(p);
}

static void GC_CALLBACK push_dirty(void *closure, struct GC_dirty_range_s r)
{
	(void)closure;
	GC_push_all_eager(r.start, r.end);
}

static uint64_t bytes_of(const struct GC_dirty_range_s *parts, size_t n)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++)
		bytes += (uint64_t)((char *)parts[i].end - (char *)parts[i].start);
	return bytes;
}

/* Without knowing where the heap is. */
static void mark_everything(void)
{
	char *p = (char *)((uintptr_t)GC_least_plausible_heap_addr & ~(uintptr_t)(BLOCK - 1));
	uintptr_t span = (uintptr_t)GC_greatest_plausible_heap_addr - (uintptr_t)p;
	size_t n = span / BLOCK < TABLE ? span / BLOCK + 1 : TABLE;

	for (size_t i = 0; i < n; i++)
		GC_end_stubborn_change(p + i * BLOCK);
}

static void tell_libgc(void)
{
	uint64_t began = pml_gc_now();
	const struct GC_dirty_range_s *parts;
	size_t n;
	bool known = pml_gc_heap_find(&parts, &n) == 0 &&
		     pml_gc_provider.read(NULL, parts, n, mark_dirty, NULL) == 0;

	if (!known)
		mark_everything();
	pml_gc_hook_collected(began, !known, bytes_of(parts, n));
}

/* There is no sound way on. */
static _Noreturn void refuse(const char *words)
{
	ssize_t ignored = write(STDERR_FILENO, words, strlen(words));

	(void)ignored;
	abort();
}

/* The event did not come: see the top. */
static void push_instead(void)
{
	uint64_t began = pml_gc_now();
	const struct GC_dirty_range_s *parts;
	size_t n;
	bool known;

	if (pml_gc_heap_find(&parts, &n))
		refuse("pml: libpml-gc: the event hook was replaced and /proc/self/maps cannot be read; have the new hook call the old one\n");
	known = pml_gc_provider.read(NULL, parts, n, push_dirty, NULL) == 0;
	for (size_t i = 0; i < n && !known; i++)
		GC_push_all_eager(parts[i].start, parts[i].end);
	pml_gc_hook_collected(began, !known, bytes_of(parts, n));
}

/*
 * Where marking overflows its stack, libgc pushes the roots a second time in one stop.
 * A stop whose beginning was seen has had its event.  After a stop that was abandoned
 * libgc marks on while the world runs, and there the second time looks as if the event
 * had not come: then more is pushed than need be.
 */
static void GC_CALLBACK on_roots(void)
{
	int saved = errno;

	if (hook.feed && !hook.fed && !hook.stopped_at)
		push_instead();
	hook.fed = false;
	errno = saved;
	if (hook.next_roots)
		hook.next_roots();
}

/* Collections that ended without an event: libgc counts them too. */
static uint64_t unseen(void)
{
	return hook.feed && !hook.stopped_at ? GC_get_gc_no() - hook.seen : 0;
}

static void marking_began(void)
{
	hook.collect_here = 0;
	if (hook.feed) {
		tell_libgc();
		hook.fed = true;
	}
	hook.marking_at = pml_gc_now();
	/* a patched libgc asks after this event: its collect is not marking */
	hook.collect_here = 0;
}

static void world_goes_on(void)
{
	uint64_t now = pml_gc_now();
	bool first = hook.stats.stops == 0;

	if (!hook.stopped_at)
		return;
	add_time(&hook.stats.mark, now - hook.marking_at - hook.collect_here, first);
	add_time(&hook.stats.stopped, now - hook.stopped_at, first);
	hook.stats.stops++;
	hook.stopped_at = 0;
	hook.seen = GC_get_gc_no();
}

/* It is part of an allocation, after which errno should be as before. */
static void GC_CALLBACK on_event(GC_EventType event)
{
	int saved;

	if (hook.next_event)
		hook.next_event(event);
	saved = errno;
	switch (event) {
	case GC_EVENT_PRE_STOP_WORLD:
		if (hook.before_first) {
			hook.before_first();
			hook.before_first = NULL;
		}
		if (hook.feed)
			pml_gc_provider.prepare(NULL);
		hook.stats.bypassed += unseen();
		hook.stopped_at = pml_gc_now();
		break;
	case GC_EVENT_MARK_START:
		marking_began();
		break;
	case GC_EVENT_POST_START_WORLD:
		world_goes_on();
		break;
	default:
		break;
	}
	errno = saved;
}

void pml_gc_hook_install(void (*before_first)(void))
{
	hook.before_first = before_first;
	if (hook.installed)
		return;
	hook.next_event = GC_get_on_collection_event();
	hook.next_roots = GC_get_push_other_roots();
	GC_set_on_collection_event(on_event);
	GC_set_push_other_roots(on_roots);
	hook.installed = true;
}

void pml_gc_hook_remove(void)
{
	if (!hook.installed || GC_get_on_collection_event() != on_event ||
	    GC_get_push_other_roots() != on_roots)
		return;
	GC_set_on_collection_event(hook.next_event);
	GC_set_push_other_roots(hook.next_roots);
	hook.installed = false;
}

void pml_gc_hook_feed(bool on)
{
	if (on)
		hook.seen = GC_get_gc_no();
	hook.feed = on;
}

void pml_gc_hook_stats(struct pml_gc_stats *s)
{
	*s = hook.stats;
	s->bypassed += unseen();
}
