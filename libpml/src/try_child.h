/* SPDX-License-Identifier: MIT */
/*
 * Trying in a child what would change something of this process: the bits that others
 * here may use.  Used by the probes of soft_dirty.c and referenced.c.
 */
#ifndef PML_TRY_CHILD_H
#define PML_TRY_CHILD_H

#include <stddef.h>

/* Calls try() in a child: a number below n, what does not work; 0: all does.  0, or
 * -ENOTSUP, and why is the reason of that number (or reason 1, if it has none). */
int pml_try_in_child(int (*try)(void), const char *const *reasons, size_t n, char *why,
		     size_t size);

#endif /* PML_TRY_CHILD_H */
