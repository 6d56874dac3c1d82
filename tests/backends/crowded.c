/* SPDX-License-Identifier: MIT */
/*
 * crowded.c - a program that has as many mappings as it may (vm.max_map_count) is
 * watched in parts of them, which would take more: what it writes there is reported all
 * the same, and exactly as soon as there is room.  By every back-end that works here, in
 * this process and in another.
 *
 *   crowded
 *   crowded --negative BACKEND    the library is broken on purpose: a page is missed
 */
#define _GNU_SOURCE
#include "orders.h"
#include "pml.h"
#include "tap.h"
#include "told.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define PAGES 64ul
#define STEP 3ul
#define EPOCHS 3
/* Where more mappings than so many are allowed, it is not tried. */
#define MOST 200000ul
/* How many mappings some room is. */
#define ROOM 64ul
#define CROWD_PAGES (MOST + ROOM)

/* What the subject can be told to do. */
enum order { NOTHING, CROWD, MAKE_ROOM, WRITE, WRITE_ONE };

struct place {
	char *mem;
	char *crowd;	/* every other page of it is a mapping of its own */
	size_t n;	/* so many of them */
	struct subordinate who;
};

static bool make_place(struct place *p)
{
	/* nothing that it could be joined with */
	char *room = mmap(NULL, 3 * PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	p->crowd = mmap(NULL, CROWD_PAGES * PAGE, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED || p->crowd == MAP_FAILED)
		return false;
	p->mem = room + PAGES * PAGE;
	if (mprotect(p->mem, PAGES * PAGE, PROT_READ | PROT_WRITE))
		return false;
	memset(p->mem, 1, PAGES * PAGE);
	return true;
}

static void unmake_place(const struct place *p)
{
	munmap(p->crowd, CROWD_PAGES * PAGE);
	munmap(p->mem - PAGES * PAGE, 3 * PAGES * PAGE);
}

static bool crowd(struct place *p)
{
	while (2 * p->n + 1 < CROWD_PAGES) {
		if (mprotect(p->crowd + (2 * p->n + 1) * PAGE, PAGE, PROT_READ))
			return errno == ENOMEM;
		p->n++;
	}
	return false;
}

static bool make_room(struct place *p)
{
	bool ok = true;

	for (size_t i = 0; i < ROOM && p->n; i++, p->n--)
		ok &= !mprotect(p->crowd + (2 * p->n - 1) * PAGE, PAGE, PROT_NONE);
	return ok;
}

static bool obey(void *arg, int order)
{
	struct place *p = arg;

	switch (order) {
	case NOTHING:
		return true;
	case CROWD:
		return crowd(p);
	case MAKE_ROOM:
		return make_room(p);
	case WRITE:
		for (size_t i = 0; i < PAGES; i += STEP)
			p->mem[i * PAGE]++;
		return true;
	case WRITE_ONE:
		p->mem[PAGES / 2 * PAGE]++;
		return true;
	}
	return false;
}

/* Of what is watched, which are the middle two of four quarters. */
static unsigned int missed(const struct place *p, const struct pml_result *r)
{
	unsigned int n = 0;

	for (size_t i = 0; i < PAGES; i += STEP)
		n += i >= PAGES / 4 && i < 3 * PAGES / 4 && !is_told(r, p->mem + i * PAGE);
	return n;
}

/* How many pages are missed while it is crowded; -1: something failed, with words. */
static int while_crowded(struct pml *t, const struct place *p)
{
	const uint64_t at = (uintptr_t)p->mem;
	const struct pml_result *r;
	int n = 0, err;

	/* first with some room, for the tables of a tracker within this process */
	if (!tell(&p->who, CROWD) || !tell(&p->who, MAKE_ROOM))
		return -1;
	err = pml_start(t);
	if (!err)
		err = pml_collect(t, NULL, &r);
	if (!err && !tell(&p->who, CROWD))
		return -1;
	if (!err)
		err = pml_watch(t, at + PAGES / 4 * PAGE, at + 3 * PAGES / 4 * PAGE);
	for (int i = 0; !err && i < EPOCHS; i++) {
		if (!tell(&p->who, WRITE))
			return -1;
		err = pml_collect(t, NULL, &r);
		if (!err)
			n += (int)missed(p, r);
	}
	return err ? -1 : n;
}

/* Whether it is exact when there is room again. */
static bool with_room(struct pml *t, const struct place *p)
{
	const struct pml_result *r;
	int err = tell(&p->who, MAKE_ROOM) ? 0 : -1;

	for (int i = 0; !err && i < 2; i++)
		err = pml_collect(t, NULL, &r);
	if (err || !tell(&p->who, WRITE_ONE) || pml_collect(t, NULL, &r))
		return false;
	return is_told(r, p->mem + PAGES / 2 * PAGE) &&
	       !is_told(r, p->mem + (PAGES / 2 + 1) * PAGE);
}

static void one(const char *backend, bool outside, bool negative)
{
	const char *where = outside ? "outside" : "self";
	struct place p = { .who = { .obey = obey, .arg = &p, .orders = -1 } };
	struct pml_options o = { .size = sizeof(o), .backend = backend };
	char words[512] = "";
	struct pml_span watch;
	struct pml *t = NULL;
	int n;

	if (!make_place(&p) || (outside && !start_child(&p.who, NOTHING))) {
		tap_ok(0, "%s, %s: a subject", backend, where);
		return;
	}
	if (outside) {
		o.target = PML_TARGET_PID;
		o.pid = p.who.pid;
	}
	/* something to begin with: nothing, which is never written to */
	watch = (struct pml_span){ .start = (uintptr_t)p.mem - PAGES * PAGE,
				   .end = (uintptr_t)p.mem };
	o.watch = &watch;
	o.nwatch = 1;
	o.message = words;
	o.message_size = sizeof(words);
	if (pml_open(&t, &o)) {
		tap_skip(words, "%s, %s", backend, where);
	} else {
		n = while_crowded(t, &p);
		if (n < 0)
			tap_note("%s, %s: %s", strerror(errno), where, pml_message(t));
		if (negative) {
			tap_ok(n > 0, "broken on purpose, %s, %s: pages are missed", backend, where);
		} else {
			tap_ok(n == 0, "%s, %s: no room for one mapping more, %d pages missed",
			       backend, where, n);
			tap_ok(with_room(t, &p), "%s, %s: exact when there is room again",
			       backend, where);
		}
	}
	pml_close(t);
	end_child(&p.who);
	unmake_place(&p);
}

static long max_map_count(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
	long n = -1;

	if (!f || fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

int main(int argc, char **argv)
{
	const char *broken = argc == 3 && !strcmp(argv[1], "--negative") ? argv[2] : NULL;
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	if (max_map_count() < 0 || max_map_count() > (long)MOST) {
		printf("1..0 # SKIP vm.max_map_count is %ld, more than is tried\n", max_map_count());
		return TAP_SKIP_ALL;
	}
	for (int i = 0; i < n && i < 32; i++) {
		if (!info[i].available || !(info[i].events & PML_DIRTY) ||
		    (broken && strcmp(info[i].name, broken) != 0))
			continue;
		for (int outside = 0; outside <= info[i].external; outside++)
			one(info[i].name, outside, broken);
	}
	return tap_done();
}
