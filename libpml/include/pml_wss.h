/* SPDX-License-Identifier: MIT */
/*
 * pml_wss.h - working sets: how much memory is really worked with, estimated
 * from the epochs of a tracker, whatever its back-end.
 *
 * Who uses it: `pml wss`, and any program that sizes memory by what is used.
 * It needs results alone, and touches neither the tracker nor the target; only
 * pml_wss_places() looks at a process.
 *
 * The words
 *   window     the last n epochs.
 *   count      in how many epochs of the window a page was touched.  How many
 *              pages have which count is pml_wss_counts().
 *   threshold  a page is in the working set if its count is at least m.
 *   curve      distinct pages after 1, 2, ... n epochs of the window.  It rises
 *              until the program has gone round its memory, and then is flat.
 *   change     an epoch whose size leaves the level of those before it, up or
 *              down.  A window never reaches back beyond the last change: a
 *              working set that has shrunk is seen in the epoch after.
 *
 * Conventions are those of pml.h: 0 or a positive value, or -errno; structs
 * that the caller passes begin with their own size.  An estimator is used by
 * one thread at a time; estimators are independent of one another.
 */
#ifndef PML_WSS_H
#define PML_WSS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pml.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

#define PML_WSS_MAX_WINDOW 64u		/* epochs that a page is remembered for */

/** constants pml_wss_options - the flags */
#define PML_WSS_OBSERVED_ONLY	1u	/* pages that are ASSUMED do not count as touched */

/**
 * struct pml_wss_options - how to estimate
 *
 * Whatever is zero has its default.
 */
struct pml_wss_options {
	size_t size;		/* sizeof(struct pml_wss_options) */
	uint32_t events;	/* what the tracker tells; 0: dirty and referenced */
	uint32_t window;	/* n, the epochs of a window, 1 to 64; 0: 8 */
	uint32_t threshold;	/* m, 1 to n; 0: 1 */
	uint32_t flat_permille;	/* a curve that rises by less than this is flat; 0: 10 */
	uint32_t change_permille; /* a level that moves by more than this has changed; 0: 100 */
	uint32_t history;	/* epochs that periods are looked for in, 16 to 4,096; 0: 256 */
	uint32_t flags;		/* PML_WSS_OBSERVED_ONLY */
	size_t max_memory;	/* bytes for its tables; 0: 256 MiB */
};

struct pml_wss;

/**
 * pml_wss_open - make an estimator
 * @out: set to the new estimator, or to NULL
 * @options: how to estimate; NULL: all defaults
 *
 * It keeps 16 bytes for each page touched in the last 64 epochs, in blocks of
 * 512 pages, less where whole blocks are touched together; and never more than
 * options.max_memory.
 *
 * Return: 0; -EINVAL an option is out of range; -ENOMEM.
 */
int pml_wss_open(struct pml_wss **out, const struct pml_wss_options *options);

/**
 * pml_wss_close - end an estimator
 * @w: the estimator, or NULL
 */
void pml_wss_close(struct pml_wss *w);

/**
 * pml_wss_add - take in a result of pml_collect()
 * @w: the estimator
 * @result: the result, right after the collect
 *
 * All results of one reader, in order, each part of an epoch that came in
 * parts, as PML_RESULT_MORE tells.  What a lost epoch assumes is not counted.
 * Pages that no longer fit into the memory are counted without being told
 * apart, and the estimate has PML_WSS_FULL.
 *
 * Return: 1 if the epoch is complete, 0 if parts of it are to come; -EINVAL the
 * page size is another one than before; -ENOMEM.
 */
int pml_wss_add(struct pml_wss *w, const struct pml_result *result);

/** constants pml_wss_estimate - the flags */
#define PML_WSS_LOST		1u	/* track was lost in the last epoch */
#define PML_WSS_FULL		2u	/* memory ran out: pages may be counted twice */
#define PML_WSS_WRITES_ONLY	4u	/* reads are not seen: less than the working set */

/** struct pml_wss_estimate - the working set, in pages, as of the last epoch */
struct pml_wss_estimate {
	size_t size;		/* sizeof(struct pml_wss_estimate), set by the caller */
	uint64_t epochs;	/* complete epochs so far */
	uint64_t begin_ns;	/* where the window begins ... */
	uint64_t end_ns;	/* ... and ends */
	uint32_t window;	/* its epochs: fewer than asked for at first, and after
				 * a change */
	uint32_t page_size;
	uint32_t flags;		/* PML_WSS_* */
	int32_t change;		/* the last epoch rises (1) or falls (-1) from the level
				 * before; 0: neither */
	uint64_t pages;		/* the working set: touched in m of the window's epochs */
	uint64_t dirty_pages;	/* of them, written in the window */
	uint64_t read_pages;	/* of them, only read */
	uint64_t seen_pages;	/* distinct pages in the window, whatever their count */
	uint64_t last_pages;	/* pages touched in the last epoch alone */
	uint64_t assumed_pages;	/* of the last epoch's: not seen, taken as touched */
	uint32_t plateau;	/* the window's epochs after which its curve is first
				 * flat, where a plain rule stops; 0: it is not */
	uint32_t settled;	/* and after which it has proved flat: the pages came
				 * round again; 0: it has not */
	uint64_t plateau_pages;	/* distinct pages by then */
	uint64_t settled_pages;
	uint64_t memory_bytes;	/* what the estimator's tables take now */
};

/**
 * pml_wss_get - the estimate as of the last complete epoch
 * @w: the estimator
 * @estimate: filled, as far as its size says
 *
 * A curve that is flat between two epochs need not be at its end: the program
 * may have paused, or be busy with a part of its memory.  Such an early
 * plateau is told apart by what follows: the curve is settled only when it has
 * stayed flat for as long as it rose, and nearly all the pages that made it
 * were touched again meanwhile.
 *
 * Return: 0; -ENODATA there is no complete epoch; -EINVAL.
 */
int pml_wss_get(const struct pml_wss *w, struct pml_wss_estimate *estimate);

/**
 * pml_wss_counts - how many pages were touched in exactly k of the last n epochs
 * @w: the estimator
 * @epochs: n, 1 to 64, whatever the window
 * @pages: pages[k] is set, for k from 0 to n; pages[0] is 0
 * @dirty: the same for written pages and epochs in which they were; may be NULL
 *
 * Return: 0; -ENODATA there is no complete epoch; -EINVAL.
 */
int pml_wss_counts(const struct pml_wss *w, uint32_t epochs, uint64_t *pages, uint64_t *dirty);

/**
 * pml_wss_curve - distinct pages after 1, 2, ... n epochs of the last n
 * @w: the estimator
 * @epochs: n, 1 to 64, whatever the window
 * @distinct: distinct[i] is set, for i from 0 to n - 1
 *
 * Return: 0; -ENODATA there is no complete epoch; -EINVAL.
 */
int pml_wss_curve(const struct pml_wss *w, uint32_t epochs, uint64_t *distinct);

/** struct pml_wss_forecast - what the next epoch will be like, in pages */
struct pml_wss_forecast {
	size_t size;		/* sizeof(struct pml_wss_forecast), set by the caller */
	uint32_t period;	/* in epochs of the usual length; 0: the load is not
				 * periodic */
	uint32_t cycles;	/* how many of them the history holds */
	uint64_t pages;		/* touched in the next epoch */
	uint64_t low;		/* 9 of 10 past forecasts would have been ... */
	uint64_t high;		/* ... within this */
	uint64_t peak;		/* the most in one epoch of the next period; without one,
				 * high */
};

/**
 * pml_wss_predict - forecast the next epoch
 * @w: the estimator
 * @forecast: filled, as far as its size says
 *
 * On a periodic load, from the epochs one, two, ... periods ago, each looked
 * for where it is most like the present one, since periods differ a little and
 * are no whole number of epochs; otherwise from the level since the last
 * change.  An epoch that took twice as long counts as two.
 *
 * Return: 0; -ENODATA there is no complete epoch; -EINVAL.
 */
int pml_wss_predict(const struct pml_wss *w, struct pml_wss_forecast *forecast);

/** struct pml_wss_limit - how much memory to give, and what less would do */
struct pml_wss_limit {
	size_t size;		/* sizeof(struct pml_wss_limit), set by the caller */
	uint32_t miss_ppm;	/* misses per million touches that are acceptable, set by
				 * the caller; 0: 1,000 */
	uint32_t margin_permille; /* room above, set by the caller; 0: 100 */
	uint64_t pages;		/* the limit that is recommended, with the margin */
	uint64_t bare_pages;	/* and without */
};

/**
 * pml_wss_recommend - a limit that the program would hardly notice
 * @w: the estimator
 * @limit: two members set by the caller, two filled
 *
 * The smallest memory whose misses are acceptable, and no less than the window
 * or the forecast's peak asks for; and the margin on top.
 *
 * Return: 0; -ENODATA there is no complete epoch; -EINVAL.
 */
int pml_wss_recommend(const struct pml_wss *w, struct pml_wss_limit *limit);

/**
 * pml_wss_miss_ppm - the miss ratio with a given memory, in parts per million
 * @w: the estimator
 * @pages: the memory
 *
 * Of all touches of a page that was touched before in the last 64 epochs, the
 * share for which more distinct pages than this came in between: what a memory
 * that drops the page used longest ago would have to fetch again.  Within an
 * epoch the order is not known, and the worst is taken.  First touches are no
 * matter of size, and left out.  Recent epochs weigh more; a weight halves
 * every 64 epochs.
 *
 * Return: 0 to 1,000,000.
 */
uint32_t pml_wss_miss_ppm(const struct pml_wss *w, uint64_t pages);

/**
 * pml_wss_interval_ns - how long an epoch should be
 * @w: the estimator
 * @log_entries: the size of the log that the back-end fills; 0: it has none
 * @cost_permille: the share of time that collects may take; 0: 10
 *
 * From the last epoch: long enough for collects to be cheap, short enough for
 * the log to be at most half full at its end, if both can be had; else the
 * latter, since a full log loses more than time.
 *
 * Return: nanoseconds, from 1 ms to 60 s; 0: there is no complete epoch yet.
 */
uint64_t pml_wss_interval_ns(const struct pml_wss *w, uint64_t log_entries,
			     uint32_t cost_permille);

/**
 * pml_wss_sample - estimate from a sample of pages, as VMware's ESX does
 * @ranges: the ranges of one whole epoch, as in struct pml_result
 * @nranges: how many
 * @population: the memory that pages are drawn from: pid, start and end count
 * @npopulation: how many
 * @page_size: bytes
 * @samples: n, how many pages to draw
 * @seed: of the random numbers; another one each epoch
 * @pages: set to the population times f/n, f of the n having been touched
 *
 * For comparison: it needs to watch n pages only, is off by its random error,
 * and never says more than the population has.
 *
 * Return: how many of the n were touched; -EINVAL nothing to draw from.
 */
int64_t pml_wss_sample(const struct pml_range *ranges, size_t nranges,
		       const struct pml_range *population, size_t npopulation,
		       uint32_t page_size, uint32_t samples, uint64_t seed, uint64_t *pages);

/* ---- for comparison: a sample of pages that are taken away ---- */

/**
 * struct pml_wss_present_options - how to sample
 *
 * Whatever is zero has its default.
 */
struct pml_wss_present_options {
	size_t size;		/* sizeof(struct pml_wss_present_options) */
	uint32_t samples;	/* pages an epoch, to 1,000,000; 0: 100 */
	uint32_t reserved;	/* 0 */
	uint64_t range_start;	/* only there; 0, 0: all of the process */
	uint64_t range_end;	/* exclusive */
	uint64_t seed;		/* of the random numbers */
};

struct pml_wss_present;

/**
 * pml_wss_present_open - sample a process by taking pages away, as VMware's ESX does
 * @out: set to the new estimator, or to NULL
 * @pid: the process; it takes CAP_SYS_NICE and the right to read its memory, and
 *       CAP_SYS_ADMIN so that a page that is back at once is not taken for one that
 *       does not go
 * @options: how; NULL: all defaults
 *
 * It changes what it measures: with each epoch so many pages of the process's private
 * anonymous memory are swapped out (process_madvise(2), MADV_PAGEOUT), and one that is
 * touched again costs it a fault and a read from swap.  No content is lost, and nothing
 * has to be put back: what is out comes when it is touched.  Without swap no page goes.
 * The first epoch begins here.
 *
 * Return: 0; -EINVAL an option is out of range; -ESRCH there is no such process; -EPERM or
 * -EACCES it may not be done; -ENOSYS before Linux 5.10; -ENOMEM.
 */
int pml_wss_present_open(struct pml_wss_present **out, pid_t pid,
			 const struct pml_wss_present_options *options);

/**
 * pml_wss_present_close - end it
 * @p: the estimator, or NULL
 */
void pml_wss_present_close(struct pml_wss_present *p);

/** struct pml_wss_present_estimate - the working set by pages that came back */
struct pml_wss_present_estimate {
	size_t size;		/* sizeof(struct pml_wss_present_estimate), set by the caller */
	uint64_t pages;		/* the population times touched / asked */
	uint64_t population_pages; /* private anonymous memory that can be written */
	uint32_t asked;		/* pages drawn that were out when the epoch began ... */
	uint32_t touched;	/* ... and in memory at its end */
	uint32_t refused;	/* pages drawn that did not go: locked, shared, or no swap */
	uint32_t reserved;
};

/**
 * pml_wss_present_next - end an epoch, and begin the next
 * @p: the estimator
 * @estimate: filled, as far as its size says, whatever is returned
 *
 * Memory that the process gave up meanwhile counts as not touched.  The error of chance is
 * that of pml_wss_sample().  One call at a time.
 *
 * Return: 0; -ENODATA no page went; -ESRCH the process has ended; -EINVAL; -ENOMEM.
 */
int pml_wss_present_next(struct pml_wss_present *p, struct pml_wss_present_estimate *estimate);

/* ---- for comparison: what tells of memory that is short ---- */

#define PML_WSS_FEW		32u	/* pages fetched again in a window that are noise */

/** struct pml_wss_tenant - one of several that share a memory, in pages */
struct pml_wss_tenant {
	uint64_t anon_pages;	/* what would be lost but for swap, swapped out or not */
	uint64_t file_pages;	/* what could be read again */
	uint64_t idle_pages;	/* of these, not used of late */
	uint64_t pages;		/* set: what it is to be given */
};

/** constants pml_wss_mpa - what it returns */
#define PML_WSS_BELOW		0	/* all of it fits */
#define PML_WSS_AT		1	/* it fits without some of the files */
#define PML_WSS_ABOVE		2	/* it does not fit */

/**
 * pml_wss_mpa - share a memory as memory-pressure-aware ballooning does
 * @tenants: those who share it; pages is set in each
 * @ntenants: how many
 * @memory_pages: what they share
 *
 * For comparison: it takes all that a tenant has for needed, as far as it is no file.
 * Below the memory's size each gets what it has, and an equal part of the rest; at it,
 * all but the files that were not used of late, or a part of the others; above it, a part
 * of the memory in proportion.  What is given is the memory, less a few pages by rounding.
 *
 * Return: PML_WSS_BELOW, PML_WSS_AT or PML_WSS_ABOVE; -EINVAL nothing to share, or more
 * pages than can be.
 */
int pml_wss_mpa(struct pml_wss_tenant *tenants, size_t ntenants, uint64_t memory_pages);

/** struct pml_wss_cache_look - a memory and an exclusive cache behind it, at one moment */
struct pml_wss_cache_look {
	uint64_t resident;	/* pages in the memory */
	uint64_t stored;	/* pages in the cache */
	uint64_t hits;		/* pages that ever came back from the cache */
	uint64_t refaults;	/* pages that ever came back, from wherever */
};

/** constants pml_wss_cache - the flags */
#define PML_WSS_AT_LEAST	1u	/* pages came back that the cache did not have */

/** struct pml_wss_cache - what the hits of a cache tell of a working set, in pages */
struct pml_wss_cache {
	size_t size;		/* sizeof(struct pml_wss_cache), set by the caller */
	uint64_t pages;		/* the working set; 0: not known */
	uint64_t more_pages;	/* of it, what the memory is too small by */
	uint64_t hits;		/* in the window */
	uint64_t misses;	/* in the window: what the cache did not have */
	uint32_t flags;		/* PML_WSS_AT_LEAST */
};

/**
 * pml_wss_exclusive - a working set from the hits of an exclusive cache
 * @looks: one look an epoch, the oldest first: one more than the window has epochs
 * @nlooks: how many, at least 2
 * @cache: filled, as far as its size says
 *
 * For comparison: what is in memory, and what came back from the cache in the window but
 * no more than the cache has, since a page is in one of them only.  What came back twice
 * counts twice.  Of a memory that is large enough it tells nothing, not even how large.
 *
 * Return: 0; -ENODATA next to nothing came back: the memory is not short; -EINVAL.
 */
int pml_wss_exclusive(const struct pml_wss_cache_look *looks, size_t nlooks,
		      struct pml_wss_cache *cache);

/** struct pml_wss_place - pages, and whether they are swapped out */
struct pml_wss_place {
	uint64_t start;
	uint64_t end;		/* exclusive */
	uint32_t pid;
	uint32_t swapped;	/* 1: swapped out; 0: in memory */
};

/**
 * pml_wss_places - where the pages of a process are
 * @pid: the process; its pagemap must be readable
 * @places: filled, sorted by address, with the first @room of them
 * @room: how many fit; 0: they are only counted
 *
 * Pages of files that are not in memory are left out, and so is what is shared and
 * swapped out: the kernel tells of neither.  Not for a thread that others wait for: it
 * takes memory, and time in proportion to what is mapped.
 *
 * Return: how many there are, which may be more than @room; -ESRCH there is no such
 * process; -EACCES or another error.
 */
int64_t pml_wss_places(pid_t pid, struct pml_wss_place *places, size_t room);

/**
 * struct pml_wss_geiger_options - how to estimate from swapping
 *
 * Whatever is zero has its default.
 */
struct pml_wss_geiger_options {
	size_t size;		/* sizeof(struct pml_wss_geiger_options) */
	uint32_t window;	/* epochs, 1 to 64; 0: 8 */
	uint32_t missed_permille; /* of what came back, what may still be missed; 0: 50 */
	uint32_t page_size;	/* 0: the machine's */
	size_t max_memory;	/* bytes for its tables; 0: 256 MiB */
};

struct pml_wss_geiger;

/**
 * pml_wss_geiger_open - make an estimator that goes by what is swapped
 * @out: set to the new estimator, or to NULL
 * @options: how to estimate; NULL: all defaults
 *
 * It keeps 32 bytes, twice, for each run of pages that were swapped out together.
 *
 * Return: 0; -EINVAL an option is out of range; -ENOMEM.
 */
int pml_wss_geiger_open(struct pml_wss_geiger **out,
			const struct pml_wss_geiger_options *options);

/**
 * pml_wss_geiger_close - end it
 * @g: the estimator, or NULL
 */
void pml_wss_geiger_close(struct pml_wss_geiger *g);

/**
 * pml_wss_geiger_follow - have pml.ko tell how a process's pages go and come
 * @g: the estimator
 * @pid: the process
 *
 * From now on pml_wss_geiger_add() takes in also what the guest module has told of the
 * process since the call before, page by page and in order: then what goes and comes back
 * within one epoch is seen, and how long it was away.  A process may be named again: of one
 * that is followed nothing changes, one that has begun another program is followed anew.
 * From pages that were out before anybody was followed nothing is concluded: the first
 * estimate comes when pages have come back that went since then.
 * Those that are not followed go on by the ends of epochs.  It takes a descriptor for all of
 * them, and 40 to 80 bytes for each page that is out or has come in an epoch.
 *
 * Return: 0; -ENOTSUP there is no module, or one that cannot; -ESRCH; -EPERM, ptrace rights
 * are needed, and /dev/pml; -EMFILE; -ENOMEM.
 */
int pml_wss_geiger_follow(struct pml_wss_geiger *g, pid_t pid);

/**
 * pml_wss_geiger_add - take in where the pages are at the end of an epoch
 * @g: the estimator
 * @places: what is in memory and what is swapped out, by pid, then by address; pages
 *          that are nowhere are left out
 * @nplaces: how many
 *
 * A page that was swapped out and is in memory came back; one that is nowhere has been
 * given up.  What goes and comes back within one epoch is not seen, but of a process that
 * is followed.
 *
 * Return: 0; -EINVAL they are not sorted, or overlap, and nothing is taken in; -ENOMEM: the
 * next call makes up for what this one did not take in.
 */
int pml_wss_geiger_add(struct pml_wss_geiger *g, const struct pml_wss_place *places,
		       size_t nplaces);

/** struct pml_wss_geiger_estimate - the working set by what came back, in pages */
struct pml_wss_geiger_estimate {
	size_t size;		/* sizeof(struct pml_wss_geiger_estimate), set by the caller */
	uint64_t epochs;	/* so far */
	uint64_t pages;		/* the working set; 0: not known */
	uint64_t more_pages;	/* of it, what the memory is too small by */
	uint64_t resident_pages; /* in memory now ... */
	uint64_t swapped_pages;	/* ... and swapped out */
	uint64_t went_pages;	/* swapped out in the window ... */
	uint64_t came_pages;	/* ... and come back */
	uint64_t memory_bytes;	/* what its tables take now */
	uint64_t followed;	/* processes of which pml.ko tells */
};

/**
 * pml_wss_geiger_get - the estimate as of the last epoch
 * @g: the estimator
 * @estimate: filled, as far as its size says, whatever is returned
 *
 * What is in memory, and the smallest addition that would have kept nearly all that came
 * back; weights of what came back halve with every window.  Of a memory that is large
 * enough it tells nothing, not even how large.
 *
 * Return: 0; -ENODATA next to nothing came back: the memory is not short; -EINVAL.
 */
int pml_wss_geiger_get(const struct pml_wss_geiger *g,
		       struct pml_wss_geiger_estimate *estimate);

/**
 * pml_wss_geiger_miss_ppm - what would still come back with more memory
 * @g: the estimator
 * @more_pages: how much more
 *
 * Return: parts per million of what came back, 0 to 1,000,000; -ENODATA as
 * pml_wss_geiger_get() does.
 */
int64_t pml_wss_geiger_miss_ppm(const struct pml_wss_geiger *g, uint64_t more_pages);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* PML_WSS_H */
