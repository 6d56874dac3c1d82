/* SPDX-License-Identifier: MIT */
/*
 * common.h - a cgroup v2 of the test's own, mounted for it alone, and processes
 * that write what they are told to.  Used by the programs of this folder.
 */
#ifndef PML_TESTS_CGROUP_COMMON_H
#define PML_TESTS_CGROUP_COMMON_H

#include "pml.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PAGES 16

struct child {
	pid_t pid;
	int to;
	int from;
};

/* Where version 2 is mounted; a place for version 1; the cgroup, and one below it. */
extern char v2[64], v1[64], group[128], below[160];
extern unsigned char *region;	/* PAGES pages that each child has written */
extern size_t page;

bool prepare(void);	/* false: not possible here */
void clean_up(void);

struct child born(void);
void writes(const struct child *c, unsigned char which);	/* one page, once */
void dies(struct child *c);
bool put(pid_t pid, const char *where);

/* How many of the region's pages a result reports dirty of a process. */
unsigned int dirty(const struct pml_result *r, pid_t pid);
/* Whether it says that a process may have been missed. */
bool unseen(const struct pml_result *r);
int collect_part(struct pml *t, const struct pml_collect_args *args, const struct pml_result **r);
int collect(struct pml *t, const struct pml_result **r);

#endif
