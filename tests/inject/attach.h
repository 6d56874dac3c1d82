/* SPDX-License-Identifier: MIT */
/* attach.h - attaching over and over, as the test programs of this folder do. */
#ifndef PML_TESTS_INJECT_ATTACH_H
#define PML_TESTS_INJECT_ATTACH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What some attaches took, in nanoseconds. */
struct attach_times {
	size_t n;
	uint64_t stop[1024];
	uint64_t window[1024];
};

/*
 * Attaches n times, milliseconds apart, and lets go.  Each time the descriptor
 * must take the API handshake.  Returns how many failed; the first is noted.
 */
unsigned int attach_times(pid_t pid, unsigned int n, unsigned int pause_ms,
			  struct attach_times *times);
/* Notes smallest, median, 90 % and largest. */
void attach_note(struct attach_times *times, const char *what);

#endif /* PML_TESTS_INJECT_ATTACH_H */
