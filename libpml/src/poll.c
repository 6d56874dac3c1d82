/* SPDX-License-Identifier: MIT */
/*
 * A descriptor that polls readable when more than so many pages are dirty.  No
 * stock kernel signals that, so a thread of the library's looks from time to
 * time.  It shares nothing with the tracker but a list of areas that each
 * collect hands over, so that it never makes a collect wait or fail.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_AREAS 16384u

struct snapshot {
	size_t n;
	struct pml_area areas[MAX_AREAS];
};

struct pml_poller {
	pthread_t thread;
	int event;		/* what the user polls */
	int wake;		/* ends the thread, or tells it of new numbers */
	int pagemap;
	const struct pml_backend *ops;
	_Atomic uint64_t above;
	_Atomic unsigned int interval_ms;
	atomic_bool quit;
	/* two lists: one is current, the other is being written or read late */
	atomic_uint current;
	atomic_uint version;
	struct snapshot lists[2];
};

void pml_poller_update(struct pml *t)
{
	struct pml_poller *po = t->poller;
	const struct pml_proc *p = t->nprocs ? pml_proc_at(t, 0) : NULL;
	struct snapshot *s;
	unsigned int next;

	if (!po || !p)
		return;
	next = 1 - atomic_load(&po->current);
	s = &po->lists[next];
	s->n = p->armed.n < MAX_AREAS ? p->armed.n : MAX_AREAS;
	memcpy(s->areas, p->armed.buf.p, s->n * sizeof(s->areas[0]));
	atomic_store(&po->current, next);
	atomic_fetch_add(&po->version, 1);
}

/* The process may have called exec, and its memory be another.  The descriptor keeps its
 * number, so that the thread never has a closed one. */
void pml_poller_restart(struct pml *t)
{
	struct pml_poller *po = t->poller;
	int fd;

	if (!po || !t->nprocs)
		return;
	fd = openat(pml_proc_at(t, 0)->dirfd, "pagemap", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		syscall(SYS_dup3, fd, po->pagemap, O_CLOEXEC);
		close(fd);
	}
	pml_poller_update(t);
}

static bool is_above(struct pml_poller *po)
{
	uint64_t above = atomic_load(&po->above), pages = 0;
	unsigned int version = atomic_load(&po->version);
	const struct snapshot *s = &po->lists[atomic_load(&po->current)];

	if (!above || po->ops->count(po->pagemap, s->areas, s->n, above + 1, &pages))
		return false;
	/* two collects meanwhile: the list was overwritten under us, ask again */
	return pages > above && atomic_load(&po->version) - version < 2;
}

static void *look_now_and_then(void *arg)
{
	struct pml_poller *po = arg;

	while (!atomic_load(&po->quit)) {
		struct pollfd pf = { .fd = po->wake, .events = POLLIN };
		uint64_t one = 1;

		if (is_above(po) && write(po->event, &one, sizeof(one)) < 0 && errno == EBADF)
			break;
		if (poll(&pf, 1, (int)atomic_load(&po->interval_ms)) > 0 &&
		    read(po->wake, &one, sizeof(one)) < 0 && errno == EBADF)
			break;
	}
	return NULL;
}

void pml_poller_free(struct pml *t)
{
	struct pml_poller *po = t->poller;
	uint64_t one = 1;

	if (!po)
		return;
	t->poller = NULL;
	atomic_store(&po->quit, true);
	/* in a forked child the thread does not exist */
	if (pml_is_owner(t) && write(po->wake, &one, sizeof(one)) == sizeof(one))
		pthread_join(po->thread, NULL);
	close(po->event);
	close(po->wake);
	close(po->pagemap);
	munmap(po, sizeof(*po));
}

static int start_thread(struct pml_poller *po)
{
	sigset_t all, before;
	int err;

	/* signals are the program's business */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&po->thread, NULL, look_now_and_then, po);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

static int new_poller(struct pml *t, uint64_t above, unsigned int interval_ms)
{
	const struct pml_proc *p = pml_proc_at(t, 0);
	struct pml_poller *po = mmap(NULL, sizeof(*po), PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int err = 0;

	if (po == MAP_FAILED)
		return -ENOMEM;
	po->ops = t->ops;
	atomic_store(&po->above, above);
	atomic_store(&po->interval_ms, interval_ms);
	po->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	po->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	po->pagemap = openat(p->dirfd, "pagemap", O_RDONLY | O_CLOEXEC);
	if (po->event < 0 || po->wake < 0 || po->pagemap < 0)
		err = -errno;
	t->poller = po;
	pml_poller_update(t);
	if (!err)
		err = start_thread(po);
	if (err) {
		t->poller = NULL;
		close(po->event);
		close(po->wake);
		close(po->pagemap);
		munmap(po, sizeof(*po));
	}
	return err;
}

static int set_poll(struct pml *t, uint64_t above, unsigned int interval_ms)
{
	uint64_t one = 1;
	int err;

	if (!t->started)
		return pml_fail(t, -ENODATA, "pml_poll_fd: the tracker has not been started; call pml_start first");
	if (!t->ops->count || t->target == PML_TARGET_TREE || t->target == PML_TARGET_CGROUP)
		return pml_fail(t, -ENOTSUP, "pml_poll_fd: ", t->ops->name,
				" cannot count dirty pages of such a target without collecting; collect at intervals");
	if (interval_ms < 1 || interval_ms > 60000)
		return pml_fail(t, -EINVAL, "pml_poll_fd: bad interval: give 1 to 60,000 milliseconds");
	if (!t->poller) {
		err = new_poller(t, above, interval_ms);
		if (err)
			return pml_fail(t, err, "pml_poll_fd: ", pml_strerror(err));
		return t->poller->event;
	}
	atomic_store(&t->poller->above, above);
	atomic_store(&t->poller->interval_ms, interval_ms);
	if (write(t->poller->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return -errno;
	return t->poller->event;
}

int pml_poll_fd(struct pml *t, uint64_t above_pages, unsigned int interval_ms)
{
	int saved = errno, ret;

	if (!t)
		return -EINVAL;
	if (!pml_enter(t))
		return -EBUSY;
	ret = set_poll(t, above_pages, interval_ms);
	pml_leave_call(t);
	errno = saved;
	return ret;
}
