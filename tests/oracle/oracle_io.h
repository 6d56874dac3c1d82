/* SPDX-License-Identifier: MIT */
/*
 * oracle_io.h - what an oracle can do to get in a tracker's way: pinned
 * buffers, direct I/O, second mappings, a userfaultfd of its own.  Used by
 * oracle.c alone.
 */
#ifndef PML_TESTS_ORACLE_IO_H
#define PML_TESTS_ORACLE_IO_H

#include <stddef.h>
#include <stdint.h>

struct oracle_io;

/* Each makes *io if need be, and returns 0 or -errno. */
int oracle_io_pin(struct oracle_io **io, void *base, size_t size);
int oracle_io_read_fixed(struct oracle_io *io, void *to, uint64_t value);
int oracle_io_direct(struct oracle_io **io);
int oracle_io_share(struct oracle_io **io, int fd, size_t size);
int oracle_io_own(struct oracle_io **io, void *base, size_t size);
void oracle_io_release(struct oracle_io **io);

#endif
