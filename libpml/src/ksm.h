/* SPDX-License-Identifier: MIT */
/*
 * Whether the kernel merges pages of a process that are alike (KSM): it then takes
 * the bits away that some back-ends go by.  Used by soft_dirty.c.
 */
#ifndef PML_KSM_H
#define PML_KSM_H

#include <stdbool.h>

#define PML_KSM_DIR "/sys/kernel/mm/ksm"

/* Whether KSM has pages of a process on its list, or this cannot be known.  proc is
 * its /proc/PID, ksm the directory in which KSM tells of itself. */
bool pml_ksm_knows(int proc, const char *ksm);

#endif /* PML_KSM_H */
