/* SPDX-License-Identifier: MIT */
/*
 * uffd-sync: userfaultfd write-protect (Linux 5.7) with a thread of the
 * library's that lets each first write go on.  Called through struct
 * pml_backend; the calling process only.
 *
 * What decides its correctness:
 *
 * - The thread keeps no account: a page that has content and is not protected
 *   was written, or is new.  The page tables say so.
 * - Only what was found unprotected is protected again.  A page that is written
 *   after the look, and was protected, stays unprotected: the next look's news.
 *   So reading and re-arming leave no gap, and nothing has to stand still.
 * - The protection goes with the page.  So the pages with content are remembered,
 *   and taken as dirty when they are missing.  A page that was written for the
 *   first time and then dropped, in one epoch, leaves no trace: UNCOVERED, DROPS.
 *   And one that is protected without having been remembered was moved here.
 * - mremap takes the registration from what it moves, and from all that this is
 *   joined with, but leaves protection bits there that protect nothing any more.
 *   So before the bits of a mapping are believed, it is asked for: has_lost().
 * - Whoever writes to protected memory waits for the thread.  So nothing that
 *   the thread itself writes may be protected: its stack and its counters are
 *   tables of the tracker, which are left out.
 * - It asks for faults of the kernel too, or else read(2) into a protected page
 *   would fail; that takes CAP_SYS_PTRACE or vm.unprivileged_userfaultfd.
 * - Self only.  Of another process, each first write would wait for a thread of
 *   the tracker's: whatever stops that one (a debugger, a signal, the scheduler)
 *   stops the target in the middle of a store or a system call.  And the right is
 *   asked of the process in which the userfaultfd is made, which is the target.
 *   Wherever this works, soft-dirty or hash do it from outside without either.
 * - Files are not taken (anonymous memory, memfd and other shmem are).
 */
#define _GNU_SOURCE
#include "../backend.h"
#include "../broken.h"
#include "../look.h"
#include "../kernel_abi.h"
#include "../message.h"
#include "../uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The second is for programs with much thread-local storage, which lies there too. */
#define STACK_SIZE ((size_t)256 << 10)
#define LARGE_STACK_SIZE ((size_t)1 << 20)

/* Of the thread: a sanitizer's account of its variables would be written to memory
 * that is watched, and the thread would wait for itself. */
#define PLAIN __attribute__((no_sanitize("address", "thread", "undefined")))

struct file {
	dev_t dev;
	ino_t ino;
};

/* What the thread writes: never protected. */
struct handler {
	struct file uffd_file;
	atomic_int runs;	/* it is past its beginning, which may write anywhere */
	int uffd;
	int quit;
	uint64_t page_mask;
	atomic_uint_fast64_t faults;
};

struct sync {
	struct pml_proc *p;
	struct pml_look look;
	struct pml_buf shared;		/* struct handler */
	struct pml_buf stack;
	struct pml_buf unreadable;	/* a page: see has_lost */
	pthread_t thread;
	bool runs;
	struct pml_set known;		/* pages that had content at the last look */
	struct pml_set gone;		/* of them, those missed in this look */
	uint64_t faults;		/* told of so far */
	/* while looking */
	const struct pml_area *area;
	struct pml_sink *sink;
	uint64_t walk_end;		/* so far is told */
	int err;
	bool no_rearm;			/* negative controls, only with PML_TEST_HOOKS */
	bool no_asking;
};

static struct handler *handler_of(const struct sync *s)
{
	return s->shared.p;
}

/* ---- the thread ---- */

/* Every call by syscall(), which has been called before anything is protected:
 * looking up another name could write to protected memory. */
PLAIN static void let_go(struct handler *h, uint64_t addr)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = addr & ~h->page_mask, .len = h->page_mask + 1 },
	};

	atomic_fetch_add_explicit(&h->faults, 1, memory_order_relaxed);
	while (syscall(SYS_ioctl, h->uffd, UFFDIO_WRITEPROTECT, &wp)) {
		if (errno == EAGAIN)
			continue;
		/* unmapped meanwhile: who waits finds out by himself */
		syscall(SYS_ioctl, h->uffd, UFFDIO_WAKE, &wp.range);
		break;
	}
}

/* The program may have closed all descriptors, and have others with their numbers: those
 * are not to be read, nor closed. */
PLAIN static bool is_still(int fd, const struct file *f)
{
	struct stat st;

	return syscall(SYS_fstat, fd, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino;
}

/* Lets everybody go on who waits now. */
PLAIN static void let_all_go(struct handler *h)
{
	struct uffd_msg msg[16];
	long n;

	do {
		n = syscall(SYS_read, h->uffd, msg, sizeof(msg));
		for (long i = 0; i < n / (long)sizeof(msg[0]); i++)
			if (msg[i].event == UFFD_EVENT_PAGEFAULT)
				let_go(h, msg[i].arg.pagefault.address);
	} while (n == (long)sizeof(msg));
}

PLAIN static void *serve(void *arg)
{
	struct handler *h = arg;

	atomic_store(&h->runs, 1);
	syscall(SYS_futex, &h->runs, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = h->uffd, .events = POLLIN }, { .fd = h->quit, .events = POLLIN },
		};

		syscall(SYS_ppoll, fds, 2, NULL, NULL, 0);
		if (!is_still(h->uffd, &h->uffd_file))
			return NULL;
		let_all_go(h);
		/* Nobody else may close it: whatever a thread does in between, the end
		 * of this one too, may touch memory that is protected until then. */
		if (fds[1].revents) {
			syscall(SYS_close, h->uffd);
			return NULL;
		}
	}
}

static int make_thread(struct sync *s, size_t stack_size)
{
	pthread_attr_t attr;
	int err = pml_buf_reserve(s->p->pool, &s->stack, stack_size);

	if (err)
		return err;
	pthread_attr_init(&attr);
	err = pthread_attr_setstack(&attr, s->stack.p, s->stack.len);
	if (!err)
		err = pthread_create(&s->thread, &attr, serve, s->shared.p);
	pthread_attr_destroy(&attr);
	return -err;
}

static int start_thread(struct sync *s)
{
	sigset_t all, before;
	int err;

	/* signals are the program's business */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = make_thread(s, STACK_SIZE);
	if (err == -EINVAL)
		err = make_thread(s, LARGE_STACK_SIZE);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	s->runs = !err;
	while (s->runs && !atomic_load(&handler_of(s)->runs))
		syscall(SYS_futex, &handler_of(s)->runs, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return err;
}

/* ---- protecting ---- */

static int protect(const struct sync *s, uint64_t start, uint64_t end)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = start, .len = end - start },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	if (s->no_rearm)
		return 0;
	while (ioctl(handler_of(s)->uffd, UFFDIO_WRITEPROTECT, &wp))
		if (errno != EAGAIN)
			return -errno;
	return 0;
}

/* ---- looking ---- */

static void emit(const struct sync *s, uint64_t start, uint64_t end, enum pml_reason reason)
{
	if (s->sink)
		pml_sink_emit(s->sink, start, end, s->p->page_size, PML_DIRTY,
			      reason ? PML_ASSUMED : PML_OBSERVED, reason);
}

/* What has content and is not protected.  One write to where nothing was may have
 * brought a huge page: then nobody knows which of its pages was written. */
static void emit_written(const struct sync *s, uint64_t start, uint64_t end, unsigned int seen)
{
	const uint64_t size = 2ull << 20;

	if (seen & PML_SEEN_UNSURE) {
		emit(s, start, end, PML_REASON_FIRST_SIGHT);
		return;
	}
	while (s->sink && start < end) {
		uint64_t block = start & ~(size - 1);
		uint64_t stop = block + size < end ? block + size : end;
		bool whole = start == block && stop == block + size;

		pml_sink_emit(s->sink, start, stop,
			      (seen & PML_SEEN_HUGE) || (s->look.no_scan && whole) ?
			      size : s->p->page_size, PML_DIRTY, PML_OBSERVED, PML_REASON_NONE);
		start = stop;
	}
}

/* How far one may report within room and budget. */
static uint64_t within(const struct sync *s, uint64_t start, uint64_t end)
{
	uint64_t pages;

	if (!s->sink)
		return end;
	/* one run may be told in three: its beginning, its whole blocks, its end */
	pages = pml_sink_room(s->sink) >= 3 ? pml_sink_pages(s->sink) : 0;
	return pages < (end - start) >> s->p->page_shift ? start + (pages << s->p->page_shift) : end;
}

/* Everything in it is taken as dirty. */
static int assume(struct sync *s, uint64_t start, uint64_t end, uint64_t *walk_end)
{
	uint64_t stop = within(s, start, end);
	int err = stop > start ? protect(s, start, stop) : 0;

	*walk_end = start;
	if (err || stop == start)
		return err;
	emit(s, start, stop, PML_REASON_FIRST_SIGHT);
	pml_set_remove(&s->known, start, stop, PML_DIRTY);
	*walk_end = stop;
	return 0;
}

/* Tells of the pages before `end` that had content and have none.  False: no
 * room, and walk_end is where it stopped. */
static bool tell_gone(struct sync *s, uint64_t end)
{
	uint64_t pos = s->walk_end;
	struct pml_range r;

	while (pml_set_next(&s->gone, &pos, end, &r)) {
		uint64_t stop = within(s, r.start, r.end);

		if (stop > r.start)
			emit(s, r.start, stop, PML_REASON_DROPPED);
		pml_set_remove(&s->known, r.start, stop, PML_DIRTY);
		s->walk_end = stop;
		if (stop < r.end)
			return false;
	}
	s->walk_end = end;
	return true;
}

/* A run of pages with content.  0, or 1 to stop. */
static int take_run(struct sync *s, uint64_t start, uint64_t end, unsigned int seen)
{
	struct pml_range r = { .start = start, .end = end, .events = PML_DIRTY };

	pml_set_remove(&s->gone, start, end, PML_DIRTY);
	if (!tell_gone(s, start))
		return 1;
	if (!(seen & PML_SEEN_ARMED)) {
		r.end = within(s, start, end);
		if (r.end == start)
			return 1;
		s->err = protect(s, start, r.end);
		if (s->err)
			return 1;
		emit_written(s, start, r.end, seen);
	}
	s->walk_end = r.end;
	/* a set that cannot grow is full: every page counts as known then */
	(void)pml_set_add(&s->known, &r);
	return r.end < end;
}

static int take(void *arg, uint64_t start, uint64_t end, unsigned int seen)
{
	struct sync *s = arg;
	int ret = 0;

	if (!pml_seen_content(s->area->kind, seen))
		return 0;
	/* of shared memory a page may come in that somebody else has made */
	if (!(seen & PML_SEEN_ARMED) || s->area->kind == PML_AREA_SHARED)
		return take_run(s, start, end, seen);
	while (start < end && !ret) {
		struct pml_range ours;
		uint64_t pos = start;

		if (!pml_set_next(&s->gone, &pos, end, &ours))
			ours.start = ours.end = end;
		/* protected, but not here and by us */
		if (ours.start > start)
			ret = take_run(s, start, ours.start, seen & ~PML_SEEN_ARMED);
		if (ours.end > ours.start && !ret)
			ret = take_run(s, ours.start, ours.end, seen);
		start = ours.end;
	}
	return ret;
}

static int look_for_written(struct sync *s, const struct pml_area *a, uint64_t start, uint64_t end,
			    uint64_t *walk_end)
{
	struct pml_range r;
	uint64_t pos = start;
	int ret;

	pml_set_clear(&s->gone);
	if (s->known.full)
		return assume(s, start, end, walk_end);
	while (pml_set_next(&s->known, &pos, end, &r))
		if (pml_set_add(&s->gone, &r))
			return assume(s, start, end, walk_end);
	s->area = a;
	s->err = 0;
	s->walk_end = start;
	ret = pml_look(&s->look, s->p, start, end, take, s);
	if (!ret)
		tell_gone(s, end);
	*walk_end = s->walk_end;
	return ret < 0 ? ret : s->err;
}

/* ---- areas ---- */

/* The first page that has been remembered of an area; 0: none. */
static uint64_t first_known(struct sync *s, const struct pml_area *a)
{
	uint64_t pos = a->start;
	struct pml_range r;

	if (s->known.full)
		return a->start;
	return pml_set_next(&s->known, &pos, a->end, &r) ? r.start : 0;
}

/*
 * Whether what the area is part of is registered no more.  Where nothing is remembered
 * of private memory no bit is believed, so that it need not be asked.
 *
 * What the kernel is asked to do must fail, as there is nothing to be read where it is
 * to copy from; but it looks at the mapping first.
 */
static bool has_lost(const struct pml_proc *p, const struct pml_area *a)
{
	struct sync *s = p->state;
	struct uffdio_copy copy = {
		.dst = a->kind == PML_AREA_SHARED ? a->start : first_known(s, a),
		.src = (uintptr_t)s->unreadable.p, .len = p->page_size,
	};

	if (!copy.dst || s->no_asking)
		return false;
	return ioctl(handler_of(s)->uffd, UFFDIO_COPY, &copy) && errno == ENOENT;
}

/* As assume; and remembers what has content, so that it is missed when it is dropped. */
static int assume_and_know(struct sync *s, struct pml_area *a, uint64_t start, uint64_t end,
			   uint64_t *walk_end)
{
	struct pml_sink *sink = s->sink;
	uint64_t looked;
	int err = assume(s, start, end, walk_end);

	if (err || *walk_end == start)
		return err;
	/* what is written meanwhile is told already, and protected again */
	s->sink = NULL;
	err = look_for_written(s, a, start, *walk_end, &looked);
	s->sink = sink;
	return err;
}

static int drain_fresh(struct sync *s, struct pml_area *a, uint64_t start, uint64_t end,
		       uint64_t *walk_end)
{
	/* shared memory is protected where there is no page yet, too */
	if (a->kind != PML_AREA_ANON || (a->flags & PML_AREA_REPLACED))
		return assume_and_know(s, a, start, end, walk_end);
	return look_for_written(s, a, start, end, walk_end);
}

/* What is not registered, or no more. */
static int drain_unregistered(struct sync *s, struct pml_area *a, uint64_t start, uint64_t end,
			      bool half_told, uint64_t *walk_end)
{
	int err = pml_uffd_register(s->p, handler_of(s)->uffd, has_lost, a, false);

	if (err == -ENOMEM) {
		pml_uffd_assume_all(s->p, a, start, end, s->sink, walk_end);
		return 0;
	}
	/* what was unmapped while we looked at it is the next collect's news */
	if (err && err != -EBUSY && err != -ENOENT)
		return err;
	if (!err && !half_told) {
		err = drain_fresh(s, a, start, end, walk_end);
		if (err != -ENOENT)
			return err;
		half_told = true;
	}
	/* lost in the middle of a look: nobody knows how much of that was true */
	if (!err || (err == -ENOENT && half_told))
		a->flags |= PML_AREA_UNSUPPORTED;
	if (a->flags & PML_AREA_OWNED)
		pml_proc_uncovered(s->p, a->start, a->end, PML_REASON_OWNED);
	else if (a->flags & PML_AREA_UNSUPPORTED)
		pml_proc_uncovered(s->p, a->start, a->end, PML_REASON_UNSUPPORTED);
	*walk_end = end;
	return 0;
}

static int drain_area(struct sync *s, struct pml_area *a, uint64_t start, uint64_t end,
		      uint64_t *walk_end)
{
	bool half_told = false;

	*walk_end = start;
	if (!(a->flags & (PML_AREA_FRESH | PML_AREA_UNWRITABLE))) {
		bool lost = has_lost(s->p, a), knew = first_known(s, a);
		int err = lost ? -ENOENT : look_for_written(s, a, start, end, walk_end);

		if (err != -ENOENT)
			return err;
		/* moved, or something else was mapped at the same place */
		a->flags |= PML_AREA_FRESH | PML_AREA_REPLACED;
		half_told = !lost && (knew || a->kind == PML_AREA_SHARED);
		start = *walk_end;
	}
	if (!(a->flags & PML_AREA_UNWRITABLE))
		return drain_unregistered(s, a, start, end, half_told, walk_end);
	*walk_end = end;
	return 0;
}

static int sync_drain(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
		      struct pml_sink *sink, uint64_t *walk_end)
{
	struct sync *s = p->state;
	struct pml_area *a = pml_areas_at(&p->pieces);
	uint64_t faults = atomic_load_explicit(&handler_of(s)->faults, memory_order_relaxed);

	(void)events;
	s->sink = sink;
	p->cost.faults += faults - s->faults;
	s->faults = faults;
	if (p->pieces.n)
		pml_proc_uncovered(p, a[0].start, a[p->pieces.n - 1].end, PML_REASON_DROPS);
	*walk_end = start;
	for (size_t i = 0; i < p->pieces.n; i++) {
		uint64_t from = a[i].start > start ? a[i].start : start;
		uint64_t to = a[i].end < end ? a[i].end : end;
		int err;

		if (from >= to)
			continue;
		err = drain_area(s, a + i, from, to, walk_end);
		if (err)
			return err;
		if (*walk_end < to)
			return 0;
	}
	*walk_end = end;
	return 0;
}

/* ---- coming and going ---- */

/* 0 or -errno: a userfaultfd that serves faults of the kernel too. */
static int make_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int err;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) == 0)
		return fd;
	err = errno == EINVAL ? -ENOTSUP : -errno;
	close(fd);
	return err;
}

static void sync_detach(struct pml_proc *p)
{
	struct sync *s = p->state;
	uint64_t one = 1;

	if (!s)
		return;
	if (s->shared.p) {
		struct handler *h = handler_of(s);

		/* a forked child has the descriptors, but not the thread nor the memory */
		if (s->runs && getpid() == p->pid) {
			/* What stays registered goes with the descriptor, unless a child
			 * has that too: then nobody would let go who writes there. */
			pml_uffd_unregister_all(p, h->uffd);
			if (write(h->quit, &one, sizeof(one)) == sizeof(one)) {
				pthread_join(s->thread, NULL);
				h->uffd = -1;
			}
		}
		if (h->uffd >= 0)
			close(h->uffd);
		if (h->quit >= 0)
			close(h->quit);
	}
	pml_look_close(&s->look);
	pml_set_free(&s->known);
	pml_set_free(&s->gone);
	pml_buf_free(&s->unreadable);
	pml_buf_free(&s->stack);
	pml_buf_free(&s->shared);
	p->state = NULL;
	munmap(s, sizeof(*s));
}

static int set_up(struct pml_proc *p, struct sync *s)
{
	struct handler *h;
	struct stat st;
	int err = pml_buf_reserve(p->pool, &s->shared, sizeof(*h));

	if (err)
		return err;
	h = handler_of(s);
	h->page_mask = p->page_size - 1;
	h->uffd = h->quit = -1;
	err = pml_look_open(&s->look, p);
	if (err)
		return err;
	err = pml_buf_reserve(p->pool, &s->unreadable, p->page_size);
	if (err)
		return err;
	if (mprotect(s->unreadable.p, s->unreadable.len, PROT_NONE))
		return -errno;
	h->uffd = make_userfaultfd();
	if (h->uffd < 0)
		return h->uffd;
	if (fstat(h->uffd, &st))
		return -errno;
	h->uffd_file = (struct file){ st.st_dev, st.st_ino };
	h->quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->quit < 0)
		return -errno;
	return start_thread(s);
}

static int sync_attach(struct pml_proc *p)
{
	struct sync *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0);
	int err;

	if (s == MAP_FAILED)
		return pml_proc_fail(p, -ENOMEM, "uffd-sync: out of memory");
	s->p = p;
	s->look.pagemap = -1;
	pml_set_init(&s->known, p->pool, p->page_shift);
	pml_set_init(&s->gone, p->pool, p->page_shift);
	p->state = s;
	s->no_rearm = pml_broken("no-rearm");
	s->no_asking = pml_broken("no-neighbours");
	err = set_up(p, s);
	if (!err)
		return 0;
	sync_detach(p);
	switch (err) {
	case -EMFILE:
	case -ENFILE:
		return pml_proc_fail(p, -EMFILE, "uffd-sync: out of file descriptors; raise the limit (ulimit -n)");
	case -ENOMEM:
	case -EAGAIN:
		return pml_proc_fail(p, -ENOMEM, "uffd-sync: no memory, or no thread can be made; raise max_memory or the limits");
	default:
		return pml_proc_fail(p, -EPERM, "uffd-sync: userfaultfd or pagemap was refused; allow them, or choose another back-end");
	}
}

static int sync_probe(char *why, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *m = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register r = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	const char *reason = "";
	int fd = make_userfaultfd();

	r.range.start = wp.range.start = (uintptr_t)m;
	r.range.len = wp.range.len = page;
	if (fd == -ENOSYS)
		reason = "the kernel has no userfaultfd";
	else if (fd == -ENOTSUP)
		reason = "userfaultfd has no write-protect: it needs Linux 5.7";
	else if (fd == -EMFILE || fd == -ENFILE)
		reason = "out of file descriptors";
	else if (fd < 0)
		reason = "a userfaultfd for the kernel's own writes is refused: it takes CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd";
	else if (m == MAP_FAILED)
		reason = "out of memory";
	else if (*(volatile char *)m = 1, ioctl(fd, UFFDIO_REGISTER, &r) ||
		 ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		reason = "memory cannot be write-protected by a userfaultfd";
	if (fd >= 0)
		close(fd);
	if (m != MAP_FAILED)
		munmap(m, page);
	pml_words(why, size, reason);
	return *reason ? -ENOTSUP : 0;
}

const struct pml_backend pml_backend_uffd_sync = {
	.name = "uffd-sync",
	.source = "userfaultfd write-protect, a thread that lets writes go on",
	.events = PML_DIRTY,
	.caps = PML_CAP_SELF | PML_CAP_ATOMIC_REARM | PML_CAP_MAPS | PML_CAP_PARTIAL,
	.granularity = 1,
	.self_only = "another one would stand still whenever this one does, and must itself have the right to such a userfaultfd",
	.probe = sync_probe,
	.attach = sync_attach,
	.detach = sync_detach,
	.drain = sync_drain,
};
