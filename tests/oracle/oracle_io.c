/* SPDX-License-Identifier: MIT */
/*
 * oracle_io.c - see oracle_io.h.  Everything is held open until it is
 * released, for a tracker has to find it.
 */
#define _GNU_SOURCE
#include "oracle_io.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct oracle_io {
	struct io_uring ring;
	bool have_ring;
	int pipe[2];
	int direct;
	int owner;
	void *shared;
	size_t shared_size;
};

static struct oracle_io *get(struct oracle_io **iop)
{
	struct oracle_io *io = *iop ? *iop : calloc(1, sizeof(*io));

	if (io && !*iop) {
		io->pipe[0] = io->pipe[1] = -1;
		io->direct = -1;
		io->owner = -1;
		*iop = io;
	}
	return io;
}

int oracle_io_pin(struct oracle_io **iop, void *base, size_t size)
{
	struct oracle_io *io = get(iop);
	struct iovec buffer = { base, size };
	int error;

	if (!io)
		return -ENOMEM;
	error = io_uring_queue_init(4, &io->ring, 0);
	if (error)
		return error == -EPERM ? -ENOTSUP : error;
	io->have_ring = true;
	error = io_uring_register_buffers(&io->ring, &buffer, 1);
	if (error)
		return error;
	return pipe2(io->pipe, O_CLOEXEC) ? -errno : 0;
}

int oracle_io_read_fixed(struct oracle_io *io, void *to, uint64_t value)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	int error;

	if (!io || !io->have_ring)
		return -EINVAL;
	if (write(io->pipe[1], &value, sizeof(value)) != sizeof(value))
		return -EIO;
	sqe = io_uring_get_sqe(&io->ring);
	if (!sqe)
		return -EBUSY;
	io_uring_prep_read_fixed(sqe, io->pipe[0], to, sizeof(value), 0, 0);
	error = io_uring_submit_and_wait(&io->ring, 1);
	if (error < 0)
		return error;
	error = io_uring_wait_cqe(&io->ring, &cqe);
	if (error)
		return error;
	error = cqe->res == sizeof(value) ? 0 : cqe->res < 0 ? cqe->res : -EIO;
	io_uring_cqe_seen(&io->ring, cqe);
	return error;
}

int oracle_io_direct(struct oracle_io **iop)
{
	struct oracle_io *io = get(iop);
	char path[] = "/var/tmp/pml-direct-XXXXXX";
	int fd;

	if (!io)
		return -ENOMEM;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	io->direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	fd = errno;
	unlink(path);
	if (io->direct < 0)
		return fd == EINVAL ? -ENOTSUP : -fd;
	return 0;
}

int oracle_io_share(struct oracle_io **iop, int fd, size_t size)
{
	struct oracle_io *io = get(iop);

	if (!io)
		return -ENOMEM;
	io->shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (io->shared == MAP_FAILED) {
		io->shared = NULL;
		return -errno;
	}
	io->shared_size = size;
	return 0;
}

int oracle_io_own(struct oracle_io **iop, void *base, size_t size)
{
	struct oracle_io *io = get(iop);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)base, size },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (!io)
		return -ENOMEM;
	io->owner = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (io->owner < 0)
		return errno == EPERM || errno == ENOSYS ? -ENOTSUP : -errno;
	if (ioctl(io->owner, UFFDIO_API, &api) || ioctl(io->owner, UFFDIO_REGISTER, &reg))
		return -errno;
	return 0;
}

void oracle_io_release(struct oracle_io **iop)
{
	struct oracle_io *io = *iop;

	if (!io)
		return;
	if (io->have_ring)
		io_uring_queue_exit(&io->ring);
	for (int i = 0; i < 2; i++)
		if (io->pipe[i] >= 0)
			close(io->pipe[i]);
	if (io->direct >= 0)
		close(io->direct);
	if (io->owner >= 0)
		close(io->owner);
	if (io->shared)
		munmap(io->shared, io->shared_size);
	free(io);
	*iop = NULL;
}
