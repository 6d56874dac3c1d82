/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracking one memory (mm): what all sessions that watch it share.
 *
 *   track.c     joining and leaving; a harvest is fanned out to all watches
 *   notifier.c  the kernel takes a page's bits away: marks
 *   ptscan.c    reads and clears the bits of one page table
 *   log.c       reads what the PML device has logged instead: see log.h
 *   spml.c      ... and finds the pages, where it has logged frames
 *   collect.c   one watch's collect, from harvest to records
 *
 * Locks, outermost first:
 *   session's   one call at a time
 *   mm->lock    one harvest at a time; watches come and go; the sets
 *   mmap_lock   for reading, in a harvest
 *   page table's lock
 *   mm->marks   spin lock: marks, known pages, spans; the notifier takes only
 *               this one, and does not sleep
 */
#ifndef PML_TRACK_H
#define PML_TRACK_H

#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include "log.h"
#include "pageset.h"
#include "pml_uapi.h"

/* What is known of the pages of one chunk, for all watches. */
struct pml_chunk {
	/* had content at the last harvest */
	DECLARE_BITMAP(known, PML_CHUNK_PAGES);
	/* invalidated since */
	DECLARE_BITMAP(touched, PML_CHUNK_PAGES);
	/* made clean since, if the mapping is shared */
	DECLARE_BITMAP(cleaned, PML_CHUNK_PAGES);
	/* given another protection since: see pml_protection_spreads() */
	DECLARE_BITMAP(reprotected, PML_CHUNK_PAGES);
	/* was pinned at the last harvest */
	DECLARE_BITMAP(pinned, PML_CHUNK_PAGES);
	bool huge;		/* was a huge page at the last harvest */
};

/* Counters of a session, which its watches share. */
struct pml_counters {
	atomic64_t collects;
	atomic64_t tables;
	atomic64_t dirty_bits;
	atomic64_t accessed_bits;
	atomic64_t flushes;
	atomic64_t ipis;
	atomic64_t invalidations;
	atomic64_t splits;
	atomic64_t log_drains;
	atomic64_t log_rearmed;
	atomic64_t log_entries;
	atomic64_t log_frames;
	atomic64_t log_mapped;
	atomic64_t log_joins;
	atomic64_t log_lookups;
	atomic64_t log_map_ns;
};

/* What one harvest of one chunk has found. */
struct pml_harvest {
	DECLARE_BITMAP(dirty, PML_CHUNK_PAGES);
	DECLARE_BITMAP(accessed, PML_CHUNK_PAGES);
	/* something is there: a page, or a swapped one */
	DECLARE_BITMAP(content, PML_CHUNK_PAGES);
	DECLARE_BITMAP(pinned, PML_CHUNK_PAGES);
	/* dirty, and a part of a larger page */
	DECLARE_BITMAP(parts, PML_CHUNK_PAGES);
	bool huge;
	bool unread;		/* could not be read: anything may have happened */
	bool looked;		/* content and pinned are known */
	bool appears;		/* what was not there before is to be told */
	unsigned int ndirty;
	unsigned int naccessed;
};

struct pml_mm {
	struct mmu_notifier notifier;	/* its mm is held by it */
	struct mutex lock;		/* see above */
	spinlock_t marks;		/* see above */
	struct xarray chunks;		/* struct pml_chunk */
	unsigned long nchunks;
	struct list_head watches;	/* changed under both locks */
	unsigned int invalidating;	/* invalidations that have not ended */
	bool unmarked;			/* one of them is older than one of the watches */
	bool ended;
	bool by_frame;			/* pages are known by their frames: SPML */
	unsigned long table;		/* the one that was to stay in the split under way, or 0 */
	struct pml_harvest harvest;	/* of the one under way */
	struct pml_pages marked;	/* likewise: what every watch is told, by any mode */
	struct pml_log *log;		/* NULL: no watch is by the device */
};

/* One session's interest in one memory. */
struct pml_watch {
	struct list_head in_mm;
	struct pml_mm *mm;
	struct pml_log_way way;		/* its mode, and what belongs to it */
	u32 events;
	u32 flags;			/* PML_ADD_* */
	u64 log_taken;			/* entries of the log that it has counted */
	struct pml_set pending;
	struct pml_spans *taken;	/* of the collect under way */
	struct pml_counters *counters;
	wait_queue_head_t *wait;	/* woken when the memory ends */
};

/* track.c */
struct pml_watch *pml_watch_open(struct mm_struct *mm, const struct pml_uapi_add *add,
				 struct pml_budget *budget, struct pml_counters *counters,
				 wait_queue_head_t *wait);
void pml_watch_close(struct pml_watch *w);
/* Everything is dirty for this watch; the latter under mm->lock. */
void pml_watch_lose(struct pml_watch *w);
void pml_watch_lose_locked(struct pml_watch *w);
/*
 * Under mm->lock: ends the epoch of a mode that keeps a log; the others end it page
 * by page, in the harvest.  0, or -ENODEV: there is no log any more.
 */
int pml_watch_drain(struct pml_watch *w, u32 events);
/* After it, and with mmap_lock held: what was logged by frame becomes pages. */
void pml_watch_resolve(struct pml_watch *w);
/* Harvests [start, end) of one chunk for every watch; w's own part goes to *own. */
void pml_harvest_chunk(struct pml_watch *w, struct vm_area_struct *vma, unsigned long start,
		       unsigned long end, u32 events, bool all, struct pml_pages *own);
/*
 * The end of the calm from addr on, where what the log has is all that is to be known:
 * no marks, nothing pending, nothing to look at, nobody else who watches.  At most end;
 * addr: there is none.
 */
unsigned long pml_harvest_calm(struct pml_watch *w, struct vm_area_struct *vma,
			       unsigned long addr, unsigned long end, u32 events, bool all);
/* The next address at or after addr where a harvest may find something. */
unsigned long pml_harvest_next(struct pml_watch *w, struct vm_area_struct *vma,
			       unsigned long addr, unsigned long end, bool all);

/* notifier.c */
extern const struct mmu_notifier_ops pml_notifier_ops;
struct pml_chunk *pml_chunk_make(struct pml_mm *pm, unsigned long index, gfp_t gfp);
/* As many are kept; then what is in no mapping is retired. */
#define PML_CHUNKS_MAX (1ul << 18)
void pml_chunk_reap(struct pml_mm *pm, unsigned long index, struct pml_chunk *c);
void pml_chunks_retire(struct pml_mm *pm, unsigned long start, unsigned long end);
void pml_chunks_drop(struct pml_mm *pm);
/* No processor writes any more by what its TLB remembers. */
void pml_flush(struct pml_watch *w);
/* These are told as INVALIDATED, once; cleaned: if the mapping is shared.  Under marks. */
void pml_mark_pages(struct pml_mm *pm, unsigned long start, unsigned long end, bool cleaned);
/* The pages of one chunk that lie in [start, end). */
void pml_mask(unsigned long *mask, unsigned long start, unsigned long end);
int pml_notifier_setup(void);
void pml_notifier_teardown(void);

/* ptscan.c */
void pml_ptscan(struct pml_watch *w, struct vm_area_struct *vma, unsigned long start,
		unsigned long end, u32 events, struct pml_harvest *h);
bool pml_ptscan_is_small(struct mm_struct *mm, unsigned long addr);
unsigned long pml_ptscan_table(struct mm_struct *mm, unsigned long addr);
unsigned long pml_ptscan_next(struct mm_struct *mm, unsigned long addr, unsigned long end);
bool pml_ptscan_works(void);

/* collect.c */
/* PML_WHY_* of a mapping in which nothing is seen, or 0. */
unsigned int pml_why_uncovered(const struct vm_area_struct *vma);

struct pml_records {
	struct pml_uapi_range *at;
	u32 n;
	u32 max;
	u32 target;
	u64 pages;
	u64 max_pages;		/* U64_MAX: no bound */
	bool full;		/* no room, or no budget, for what came next */
	bool lost;		/* what was walked had been all dirty */
	bool drained;		/* the log of this collect was looked at */
};

/*
 * Collects [*start, end) into the records until they are full, the budget is
 * used up (both: out->full), or others wait for the memory; *start is set to
 * where it stopped.  With no room for records at all it forgets.  0 or -errno;
 * after an error nothing was taken.
 */
int pml_watch_collect(struct pml_watch *w, unsigned long *start, unsigned long end, u32 events,
		      u32 flags, struct pml_records *out);

/* How a test build can be broken on purpose. */
#define PML_BREAK_NO_FLUSH	1u
#define PML_BREAK_NO_NOTIFIER	2u
#define PML_BREAK_NO_FANOUT	4u
#define PML_BREAK_NO_FLUSH_LATER 8u	/* from a session's ninth collect on */
#define PML_BREAK_DROP_LOGGED	16u	/* one page of 16, from a log's ninth drain on */
#define PML_BREAK_NO_RUN	32u	/* the device is not told who runs */
#define PML_BREAK_NO_DRAIN	64u	/* logs are not drained, from the ninth on */
#define PML_BREAK_NO_BORROW	128u	/* a kernel thread that borrows is overlooked */
#define PML_BREAK_LOSE_MAPPED	2048u	/* SPML: the frames of one page of 16 are not found */
#define PML_BREAK_ONE_PLACE	256u	/* SPML: a frame is found at one address alone */
#define PML_BREAK_NO_LATE	4096u	/* marks made while page tables are read are overlooked */
#define PML_BREAK_NO_KEEP	8192u	/* marks are used up before the invalidation's end */
#define PML_BREAK_NO_MARK_FLUSH	32768u	/* no TLB flush where marks are used up */
/*
 * Nothing is broken by these: the way of the reverse mapping is prescribed; writeback
 * and reclaim take their time.
 */
#define PML_HOOK_JOIN		512u
#define PML_HOOK_LOOKUP		1024u
#define PML_HOOK_LINGER		16384u
#ifdef PML_TEST_HOOKS
extern unsigned int pml_test_break;
#define pml_has_test_hooks() true
#define pml_broken(how) (pml_test_break & (how))
#else
#define pml_has_test_hooks() false
#define pml_broken(how) (false && (how))
#endif

#endif
