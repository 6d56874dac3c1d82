/* SPDX-License-Identifier: MIT */
/*
 * control.h - what pml-host says to a front-end over its unix socket, and what
 * comes back.  Both ends are on one machine; numbers are in its own order.
 *
 * One connection, any number of requests; each is answered by a reply and, if
 * its words is not 0, that many 64-bit words: the bitmap of dirty frames, then
 * of referenced ones, each (frames + 63) / 64 words, as the request asked.
 */
#ifndef PML_CONTROL_H
#define PML_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PML_CONTROL_MAGIC 0x314c544f484c4d50ull

enum pml_control_command {
	PML_CONTROL_STATUS = 1,
	PML_CONTROL_ENABLE = 2,		/* events */
	PML_CONTROL_DISABLE = 3,
	PML_CONTROL_CLEAN = 4,		/* begin anew */
	PML_CONTROL_COLLECT = 5,	/* flags */
	PML_CONTROL_RESET = 6,		/* tell the guest that all is dirty */
};

#define PML_CONTROL_REARM	1u	/* begin anew in the same step */
#define PML_CONTROL_DIRTY	2u	/* send the dirty frames */
#define PML_CONTROL_REFERENCED	4u	/* send the referenced frames */
#define PML_CONTROL_COUNTS	8u	/* send how often each frame was logged dirty,
					 * four 16-bit numbers in a word */

struct pml_control_request {
	uint64_t magic;
	uint32_t command;
	uint32_t events;
	uint32_t flags;
	uint32_t reserved;
};

struct pml_control_reply {
	uint64_t magic;
	int32_t error;		/* 0 or -errno */
	uint32_t events;	/* what is logged for the host; 0: not enabled */
	uint64_t frames;
	uint64_t dirty;
	uint64_t referenced;
	uint64_t entries;
	uint64_t vm_exits;
	uint64_t offloaded;
	uint64_t outside;
	uint64_t memory_used;
	uint64_t memory_cap;
	uint64_t words;		/* that follow */
	uint32_t contexts;	/* the guest's */
	uint32_t lost;
};

/* Sends or receives all of it; false if the other end is gone. */
bool pml_control_transfer(int fd, void *data, size_t size, bool out);

#endif /* PML_CONTROL_H */
