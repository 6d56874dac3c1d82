/* SPDX-License-Identifier: MIT */
/*
 * A memory shared by several, by how much all of them ask for together: pml_wss_mpa().
 *
 * Four wants come one after the other: what is lost but for swap, the files in use, the
 * files not used of late, and room to grow.  Each is met for all tenants, or, where the
 * memory ends in it, in proportion.
 */
#define _GNU_SOURCE
#include "pml_wss.h"

#include <errno.h>

enum want { ANON, FILES, IDLE, ROOM, WANTS };

static uint64_t wanted(const struct pml_wss_tenant *t, enum want want)
{
	uint64_t idle = t->idle_pages < t->file_pages ? t->idle_pages : t->file_pages;

	switch (want) {
	case ANON:
		return t->anon_pages;
	case FILES:
		return t->file_pages - idle;
	case IDLE:
		return idle;
	default:
		return 1;	/* room is for all alike */
	}
}

/* What is left after this want. */
static uint64_t give(struct pml_wss_tenant *tenants, size_t n, enum want want, uint64_t left)
{
	uint64_t sum = 0, given = 0;

	for (size_t i = 0; i < n; i++)
		sum += wanted(&tenants[i], want);
	for (size_t i = 0; i < n; i++) {
		uint64_t pages = wanted(&tenants[i], want);

		if (want == ROOM || sum > left)
			pages = (uint64_t)((unsigned __int128)left * pages / sum);
		tenants[i].pages += pages;
		given += pages;
	}
	return left - given;
}

int pml_wss_mpa(struct pml_wss_tenant *tenants, size_t ntenants, uint64_t memory_pages)
{
	uint64_t anon = 0, all = 0, left = memory_pages;

	if (!ntenants || !memory_pages)
		return -EINVAL;
	for (size_t i = 0; i < ntenants; i++) {
		struct pml_wss_tenant *t = &tenants[i];

		t->pages = 0;
		if (__builtin_add_overflow(anon, t->anon_pages, &anon) ||
		    __builtin_add_overflow(all, t->anon_pages, &all) ||
		    __builtin_add_overflow(all, t->file_pages, &all))
			return -EINVAL;
	}
	for (enum want want = ANON; want < WANTS; want++)
		left = give(tenants, ntenants, want, left);
	return anon > memory_pages ? PML_WSS_ABOVE : all > memory_pages ? PML_WSS_AT :
	       PML_WSS_BELOW;
}
