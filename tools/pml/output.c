/* SPDX-License-Identifier: MIT */
/*
 * output.c - see output.h.  Signals are blocked while a process is tracked, so a write that
 * waits for its reader would not be ended by them: readiness is waited for instead, of the
 * reader and of a signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include "output.h"

#define BUFFER (1 << 20)
#define LAST_PATIENCE_MS 3000	/* with a reader, after a signal */

/* False: it has given up. */
static bool wait_for_reader(struct output *o)
{
	struct pollfd fds[2] = {
		{ .fd = o->fd, .events = POLLOUT },
		{ .fd = o->wake->signals, .events = POLLIN },
	};
	/* one that wake_wait() has told already: the next one is to end this at once */
	bool signalled = o->wake->signal != 0;
	nfds_t n = 2;

	while (!o->given_up) {
		int ready = poll(fds, n, signalled ? LAST_PATIENCE_MS : -1);

		if (ready < 0 && errno == EINTR)
			continue;
		/* whatever is wrong with it, the write will tell */
		if (ready < 0 || fds[0].revents)
			return true;
		o->given_up = signalled;
		signalled = true;
		/* it stays there for wake_wait() */
		n = 1;
	}
	errno = ECANCELED;
	return false;
}

/* What a pipe takes at once when it is ready. */
static ssize_t put(void *opaque, const char *data, size_t size)
{
	struct output *o = opaque;
	size_t done = 0;

	while (done < size && wait_for_reader(o)) {
		size_t left = size - done;
		ssize_t n = write(o->fd, data + done, left < PIPE_BUF ? left : PIPE_BUF);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int output_open(struct output *o, const char *path, const struct wake *w)
{
	int rc;

	*o = (struct output){ .fd = STDOUT_FILENO, .wake = w, .path = path };
	if (path)
		o->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (o->fd < 0)
		return -errno;
	o->file = fopencookie(o, "w", (cookie_io_functions_t){ .write = put });
	if (o->file) {
		setvbuf(o->file, NULL, _IOFBF, BUFFER);
		return 0;
	}
	rc = -errno;
	output_close(o);
	return rc;
}

int output_close(struct output *o)
{
	int rc = 0;

	if (o->file && fclose(o->file))
		rc = -errno;
	if (o->path && o->fd >= 0 && close(o->fd) && !rc)
		rc = -errno;
	o->file = NULL;
	o->fd = -1;
	return rc;
}

const char *output_name(const struct output *o)
{
	return o->path ? o->path : "standard output";
}
