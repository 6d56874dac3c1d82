/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A session: one open descriptor of /dev/pml.  Called by main.c.
 */
#ifndef PML_SESSION_H
#define PML_SESSION_H

#include <linux/poll.h>
#include "pml_uapi.h"

struct pml_session;
struct mm_struct;

/* Records that one collect takes at most. */
#define PML_MAX_VEC 1048576u

extern unsigned long pml_max_memory;
extern unsigned long pml_max_user_memory;
extern unsigned int pml_max_targets;

struct pml_session *pml_session_open(void);
void pml_session_close(struct pml_session *s);
__poll_t pml_session_poll(struct pml_session *s, struct file *file, poll_table *wait);

int pml_session_add(struct pml_session *s, struct pml_uapi_add *add);
int pml_session_remove(struct pml_session *s, const struct pml_uapi_remove *remove);
int pml_session_list(struct pml_session *s, struct pml_uapi_list *list);
int pml_session_collect(struct pml_session *s, struct pml_uapi_collect *collect);
/* After an error in telling what was collected: it is not lost. */
void pml_session_collect_failed(struct pml_session *s, u32 target);
int pml_session_swaps(struct pml_session *s, struct pml_uapi_swaps *swaps);
/* Likewise: it is lost, and that is told. */
void pml_session_swaps_untold(struct pml_session *s);
int pml_session_stats(struct pml_session *s, struct pml_uapi_stats *stats);

/* permit.c: the memory of whom the caller may track, its users held; or an error. */
struct mm_struct *pml_permit_self(void);
struct mm_struct *pml_permit_pid(s64 pid);
struct mm_struct *pml_permit_proof(s64 fd);
/* Calls add() for each process of a cgroup that the caller may track. */
int pml_permit_cgroup(s64 fd, int (*add)(void *arg, struct mm_struct *mm, u32 pid), void *arg,
		      u32 *refused);

#endif
