/* SPDX-License-Identifier: MIT */
/*
 * moves.c - small mappings side by side are moved over each other, dropped and made
 * anew at random, so that the kernel joins and splits them all the time, and written
 * to: each page whose content is another one than at the last collect is reported, by
 * every back-end that works here.  No content comes twice; one process.
 *
 *   moves [ROUNDS [SEED]]
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"
#include "told.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096ul
#define SLOTS 12u
#define LENGTH 4ul		/* pages of a slot */
#define SIZE (LENGTH * PAGE)

struct room {
	char *mem;
	bool mapped[SLOTS];
	uint64_t last;			/* the number that was written last */
	uint64_t was[SLOTS * LENGTH];	/* what the pages began with at the last collect */
	uint64_t random;
	bool failed;
};

static char *slot(const struct room *r, unsigned int i)
{
	return r->mem + i * SIZE;
}

static unsigned int below(struct room *r, unsigned int n)
{
	r->random = r->random * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned int)(r->random >> 33) % n;
}

static void map_slot(struct room *r, unsigned int i, bool usable)
{
	void *at = mmap(slot(r, i), SIZE, usable ? PROT_READ | PROT_WRITE : PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	r->failed |= at == MAP_FAILED;
	r->mapped[i] = usable;
}

static void write_page(struct room *r, unsigned int i, unsigned int page)
{
	*(uint64_t *)(slot(r, i) + page * PAGE) = ++r->last;
}

/* What is mapped for nobody has no content, as what nobody has written to. */
static uint64_t content(const struct room *r, size_t page)
{
	return r->mapped[page / LENGTH] ? *(uint64_t *)(r->mem + page * PAGE) : 0;
}

/* What was at its new place is gone; its old place stays, as nothing: otherwise
 * somebody else's memory might be put there. */
static void move_slot(struct room *r, unsigned int from, unsigned int to)
{
	if (from == to)
		return;
	if (mremap(slot(r, from), SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, slot(r, to)) ==
	    MAP_FAILED) {
		tap_note("mremap: %s", strerror(errno));
		r->failed = true;
		return;
	}
	r->mapped[to] = true;
	map_slot(r, from, false);
}

static void do_something(struct room *r)
{
	unsigned int i = below(r, SLOTS), what = below(r, 20);

	if (!r->mapped[i]) {
		if (what >= 16)
			map_slot(r, i, true);
	} else if (what < 8) {
		write_page(r, i, below(r, LENGTH));
	} else if (what < 16) {
		move_slot(r, i, below(r, SLOTS));
	} else if (what == 16) {
		map_slot(r, i, false);
	}
}

static unsigned int missed(struct room *r, const struct pml_result *result)
{
	unsigned int n = 0;

	for (size_t i = 0; i < SLOTS * LENGTH; i++) {
		uint64_t now = content(r, i);

		n += r->mapped[i / LENGTH] && now != r->was[i] &&
		     !is_told(result, r->mem + i * PAGE);
		r->was[i] = now;
	}
	return n;
}

static bool make_room(struct room *r, uint64_t seed)
{
	*r = (struct room){ .random = seed };
	r->mem = mmap(NULL, SLOTS * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->mem == MAP_FAILED)
		return false;
	for (unsigned int i = 0; i < SLOTS; i++) {
		map_slot(r, i, i % 3);
		for (unsigned int page = 0; r->mapped[i] && page < LENGTH; page++)
			write_page(r, i, page);
	}
	for (size_t i = 0; i < SLOTS * LENGTH; i++)
		r->was[i] = content(r, i);
	return !r->failed;
}

static void run(const char *backend, struct pml *t, struct room *r, int rounds)
{
	const struct pml_result *result;
	int err = pml_start(t);
	unsigned int n = 0, lost = 0;
	int i;

	for (i = -2; i < rounds && !err && !r->failed; i++) {
		for (unsigned int k = i < 0 ? 0 : below(r, 6); k; k--)
			do_something(r);
		err = pml_collect(t, NULL, &result);
		if (!err) {
			lost += !!(result->flags & PML_RESULT_LOST);
			n += missed(r, result);
		}
	}
	if (err)
		tap_note("%d, %s", err, pml_message(t));
	tap_note("%s: track was lost in %u of %d epochs", backend, lost, i);
	tap_ok(i == rounds && n == 0, "%s: %d rounds, %u pages missed", backend, i, n);
}

static void one(const char *backend, int rounds, uint64_t seed)
{
	char words[512] = "";
	struct room r;
	struct pml_span watch;
	struct pml_options o = {
		.size = sizeof(o), .backend = backend, .watch = &watch, .nwatch = 1,
		.message = words, .message_size = sizeof(words),
	};
	struct pml *t;

	if (!make_room(&r, seed)) {
		tap_ok(0, "%s: room to move in", backend);
		return;
	}
	watch = (struct pml_span){ .start = (uintptr_t)r.mem,
				   .end = (uintptr_t)r.mem + SLOTS * SIZE };
	if (pml_open(&t, &o))
		tap_skip(words, "%s: moves", backend);
	else
		run(backend, t, &r, rounds);
	pml_close(t);
	munmap(r.mem, SLOTS * SIZE);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 3000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	tap_note("seed %lu", (unsigned long)seed);
	for (int i = 0; i < n && i < 32; i++) {
		if (!info[i].available || !(info[i].events & PML_DIRTY))
			continue;
		/* docs/coverage.md */
		if (!strcmp(info[i].name, "mprotect"))
			tap_skip("protected memory moved onto protected memory is not seen",
				 "%s: moves", info[i].name);
		else
			one(info[i].name, rounds, seed);
	}
	return tap_done();
}
