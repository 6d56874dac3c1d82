/* SPDX-License-Identifier: MIT */
/*
 * smaps.h - the accessed bits of a process as the kernel sums them up, read and
 * cleared once an epoch: the estimator "referenced" where no back-end tells
 * pages.  wss_rounds.c calls it.
 */
#ifndef PML_TOOL_SMAPS_H
#define PML_TOOL_SMAPS_H

#include <stdint.h>
#include <sys/types.h>

struct smaps {
	int directory;		/* /proc/PID */
	int clear_refs;
};

struct smaps_sums {
	uint64_t rss_bytes;
	uint64_t referenced_bytes;
};

/* Clears for the first time.  Returns 0 or -errno; -EBUSY: a tracker uses them. */
int smaps_open(struct smaps *s, pid_t pid);
void smaps_close(struct smaps *s);

/* Reads and clears; returns 0 or -errno, -ESRCH if the process has gone. */
int smaps_take(struct smaps *s, struct smaps_sums *sums);

#endif /* PML_TOOL_SMAPS_H */
