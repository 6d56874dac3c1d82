/* SPDX-License-Identifier: MIT */
/* tracker.h - a started tracker, or the reason why not, for test programs. */
#ifndef PML_TESTS_TRACKER_H
#define PML_TESTS_TRACKER_H

#include "pml.h"

/* Opens and starts a tracker; NULL, and a remark that says why, if it cannot be. */
struct pml *tracker_start(const struct pml_options *options);

#endif
