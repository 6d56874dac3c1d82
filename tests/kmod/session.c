/* SPDX-License-Identifier: MIT */
/* session.c - calls of /dev/pml, plainly; see session.h. */
#define _GNU_SOURCE
#include "session.h"

#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VEC 1024u
#define PAGE 4096u

int session_open(void)
{
	int fd = open(PML_UAPI_DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int session_add(int fd, uint32_t kind, int64_t id, uint32_t events)
{
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = kind, .id = id, .mode = PML_MODE_PTSCAN,
		.events = events,
	};

	return ioctl(fd, PML_IOC_ADD, &add) ? -errno : (int)add.target;
}

int session_add_proof(int fd, pid_t pid, uint32_t events)
{
	char path[64];
	int proof, target;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	proof = open(path, O_RDONLY | O_CLOEXEC);
	if (proof < 0)
		return -errno;
	target = session_add(fd, PML_TARGET_PROOF, proof, events);
	close(proof);
	return target;
}

int session_remove(int fd, int target)
{
	struct pml_uapi_remove r = { .size = sizeof(r), .target = (uint32_t)target };

	return ioctl(fd, PML_IOC_REMOVE, &r) ? -errno : 0;
}

static int grow(struct harvest *h)
{
	struct pml_uapi_range *more = realloc(h->ranges, (h->n + VEC) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	h->ranges = more;
	return 0;
}

int session_collect(int fd, int target, uint32_t events, uint64_t start, uint64_t end,
		    struct harvest *h)
{
	struct pml_uapi_collect c = {
		.size = sizeof(c), .target = (uint32_t)target, .events = events,
		.start = start, .end = end, .flags = h ? 0 : PML_COLLECT_FORGET,
	};

	if (h)
		memset(h, 0, sizeof(*h));
	do {
		if (h && grow(h))
			return -ENOMEM;
		c.vec = h ? (uintptr_t)(h->ranges + h->n) : 0;
		c.vec_len = h ? VEC : 0;
		if (ioctl(fd, PML_IOC_COLLECT, &c))
			return -errno;
		c.start = c.walk_end;
		if (!h)
			continue;
		h->n += c.n;
		h->pages += c.pages;
		h->state |= c.state;
	} while (c.walk_end < end);
	return 0;
}

void harvest_free(struct harvest *h)
{
	free(h->ranges);
	h->ranges = NULL;
	h->n = 0;
}

uint64_t harvest_pages(const struct harvest *h, uint64_t start, uint64_t end)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < h->n; i++) {
		const struct pml_uapi_range *r = &h->ranges[i];
		uint64_t a = r->start > start ? r->start : start;
		uint64_t b = r->end < end ? r->end : end;

		if (a < b && r->known != PML_KNOWN_UNCOVERED)
			pages += (b - a) / PAGE;
	}
	return pages;
}

bool harvest_has(const struct harvest *h, uint64_t start, uint64_t end)
{
	return harvest_pages(h, start, end) == (end - start) / PAGE;
}

void need_module(void)
{
	int fd = session_open();

	if (fd < 0) {
		printf("1..0 # SKIP %s: %s; load pml.ko first\n", PML_UAPI_DEVICE, strerror(-fd));
		exit(TAP_SKIP_ALL);
	}
	close(fd);
}
