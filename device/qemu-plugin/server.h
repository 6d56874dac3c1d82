/* SPDX-License-Identifier: MIT */
/*
 * server.h - the front-end's end of pml-host's socket: a thread that answers
 * one client after another.
 */
#ifndef PML_SERVER_H
#define PML_SERVER_H

struct pml_model;

/*
 * path: where to listen, for the owner only.  settled: called after a command
 * that changes what is watched; returns when that is in force, or -ETIMEDOUT.
 * 0 or -errno.
 */
int server_start(const char *path, struct pml_model *m, int (*settled)(void));

#endif /* PML_SERVER_H */
