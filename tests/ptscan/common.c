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
