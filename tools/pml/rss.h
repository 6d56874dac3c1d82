/* SPDX-License-Identifier: MIT */
/*
 * rss.h - resident sizes: of a process, with its descendants, or of a cgroup.
 * `pml wss` prints them beside its estimates.
 */
#ifndef PML_TOOL_RSS_H
#define PML_TOOL_RSS_H

#include <stdint.h>
#include <sys/types.h>

/* All in bytes; 0 for what has gone. */
uint64_t rss_of(pid_t pid);
uint64_t rss_of_tree(pid_t pid);
/* Of every process in a cgroup and in those below it. */
uint64_t rss_of_cgroup(const char *path);

#endif /* PML_TOOL_RSS_H */
