/* SPDX-License-Identifier: MIT */
/*
 * libpml-criu.so, a plugin for CRIU (criu -L DIRECTORY): `criu pre-dump` and
 * `criu dump --track-mem` take their dirty pages from libpml.
 *
 * A criu with hooks for that (patches/) is asked for them by name when the plugin is
 * loaded, before it reads the descriptor (hooks.c).  CRIU as distributions ship it has
 * none: there the plugin's init, before anything is frozen, redirects criu's own calls
 * (redirect.c); and if it cannot, criu is told to stop.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "criu_abi.h"
#include "files.h"
#include "hooks.h"
#include "redirect.h"
#include "round.h"
#include "say.h"
#include "tree.h"

static pid_t criu;
static bool has_hooks;

static int refuse(const char *what, const char *why)
{
	say(CRIU_LOG_ERROR, "this criu cannot be served: %s %s; run it without the plugin",
	    what, why);
	return -1;
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
	int (*image_dir)(void);
	const char *missing, *why;

	if (stage != CRIU_STAGE_DUMP && stage != CRIU_STAGE_PRE_DUMP)
		return 0;
	*(void **)&image_dir = dlsym(RTLD_DEFAULT, "criu_get_image_dir");
	if (!image_dir)
		return refuse("criu_get_image_dir", "is not among the executable's functions");
	missing = has_hooks ? NULL : redirect_take(&why);
	if (missing)
		return refuse(missing, why);
	criu = getpid();
	if (on_exit(on_end, NULL)) {
		if (!has_hooks)
			redirect_undo();
		return refuse("on_exit", "failed");
	}
	if (has_hooks)
		say(CRIU_LOG_INFO, "this criu has hooks for dirty pages");
	round_begin(image_dir());
	return 0;
}

static void end(int stage, int ret)
{
	(void)stage;
	(void)ret;
}

/* Before a process of the tree is frozen, the root first.  When criu names the others, the
 * root stands still already, and with --freeze-cgroup all do, and cannot be attached to any
 * more.  "Not mine" leaves other plugins their turn. */
static int before_freeze(int pid)
{
	tree_visit(pid, round_attach);
	return -ENOTSUP;
}

extern struct criu_plugin_desc CR_PLUGIN_DESC __attribute__((visibility("default")));

struct criu_plugin_desc CR_PLUGIN_DESC = {
	.name = "pml_criu",
	.init = begin,
	.exit = end,
	.version = CRIU_PLUGIN_VERSION_0_2,
	.max_hooks = CRIU_HOOKS,
	.hooks[CRIU_HOOK_DUMP_EXT_FILE] = (void *)files_dump,
	.hooks[CRIU_HOOK_RESTORE_EXT_FILE] = (void *)files_restore,
	.hooks[CRIU_HOOK_PAUSE_DEVICES] = (void *)before_freeze,
};

/* When it is loaded.  Their numbers are those of this criu, which may have got other
 * hooks since. */
__attribute__((constructor)) static void find_hooks(void)
{
	int (*number)(const char *name);
	int scan, reset;

	*(void **)&number = dlsym(RTLD_DEFAULT, "criu_plugin_hook");
	if (!number)
		return;
	scan = number("DIRTY_TRACK_SCAN");
	reset = number("DIRTY_TRACK_RESET");
	if (scan < CRIU_HOOKS || reset < CRIU_HOOKS || scan >= CRIU_HOOKS_ROOM ||
	    reset >= CRIU_HOOKS_ROOM)
		return;
	CR_PLUGIN_DESC.hooks[scan] = (void *)hooks_scan;
	CR_PLUGIN_DESC.hooks[reset] = (void *)hooks_reset;
	CR_PLUGIN_DESC.max_hooks = (unsigned int)(scan > reset ? scan : reset) + 1;
	has_hooks = true;
}
