/* SPDX-License-Identifier: MIT */
/*
 * pagemap.h - what criu's calls on /proc/PID/pagemap and clear_refs come to when they
 * are answered from libpml.  redirect.c puts them into criu's slots.
 */
#ifndef PML_CRIU_PAGEMAP_H
#define PML_CRIU_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int pagemap_openat(int dir, const char *path, int flags, ...);
int pagemap_ioctl(int fd, unsigned long request, ...);
ssize_t pagemap_pread(int fd, void *buffer, size_t size, off_t offset);
ssize_t pagemap_write(int fd, const void *buffer, size_t size);
int pagemap_close(int fd);

/* What came by since the last call, and from now on for criu's own process too:
 * redirect.c has criu's functions called on it to see that they come by here. */
struct pagemap_seen {
	unsigned int opened;
	unsigned int read;
	unsigned int cleared;
	unsigned int closed;
};

void pagemap_try(bool on, struct pagemap_seen *seen);

#endif
