/* SPDX-License-Identifier: MIT */
/*
 * session.h - sessions of /dev/pml for the tests that speak to the module
 * itself, by abi/pml_uapi.h, not through the library.
 */
#ifndef PML_TESTS_KMOD_SESSION_H
#define PML_TESTS_KMOD_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pml_uapi.h"

/* A descriptor, or -errno. */
int session_open(void);
/* The number of the target, or -errno. */
int session_add(int fd, uint32_t kind, int64_t id, uint32_t events);
/* PML_TARGET_PROOF by way of /proc/PID/pagemap; -errno of open(2) too. */
int session_add_proof(int fd, pid_t pid, uint32_t events);
int session_remove(int fd, int target);

/* What one collect says. */
struct harvest {
	struct pml_uapi_range *ranges;
	size_t n;
	uint64_t pages;
	uint32_t state;
};

/*
 * Everything of a target in [start, end), in as many calls as it takes; ranges
 * are malloc()ed.  0 or -errno; with a NULL harvest it only re-arms.
 */
int session_collect(int fd, int target, uint32_t events, uint64_t start, uint64_t end,
		    struct harvest *h);
void harvest_free(struct harvest *h);
/* Is [start, end) reported, whole, as dirty? */
bool harvest_has(const struct harvest *h, uint64_t start, uint64_t end);
/* Pages of [start, end) that are reported, OBSERVED or ASSUMED. */
uint64_t harvest_pages(const struct harvest *h, uint64_t start, uint64_t end);

/* Prints a skip for all and exits, where the module is not loaded. */
void need_module(void);

#endif
