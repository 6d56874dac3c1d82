/* SPDX-License-Identifier: MIT */
/*
 * wss_present.c - the method of `pml wss` that takes pages of a process away and looks
 * which of them come back.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "rss.h"
#include "say.h"
#include "wake.h"
#include "wss_source.h"

static int failed(const struct source *s, int rc)
{
	if (rc == -ESRCH)
		source_exited(s);
	else if (rc == -ENOSYS)
		say_failed(s->o->command, "--estimator sampling-present: this kernel has no "
			   "process_madvise(2), which takes Linux 5.10");
	else
		say_failed(s->o->command, "process %d: its pages cannot be taken away: %s; run as "
			   "root", (int)s->pid, strerror(-rc));
	return rc;
}

static int present_begin(struct source *s)
{
	struct pml_wss_present_options o = {
		.size = sizeof(o),
		.samples = s->settings->samples,
		.range_start = s->settings->range_start,
		.range_end = s->settings->range_end,
		.seed = 1,
	};
	int rc;

	s->epoch.processes = 1;
	s->epoch.end_ns = wake_now();
	rc = pml_wss_present_open(&s->present, s->pid, &o);
	return rc ? failed(s, rc) : 0;
}

static int present_take(struct source *s, struct wss_sample *sample)
{
	struct pml_wss_present_estimate e = { .size = sizeof(e) };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int rc;

	source_begin_epoch(s, "pageout");
	rc = pml_wss_present_next(s->present, &e);
	s->epoch.cost.collect_ns = wake_now() - s->epoch.end_ns;
	if (rc && rc != -ENODATA)
		return failed(s, rc);
	sample->estimator = wss_kind_name(WSS_PRESENT);
	sample->unknown = rc != 0;
	sample->asks = true;
	sample->asked_pages = e.asked;
	sample->refused_pages = e.refused;
	sample->wss_bytes = e.pages * page;
	sample->rss_bytes = rss_of(s->pid);
	return 0;
}

void source_end_present(struct source *s)
{
	pml_wss_present_close(s->present);
	s->present = NULL;
}

const struct method present_method = { present_begin, present_take };
