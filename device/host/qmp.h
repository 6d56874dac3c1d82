/* SPDX-License-Identifier: MIT */
/*
 * qmp.h - QEMU's machine protocol (docs/interop/qmp-spec of QEMU), as far as the balloon
 * needs it: one command after another, events passed over.  machine.c calls it.
 */
#ifndef PML_HOST_QMP_H
#define PML_HOST_QMP_H

#include <jansson.h>
#include <stdio.h>

struct qmp {
	int fd;		/* -1: none */
	FILE *in;	/* the same, to read lines from */
	int last_id;	/* of the commands, each of which has one */
};

/*
 * Connects to a monitor's socket and leaves the state in which it takes no commands.
 * Returns 0; -EBUSY somebody else talks to it, and it to nobody else; -EPROTO it is no
 * such monitor; or -errno.
 */
int qmp_open(struct qmp *q, const char *path);
void qmp_close(struct qmp *q);

/*
 * Runs a command; takes @arguments over, which may be NULL.  Sets *@value to what it
 * returned, which is the caller's; all numbers in it are reals.  Returns 0; -EREMOTEIO it was refused, and @value is
 * the error's description or NULL; -EPROTO, -ETIMEDOUT or another -errno.
 */
int qmp_run(struct qmp *q, const char *command, json_t *arguments, json_t **value);

#endif /* PML_HOST_QMP_H */
