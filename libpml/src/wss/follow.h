/* SPDX-License-Identifier: MIT */
/*
 * What pml.ko tells of the swapping of processes; see section 8 of pml_uapi.h.  Used by
 * geiger.c.
 */
#ifndef PML_WSS_FOLLOW_H
#define PML_WSS_FOLLOW_H

#include <stdint.h>
#include <sys/types.h>
#include "../buf.h"
#include "queue.h"

struct pml_follow {
	struct pml_pool *pool;
	struct pml_buf targets;	/* struct pml_followed, n of them */
	struct pml_buf events;
	size_t n;
	int session;		/* -1: not open */
};

void pml_follow_init(struct pml_follow *f, struct pml_pool *pool);
void pml_follow_free(struct pml_follow *f);

/*
 * From now on.  0, also of one that is followed already; -ENOTSUP no module that can;
 * -ESRCH; -EPERM; -EMFILE; -ENOMEM.
 */
int pml_follow_add(struct pml_follow *f, pid_t pid);

/* Hands on what has happened since.  0 or -ENOMEM. */
int pml_follow_read(struct pml_follow *f, struct pml_queue *q);

#endif /* PML_WSS_FOLLOW_H */
