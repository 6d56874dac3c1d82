/* SPDX-License-Identifier: MIT */
/*
 * What the back-ends by pml.ko share: ptscan, which harvests the dirty and accessed
 * bits of the process's page tables, epml and spml, which read the PML device's log.
 * Called through struct pml_backend, by way of ptscan.c, epml.c and spml.c.
 *
 * The module keeps the epoch: one session for each process, closed with its
 * descriptor, so that whatever ends the tracker ends the tracking.  What is left
 * to do here: which mappings are looked at, and what a fresh one means.
 */
#define _GNU_SOURCE
#include "../backend.h"
#include "../message.h"
#include "kmod.h"
#include "pml_uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define VEC_LEN 4096u

struct kmod {
	int session;
	int proof;		/* pagemap of another process: the right to track it */
	uint32_t target;
	uint32_t events;	/* PML_EV_* that the target was added for */
	uint32_t mode;		/* PML_MODE_* */
	bool met;		/* drained before: what is there is known */
	bool more;		/* this collect has begun: its further calls belong to it */
	struct pml_buf vec;	/* VEC_LEN records */
};

/* ---- records to ranges ---- */

static enum pml_reason reason_of(unsigned int why)
{
	switch (why) {
	case PML_WHY_APPEARED:
	case PML_WHY_SPLIT:
	case PML_WHY_SPREAD:
		return PML_REASON_FIRST_SIGHT;
	case PML_WHY_PINNED:
		return PML_REASON_PINNED;
	case PML_WHY_OVERFLOW:
		return PML_REASON_OVERFLOW;
	default:
		return PML_REASON_DROPPED;
	}
}

static uint32_t events_of(unsigned int events)
{
	return (events & PML_EV_DIRTY ? PML_DIRTY : 0) |
	       (events & PML_EV_REFERENCED ? PML_REFERENCED : 0);
}

static uint32_t events_for(uint32_t events)
{
	return (events & PML_DIRTY ? PML_EV_DIRTY : 0) |
	       (events & PML_REFERENCED ? PML_EV_REFERENCED : 0);
}

static void emit(struct pml_proc *p, struct pml_sink *sink, const struct pml_uapi_range *r)
{
	if (r->known == PML_KNOWN_UNCOVERED)
		pml_proc_uncovered(p, r->start, r->end, PML_REASON_UNSUPPORTED);
	else
		pml_sink_emit(sink, r->start, r->end, r->granule, events_of(r->events),
			      r->known == PML_KNOWN_OBSERVED ? PML_OBSERVED : PML_ASSUMED,
			      r->known == PML_KNOWN_OBSERVED ? PML_REASON_NONE : reason_of(r->reason));
}

/* One call of the module; 0 or -errno. */
static int collect(struct pml_proc *p, struct pml_uapi_collect *c)
{
	struct kmod *s = p->state;
	int err;

	c->size = sizeof(*c);
	c->target = s->target;
	c->vec = (uintptr_t)s->vec.p;
	if (s->more)
		c->flags |= PML_COLLECT_MORE;
	err = ioctl(s->session, PML_IOC_COLLECT, c) ? -errno : 0;
	p->cost.scans++;
	if (err)
		return err;
	s->more = s->mode != PML_MODE_PTSCAN;
	p->cost.scanned_bytes += c->walk_end - c->start;
	return 0;
}

static int forget(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events)
{
	struct pml_uapi_collect c = {
		.start = start, .end = end, .events = events, .flags = PML_COLLECT_FORGET,
	};

	return collect(p, &c);
}

/*
 * The kernel gives up at any signal while it takes the locks of all mappings
 * (mm_take_all_locks), which lasts as long as there are many.  A profiler's timer
 * would come each time: so signals wait, and what is left to wake a thread, io_uring's
 * own, is waited out.
 */
int pml_kmod_add(int session, struct pml_uapi_add *add)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	do
		err = ioctl(session, PML_IOC_ADD, add) ? -errno : 0;
	while (err == -EINTR);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

/* Adds the process, or adds it anew for other events: what happened until now is
 * forgotten then. */
static int add_target(struct pml_proc *p, struct kmod *s, uint32_t events)
{
	struct pml_uapi_remove old = { .size = sizeof(old), .target = s->target };
	struct pml_uapi_add add = {
		.size = sizeof(add), .mode = s->mode, .events = events,
		.kind = p->self ? PML_TARGET_SELF : PML_TARGET_PROOF,
		.id = p->self ? 0 : s->proof,
	};
	int err;

	if (s->target && ioctl(s->session, PML_IOC_REMOVE, &old))
		return -errno;
	s->target = 0;
	err = pml_kmod_add(s->session, &add);
	if (err)
		return err;
	s->target = add.target;
	s->events = events;
	return 0;
}

/* What is new here as a whole: a mapping of a file, whose pages are new in the page
 * tables or not; all that there is of a process that joins. */
static int assume(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
		  struct pml_sink *sink, uint64_t *walk_end)
{
	uint64_t pages = pml_sink_pages(sink);
	int err;

	*walk_end = start;
	if (!pml_sink_room(sink) || !pages)
		return 0;
	if (pages < (end - start) >> p->page_shift)
		end = start + (pages << p->page_shift);
	err = forget(p, start, end, events_for(events));
	if (err)
		return err;
	pml_sink_emit(sink, start, end, p->page_size, events, PML_ASSUMED, PML_REASON_FIRST_SIGHT);
	*walk_end = end;
	return 0;
}

static int drain_piece(struct pml_proc *p, uint64_t start, uint64_t end, bool fresh,
		       uint32_t events, struct pml_sink *sink, uint64_t *walk_end)
{
	const struct kmod *s = p->state;

	*walk_end = start;
	while (*walk_end < end) {
		size_t room = pml_sink_room(sink);
		uint64_t pages = pml_sink_pages(sink);
		struct pml_uapi_collect c = {
			.start = *walk_end, .end = end, .events = events_for(events),
			/* it may be older than our interest in it */
			.flags = PML_COLLECT_UNCOVERED | (fresh ? PML_COLLECT_ALL : 0),
			.vec_len = room < VEC_LEN ? (uint32_t)room : VEC_LEN,
			.max_pages = pages == UINT64_MAX ? 0 : pages,
		};
		const struct pml_uapi_range *r = s->vec.p;
		int err;

		if (!room || !pages)
			return 0;
		err = collect(p, &c);
		if (err)
			return err;
		if (c.state & PML_STATE_LOST)
			pml_proc_lost(p);
		if (c.state & PML_STATE_PINS)
			pml_proc_uncovered(p, *walk_end, c.walk_end, PML_REASON_UNKNOWN_PIN);
		for (uint32_t i = 0; i < c.n; i++)
			emit(p, sink, r + i);
		*walk_end = c.walk_end;
	}
	return 0;
}

int pml_kmod_drain(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
			struct pml_sink *sink, uint64_t *walk_end)
{
	const struct pml_area *a = pml_areas_at(&p->pieces);
	struct kmod *s = p->state;
	int err;

	*walk_end = start;
	/* only who asks for references pays for them */
	if (events_for(events) & ~s->events) {
		err = add_target(p, s, s->events | events_for(events));
		if (err)
			return err;
		if (s->met && sink) {
			pml_proc_lost(p);
			s->met = false;
		}
	}
	if (!sink) {
		s->met = true;
		err = forget(p, start, end, events_for(events));
		*walk_end = end;
		return err;
	}
	for (size_t i = 0; i < p->pieces.n; i++) {
		uint64_t from = a[i].start > start ? a[i].start : start;
		uint64_t to = a[i].end < end ? a[i].end : end;
		bool fresh;

		if (from >= to)
			continue;
		fresh = a[i].flags & PML_AREA_FRESH;
		if (!s->met || (fresh && a[i].kind != PML_AREA_ANON))
			err = assume(p, from, to, events, sink, walk_end);
		else
			err = drain_piece(p, from, to, fresh, events, sink, walk_end);
		if (err || *walk_end < to)
			return err;
	}
	if (p->pieces.n)
		pml_proc_uncovered(p, a[0].start, a[p->pieces.n - 1].end, PML_REASON_REMOTE);
	s->met = true;
	*walk_end = end;
	return 0;
}

/* ---- why not ---- */

static bool file_has(const char *path, const char *text)
{
	char have[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, have, sizeof(have) - 1);

	if (fd >= 0)
		close(fd);
	have[n > 0 ? n : 0] = '\0';
	return strstr(have, text) != NULL;
}

/* Secure Boot is on: four bytes of attributes, then 1. */
static bool secure_boot(void)
{
	unsigned char have[5] = { 0 };
	int fd = open("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
		      O_RDONLY | O_CLOEXEC);
	bool on = fd >= 0 && read(fd, have, sizeof(have)) == sizeof(have) && have[4] == 1;

	if (fd >= 0)
		close(fd);
	return on;
}

static const char *why_no_module(void)
{
	if (access("/proc/modules", F_OK))
		return "this kernel takes no modules (CONFIG_MODULES): pml.ko cannot be loaded";
	if (!access("/sys/module/pml", F_OK))
		return "pml.ko is loaded, but /dev/pml is not here: make it known in this container or chroot";
	if (file_has("/sys/kernel/security/lockdown", "[integrity]") ||
	    file_has("/sys/kernel/security/lockdown", "[confidentiality]"))
		return "pml.ko is not loaded, and the kernel is locked down: it takes signed modules only; sign pml.ko with an enrolled key, then modprobe pml";
	if (secure_boot())
		return "pml.ko is not loaded, and Secure Boot is on: sign pml.ko with an enrolled key (mokutil), then modprobe pml";
	return "pml.ko is not loaded: modprobe pml (see guest-kmod/README.md)";
}

static const char *why_not_open(int err)
{
	switch (err) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return why_no_module();
	case EACCES:
	case EPERM:
		return "/dev/pml: not permitted; run as root, or as one whom its udev rule lets in";
	case EMFILE:
	case ENFILE:
		return "/dev/pml: out of file descriptors; raise the limit (ulimit -n)";
	default:
		return "/dev/pml cannot be opened: memory is short, or the bound on one user's sessions is reached; close others, or raise pml.ko's parameter max_user_memory";
	}
}

/* Is the mode there?  Else why not. */
static bool has_mode(const struct pml_uapi_info *info, uint32_t mode, char *why, size_t size)
{
	if (info->modes & mode)
		return true;
	if (mode == PML_MODE_PTSCAN)
		pml_words(why, size, "pml.ko cannot harvest page tables on this machine (Xen PV)");
	else if (mode == PML_MODE_SWAPS)
		pml_words(why, size, "the loaded pml.ko does not tell what is swapped: load a newer one");
	else if (info->device == PML_DEVICE_READY)
		pml_words(why, size, mode == PML_MODE_SPML ?
			  "the PML device logs no guest-physical addresses (SPML), or the loaded pml.ko does not read them: load a newer one" :
			  "the PML device logs no virtual addresses (EPML)");
	else if (info->device_words[0])
		pml_words(why, size, "pml.ko has no PML device to read: ",
			  (const char *)info->device_words);
	else
		pml_words(why, size, "the loaded pml.ko knows of no PML device: load a newer one");
	return false;
}

int pml_kmod_session(uint32_t mode, char *why, size_t size)
{
	struct pml_uapi_info info = { .size = sizeof(info) };
	char a[24], b[24];
	int fd = open(PML_UAPI_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		int err = errno;

		pml_words(why, size, why_not_open(err));
		return err == EACCES ? -EPERM : err == EPERM || err == EMFILE ? -err : -ENOTSUP;
	}
	if (ioctl(fd, PML_IOC_INFO, &info)) {
		pml_words(why, size, "/dev/pml is not of pml.ko: it does not answer; remove what has this name");
	} else if (info.version_min > PML_UAPI_VERSION || info.version < PML_UAPI_VERSION) {
		pml_words(why, size, "the loaded pml.ko speaks versions ",
			  pml_number(a, info.version_min), " to ", pml_number(b, info.version),
			  " of its interface, this library 1: load the module that belongs to the library");
	} else if (has_mode(&info, mode, why, size)) {
		return fd;
	}
	close(fd);
	return -ENOTSUP;
}

/* ---- coming and going ---- */

void pml_kmod_detach(struct pml_proc *p)
{
	struct kmod *s = p->state;

	if (!s)
		return;
	if (s->session >= 0)
		close(s->session);
	if (s->proof >= 0)
		close(s->proof);
	pml_buf_free(&s->vec);
	munmap(s, sizeof(*s));
	p->state = NULL;
}

static const char *why_not_add(int err)
{
	switch (err) {
	case -ESRCH:
		return "the process has no memory: it is a kernel thread, or a zombie; name another";
	case -ENOENT:
		return "the process has exited; check the pid";
	case -EPERM:
		return "pagemap of the process cannot be opened; ptrace rights are needed";
	case -EMFILE:
	case -ENFILE:
		return "out of file descriptors; raise the limit (ulimit -n)";
	case -ENOMEM:
		return "out of memory: pml.ko's bound on a session or a user is too low, or memory is short; raise its parameters max_memory and max_user_memory";
	case -EOPNOTSUPP:
		return "a device shares the process's page tables (PASID), and its writes would not be seen, or the PML device logs no references; choose another back-end";
	case -EBUSY:
		return "the process is tracked by another mode of the PML device; end that, or choose another back-end";
	case -ENOSPC:
		return "the PML device has no context left; track fewer processes at once";
	case -ENODEV:
		return "the PML device does not answer any more; choose another back-end";
	default:
		return "pml.ko refuses to track the process";
	}
}

/* What the library's callers know of each. */
static int error_of(int err)
{
	switch (err) {
	case -ESRCH:
	case -EOPNOTSUPP:
	case -ENODEV:
		return -ENOTSUP;
	case -ENOENT:
		return -ESRCH;
	case -ENFILE:
	case -ENOSPC:
		return -EMFILE;
	default:
		return err;
	}
}

static int fail(struct pml_proc *p, int err, const char *why)
{
	char words[320];

	pml_words(words, sizeof(words), p->ops->name, ": ", why);
	return pml_proc_fail(p, err, words);
}

int pml_kmod_attach(struct pml_proc *p, uint32_t mode)
{
	struct kmod *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char why[256];
	int err;

	if (s == MAP_FAILED)
		return fail(p, -ENOMEM, "out of memory");
	p->state = s;
	s->mode = mode;
	s->proof = -1;
	s->session = pml_kmod_session(mode, why, sizeof(why));
	if (s->session < 0) {
		err = s->session;
		pml_kmod_detach(p);
		return fail(p, err, why);
	}
	pml_proc_tracked_by(p, s->session);
	err = pml_buf_reserve(p->pool, &s->vec, VEC_LEN * sizeof(struct pml_uapi_range));
	if (!err && !p->self) {
		s->proof = openat(p->dirfd, "pagemap", O_RDONLY | O_CLOEXEC);
		if (s->proof < 0)
			err = errno == EACCES ? -EPERM : -errno;
	}
	if (!err)
		err = add_target(p, s, PML_EV_DIRTY);
	if (err) {
		pml_kmod_detach(p);
		return fail(p, error_of(err), why_not_add(err));
	}
	return 0;
}

/* Called before the drains of one collect. */
int pml_kmod_begin(struct pml_proc *p)
{
	struct kmod *s = p->state;

	s->more = false;
	return 0;
}

/* ---- is it here? ---- */

/* How many of the pages at m the module says were written; or -errno. */
static int written(int session, uint32_t target, const void *m, size_t size)
{
	struct pml_uapi_range vec[8];
	struct pml_uapi_collect c = {
		.size = sizeof(c), .target = target, .start = (uintptr_t)m,
		.end = (uintptr_t)m + size, .vec = (uintptr_t)vec, .vec_len = 8,
	};

	return ioctl(session, PML_IOC_COLLECT, &c) ? -errno : (int)c.pages;
}

/* What was lost before: other trackers of this process share its log. */
static void settle(int session, uint32_t target, const void *m, size_t size)
{
	struct pml_uapi_collect c = {
		.size = sizeof(c), .target = target, .start = (uintptr_t)m,
		.end = (uintptr_t)m + size, .flags = PML_COLLECT_FORGET,
	};

	ioctl(session, PML_IOC_COLLECT, &c);
}

static const char *try_scratch(int session, uint32_t mode)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 4 * page;
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = PML_TARGET_SELF, .mode = mode,
		.events = PML_EV_DIRTY,
	};
	volatile char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);
	const char *why = NULL;

	if (m == MAP_FAILED)
		return "out of memory";
	madvise((void *)m, size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < 4; i++)
		m[i * page] = 1;
	if (pml_kmod_add(session, &add)) {
		munmap((void *)m, size);
		return "pml.ko refuses to track this process";
	}
	settle(session, add.target, (void *)m, size);
	if (written(session, add.target, (void *)m, size) != 0) {
		why = "pml.ko was tried: it tells of pages that were not written";
	} else {
		m[page] = 2;
		if (written(session, add.target, (void *)m, size) != 1)
			why = "pml.ko was tried: it misses a page that was written";
		m[page] = 3;
		if (!why && written(session, add.target, (void *)m, size) != 1)
			why = "pml.ko was tried: it misses a page that was written again";
	}
	munmap((void *)m, size);
	return why;
}

int pml_kmod_probe(uint32_t mode, char *why, size_t size)
{
	int session = pml_kmod_session(mode, why, size);
	const char *words;

	if (session < 0)
		return -ENOTSUP;
	words = try_scratch(session, mode);
	close(session);
	pml_words(why, size, words ? words : "");
	return words ? -ENOTSUP : 0;
}
