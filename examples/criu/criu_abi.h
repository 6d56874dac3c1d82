/* SPDX-License-Identifier: MIT */
/*
 * criu_abi.h - what this plugin uses of CRIU: the layout of a plugin's descriptor,
 * version 0.2, and the names of a few functions that the criu executable exports.
 * Debian ships no header for plugins; these are facts of CRIU's plugin interface
 * (criu-plugin.h, which has not changed them since CRIU 2).  Included by plugin.c,
 * and by the stand-in for criu in tests/.
 */
#ifndef PML_CRIU_ABI_H
#define PML_CRIU_ABI_H

#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define CRIU_PLUGIN_VERSION_0_2 (2u << 8)

/* Up to the last hook that is used: a CRIU with fewer refuses the plugin by itself.
 * One with more does not look beyond. */
enum {
	CRIU_HOOK_DUMP_EXT_FILE = 2,
	CRIU_HOOK_RESTORE_EXT_FILE = 3,
	CRIU_HOOK_PAUSE_DEVICES = 10,
	CRIU_HOOKS = 11,
	/* Those for dirty pages are asked for by name, and may have any number up to this. */
	CRIU_HOOKS_ROOM = 64,
};

enum criu_stage {
	CRIU_STAGE_DUMP = 0,
	CRIU_STAGE_PRE_DUMP = 1,
	CRIU_STAGE_RESTORE = 2,
};

struct criu_plugin_desc {
	const char *name;
	int (*init)(int stage);
	void (*exit)(int stage, int ret);
	unsigned int version;
	unsigned int max_hooks;
	void *hooks[CRIU_HOOKS_ROOM];
};

/* Levels of criu's log. */
enum { CRIU_LOG_ERROR = 1, CRIU_LOG_WARN = 2, CRIU_LOG_INFO = 3 };

/* PAGEMAP_SCAN of Linux 6.7: see Documentation/admin-guide/mm/pagemap.rst. */
#define PAGE_PRESENT	(1u << 3)
#define PAGE_SWAPPED	(1u << 4)
#define PAGE_SOFT_DIRTY	(1u << 7)
#define PAGE_GUARD	(1u << 8)

struct page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

#define PAGEMAP_SCAN_CALL _IOWR('f', 16, struct scan_arg)

/* Bits of an entry of /proc/PID/pagemap. */
#define ENTRY_PRESENT	 (1ull << 63)
#define ENTRY_SWAPPED	 (1ull << 62)
#define ENTRY_FILE	 (1ull << 61)	/* or shared; a private copy is not */
#define ENTRY_SOFT_DIRTY (1ull << 55)
#define ENTRY_FRAME	 ((1ull << 55) - 1)

#endif
