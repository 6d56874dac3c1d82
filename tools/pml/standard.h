/* SPDX-License-Identifier: MIT */
/*
 * standard.h - the numbers of the standard descriptors stay theirs.  For pml,
 * pml-host and pml-criu.
 */
#ifndef PML_TOOL_STANDARD_H
#define PML_TOOL_STANDARD_H

/*
 * Before anything is opened: whoever was started with a standard descriptor closed would
 * get its number for a file of its own, and write messages into that.  What is read or
 * written there goes on failing with EBADF; a command that is run has it closed.
 */
void standard_hold(void);

#endif /* PML_TOOL_STANDARD_H */
