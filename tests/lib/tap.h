/* SPDX-License-Identifier: MIT */
/*
 * tap.h - the Test Anything Protocol for test programs in C that are not
 * Criterion programs (those that fork, are driven over pipes, or build their
 * list of tests at run time).
 */
#ifndef PML_TESTS_TAP_H
#define PML_TESTS_TAP_H

#include <stdarg.h>

#define TAP_SKIP_ALL 77

/* One test: `good` or not, and its name.  Returns good. */
int tap_ok(int good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One test that cannot run here, and why. */
void tap_skip(const char *reason, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A remark; shows in the log only. */
void tap_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void tap_vnote(const char *fmt, va_list ap);
/* Prints the plan.  Returns the exit code: 0, 1, or 77 if all was skipped. */
int tap_done(void);

#endif
