/* SPDX-License-Identifier: MIT */
/*
 * inject_run.h - runs one job in an injector process and brings its outcome
 * here.  Used by inject.c (a userfaultfd) and strays.c (closing them).
 */
#ifndef PML_INJECT_RUN_H
#define PML_INJECT_RUN_H

#include "inject_remote.h"
#include "inject_target.h"

/*
 * pml_inject_run - check the target, do the job, explain what failed
 * @job: op, pid and the descriptors are read; the rest is filled in
 * @reply: the injector's answer
 * @fd: set to the descriptor that it brought, or to -1
 *
 * Return: 0 or -errno with words, as pml_inject_userfaultfd().
 */
int pml_inject_run(struct pml_remote_job *job, struct pml_remote_reply *reply, int *fd,
		   const struct pml_inject_words *words);

#endif /* PML_INJECT_RUN_H */
