/* SPDX-License-Identifier: MIT */
/* common.h - what the tests of ptscan share. */
#ifndef PML_TESTS_PTSCAN_COMMON_H
#define PML_TESTS_PTSCAN_COMMON_H

#include <stdbool.h>

#include "pml.h"

/* Prints a skip for all and exits, where the module is not loaded. */
void need_module(void);
/* DAMON takes accessed bits, all the time, on kernels that have it on. */
void stop_damon(void);
/* A tracker by ptscan that has been started; NULL: none, and why is noted. */
struct pml *start_tracker(struct pml_options *o);
/* Collects.  Is the page at addr in what is told? */
bool is_told(struct pml *t, const volatile void *addr);
void sleep_ms(long ms);		/* less than a second */

#endif
