/* SPDX-License-Identifier: MIT */
/*
 * The unmodified criu: see redirect.h.
 */
#define _GNU_SOURCE
#include "redirect.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pagemap.h"
#include "slots.h"

static struct slot slots[] = {
	{ .names = { "openat64", "openat" }, .function = (void *)pagemap_openat },
	{ .names = { "ioctl" }, .function = (void *)pagemap_ioctl },
	{ .names = { "pread64", "pread" }, .function = (void *)pagemap_pread },
	{ .names = { "write" }, .function = (void *)pagemap_write },
	{ .names = { "close" }, .function = (void *)pagemap_close },
};

#define NSLOTS (sizeof(slots) / sizeof(slots[0]))

/* Functions of the criu executable.  Their structs differ from version to version, and
 * so they are handed room that is large enough for any. */
struct criu_calls {
	int (*init)(void *cache, int pid, const void *list, size_t size);
	int (*fill)(void *cache, uint64_t start, uint64_t end);
	void (*end)(void *cache);
	int (*reset)(int pid);
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

const char *redirect_take(const char **why)
{
	struct criu_calls calls;
	const char *missing = find_calls(&calls);
	int status;

	*why = "is not among the executable's functions";
	if (missing)
		return missing;
	*why = "is not where the executable calls it";
	if (slots_find(slots, NSLOTS, &missing))
		return missing;
	status = slots_set(slots, NSLOTS);
	*why = strerror(-status);
	if (status)
		return "its call slots";
	*why = "does not come by the plugin";
	missing = try_pagemap(&calls);
	if (!missing)
		missing = try_reset(&calls);
	if (missing)
		redirect_undo();
	return missing;
}

void redirect_undo(void)
{
	slots_restore(slots, NSLOTS);
}
