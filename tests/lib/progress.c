/* SPDX-License-Identifier: MIT */
/* Waiting for another process; see progress.h. */
#include "progress.h"

#include <time.h>

void progress_wait(const volatile unsigned long *count)
{
	const struct timespec step = { 0, 1000000 };
	unsigned long seen = *count;

	for (int i = 0; i < 60000 && *count - seen < 2; i++)
		nanosleep(&step, NULL);
}
