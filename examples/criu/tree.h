/* SPDX-License-Identifier: MIT */
/*
 * tree.h - a process and its descendants.  Used by plugin.c.
 */
#ifndef PML_CRIU_TREE_H
#define PML_CRIU_TREE_H

/* Calls `visit` for the process and its descendants, but never twice for the same in the
 * life of this criu. */
void tree_visit(int pid, void (*visit)(int pid));

#endif
