/* SPDX-License-Identifier: MIT */
/*
 * libpml-criu.so, a plugin for CRIU as distributions ship it (criu -L DIRECTORY):
 * `criu pre-dump` and `criu dump --track-mem` take their dirty pages from libpml.
 *
 * CRIU has no hook for that.  So the plugin's init, before anything is frozen, sets
 * the slots through which the criu executable calls openat, ioctl, pread, write and
 * close to functions of its own (pagemap.c), which pass on whatever is not about
 * /proc/PID/pagemap or clear_refs.  Then it has criu's own functions called on criu
 * itself, and looks whether they come by.  If a slot is missing, or one of them does
 * not come by, all is put back and criu is told to stop.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "criu_abi.h"
#include "pagemap.h"
#include "round.h"
#include "say.h"
#include "slots.h"

static struct slot slots[] = {
	{ .names = { "openat64", "openat" }, .function = (void *)pagemap_openat },
	{ .names = { "ioctl" }, .function = (void *)pagemap_ioctl },
	{ .names = { "pread64", "pread" }, .function = (void *)pagemap_pread },
	{ .names = { "write" }, .function = (void *)pagemap_write },
	{ .names = { "close" }, .function = (void *)pagemap_close },
};

#define NSLOTS (sizeof(slots) / sizeof(slots[0]))

static pid_t criu;

/* Functions of the criu executable.  Their structs differ from version to version, and
 * so they are handed room that is large enough for any. */
struct criu_calls {
	int (*init)(void *cache, int pid, const void *list, size_t size);
	int (*fill)(void *cache, uint64_t start, uint64_t end);
	void (*end)(void *cache);
	int (*reset)(int pid);
	int (*image_dir)(void);
};

static const char *find_calls(struct criu_calls *c)
{
	const struct {
		const char *name;
		void **to;
	} wanted[] = {
		{ "pmc_init", (void **)&c->init },
		{ "pmc_fill", (void **)&c->fill },
		{ "pmc_fini", (void **)&c->end },
		{ "do_task_reset_dirty_track", (void **)&c->reset },
		{ "criu_get_image_dir", (void **)&c->image_dir },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		*wanted[i].to = dlsym(RTLD_DEFAULT, wanted[i].name);
		if (!*wanted[i].to)
			return wanted[i].name;
	}
	return NULL;
}

/* What does not come by is named. */
static const char *try_pagemap(const struct criu_calls *c)
{
	static union {
		char room[8192];
		long align;
	} cache;
	size_t size = 2u << 20;
	char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *list[2] = { list, list };
	struct pagemap_seen seen;
	bool filled;

	if (page == MAP_FAILED)
		return "memory to try it with";
	page[0] = 1;
	pagemap_try(true, &seen);
	filled = !c->init(&cache, getpid(), list, size);
	if (filled) {
		filled = !c->fill(&cache, (uintptr_t)page, (uintptr_t)page + size);
		c->end(&cache);
	}
	pagemap_try(false, &seen);
	munmap(page, size);
	if (!filled || !seen.opened || !seen.closed)
		return "its opening of the pagemap";
	return seen.read ? NULL : "its reading of the pagemap";
}

static const char *try_reset(const struct criu_calls *c)
{
	struct pagemap_seen seen;
	int status;

	pagemap_try(true, &seen);
	status = c->reset(getpid());
	pagemap_try(false, &seen);
	return !status && seen.opened && seen.cleared ? NULL : "its writing to clear_refs";
}

static int refuse(const char *what, const char *why)
{
	say(CRIU_LOG_ERROR, "this criu cannot be served: %s %s; run it without the plugin",
	    what, why);
	return -1;
}

static int take_slots(const struct criu_calls *c)
{
	const char *missing;
	int status = slots_find(slots, NSLOTS, &missing);

	if (status)
		return refuse(missing, "is not where the executable calls it");
	status = slots_set(slots, NSLOTS);
	if (status)
		return refuse("its call slots", strerror(-status));
	missing = try_pagemap(c);
	if (!missing)
		missing = try_reset(c);
	if (!missing)
		return 0;
	slots_restore(slots, NSLOTS);
	return refuse(missing, "does not come by the plugin");
}

/* Children of criu's end too, and are not criu. */
static void on_end(int status, void *unused)
{
	(void)unused;
	if (getpid() == criu)
		round_end(status == 0);
}

static int begin(int stage)
{
	struct criu_calls calls;
	const char *missing;

	if (stage != CRIU_STAGE_DUMP && stage != CRIU_STAGE_PRE_DUMP)
		return 0;
	missing = find_calls(&calls);
	if (missing)
		return refuse(missing, "is not among the executable's functions");
	if (take_slots(&calls))
		return -1;
	criu = getpid();
	if (on_exit(on_end, NULL)) {
		slots_restore(slots, NSLOTS);
		return refuse("on_exit", "failed");
	}
	round_begin(calls.image_dir());
	return 0;
}

static void end(int stage, int ret)
{
	(void)stage;
	(void)ret;
}

/* Before a process of the tree is frozen.  "Not mine" leaves other plugins their turn. */
static int before_freeze(int pid)
{
	round_attach(pid);
	return -ENOTSUP;
}

extern struct criu_plugin_desc CR_PLUGIN_DESC __attribute__((visibility("default")));

struct criu_plugin_desc CR_PLUGIN_DESC = {
	.name = "pml_criu",
	.init = begin,
	.exit = end,
	.version = CRIU_PLUGIN_VERSION_0_2,
	.max_hooks = CRIU_HOOKS,
	.hooks[CRIU_HOOK_PAUSE_DEVICES] = (void *)before_freeze,
};
