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
/* A message in pieces, for who must not wait: what has come, and what is to be sent. */
struct wire_in {
	struct keeper_message m;
	struct spans spans;
	size_t got;	/* bytes, of both */
};

struct wire_out {
	char *data;
	size_t size;	/* 0: nothing is under way */
	size_t sent;
};

/* 0: it is whole, and to be taken by wire_taken(); -EAGAIN: more is to come; or as
 * wire_receive(). */
int wire_receive_some(int fd, struct wire_in *in);
void wire_taken(struct wire_in *in);
/* An answer is put together; 0 or -ENOMEM. */
int wire_begin(struct wire_out *out, struct keeper_message *m, const struct spans *s);
/* 0: nothing is left of it; -EAGAIN; or -errno. */
int wire_send_some(int fd, struct wire_out *out);
void wire_end(struct wire_out *out);
/* Why, for a reader. */
const char *wire_words(int status);
/* The keeper's socket: the option, the environment, or the usual one. */
const char *wire_path(const char *given);
/* A connection with a time limit in seconds, or -errno. */
int wire_connect(const char *path, int seconds);
/* The time a process began, from /proc/PID/stat; 0: it is not there. */
uint64_t wire_start_time(int pid);

#endif
