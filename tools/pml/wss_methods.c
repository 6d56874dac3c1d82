/* SPDX-License-Identifier: MIT */
/*
 * wss_methods.c - methods of `pml wss` that read a number: the sums in a process's smaps,
 * what the system has promised, a cgroup that is given less and less.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rss.h"
#include "say.h"
#include "wake.h"
#include "wss_source.h"

int source_limit_failed(const struct source *s, int rc)
{
	if (rc == -ESRCH)
		say_failed(s->o->command, "cgroup %s: it has been removed; nothing is left "
			   "to measure", s->cgroup);
	else
		say_failed(s->o->command, "cgroup %s: memory.high cannot be set: %s; run "
			   "as root", s->cgroup, strerror(-rc));
	return rc;
}

void source_exited(const struct source *s)
{
	if (!s->o->argv)
		say_failed(s->o->command, "process %d: it exited; nothing is left to measure",
			   (int)s->pid);
}

uint64_t source_floor(const struct source *s)
{
	return (uint64_t)s->settings->floor_mib << 20;
}

void source_begin_epoch(struct source *s, const char *backend)
{
	s->epoch.number++;
	s->epoch.begin_ns = s->epoch.end_ns;
	s->epoch.backend = backend;
	s->epoch.page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	s->epoch.parts = 1;
	s->epoch.end_ns = wake_now();
}

static int smaps_begin(struct source *s)
{
	int rc = smaps_open(&s->smaps, s->pid);

	s->epoch.processes = 1;
	s->epoch.end_ns = wake_now();
	if (rc)
		say_failed(s->o->command, "process %d: its accessed bits cannot be "
			   "cleared: %s; run as its user or as root, and end other trackers of it",
			   (int)s->pid, strerror(-rc));
	return rc;
}

static int smaps_take_source(struct source *s, struct wss_sample *sample)
{
	struct smaps_sums sums;
	int rc;

	source_begin_epoch(s, "referenced");
	rc = smaps_take(&s->smaps, &sums);
	s->epoch.cost.collect_ns = wake_now() - s->epoch.end_ns;
	if (rc == -ESRCH)
		source_exited(s);
	else if (rc)
		say_failed(s->o->command, "process %d: its smaps cannot be read; run as its user "
			   "or as root", (int)s->pid);
	if (rc)
		return rc;
	sample->estimator = wss_kind_name(WSS_REFERENCED);
	sample->rss_bytes = sums.rss_bytes;
	sample->wss_bytes = sums.referenced_bytes;
	return 0;
}

static int committed_begin(struct source *s)
{
	s->epoch.end_ns = wake_now();
	return 0;
}

static int committed_take(struct source *s, struct wss_sample *sample)
{
	unsigned long long total = 0, available = 0, committed = 0;
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];

	source_begin_epoch(s, "meminfo");
	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "MemTotal: %llu", &total);
		sscanf(line, "MemAvailable: %llu", &available);
		sscanf(line, "Committed_AS: %llu", &committed);
	}
	if (file)
		fclose(file);
	if (!committed) {
		say_failed(s->o->command, "/proc/meminfo: it does not tell Committed_AS; "
			   "mount /proc");
		return -EIO;
	}
	s->epoch.cost.collect_ns = wake_now() - s->epoch.end_ns;
	sample->estimator = wss_kind_name(WSS_COMMITTED);
	sample->wss_bytes = committed * 1024;
	sample->rss_bytes = (total - available) * 1024;
	return 0;
}

/* ---- a cgroup that is given less and less ---- */

static int balloon_begin(struct source *s)
{
	s->epoch.end_ns = wake_now();
	s->balloon.floor = source_floor(s);
	return limit_begin(&s->limit, s->cgroup);
}

static int balloon_take(struct source *s, struct wss_sample *sample)
{
	struct balloon_sums sums;
	int rc;

	source_begin_epoch(s, "memory.high");
	rc = balloon_step(&s->balloon, &s->limit, s->epoch.end_ns - s->epoch.begin_ns, &sums);
	s->epoch.cost.collect_ns = wake_now() - s->epoch.end_ns;
	if (rc)
		return source_limit_failed(s, rc);
	sample->estimator = wss_kind_name(WSS_ZBALLOOND);
	sample->wss_bytes = sums.wss;
	sample->rss_bytes = rss_of_cgroup(s->cgroup);
	sample->limits = true;
	sample->high_bytes = s->limit.high;
	sample->refaults = sums.refaults;
	sample->released = sums.released;
	return 0;
}

const struct method smaps_method = { smaps_begin, smaps_take_source };
const struct method committed_method = { committed_begin, committed_take };
const struct method balloon_method = { balloon_begin, balloon_take };
