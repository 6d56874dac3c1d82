/* SPDX-License-Identifier: MIT */
/*
 * What a back-end is to the tracker: one struct of functions.  Back-ends see
 * only this file, the page set and the maps; the tracker knows them only
 * through struct pml_backend.
 *
 * One collect of one process runs
 *
 *	drain(range)   what happened goes to the sink, sorted by address
 *	rearm(range)   unless drain has done it page by page (ATOMIC_REARM)
 *
 * and when it has returned, every write that comes later will be seen by the
 * next one.  A back-end whose two steps leave a gap in between closes it
 * itself: by stopping the target in begin() and letting it run in end(), or by
 * draining once more in rearm().
 */
#ifndef PML_BACKEND_H
#define PML_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include "maps.h"
#include "pageset.h"
#include "pml.h"
#include "waits.h"

struct pml_proc;
struct pml_sink;

/* Capabilities. */
#define PML_CAP_SELF		1u	/* can track the calling process */
#define PML_CAP_EXTERNAL	2u	/* can track another one */
#define PML_CAP_ATOMIC_REARM	4u	/* drain re-arms what it reports, page by page */
#define PML_CAP_MAPS		8u	/* wants proc->pieces fresh at every collect */
#define PML_CAP_PARTIAL		16u	/* can stop a drain at any page, and go on there */
#define PML_CAP_BY_NAME		32u	/* is used only when asked for by name */
#define PML_CAP_STOPS		64u	/* stops the target around a collect */
#define PML_CAP_FIRST_TOUCH	128u	/* reports pages first read as written */
#define PML_CAP_PROTECTS	256u	/* takes the right to write away: from ranges that
					 * are named only */

struct pml_backend {
	const char *name;	/* as users type it */
	const char *source;	/* what it reads, in a few words */
	uint32_t events;	/* what it can give */
	uint32_t caps;
	uint64_t granularity;	/* bytes; 0: a mapping; 1: the page size */
	const char *self_only;	/* without EXTERNAL: why not, in words */

	/* Tries it for real on a scratch mapping of the calling process.
	 * 0, or -ENOTSUP with the reason in why. */
	int (*probe)(char *why, size_t size);

	/* Makes what is needed in and for the process; arms nothing yet.
	 * 0 or -errno, with words by pml_proc_fail(). */
	int (*attach)(struct pml_proc *p);
	/* Undoes attach and arming, as far as the process still exists. */
	void (*detach)(struct pml_proc *p);

	/* Brackets around the drains of one collect; may be NULL. */
	int (*begin)(struct pml_proc *p);
	void (*end)(struct pml_proc *p);

	/*
	 * Reports what happened in [start, end) to the sink, in order.  With a
	 * NULL sink, arms the range and forgets what happened before.  Sets
	 * *walk_end to where it stopped: end, or earlier because the sink had
	 * no room; nothing from there on has been re-armed.
	 * 0, -ESRCH the memory is gone (exit or exec), or another -errno.
	 */
	int (*drain)(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
		     struct pml_sink *sink, uint64_t *walk_end);
	/* Re-arms [start, end) for events; NULL with ATOMIC_REARM. */
	int (*rearm)(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events);

	/* Counts dirty pages of these areas, at most max, without re-arming, by
	 * a descriptor of /proc/PID/pagemap; another thread may be collecting
	 * meanwhile.  NULL: cannot. */
	int (*count)(int pagemap, const struct pml_area *areas, size_t n, uint64_t max,
		     uint64_t *pages);
};

/* For attach: the descriptor without which the kernel tracks nothing.  When it is another
 * file one day, the process was restored from a checkpoint, or has closed it: then nothing
 * is asked of it, or written to it, any more.  Whether that has happened: */
void pml_proc_tracked_by(struct pml_proc *p, int fd);
bool pml_proc_restored(const struct pml_proc *p);
/* Files of a process without any, such as a kernel thread, may be opened. */
bool pml_proc_has_memory(const struct pml_proc *p);

/* Every back-end, in order of preference; backends.c. */
extern const struct pml_backend *const pml_backends[];
extern const size_t pml_nbackends;

/* What rwp-async, which is a probe alone, finds missing; rwp_async.c. */
void pml_rwp_async_why_not(char *why, size_t size);

/*
 * One process of a tracker.  The tracker owns it; `state` is the back-end's.
 */
struct pml_proc {
	struct pml *t;
	const struct pml_backend *ops;
	struct pml_pool *pool;
	void *state;
	int32_t pid;
	uint32_t slot;		/* its number in the tracker, and in readers */
	uint64_t serial;	/* counted by the tracker: no other one has it */
	int pidfd;		/* -1 for the calling process */
	int dirfd;		/* /proc/PID */
	int maps_fd;
	int status_fd;
	/* what tracks it in the kernel, and which that was; -1: nothing that a checkpoint
	 * would not bring back */
	int tracks_fd;
	uint64_t tracks_dev;
	uint64_t tracks_ino;
	uint32_t polled;	/* the poll of the cgroup that listed it last */
	bool self;
	bool attached;
	uint32_t page_size;
	uint8_t page_shift;
	bool adaptive;
	bool verify;
	uint64_t seed;			/* of the adaptive policy's phases */
	struct pml_buf text;		/* of maps, status, fdinfo */
	struct pml_areas now;		/* what is watched, as maps says it */
	struct pml_areas armed;		/* what the back-end has armed */
	struct pml_areas pieces;	/* now, with what is fresh marked */
	struct pml_areas scratch;
	struct pml_buf pins;		/* struct pml_span: always dirty */
	size_t npins;
	/* facts read at this collect */
	bool has_aio;
	bool stopped;			/* by a job-control stop: it stands still */
	struct pml_waits waits;		/* of its threads, at the stops of a standstill */
	uint64_t swap_bytes;		/* VmSwap */
	/* what the back-end counts in a collect */
	struct pml_cost cost;
	uint64_t unarmed_bytes;
	uint64_t stop_ns;		/* how long the process stood still in attach */
};

struct pml_reader;
struct pml_page_region;

/* How many pages of each sort ranges hold: counted while they are written, so that a
 * large result is not read once more. */
struct pml_pages {
	uint64_t dirty;
	uint64_t referenced;
	uint64_t assumed;
};

static inline void pml_pages_add(struct pml_pages *c, uint64_t pages, uint32_t events,
				 enum pml_known known)
{
	if (events & PML_DIRTY)
		c->dirty += pages;
	if (events & PML_REFERENCED)
		c->referenced += pages;
	if (known == PML_ASSUMED)
		c->assumed += pages;
}

/* Where a drain reports to; sink.c. */
struct pml_sink {
	struct pml *t;
	uint32_t pid;
	uint32_t slot;
	/* straight into a result ... */
	struct pml_range *out;
	size_t n;
	size_t cap;
	uint64_t pages_left;	/* the budget; UINT64_MAX: none */
	struct pml_pages pages;	/* what has been reported so far */
	/* ... or into the readers' sets, when there is more than one */
	bool to_sets;
};

/* Reports one range; ranges come in order of address.  It must fit: see
 * pml_sink_room. */
void pml_sink_emit(struct pml_sink *s, uint64_t start, uint64_t end, uint64_t granule,
		   uint32_t events, enum pml_known known, enum pml_reason reason);

/* The same for all that one PAGEMAP_SCAN found, in one go.  How many bytes it is. */
uint64_t pml_sink_emit_regions(struct pml_sink *s, const struct pml_page_region *v, size_t n,
			       uint64_t granule, uint32_t events, enum pml_known known,
			       enum pml_reason reason);

/* How many more ranges surely fit. */
static inline size_t pml_sink_room(const struct pml_sink *s)
{
	return s->to_sets ? SIZE_MAX : s->cap - s->n;
}

/* How many more pages the budget allows. */
static inline uint64_t pml_sink_pages(const struct pml_sink *s)
{
	return s->to_sets ? UINT64_MAX : s->pages_left;
}

/* Tells why a range is uncovered in this epoch; for every reader. */
void pml_proc_uncovered(struct pml_proc *p, uint64_t start, uint64_t end, enum pml_reason reason);

/* Track of the process was lost; every reader's next result says so. */
void pml_proc_lost(struct pml_proc *p);

/* Sets the tracker's message: "what: why; what to do".  Returns err.  Without
 * stdio, as a collect may call it. */
int pml_proc_fail(struct pml_proc *p, int err, const char *words);

#endif /* PML_BACKEND_H */
