/* SPDX-License-Identifier: MIT */
/*
 * /proc/PID/clear_refs, which has one clear for all who use it: so it is locked
 * against other trackers of libpml's.  Used by soft_dirty.c and referenced.c.
 */
#ifndef PML_CLEAR_REFS_H
#define PML_CLEAR_REFS_H

#include "backend.h"

struct pml_clear_refs {
	int fd;			/* -1: not taken */
	int32_t owner;		/* the process that took it */
};

/* Takes it; it becomes what the process is tracked by.  0; -EBUSY another tracker has
 * it; -ESRCH the process has no memory; or what open(2) said. */
int pml_clear_refs_take(struct pml_clear_refs *c, struct pml_proc *p);

/* 0; -ESRCH the memory is gone; or another -errno. */
int pml_clear_refs_write(const struct pml_clear_refs *c, char what);

/* Gives it back.  The descriptor is inherited by forked children, and the lock is of
 * all of them together: so it is the one who took it who ends it, at once; a child that
 * does the same only closes its copy. */
void pml_clear_refs_release(struct pml_clear_refs *c);

#endif /* PML_CLEAR_REFS_H */
