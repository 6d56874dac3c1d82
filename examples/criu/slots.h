/* SPDX-License-Identifier: MIT */
/*
 * slots.h - the places in the running executable through which it calls functions of
 * shared libraries.  Used by redirect.c.
 */
#ifndef PML_CRIU_SLOTS_H
#define PML_CRIU_SLOTS_H

#include <stdbool.h>
#include <stddef.h>

/* A function of a library by the names that the executable may know it by; one of
 * them has to be there, all that are there are set. */
struct slot {
	const char *names[4];
	void *function;
	void **places[8];
	void *before[8];
	size_t n;
};

/* Finds all of them and changes nothing.  0, or -ENOENT: `missing` is the name. */
int slots_find(struct slot *slots, size_t n, const char **missing);
/* Sets all of them, or none.  0 or -errno. */
int slots_set(struct slot *slots, size_t n);
void slots_restore(struct slot *slots, size_t n);

#endif
