/* SPDX-License-Identifier: MIT */
/* The file by which accessed and soft-dirty bits are cleared; see clear_refs.h. */
#define _GNU_SOURCE
#include "clear_refs.h"
#include "pause.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

/* A tracker that was killed has the lock until the last of its processes has ended, a
 * helper at a standstill too (standstill.c): that takes as long as they wait for a
 * processor. */
#define STEP_NS 5000000u
#define STEPS 100

static int lock(int fd)
{
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (i == STEPS)
			return -EBUSY;
		pml_pause_ns(STEP_NS);
	}
	return 0;
}

int pml_clear_refs_take(struct pml_clear_refs *c, struct pml_proc *p)
{
	int err;

	if (!pml_proc_has_memory(p))
		return -ESRCH;
	c->owner = getpid();
	c->fd = openat(p->dirfd, "clear_refs", O_WRONLY | O_CLOEXEC);
	if (c->fd < 0)
		return -errno;
	pml_proc_tracked_by(p, c->fd);
	err = lock(c->fd);
	if (err) {
		close(c->fd);
		c->fd = -1;
	}
	return err;
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
