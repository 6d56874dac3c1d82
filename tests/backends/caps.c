/* SPDX-License-Identifier: MIT */
/*
 * caps.c - what each back-end is held to.  Where a bit is missing, a page may
 * go unreported, but then the result has to name its range as UNCOVERED or say
 * that track was lost: nobody is held to nothing.  docs/coverage.md says the
 * same in words.
 */
#include "suite.h"

#include <string.h>

#define ALL (SEES_DROPS | SEES_KERNEL | SEES_REMOTE | SEES_RACES | SEES_MOVES | \
	     SEES_HUGETLB | SEES_FILES | SEES_MERGES)

static const struct caps table[] = {
	{ "epml", SEES_KERNEL | SEES_RACES | SEES_MOVES | SEES_DROPS | SEES_FILES | SEES_MERGES |
	  RENEWS_HUGE | CLEANS,
	  SEES_KERNEL | SEES_RACES | SEES_MOVES | SEES_DROPS | SEES_FILES | SEES_MERGES |
	  RENEWS_HUGE | CLEANS },
	{ "spml", SEES_KERNEL | SEES_RACES | SEES_MOVES | SEES_DROPS | SEES_FILES | SEES_MERGES |
	  RENEWS_HUGE | CLEANS | REFILLS | FILLS,
	  SEES_KERNEL | SEES_RACES | SEES_MOVES | SEES_DROPS | SEES_FILES | SEES_MERGES |
	  RENEWS_HUGE | CLEANS | REFILLS | FILLS },
	{ "ptscan", SEES_KERNEL | SEES_RACES | SEES_MOVES | SEES_DROPS | SEES_FILES | SEES_MERGES |
	  RENEWS_HUGE | CLEANS | SPREADS,
	  SEES_KERNEL | SEES_RACES | SEES_MOVES | SEES_DROPS | SEES_FILES | SEES_MERGES |
	  RENEWS_HUGE | CLEANS | SPREADS },
	{ "wp-async", ALL, ALL },
	{ "rwp-async", 0, 0 },
	{ "soft-dirty", SEES_KERNEL | SEES_REMOTE | SEES_RACES | SEES_FILES | RENEWS,
	  SEES_KERNEL | SEES_REMOTE | SEES_RACES | SEES_FILES | RENEWS },
	{ "uffd-sync", SEES_KERNEL | SEES_RACES | SEES_MOVES | SEES_MERGES | RENEWS, 0 },
	{ "mprotect", SEES_RACES | SEES_FILES | SEES_MERGES | RENEWS | NAMED_ONLY | SPOILS_CALLS,
	  0 },
	{ "hash", ALL | BY_CONTENT, ALL | BY_CONTENT },
	{ "referenced", 0, 0 },
};

const struct caps *caps_of(const char *backend)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (!strcmp(table[i].name, backend))
			return &table[i];
	return NULL;
}
