/* SPDX-License-Identifier: MIT */
/*
 * detach.c - `pml detach -p PID`: removes what a tracker that was killed in
 * the middle of an attach may have left in a process.
 */
#include <getopt.h>
#include <stdio.h>

#include "command.h"
#include "options.h"
#include "pml.h"
#include "say.h"

static void print_help(void)
{
	fputs("Usage: pml detach -p PID\n"
	      "\n"
	      "Removes from a process the userfaultfds that a tracker killed in the middle of\n"
	      "an attach may have left there, and no others.\n"
	      "\n"
	      "  -p, --pid PID  the process\n"
	      "  -h, --help     this help\n", stdout);
}

static int detach(pid_t pid)
{
	char message[256] = "";
	int found = 0;
	int closed = pml_detach_strays(pid, &found, message, sizeof(message));

	if (closed < 0)
		return say_library("detach", message, closed);
	if (*message)
		puts(message);
	else
		printf("process %d: %d found, %d removed\n", (int)pid, found, closed);
	return STATUS_OK;
}

int detach_command(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "pid", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	pid_t pid = 0;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:p:h", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			if (option_pid("detach", optarg, &pid))
				return STATUS_USAGE;
			break;
		case 'h':
			print_help();
			return STATUS_OK;
		default:
			return option_unknown("detach", c, argv);
		}
	}
	if (optind < argc)
		return say_usage("detach", "%s: unexpected argument", argv[optind]);
	if (!pid)
		return say_usage("detach", "no process: say which one with -p PID");
	return detach(pid);
}
