/* SPDX-License-Identifier: MIT */
/*
 * pause.h - waits for a while, whatever signals the program handles meanwhile.
 * Used where something else must have had that time: clear_refs.c,
 * inject_copies.c, inject_target.c, strays.c, uffd.c.
 */
#ifndef PML_PAUSE_H
#define PML_PAUSE_H

#include <errno.h>
#include <stdint.h>
#include <time.h>

/* To a moment, not for a time: so many signals make it no longer, either. */
static inline void pml_pause_ns(uint64_t ns)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	ns += (uint64_t)until.tv_nsec;
	until.tv_sec += (time_t)(ns / 1000000000u);
	until.tv_nsec = (long)(ns % 1000000000u);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

#endif /* PML_PAUSE_H */
