/* SPDX-License-Identifier: MIT */
/*
 * options.c - command-line options that `pml dirty` and `pml wss` share.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "number.h"
#include "options.h"
#include "pml.h"
#include "say.h"

/* Below this the clock's and the scheduler's own noise is all one sees. */
#define MIN_INTERVAL_S 0.0001
#define MAX_INTERVAL_S 86400.0

const char track_help[] =
	"  -p, --pid PID          the process to track\n"
	"  -- CMD ARG...          a command to run and track, with its descendants\n"
	"  -i, --interval S       seconds from one epoch's end to the next (1; 0.1 will do)\n"
	"  -n, --epochs N         end after N epochs\n"
	"  -o, --output FILE      write the results to FILE, not to standard output\n"
	"      --backend NAME     how to track; 'pml info' lists the names\n"
	"      --json             one JSON object a line\n"
	"      --summary          with --json: a last line of type \"summary\"\n"
	"  -h, --help             this help\n";

struct track_options track_options_default(const char *command)
{
	return (struct track_options){
		.command = command,
		.interval_ns = 1000000000,
		.events = PML_DIRTY,
	};
}

int option_unknown(const char *command, int c, char **argv)
{
	const char *last = argv[optind - 1];

	if (c == ':')
		return say_usage(command, "%s: its argument is missing", last);
	if (!strncmp(last, "--", 2))
		return say_usage(command, optopt ? "%s: it takes no argument"
				 : "%s: no such option, or short for several", last);
	return say_usage(command, "-%c: no such option", optopt);
}

int option_pid(const char *command, const char *text, pid_t *pid)
{
	uint64_t number;

	if (option_number(text, INT_MAX, &number))
		return say_usage(command, "-p %s: not a process number; give one above 0", text);
	*pid = (pid_t)number;
	return 0;
}

int option_range(struct track_options *o, const char *text)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = 0;
	char *rest = NULL;

	/* strtoull() alone would take " 1" and "-1". */
	if (strspn(text, "0123456789abcdefABCDEFxX-") != strlen(text) || text[0] == '-')
		goto bad;
	errno = 0;
	o->range_start = strtoull(text, &rest, 16);
	if (*rest != '-' || !isxdigit((unsigned char)rest[1]))
		goto bad;
	end = strtoull(rest + 1, &rest, 16);
	if (errno || *rest || end <= o->range_start || end % page || o->range_start % page)
		goto bad;
	o->range_end = end;
	return 0;
bad:
	return say_usage(o->command, "--range %s: not a range of whole pages; give two addresses "
			 "as /proc/PID/maps has them, such as 7f0000000000-7f0000400000", text);
}

static int option_interval(struct track_options *o, const char *text)
{
	double seconds;

	if (!option_seconds(text, &seconds) ||
	    !(seconds >= MIN_INTERVAL_S && seconds <= MAX_INTERVAL_S))
		goto bad;
	o->interval_ns = (uint64_t)(seconds * 1e9 + 0.5);
	return 0;
bad:
	return say_usage(o->command, "-i %s: not a time; give seconds from %g to %g",
			 text, MIN_INTERVAL_S, MAX_INTERVAL_S);
}

int track_option(struct track_options *o, int c, char **argv)
{
	switch (c) {
	case 'p':
		return option_pid(o->command, optarg, &o->pid);
	case 'i':
		return option_interval(o, optarg);
	case 'n':
		if (option_number(optarg, UINT64_MAX, &o->epochs))
			return say_usage(o->command, "-n %s: not a number of epochs; "
					 "give one above 0", optarg);
		return 0;
	case 'o':
		o->output = optarg;
		return 0;
	case TRACK_BACKEND:
		o->backend = optarg;
		return 0;
	case TRACK_JSON:
		o->json = true;
		return 0;
	case TRACK_SUMMARY:
		o->summary = true;
		return 0;
	default:
		return option_unknown(o->command, c, argv);
	}
}

int track_options_end(struct track_options *o, int argc, char **argv)
{
	bool dashes = !strcmp(argv[optind - 1], "--");

	if (optind < argc && !dashes)
		return say_usage(o->command, "%s: unexpected argument; a command to run goes "
				 "after --", argv[optind]);
	if (optind < argc)
		o->argv = argv + optind;
	if (o->pid && o->argv)
		return say_usage(o->command, "two targets: give either -p PID or -- CMD, not both");
	if (o->elsewhere && (o->pid || o->argv))
		return say_usage(o->command, "two targets: give only one of -p PID, -- CMD and "
				 "what else names one");
	if (!o->elsewhere && !o->pid && !o->argv)
		return say_usage(o->command, "no target: give -p PID or -- CMD ARG...");
	if (o->summary && !o->json)
		return say_usage(o->command, "--summary goes with --json; "
				 "text output ends with a summary anyway");
	return 0;
}
