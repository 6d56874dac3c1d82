/* SPDX-License-Identifier: MIT */
/*
 * process.h - whether this still is the process that something was made in, or a
 * forked child of it.  The process id alone does not tell: in a pid namespace of its
 * own a child may have its parent's.  Used by tracker.c and enable.c.
 */
#ifndef PML_GC_PROCESS_H
#define PML_GC_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct pml_gc_process {
	pid_t pid;
	uint64_t mark;		/* 0: there was nothing but the id to go by */
};

/* This process. */
struct pml_gc_process pml_gc_process_now(void);
/* Whether this process is it.  No malloc, no lock. */
bool pml_gc_process_is(const struct pml_gc_process *p);

#endif /* PML_GC_PROCESS_H */
