/* SPDX-License-Identifier: MIT */
/*
 * A program that makes some of the collector's heap read-only while collections go on,
 * as one does that guards what it has finished.  What was written before that is
 * dirty all the same.  Called by oracle_bad.c.
 */
#include "common.h"
#include "oracle.h"

#include <sys/mman.h>

#define PAGE ((size_t)4096)
#define PAGES ((size_t)16)
#define STEP 64		/* words between two entries */
#define ENTRIES (PAGES * PAGE / sizeof(void *) / STEP)

struct book {
	uint64_t id;
	uint64_t check;
};

/* Large, and so in blocks of its own: nothing that libgc writes to lies there. */
static void **shelf;
static uint64_t turn;

static void **pages(void)
{
	uintptr_t p = ((uintptr_t)shelf + PAGE) & ~(uintptr_t)(PAGE - 1);

	return (void **)p;
}

/* The only pointer to each book is on the shelf. */
static void __attribute__((noinline)) fill(uint64_t first)
{
	for (size_t i = 0; i < ENTRIES; i++) {
		struct book *b = boehm_alloc(sizeof(*b));

		b->id = first + i;
		b->check = boehm_mix(first + i);
		pages()[i * STEP] = b;
	}
}

static unsigned long missing(uint64_t first)
{
	unsigned long lost = 0;

	for (size_t i = 0; i < ENTRIES; i++) {
		const struct book *b = pages()[i * STEP];

		lost += b->id != first + i || b->check != boehm_mix(first + i);
	}
	return lost;
}

static unsigned long guarded(uint64_t first)
{
	fill(first);
	if (mprotect(pages(), PAGES * PAGE, PROT_READ))
		boehm_fail("read-only heap", "mprotect is refused");
	bad_collect();
	if (mprotect(pages(), PAGES * PAGE, PROT_READ | PROT_WRITE))
		boehm_fail("read-only heap", "mprotect is refused");
	return missing(first);
}

unsigned long bad_read_only(void)
{
	unsigned long lost;

	if (!shelf) {
		shelf = boehm_alloc((PAGES + 2) * PAGE);
		/* from here on it is old */
		GC_gcollect();
	}
	lost = guarded(turn++ * ENTRIES);
	/* and what is written when it may be written again */
	fill(turn++ * ENTRIES);
	bad_collect();
	return lost + missing((turn - 1) * ENTRIES);
}
