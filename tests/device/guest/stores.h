/* SPDX-License-Identifier: MIT */
/*
 * stores.h - ways to write memory: instructions of user space, and system
 * calls in which the kernel writes into a user's buffer.  Used by
 * guest_device.c, which checks that the device sees each of them.
 */
#ifndef GUEST_STORES_H
#define GUEST_STORES_H

#include <stdbool.h>
#include <stddef.h>

struct store {
	const char *name;
	void (*make)(char *at);	/* writes at least one byte at at[0] */
	bool anywhere;		/* at need not be aligned: may cross pages */
};

extern const struct store user_stores[];
extern const size_t user_stores_count;
/* These need at to have 4 KiB minus 512 bytes of room. */
extern const struct store kernel_stores[];
extern const size_t kernel_stores_count;
/* Through the kernel's direct map: no virtual address of the user is used. */
extern const struct store direct_stores[];
extern const size_t direct_stores_count;

#endif /* GUEST_STORES_H */
