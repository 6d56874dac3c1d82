/* SPDX-License-Identifier: MIT */
/*
 * Collections that stand still in their middle, for whoever wants to take a checkpoint
 * of a collector at work: see oracle.h.  Called by oracle.c.
 */
#include "common.h"
#include "oracle.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STEP_NS 10000000

static const char *file;
static GC_on_collection_event_proc next_event;

/* The world is stopped: no malloc, no stdio.  Nothing is open while it waits, for the
 * file may be another one when a checkpoint is restored. */
static void stay(void)
{
	static const char words[] = "in mid-collection\n";
	const struct timespec step = { .tv_nsec = STEP_NS };
	int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return;
	if (write(fd, words, sizeof(words) - 1) < 0)
		_exit(1);
	close(fd);
	while (stat(file, &st) == 0 && st.st_size)
		nanosleep(&step, NULL);
}

/* After libpml-gc's: what is dirty has been told, and marking is about to begin. */
static void GC_CALLBACK on_event(GC_EventType event)
{
	if (next_event)
		next_event(event);
	if (event == GC_EVENT_MARK_START)
		stay();
}

void stay_from_now_on(const struct wishes *w)
{
	if (!w->stay)
		return;
	file = w->stay;
	next_event = GC_get_on_collection_event();
	GC_set_on_collection_event(on_event);
}
