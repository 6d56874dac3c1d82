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

#define PAUSE_NS 100000000

static struct {
	struct pml_model *m;
	int (*settled)(void);
	int listener;
} server;

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

static void serve(int fd)
{
	struct pml_control_request request;
	struct pml_control_reply reply;
	uint64_t *words;
	bool there = true;

	while (there && pml_control_transfer(fd, &request, sizeof(request), false) &&
	       request.magic == PML_CONTROL_MAGIC) {
		memset(&reply, 0, sizeof(reply));
		reply.magic = PML_CONTROL_MAGIC;
		words = answer(&request, &reply);
		there = pml_control_transfer(fd, &reply, sizeof(reply), true);
		if (there && reply.words)
			there = pml_control_transfer(fd, words, reply.words * sizeof(*words), true);
		free(words);
	}
}

static void *run(void *unused)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	int fd;

	(void)unused;
	for (;;) {
		fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EINTR && errno != ECONNABORTED)
				nanosleep(&pause, NULL); /* descriptors are short: that passes */
			continue;
		}
		serve(fd);
		close(fd);
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
