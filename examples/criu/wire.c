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

static int send_all(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size) {
		ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

static int receive_all(int fd, void *data, size_t size)
{
	char *p = data;

	while (size) {
		ssize_t n = recv(fd, p, size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

int wire_send(int fd, struct keeper_message *m, const struct spans *s)
{
	int status;

	m->magic = KEEPER_MAGIC;
	m->nspans = s ? s->n : 0;
	status = send_all(fd, m, sizeof(*m));
	if (!status && m->nspans)
		status = send_all(fd, s->v, s->n * sizeof(*s->v));
	return status;
}

int wire_receive(int fd, struct keeper_message *m, struct spans *s)
{
	int status = receive_all(fd, m, sizeof(*m));

	if (status)
		return status;
	m->words[sizeof(m->words) - 1] = '\0';
	if (m->magic != KEEPER_MAGIC || m->nspans > KEEPER_MAX_SPANS)
		return -EPROTO;
	s->n = 0;
	if (!m->nspans)
		return 0;
	if (m->nspans > s->room) {
		spans_free(s);
		s->v = malloc(m->nspans * sizeof(*s->v));
		if (!s->v)
			return -ENOMEM;
		s->room = m->nspans;
	}
	status = receive_all(fd, s->v, m->nspans * sizeof(*s->v));
	if (!status)
		s->n = m->nspans;
	return status;
}

/* The next piece of a part of a message; 0: the part is whole. */
static int receive_part(int fd, struct wire_in *in, void *part, size_t begins, size_t size)
{
	while (in->got < begins + size) {
		size_t at = in->got - begins;
		ssize_t n = recv(fd, (char *)part + at, size - at, MSG_DONTWAIT);

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

int wire_receive_some(int fd, struct wire_in *in)
{
	int status = receive_part(fd, in, &in->m, 0, sizeof(in->m));

	if (status)
		return status;
	in->m.words[sizeof(in->m.words) - 1] = '\0';
	if (in->m.magic != KEEPER_MAGIC || in->m.nspans > KEEPER_MAX_SPANS)
		return -EPROTO;
	if (!in->m.nspans)
		return 0;
	if (!in->spans.v) {
		in->spans.v = malloc(in->m.nspans * sizeof(*in->spans.v));
		if (!in->spans.v)
			return -ENOMEM;
		in->spans.room = in->m.nspans;
	}
	status = receive_part(fd, in, in->spans.v, sizeof(in->m),
			      in->m.nspans * sizeof(*in->spans.v));
	if (!status)
		in->spans.n = in->m.nspans;
	return status;
}

void wire_taken(struct wire_in *in)
{
	spans_free(&in->spans);
	in->got = 0;
}

int wire_begin(struct wire_out *out, struct keeper_message *m, const struct spans *s)
{
	size_t tail = s ? s->n * sizeof(*s->v) : 0;

	m->magic = KEEPER_MAGIC;
	m->nspans = s ? s->n : 0;
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
	while (out->sent < out->size) {
		ssize_t n = send(fd, out->data + out->sent, out->size - out->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		out->sent += (size_t)n;
	}
	wire_end(out);
	return 0;
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
