/* SPDX-License-Identifier: MIT */
/* progress.h - waiting for another process to get on, not for a time. */
#ifndef PML_TESTS_PROGRESS_H
#define PML_TESTS_PROGRESS_H

/* Until the count, which another process raises in shared memory, is two higher than
 * now: whatever it does between two counts has then been done once more as a whole,
 * however busy the machine is.  Gives up after a minute. */
void progress_wait(const volatile unsigned long *count);

#endif
