/* SPDX-License-Identifier: MIT */
/*
 * Messages of keeper.h on a socket: see wire.h.  No stdio: the plugin runs in
 * another program, which has its own.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* Of one who waits, on a socket with a limit. */
static int waited(int status)
{
	return status == -EAGAIN ? -ETIMEDOUT : status;
}

/* What is left of it; 0: nothing. */
static int send_rest(int fd, const void *data, size_t size, size_t *sent, int flags)
{
	while (*sent < size) {
		ssize_t n = send(fd, (const char *)data + *sent, size - *sent,
				 MSG_NOSIGNAL | flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		*sent += (size_t)n;
	}
	return 0;
}

static int send_all(int fd, const void *data, size_t size)
{
	size_t sent = 0;

	return waited(send_rest(fd, data, size, &sent, 0));
}

static void number_spans(struct keeper_message *m, const struct spans *s)
{
	m->magic = KEEPER_MAGIC;
	m->nspans = s ? s->n : 0;
}

int wire_send(int fd, struct keeper_message *m, const struct spans *s)
{
	int status;

	number_spans(m, s);
	status = send_all(fd, m, sizeof(*m));
	if (!status && m->nspans)
		status = send_all(fd, s->v, s->n * sizeof(*s->v));
	return status;
}

/* The next piece of a part of a message; 0: the part is whole. */
static int receive_part(int fd, struct wire_in *in, void *part, size_t begins, size_t size,
			int flags)
{
	while (in->got < begins + size) {
		size_t at = in->got - begins;
		ssize_t n = recv(fd, (char *)part + at, size - at, flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		in->got += (size_t)n;
	}
	return 0;
}

static int receive(int fd, struct wire_in *in, int flags)
{
	struct spans *s = &in->spans;
	int status = receive_part(fd, in, &in->m, 0, sizeof(in->m), flags);

	if (status)
		return status;
	in->m.words[sizeof(in->m.words) - 1] = '\0';
	if (in->m.magic != KEEPER_MAGIC || in->m.nspans > KEEPER_MAX_SPANS)
		return -EPROTO;
	if (in->m.nspans > s->room) {
		spans_free(s);
		s->v = malloc(in->m.nspans * sizeof(*s->v));
		if (!s->v)
			return -ENOMEM;
		s->room = in->m.nspans;
	}
	status = receive_part(fd, in, s->v, sizeof(in->m), in->m.nspans * sizeof(*s->v), flags);
	if (!status)
		s->n = in->m.nspans;
	return status;
}

int wire_receive(int fd, struct keeper_message *m, struct spans *s)
{
	struct wire_in in = { .m = *m, .spans = *s };
	int status;

	in.spans.n = 0;
	status = waited(receive(fd, &in, 0));
	*m = in.m;
	*s = in.spans;
	return status;
}

int wire_receive_some(int fd, struct wire_in *in)
{
	return receive(fd, in, MSG_DONTWAIT);
}

void wire_taken(struct wire_in *in)
{
	spans_free(&in->spans);
	in->got = 0;
}

int wire_begin(struct wire_out *out, struct keeper_message *m, const struct spans *s)
{
	size_t tail = s ? s->n * sizeof(*s->v) : 0;

	number_spans(m, s);
	out->data = malloc(sizeof(*m) + tail);
	if (!out->data)
		return -ENOMEM;
	memcpy(out->data, m, sizeof(*m));
	if (tail)
		memcpy(out->data + sizeof(*m), s->v, tail);
	out->size = sizeof(*m) + tail;
	out->sent = 0;
	return 0;
}

int wire_send_some(int fd, struct wire_out *out)
{
	int status = send_rest(fd, out->data, out->size, &out->sent, MSG_DONTWAIT);

	if (!status)
		wire_end(out);
	return status;
}

void wire_end(struct wire_out *out)
{
	free(out->data);
	*out = (struct wire_out){ 0 };
}

const char *wire_words(int status)
{
	switch (status) {
	case -EPROTO:
		return "the plugin and the keeper are of different versions";
	case -ENODATA:
		return "the keeper has ended";
	default:
		return strerror(-status);
	}
}

const char *wire_path(const char *given)
{
	const char *set = getenv(KEEPER_SOCKET_ENV);

	if (given)
		return given;
	return set && *set ? set : KEEPER_SOCKET;
}

int wire_connect(const char *path, int seconds)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = seconds };
	int fd, status = 0;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)))
		status = -errno;
	if (!status)
		return fd;
	close(fd);
	return status;
}

uint64_t wire_start_time(int pid)
{
	char path[40], text[1024], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* the name may hold anything: the fields go on after its last bracket, with
	 * the third; the time is the 22nd */
	p = strrchr(text, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}
