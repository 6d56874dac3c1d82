/* SPDX-License-Identifier: MIT */
/* A working set from what a cache behind the memory was hit for: pml_wss_exclusive(). */
#define _GNU_SOURCE
#include "pml_wss.h"

#include <errno.h>
#include <string.h>

/* Counts that fall are of something that began anew. */
static uint64_t rise(uint64_t from, uint64_t to)
{
	return to > from ? to - from : 0;
}

int pml_wss_exclusive(const struct pml_wss_cache_look *looks, size_t nlooks,
		      struct pml_wss_cache *cache)
{
	struct pml_wss_cache found = { 0 };
	const struct pml_wss_cache_look *last;
	size_t size;

	if (nlooks < 2 || !cache || cache->size < sizeof(cache->size))
		return -EINVAL;
	last = &looks[nlooks - 1];
	for (size_t i = 1; i < nlooks; i++) {
		uint64_t fetched = rise(looks[i - 1].refaults, looks[i].refaults);
		uint64_t hits = rise(looks[i - 1].hits, looks[i].hits);

		found.hits += hits;
		found.misses += rise(hits, fetched);
	}
	size = cache->size < sizeof(found) ? cache->size : sizeof(found);
	found.size = cache->size;
	if (found.hits + found.misses > PML_WSS_FEW) {
		found.more_pages = found.hits < last->stored ? found.hits : last->stored;
		found.pages = last->resident + found.more_pages;
		found.flags = found.misses > PML_WSS_FEW ? PML_WSS_AT_LEAST : 0;
	}
	memcpy(cache, &found, size);
	return found.pages ? 0 : -ENODATA;
}
