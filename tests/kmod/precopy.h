/* SPDX-License-Identifier: MIT */
/*
 * precopy.h - a pre-copy of a process that does everything to its memory which a
 * kernel knows of, while the kernel does the rest.
 *
 *   precopy_target.c  the process: two writers, and one that maps, drops, moves,
 *                     forks, swaps out
 *   surroundings.c    what the kernel does meanwhile: compaction, migration, KSM,
 *                     and the counters that tell whether it has really happened
 *   precopy.c         the tracker, its copy, and the comparison
 */
#ifndef PML_TESTS_KMOD_PRECOPY_H
#define PML_TESTS_KMOD_PRECOPY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WRITERS 2
#define STORERS (WRITERS + 1)	/* the third stores too, while its children live */
#define SLOTS 16	/* words of a page that each of them has for itself */

/* The parts of the region, in order of address. */
enum part {
	PART_KEPT,	/* never dropped: what was written last is still there */
	PART_HUGE,	/* kept, in huge pages where the kernel has them */
	PART_DROPPED,	/* MADV_DONTNEED, MADV_FREE */
	PART_MERGED,	/* pages alike, for KSM */
	PART_MOVED,	/* one half is mapped, the other not; mremap, munmap */
	PARTS
};

/* What the third thread of the target does. */
enum deed {
	DEED_PAGEOUT,
	DEED_DONTNEED,
	DEED_FREE,
	DEED_FREE_AND_PAGEOUT,
	DEED_COLLAPSE,
	DEED_FORK,
	DEED_MERGE,
	DEED_MOVE,
	DEED_REMAP,
	DEED_PROTECT,
	DEEDS
};

struct layout {
	unsigned char *base;
	size_t page;
	size_t pages;
	size_t from[PARTS + 1];	/* first page of each part; the end of the last */
};

/* Between the tracker and the target; shared memory, not part of the region. */
struct control {
	atomic_bool ready;		/* the region is mapped as it will be */
	atomic_bool halt;		/* the tracker asks all three to stand still */
	atomic_uint parked;		/* so many do */
	atomic_ulong deeds[DEEDS];
	atomic_ulong failed[DEEDS];	/* the kernel would not */
	atomic_ulong stores;
	/* What each stored last: [page of the kept parts][storer][slot]. */
	_Atomic uint64_t last[];
};

static inline _Atomic uint64_t *last_of(struct control *c, size_t page, unsigned int storer,
					size_t slot)
{
	return &c->last[(page * STORERS + storer) * SLOTS + slot];
}

/* Scattered, so that no two are in one word and a page's end is written too. */
static inline size_t word_of(unsigned int storer, size_t slot)
{
	return slot * 32 + 31 - storer;
}

static inline bool is_kept(const struct layout *l, size_t page)
{
	return page < l->from[PART_DROPPED];
}

const char *deed_name(enum deed deed);
/* Maps the region and sets its parts; 0 or -errno. */
int target_layout(struct layout *l, size_t pages);
struct control *control_map(const struct layout *l);
/* The life of the target; it ends with its parent. */
_Noreturn void target_run(const struct layout *l, struct control *c, uint64_t seed);
uint64_t precopy_random(uint64_t *state);

/* What the kernel counts, of what has to have happened. */
struct happened {
	uint64_t swapped_out;
	uint64_t swapped_in;
	uint64_t huge_made;
	uint64_t huge_split;
	uint64_t migrated;
	uint64_t merged;	/* pages that share a KSM page now */
	bool can_swap, can_huge, can_migrate, can_merge;
};

void happened_read(struct happened *h);
/* A process that compacts memory and moves the target's pages between nodes. */
pid_t mover_start(pid_t target, const struct layout *l);

#endif
