/* SPDX-License-Identifier: MIT */
/*
 * The keeper's side of the protocol: see serve.h.  One thread; a connection's request is
 * answered before its next one is read.  Nobody is waited for in the middle of a message,
 * so that nobody keeps another's process frozen; who does not go on with one within LIMIT
 * seconds is cut off.
 */
#define _GNU_SOURCE
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "pml.h"
#include "wire.h"

#define LIMIT 60
#define MAX_CLIENTS 32
#define REAP_MS 1000
#define SHORT_MS 100

/* One connection: a round, or a question. */
struct client {
	int fd;
	bool begun;
	bool committed;
	time_t moved;	/* when something came from it or went to it last */
	struct wire_in in;
	struct wire_out out;
	uint8_t parent[KEEPER_TOKEN];
	uint8_t round[KEEPER_TOKEN];
};

static struct client clients[MAX_CLIENTS];
static size_t nclients;
static bool stop;
/* The last client could not be accepted for want of descriptors. */
static bool lacking;

/* That of a keeper that was killed.  A file that is no socket refuses connections too. */
static bool is_socket(const char *path)
{
	struct stat st;

	return !lstat(path, &st) && S_ISSOCK(st.st_mode);
}

/* Between the look whether a keeper runs there and the moment that ours can be seen to,
 * another that begins must wait, or one would remove the other's socket.  The folder is what
 * is locked: that leaves nothing behind.  Ends when this is closed; or -errno. */
static int lock_folder(const char *path)
{
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd, status;

	memcpy(folder, path, strlen(path) + 1);
	fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!flock(fd, LOCK_EX))
		return fd;
	status = -errno;
	close(fd);
	return status;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, status = 0;

	fd = wire_connect(path, LIMIT);
	if (fd >= 0) {
		close(fd);
		return -EALREADY;
	}
	if (fd == -ECONNREFUSED && is_socket(path))
		unlink(path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	umask(0177);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, MAX_CLIENTS))
		status = -errno;
	if (!status)
		return fd;
	close(fd);
	return status;
}

int serve_listen(const char *path)
{
	int fd, lock;

	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return -ENAMETOOLONG;
	lock = lock_folder(path);
	if (lock < 0)
		return lock;
	fd = listen_at(path);
	close(lock);
	return fd;
}

static bool permitted(int fd)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size))
		return false;
	return who.uid == 0 || who.uid == geteuid();
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void end_client(size_t i)
{
	struct client *c = &clients[i];

	if (c->begun && !c->committed)
		session_forget_round(c->round);
	wire_taken(&c->in);
	wire_end(&c->out);
	close(c->fd);
	clients[i] = clients[--nclients];
}

/* Of those that are no round the one that is silent for longest goes.  False: all are rounds. */
static bool make_place(void)
{
	size_t found = nclients;

	for (size_t i = 0; i < nclients; i++)
		if (!clients[i].begun &&
		    (found == nclients || clients[i].moved < clients[found].moved))
			found = i;
	if (found == nclients)
		return false;
	end_client(found);
	return true;
}

static void accept_client(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	lacking = fd < 0 && errno != EINTR && errno != ECONNABORTED;
	if (fd < 0)
		return;
	if (!permitted(fd) || (nclients == MAX_CLIENTS && !make_place())) {
		close(fd);
		return;
	}
	clients[nclients++] = (struct client){ .fd = fd, .moved = now() };
}

static void hello(struct client *c, struct keeper_message *m)
{
	memcpy(c->parent, m->token, KEEPER_TOKEN);
	if (getrandom(c->round, KEEPER_TOKEN, 0) != KEEPER_TOKEN) {
		m->status = -EIO;
		return;
	}
	c->begun = true;
	memcpy(m->token, c->round, KEEPER_TOKEN);
}

static void attach(const struct client *c, const struct session_how *how,
		   struct keeper_message *m)
{
	if (!session_attach(how, c->round, m->pid, m->start_time, m->words, sizeof(m->words)))
		m->status = -ESRCH;
}

static const struct spans *scan(const struct client *c, struct keeper_message *m)
{
	struct session *s = session_find(m->pid, m->start_time);
	const struct spans *left = NULL;

	if (s)
		session_scan(s, c->parent, &left, m->words, sizeof(m->words));
	else
		snprintf(m->words, sizeof(m->words), "it is not watched");
	if (!left || left->n > KEEPER_MAX_SPANS)
		m->status = 1;
	return m->status ? NULL : left;
}

static void reset(const struct client *c, struct keeper_message *m, struct spans *present)
{
	struct session *s = session_find(m->pid, m->start_time);

	if (!s || !c->begun || !spans_sorted(present)) {
		m->status = s ? -EINVAL : -ESRCH;
		snprintf(m->words, sizeof(m->words), "%s",
			 s ? "the request makes no sense" : "it is not watched");
	} else {
		m->status = session_reset(s, c->round, present, m->words, sizeof(m->words));
	}
}

/* The spans of this answer are text. */
static void describe(const struct session_how *how, struct spans *text)
{
	json_t *all = json_pack("{s:s, s:s, s:b, s:o}", "version", pml_version(),
				"backend", how->backend ? how->backend : "", "strict", how->strict,
				"processes", session_describe_all());
	char *words = all ? json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	size_t n = words ? strlen(words) / sizeof(struct keeper_span) + 1 : 0;

	text->v = n ? calloc(n, sizeof(*text->v)) : NULL;
	text->n = text->room = text->v ? n : 0;
	if (text->v)
		memcpy(text->v, words, strlen(words));
	free(words);
	json_decref(all);
}

static int answer(struct client *c, const struct session_how *how, struct keeper_message *m,
		  struct spans *sent)
{
	const struct spans *left = NULL;
	struct spans text = { 0 };
	int status;

	m->status = 0;
	m->words[0] = '\0';
	switch (m->type) {
	case KEEPER_HELLO:
		hello(c, m);
		break;
	case KEEPER_ATTACH:
		attach(c, how, m);
		break;
	case KEEPER_SCAN:
		left = scan(c, m);
		break;
	case KEEPER_RESET:
		reset(c, m, sent);
		break;
	case KEEPER_COMMIT:
		c->committed = true;
		break;
	case KEEPER_STATUS:
		describe(how, &text);
		left = &text;
		break;
	case KEEPER_STOP:
		stop = true;
		break;
	default:
		m->status = -EPROTO;
	}
	/* a copy: what is left shrinks with the next question of another */
	status = wire_begin(&c->out, m, left);
	spans_free(&text);
	return status;
}

/* What came is answered if it is whole, and as much of the answer sent as it takes now. */
static int go_on(struct client *c, const struct session_how *how)
{
	int status;

	if (!c->out.size) {
		status = wire_receive_some(c->fd, &c->in);
		if (status == -EPROTO && !wire_begin(&c->out, &c->in.m, NULL))
			wire_send_some(c->fd, &c->out);	/* it knows us by that */
		if (!status)
			status = answer(c, how, &c->in.m, &c->in.spans);
		if (status)
			return status;
		wire_taken(&c->in);
	}
	return wire_send_some(c->fd, &c->out);
}

static void serve_client(size_t i, const struct session_how *how)
{
	struct client *c = &clients[i];
	int status;

	c->moved = now();
	status = go_on(c, how);
	if (status && status != -EAGAIN)
		end_client(i);
}

/* A round may be silent between two messages. */
static void cut_off(void)
{
	time_t since = now() - LIMIT;

	for (size_t i = nclients; i-- > 0;) {
		const struct client *c = &clients[i];

		if ((!c->begun || c->in.got || c->out.size) && c->moved < since)
			end_client(i);
	}
}

static int signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	return signalfd(-1, &set, SFD_CLOEXEC);
}

int serve(int listener, const struct session_how *how)
{
	struct pollfd fds[MAX_CLIENTS + 2];
	int told = signals();

	if (told < 0)
		return told;
	while (!stop) {
		size_t n = nclients;

		/* it stays ready while that client waits: it is not looked at for a moment */
		fds[0] = (struct pollfd){ .fd = lacking ? -1 : listener, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = told, .events = POLLIN };
		for (size_t i = 0; i < n; i++)
			fds[i + 2] = (struct pollfd){ .fd = clients[i].fd,
						      .events = clients[i].out.size ? POLLOUT : POLLIN };
		if (poll(fds, n + 2, lacking ? SHORT_MS : REAP_MS) < 0 && errno != EINTR)
			break;
		stop = fds[1].revents;
		/* from the end: one that goes is replaced by the last */
		for (size_t i = n; i-- > 0 && !stop;)
			if (fds[i + 2].revents)
				serve_client(i, how);
		cut_off();
		if (fds[0].revents)
			accept_client(listener);
		else
			lacking = false;
		session_reap();
	}
	while (nclients)
		end_client(nclients - 1);
	session_close_all();
	close(told);
	return 0;
}
