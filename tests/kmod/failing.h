/* SPDX-License-Identifier: MIT */
/*
 * failing.h - memory that runs out when a test says so, by the kernel's own fault
 * injection: the debug kernel has it.
 */
#ifndef PML_TESTS_KMOD_FAILING_H
#define PML_TESTS_KMOD_FAILING_H

#include <stdbool.h>

/* Quietly, and for all sorts of allocations; false if this kernel cannot. */
bool failing_prepare(void);
/*
 * The n-th allocation of the calling thread's next calls fails; 0 ends that, and
 * says whether it has come to it.
 */
bool failing_nth(unsigned int n);

#endif
