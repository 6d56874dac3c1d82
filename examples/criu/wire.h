/* SPDX-License-Identifier: MIT */
/*
 * wire.h - messages of keeper.h on a socket, for both sides, and what both read of
 * a process in /proc.
 */
#ifndef PML_CRIU_WIRE_H
#define PML_CRIU_WIRE_H

#include "keeper.h"
#include "spans.h"

/* Both wait no longer than the socket's time limit.  0 or -errno; -EPROTO: another version's;
 * -ENODATA: the other side has gone. */
int wire_send(int fd, struct keeper_message *m, const struct spans *s);
/* `s` gets the spans, in order or not. */
int wire_receive(int fd, struct keeper_message *m, struct spans *s);
/* Why, for a reader. */
const char *wire_words(int status);
/* The keeper's socket: the option, the environment, or the usual one. */
const char *wire_path(const char *given);
/* A connection with a time limit in seconds, or -errno. */
int wire_connect(const char *path, int seconds);
/* The time a process began, from /proc/PID/stat; 0: it is not there. */
uint64_t wire_start_time(int pid);

#endif
