/* SPDX-License-Identifier: MIT */
/*
 * info.c - `pml info`: the kernel, the device, the module, and every back-end
 * with whether it works here and why not.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "command.h"
#include "json.h"
#include "options.h"
#include "pml.h"
#include "say.h"
#include "text.h"

/* A thing that is there or is not, and why not in words. */
struct presence {
	const char *name;
	bool present;
	const char *reason;
};

static void find_module(struct presence *module, struct presence *device)
{
	bool loaded = access("/sys/module/pml", F_OK) == 0;
	bool node = access("/dev/pml", F_OK) == 0;

	module->name = "pml.ko";
	module->present = loaded;
	module->reason = loaded ? "" : "the pml module is not loaded";

	device->name = "/dev/pml";
	device->present = node;
	if (node)
		device->reason = "";
	else if (loaded)
		device->reason = "the pml module made no /dev/pml; see the kernel log";
	else
		device->reason = "no /dev/pml: it comes with the pml module";
}

static void print_presence(const char *what, const struct presence *p)
{
	printf("%-9s %s%s%s\n", what, p->present ? p->name : "none",
	       p->present ? "" : ": ", p->reason);
}

static void print_backend(const struct pml_probe_info *b)
{
	char size[TEXT_MAX];
	char events[32];

	snprintf(events, sizeof(events), "%s%s%s", b->events & PML_DIRTY ? "dirty" : "",
		 (b->events & PML_DIRTY) && (b->events & PML_REFERENCED) ? "+" : "",
		 b->events & PML_REFERENCED ? "referenced" : "");
	printf("  %-12s %-4s %-17s %-8s %-8s", b->name, b->available ? "yes" : "no",
	       *events ? events : "-", b->granularity ? text_size(size, b->granularity) : "mapping",
	       b->external ? "others" : "self");
	if (b->available)
		fputs(b->rank < 0 ? " only when asked for by name" : "", stdout);
	else
		printf(" %s", b->reason);
	putchar('\n');
}

static void print_text(const struct utsname *uts, const struct presence *module,
		       const struct presence *device, const struct pml_probe_info *backends, int n)
{
	printf("%-9s %s %s %s\n", "kernel", uts->sysname, uts->release, uts->machine);
	printf("%-9s %ld bytes\n", "page", sysconf(_SC_PAGESIZE));
	print_presence("module", module);
	print_presence("device", device);
	printf("%-9s libpml %s\n\n", "library", pml_version());
	printf("  %-12s %-4s %-17s %-8s %-8s %s\n", "BACK-END", "HERE", "EVENTS", "GRANULE",
	       "TRACKS", "");
	for (int i = 0; i < n; i++)
		print_backend(&backends[i]);
}

static json_t *presence_json(const struct presence *p)
{
	return json_pack("{s:s, s:b, s:s}", "name", p->name, "present", (int)p->present,
			 "reason", p->reason);
}

static json_t *backend_json(const struct pml_probe_info *b)
{
	json_t *events = json_array();

	if (b->events & PML_DIRTY)
		json_array_append_new(events, json_string("dirty"));
	if (b->events & PML_REFERENCED)
		json_array_append_new(events, json_string("referenced"));
	return json_pack("{s:s, s:b, s:o, s:o, s:I, s:b, s:i}",
			 "name", b->name,
			 "available", b->available != 0,
			 "reason", json_text(b->reason),
			 "events", events,
			 "granularity", (json_int_t)b->granularity,
			 "external", b->external != 0,
			 "rank", (int)b->rank);
}

static int print_json(const struct utsname *uts, const struct presence *module,
		      const struct presence *device, const struct pml_probe_info *backends, int n)
{
	json_t *list = json_array();
	json_t *root;
	int rc;

	for (int i = 0; i < n; i++)
		json_array_append_new(list, backend_json(&backends[i]));
	root = json_pack("{s:s, s:s, s:s, s:I, s:o, s:o, s:o}",
			 "kernel", uts->release,
			 "machine", uts->machine,
			 "version", pml_version(),
			 "page_size", (json_int_t)sysconf(_SC_PAGESIZE),
			 "module", presence_json(module),
			 "device", presence_json(device),
			 "backends", list);
	rc = json_line(stdout, root);
	json_decref(root);
	if (rc)
		return say_failed("info", "cannot write the result: %s; check that standard output "
				  "has a reader and room", strerror(-rc));
	return STATUS_OK;
}

static void print_help(void)
{
	fputs("Usage: pml info [--json]\n"
	      "\n"
	      "Shows the kernel, the PML device and module, and every way to track memory,\n"
	      "each tried for real: whether it works here, and if not, why.\n"
	      "\n"
	      "  --json      one JSON object\n"
	      "  -h, --help  this help\n", stdout);
}

static int report(bool json)
{
	struct pml_probe_info *backends;
	struct presence module, device;
	struct utsname uts;
	int status = STATUS_OK;
	int n, room;

	n = pml_probe(NULL, 0);
	if (n < 0)
		return say_library("info", NULL, n);
	room = n;
	backends = calloc((size_t)room + 1, sizeof(*backends));
	if (!backends)
		return say_library("info", NULL, -ENOMEM);
	n = pml_probe(backends, (size_t)room);
	if (n < 0) {
		free(backends);
		return say_library("info", NULL, n);
	}
	if (n > room)
		n = room;
	uname(&uts);
	find_module(&module, &device);
	if (json)
		status = print_json(&uts, &module, &device, backends, n);
	else
		print_text(&uts, &module, &device, backends, n);
	free(backends);
	return status;
}

int info_command(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	bool json = false;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:h", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'h':
			print_help();
			return STATUS_OK;
		default:
			return option_unknown("info", c, argv);
		}
	}
	if (optind < argc)
		return say_usage("info", "%s: unexpected argument", argv[optind]);
	return report(json);
}
