/* SPDX-License-Identifier: MIT */
/*
 * limit.h - memory.high of a cgroup in our hands for a while: set, watched, and put
 * back.  balloon.c and apply.c decide what it is to be; wss_rounds.c begins and ends.
 *
 * What was there is written down before, in a file with a lock: whoever comes next,
 * and finds the file without its lock, puts back what was there.
 */
#ifndef PML_TOOL_LIMIT_H
#define PML_TOOL_LIMIT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define LIMIT_FEW 32u		/* refaults an epoch that are noise */

struct limit {
	int directory;		/* the cgroup; -1: there is nothing to put back */
	int note;		/* the locked file with what memory.high was */
	char note_path[PATH_MAX];
	char path[PATH_MAX];
	char before[32];	/* what it was */
	char ours[32];		/* what we made of it, as the kernel tells it */
	uint64_t high;		/* the same; 0: as before */
	uint64_t refaults;	/* the kernel's counts at the last look */
	uint64_t throttled;
	uint64_t stalled_us;
};

/* What the cgroup has, and what has happened to it since the last look. */
struct limit_look {
	uint64_t current;	/* bytes */
	uint64_t beside;	/* of them the kernel's own and the active files' */
	uint64_t refaults;	/* pages fetched again */
	uint64_t throttled;	/* times that it was held up at the limit */
	uint64_t stalled_us;	/* time in which nothing in it went on for want of memory */
};

/* Takes over a cgroup; says what is wrong.  Returns 0 or -errno. */
int limit_begin(struct limit *l, const char *path);

/* Returns 0 or -errno, -ESRCH if the cgroup has gone. */
int limit_look(struct limit *l, struct limit_look *look);

/*
 * Sets memory.high, and waits a moment for the kernel to get there; 0: as it was
 * before, as is more than that.  Returns as limit_look().
 */
int limit_set(struct limit *l, uint64_t high);

/* Less than the cgroup has and may have, by that share a second; a tenth at most, since
 * the kernel reclaims it meanwhile. */
uint64_t limit_less(const struct limit *l, uint64_t current, double per_second,
		    uint64_t elapsed_ns);

/* Whether what happened hurts so much that the limit has to go at once. */
bool limit_hurts(const struct limit *l, const struct limit_look *look, uint64_t elapsed_ns);

/* Puts memory.high back as it was; may be called twice.  Returns 0, or -errno after having
 * said that it could not: the next start does it then. */
int limit_end(struct limit *l);

#endif /* PML_TOOL_LIMIT_H */
