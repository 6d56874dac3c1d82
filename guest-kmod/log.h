/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the PML device has logged of each tracked memory.  A memory that is
 * watched by a mode of the device has one log, shared by all its watches, and
 * one context of the device.  By PML_MODE_SPML what is logged are frames, which become
 * pages when their epoch has ended: spml.c.
 *
 * Locks, inside mm->lock of track.h, outermost first:
 *   pml_device_lock  commands; contexts come and go
 *   pml_take_lock    rings; which log a context is
 *   log->lock        what was taken from the rings, of one memory
 */
#ifndef PML_LOG_H
#define PML_LOG_H

#include <linux/bitops.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/xarray.h>
#include "pageset.h"
#include "pml_uapi.h"

struct pml_counters;
struct pml_device;
struct pml_mm;

/* How a memory is watched by the device; there is one way at a time. */
struct pml_log_way {
	u32 mode;		/* PML_MODE_* */
	bool trigger_ept;
};

/* Pages (or frames) of one chunk that were logged. */
struct pml_logged {
	DECLARE_BITMAP(dirty, PML_CHUNK_PAGES);
	DECLARE_BITMAP(referenced, PML_CHUNK_PAGES);
	unsigned long words;		/* a bit for each word in which there may be some */
	struct list_head live;		/* in the set's, unless it is empty */
	unsigned long index;
};

/* The bits of any kind that are in word i. */
static inline unsigned long pml_logged_word(const struct pml_logged *p, unsigned int i)
{
	return p->dirty[i] | p->referenced[i];
}

/* Each word that may have bits: mostly one or two of eight, where writes are spread. */
#define pml_for_each_word(i, p) for_each_set_bit(i, &(p)->words, BITS_TO_LONGS(PML_CHUNK_PAGES))

/*
 * Chunks by their index.  One that has been emptied stays until a harvest passes it
 * once more: the pages of the next epochs are mostly in the same chunks.
 */
struct pml_logged_set {
	struct xarray chunks;		/* struct pml_logged */
	struct list_head live;
	unsigned long nlive;
	unsigned long n;
	struct pml_logged *last;	/* the live one that was asked for last; or NULL */
	struct xa_state at;		/* its place */
};

struct pml_log {
	struct hlist_node in_running;	/* sched.c's */
	unsigned long root;		/* likewise: its tables, as CR3 has them */
	struct list_head in_all;	/* under pml_device_lock */
	struct mm_struct *mm;		/* held by the notifier, and its tables with it */
	struct pml_log_way way;
	u32 events;			/* PML_EV_* that the context has */
	u32 context;
	unsigned int users;		/* watches; under mm->lock */
	u64 drains;			/* under mm->lock */
	bool gone;			/* the device is; under pml_device_lock */
	struct pml_logged_set set[3];	/* which take turns as frames, told and fresh */
	/* Under mm->lock: of epochs that have ended, */
	struct pml_logged_set *frames;	/* SPML: to be mapped back */
	struct pml_logged_set *told;	/* to be harvested */
	struct mutex lock;		/* what follows */
	struct pml_logged_set *fresh;	/* of the epoch that runs */
	u64 taken;			/* entries, ever */
	bool lost;			/* more happened than is there */
	struct rcu_head rcu;
};

/*
 * Joins the log of a memory, or makes it; *log is NULL if there is none yet.
 * 0; -EBUSY it is logged in another way; -ENODEV; -ENOSPC; -ENOMEM; -EOPNOTSUPP.
 */
int pml_log_join(struct pml_log **log, struct mm_struct *mm, struct pml_log_way way, u32 events);
void pml_log_leave(struct pml_log **log);

/*
 * Ends an epoch: what happened until now is there to be harvested, and will be
 * logged anew.  *lost: not all of it is there.  Adds to *rearmed how many states
 * were cleared.  0, or -ENODEV: the device is gone.
 */
int pml_log_drain(struct pml_log *log, u32 events, bool *lost, u64 *rearmed);

/* Takes what is there of these pages of a chunk, of these events, and adds it to both. */
void pml_log_harvest(struct pml_log *log, unsigned long index, const unsigned long *mask,
		     u32 events, unsigned long *dirty, unsigned long *referenced);
/* The first chunk at or after index, at most last, of which something is there. */
unsigned long pml_log_next(struct pml_log *log, unsigned long index, unsigned long last);
/* Nothing is mapped there any more. */
void pml_log_forget(struct pml_log *log, unsigned long start, unsigned long end);
u64 pml_log_taken(struct pml_log *log);

/*
 * The next chunk of those that are told, at most last, of which something is there; at
 * is a state over told's chunks.  The caller, who holds mm->lock and rcu_read_lock, may
 * clear bits of it, and says so by pml_logged_settle().
 */
struct pml_logged *pml_log_walk(struct pml_log *log, struct xa_state *at, unsigned long last);
void pml_logged_settle(struct pml_logged_set *set, struct pml_logged *p);
/* The same, of one that is known to be empty. */
void pml_logged_quieten(struct pml_logged_set *set, struct pml_logged *p);
/*
 * Finds or makes one, which is about to get bits; under the set's lock.  NULL: no
 * memory, or too many.
 */
struct pml_logged *pml_logged_make(struct pml_log *log, struct pml_logged_set *set,
				   unsigned long index);
/* Empties it; under its lock.  The latter keeps its chunks for the next epoch. */
void pml_logged_drop(struct pml_logged_set *set);
void pml_logged_clear(struct pml_logged_set *set);

/*
 * spml.c: finds the pages of the frames of epochs that have ended.  False: not all
 * could be; then anything may have been written.
 */
bool pml_spml_resolve(struct pml_mm *pm, struct pml_counters *counters);

/* From device.c: takes what is in the rings; under pml_take_lock. */
void pml_log_take_rings(struct pml_device *d);
/* From device.c: the device is going; under pml_device_lock. */
void pml_log_abandon(struct pml_device *d);

#endif
