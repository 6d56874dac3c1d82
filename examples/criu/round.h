/* SPDX-License-Identifier: MIT */
/*
 * round.h - the plugin's side of keeper.h's protocol: one run of criu.  No call
 * fails: without a keeper, or when anything goes wrong, all is dirty.
 */
#ifndef PML_CRIU_ROUND_H
#define PML_CRIU_ROUND_H

#include "spans.h"

/* Begins it; `dir` is the image directory, of which a copy is kept. */
void round_begin(int dir);
void round_attach(int pid);
/* What may be left to the parent. */
void round_scan(int pid, struct spans *clean);
/* `present` are the pages in this round's images. */
void round_reset(int pid, struct spans *present);
/* criu ended, well or not. */
void round_end(int good);

#endif
