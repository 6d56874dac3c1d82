// SPDX-License-Identifier: GPL-2.0-only
/*
 * A session: its targets, and what each call of section 2 of pml_uapi.h does.
 * Called by main.c, which has checked that structs and what is reserved are
 * sound; what they say is checked here.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>
#include "compat.h"
#include "device.h"
#include "session.h"
#include "swaps.h"
#include "trace.h"
#include "track.h"

/* Records that are collected at once, before they are copied out. */
#define BATCH 2048

/* One of the first two. */
struct pml_target {
	struct pml_watch *watch;
	struct pml_follower *follower;	/* PML_MODE_SWAPS */
	u32 pid;
};

struct pml_session {
	struct mutex lock;		/* one call at a time */
	struct xarray targets;		/* struct pml_target, by number from 1 */
	u32 ntargets;
	u32 last;			/* the number given last */
	struct pml_budget budget;
	struct pml_counters counters;
	wait_queue_head_t wait;
	struct pml_uapi_range *batch;
	struct pml_swaps *swaps;	/* NULL: nobody was ever followed */
};

struct pml_session *pml_session_open(void)
{
	struct pml_session *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return NULL;
	if (pml_budget_open(&s->budget, sizeof(*s) + BATCH * sizeof(*s->batch), pml_max_memory)) {
		kfree(s);
		return NULL;
	}
	s->batch = kvmalloc_array(BATCH, sizeof(*s->batch), GFP_KERNEL_ACCOUNT);
	if (!s->batch) {
		pml_budget_close(&s->budget);
		kfree(s);
		return NULL;
	}
	mutex_init(&s->lock);
	xa_init(&s->targets);
	init_waitqueue_head(&s->wait);
	return s;
}

static struct pml_mm *mm_of(const struct pml_target *t)
{
	return t->watch ? t->watch->mm : pml_follower_mm(t->follower);
}

static bool has_ended(const struct pml_target *t)
{
	return READ_ONCE(mm_of(t)->ended);
}

static void close_target(struct pml_target *t)
{
	if (t->watch)
		pml_watch_close(t->watch);
	else
		pml_follower_close(t->follower);
	kfree(t);
}

static void end_target(struct pml_session *s, u32 number, struct pml_target *t)
{
	xa_erase(&s->targets, number);
	s->ntargets--;
	close_target(t);
}

void pml_session_close(struct pml_session *s)
{
	struct pml_target *t;
	unsigned long number;

	xa_for_each(&s->targets, number, t)
		end_target(s, number, t);
	xa_destroy(&s->targets);
	pml_swaps_close(s->swaps);
	kvfree(s->batch);
	pml_budget_close(&s->budget);
	kfree(s);
}

__poll_t pml_session_poll(struct pml_session *s, struct file *file, poll_table *wait)
{
	struct pml_target *t;
	unsigned long number;
	__poll_t ready = 0;

	poll_wait(file, &s->wait, wait);
	mutex_lock(&s->lock);
	xa_for_each(&s->targets, number, t)
		if (has_ended(t))
			ready |= EPOLLPRI;
	mutex_unlock(&s->lock);
	return ready;
}

/* ---- adding and removing ---- */

/* Brings the target to the beginning of its first epoch. */
static int arm(struct pml_watch *w)
{
	struct pml_records none = { .max_pages = U64_MAX };
	unsigned long at = 0;

	while (at < TASK_SIZE_MAX) {
		int err = pml_watch_collect(w, &at, TASK_SIZE_MAX, w->events, 0, &none);

		if (err)
			return err;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static u32 find_target(struct pml_session *s, const struct mm_struct *mm)
{
	struct pml_target *t;
	unsigned long number;

	xa_for_each(&s->targets, number, t)
		if (mm_of(t)->notifier.mm == mm)
			return number;
	return 0;
}

/* Begins a target's first epoch; on failure there is nothing to end. */
static int begin(struct pml_session *s, struct pml_target *t, struct mm_struct *mm,
		 const struct pml_uapi_add *add)
{
	int err;

	if (add->mode == PML_MODE_SWAPS) {
		s->swaps = s->swaps ?: pml_swaps_open(&s->budget);
		if (!s->swaps)
			return -ENOMEM;
		t->follower = pml_follower_open(mm, s->swaps, s->last + 1, &s->wait);
		return PTR_ERR_OR_ZERO(t->follower);
	}
	t->watch = pml_watch_open(mm, add, &s->budget, &s->counters, &s->wait);
	if (IS_ERR(t->watch))
		return PTR_ERR(t->watch);
	err = arm(t->watch);
	if (err)
		pml_watch_close(t->watch);
	return err;
}

static int add_mm(struct pml_session *s, struct pml_uapi_add *add, struct mm_struct *mm, u32 pid)
{
	struct pml_target *t;
	int err;

	add->target = find_target(s, mm);
	if (add->target)
		return -EEXIST;
	if (s->ntargets >= pml_max_targets || s->last == U32_MAX)
		return -EMFILE;
	if (pml_mm_has_pasid(mm))
		return -EOPNOTSUPP;
	t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);
	if (!t)
		return -ENOMEM;
	t->pid = pid;
	err = begin(s, t, mm, add);
	if (err) {
		kfree(t);
		return err;
	}
	err = xa_err(xa_store(&s->targets, s->last + 1, t, GFP_KERNEL_ACCOUNT));
	if (err) {
		close_target(t);
		return err;
	}
	s->ntargets++;
	add->target = ++s->last;
	add->added++;
	return 0;
}

struct cgroup_add {
	struct pml_session *s;
	struct pml_uapi_add *add;
	u32 refused;
};

static int add_listed(void *arg, struct mm_struct *mm, u32 pid)
{
	struct cgroup_add *c = arg;
	int err = add_mm(c->s, c->add, mm, pid);

	if (err == -EEXIST || err == -ESRCH)
		return 0;
	if (err == -EOPNOTSUPP) {
		c->refused++;
		return 0;
	}
	return err;
}

static int add_one(struct pml_session *s, struct pml_uapi_add *add)
{
	struct cgroup_add all = { .s = s, .add = add };
	struct mm_struct *mm;
	u32 pid = 0;
	int err;

	switch (add->kind) {
	case PML_TARGET_SELF:
		if (add->id)
			return -EINVAL;
		mm = pml_permit_self();
		pid = task_tgid_vnr(current);
		break;
	case PML_TARGET_PID:
		mm = pml_permit_pid(add->id);
		pid = add->id;
		break;
	case PML_TARGET_PROOF:
		mm = pml_permit_proof(add->id);
		break;
	case PML_TARGET_CGROUP:
		err = pml_permit_cgroup(add->id, add_listed, &all, &add->refused);
		add->refused += all.refused;
		add->target = 0;
		return err;
	default:
		return -EINVAL;
	}
	if (IS_ERR(mm))
		return PTR_ERR(mm);
	err = add_mm(s, add, mm, pid);
	mmput(mm);
	return err;
}

static u32 events_of(u32 mode)
{
	return mode == PML_MODE_SWAPS ? PML_EV_SWAPPED : PML_EV_DIRTY | PML_EV_REFERENCED;
}

int pml_session_add(struct pml_session *s, struct pml_uapi_add *add)
{
	int err;

	if (!add->events || (add->events & ~events_of(add->mode)))
		return -EINVAL;
	switch (add->mode) {
	case PML_MODE_SWAPS:
		if (add->flags)
			return -EINVAL;
		break;
	case PML_MODE_PTSCAN:
		if (add->flags & ~PML_ADD_SPLIT)
			return -EINVAL;
		break;
	case PML_MODE_EPML:
	case PML_MODE_SPML:
		if (add->flags & ~PML_ADD_TRIGGER_EPT)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	if (add->mode != PML_MODE_SWAPS && !pml_ptscan_works())
		return -EOPNOTSUPP;
	add->target = 0;
	add->added = 0;
	add->refused = 0;
	if (mutex_lock_killable(&s->lock))
		return -EINTR;
	err = add_one(s, add);
	mutex_unlock(&s->lock);
	return err;
}

int pml_session_remove(struct pml_session *s, const struct pml_uapi_remove *remove)
{
	struct pml_target *t;

	if (mutex_lock_killable(&s->lock))
		return -EINTR;
	t = xa_load(&s->targets, remove->target);
	if (t)
		end_target(s, remove->target, t);
	mutex_unlock(&s->lock);
	return t ? 0 : -ENOENT;
}

int pml_session_list(struct pml_session *s, struct pml_uapi_list *list)
{
	struct pml_uapi_listed __user *to = u64_to_user_ptr(list->vec);
	struct pml_target *t;
	unsigned long number;
	int err = 0;

	if (mutex_lock_killable(&s->lock))
		return -EINTR;
	list->n = 0;
	list->total = s->ntargets;
	xa_for_each(&s->targets, number, t) {
		struct pml_uapi_listed one = {
			.target = number, .pid = t->pid,
			.mode = t->watch ? t->watch->way.mode : PML_MODE_SWAPS,
			.events = t->watch ? t->watch->events : PML_EV_SWAPPED,
			.flags = has_ended(t) ? PML_LISTED_ENDED : 0,
		};

		if (list->n == list->vec_len)
			break;
		if (copy_to_user(to + list->n, &one, sizeof(one))) {
			err = -EFAULT;
			break;
		}
		list->n++;
	}
	mutex_unlock(&s->lock);
	return err;
}

/* ---- collecting ---- */

static int check_collect(const struct pml_uapi_collect *c, const struct pml_watch *w)
{
	if (!w)
		return -EINVAL;
	if (c->flags & ~(PML_COLLECT_FORGET | PML_COLLECT_UNCOVERED | PML_COLLECT_ALL |
			 PML_COLLECT_MORE))
		return -EINVAL;
	if ((c->start | c->end) & ~PAGE_MASK || c->start >= c->end)
		return -EINVAL;
	if (c->events & ~w->events)
		return -EINVAL;
	if (!(c->flags & PML_COLLECT_FORGET) && (!c->vec_len || c->vec_len > PML_MAX_VEC))
		return -EINVAL;
	return 0;
}

/* Batch by batch, until all is walked, the vector is full, or the budget is. */
static int collect(struct pml_session *s, struct pml_uapi_collect *c, struct pml_watch *w)
{
	struct pml_uapi_range __user *to = u64_to_user_ptr(c->vec);
	unsigned long at = min_t(u64, c->start, TASK_SIZE_MAX);
	unsigned long end = min_t(u64, c->end, TASK_SIZE_MAX);
	bool forget = c->flags & PML_COLLECT_FORGET;
	struct pml_records out = {
		.at = s->batch, .target = c->target,
		.max_pages = c->max_pages ?: U64_MAX,
		.drained = c->flags & PML_COLLECT_MORE,
	};

	c->n = 0;
	while (at < end) {
		int err;

		out.n = 0;
		out.full = false;
		out.max = forget ? 0 : min_t(u32, BATCH, c->vec_len - c->n);
		err = pml_watch_collect(w, &at, end, c->events ?: w->events,
					c->flags, &out);
		if (!err && copy_to_user(to + c->n, s->batch, out.n * sizeof(*s->batch)))
			err = -EFAULT;
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
		if (err)
			return err;
		c->n += out.n;
		if (!forget && (c->n == c->vec_len || (out.full && out.n < BATCH)))
			break;
		cond_resched();
	}
	c->walk_end = at < end ? at : c->end;
	c->pages = out.pages;
	c->state = (out.lost ? PML_STATE_LOST : 0) |
		   (pml_mm_has_pinned(w->mm->notifier.mm) ? PML_STATE_PINS : 0);
	atomic64_inc(&s->counters.collects);
	return 0;
}

int pml_session_collect(struct pml_session *s, struct pml_uapi_collect *c)
{
	struct pml_target *t;
	int err = -ENOENT;

	if (mutex_lock_killable(&s->lock))
		return -EINTR;
	t = xa_load(&s->targets, c->target);
	if (t)
		err = check_collect(c, t->watch);
	if (t && !err) {
		err = collect(s, c, t->watch);
		if (err)
			pml_watch_lose(t->watch);
		trace_pml_collect(c->target, c->start, c->walk_end, c->pages, err);
	}
	mutex_unlock(&s->lock);
	return err;
}

/* ---- what was swapped ---- */

/* Batch by batch, until there are no more, or the vector is full. */
static int take_swaps(struct pml_session *s, struct pml_uapi_swaps *k)
{
	struct pml_uapi_swap __user *to = u64_to_user_ptr(k->vec);
	struct pml_uapi_swap *batch = (struct pml_uapi_swap *)s->batch;
	bool lost = false;
	u32 n;

	k->n = 0;
	do {
		n = pml_swaps_take(s->swaps, batch, min_t(u32, BATCH, k->vec_len - k->n), &lost);
		if (copy_to_user(to + k->n, batch, n * sizeof(*batch)))
			return -EFAULT;
		k->n += n;
		cond_resched();
	} while (n == BATCH && k->n < k->vec_len);
	k->state = lost ? PML_STATE_LOST : 0;
	return 0;
}

int pml_session_swaps(struct pml_session *s, struct pml_uapi_swaps *k)
{
	int err = -ENOENT;

	BUILD_BUG_ON(sizeof(struct pml_uapi_swap) > sizeof(*s->batch));
	if (!k->vec_len || k->vec_len > PML_MAX_VEC)
		return -EINVAL;
	if (mutex_lock_killable(&s->lock))
		return -EINTR;
	if (s->swaps) {
		err = take_swaps(s, k);
		if (err)
			pml_swaps_lose(s->swaps);
	}
	mutex_unlock(&s->lock);
	return err;
}

void pml_session_swaps_untold(struct pml_session *s)
{
	mutex_lock(&s->lock);
	if (s->swaps)
		pml_swaps_lose(s->swaps);
	mutex_unlock(&s->lock);
}

void pml_session_collect_failed(struct pml_session *s, u32 target)
{
	struct pml_target *t;

	mutex_lock(&s->lock);
	t = xa_load(&s->targets, target);
	if (t && t->watch)
		pml_watch_lose(t->watch);
	mutex_unlock(&s->lock);
}

int pml_session_stats(struct pml_session *s, struct pml_uapi_stats *st)
{
	struct pml_counters *c = &s->counters;

	if (mutex_lock_killable(&s->lock))
		return -EINTR;
	st->targets = s->ntargets;
	st->memory = atomic_long_read(&s->budget.used);
	st->collects = atomic64_read(&c->collects);
	st->tables = atomic64_read(&c->tables);
	st->dirty_bits = atomic64_read(&c->dirty_bits);
	st->accessed_bits = atomic64_read(&c->accessed_bits);
	st->flushes = atomic64_read(&c->flushes);
	st->ipis = atomic64_read(&c->ipis);
	st->invalidations = atomic64_read(&c->invalidations);
	st->overflows = atomic64_read(&s->budget.overflows);
	st->splits = atomic64_read(&c->splits);
	st->log_drains = atomic64_read(&c->log_drains);
	st->log_rearmed = atomic64_read(&c->log_rearmed);
	st->log_entries = atomic64_read(&c->log_entries);
	st->log_frames = atomic64_read(&c->log_frames);
	st->log_mapped = atomic64_read(&c->log_mapped);
	st->log_joins = atomic64_read(&c->log_joins);
	st->log_lookups = atomic64_read(&c->log_lookups);
	st->log_map_ns = atomic64_read(&c->log_map_ns);
	pml_device_stats(st);
	mutex_unlock(&s->lock);
	return 0;
}
