/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which tracked memory runs on each processor: told to the PML device.  Used by
 * log.c and device.c under pml_device_lock.
 */
#ifndef PML_SCHED_H
#define PML_SCHED_H

struct pml_log;

/* From here on the device is told when this memory runs; 0 or -errno. */
int pml_sched_add(struct pml_log *log);
/* And no longer; its log may be freed after a grace period. */
void pml_sched_remove(struct pml_log *log);
/* What runs on this processor now is told to the device. */
void pml_sched_look(void *unused);

#endif
