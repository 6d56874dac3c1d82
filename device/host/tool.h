/* SPDX-License-Identifier: MIT */
/* tool.h - what the files of pml-host share: a failure in words, a socket. */
#ifndef PML_HOST_TOOL_H
#define PML_HOST_TOOL_H

/* Says it on standard error; returns 1, which is the exit status then. */
int fail(const char *what, const char *why, const char *todo);

/* Connects to a socket; whatever is done with it then takes at most so many seconds, 0: as
 * long as it takes.  Returns a descriptor, or -1 and errno. */
int dial(const char *path, int patience_s);

#endif /* PML_HOST_TOOL_H */
