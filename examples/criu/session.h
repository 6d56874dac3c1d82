/* SPDX-License-Identifier: MIT */
/*
 * session.h - one process that the keeper watches: its tracker, and the bases of
 * past rounds (see keeper.h).  Called by keeper.c alone.
 */
#ifndef PML_CRIU_SESSION_H
#define PML_CRIU_SESSION_H

#include <jansson.h>

#include "keeper.h"
#include "spans.h"

/* How the keeper watches, the same for all. */
struct session_how {
	const char *backend;
	bool strict;	/* whatever the back-end does not cover is dirty */
};

struct session;

/* Begins to watch a process in this round, or finds the one that is watched already; a process of
 * the same number that began at another time is another one.  NULL: `words` say why. */
struct session *session_attach(const struct session_how *how, const uint8_t *round, int pid,
			       uint64_t start_time, char *words, size_t size);
struct session *session_find(int pid, uint64_t start_time);
/* Takes what was written out of all bases and sets `left` to that of `parent`, or to
 * NULL: `words` say why there is none. */
void session_scan(struct session *s, const uint8_t *parent, const struct spans **left,
		  char *words, size_t size);
/* `present`, in order, becomes the base of a round; it is taken over.  0 or -errno:
 * `words` say why there will be no base. */
int session_reset(struct session *s, const uint8_t *round, struct spans *present,
		  char *words, size_t size);
/* The round has failed, or wanted no base, as a dump without --track-mem: its bases go, in
 * all sessions, and so do the sessions that were begun for it and are of no use. */
void session_forget_round(const uint8_t *round);
/* Closes the sessions of processes that have ended. */
void session_reap(void);
void session_close_all(void);
json_t *session_describe_all(void);

#endif
