/* SPDX-License-Identifier: MIT */
/*
 * server.h - the front-end's end of pml-host's socket: a thread that takes clients, and
 * one for each of them, so that none waits for another that is silent.  Requests are
 * carried out one after another.  Who comes when there are 16 takes the place of the one
 * that has asked nothing for longest.
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
