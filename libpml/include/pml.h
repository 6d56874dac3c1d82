/* SPDX-License-Identifier: MIT */
/*
 * pml.h - the public interface of libpml, all of it (working-set estimators
 * are in pml_wss.h).
 *
 * libpml tells a program which pages of a process were written (dirty) or
 * read or written (referenced), exactly within a stated granule, by the
 * cheapest means this machine has.  Who uses it: checkpointers, garbage
 * collectors, migration and snapshot tools, working-set measurement.
 *
 * The words
 *   tracker  watches one process (self or a pid), a process with its
 *            descendants, or a cgroup, for events: PML_DIRTY, PML_REFERENCED.
 *   epoch    what happened between two collects of one reader; numbered
 *            from 1.  pml_start() is where the first epoch begins.
 *   reader   has its own epochs over the same tracker; readers do not steal
 *            from one another.  A tracker has one from the beginning.
 *   collect  returns what happened and re-arms, in ONE step: whatever is
 *            written after the page was reported is in the next result.
 *   granule  the size within which a back-end knows: 4 KiB, 2 MiB, a mapping.
 *
 * The promise
 *   A page whose content changed between two collects is in the second
 *   result, for every writer that docs/coverage.md names as covered by the
 *   back-end; otherwise the result names the range as UNCOVERED, or says
 *   that it lost track (PML_RESULT_LOST).  Page contents may be copied as
 *   soon as collect has returned: re-arming is complete by then.
 *
 * Conventions
 *   - A call returns 0 or a positive value, or -errno; errno itself is left
 *     untouched.  pml_message() says in words what failed, why, and what to
 *     do; pml_strerror() does so for a bare error number.
 *   - Addresses and sizes are bytes; ranges are [start, end).  Times are
 *     nanoseconds of CLOCK_MONOTONIC.
 *   - Structs that the caller fills begin with their own size, so that they
 *     can grow: struct pml_options o = { sizeof(o) };  Structs that the
 *     library returns by pointer grow at their end.
 *   - Threads: one tracker, one call at a time.  A second call meanwhile
 *     does not wait: it returns -EBUSY.  Trackers are independent of one
 *     another; there is no global state.
 *   - Stopped world: the calls marked [stopped] use no malloc, no stdio and
 *     no lock that a stopped thread could hold, and so may be made while all
 *     other threads of the process are stopped, as a collector does.  They
 *     are not async-signal-safe in the POSIX sense for a signal that
 *     interrupted the same tracker: there they return -EBUSY.
 */
#ifndef PML_H
#define PML_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library hides every symbol but those declared here. */
#pragma GCC visibility push(default)

#define PML_VERSION_MAJOR 0
#define PML_VERSION_MINOR 1
#define PML_VERSION_PATCH 0

/** constants pml_range - events, a mask */
#define PML_DIRTY	1u	/* the page's content was written */
#define PML_REFERENCED	2u	/* the page was read or written */

/** enum pml_known - how a range is known */
enum pml_known {
	PML_OBSERVED = 0,	/* seen by the back-end */
	PML_ASSUMED = 1,	/* not seen: taken as dirty to be safe; see reason */
	PML_UNCOVERED = 2,	/* writes here may go unseen; see reason */
};

/**
 * enum pml_reason - why a range is ASSUMED or UNCOVERED
 *
 * Values are never renumbered.  pml_reason_name() and pml_reason_text() give
 * them as words.
 */
enum pml_reason {
	PML_REASON_NONE = 0,
	/* with PML_ASSUMED */
	PML_REASON_FIRST_SIGHT = 1,	/* the mapping is new here, or was replaced */
	PML_REASON_UNARMED = 2,		/* left unarmed by adaptive arming */
	PML_REASON_PINNED = 3,		/* a registered I/O buffer: always dirty */
	PML_REASON_OVERFLOW = 4,	/* a log, a reader's set or the process's list of
					 * mappings (vm.max_map_count) was full */
	PML_REASON_RESTART = 5,		/* tracking began anew (exec, reset) */
	PML_REASON_DROPPED = 6,		/* private pages gone: dropped or swapped out */
	/* with PML_UNCOVERED */
	PML_REASON_SHARED = 32,		/* shared: may be written through elsewhere */
	PML_REASON_OWNED = 33,		/* another userfaultfd owns the mapping */
	PML_REASON_UNKNOWN_PIN = 34,	/* pages pinned by an unknown owner */
	PML_REASON_IO = 35,		/* direct or asynchronous I/O may be in flight */
	PML_REASON_UNSUPPORTED = 36,	/* the back-end cannot watch such a mapping */
	PML_REASON_CLEAN_BY_HASH = 37,	/* the target ran: unchanged by hash only */
	PML_REASON_UNSEEN_PROCESS = 38,	/* a process that cannot be watched, or that
					 * lived and died between polls */
	PML_REASON_UNREADABLE = 39,	/* the coverage facts could not be read */
	PML_REASON_NOT_CHECKED = 40,	/* PML_NO_IO_CHECKS: nobody looked */
	PML_REASON_RACE = 41,		/* threads ran between the read and the re-arm */
	PML_REASON_DROPS = 42,		/* a page written and dropped in one epoch */
	PML_REASON_FORCED = 43,		/* written past its protection: ptrace,
					 * /proc/PID/mem */
	PML_REASON_REMOTE = 44,		/* written by another process through the kernel
					 * (process_vm_writev, /proc/PID/mem, ptrace) */
	PML_REASON_MERGED = 45,		/* the kernel merges pages that are alike (KSM) */
	PML_REASON_UNGUARDED = 46,	/* nothing would show that another program has
					 * cleared the soft-dirty bits */
};

/**
 * struct pml_range - one range of pages
 *
 * In the list of what is uncovered it is a range of addresses.
 */
struct pml_range {
	uint64_t start;		/* first byte; a multiple of the page size */
	uint64_t end;		/* one past the last byte */
	uint64_t granule;	/* known within this many bytes; 0: not a page fact */
	uint32_t pid;		/* whose memory */
	uint16_t events;	/* PML_DIRTY | PML_REFERENCED */
	uint8_t known;		/* enum pml_known */
	uint8_t reason;		/* enum pml_reason */
};

/** struct pml_span - a plain address range, for watch and leave-out lists */
struct pml_span {
	uint64_t start;
	uint64_t end;
};

/** struct pml_cost - what a collect cost, and what the tracking cost the target */
struct pml_cost {
	uint64_t collect_ns;	/* wall time inside this collect */
	uint64_t coverage_ns;	/* of it, reading mappings and coverage facts */
	uint64_t scans;		/* kernel scan or drain calls */
	uint64_t scanned_bytes;	/* address space those walked */
	uint64_t faults;	/* page faults that tracking caused in this epoch,
				 * as far as the back-end can tell */
};

/** constants pml_result - the flags */
#define PML_RESULT_LOST		1u	/* track was lost; ranges say of what */
#define PML_RESULT_MORE		2u	/* not the whole epoch: go on at resume */
#define PML_RESULT_UNCOVERED_CUT 4u	/* the uncovered list was cut short */

/**
 * struct pml_result - what one collect returns
 *
 * It belongs to the reader and is valid until the reader's next collect or
 * its end.  Ranges are sorted by process (in order of joining), then address,
 * and do not overlap.
 */
struct pml_result {
	uint64_t epoch;		/* this reader's epoch number, from 1 */
	uint64_t begin_ns;	/* nothing since this moment is missing ... */
	uint64_t end_ns;	/* ... up to the re-arm, which ended here */
	const char *backend;	/* who saw it, as users type the name */
	uint32_t page_size;	/* the page unit of this result */
	uint32_t flags;		/* PML_RESULT_* */
	const struct pml_range *ranges;
	size_t nranges;
	const struct pml_range *uncovered;	/* where writes may go unseen */
	size_t nuncovered;
	uint64_t dirty_pages;		/* pages in ranges with PML_DIRTY */
	uint64_t referenced_pages;	/* pages in ranges with PML_REFERENCED */
	uint64_t assumed_pages;		/* pages in ranges that are ASSUMED */
	uint64_t resume;	/* with PML_RESULT_MORE: go on from here ... */
	uint32_t resume_pid;	/* ... in this process */
	uint32_t processes;	/* how many processes were looked at */
	struct pml_cost cost;
};

/** enum pml_target - what to track */
enum pml_target {
	PML_TARGET_SELF = 0,	/* the calling process */
	PML_TARGET_PID = 1,	/* one other process */
	PML_TARGET_TREE = 2,	/* a process and its descendants, found by polling: a
				 * collect attaches to new ones, so that it is not
				 * for a stopped world */
	PML_TARGET_CGROUP = 3,	/* every process of a cgroup v2 */
};

/** constants pml_options - the flags */
#define PML_ADAPTIVE		1u	/* leave hot blocks unarmed, report them ASSUMED */
#define PML_NO_DEFAULT_READER	2u	/* readers are opened one by one */
#define PML_NO_IO_CHECKS	4u	/* do not look for pins and direct I/O; the
					 * result then says NOT_CHECKED */
#define PML_CHECK		8u	/* the oracle; as if PML_CHECK=1 were set */
#define PML_ADAPTIVE_VERIFY	16u	/* with PML_ADAPTIVE: hash unarmed pages at
					 * collect, so that only changed ones show */

/**
 * struct pml_options - what to track and how
 *
 * Whatever is zero has its default: this process, dirty pages, the best
 * back-end.
 */
struct pml_options {
	size_t size;		/* sizeof(struct pml_options) */
	int32_t target;		/* enum pml_target */
	int32_t pid;		/* for PID and TREE */
	const char *cgroup;	/* for CGROUP: a directory of cgroup v2 */
	uint32_t events;	/* 0 means PML_DIRTY */
	uint32_t flags;
	const char *backend;	/* NULL: PML_BACKEND, else the best there is */
	const struct pml_span *watch;	/* only these; none: all that is writable */
	size_t nwatch;
	const struct pml_span *leave;	/* but not these */
	size_t nleave;
	size_t max_ranges;	/* a result holds at most so many; 0: 1,048,576 */
	size_t max_memory;	/* bytes for the library's tables; 0: 256 MiB */
	char *message;		/* if pml_open fails: the words go here */
	size_t message_size;
};

struct pml;
struct pml_reader;

/**
 * pml_open - make a tracker
 * @out: set to the new tracker, or to NULL
 * @options: what to track and how; NULL: this process, dirty, best back-end
 *
 * Picks the best available back-end, ranked by evidence, or the one asked for
 * by name or by the environment variable PML_BACKEND (not in a program with more
 * rights than its caller), and checks that it can give the events asked for.
 * Nothing of the target is touched before pml_start().  On failure the words are
 * put into options->message.
 *
 * Return: 0; -ENOENT no such back-end; -ENOTSUP the back-end is not available
 * here or cannot do this; -ESRCH no such process; -EPERM may not track it;
 * -EINVAL an option is out of range; -ENOMEM.
 */
int pml_open(struct pml **out, const struct pml_options *options);

/**
 * pml_start - begin to watch; the first epoch begins
 * @t: the tracker
 *
 * Arms everything that is watched.  Another process is stopped for some tens
 * of microseconds while a userfaultfd is made in it (wp-async), and needs the
 * right to ptrace it.  Called again, it begins anew, as is needed after the
 * target has called exec: the next result of each reader has PML_RESULT_LOST.
 *
 * Return: 0; -EPERM may not track it (the message names ptrace, seccomp, Yama
 * or userfaultfd); -ESRCH it is gone; -ENOTSUP it cannot be tracked this way
 * (32-bit, a zombie, a kernel thread); -EBUSY it cannot be stopped now, or a
 * call is under way; -EMFILE; -ENOMEM.
 */
int pml_start(struct pml *t);

/** struct pml_collect_args - which part of an epoch to collect */
struct pml_collect_args {
	size_t size;		/* sizeof(struct pml_collect_args) */
	uint64_t start;		/* only this range; 0, 0: everything */
	uint64_t end;
	uint64_t max_pages;	/* a budget: stop after so many pages (less than
				 * 512 more, where memory comes in sight); 0: none */
	uint32_t from_pid;	/* go on with this process (resume_pid); 0: all */
	uint32_t events;	/* only these events are returned and re-armed; 0: all */
};

/**
 * pml_collect - return what happened in this epoch, and re-arm, in one step
 * @t: the tracker; its first reader's epoch ends
 * @args: range and budget; NULL: everything
 * @result: set to the result, which belongs to the reader
 *
 * [stopped] A collect that was cut by its budget or by max_ranges has
 * PML_RESULT_MORE: call again with start = result->resume and from_pid =
 * result->resume_pid; the epoch ends when a collect gets to its end.  Nothing
 * that was not returned has been re-armed.  After any error nothing is known:
 * take everything as dirty.
 *
 * Return: 0; -EBUSY another call is under way: take everything as dirty;
 * -ESRCH the target has exited, or the cgroup is removed; -ESTALE it has called exec,
 * or the tracker was restored from a checkpoint: pml_start() begins anew; -ECHILD
 * this process is a forked child of the one that opened the tracker: open another;
 * -EINVAL the range is unaligned, empty or wraps; -EPERM access was withdrawn;
 * -ENOTSUP the cgroup has been made threaded; -EMFILE a cgroup or a process that
 * joins cannot be looked into; -ENOMEM what the back-end keeps does not fit into
 * max_memory; -ENODEV the PML device is gone (epml): if it comes again, the next
 * result has PML_RESULT_LOST; -ENODATA not started.
 */
int pml_collect(struct pml *t, const struct pml_collect_args *args,
		const struct pml_result **result);

/**
 * pml_close - stop watching and leave the target as it was found
 * @t: the tracker, or NULL; its readers end with it
 *
 * Return: 0, or a positive number of bytes in huge pages that were split by
 * tracking and were left so (an upper bound).
 */
int64_t pml_close(struct pml *t);

/**
 * pml_reader_open - add a reader with epochs of its own
 * @t: the tracker
 * @out: set to the reader
 *
 * Its first epoch begins now (at pml_start(), if that is still to come).  What
 * other readers collect is kept for it in a set whose memory is bounded by
 * options.max_memory; when that is full, the reader's next result is all
 * dirty (ASSUMED, OVERFLOW) and has PML_RESULT_LOST.
 *
 * Return: 0; -ENOMEM; -EBUSY.
 */
int pml_reader_open(struct pml *t, struct pml_reader **out);

/**
 * pml_reader_collect - as pml_collect(), for one reader
 * @r: the reader
 * @args: range and budget; NULL: everything
 * @result: set to the result, which belongs to the reader
 *
 * [stopped] Return: as pml_collect().
 */
int pml_reader_collect(struct pml_reader *r, const struct pml_collect_args *args,
		       const struct pml_result **result);

/**
 * pml_reader_close - end a reader
 * @r: the reader, or NULL
 *
 * Return: 0; -EBUSY a call is under way on its tracker.
 */
int pml_reader_close(struct pml_reader *r);

/**
 * pml_watch - add a range to what is watched
 * @t: the tracker
 * @start: first byte, a multiple of the page size
 * @end: one past the last byte
 *
 * [stopped] From the first such call on (or with options.watch) only the
 * ranges named are watched; a range that was left out is so no more.  What is
 * new is armed at the next collect, which reports it as ASSUMED, FIRST_SIGHT.
 *
 * Return: 0; -EINVAL; -ENOMEM the list is full (4,096 ranges); -EBUSY.
 */
int pml_watch(struct pml *t, uint64_t start, uint64_t end);

/**
 * pml_leave - leave a range out, from the next collect on
 * @t: the tracker
 * @start: first byte, a multiple of the page size
 * @end: one past the last byte
 *
 * [stopped] Return: as pml_watch().
 */
int pml_leave(struct pml *t, uint64_t start, uint64_t end);

/**
 * pml_poll_fd - a descriptor that polls readable when enough is dirty
 * @t: the tracker, started
 * @above_pages: readable when more pages than this are dirty; 0 ends it
 * @interval_ms: how often to look, 1 to 60,000; back-ends without a signal of
 *	their own count with a thread of the library's
 *
 * The descriptor is an eventfd and belongs to the tracker; read it to rearm
 * it.  Calling again changes the numbers.  A count re-arms nothing.
 *
 * Return: the descriptor; -ENOTSUP the back-end cannot count without
 * collecting; -EINVAL; -EMFILE; -ENOMEM; -EBUSY.
 */
int pml_poll_fd(struct pml *t, uint64_t above_pages, unsigned int interval_ms);

/** struct pml_stats - what a tracker holds and has cost so far */
struct pml_stats {
	size_t size;		/* sizeof(struct pml_stats), set by the caller */
	uint64_t memory_bytes;	/* the library's tables now, for this tracker */
	uint64_t memory_limit;	/* and their bound */
	uint64_t collects;	/* collects so far, all readers */
	uint64_t collect_ns;	/* wall time in them */
	uint64_t watched_bytes;	/* address space watched at the last collect */
	uint64_t unarmed_bytes;	/* of it, left unarmed by adaptive arming */
	uint64_t processes;	/* tracked now */
	uint64_t stop_ns;	/* how long the target stood still in pml_start() */
};

/**
 * pml_get_stats - what the tracker holds and has cost so far
 * @t: the tracker
 * @stats: filled, as far as its size says
 *
 * [stopped] Return: 0; -EINVAL; -EBUSY.
 */
int pml_get_stats(struct pml *t, struct pml_stats *stats);

/**
 * pml_backend_name - the name of the back-end in use, as users type it
 * @t: the tracker
 *
 * [stopped] Return: a string that lives as long as the library.
 */
const char *pml_backend_name(const struct pml *t);

/**
 * pml_message - what failed last on this tracker, why, and what to do
 * @t: the tracker
 *
 * In the form "what: why; what to do".
 *
 * [stopped] Return: a string that the next failing call overwrites; "" if
 * none failed.
 */
const char *pml_message(const struct pml *t);

/**
 * pml_strerror - words for an error number that a call returned
 * @error: the number, negative or positive
 *
 * [stopped] Return: a string that lives as long as the library.
 */
const char *pml_strerror(int error);

/**
 * pml_reason_name - the short name of a reason, as in JSON output
 * @reason: enum pml_reason
 *
 * [stopped] Return: a string such as "first-sight"; "unknown" for others.
 */
const char *pml_reason_name(int reason);

/**
 * pml_reason_text - a sentence that explains a reason
 * @reason: enum pml_reason
 *
 * [stopped] Return: a string that lives as long as the library.
 */
const char *pml_reason_text(int reason);

/** struct pml_probe_info - what pml_probe() tells of one back-end */
struct pml_probe_info {
	const char *name;	/* as users type it */
	int32_t available;	/* 1 yes, 0 no */
	uint32_t events;	/* what it can give */
	uint64_t granularity;	/* bytes; 0: a mapping */
	int32_t external;	/* 1: can track another process */
	int32_t rank;		/* pml_open tries lower ranks first; <0: only by name */
	char reason[192];	/* why not, in words; "" if available */
};

/**
 * pml_probe - try every back-end for real on a scratch mapping
 * @info: an array, filled in order of rank
 * @n: how many it can hold; pml_probe(NULL, 0) tells how many there are
 *
 * Return: how many back-ends there are; -ENOMEM.
 */
int pml_probe(struct pml_probe_info *info, size_t n);

/**
 * pml_detach_strays - remove what a killed tracker may have left in a process
 * @pid: the process
 * @found: set to the number of userfaultfds that were left there, if not NULL
 * @message: words about what was found and done, if not NULL
 * @size: its size
 *
 * A tracker that dies leaves nothing.  Only an injector killed in the middle
 * of an attach can leave a userfaultfd that nobody set up inside the target:
 * this closes those, and no others.
 *
 * Return: how many were closed; -ESRCH; -EPERM; -EBUSY; -ENOTSUP.
 */
int pml_detach_strays(pid_t pid, int *found, char *message, size_t size);

/**
 * pml_version - the version of the library that runs
 *
 * [stopped] Return: a string such as "0.1.0".
 */
const char *pml_version(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* PML_H */
