/* SPDX-License-Identifier: MIT */
/*
 * serve.h - the keeper's side of keeper.h's protocol.  Called by main.c.
 */
#ifndef PML_CRIU_SERVE_H
#define PML_CRIU_SERVE_H

#include "session.h"

/* A listening socket at this path, or -errno; -EALREADY: a keeper runs there. */
int serve_listen(const char *path);
/* Answers until it is told to stop, by SIGTERM or SIGINT, or by a STOP. */
int serve(int listener, const struct session_how *how);

#endif
