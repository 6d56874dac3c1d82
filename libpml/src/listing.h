/* SPDX-License-Identifier: MIT */
/*
 * What folders of /proc hold, and what a process or thread is doing: read without malloc
 * or stdio, for a collect may run while every other thread is stopped.  Used by whatever
 * goes through threads, descriptors or children: standstill.c, passers.c, proc.c,
 * coverage.c, cgroup.c.
 */
#ifndef PML_LISTING_H
#define PML_LISTING_H

#include <stdint.h>

/* each() for every entry of an open folder whose name does not begin with a dot, until
 * one returns something else than 0, which is returned.  -errno: the rest is unknown. */
int pml_list(int dir, int (*each)(void *arg, const char *name), void *arg);

/* The front of a stat file. */
struct pml_stat {
	char text[1024];
	const char *state;	/* the third field, a letter; the others follow */
};

/* Reads the stat of a process or thread that an open folder lists; 0 or -errno: -ENOENT
 * and -ESRCH say that it has ended. */
int pml_stat_read(struct pml_stat *s, int dir, int32_t id);

#endif /* PML_LISTING_H */
