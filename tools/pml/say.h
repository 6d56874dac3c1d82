/* SPDX-License-Identifier: MIT */
/*
 * say.h - what pml says on stderr: "pml: what: why; what to do", and progress.
 * Every subcommand calls it.
 */
#ifndef PML_TOOL_SAY_H
#define PML_TOOL_SAY_H

#include <stdbool.h>

/* Prints "pml: WHAT: ..." and returns STATUS_FAILED. */
int say_failed(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As say_failed(), points to 'pml WHAT --help', and returns STATUS_USAGE. */
int say_usage(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Prints a message that the library wrote, which is in the same form, or the
 * words for @error if it wrote none; returns STATUS_FAILED.
 */
int say_library(const char *what, const char *message, int error);

/* A note that is neither a result nor an error. */
void say_note(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Shows or wipes the progress line; only on a terminal, and only if wanted. */
void say_progress(bool wanted, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif /* PML_TOOL_SAY_H */
