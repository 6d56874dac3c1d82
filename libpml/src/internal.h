/* SPDX-License-Identifier: MIT */
/*
 * The inside of a tracker and of a reader.  Seen by the tracker's own files
 * (tracker.c, reader.c, collect.c, proc.c, coverage.c, check.c, poll.c), not by
 * back-ends.
 */
#ifndef PML_INTERNAL_H
#define PML_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include "backend.h"
#include "cgroup_tree.h"
#include "message.h"
#include "pml.h"

#define PML_MAX_PROCS 1024u
#define PML_MAX_SPANS 4096u
#define PML_MAX_UNCOVERED 1024u
#define PML_MESSAGE_SIZE 512u

struct pml_check;
struct pml_poller;

/* An epoch that is collected in parts: what is done of it, and where it goes on. */
struct pml_parts {
	bool open;			/* the last part was not the whole */
	bool all;			/* the first began at 0 */
	uint64_t start;			/* where it began, in every process */
	uint64_t resume;		/* where it goes on ... */
	uint32_t resume_pid;		/* ... in which process */
	uint64_t serial;
	uint64_t done[PML_MAX_PROCS];	/* by slot: the process that is done */
};

struct pml_reader {
	struct pml *t;
	struct pml_reader *next;
	bool first;			/* the tracker's own */
	struct pml_result result;
	struct pml_buf ranges;		/* struct pml_range */
	struct pml_buf uncovered;	/* struct pml_range, since its last collect */
	size_t nuncovered;
	size_t told;			/* of them, those in the last result */
	bool uncovered_cut;
	struct pml_buf sets;		/* struct pml_set *, one a process slot */
	uint64_t epoch;			/* the last one that is complete */
	uint64_t last_end_ns;
	uint64_t pending_faults;	/* seen by other readers' collects */
	bool lost;			/* sticky until told */
	/* slots for which no set could be had: everything watched there is dirty */
	uint64_t no_set[PML_MAX_PROCS / 64];
	struct pml_parts parts;
};

struct pml {
	atomic_flag busy;
	struct pml_pool pool;
	const struct pml_backend *ops;
	enum pml_target target;
	int32_t owner;			/* getpid() of who opened it */
	/* 1; in a forked child 0: in another pid namespace it may have the same number */
	const volatile uint32_t *mark;
	int32_t pid;
	uint32_t events;
	uint32_t flags;
	uint32_t page_size;
	uint8_t page_shift;
	bool started;
	bool rejoin;			/* the tree's root is to be attached again */
	bool any_watch;			/* only the spans named are watched */
	size_t max_ranges;
	struct pml_cgroup_tree cgroup;
	uint32_t polls;			/* of the cgroup */
	uint64_t forks;			/* of the machine, at the last poll */
	uint64_t forks_tick;		/* when those were counted, since it began */
	struct pml_buf watch;		/* struct pml_span, sorted, disjoint */
	size_t nwatch;
	struct pml_buf leave;
	size_t nleave;
	struct pml_buf procs;		/* struct pml_proc *, by slot; NULL: free */
	uint32_t nprocs;
	uint64_t joined;		/* processes so far */
	struct pml_reader *readers;
	struct pml_reader *default_reader;
	struct pml_check *check;
	struct pml_poller *poller;
	/* counted */
	uint64_t collects;
	uint64_t collect_ns;
	uint64_t watched_bytes;
	uint64_t unarmed_bytes;
	uint64_t stop_ns;
	uint64_t thp_bytes;		/* in huge pages when it began */
	char message[PML_MESSAGE_SIZE];
};

static inline struct pml_proc *pml_proc_at(const struct pml *t, uint32_t slot)
{
	return ((struct pml_proc **)t->procs.p)[slot];
}

/* tracker.c */
bool pml_enter(struct pml *t);		/* false: busy */
void pml_leave_call(struct pml *t);
bool pml_is_owner(const struct pml *t);	/* false: a forked child of the one that opened it */
uint64_t pml_now_ns(void);

/* message.c: sets the tracker's message from parts, returns err */
int pml_fail_until_null(struct pml *t, int err, const char *first, ...) __attribute__((sentinel));
#define pml_fail(t, err, ...) pml_fail_until_null(t, err, __VA_ARGS__, (const char *)0)

/* backends.c */
const struct pml_backend *pml_backend_by_name(const char *name);
const struct pml_backend *pml_backend_best(uint32_t events, bool external, char *why, size_t size);

/* proc.c */
int pml_proc_add(struct pml *t, int32_t pid, struct pml_proc **out);
void pml_proc_remove(struct pml *t, struct pml_proc *p);
int pml_proc_begin(struct pml_proc *p);		/* attach and arm everything */
int pml_proc_refresh(struct pml_proc *p);	/* read maps, filter, match */
bool pml_proc_exited(const struct pml_proc *p);
uint64_t pml_proc_thp_bytes(const struct pml_proc *p);
struct pml_proc *pml_proc_find(const struct pml *t, int32_t pid);
int pml_procs_poll(struct pml *t);		/* joins and leaves: tree, cgroup */
/* Each number of a list such as cgroup.procs, until one fails. */
typedef int pml_listed_proc(struct pml *t, int32_t pid, uint64_t *count);
int pml_each_listed(struct pml *t, int fd, pml_listed_proc *each, uint64_t *count);
void pml_procs_unseen(struct pml *t, int32_t pid);	/* this one is not watched */

/* cgroup.c */
int pml_cgroup_open(struct pml *t, const char *path);
void pml_cgroup_close(struct pml *t);
int pml_cgroup_poll(struct pml *t);

/* coverage.c */
void pml_coverage_read(struct pml_proc *p);	/* fills pins and uncovered */

/* sink.c */
int pml_sink_open(struct pml_sink *s, struct pml *t, struct pml_proc *p, struct pml_reader *r,
		  bool to_sets, uint64_t pages_left);

/* reader.c */
static inline bool pml_reader_no_set(const struct pml_reader *r, uint32_t slot)
{
	return r->no_set[slot / 64] >> (slot % 64) & 1;
}

void pml_reader_forget(struct pml_reader *r, uint32_t slot);
struct pml_set *pml_reader_set(struct pml_reader *r, uint32_t slot);
void pml_reader_reset(struct pml_reader *r);
void pml_reader_uncovered(struct pml_reader *r, const struct pml_range *u);
int pml_reader_new(struct pml *t, bool first, struct pml_reader **out);
void pml_reader_free(struct pml_reader *r);

/* collect.c */
int pml_collect_reader(struct pml_reader *r, const struct pml_collect_args *args,
		       const struct pml_result **result);

void pml_collect_for_others(struct pml *t);

/* check.c: the oracle */
int pml_check_new(struct pml *t);
void pml_check_free(struct pml *t);
void pml_check_started(struct pml *t);
/* Before a drain: what has changed since the last one?  After it: was that told? */
void pml_check_before(struct pml *t, struct pml_proc *p, uint64_t start, uint64_t end);
void pml_check_after(struct pml *t, struct pml_proc *p, uint64_t start, uint64_t end);

/* poll.c */
void pml_poller_free(struct pml *t);
void pml_poller_update(struct pml *t);	/* after a collect: what is armed now */
void pml_poller_restart(struct pml *t);	/* after a start: another memory, maybe */

#endif /* PML_INTERNAL_H */
