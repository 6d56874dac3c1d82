/* SPDX-License-Identifier: MIT */
/*
 * command.h - the subcommands of pml and what they return.  main.c looks them
 * up by name and passes argv on from the subcommand's name.
 */
#ifndef PML_TOOL_COMMAND_H
#define PML_TOOL_COMMAND_H

/* Exit statuses, a contract with scripts. */
enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1,	/* it ran and failed */
	STATUS_USAGE = 2,	/* it was asked for something that does not exist */
};

int info_command(int argc, char **argv);
int dirty_command(int argc, char **argv);
int wss_command(int argc, char **argv);
int detach_command(int argc, char **argv);

#endif /* PML_TOOL_COMMAND_H */
