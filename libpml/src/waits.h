/* SPDX-License-Identifier: MIT */
/*
 * The threads of a process that wait in a call which every stop ends.  It is made to
 * start again (pml_regs_hide_stop), and so does its time: a thread that is stopped more
 * often than its time is up would wait for ever.  So it is remembered how long a thread
 * has been seen in such a call: once that is as long as the call may wait, it is not
 * started again, and ends with EINTR, as it does in any program that is stopped by
 * SIGSTOP and goes on.  A thread that had no processor between two stops is in no call at
 * the second one, but on its way to it: that is remembered too.  Used by standstill.c; a
 * part of struct pml_proc.
 */
#ifndef PML_WAITS_H
#define PML_WAITS_H

#include <stdbool.h>
#include "buf.h"

struct pml_waits {
	struct pml_buf before;	/* struct pml_wait: at the last stop */
	struct pml_buf now;	/* at this one */
	size_t nbefore;
	size_t nnow;
	size_t cursor;
};

/* What tells one call from another. */
struct pml_wait {
	int32_t tid;
	uint64_t call;
	uint64_t insn;		/* where it is made */
	uint64_t stack;
	uint64_t limit_ns;	/* how long it may wait */
	uint64_t since_ns;	/* when it was first seen, */
	uint64_t seen_ns;	/* and when last */
};

/* The process is about to be stopped. */
void pml_waits_begin(struct pml_waits *w);

/* Whether the call that a thread was stopped in may start again; since_ns and seen_ns
 * are now. */
bool pml_waits_again(struct pml_waits *w, struct pml_pool *pool, struct pml_wait wait);

/* A thread is about to make a call, for the first time or again: seen_ns is now, limit_ns
 * and since_ns are not known. */
void pml_waits_on_its_way(struct pml_waits *w, struct pml_pool *pool, struct pml_wait wait);

void pml_waits_free(struct pml_waits *w);

#endif /* PML_WAITS_H */
