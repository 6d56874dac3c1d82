/* SPDX-License-Identifier: MIT */
/* server.c - see server.h; called by plugin.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../host/control.h"
#include "model.h"
#include "server.h"

#define MOST_CLIENTS 16
#define PAUSE_NS 100000000

struct client {
	bool there;
	int fd;
	uint64_t last;	/* the number of its last request, or of its coming */
};

static struct {
	struct pml_model *m;
	int (*settled)(void);
	int listener;
	pthread_mutex_t work;	/* held while a request is carried out: one at a time */
	pthread_mutex_t lock;	/* of what follows */
	pthread_cond_t left;
	uint64_t count;
	struct client clients[MOST_CLIENTS];
} server = {
	.work = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.left = PTHREAD_COND_INITIALIZER,
};

static void fill(struct pml_control_reply *r, const struct pml_host_summary *s)
{
	size_t used, cap;

	pml_model_memory(server.m, &used, &cap);
	r->events = s->events;
	r->frames = s->frames;
	r->dirty = s->dirty;
	r->referenced = s->referenced;
	r->entries = s->entries;
	r->vm_exits = s->vm_exits;
	r->offloaded = s->offloaded;
	r->outside = s->outside;
	r->contexts = s->contexts;
	r->lost = s->lost;
	r->memory_used = used;
	r->memory_cap = cap;
}

/* Returns the words to send after the reply, or NULL. */
static uint64_t *collect(uint32_t flags, struct pml_control_reply *reply)
{
	struct pml_host_summary s = { 0 };
	size_t bitmap, counts, n;
	uint64_t *words = NULL, *dirty, *referenced;

	reply->error = pml_model_host_collect(server.m, NULL, NULL, NULL, false, &s);
	bitmap = (s.frames + 63) / 64;
	counts = (s.frames + 3) / 4;
	n = bitmap * (!!(flags & PML_CONTROL_DIRTY) + !!(flags & PML_CONTROL_REFERENCED)) +
	    (flags & PML_CONTROL_COUNTS ? counts : 0);
	if (!reply->error && n) {
		words = calloc(n, sizeof(*words));
		if (!words) {
			reply->error = -ENOMEM;
			return NULL;
		}
	}
	dirty = words;
	referenced = words + (flags & PML_CONTROL_DIRTY ? bitmap : 0);
	if (!reply->error && (words || flags & PML_CONTROL_REARM))
		reply->error = pml_model_host_collect(
			server.m, flags & PML_CONTROL_DIRTY ? dirty : NULL,
			flags & PML_CONTROL_REFERENCED ? referenced : NULL,
			flags & PML_CONTROL_COUNTS ? (uint16_t *)(words + n - counts) : NULL,
			flags & PML_CONTROL_REARM, &s);
	fill(reply, &s);
	reply->words = words ? n : 0;
	return words;
}

static uint64_t *answer(const struct pml_control_request *q, struct pml_control_reply *reply)
{
	uint64_t *words = NULL;
	int err = 0;

	switch (q->command) {
	case PML_CONTROL_STATUS:
		collect(0, reply);
		reply->error = 0;
		return NULL;
	case PML_CONTROL_ENABLE:
		err = pml_model_host_enable(server.m, q->events);
		if (!err)
			err = server.settled();
		break;
	case PML_CONTROL_DISABLE:
		err = pml_model_host_disable(server.m);
		break;
	case PML_CONTROL_CLEAN:
		err = pml_model_host_clean(server.m);
		break;
	case PML_CONTROL_COLLECT:
		return collect(q->flags, reply);
	case PML_CONTROL_RESET:
		pml_model_reset(server.m);
		break;
	default:
		err = -EOPNOTSUPP;
	}
	words = collect(0, reply);
	reply->error = err;
	return words;
}

static void note(struct client *c)
{
	pthread_mutex_lock(&server.lock);
	c->last = ++server.count;
	pthread_mutex_unlock(&server.lock);
}

static void leave(struct client *c)
{
	pthread_mutex_lock(&server.lock);
	close(c->fd);
	c->there = false;
	pthread_cond_signal(&server.left);
	pthread_mutex_unlock(&server.lock);
}

/* The thread of one client. */
static void *serve(void *opaque)
{
	struct client *c = opaque;
	struct pml_control_request request;
	struct pml_control_reply reply;
	uint64_t *words;
	bool there = true;

	while (there && pml_control_transfer(c->fd, &request, sizeof(request), false) &&
	       request.magic == PML_CONTROL_MAGIC) {
		note(c);
		memset(&reply, 0, sizeof(reply));
		reply.magic = PML_CONTROL_MAGIC;
		pthread_mutex_lock(&server.work);
		words = answer(&request, &reply);
		pthread_mutex_unlock(&server.work);
		there = pml_control_transfer(c->fd, &reply, sizeof(reply), true);
		if (there && reply.words)
			there = pml_control_transfer(c->fd, words, reply.words * sizeof(*words),
						     true);
		free(words);
	}
	leave(c);
	return NULL;
}

static struct client *find_place(void)
{
	size_t i = 0;

	while (i < MOST_CLIENTS && server.clients[i].there)
		i++;
	return i < MOST_CLIENTS ? &server.clients[i] : NULL;
}

static struct client *most_silent(void)
{
	struct client *found = server.clients;

	for (size_t i = 1; i < MOST_CLIENTS; i++)
		if (server.clients[i].last < found->last)
			found = &server.clients[i];
	return found;
}

/* Its place; the most silent one goes for it if there is none. */
static struct client *take_place(int fd)
{
	struct client *c;

	pthread_mutex_lock(&server.lock);
	while (!(c = find_place())) {
		shutdown(most_silent()->fd, SHUT_RDWR);
		pthread_cond_wait(&server.left, &server.lock);
	}
	*c = (struct client){ .there = true, .fd = fd, .last = ++server.count };
	pthread_mutex_unlock(&server.lock);
	return c;
}

static void receive(int fd)
{
	struct client *c = take_place(fd);
	pthread_t thread;

	if (pthread_create(&thread, NULL, serve, c))
		leave(c);
	else
		pthread_detach(thread);
}

static void *run(void *unused)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	int fd;

	(void)unused;
	for (;;) {
		fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			receive(fd);
		else if (errno != EINTR && errno != ECONNABORTED)
			nanosleep(&pause, NULL);	/* descriptors are short: that passes */
	}
	return NULL;
}

int server_start(const char *path, struct pml_model *m, int (*settled)(void))
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	pthread_t thread;
	mode_t mask;
	int err;

	if (strlen(path) >= sizeof(at.sun_path))
		return -ENAMETOOLONG;
	memcpy(at.sun_path, path, strlen(path) + 1);
	server.m = m;
	server.settled = settled;
	server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server.listener < 0)
		return -errno;
	unlink(path);
	mask = umask(0177);
	err = bind(server.listener, (struct sockaddr *)&at, sizeof(at)) ? -errno : 0;
	umask(mask);
	if (!err && listen(server.listener, 4))
		err = -errno;
	return err ? err : -pthread_create(&thread, NULL, run, NULL);
}
