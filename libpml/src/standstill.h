/* SPDX-License-Identifier: MIT */
/*
 * Work that is done while a process stands still.  Used by back-ends whose read
 * and re-arm are two steps: soft_dirty.c.
 */
#ifndef PML_STANDSTILL_H
#define PML_STANDSTILL_H

#include "backend.h"

/*
 * pml_standstill - call work(arg) while no thread of p runs
 * @p: the process; if it is the caller's own, the calling thread is the one
 *	that works, in a way
 * @work: uses no malloc, no stdio, no lock; its return value is returned
 * @arg: passed on
 * @stood: set to whether every thread really was stopped; if not, the work was
 *	done all the same
 *
 * The threads are stopped with ptrace, by a short-lived process that shares the
 * caller's memory: no SIGCHLD and no wait() of the program is disturbed, and
 * when that process ends, however it ends, the kernel lets the threads run on.
 *
 * Return: what work returned; -ECANCELED the work was cut short (the process
 * that did it was killed).
 */
int pml_standstill(struct pml_proc *p, int (*work)(void *arg), void *arg, bool *stood);

#endif /* PML_STANDSTILL_H */
