/* SPDX-License-Identifier: MIT */
/*
 * neighbour.c - a part of a mapping is moved away and comes back, and the kernel joins
 * it with what stayed: what is written to either from then on is reported, by every
 * back-end that works here, in this process and in another.  (What mremap moves loses
 * its userfaultfd registration, and with it all that it is joined with.)  By the tracker
 * that was there then, or by one that came after it.
 *
 *   neighbour
 *   neighbour --negative|--negative-after BACKEND    it is broken on purpose: a page
 *                                                    is missed
 */
#define _GNU_SOURCE
#include "orders.h"
#include "pml.h"
#include "tap.h"
#include "told.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define PAGES 64ul
#define PART 16ul
#define STEP 3ul
#define EPOCHS 3

/* What the subject can be told to do. */
enum order { FILL, AWAY, BACK, WRITE };

struct place {
	char *mem;
	char *part;	/* of mem: what goes away */
	char *away;	/* and to where */
	struct subordinate who;
};

static bool make_place(struct place *p, bool first)
{
	char *room = mmap(NULL, 4 * PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (room == MAP_FAILED)
		return false;
	p->mem = room + PAGES * PAGE;
	p->part = first ? p->mem : p->mem + (PAGES - PART) * PAGE;
	p->away = room + 3 * PAGES * PAGE;
	if (mmap(p->mem, PAGES * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return false;
	memset(p->mem, 1, PAGES * PAGE);
	return true;
}

static bool move(char *from, char *to)
{
	return mremap(from, PART * PAGE, PART * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

static bool obey(void *arg, int order)
{
	const struct place *p = arg;

	switch (order) {
	case FILL:
		/* each page its own, no longer the parent's */
		memset(p->mem, 1, PAGES * PAGE);
		return true;
	case AWAY:
		/* the hole stays ours: a tracker within this process may need memory */
		if (!move(p->part, p->away) ||
		    mmap(p->part, PART * PAGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != p->part)
			return false;
		memset(p->away, 2, PART * PAGE);
		return true;
	case BACK:
		return move(p->away, p->part);
	case WRITE:
		for (size_t i = 0; i < PAGES; i += STEP)
			p->mem[i * PAGE]++;
		return true;
	}
	return false;
}

/* Pages that were written, and of which nothing is told. */
static unsigned int missed(const struct place *p, const struct pml_result *r)
{
	unsigned int n = 0;

	for (size_t i = 0; i < PAGES; i += STEP)
		n += !is_told(r, p->mem + i * PAGE);
	return n;
}

/* Of all epochs; -1: something failed, with words. */
static int run(struct pml *t, struct place *p)
{
	const struct pml_result *r;
	int n = 0, err = pml_start(t);

	for (int i = 0; !err && i < 2; i++)
		err = pml_collect(t, NULL, &r);
	if (!err && !tell(&p->who, AWAY))
		tap_note("it cannot be moved away: %s", strerror(errno));
	for (int i = 0; !err && i < 2; i++)
		err = pml_collect(t, NULL, &r);
	if (!err && !tell(&p->who, BACK))
		tap_note("it cannot be moved back: %s", strerror(errno));
	for (int i = 0; !err && i < EPOCHS; i++) {
		if (!tell(&p->who, WRITE))
			return -1;
		err = pml_collect(t, NULL, &r);
		if (!err)
			n += (int)missed(p, r);
	}
	if (err)
		tap_note("%d, %s", err, pml_message(t));
	return err ? -1 : n;
}

/* The tracker ends before it has seen what came back, and another one begins. */
static int run_after(struct pml **t, const struct pml_options *o, struct place *p)
{
	const struct pml_result *r;
	int err = pml_start(*t);

	for (int i = 0; !err && i < 2; i++)
		err = pml_collect(*t, NULL, &r);
	if (err || !tell(&p->who, AWAY) || pml_collect(*t, NULL, &r) || !tell(&p->who, BACK) ||
	    !tell(&p->who, WRITE)) {
		tap_note("%d, %s", err, pml_message(*t));
		return -1;
	}
	pml_close(*t);
	*t = NULL;
	err = pml_open(t, o);
	if (!err)
		err = pml_start(*t);
	for (int i = 0; !err && i < 2; i++)
		err = pml_collect(*t, NULL, &r);
	if (err || !tell(&p->who, WRITE) || pml_collect(*t, NULL, &r)) {
		tap_note("%d, %s", err, *t ? pml_message(*t) : o->message);
		return -1;
	}
	return (int)missed(p, r);
}

static void one(const char *backend, bool outside, bool first, bool negative, bool after)
{
	struct pml_options o = { .size = sizeof(o), .backend = backend };
	const char *where = outside ? "outside" : "self", *which = first ? "first" : "last";
	struct place p = { .who = { .obey = obey, .arg = &p, .orders = -1 } };
	struct pml_span watch;
	char words[512] = "";
	struct pml *t = NULL;
	int n;

	if (!make_place(&p, first) || (outside && !start_child(&p.who, FILL))) {
		tap_ok(0, "%s, %s: a subject", backend, where);
		return;
	}
	if (outside) {
		o.target = PML_TARGET_PID;
		o.pid = p.who.pid;
	}
	/* its own memory, that of the tracker, is none of this */
	watch = (struct pml_span){ .start = (uintptr_t)p.mem - PAGES * PAGE,
				   .end = (uintptr_t)p.mem + 3 * PAGES * PAGE };
	o.watch = &watch;
	o.nwatch = 1;
	o.message = words;
	o.message_size = sizeof(words);
	n = pml_open(&t, &o);
	if (n) {
		tap_skip(words, "%s, %s, the %s part", backend, where, which);
	} else {
		n = after ? run_after(&t, &o, &p) : run(t, &p);
		if (negative)
			tap_ok(n > 0, "broken on purpose, %s, %s: pages are missed", backend, where);
		else
			tap_ok(n == 0, "%s, %s: the %s part moved away and back%s, %d pages missed",
			       backend, where, which, after ? ", a tracker after that" : "", n);
	}
	pml_close(t);
	end_child(&p.who);
	munmap(p.mem - PAGES * PAGE, 4 * PAGES * PAGE);
}

int main(int argc, char **argv)
{
	bool after = argc == 3 && !strcmp(argv[1], "--negative-after");
	bool negative = after || (argc == 3 && !strcmp(argv[1], "--negative"));
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	for (int i = 0; i < n && i < 32; i++) {
		const char *name = info[i].name;

		if (!info[i].available || !(info[i].events & PML_DIRTY) ||
		    (negative && strcmp(name, argv[2]) != 0))
			continue;
		for (int first = 0; first < (negative ? 1 : 2); first++)
			for (int outside = 0; outside <= info[i].external; outside++) {
				one(name, outside, first || negative, negative, after);
				if (!negative)
					one(name, outside, first, false, true);
			}
	}
	return tap_done();
}
