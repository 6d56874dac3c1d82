/* SPDX-License-Identifier: MIT */
/*
 * keeper.h - the protocol between the keeper (pml-criu) and those that ask it:
 * the plugin inside criu, and `pml-criu status|stop`.  Both sides include it; it
 * is the protocol's own document.
 *
 * The words
 *   round    one `criu pre-dump` or `criu dump`: one connection.  The keeper names
 *            it by a token, 128 random bits, in its answer to HELLO.
 *   base     what the keeper holds of a process for one past round: the pages that
 *            were in that round's images and have not been written since.  It only
 *            shrinks.  These pages, and no others, may be left to the parent.
 *
 * One round
 *   HELLO    begins it.  `token` is that of the round in the parent directory, or
 *            zeros: there is no parent, or none of ours.
 *   ATTACH   before the process is frozen: watch it, if it is not watched yet.
 *   SCAN     while it is frozen: what was written is taken out of all bases of the
 *            process; the answer's spans are what is left of the parent's.  All else
 *            is dirty.  status 1: there is no such base, and `words` say why.
 *   RESET    while it is frozen: the spans are the pages that are in this round's
 *            images; they become the base of this round.
 *   COMMIT   criu has ended well.  Without it the round's bases go when the
 *            connection does, and with them the processes that it was the first to
 *            attach to; the parent's bases stay, so that nothing is lost.
 * The base of a parent is kept until a later round names another one.
 *
 * A message is a struct keeper_message, then `nspans` struct keeper_span.  Each
 * request gets one answer with the same `type`.  A Unix stream socket, which
 * belongs to root; the byte order is the machine's own.  A message of another magic gets
 * an answer too, by which the asker sees that the versions differ, and the connection ends.
 */
#ifndef PML_CRIU_KEEPER_H
#define PML_CRIU_KEEPER_H

#include <stdint.h>

#define KEEPER_SOCKET "/run/pml-criu.sock"
#define KEEPER_SOCKET_ENV "PML_CRIU_SOCKET"
#define KEEPER_MAGIC 0x314b4d50u	/* "PMK1": also the protocol's version */
#define KEEPER_MAX_SPANS (8u << 20)	/* 128 MB; what has more is all dirty */
#define KEEPER_TOKEN 16

enum keeper_type {
	KEEPER_HELLO = 1,
	KEEPER_ATTACH = 2,
	KEEPER_SCAN = 3,
	KEEPER_RESET = 4,
	KEEPER_COMMIT = 5,
	KEEPER_STATUS = 6,	/* the answer's spans are bytes of JSON, padded with 0 */
	KEEPER_STOP = 7,
};

struct keeper_message {
	uint32_t magic;
	uint32_t type;		/* enum keeper_type */
	int32_t status;		/* answers: 0, 1 (SCAN: no base), or -errno */
	int32_t pid;		/* ATTACH, SCAN, RESET */
	uint64_t start_time;	/* of the process, as the asker reads it in its stat */
	uint64_t nspans;
	uint8_t token[KEEPER_TOKEN];	/* HELLO: the parent's; answer: this round's */
	char words[200];	/* answers: why, if status is not 0 */
};

struct keeper_span {
	uint64_t start;
	uint64_t end;
};

#endif
