/* SPDX-License-Identifier: MIT */
/* Trackers: opened, started, told what to watch, closed.  Called by users. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

uint64_t pml_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

bool pml_enter(struct pml *t)
{
	return !atomic_flag_test_and_set_explicit(&t->busy, memory_order_acquire);
}

void pml_leave_call(struct pml *t)
{
	atomic_flag_clear_explicit(&t->busy, memory_order_release);
}

bool pml_is_owner(const struct pml *t)
{
	return *t->mark && getpid() == t->owner;
}

/* A page that fork leaves empty; before Linux 4.14 the process's number has to do. */
static int make_mark(struct pml *t)
{
	uint32_t *mark = mmap(NULL, t->page_size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mark == MAP_FAILED)
		return -ENOMEM;
	madvise(mark, t->page_size, MADV_WIPEONFORK);
	*mark = 1;
	t->mark = mark;
	return 0;
}

static bool bad_span(const struct pml *t, uint64_t start, uint64_t end)
{
	return ((start | end) & (t->page_size - 1)) || start >= end;
}

/* Adds a span to a sorted list of disjoint ones. */
static int add_span(struct pml *t, struct pml_buf *list, size_t *n, uint64_t start, uint64_t end)
{
	struct pml_span *s = list->p;
	size_t at = 0, last;

	while (at < *n && s[at].end < start)
		at++;
	for (last = at; last < *n && s[last].start <= end; last++) {
		start = s[last].start < start ? s[last].start : start;
		end = s[last].end > end ? s[last].end : end;
	}
	if (last == at) {
		if (*n >= PML_MAX_SPANS ||
		    pml_buf_reserve(&t->pool, list, (*n + 1) * sizeof(*s)))
			return -ENOMEM;
		s = list->p;
		memmove(s + at + 1, s + at, (*n - at) * sizeof(*s));
		++*n;
	} else {
		memmove(s + at + 1, s + last, (*n - last) * sizeof(*s));
		*n -= last - at - 1;
	}
	s[at].start = start;
	s[at].end = end;
	return 0;
}

/* Takes a span out of such a list. */
static int cut_span(struct pml *t, struct pml_buf *list, size_t *n, uint64_t start, uint64_t end)
{
	struct pml_span *s = list->p;
	size_t kept = 0;

	for (size_t i = 0; i < *n; i++) {
		struct pml_span whole = s[i];

		if (whole.start < start && whole.end > end) {
			/* a hole in the middle makes two of it, and ends the search */
			s[i].end = start;
			return add_span(t, list, n, end, whole.end);
		}
		if (whole.start >= start && whole.end <= end)
			continue;
		if (whole.end > start && whole.start < start)
			whole.end = start;
		else if (whole.start < end && whole.end > end)
			whole.start = end;
		s[kept++] = whole;
	}
	*n = kept;
	return 0;
}

static int add_spans(struct pml *t, struct pml_buf *list, size_t *n, const struct pml_span *spans,
		     size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (bad_span(t, spans[i].start, spans[i].end))
			return pml_fail(t, -EINVAL, "pml_open: bad range: one to watch or leave is unaligned, empty or wraps; use multiples of the page size");
		if (add_span(t, list, n, spans[i].start, spans[i].end))
			return pml_fail(t, -ENOMEM, "pml_open: too many ranges; at most 4,096 are kept");
	}
	return 0;
}

/* One more span of a running tracker. */
static int change_span(struct pml *t, uint64_t start, uint64_t end, bool watch)
{
	int err;

	if (!t)
		return -EINVAL;
	if (!pml_enter(t))
		return -EBUSY;
	if (bad_span(t, start, end)) {
		err = pml_fail(t, -EINVAL, watch ? "pml_watch" : "pml_leave",
			       ": bad range: start or end is not a multiple of the page size, or start is not before end; round them");
	} else {
		/* whichever was said last counts */
		err = watch ? cut_span(t, &t->leave, &t->nleave, start, end)
			    : add_span(t, &t->leave, &t->nleave, start, end);
		if (!err && watch)
			err = add_span(t, &t->watch, &t->nwatch, start, end);
		if (err)
			pml_fail(t, err, watch ? "pml_watch" : "pml_leave",
				 ": too many ranges: at most 4,096 are kept; name larger ones");
		else if (watch)
			t->any_watch = true;
	}
	pml_leave_call(t);
	return err;
}

int pml_watch(struct pml *t, uint64_t start, uint64_t end)
{
	return change_span(t, start, end, true);
}

int pml_leave(struct pml *t, uint64_t start, uint64_t end)
{
	return change_span(t, start, end, false);
}

static bool is_on(const char *name)
{
	const char *v = secure_getenv(name);

	return v && *v && strcmp(v, "0") != 0;
}

static int choose_backend(struct pml *t, const char *name)
{
	bool external = t->target != PML_TARGET_SELF && t->pid != t->owner;
	char why[256];

	if (!name || !*name)
		name = secure_getenv("PML_BACKEND");
	if (!name || !*name) {
		t->ops = pml_backend_best(t->events, external, why, sizeof(why));
		if (!t->ops)
			return pml_fail(t, -ENOTSUP, "no back-end: ", why, "; `pml info` lists what is missing");
		return 0;
	}
	t->ops = pml_backend_by_name(name);
	if (!t->ops)
		return pml_fail(t, -ENOENT, "back-end ", name, ": there is none of that name; `pml info` lists them");
	if (t->ops->probe && t->ops->probe(why, sizeof(why)))
		return pml_fail(t, -ENOTSUP, "back-end ", name, ": ", why, "; choose another, `pml info` lists them");
	if (t->events & ~t->ops->events)
		return pml_fail(t, -ENOTSUP, "back-end ", name, ": it cannot tell the events asked for; choose another, `pml info` lists them");
	if (external && !(t->ops->caps & PML_CAP_EXTERNAL))
		return pml_fail(t, -ENOTSUP, "back-end ", name, ": it can only track its own process: ", t->ops->self_only ? t->ops->self_only : "it is made so", "; choose another");
	return 0;
}

static int check_target(struct pml *t, const char *cgroup)
{
	switch (t->target) {
	case PML_TARGET_SELF:
		t->pid = t->owner;
		return 0;
	case PML_TARGET_PID:
	case PML_TARGET_TREE:
		if (t->pid <= 0)
			return pml_fail(t, -EINVAL, "pml_open: bad pid: it is not positive; name a process");
		return 0;
	case PML_TARGET_CGROUP:
		return pml_cgroup_open(t, cgroup);
	default:
		return pml_fail(t, -EINVAL, "pml_open: unknown target; see enum pml_target");
	}
}

static int configure(struct pml *t, const struct pml_options *o)
{
	int err;

	if (o->events & ~(PML_DIRTY | PML_REFERENCED))
		return pml_fail(t, -EINVAL, "pml_open: unknown events; use PML_DIRTY and PML_REFERENCED");
	if (o->flags & ~(PML_ADAPTIVE | PML_NO_DEFAULT_READER | PML_NO_IO_CHECKS | PML_CHECK |
			 PML_ADAPTIVE_VERIFY))
		return pml_fail(t, -EINVAL, "pml_open: unknown flags: this library is older than its caller; update it");
	err = check_target(t, o->cgroup);
	if (err)
		return err;
	err = choose_backend(t, o->backend);
	if (!err)
		err = add_spans(t, &t->watch, &t->nwatch, o->watch, o->nwatch);
	if (!err)
		err = add_spans(t, &t->leave, &t->nleave, o->leave, o->nleave);
	t->any_watch = o->nwatch > 0;
	if (!err)
		err = pml_buf_reserve(&t->pool, &t->procs, PML_MAX_PROCS * sizeof(struct pml_proc *));
	if (!err && !(t->flags & PML_NO_DEFAULT_READER))
		err = pml_reader_new(t, true, &t->default_reader);
	if (!err && ((t->flags & PML_CHECK) || is_on("PML_CHECK")))
		err = pml_check_new(t);
	if (err == -ENOMEM)
		pml_fail(t, err, "pml_open: out of memory: the tables do not fit into max_memory; raise it");
	return err;
}

static void free_tracker(struct pml *t)
{
	pml_poller_free(t);
	while (t->nprocs)
		pml_proc_remove(t, pml_proc_at(t, t->nprocs - 1));
	pml_check_free(t);
	while (t->readers)
		pml_reader_free(t->readers);
	pml_buf_free(&t->procs);
	pml_buf_free(&t->watch);
	pml_buf_free(&t->leave);
	pml_cgroup_close(t);
	munmap((void *)(uintptr_t)t->mark, t->page_size);
	munmap(t, sizeof(*t));
}

int pml_open(struct pml **out, const struct pml_options *options)
{
	struct pml_options o = { .size = sizeof(o) };
	int err, saved = errno;
	struct pml *t;

	if (!out)
		return -EINVAL;
	*out = NULL;
	if (options) {
		if (options->size < offsetof(struct pml_options, cgroup))
			return -EINVAL;
		memcpy(&o, options, options->size < sizeof(o) ? options->size : sizeof(o));
	}
	t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t == MAP_FAILED) {
		errno = saved;
		return -ENOMEM;
	}
	t->page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	t->page_shift = (uint8_t)__builtin_ctz(t->page_size);
	err = make_mark(t);
	if (err) {
		munmap(t, sizeof(*t));
		errno = saved;
		return err;
	}
	t->target = (enum pml_target)o.target;
	t->owner = getpid();
	t->pid = o.pid;
	t->events = o.events ? o.events : PML_DIRTY;
	t->flags = o.flags;
	t->cgroup.fd = -1;
	t->pool.limit = o.max_memory ? o.max_memory : (size_t)256 << 20;
	t->max_ranges = o.max_ranges ? o.max_ranges : (size_t)1 << 20;
	/* one table's worth of conversion must fit: a drain goes on by 2 MiB at least */
	if (t->max_ranges < 4096)
		t->max_ranges = 4096;
	err = configure(t, &o);
	if (err) {
		if (o.message && o.message_size)
			pml_words(o.message, o.message_size, t->message);
		free_tracker(t);
	} else {
		*out = t;
	}
	errno = saved;
	return err;
}

/* Those that a poll finds, from a slot on. */
static int start_all(struct pml *t, uint32_t from)
{
	int err = pml_procs_poll(t);

	for (uint32_t i = from; i < t->nprocs && !err; i++) {
		if (!pml_proc_at(t, i))
			continue;
		err = pml_proc_begin(pml_proc_at(t, i));
		if (err == -ESRCH) {
			err = 0;
			t->message[0] = '\0';
		}
	}
	return err;
}

static int start(struct pml *t)
{
	bool again = t->started;
	struct pml_proc *p;
	int err;

	if (!pml_is_owner(t))
		return pml_fail(t, -ECHILD, "pml_start: this process is a forked child of the tracker's; open a tracker of its own");
	if ((t->ops->caps & PML_CAP_PROTECTS) && !t->any_watch)
		return pml_fail(t, -ENOTSUP, "pml_start: back-end ", t->ops->name, ": it would protect stacks too, and the process would end; name the memory to watch (options.watch, pml_watch)");
	while (t->nprocs)
		pml_proc_remove(t, pml_proc_at(t, t->nprocs - 1));
	t->started = false;
	t->stop_ns = 0;
	if (t->target == PML_TARGET_CGROUP) {
		err = start_all(t, 0);
	} else {
		err = pml_proc_add(t, t->pid, &p);
		if (err)
			return err;
		t->thp_bytes = pml_proc_thp_bytes(p);
		err = pml_proc_begin(p);
		if (!err && t->target == PML_TARGET_TREE)
			err = start_all(t, p->slot + 1);
	}
	if (err) {
		while (t->nprocs)
			pml_proc_remove(t, pml_proc_at(t, t->nprocs - 1));
		return err;
	}
	for (struct pml_reader *r = t->readers; r; r = r->next) {
		pml_reader_reset(r);
		r->lost = again;
	}
	t->started = true;
	pml_poller_restart(t);
	pml_check_started(t);
	return 0;
}

int pml_start(struct pml *t)
{
	int err, saved = errno;

	if (!t)
		return -EINVAL;
	if (!pml_enter(t))
		return -EBUSY;
	t->message[0] = '\0';
	err = start(t);
	if (err && !t->message[0])
		pml_fail(t, err, "pml_start: ", pml_strerror(err), "; nothing is tracked");
	pml_leave_call(t);
	errno = saved;
	return err;
}

int64_t pml_close(struct pml *t)
{
	int saved = errno;
	int64_t split = 0;

	if (!t)
		return 0;
	if (t->started && t->nprocs == 1 && t->thp_bytes && pml_is_owner(t)) {
		uint64_t now = pml_proc_thp_bytes(pml_proc_at(t, 0));

		if (now < t->thp_bytes)
			split = (int64_t)(t->thp_bytes - now);
	}
	free_tracker(t);
	errno = saved;
	return split;
}

int pml_get_stats(struct pml *t, struct pml_stats *stats)
{
	struct pml_stats s = { 0 };
	size_t size;

	if (!t || !stats || stats->size < 2 * sizeof(uint64_t))
		return -EINVAL;
	if (!pml_enter(t))
		return -EBUSY;
	size = stats->size < sizeof(s) ? stats->size : sizeof(s);
	s.size = stats->size;
	s.memory_bytes = t->pool.used;
	s.memory_limit = t->pool.limit;
	s.collects = t->collects;
	s.collect_ns = t->collect_ns;
	s.watched_bytes = t->watched_bytes;
	s.unarmed_bytes = t->unarmed_bytes;
	s.stop_ns = t->stop_ns;
	for (uint32_t i = 0; i < t->nprocs; i++)
		s.processes += pml_proc_at(t, i) != NULL;
	memcpy(stats, &s, size);
	pml_leave_call(t);
	return 0;
}

const char *pml_backend_name(const struct pml *t)
{
	return t && t->ops ? t->ops->name : "";
}
