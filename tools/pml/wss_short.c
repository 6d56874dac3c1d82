/* SPDX-License-Identifier: MIT */
/*
 * wss_short.c - methods of `pml wss` that go by memory that is short: what cgroups ask
 * for together, what comes back from zswap, what is swapped out and comes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup_file.h"
#include "rss.h"
#include "say.h"
#include "wake.h"
#include "wss_source.h"

#define STAT_MAX 8192
#define ZSWAP "/sys/module/zswap/parameters/enabled"

static int gone(const struct source *s)
{
	say_failed(s->o->command, "cgroup %s: it has been removed; nothing is left to measure",
		   s->cgroup);
	return -ESRCH;
}

static int open_cgroup(struct source *s)
{
	int rc = 0;

	s->epoch.end_ns = wake_now();
	s->directory = open(s->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->directory < 0 || faccessat(s->directory, "memory.stat", R_OK, 0) ||
	    faccessat(s->directory, "memory.current", R_OK, 0))
		rc = -errno;
	if (rc)
		say_failed(s->o->command, "cgroup %s: its memory.current cannot be read: %s; name "
			   "a cgroup v2 below the root whose parent has +memory in "
			   "cgroup.subtree_control", s->cgroup, strerror(-rc));
	return rc;
}

static uint64_t read_number(int directory, const char *name)
{
	char text[64] = "";

	cgroup_read(directory, name, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

/* What is on swap and not in memory too. */
static uint64_t only_swapped(int directory, const char *stat)
{
	uint64_t swapped = read_number(directory, "memory.swap.current");
	uint64_t both = cgroup_number(stat, "swapcached");

	return swapped > both ? swapped - both : 0;
}

/* ---- what cgroups ask for together ---- */

static uint64_t host_memory(const struct source *s)
{
	char text[4096] = "";
	unsigned long long kb = 0;
	const char *line;

	if (s->settings->memory_mib)
		return (uint64_t)s->settings->memory_mib << 20;
	cgroup_read(AT_FDCWD, "/proc/meminfo", text, sizeof(text));
	line = strstr(text, "MemTotal:");
	if (line)
		sscanf(line, "MemTotal: %llu", &kb);
	return kb * 1024;
}

/* Returns 0 or -errno. */
static int look_at_tenant(const struct source *s, struct pml_wss_tenant *t)
{
	char stat[STAT_MAX];
	int rc = cgroup_read(s->directory, "memory.stat", stat, sizeof(stat));
	uint64_t shared, file;

	*t = (struct pml_wss_tenant){ 0 };
	if (rc)
		return rc;
	shared = cgroup_number(stat, "shmem");
	t->anon_pages = (cgroup_number(stat, "anon") + shared + cgroup_number(stat, "kernel") +
			 only_swapped(s->directory, stat)) / s->epoch.page_size;
	/* shared pages are among the file's, but not each count is of the same moment */
	file = cgroup_number(stat, "file");
	t->file_pages = (file > shared ? file - shared : 0) / s->epoch.page_size;
	t->idle_pages = cgroup_number(stat, "inactive_file") / s->epoch.page_size;
	if (t->idle_pages > t->file_pages)
		t->idle_pages = t->file_pages;
	return 0;
}

static int mpa_take(struct source *s, struct wss_sample *sample)
{
	static const char *const states[] = { "below", "at", "above" };
	struct pml_wss_tenant *tenants, *own;
	uint64_t memory = host_memory(s);
	int rc = 0;

	source_begin_epoch(s, "memory.stat");
	tenants = calloc(s->nall, sizeof(*tenants));
	if (!tenants)
		return -ENOMEM;
	own = &tenants[s - s->all];
	/* those that have gone ask for nothing */
	for (size_t i = 0; i < s->nall; i++) {
		int err;

		s->all[i].epoch.page_size = s->epoch.page_size;
		err = look_at_tenant(&s->all[i], &tenants[i]);
		if (&tenants[i] == own)
			rc = err;
	}
	if (rc == 0)
		rc = pml_wss_mpa(tenants, s->nall, memory / s->epoch.page_size);
	s->epoch.cost.collect_ns = wake_now() - s->epoch.end_ns;
	if (rc >= 0) {
		sample->estimator = wss_kind_name(WSS_MPA);
		sample->wss_bytes = (own->anon_pages + own->file_pages - own->idle_pages) *
				    s->epoch.page_size;
		sample->rss_bytes = rss_of_cgroup(s->cgroup);
		sample->pressure = states[rc];
		sample->share_bytes = own->pages * s->epoch.page_size;
		sample->host_bytes = memory;
	}
	free(tenants);
	return rc < 0 ? gone(s) : 0;
}

/* ---- what comes back from zswap ---- */

static bool zswap_is_on(void)
{
	char text[8] = "";

	return cgroup_read(AT_FDCWD, ZSWAP, text, sizeof(text)) == 0 && text[0] == 'Y';
}

static int look_at_cache(const struct source *s, struct pml_wss_cache_look *look)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), current, stored, swapped;
	char stat[STAT_MAX];
	int rc = cgroup_read(s->directory, "memory.stat", stat, sizeof(stat));

	if (rc)
		return rc;
	if (!strstr(stat, "zswapped "))
		return -ENOSYS;
	current = read_number(s->directory, "memory.current");
	stored = cgroup_number(stat, "zswap");
	/* before Linux 6.9 what has come back may be in the cache as well */
	swapped = only_swapped(s->directory, stat);
	*look = (struct pml_wss_cache_look){
		.resident = (current > stored ? current - stored : 0) / page,
		.stored = cgroup_number(stat, "zswapped"),
		.hits = cgroup_number(stat, "zswpin"),
		.refaults = cgroup_number(stat, "workingset_refault_anon"),
	};
	look->stored = (look->stored < swapped ? look->stored : swapped) / page;
	return 0;
}

static int cache_begin(struct source *s)
{
	int rc = open_cgroup(s);

	if (rc)
		return rc;
	rc = zswap_is_on() ? look_at_cache(s, &s->looks[0]) : -ENOSYS;
	s->nlooks = 1;
	if (rc)
		say_failed(s->o->command, "--estimator exclusive-cache: it goes by zswap, which is "
			   "off or missing here; have swap, and write Y to %s", ZSWAP);
	return rc;
}

static int cache_take(struct source *s, struct wss_sample *sample)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint32_t window = s->settings->window ? s->settings->window : 8;
	struct pml_wss_cache cache = { .size = sizeof(cache) };

	source_begin_epoch(s, "zswap");
	if (s->nlooks == window + 1) {
		memmove(s->looks, s->looks + 1, window * sizeof(s->looks[0]));
		s->nlooks--;
	}
	if (look_at_cache(s, &s->looks[s->nlooks]))
		return gone(s);
	s->nlooks++;
	sample->fetches = true;
	sample->unknown = pml_wss_exclusive(s->looks, s->nlooks, &cache) != 0;
	sample->estimator = wss_kind_name(WSS_EXCLUSIVE);
	sample->wss_bytes = cache.pages * page;
	sample->more_bytes = cache.more_pages * page;
	sample->stored_bytes = s->looks[s->nlooks - 1].stored * page;
	sample->came_pages = cache.hits + cache.misses;
	sample->at_least = cache.flags & PML_WSS_AT_LEAST;
	sample->rss_bytes = rss_of_cgroup(s->cgroup);
	s->epoch.cost.collect_ns = wake_now() - s->epoch.end_ns;
	return 0;
}

/* ---- what is swapped out and comes back ---- */

struct places {
	pid_t *pids;
	size_t npids;
	size_t pids_room;
	struct pml_wss_place *places;
	size_t n;
	size_t room;
};

static int note_pid(void *arg, pid_t pid)
{
	struct places *p = arg;

	if (p->npids == p->pids_room) {
		size_t room = p->pids_room ? 2 * p->pids_room : 64;
		pid_t *grown = reallocarray(p->pids, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		p->pids = grown;
		p->pids_room = room;
	}
	p->pids[p->npids++] = pid;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const pid_t *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

/* Has the module, where there is one that can, tell of it; without, the looks must do. */
static int follow(struct source *s, pid_t pid)
{
	int rc = s->unfollowed ? 0 : pml_wss_geiger_follow(s->geiger, pid);

	s->unfollowed |= rc && rc != -ESRCH;
	return rc == -ENOMEM ? rc : 0;
}

/* More may be there when it is looked at again: a process goes on meanwhile. */
static int look_at_process(struct places *p, pid_t pid)
{
	for (;;) {
		int64_t n = pml_wss_places(pid, p->places + p->n, p->room - p->n);
		struct pml_wss_place *grown;

		if (n < 0)
			return (int)n;
		if ((size_t)n <= p->room - p->n) {
			p->n += (size_t)n;
			return 0;
		}
		p->room = p->n + (size_t)n + (size_t)n / 4 + 1024;
		grown = reallocarray(p->places, p->room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		p->places = grown;
	}
}

static int follow_and_look(struct source *s, struct places *p, pid_t pid)
{
	int rc = follow(s, pid);

	return rc ? rc : look_at_process(p, pid);
}

static int look_at_cgroup(struct source *s, struct places *p)
{
	int rc = cgroup_each(s->cgroup, note_pid, p);

	if (rc == 0)
		qsort(p->pids, p->npids, sizeof(*p->pids), by_number);
	for (size_t i = 0; rc == 0 && i < p->npids; i++) {
		if (i && p->pids[i] == p->pids[i - 1])
			continue;
		rc = follow_and_look(s, p, p->pids[i]);
		/* it has ended since */
		if (rc == -ESRCH)
			rc = 0;
	}
	s->epoch.processes = (uint32_t)p->npids;
	return rc;
}

static int geiger_look(struct source *s)
{
	struct places p = { 0 };
	int rc = s->cgroup ? look_at_cgroup(s, &p) : follow_and_look(s, &p, s->pid);

	if (rc == 0)
		rc = pml_wss_geiger_add(s->geiger, p.places, p.n);
	free(p.pids);
	free(p.places);
	return rc;
}

static int geiger_failed(const struct source *s, int rc)
{
	if (rc == -ESRCH && s->cgroup)
		return gone(s);
	if (rc == -ESRCH)
		source_exited(s);
	else if (rc == -ENOMEM)
		say_failed(s->o->command, "out of memory: it needs some MiB for what is swapped "
			   "out; end something");
	else
		say_failed(s->o->command, "%s: where its pages are cannot be read: %s; run as its "
			   "user or as root", s->cgroup ? s->cgroup : "the process", strerror(-rc));
	return rc;
}

static int geiger_begin(struct source *s)
{
	struct pml_wss_geiger_options o = { .size = sizeof(o), .window = s->settings->window };
	int rc = pml_wss_geiger_open(&s->geiger, &o);

	s->epoch.processes = 1;
	s->epoch.end_ns = wake_now();
	/* what is out now went before the first epoch */
	if (rc == 0)
		rc = geiger_look(s);
	if (rc == -ESRCH && s->cgroup)
		say_failed(s->o->command, "cgroup %s: it has no cgroup.procs; name a cgroup v2",
			   s->cgroup);
	else if (rc)
		geiger_failed(s, rc);
	return rc;
}

static int geiger_take(struct source *s, struct wss_sample *sample)
{
	struct pml_wss_geiger_estimate e = { .size = sizeof(e) };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int rc;

	source_begin_epoch(s, s->unfollowed ? "pagemap" : "swaps");
	rc = geiger_look(s);
	if (rc)
		return geiger_failed(s, rc);
	sample->fetches = true;
	sample->unknown = pml_wss_geiger_get(s->geiger, &e) != 0;
	sample->estimator = wss_kind_name(WSS_GEIGER);
	sample->wss_bytes = e.pages * page;
	sample->more_bytes = e.more_pages * page;
	sample->stored_bytes = e.swapped_pages * page;
	sample->came_pages = e.came_pages;
	sample->memory_bytes = e.memory_bytes;
	sample->rss_bytes = s->cgroup ? rss_of_cgroup(s->cgroup) : rss_of(s->pid);
	s->epoch.cost.collect_ns = wake_now() - s->epoch.end_ns;
	return 0;
}

void source_end_short(struct source *s)
{
	if (s->directory >= 0)
		close(s->directory);
	s->directory = -1;
	pml_wss_geiger_close(s->geiger);
	s->geiger = NULL;
}

const struct method mpa_method = { open_cgroup, mpa_take };
const struct method cache_method = { cache_begin, cache_take };
const struct method geiger_method = { geiger_begin, geiger_take };
