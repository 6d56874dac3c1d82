/* SPDX-License-Identifier: MIT */
/*
 * Whether every other thread of this process has left whatever short piece of the
 * kernel it was in a moment ago: a page fault whose signal is still on its way, say,
 * when the handler is to go.  Time tells nothing of a thread that has lost its
 * processor, or that a debugger holds.  Used by mprotect.c.
 */
#ifndef PML_PASSERS_H
#define PML_PASSERS_H

#include <stdbool.h>
#include "buf.h"

/*
 * Waits until each thread that is there now has either run for some milliseconds more,
 * by its own clock, or sleeps as only a system call does.  Its table is of this pool.
 * False: not all of them have, within a second or so, or it cannot be known.
 */
bool pml_passers_gone(struct pml_pool *pool);

#endif /* PML_PASSERS_H */
