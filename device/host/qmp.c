/* SPDX-License-Identifier: MIT */
/* QEMU's machine protocol; see qmp.h. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "qmp.h"
#include "tool.h"

#define PATIENCE_S 10

/* One message; NULL and *@rc if there is none. */
static json_t *receive(struct qmp *q, int *rc)
{
	char *line = NULL;
	size_t size = 0;
	json_t *message = NULL;

	errno = 0;
	if (getline(&line, &size, q->in) > 0) {
		/* what a guest does not tell is 2^64 - 1, which is no json_int_t */
		message = json_loads(line, JSON_DECODE_INT_AS_REAL, NULL);
		*rc = json_is_object(message) ? 0 : -EPROTO;
	} else {
		*rc = errno == EAGAIN || errno == EWOULDBLOCK ? -ETIMEDOUT : -EPROTO;
		clearerr(q->in);
	}
	free(line);
	if (*rc) {
		json_decref(message);
		message = NULL;
	}
	return message;
}

static int send_text(int fd, char *text, size_t size)
{
	if (pml_control_transfer(fd, text, size, true))
		return 0;
	return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

static int send_command(struct qmp *q, const char *command, json_t *arguments)
{
	json_t *message = json_pack("{s:s, s:I, s:o*}", "execute", command, "id",
				    (json_int_t)++q->last_id, "arguments", arguments);
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	int rc = text ? send_text(q->fd, text, strlen(text)) : -ENOMEM;

	if (rc == 0)
		rc = send_text(q->fd, (char[]){ '\n' }, 1);
	free(text);
	json_decref(message);
	return rc;
}

/* A signal in the middle would lose a part of a line, and with it what was done. */
static void hold_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, before);
}

static void let_signals(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* One that was waited for in vain may be answered when the next one has been sent. */
static bool is_of_another(const struct qmp *q, const json_t *message)
{
	const json_t *id = json_object_get(message, "id");

	return id && json_number_value(id) != (double)q->last_id;
}

static int run(struct qmp *q, const char *command, json_t *arguments, json_t **value)
{
	int rc = send_command(q, command, arguments);
	json_t *message, *found;

	*value = NULL;
	while (rc == 0) {
		message = receive(q, &rc);
		if (!message)
			break;
		if (is_of_another(q, message)) {
			json_decref(message);
			continue;
		}
		found = json_object_get(message, "return");
		if (!found) {
			found = json_object_get(message, "error");
			if (found) {
				found = json_object_get(found, "desc");
				rc = -EREMOTEIO;
			}
		}
		*value = json_incref(found);
		/* else it is an event */
		if (rc == 0 && !found) {
			json_decref(message);
			continue;
		}
		json_decref(message);
		break;
	}
	return rc;
}

int qmp_run(struct qmp *q, const char *command, json_t *arguments, json_t **value)
{
	sigset_t before;
	int rc;

	hold_signals(&before);
	rc = run(q, command, arguments, value);
	let_signals(&before);
	return rc;
}

/* It greets whom it talks to. */
static int take_greeting(struct qmp *q)
{
	sigset_t before;
	json_t *value;
	int rc = 0;

	hold_signals(&before);
	value = receive(q, &rc);
	let_signals(&before);
	if (rc == 0 && !json_object_get(value, "QMP"))
		rc = -EPROTO;
	json_decref(value);
	return rc;
}

int qmp_open(struct qmp *q, const char *path)
{
	json_t *value;
	int rc;

	*q = (struct qmp){ .fd = dial(path, PATIENCE_S) };
	if (q->fd < 0)
		return -errno;
	q->in = fdopen(q->fd, "r");
	if (!q->in) {
		close(q->fd);
		q->fd = -1;
		return -ENOMEM;
	}
	rc = take_greeting(q);
	if (rc == 0) {
		rc = qmp_run(q, "qmp_capabilities", NULL, &value);
		json_decref(value);
	}
	if (rc)
		qmp_close(q);
	return rc == -ETIMEDOUT ? -EBUSY : rc;
}

void qmp_close(struct qmp *q)
{
	if (q->in)
		fclose(q->in);
	*q = (struct qmp){ .fd = -1 };
}
