/* SPDX-License-Identifier: MIT */
/* The file by which accessed and soft-dirty bits are cleared; see clear_refs.h. */
#define _GNU_SOURCE
#include "clear_refs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

int pml_clear_refs_take(struct pml_clear_refs *c, struct pml_proc *p)
{
	char byte;

	/* a kernel thread, or a zombie, has no mappings */
	if (pread(p->maps_fd, &byte, 1, 0) != 1)
		return -ESRCH;
	c->owner = getpid();
	c->fd = openat(p->dirfd, "clear_refs", O_WRONLY | O_CLOEXEC);
	if (c->fd < 0)
		return -errno;
	pml_proc_tracked_by(p, c->fd);
	if (flock(c->fd, LOCK_EX | LOCK_NB)) {
		int err = errno == EWOULDBLOCK ? -EBUSY : -errno;

		close(c->fd);
		c->fd = -1;
		return err;
	}
	return 0;
}

int pml_clear_refs_write(const struct pml_clear_refs *c, char what)
{
	if (pwrite(c->fd, &what, 1, 0) == 1)
		return 0;
	return errno == ENOENT ? -ESRCH : -errno;
}

void pml_clear_refs_release(struct pml_clear_refs *c)
{
	if (c->fd < 0)
		return;
	if (c->owner == getpid())
		flock(c->fd, LOCK_UN);
	close(c->fd);
	c->fd = -1;
}
