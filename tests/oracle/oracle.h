/* SPDX-License-Identifier: MIT */
/*
 * oracle.h - memory whose changes are known.  An oracle owns one region and
 * changes it only by command, so that after each command it can say which
 * pages changed.  Linked into the programs that track themselves, and into
 * `writer`, which takes the same commands from a pipe and is tracked from
 * outside.
 */
#ifndef PML_TESTS_ORACLE_H
#define PML_TESTS_ORACLE_H

#include <stddef.h>
#include <stdint.h>

enum oracle_kind {
	ORACLE_ANON,
	ORACLE_MEMFD,		/* MAP_SHARED of a memfd */
	ORACLE_FILE_PRIVATE,	/* MAP_PRIVATE of a file */
	ORACLE_FILE_SHARED,	/* MAP_SHARED of a file */
	ORACLE_HUGETLB,		/* private anonymous, 2 MiB pages */
	ORACLE_KINDS
};

struct oracle_spec {
	enum oracle_kind kind;
	int thp;		/* ask for transparent huge pages */
	int threads;		/* that write; 1: the caller */
	size_t pages;		/* of the region, before rounding up to 2 MiB */
	uint64_t seed;
};

/* Bits of oracle.soft. */
#define ORACLE_SOFT	1u	/* first touched, swapped or replaced: may be ASSUMED */
#define ORACLE_DROPPED	2u	/* dropped or replaced: counts as dirty, whatever was in it */
#define ORACLE_PROTECTED	16u	/* its protection was changed and changed back */
#define ORACLE_CLEANED	32u	/* it may have been written back to its file */

struct oracle {
	struct oracle_spec spec;
	size_t page;		/* page size */
	unsigned char *base;	/* of the region */
	size_t pages;		/* in it, the spare part for moves included */
	size_t main_pages;	/* without the spare part */
	/*
	 * What the last command did, a byte a page.  changed: the content is not
	 * what it was, so the page must be reported.  soft: first touched,
	 * dropped, swapped or replaced (ORACLE_SOFT), so it may be reported as
	 * ASSUMED; dropped (ORACLE_DROPPED), so it counts as dirty whatever was in it.
	 */
	uint8_t *changed;
	uint8_t *soft;
	uint64_t begin_ns;	/* when the last command began and ended */
	uint64_t end_ns;
	struct oracle_private *priv;
};

const char *oracle_kind_name(enum oracle_kind kind);
int oracle_kind_by_name(const char *name);	/* -1: none */

/* 0 or -errno.  Pages are populated but for the last eighth. */
int oracle_open(struct oracle *o, const struct oracle_spec *spec);
void oracle_close(struct oracle *o);

/*
 * Runs one command; 0 or -errno (-ENOTSUP: not with this kind, -ENODATA: the
 * kernel did not do what was asked, as with swap when there is none).
 *   none             nothing
 *   mix              writes, reads and now and then drops pages, at random
 *   write N          a word in each of N random pages
 *   writeall         a word in every page
 *   writenew N       N pages that were never written
 *   readnew N        reads N pages that were never touched
 *   read N           reads N random pages that are present
 *   kread N          read(2) into N random pages
 *   dontneed N       MADV_DONTNEED on N pages in a row
 *   free N           MADV_FREE
 *   discard N        MADV_FREE, then reclaimed: the content is gone
 *   remap N          munmap N pages in a row, mmap them again
 *   move             mremap a part of the region to the spare part, or back
 *   fork N           a child writes the whole region; meanwhile the parent
 *                    writes N pages
 *   protect N        mprotect N pages in a row to read-only and back
 *   sync             writes the mapped file back to its disk
 *   collapse         MADV_COLLAPSE
 *   pageout N        swaps N pages in a row out
 *   swapwrite N      writes N pages in a row and swaps them out
 *   merge N          fills N pages in a row alike; KSM has made them one
 *   unmerge          each has its own again, and KSM has forgotten them
 *   alias N          writes N pages through another mapping of the same file
 *   race T           T threads begin to write random pages without end
 *   rarely T         as race, with a pause after each write
 *   churn T          as race, with one thread that drops and remaps too
 *   stop             ends the race
 *   pin N            registers the first N pages as an io_uring buffer
 *   pinread N        reads into one of these pages through that buffer
 *   direct           opens a file for direct I/O and keeps it open
 *   share            maps the file a second time and keeps that
 *   own N            a userfaultfd of the oracle's own takes the first N pages
 *   syncing          as sync, again and again, by a thread of its own
 *   release          ends the last five
 */
int oracle_do(struct oracle *o, const char *command);

#endif
