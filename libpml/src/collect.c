/* SPDX-License-Identifier: MIT */
/*
 * The one step that the library exists for: return what happened, and re-arm.
 * Called by pml_collect() and pml_reader_collect().  No malloc, no stdio, no
 * lock: the caller's world may stand still.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What one collect has been asked for and how far it has got. */
struct run {
	struct pml *t;
	struct pml_reader *r;
	uint64_t start;
	uint64_t end;
	uint64_t pages_left;
	uint32_t events;
	bool whole;		/* with the parts before it, all there is */
	bool more;
	bool quiet;		/* nobody's collect: into the sets only */
};

static int check_args(struct pml *t, const struct pml_collect_args *in,
		      struct pml_collect_args *args)
{
	uint64_t mask = (uint64_t)t->page_size - 1;

	memset(args, 0, sizeof(*args));
	if (in) {
		if (in->size < sizeof(size_t) + 2 * sizeof(uint64_t))
			return pml_fail(t, -EINVAL, "pml_collect: args.size is too small; set it to sizeof(args)");
		memcpy(args, in, in->size < sizeof(*args) ? in->size : sizeof(*args));
	}
	if (!args->start && !args->end)
		args->end = UINT64_MAX & ~mask;
	/* what a resumed collect goes on with has no end of its own */
	if (args->start && !args->end)
		args->end = UINT64_MAX & ~mask;
	if ((args->start | args->end) & mask || args->start >= args->end)
		return pml_fail(t, -EINVAL, "pml_collect: bad range: start or end is not a multiple of the page size, or start is not before end; round them");
	if (!args->events)
		args->events = t->events;
	if (args->events & ~t->events)
		return pml_fail(t, -EINVAL, "pml_collect: events that the tracker was not opened for; name them in options.events");
	return 0;
}

/* Whether what is drained has to go by way of the sets. */
static bool needs_sets(const struct run *run, const struct pml_proc *p)
{
	struct pml_set *own = ((struct pml_set **)run->r->sets.p)[p->slot];

	return run->t->readers != run->r || run->r->next || p->npins || run->t->check ||
	       (own && !pml_set_empty(own)) || pml_reader_no_set(run->r, p->slot);
}

/* More room for ranges, as long as the bound on a result allows it. */
static bool grow_result(struct pml_reader *r)
{
	size_t cap = r->ranges.len / sizeof(struct pml_range);
	size_t want = cap * 2 < r->t->max_ranges ? cap * 2 : r->t->max_ranges;

	return want > cap &&
	       pml_buf_reserve(&r->t->pool, &r->ranges, want * sizeof(struct pml_range)) == 0;
}

static void add_pages(struct pml_result *res, const struct pml_pages *pages)
{
	res->dirty_pages += pages->dirty;
	res->referenced_pages += pages->referenced;
	res->assumed_pages += pages->assumed;
}

/* Drains the range into the sink, as far as its room and budget go. */
static int drain(struct run *run, struct pml_proc *p, bool to_sets, uint64_t *walk_end)
{
	struct pml_reader *r = run->r;
	uint64_t at = run->start;
	struct pml_sink s;
	int err;

	do {
		pml_sink_open(&s, run->t, p, r, to_sets, run->pages_left);
		err = p->ops->drain(p, at, run->end, run->events, &s, walk_end);
		if (!to_sets) {
			r->result.nranges = s.n;
			run->pages_left = s.pages_left;
			add_pages(&r->result, &s.pages);
		}
		if (!err && !(p->ops->caps & PML_CAP_ATOMIC_REARM) && *walk_end > at)
			err = p->ops->rearm(p, at, *walk_end, run->events);
		at = *walk_end;
	} while (!err && at < run->end && run->pages_left && grow_result(r));
	return err;
}

/* Registered buffers are dirty at every collect, for every reader. */
static void add_pins(struct run *run, struct pml_proc *p)
{
	const struct pml_span *pins = p->pins.p;
	struct pml_sink s;

	pml_sink_open(&s, run->t, p, run->r, true, UINT64_MAX);
	for (size_t i = 0; i < p->npins; i++) {
		uint64_t start = pins[i].start > run->start ? pins[i].start : run->start;
		uint64_t end = pins[i].end < run->end ? pins[i].end : run->end;

		if (start < end)
			pml_sink_emit(&s, start, end, p->page_size, PML_DIRTY, PML_ASSUMED,
				      PML_REASON_PINNED);
	}
}

static bool push_range(struct pml_reader *r, const struct pml_range *range)
{
	struct pml_pages pages = { 0 };

	if ((r->result.nranges + 1) * sizeof(*range) > r->ranges.len && !grow_result(r))
		return false;
	if (r->result.nranges >= r->t->max_ranges)
		return false;
	((struct pml_range *)r->ranges.p)[r->result.nranges++] = *range;
	pml_pages_add(&pages, (range->end - range->start) >> r->t->page_shift, range->events,
		      range->known);
	add_pages(&r->result, &pages);
	return true;
}

/* As much of a range as the budget allows: its end may come down.  false: none. */
static bool tell_range(struct run *run, const struct pml_proc *p, struct pml_range *range)
{
	uint64_t pages = (range->end - range->start) >> p->page_shift;

	if (pages > run->pages_left) {
		pages = run->pages_left;
		range->end = range->start + (pages << p->page_shift);
	}
	if (!pages || !push_range(run->r, range))
		return false;
	if (run->pages_left != UINT64_MAX)
		run->pages_left -= pages;
	return true;
}

/* A set that could not grow, or be had: everything watched is dirty. */
static void tell_all(struct run *run, struct pml_proc *p)
{
	const struct pml_area *a = pml_areas_at(&p->now);

	run->r->lost = true;
	for (size_t i = 0; i < p->now.n; i++) {
		struct pml_range range = {
			.start = a[i].start > run->start ? a[i].start : run->start,
			.end = a[i].end < run->end ? a[i].end : run->end,
			.granule = p->page_size, .pid = (uint32_t)p->pid,
			.events = (uint16_t)run->events, .known = PML_ASSUMED,
			.reason = PML_REASON_OVERFLOW,
		};

		if (range.start < range.end && !tell_range(run, p, &range)) {
			run->more = true;
			run->r->result.resume = range.start;
			return;
		}
		if (range.start < range.end && range.end < a[i].end && range.end < run->end) {
			run->more = true;
			run->r->result.resume = range.end;
			return;
		}
	}
	/* what lies outside of a part is still to be told */
	if (run->whole)
		pml_reader_forget(run->r, p->slot);
}

/* Moves what the reader's set holds of the range into its result. */
static void tell_set(struct run *run, struct pml_proc *p)
{
	struct pml_set *set = pml_reader_set(run->r, p->slot);
	struct pml_range range;
	uint64_t pos = run->start;

	if (pml_reader_no_set(run->r, p->slot) || set->full) {
		tell_all(run, p);
		return;
	}
	for (;;) {
		uint64_t from = pos, end;

		if (!pml_set_next(set, &pos, run->end, &range))
			break;
		range.events &= (uint16_t)run->events;
		if (!range.events)
			continue;
		range.pid = (uint32_t)p->pid;
		end = range.end;
		if (!tell_range(run, p, &range)) {
			run->more = true;
			run->r->result.resume = range.start > from ? range.start : from;
			return;
		}
		pml_set_remove(set, range.start, range.end, run->events);
		if (range.end < end)
			pos = range.end;
	}
	if (!run->start && run->end >= UINT64_MAX >> 1 && run->events == run->t->events)
		pml_set_clear(set);
}

static int collect_proc(struct run *run, struct pml_proc *p)
{
	uint64_t began = pml_now_ns(), walk_end = run->start;
	bool to_sets;
	int err;

	if (pml_proc_restored(p))
		return pml_fail(run->t, -ESTALE, "the tracker was restored from a checkpoint, or somebody has closed its descriptor: what it knew is gone; call pml_start to begin anew");
	err = pml_proc_refresh(p);
	if (err)
		return err;
	pml_coverage_read(p);
	memset(&p->cost, 0, sizeof(p->cost));
	run->r->result.cost.coverage_ns += pml_now_ns() - began;
	to_sets = run->quiet || needs_sets(run, p);
	if (p->ops->begin) {
		err = p->ops->begin(p);
		if (err)
			return err;
	}
	if (run->t->check)
		pml_check_before(run->t, p, run->start, run->end);
	err = drain(run, p, to_sets, &walk_end);
	if (p->ops->end)
		p->ops->end(p);
	/* also after an error: what was armed on the way is armed */
	if (walk_end > run->start &&
	    pml_areas_commit(p->pool, &p->armed, &p->pieces, run->start, walk_end, &p->scratch))
		run->r->lost = true;
	if (err)
		return err;
	if (to_sets) {
		add_pins(run, p);
		if (run->t->check)
			pml_check_after(run->t, p, run->start, run->end);
		if (!run->quiet)
			tell_set(run, p);
	} else if (walk_end < run->end) {
		run->more = true;
		run->r->result.resume = walk_end;
	}
	for (struct pml_reader *r = run->t->readers; r; r = r->next)
		r->pending_faults += p->cost.faults;
	run->r->result.cost.scans += p->cost.scans;
	run->r->result.cost.scanned_bytes += p->cost.scanned_bytes;
	run->t->unarmed_bytes += p->unarmed_bytes;
	for (size_t i = 0; i < p->now.n; i++)
		run->t->watched_bytes += pml_areas_at(&p->now)[i].end - pml_areas_at(&p->now)[i].start;
	run->r->result.processes++;
	return 0;
}

/* What becomes of a process whose memory is gone.  0: the tracker goes on. */
static int memory_gone(struct run *run, struct pml_proc **p)
{
	struct pml *t = run->t;
	bool exited = pml_proc_exited(*p);
	int32_t pid = (*p)->pid;
	char num[24];
	int err;

	if (t->target != PML_TARGET_TREE && t->target != PML_TARGET_CGROUP) {
		if (exited)
			return pml_fail(t, -ESRCH, "process ", pml_number(num, (uint64_t)pid),
					" has exited: nothing is left to track");
		return pml_fail(t, -ESTALE, "process ", pml_number(num, (uint64_t)pid),
				" has called exec: its memory is another; call pml_start to begin anew");
	}
	pml_proc_remove(t, *p);
	*p = NULL;
	if (exited)
		return 0;
	for (struct pml_reader *r = t->readers; r; r = r->next)
		r->lost = true;
	err = pml_proc_add(t, pid, p);
	if (err == -ENOMEM || err == -EMFILE)
		return err;
	if (err == -ESRCH)
		t->message[0] = '\0';
	/* not now: the next look tries again, at a descendant by itself */
	if (err && err != -ESRCH) {
		pml_procs_unseen(t, pid);
		t->rejoin |= t->target == PML_TARGET_TREE && pid == t->pid;
	}
	return 0;
}

static void begin_result(struct pml_reader *r)
{
	struct pml_range *u = r->uncovered.p;
	uint64_t epoch = r->epoch + 1;

	/* what the last result told is told; the rest came in since */
	memmove(u, u + r->told, (r->nuncovered - r->told) * sizeof(*u));
	r->nuncovered -= r->told;
	r->told = 0;
	memset(&r->result, 0, sizeof(r->result));
	r->result.epoch = epoch;
	r->result.begin_ns = r->last_end_ns;
	r->result.backend = r->t->ops->name;
	r->result.page_size = r->t->page_size;
}

static void end_result(struct run *run, uint64_t began)
{
	struct pml_reader *r = run->r;
	struct pml_result *res = &r->result;

	res->end_ns = pml_now_ns();
	res->ranges = r->ranges.p;
	res->uncovered = r->uncovered.p;
	res->nuncovered = r->nuncovered;
	r->told = r->nuncovered;
	res->cost.collect_ns = res->end_ns - began;
	res->cost.faults = r->pending_faults;
	r->pending_faults = 0;
	if (r->uncovered_cut)
		res->flags |= PML_RESULT_UNCOVERED_CUT;
	r->uncovered_cut = false;
	if (r->lost)
		res->flags |= PML_RESULT_LOST;
	if (run->more) {
		res->flags |= PML_RESULT_MORE;
	} else {
		r->lost = false;
		r->epoch++;
		if (r->parts.all)
			r->last_end_ns = res->end_ns;
	}
	run->t->collects++;
	run->t->collect_ns += res->cost.collect_ns;
}

/* Whether this collect goes on where the reader's last one was cut. */
static bool goes_on(const struct pml_reader *r, const struct pml_collect_args *args)
{
	return r->parts.open && args->start == r->parts.resume &&
	       (args->from_pid == r->parts.resume_pid ||
		(!args->from_pid && r->t->target <= PML_TARGET_PID));
}

static void begin_parts(struct run *run, const struct pml_collect_args *args)
{
	struct pml_parts *parts = &run->r->parts;
	bool to_the_end = args->end > UINT64_MAX >> 1;

	if (!goes_on(run->r, args)) {
		/* one that is named is begun there, and the others at their beginning */
		parts->start = args->from_pid && run->t->target > PML_TARGET_PID ? 0 : args->start;
		parts->all = !parts->start;
		parts->serial = 0;
		memset(parts->done, 0, run->t->nprocs * sizeof(parts->done[0]));
	}
	parts->open = false;
	parts->all &= to_the_end;
	run->whole = parts->all && args->events == run->t->events;
}

/* The process at which a part begins: the one that was cut, which may have gone
 * meanwhile, its number to another one. */
static bool is_from(const struct run *run, const struct pml_proc *p, uint32_t from_pid)
{
	const struct pml_parts *parts = &run->r->parts;

	if (run->t->target <= PML_TARGET_PID)
		return true;
	return (uint32_t)p->pid == from_pid && (!parts->serial || parts->serial == p->serial);
}

static int collect_one(struct run *run, struct pml_proc **p)
{
	struct pml *t = run->t;
	int err = collect_proc(run, *p);

	if (err == -ESRCH) {
		err = memory_gone(run, p);
		/* it is another memory now, of which nothing has been collected */
		run->start = run->r->parts.start;
		if (!err && *p)
			err = collect_proc(run, *p);
		if (err == -ESRCH && t->target > PML_TARGET_PID)
			err = 0;
	}
	return err;
}

static int collect_all(struct run *run, uint32_t from_pid)
{
	struct pml_parts *parts = &run->r->parts;
	struct pml *t = run->t;
	uint64_t from = run->start;
	bool any = false;

	for (uint32_t i = 0; i < t->nprocs; i++) {
		struct pml_proc *p = pml_proc_at(t, i);
		int err;

		if (!p)
			continue;
		if (is_from(run, p, from_pid)) {
			run->start = from;
		} else if (parts->done[i] == p->serial) {
			any = true;
			continue;
		} else {
			run->start = parts->start;
		}
		err = collect_one(run, &p);
		if (err)
			return err;
		any |= p != NULL;
		if (p && run->more) {
			parts->open = true;
			parts->resume = run->r->result.resume;
			parts->resume_pid = run->r->result.resume_pid = (uint32_t)p->pid;
			parts->serial = p->serial;
			break;
		}
		/* a tracker's own process watches that being written */
		if (p && t->target > PML_TARGET_PID)
			parts->done[i] = p->serial;
	}
	/* a cgroup may well be empty */
	if (!any && !t->rejoin && t->target != PML_TARGET_CGROUP)
		return pml_fail(t, -ESRCH, "no process is left to track: all have exited");
	return 0;
}

/* A collect failed: nobody knows what it has re-armed on the way, so that every
 * reader's next result is all dirty. */
static void lose_track(struct pml *t)
{
	for (struct pml_reader *r = t->readers; r; r = r->next) {
		r->lost = true;
		r->parts.open = false;
		for (uint32_t i = 0; i < t->nprocs; i++) {
			struct pml_set *set = pml_proc_at(t, i) ? pml_reader_set(r, i) : NULL;

			if (set)
				set->full = true;
		}
	}
}

/* Before a reader joins: what happened until now belongs to the others alone. */
void pml_collect_for_others(struct pml *t)
{
	uint64_t mask = (uint64_t)t->page_size - 1;
	struct run run = {
		.t = t, .r = t->readers, .end = UINT64_MAX & ~mask, .pages_left = UINT64_MAX,
		.events = t->events, .quiet = true,
	};
	struct pml_result told;

	if (!run.r)
		return;
	/* that reader's caller may still be reading its last result */
	told = run.r->result;
	t->watched_bytes = t->unarmed_bytes = 0;
	for (uint32_t i = 0; i < t->nprocs; i++) {
		struct pml_proc *p = pml_proc_at(t, i);
		int err = p ? collect_proc(&run, p) : 0;

		/* one whose memory is gone is found so by the next collect */
		if (err && err != -ESRCH)
			lose_track(t);
	}
	run.r->result = told;
}

int pml_collect_reader(struct pml_reader *r, const struct pml_collect_args *in,
		       const struct pml_result **result)
{
	struct pml *t = r->t;
	struct pml_collect_args args = { 0 };
	uint64_t began = pml_now_ns();
	struct run run = { .t = t, .r = r };
	int err, saved = errno;

	*result = NULL;
	if (!pml_enter(t))
		return -EBUSY;
	if (!t->started)
		err = pml_fail(t, -ENODATA, "pml_collect: the tracker has not been started; call pml_start first");
	else if (!pml_is_owner(t))
		err = pml_fail(t, -ECHILD, "pml_collect: this process is a forked child of the tracker's; open a tracker of its own");
	else
		err = check_args(t, in, &args);
	if (!err) {
		run.start = args.start;
		run.end = args.end;
		run.pages_left = args.max_pages ? args.max_pages : UINT64_MAX;
		run.events = args.events;
		begin_result(r);
		begin_parts(&run, &args);
		t->message[0] = '\0';
		t->watched_bytes = t->unarmed_bytes = 0;
		err = pml_procs_poll(t);
		if (!err)
			err = collect_all(&run, args.from_pid);
		if (err) {
			if (!t->message[0])
				pml_fail(t, err, "pml_collect: ", pml_strerror(err),
					 "; take everything as dirty");
			lose_track(t);
		} else {
			pml_poller_update(t);
			end_result(&run, began);
			*result = &r->result;
		}
	}
	pml_leave_call(t);
	errno = saved;
	return err;
}

int pml_collect(struct pml *t, const struct pml_collect_args *args, const struct pml_result **result)
{
	if (!t || !result)
		return -EINVAL;
	*result = NULL;
	if (!t->default_reader)
		return -EINVAL;
	return pml_collect_reader(t->default_reader, args, result);
}
