/* SPDX-License-Identifier: MIT */
/*
 * cgroup_file.h - what a cgroup's files say.  limit.c, rss.c and wss_short.c read them.
 */
#ifndef PML_TOOL_CGROUP_FILE_H
#define PML_TOOL_CGROUP_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A whole file, as text; returns 0 or -errno. */
int cgroup_read(int directory, const char *name, char *text, size_t size);

/* The number behind a key, of lines "key number"; 0 if it is not there. */
uint64_t cgroup_number(const char *text, const char *key);

/* Calls @fn for every process in a cgroup and in those below it, until it returns something
 * else than 0.  Returns that, 0 or -errno, -ESRCH if it is none or has gone. */
int cgroup_each(const char *path, int (*fn)(void *arg, pid_t pid), void *arg);

#endif /* PML_TOOL_CGROUP_FILE_H */
