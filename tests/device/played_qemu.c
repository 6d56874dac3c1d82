/* SPDX-License-Identifier: MIT */
/*
 * played_qemu.c - a QEMU as far as the PML device's plugin sees it, without a guest: loads
 * the plugin of its command line, and ends with its standard input.  For pml-qemu; run by
 * server.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "qemu_api.h"

/* What the plugin calls.  No virtual CPU ever runs. */

void qemu_plugin_reset(qemu_plugin_id_t id, qemu_simple_cb cb)
{
	(void)id;
	(void)cb;
}

void qemu_plugin_register_vcpu_resume_cb(qemu_plugin_id_t id, qemu_vcpu_cb cb)
{
	(void)id;
	(void)cb;
}

void qemu_plugin_register_flush_cb(qemu_plugin_id_t id, qemu_simple_cb cb)
{
	(void)id;
	(void)cb;
}

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_trans_cb cb)
{
	(void)id;
	(void)cb;
}

/* PATH,KEY=VALUE,KEY=VALUE... */
static int load(char *text)
{
	const qemu_info_t info = {
		.target_name = "x86_64",
		.system_emulation = true,
		.system = { .smp_vcpus = 1, .max_vcpus = 1 },
	};
	int (*install)(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);
	const char *path = strsep(&text, ",");
	char *options[32];
	void *plugin;
	int n = 0;

	while (n < 32 && (options[n] = strsep(&text, ",")))
		n++;
	/* the plugin names more of QEMU's functions than it calls here */
	plugin = dlopen(path, RTLD_LAZY);
	*(void **)&install = plugin ? dlsym(plugin, "qemu_plugin_install") : NULL;
	if (!install) {
		fprintf(stderr, "played QEMU: %s\n", dlerror());
		return 2;
	}
	return install(1, &info, n, options) ? 1 : 0;
}

int main(int argc, char **argv)
{
	char byte;

	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("QEMU emulator version 9.2.0");
		return 0;
	}
	for (int i = 1; i + 1 < argc; i++) {
		int status = strcmp(argv[i], "-plugin") ? 0 : load(argv[i + 1]);

		if (status)
			return status;
	}
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
