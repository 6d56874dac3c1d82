/* SPDX-License-Identifier: MIT */
/*
 * options.h - what the subcommands that track have in common on their command
 * lines, and how a wrong option is told to the user.
 */
#ifndef PML_TOOL_OPTIONS_H
#define PML_TOOL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct track_options {
	const char *command;	/* the subcommand, for messages */
	pid_t pid;		/* the process to track, or 0: run argv */
	char **argv;
	bool elsewhere;		/* a subcommand's own option names the target */
	uint64_t interval_ns;
	uint64_t epochs;	/* end after so many; 0: until the target ends */
	const char *backend;	/* NULL: the library chooses */
	const char *output;	/* where results go; NULL: standard output */
	uint32_t events;	/* PML_DIRTY | PML_REFERENCED */
	uint32_t flags;		/* of struct pml_options */
	uint64_t range_start;	/* only this is tracked; 0, 0: everything */
	uint64_t range_end;
	bool json;
	bool summary;		/* with json: a last line of type summary */
};

#define TRACK_SHORT "+:p:i:n:o:h"
#define TRACK_LONG \
	{ "pid", required_argument, NULL, 'p' }, \
	{ "interval", required_argument, NULL, 'i' }, \
	{ "epochs", required_argument, NULL, 'n' }, \
	{ "output", required_argument, NULL, 'o' }, \
	{ "help", no_argument, NULL, 'h' }, \
	{ "backend", required_argument, NULL, TRACK_BACKEND }, \
	{ "json", no_argument, NULL, TRACK_JSON }, \
	{ "summary", no_argument, NULL, TRACK_SUMMARY }

enum {
	TRACK_BACKEND = 256,
	TRACK_JSON,
	TRACK_SUMMARY,
	TRACK_OWN,		/* a subcommand's own long options begin here */
};

/* The lines of --help about the common options. */
extern const char track_help[];

struct track_options track_options_default(const char *command);

/*
 * Takes one option that getopt_long() returned.  Returns 0, or STATUS_USAGE
 * after having said what is wrong.
 */
int track_option(struct track_options *o, int c, char **argv);

/* After the last option: finds the command, checks that there is one target. */
int track_options_end(struct track_options *o, int argc, char **argv);

/* As 0x1000-0x3000, which /proc/PID/maps has without the 0x.  Returns 0, or STATUS_USAGE
 * after having said what is wrong. */
int option_range(struct track_options *o, const char *text);

/* Returns 0, or STATUS_USAGE after having said what is wrong. */
int option_pid(const char *command, const char *text, pid_t *pid);

/* Says what is wrong with the option that getopt_long() answered @c to. */
int option_unknown(const char *command, int c, char **argv);

#endif /* PML_TOOL_OPTIONS_H */
