/* SPDX-License-Identifier: MIT */
/*
 * say.h - words into criu's own log, or to standard error where there is none.
 */
#ifndef PML_CRIU_SAY_H
#define PML_CRIU_SAY_H

#include "criu_abi.h"

void say(unsigned int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
