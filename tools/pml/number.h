/* SPDX-License-Identifier: MIT */
/*
 * number.h - numbers on a command line, taken whole or refused.  For the options of pml,
 * of pml-host, and of the device's plugin.
 */
#ifndef PML_TOOL_NUMBER_H
#define PML_TOOL_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* A number from 1 to @max, in decimal; returns 0 or -EINVAL. */
int option_number(const char *text, uint64_t max, uint64_t *value);

/* A time in seconds, 0.5 or 1e-3; false: it is none.  The caller looks whether it will do. */
bool option_seconds(const char *text, double *seconds);

#endif
