/* SPDX-License-Identifier: MIT */
/* common.c - what the tests of ptscan share; see common.h. */
#define _GNU_SOURCE
#include "common.h"

#include "tap.h"
#include "tracker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void need_module(void)
{
	int fd = open("/dev/pml", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("1..0 # SKIP /dev/pml: %s\n", strerror(errno));
		exit(TAP_SKIP_ALL);
	}
	close(fd);
}

void stop_damon(void)
{
	int fd = open("/sys/module/damon_stat/parameters/enabled", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "N", 1) != 1)
		tap_note("DAMON goes on: %s", strerror(errno));
	close(fd);
}

struct pml *start_tracker(struct pml_options *o)
{
	o->size = sizeof(*o);
	o->backend = "ptscan";
	return tracker_start(o);
}

bool is_told(struct pml *t, const volatile void *addr)
{
	uint64_t at = (uintptr_t)addr;
	const struct pml_result *r;

	if (pml_collect(t, NULL, &r))
		return false;
	for (size_t i = 0; i < r->nranges; i++)
		if (r->ranges[i].start <= at && at < r->ranges[i].end)
			return true;
	return false;
}

void sleep_ms(long ms)
{
	struct timespec t = { 0, ms * 1000000 };

	nanosleep(&t, NULL);
}
