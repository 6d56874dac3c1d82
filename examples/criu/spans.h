/* SPDX-License-Identifier: MIT */
/*
 * spans.h - a set of addresses as sorted spans.  Used by the keeper for its bases
 * and by the plugin for what criu was told.
 */
#ifndef PML_CRIU_SPANS_H
#define PML_CRIU_SPANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keeper.h"

struct spans {
	struct keeper_span *v;
	size_t n;
	size_t room;
};

void spans_free(struct spans *s);
/* Adds at the end; what is not in order has to be put in order by spans_sort().
 * Returns 0 or -ENOMEM. */
int spans_add(struct spans *s, uint64_t start, uint64_t end);
/* In order, joined where they touch. */
void spans_sort(struct spans *s);
bool spans_sorted(const struct spans *s);
/* What of s is not in `away`; both in order.  Returns 0 or -ENOMEM: then s is empty. */
int spans_subtract(struct spans *s, const struct spans *away);
/* What of s is in `keep` as well, likewise. */
int spans_intersect(struct spans *s, const struct spans *keep);
/* The first span that ends after `address`, or n. */
size_t spans_find(const struct spans *s, uint64_t address);
uint64_t spans_bytes(const struct spans *s);

#endif
