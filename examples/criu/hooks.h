/* SPDX-License-Identifier: MIT */
/*
 * hooks.h - the way with a criu that asks its plugins for dirty pages (patches/): what
 * its two hooks come to.  plugin.c puts them into its descriptor.
 */
#ifndef PML_CRIU_HOOKS_H
#define PML_CRIU_HOOKS_H

#include <stdint.h>

/* One bit for each page from start to end, twice: on entry of those that are present or
 * look so; on return of those that are, and of those that must be written.  0: criu goes
 * by it. */
int hooks_scan(int pid, uint64_t start, uint64_t end, unsigned long *present,
	       unsigned long *dirty);
int hooks_reset(int pid);

#endif
