/* SPDX-License-Identifier: MIT */
/*
 * entry.h - what an entry of /proc/PID/pagemap says of its page.  Used by pagemap.c and
 * hooks.c.
 */
#ifndef PML_CRIU_ENTRY_H
#define PML_CRIU_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A marker of userfaultfd's: nothing is there, and wp-async watches for the first write.
 * It looks like a swapped page, with a number of its own in the place of the swap file's:
 * no page with content has that.
 */
bool entry_is_marker(uint64_t entry);
/* The page has content of its own, which criu puts into its images; it takes neither the
 * shared page of zeros nor a file's pages that were not copied yet. */
bool entry_in_images(uint64_t entry);

/* Entries of one pagemap, read some at a time. */
struct entries {
	int fd;
	uint64_t start;		/* an address */
	size_t n;
	uint64_t v[512];
};

/* What cannot be read counts as present. */
uint64_t entries_at(struct entries *e, uint64_t address);

#endif
