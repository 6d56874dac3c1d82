/* SPDX-License-Identifier: MIT */
/*
 * inject_copies.h - copies of the userfaultfd in children that the target
 * forked while it had the descriptor.  Used by inject.c.
 */
#ifndef PML_INJECT_COPIES_H
#define PML_INJECT_COPIES_H

#include "inject_target.h"

/*
 * pml_inject_drop_copies - have every other process close its copy
 * @pid: the target
 * @tid: a live thread of it
 * @ours: the userfaultfd here
 * @theirs: the number that it had in the target, and so in its children
 *
 * Return: 0, or -errno with words: a copy is left and cannot be closed.
 */
int pml_inject_drop_copies(pid_t pid, pid_t tid, int ours, int theirs,
			   const struct pml_inject_words *words);

#endif /* PML_INJECT_COPIES_H */
