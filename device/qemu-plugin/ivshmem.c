/* SPDX-License-Identifier: MIT */
/* ivshmem.c - see ivshmem.h; called by plugin.c. */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ivshmem.h"

#define PROTOCOL_VERSION 0
#define OWN_ID		 0
#define SHARED_MEMORY	 (-1)

/* One message of the ivshmem protocol: a number, and a descriptor if not -1. */
static int say(int socket, int64_t number, int fd)
{
	int64_t wire = (int64_t)htole64((uint64_t)number);
	struct iovec iov = { .iov_base = &wire, .iov_len = sizeof(wire) };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(socket, &msg, MSG_NOSIGNAL) == sizeof(wire) ? 0 : -errno;
}

static int make_memory(struct ivshmem *s, int *fd)
{
	*fd = memfd_create("pml-device", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return -errno;
	/* sealed: nobody can make it smaller under our feet */
	if (ftruncate(*fd, (off_t)s->size) ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	s->bar = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	return s->bar == MAP_FAILED ? -errno : 0;
}

int ivshmem_open(struct ivshmem *s, int socket, size_t size, unsigned int vectors)
{
	unsigned int i;
	int fd = -1, err;

	if (vectors > IVSHMEM_MAX_VECTORS)
		return -EINVAL;
	s->socket = socket;
	s->size = size;
	s->vectors = vectors;
	err = make_memory(s, &fd);
	if (!err)
		err = say(socket, PROTOCOL_VERSION, -1);
	if (!err)
		err = say(socket, OWN_ID, -1);
	if (!err)
		err = say(socket, SHARED_MEMORY, fd);
	for (i = 0; !err && i < vectors; i++) {
		s->event[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		err = s->event[i] < 0 ? -errno : say(socket, OWN_ID, s->event[i]);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

void ivshmem_interrupt(struct ivshmem *s, unsigned int vector)
{
	uint64_t one = 1;
	ssize_t n = write(s->event[vector], &one, sizeof(one));

	(void)n; /* a full counter is an interrupt that is pending already */
}
