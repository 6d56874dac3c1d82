/* SPDX-License-Identifier: MIT */
/*
 * text.h - numbers as people read them, for the text output of pml.
 */
#ifndef PML_TOOL_TEXT_H
#define PML_TOOL_TEXT_H

#include <stdint.h>

#define TEXT_MAX 32	/* room for any of the texts below */

/* "4.0 KiB", "1.5 GiB"; returns @buf. */
const char *text_size(char buf[TEXT_MAX], uint64_t bytes);

/* "42 us", "1.50 ms", "2.00 s"; returns @buf. */
const char *text_time(char buf[TEXT_MAX], uint64_t ns);

#endif /* PML_TOOL_TEXT_H */
