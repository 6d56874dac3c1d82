/* SPDX-License-Identifier: MIT */
/*
 * Negative controls: with PML_TEST_HOOKS the library can be broken on purpose, by name,
 * in PML_TEST_BREAK; a test that does not notice proves nothing.  Without the hooks
 * nothing is left of it.  Used by the back-ends, uffd.c, sink.c and standstill.c; what
 * the code that runs in other processes leaves out is inject_run.c's.
 */
#ifndef PML_BROKEN_H
#define PML_BROKEN_H

#include <stdbool.h>

#ifdef PML_TEST_HOOKS
#include <stdlib.h>
#include <string.h>

static inline bool pml_broken(const char *how)
{
	const char *asked = getenv("PML_TEST_BREAK");

	return asked && strcmp(asked, how) == 0;
}
#else
static inline bool pml_broken(const char *how)
{
	(void)how;
	return false;
}
#endif

#endif /* PML_BROKEN_H */
