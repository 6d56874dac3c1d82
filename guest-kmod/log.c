// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the device's rings to the pages (SPML: the frames) of a memory; see log.h.
 * Called by track.c (joining, draining, harvesting) and by device.c (interrupts,
 * unbinding).
 *
 * A page that is logged is not logged again until it is re-armed: an entry says "from
 * now on, until then".  So an entry may be told by a collect only if the page has been
 * re-armed after it was logged; else what is written after the collect would be lost.
 * An epoch ends in this order:
 *
 *   DRAIN   every processor's log is moved to its ring, whoever runs there
 *   take    the rings' entries: all of them were logged before the next step
 *   REARM   what was taken may be told; what is taken from here on waits for the next
 *
 * Nobody needs to be interrupted for it: the rings are plain memory, and are emptied by
 * whoever comes first, the thread of the interrupt that says that a log was full, or a
 * collect.  Whose entry it is, is said by the device's CONTEXT records: at a switch the
 * logs need not be drained.
 */
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "device.h"
#include "log.h"
#include "sched.h"
#include "track.h"

/*
 * As many chunks are kept of one memory (of 128 GiB of it: for the epoch that runs, and
 * for the last one); then all is dirty.
 */
#define CHUNKS_MAX (1ul << 17)
/* ... and, of frames, so many that are empty for the next epoch. */
#define KEPT_MAX (CHUNKS_MAX / 8)
/* How often a full ring is emptied until a drain has to succeed. */
#define DRAINS_MAX 64

/* Every log, under pml_device_lock; by its context, also under pml_take_lock. */
static LIST_HEAD(logs);
static DEFINE_XARRAY_ALLOC1(contexts);

/* ---- rings ---- */

/* How many there are, by whichever lock each is counted. */
static unsigned long count_chunks(const struct pml_log *log)
{
	unsigned long n = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(log->set); i++)
		n += READ_ONCE(log->set[i].n);
	return n;
}

static void enliven(struct pml_logged_set *set, struct pml_logged *p)
{
	if (list_empty(&p->live)) {
		list_add(&p->live, &set->live);
		set->nlive++;
	}
}

void pml_logged_quieten(struct pml_logged_set *set, struct pml_logged *p)
{
	p->words = 0;
	if (list_empty(&p->live))
		return;
	list_del_init(&p->live);
	set->nlive--;
	/* the next bits make it a live one again */
	if (set->last == p)
		set->last = NULL;
}

/* The next chunk may be anywhere: index is that of none, nor of a neighbour. */
static void forget_place(struct pml_logged_set *set)
{
	set->last = NULL;
	set->at = (struct xa_state)__XA_STATE(&set->chunks, ULONG_MAX - 1, 0, 0);
}

/*
 * One that is about to get bits; NULL: there is none yet.  It is mostly the last one,
 * or a neighbour.
 */
static struct pml_logged *logged_find(struct pml_logged_set *set, unsigned long index)
{
	struct pml_logged *p = set->last;

	if (p && p->index == index)
		return p;
	rcu_read_lock();
	if (index == set->at.xa_index + 1) {
		p = xas_next(&set->at);
	} else if (index + 1 == set->at.xa_index) {
		p = xas_prev(&set->at);
	} else {
		xas_set(&set->at, index);
		p = xas_load(&set->at);
	}
	rcu_read_unlock();
	if (p)
		enliven(set, p);
	set->last = p;
	return p;
}

struct pml_logged *pml_logged_make(struct pml_log *log, struct pml_logged_set *set,
				   unsigned long index)
{
	struct pml_logged *p = logged_find(set, index);

	if (p || count_chunks(log) >= CHUNKS_MAX)
		return p;
	p = kzalloc(sizeof(*p), GFP_KERNEL | __GFP_NOWARN);
	if (!p)
		return NULL;
	INIT_LIST_HEAD(&p->live);
	p->index = index;
	forget_place(set);
	if (xa_err(xa_store(&set->chunks, index, p, GFP_KERNEL | __GFP_NOWARN))) {
		kfree(p);
		return NULL;
	}
	WRITE_ONCE(set->n, set->n + 1);
	enliven(set, p);
	set->last = p;
	return p;
}

static void logged_free(struct pml_logged_set *set, struct pml_logged *p)
{
	pml_logged_quieten(set, p);
	forget_place(set);
	xa_erase(&set->chunks, p->index);
	WRITE_ONCE(set->n, set->n - 1);
	kfree(p);
}

void pml_logged_clear(struct pml_logged_set *set)
{
	struct pml_logged *p, *next;
	unsigned int i;

	if (set->n > KEPT_MAX) {
		pml_logged_drop(set);
		return;
	}
	list_for_each_entry_safe(p, next, &set->live, live) {
		pml_for_each_word(i, p) {
			p->dirty[i] = 0;
			p->referenced[i] = 0;
		}
		pml_logged_quieten(set, p);
	}
}

void pml_logged_drop(struct pml_logged_set *set)
{
	struct pml_logged *p;
	unsigned long index;

	forget_place(set);
	xa_for_each(&set->chunks, index, p)
		kfree(p);
	xa_destroy(&set->chunks);
	INIT_LIST_HEAD(&set->live);
	set->nlive = 0;
	WRITE_ONCE(set->n, 0);
}

static void drop_empty(struct pml_logged_set *set)
{
	struct pml_logged *p;
	unsigned long index;

	xa_for_each(&set->chunks, index, p)
		if (list_empty(&p->live))
			logged_free(set, p);
}

void pml_logged_settle(struct pml_logged_set *set, struct pml_logged *p)
{
	unsigned long words = 0;
	unsigned int i;

	pml_for_each_word(i, p)
		if (pml_logged_word(p, i))
			words |= BIT(i);
	p->words = words;
	if (!words)
		pml_logged_quieten(set, p);
}

/* Does it log frames? */
static bool is_physical(const struct pml_log *log)
{
	return log->way.mode == PML_MODE_SPML;
}

/* Moves the bits of these events. */
static void logged_move(struct pml_logged *to, struct pml_logged *from, u32 events)
{
	unsigned int i;

	pml_for_each_word(i, from) {
		if (events & PML_EV_DIRTY) {
			to->dirty[i] |= from->dirty[i];
			from->dirty[i] = 0;
		}
		if (events & PML_EV_REFERENCED) {
			to->referenced[i] |= from->referenced[i];
			from->referenced[i] = 0;
		}
	}
	to->words |= from->words;
}

/* Likewise, of all chunks; false: some of them are lost. */
static bool set_move(struct pml_log *log, struct pml_logged_set *to, struct pml_logged_set *from,
		     u32 events)
{
	struct pml_logged *p, *next, *into;
	bool all = true;

	list_for_each_entry_safe(p, next, &from->live, live) {
		into = pml_logged_make(log, to, p->index);
		if (into) {
			logged_move(into, p, events);
			pml_logged_settle(to, into);
			pml_logged_settle(from, p);
		} else {
			logged_free(from, p);
			all = false;
		}
	}
	return all;
}

/*
 * What was taken until now may be told, as far as these events go: they are about to
 * be re-armed, and the others not.  If that is all of it, the sets are exchanged, and
 * what was left of the epochs before, which is little, is moved instead.
 */
static void end_epoch(struct pml_log *log, u32 events)
{
	struct pml_logged_set **to = is_physical(log) ? &log->frames : &log->told;

	mutex_lock(&log->lock);
	if (count_chunks(log) >= CHUNKS_MAX) {
		drop_empty(*to);
		drop_empty(log->fresh);
	}
	if (!(log->events & ~events)) {
		if ((*to)->nlive < log->fresh->nlive)
			swap(*to, log->fresh);
		events = log->events;
	}
	if (!set_move(log, *to, log->fresh, events))
		log->lost = true;
	mutex_unlock(&log->lock);
}

static bool is_dropped(const struct pml_log *log, u64 addr)
{
	return pml_broken(PML_BREAK_DROP_LOGGED) && READ_ONCE(log->drains) > 8 &&
	       !(addr >> PAGE_SHIFT & 15);
}

/*
 * Beyond what the machine, or a process, can have?  The frames of one chunk are there,
 * or not, all together: a chunk that is kept has been asked for.
 */
static bool is_beyond(const struct pml_log *log, u64 addr, const struct pml_logged *chunk)
{
	if (!is_physical(log))
		return addr >= TASK_SIZE_MAX;
	return !chunk && !pfn_valid(addr >> PAGE_SHIFT);
}

/* Under log->lock.  False: the device tells nonsense. */
static bool take_page(struct pml_device *d, struct pml_log *log, u64 entry)
{
	u64 addr = entry & PML_DEV_E_ADDRESS;
	unsigned int i = (addr & ~PMD_MASK) >> PAGE_SHIFT;
	struct pml_logged *p;

	if (!(entry & PML_DEV_E_PHYS) == is_physical(log))
		return false;
	p = logged_find(log->fresh, addr >> PML_CHUNK_SHIFT);
	if (is_beyond(log, addr, p)) {
		atomic64_inc(&d->foreign);
		return true;
	}
	if (is_dropped(log, addr))
		return true;
	log->taken++;
	if (!p)
		p = pml_logged_make(log, log->fresh, addr >> PML_CHUNK_SHIFT);
	if (!p) {
		log->lost = true;
		return true;
	}
	p->words |= BIT(BIT_WORD(i));
	if (entry & PML_DEV_E_DIRTY)
		__set_bit(i, p->dirty);
	if (entry & PML_DEV_E_REFERENCED)
		__set_bit(i, p->referenced);
	return true;
}

/* The owner of the entries that follow is locked, until the next one is. */
static struct pml_log *switch_owner(struct pml_log *from, u64 entry)
{
	struct pml_log *to = entry ? xa_load(&contexts, entry >> PML_DEV_E_SHIFT) : NULL;

	if (from != to) {
		if (from)
			mutex_unlock(&from->lock);
		if (to)
			mutex_lock(&to->lock);
	}
	return to;
}

/* n entries from `at` on; false: the device tells nonsense. */
static bool take_entries(struct pml_device *d, const struct pml_device_cpu *c, u64 at, u64 n)
{
	u64 mask = d->info.ring_entries - 1;
	struct pml_log *owner = NULL;
	bool owned = false, ok = true;

	for (; ok && n; at++, n--) {
		u64 entry = READ_ONCE(c->ring[at & mask]);

		switch (entry & PML_DEV_E_TYPE) {
		case PML_DEV_E_CONTEXT:
			owner = switch_owner(owner, entry);
			owned = true;
			break;
		case PML_DEV_E_PAGE:
			if (!owned)
				ok = false;
			else if (owner)
				ok = take_page(d, owner, entry);
			else
				atomic64_inc(&d->foreign);
			break;
		default:
			ok = false;
		}
	}
	switch_owner(owner, 0);
	return ok;
}

/* False: what is there is no sequence of batches. */
static bool take_ring(struct pml_device *d, unsigned int cpu)
{
	struct pml_device_cpu *c = &d->cpu[cpu];
	u64 mask = d->info.ring_entries - 1;
	/* before the words below it: the device's release */
	u64 head = smp_load_acquire(&c->block->head);

	if (head - c->tail > d->info.ring_entries)
		return false;
	while (c->tail != head) {
		u64 first = READ_ONCE(c->ring[c->tail & mask]);
		u64 which = READ_ONCE(c->ring[(c->tail + 1) & mask]);
		u64 n = first >> PML_DEV_E_SHIFT, there = head - c->tail;

		if ((first & PML_DEV_E_TYPE) != PML_DEV_E_BATCH || there < PML_DEV_BATCH_WORDS ||
		    n > there - PML_DEV_BATCH_WORDS || which >> PML_DEV_BATCH_VCPU_SHIFT != cpu ||
		    (which & PML_DEV_BATCH_SEQ_MASK) != c->batch + 1)
			return false;
		if (!take_entries(d, c, c->tail + PML_DEV_BATCH_WORDS, n))
			return false;
		c->batch++;
		c->tail += PML_DEV_BATCH_WORDS + n;
		/* after they were read */
		smp_store_release(&c->block->tail, c->tail);
		cond_resched();
	}
	return true;
}

void pml_log_take_rings(struct pml_device *d)
{
	lockdep_assert_held(&pml_take_lock);
	for (unsigned int i = 0; i < d->info.vcpus && !d->stale; i++)
		if (!take_ring(d, i))
			WRITE_ONCE(d->stale, true);
}

static void take_rings(struct pml_device *d)
{
	mutex_lock(&pml_take_lock);
	pml_log_take_rings(d);
	mutex_unlock(&pml_take_lock);
}

/* ---- contexts ---- */

static u32 events_for(u32 events)
{
	return (events & PML_EV_DIRTY ? PML_DEV_DIRTY : 0) |
	       (events & PML_EV_REFERENCED ? PML_DEV_REFERENCED : 0);
}

static int error_of(int status)
{
	switch (status) {
	case PML_DEV_ST_OK:
		return 0;
	case PML_DEV_ST_NO_MEMORY:
		return -ENOMEM;
	case PML_DEV_ST_BAD_FEATURE:
		return -EOPNOTSUPP;
	default:
		return -ENODEV;
	}
}

static int enable(struct pml_device *d, const struct pml_log *log)
{
	struct pml_command c = {
		.code = PML_DEV_CMD_ENABLE,
		.flags = (is_physical(log) ? PML_DEV_MODE_SPML : PML_DEV_MODE_EPML) |
			 (log->way.trigger_ept ? PML_DEV_TRIGGER_EPT : PML_DEV_TRIGGER_GUEST),
		.context = log->context, .events = events_for(log->events),
	};

	return error_of(pml_device_command(d, &c));
}

/* What was logged until now is taken. */
static void disable(struct pml_device *d, const struct pml_log *log)
{
	struct pml_command c = { .code = PML_DEV_CMD_DISABLE, .context = log->context };

	for (unsigned int i = 0; i < DRAINS_MAX; i++) {
		int status = pml_device_command(d, &c);

		take_rings(d);
		if (status != PML_DEV_ST_RING_FULL)
			return;
	}
	WRITE_ONCE(d->stale, true);
}

static void lose(struct pml_log *log)
{
	mutex_lock(&log->lock);
	log->lost = true;
	mutex_unlock(&log->lock);
}

/* It has lost what it knew, or told nonsense: everybody begins anew. */
static int begin_anew(struct pml_device *d)
{
	struct pml_log *log;
	int err = pml_device_begin(d);

	atomic64_inc(&d->begun);
	list_for_each_entry(log, &logs, in_all) {
		lose(log);
		if (!err)
			err = enable(d, log);
	}
	return err;
}

/* The device in working order, under pml_device_lock; or an error. */
static struct pml_device *get_device(void)
{
	struct pml_device *d = pml_device;

	if (!d)
		return ERR_PTR(-EOPNOTSUPP);
	if (!d->dead && pml_device_is_stale(d) && begin_anew(d))
		d->dead = true;
	return d->dead ? ERR_PTR(-ENODEV) : d;
}

static void init_chunks(struct pml_log *log)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(log->set); i++) {
		xa_init(&log->set[i].chunks);
		INIT_LIST_HEAD(&log->set[i].live);
		forget_place(&log->set[i]);
	}
	log->fresh = &log->set[0];
	log->frames = &log->set[1];
	log->told = &log->set[2];
}

static void free_chunks(struct pml_log *log)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(log->set); i++)
		pml_logged_drop(&log->set[i]);
}

static bool can(const struct pml_device *d, struct pml_log_way way, u32 events)
{
	u32 need = (way.mode == PML_MODE_SPML ? PML_DEV_F_SPML : PML_DEV_F_EPML) |
		   (way.trigger_ept ? PML_DEV_F_TRIGGER_EPT : PML_DEV_F_TRIGGER_GUEST) |
		   (events & PML_EV_REFERENCED ? PML_DEV_F_PRL : 0);

	return !(need & ~d->features);
}

/* Gives it a context, and lets it be logged. */
static int begin_log(struct pml_device *d, struct pml_log *log)
{
	int err;

	mutex_lock(&pml_take_lock);
	err = xa_alloc(&contexts, &log->context, log, XA_LIMIT(1, d->info.contexts), GFP_KERNEL);
	mutex_unlock(&pml_take_lock);
	if (err)
		return err == -EBUSY ? -ENOSPC : err;
	err = enable(d, log);
	if (err)
		goto out_context;
	err = pml_sched_add(log);
	if (err)
		goto out_enabled;
	list_add(&log->in_all, &logs);
	return 0;

out_enabled:
	disable(d, log);
out_context:
	mutex_lock(&pml_take_lock);
	xa_erase(&contexts, log->context);
	mutex_unlock(&pml_take_lock);
	return err;
}

/* Nobody is told to be running it, and then nothing of it is logged. */
static void end_log(struct pml_device *d, struct pml_log *log)
{
	pml_sched_remove(log);
	disable(d, log);
	mutex_lock(&pml_take_lock);
	xa_erase(&contexts, log->context);
	mutex_unlock(&pml_take_lock);
	list_del(&log->in_all);
}

static struct pml_log *make_log(struct mm_struct *mm, struct pml_log_way way, u32 events)
{
	struct pml_log *log = kzalloc(sizeof(*log), GFP_KERNEL_ACCOUNT);
	struct pml_device *d;
	int err;

	if (!log)
		return ERR_PTR(-ENOMEM);
	log->mm = mm;
	log->way = way;
	log->events = events;
	mutex_init(&log->lock);
	init_chunks(log);
	mutex_lock(&pml_device_lock);
	d = get_device();
	if (IS_ERR(d))
		err = PTR_ERR(d);
	else
		err = can(d, way, events) ? begin_log(d, log) : -EOPNOTSUPP;
	mutex_unlock(&pml_device_lock);
	if (!err)
		return log;
	kfree(log);
	return ERR_PTR(err);
}

/*
 * The device that it was logged by is gone, and one is here: it goes on with that.
 * Nobody knows what was written meanwhile.
 */
static int go_on(struct pml_device *d, struct pml_log *log)
{
	int err = can(d, log->way, log->events) ? begin_log(d, log) : -EOPNOTSUPP;

	if (err)
		return err;
	log->gone = false;
	lose(log);
	return 0;
}

/* The device in working order, which logs this memory; or an error. */
static struct pml_device *get_device_of(struct pml_log *log)
{
	struct pml_device *d = get_device();
	int err = !IS_ERR(d) && log->gone ? go_on(d, log) : 0;

	return err ? ERR_PTR(err) : d;
}

/* A context has the events that it began with: it begins anew, and all is dirty. */
static int widen(struct pml_log *log, u32 events)
{
	struct pml_device *d;
	int err = -ENODEV;

	mutex_lock(&pml_device_lock);
	d = get_device_of(log);
	if (!IS_ERR(d)) {
		err = can(d, log->way, events) ? 0 : -EOPNOTSUPP;
		if (!err) {
			disable(d, log);
			log->events |= events;
			lose(log);
			err = enable(d, log);
			if (err)
				WRITE_ONCE(d->stale, true);
		}
	}
	mutex_unlock(&pml_device_lock);
	return err;
}

int pml_log_join(struct pml_log **log, struct mm_struct *mm, struct pml_log_way way, u32 events)
{
	int err = 0;

	if (!*log) {
		struct pml_log *made = make_log(mm, way, events);

		if (IS_ERR(made))
			return PTR_ERR(made);
		*log = made;
	} else if ((*log)->way.mode != way.mode || (*log)->way.trigger_ept != way.trigger_ept) {
		err = -EBUSY;
	} else if (events & ~(*log)->events) {
		err = widen(*log, events);
	}
	if (!err)
		(*log)->users++;
	return err;
}

void pml_log_leave(struct pml_log **log)
{
	struct pml_log *l = *log;

	if (--l->users)
		return;
	*log = NULL;
	mutex_lock(&pml_device_lock);
	if (!l->gone)
		end_log(pml_device, l);
	mutex_unlock(&pml_device_lock);
	free_chunks(l);
	kfree_rcu(l, rcu);
}

void pml_log_abandon(struct pml_device *d)
{
	struct pml_log *log, *next;

	list_for_each_entry_safe(log, next, &logs, in_all) {
		end_log(d, log);
		log->gone = true;
	}
}

/* ---- an epoch ---- */

/* Everything that was logged is taken. */
static int drain(struct pml_device *d, const struct pml_log *log)
{
	struct pml_command c = { .code = PML_DEV_CMD_DRAIN, .flags = PML_DEV_ALL_VCPUS };
	int status = PML_DEV_ST_RING_FULL;

	if (pml_broken(PML_BREAK_NO_DRAIN) && log->drains > 8)
		return 0;
	for (unsigned int i = 0; i < DRAINS_MAX && status == PML_DEV_ST_RING_FULL; i++) {
		status = pml_device_command(d, &c);
		take_rings(d);
	}
	return status;
}

/* The same with a device in working order; a status, or what it has lost in *flags. */
static int next_epoch(struct pml_device *d, struct pml_log *log, u32 events, u64 *flags,
		      u64 *rearmed)
{
	struct pml_command c = {
		.code = PML_DEV_CMD_REARM, .flags = PML_DEV_SCOPE_CONTEXT,
		.context = log->context, .events = events_for(events),
	};
	int status = drain(d, log);

	if (status)
		return status;
	end_epoch(log, events);
	status = pml_device_command(d, &c);
	*rearmed += c.result[0];
	*flags = c.result[1];
	return status;
}

int pml_log_drain(struct pml_log *log, u32 events, bool *lost, u64 *rearmed)
{
	struct pml_device *d;
	u64 flags = 0;
	int err = 0;

	WRITE_ONCE(log->drains, log->drains + 1);
	mutex_lock(&pml_device_lock);
	d = get_device_of(log);
	if (IS_ERR(d)) {
		mutex_unlock(&pml_device_lock);
		return -ENODEV;
	}
	if (next_epoch(d, log, events, &flags, rearmed) || pml_device_is_stale(d)) {
		/* it was reset meanwhile, or does not know what we told it */
		WRITE_ONCE(d->stale, true);
		*lost = true;
		err = IS_ERR(get_device()) ? -ENODEV : 0;
	}
	mutex_unlock(&pml_device_lock);
	if ((events & PML_EV_DIRTY && flags & PML_DEV_CTX_DIRTY_LOST) ||
	    (events & PML_EV_REFERENCED && flags & PML_DEV_CTX_REFERENCED_LOST))
		*lost = true;
	mutex_lock(&log->lock);
	*lost |= log->lost;
	log->lost = false;
	mutex_unlock(&log->lock);
	return err;
}

void pml_log_harvest(struct pml_log *log, unsigned long index, const unsigned long *mask,
		     u32 events, unsigned long *dirty, unsigned long *referenced)
{
	struct pml_logged *p = xa_load(&log->told->chunks, index);
	unsigned int i;

	if (!p)
		return;
	pml_for_each_word(i, p) {
		if (events & PML_EV_DIRTY) {
			dirty[i] |= p->dirty[i] & mask[i];
			p->dirty[i] &= ~mask[i];
		}
		if (events & PML_EV_REFERENCED) {
			referenced[i] |= p->referenced[i] & mask[i];
			p->referenced[i] &= ~mask[i];
		}
	}
	pml_logged_settle(log->told, p);
}

struct pml_logged *pml_log_walk(struct pml_log *log, struct xa_state *at, unsigned long last)
{
	struct pml_logged *p;

	while ((p = xas_next_entry(at, last)) && list_empty(&p->live)) {
		/* not needed in this epoch: no longer kept for the next */
		xas_set(at, p->index + 1);
		logged_free(log->told, p);
	}
	return p;
}

unsigned long pml_log_next(struct pml_log *log, unsigned long index, unsigned long last)
{
	XA_STATE(at, &log->told->chunks, index);
	struct pml_logged *p;

	rcu_read_lock();
	p = pml_log_walk(log, &at, last);
	rcu_read_unlock();
	return p ? p->index : ULONG_MAX;
}

void pml_log_forget(struct pml_log *log, unsigned long start, unsigned long end)
{
	unsigned long index = DIV_ROUND_UP(start, PML_CHUNK_SIZE);
	unsigned long last = end >> PML_CHUNK_SHIFT;
	struct pml_logged *p;

	if (index >= last)
		return;
	while ((p = xa_find(&log->told->chunks, &index, last - 1, XA_PRESENT)))
		logged_free(log->told, p);
}

u64 pml_log_taken(struct pml_log *log)
{
	u64 n;

	mutex_lock(&log->lock);
	n = log->taken;
	mutex_unlock(&log->lock);
	return n;
}
