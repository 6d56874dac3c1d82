/* SPDX-License-Identifier: MIT */
/*
 * main.c - the pml command: finds the subcommand and hands over to it.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "pml.h"
#include "say.h"
#include "standard.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{ "info", info_command, "what this machine can do: kernel, device, back-ends" },
	{ "dirty", dirty_command, "which pages of a process are written, epoch by epoch" },
	{ "wss", wss_command, "how much memory a process works with" },
	{ "detach", detach_command, "remove what a killed tracker may have left in a process" },
};

static const size_t ncommands = sizeof(commands) / sizeof(commands[0]);

static void print_help(FILE *out)
{
	fputs("Usage: pml COMMAND [OPTION...]\n"
	      "       pml --help | --version\n"
	      "\n"
	      "Tells which memory pages of a process were written or referenced.\n"
	      "\n"
	      "Commands:\n", out);
	for (size_t i = 0; i < ncommands; i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fputs("\n"
	      "'pml COMMAND --help' shows a command's options; pml(1) is the manual.\n", out);
}

/* What is still in the buffer counts too: a full disk shows only here. */
static int finish(int status)
{
	if (status == STATUS_OK && (fflush(stdout) || ferror(stdout)))
		return say_failed("standard output", "cannot write: %m; "
				  "check that its reader lives and its disk has room");
	return status;
}

static int usage(const char *what, const char *why)
{
	fprintf(stderr, "pml: %s: %s; see 'pml --help'\n", what, why);
	return STATUS_USAGE;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	standard_hold();
	/* A reader that went away is an error to report, not a silent death. */
	signal(SIGPIPE, SIG_IGN);

	if (!name)
		return usage("no command", "say which");
	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
		print_help(stdout);
		return finish(STATUS_OK);
	}
	if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
		printf("pml %d.%d.%d (libpml %s)\n", PML_VERSION_MAJOR, PML_VERSION_MINOR,
		       PML_VERSION_PATCH, pml_version());
		return finish(STATUS_OK);
	}
	for (size_t i = 0; i < ncommands; i++) {
		if (!strcmp(name, commands[i].name))
			return finish(commands[i].run(argc - 1, argv + 1));
	}
	return usage(name, name[0] == '-' ? "no such option" : "no such command");
}
