/* SPDX-License-Identifier: MIT */
/*
 * Whether the kernel merges pages of a process that are alike (KSM): it then takes
 * the bits away that some back-ends go by.  Used by soft_dirty.c.
 */
#ifndef PML_KSM_H
#define PML_KSM_H

#include <stdbool.h>
#include <stdint.h>

#define PML_KSM_DIR "/sys/kernel/mm/ksm"

/* Whether KSM has pages of a process on its list, or this cannot be known.  proc is
 * its /proc/PID, ksm the directory in which KSM tells of itself. */
bool pml_ksm_knows(int proc, const char *ksm);

/*
 * How often KSM has been through all that it may merge.  It forgets pages when it
 * comes to them again: as long as the number stays, nothing is forgotten that was put
 * on the list meanwhile.  (Or when root writes 2 to its `run`, which makes it 0.)
 * 0 without KSM; PML_KSM_UNKNOWN, which is no number, if this cannot be known.
 */
#define PML_KSM_UNKNOWN UINT64_MAX
uint64_t pml_ksm_passes(const char *ksm);

#endif /* PML_KSM_H */
