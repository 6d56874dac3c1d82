/* SPDX-License-Identifier: MIT */
/* index_order.h - for guest_device.c: is an index ever ahead of its entries? */
#ifndef INDEX_ORDER_H
#define INDEX_ORDER_H

#include <stdbool.h>

struct device;

/*
 * Logs all pages of the region on this thread's vCPU, which is 0 or 1, while
 * the other one of these looks at the ring, or at the log.  Returns how many
 * words an index covered before they were written.
 */
unsigned long index_too_early(struct device *d, char *region, unsigned int pages, bool in_ring);

#endif /* INDEX_ORDER_H */
