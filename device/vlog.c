/* SPDX-License-Identifier: MIT */
/*
 * vlog.c - a vCPU's logs and its ring: appending, what happens when a log is
 * full, moving it to the ring, and what is flagged when that cannot be done.
 * Called by model.c and command.c with the vCPU's lock held.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "model_impl.h"

void stats_publish(struct vcpu *v)
{
	v->page->stats = v->stats;
}

void context_lost(struct pml_model *m, uint32_t id, uint32_t events)
{
	uint32_t flags = (events & PML_DEV_DIRTY ? PML_DEV_CTX_DIRTY_LOST : 0) |
			 (events & PML_DEV_REFERENCED ? PML_DEV_CTX_REFERENCED_LOST : 0);

	flags |= atomic_fetch_or(&m->flags[id], flags);
	__atomic_store_n(&m->flags_page[id], flags, __ATOMIC_RELEASE);
}

static void context_entries_lost(struct pml_model *m, uint32_t id)
{
	struct context *c = atomic_load(&m->context[id]);

	if (c)
		context_lost(m, id, c->events);
}

static uint32_t ring_room(struct pml_model *m, struct vcpu *v)
{
	uint64_t used = v->head - __atomic_load_n(&v->page->tail, __ATOMIC_ACQUIRE);

	if (used > m->ring_entries) {
		v->stats.bad_tail++;
		return 0;
	}
	return m->ring_entries - (uint32_t)used;
}

static void ring_put(struct pml_model *m, struct vcpu *v, uint64_t word)
{
	__atomic_store_n(&v->ring[v->head++ & (m->ring_entries - 1)], word, __ATOMIC_RELAXED);
}

static void ring_publish(struct vcpu *v, uint64_t head)
{
	__atomic_store_n(&v->page->head, head, __ATOMIC_RELEASE);
}

/* One batch into the ring; 0 or -ENOSPC. */
static int ring_batch(struct pml_model *m, struct vcpu *v, const uint64_t *entries, uint32_t n)
{
	uint32_t i;

	if (ring_room(m, v) < n + PML_DEV_BATCH_WORDS)
		return -ENOSPC;
	if (FAULT(m, PML_FAULT_INDEX_FIRST)) {
		ring_publish(v, v->head + n + PML_DEV_BATCH_WORDS);
		for (i = 0; i < 100; i++)
			sched_yield();
	}
	ring_put(m, v, (uint64_t)n << PML_DEV_E_SHIFT | PML_DEV_E_BATCH);
	ring_put(m, v, (uint64_t)v->number << PML_DEV_BATCH_VCPU_SHIFT |
			       (++v->seq & PML_DEV_BATCH_SEQ_MASK));
	ring_put(m, v, m->ops.clock ? m->ops.clock(m->ops.opaque) : 0);
	for (i = 0; i < n; i++)
		ring_put(m, v, entries[i]);
	ring_publish(v, v->head);
	v->stats.batches++;
	stats_publish(v);
	return 0;
}

static void log_publish(struct vcpu *v, const struct log *log, uint32_t n)
{
	if (!log->shared[0])
		return;
	__atomic_store_n(&v->page->log_active, log->active, __ATOMIC_RELAXED);
	__atomic_store_n(&v->page->log_index, n, __ATOMIC_RELEASE);
}

static void log_forget(struct vcpu *v, struct log *log, unsigned int b)
{
	log->n[b] = 0;
	log->owners[b].n = 0;
	if (b == log->active) {
		log->owner = 0;
		log_publish(v, log, 0);
	} else {
		log->aside = false;
	}
}

static void log_lost(struct pml_model *m, struct vcpu *v, struct log *log, unsigned int b)
{
	struct owners *o = &log->owners[b];
	uint32_t i;

	for (i = 0; i < log->n[b]; i++)
		if ((log->buffer[b][i] & PML_DEV_E_TYPE) == PML_DEV_E_PAGE)
			v->stats.drops++;
	if (o->n <= OWNERS_MAX)
		for (i = 0; i < o->n; i++)
			context_entries_lost(m, o->id[i]);
	else
		for (i = 1; i <= m->config.contexts; i++)
			context_entries_lost(m, i);
	log_forget(v, log, b);
}

static int log_move(struct pml_model *m, struct vcpu *v, struct log *log, unsigned int b)
{
	int err = 0;

	if (!log->n[b])
		return 0;
	if (!FAULT(m, PML_FAULT_SKIP_DRAIN))
		err = ring_batch(m, v, log->buffer[b], log->n[b]);
	if (!err)
		log_forget(v, log, b);
	return err;
}

static void interrupt(struct pml_model *m, struct vcpu *v)
{
	if (!m->config.vectors || !m->ops.interrupt ||
	    !__atomic_load_n(&v->page->irq_enable, __ATOMIC_RELAXED))
		return;
	v->stats.interrupts++;
	m->ops.interrupt(m->ops.opaque, v->number % m->config.vectors);
}

/* The active buffer steps aside; the other one, empty, takes over. */
static void log_swap(struct vcpu *v, struct log *log)
{
	log->active ^= 1;
	log->aside = true;
	log->owner = 0;
	log_publish(v, log, 0);
}

static void log_full(struct pml_model *m, struct vcpu *v, struct log *log)
{
	bool offload = m->features & PML_DEV_F_OFFLOAD && m->ops.offload;

	v->stats.full++;
	if (log == &v->spml && (!offload || log->aside))
		v->stats.vm_exits++;
	if (FAULT(m, PML_FAULT_AS_PUBLISHED)) {
		interrupt(m, v);
		return;
	}
	if (offload) {
		if (log->aside && log_move(m, v, log, log->active ^ 1))
			log_lost(m, v, log, log->active ^ 1);
		log_swap(v, log);
		m->ops.offload(m->ops.opaque, v->number);
		return;
	}
	if (log->aside && log_move(m, v, log, log->active ^ 1)) {
		log_lost(m, v, log, log->active ^ 1);
		log_swap(v, log);
	} else if (!log_move(m, v, log, log->active)) {
		;
	} else if (m->features & PML_DEV_F_DOUBLE_LOG) {
		log_swap(v, log);
	} else {
		log_lost(m, v, log, log->active);
	}
	interrupt(m, v);
	stats_publish(v);
}

static void log_put(struct pml_model *m, struct vcpu *v, struct log *log, uint64_t entry)
{
	uint32_t n = log->n[log->active]++;
	int i;

	if (FAULT(m, PML_FAULT_INDEX_FIRST)) {
		log_publish(v, log, n + 1);
		for (i = 0; i < 100; i++)
			sched_yield();
	}
	log->buffer[log->active][n] = entry;
	if (log->shared[0])
		__atomic_store_n(&log->shared[log->active][n], entry, __ATOMIC_RELAXED);
	log_publish(v, log, n + 1);
}

static void log_own(struct log *log, uint32_t id)
{
	struct owners *o = &log->owners[log->active];
	uint32_t i;

	log->owner = id;
	for (i = 0; i < o->n && i < OWNERS_MAX; i++)
		if (o->id[i] == id)
			return;
	if (o->n < OWNERS_MAX)
		o->id[o->n] = id;
	if (o->n <= OWNERS_MAX)
		o->n++;
}

void log_append(struct pml_model *m, struct vcpu *v, struct log *log, const struct context *c,
		uint64_t entry, uint64_t leaf)
{
	bool with_leaf = m->features & PML_DEV_F_LEAF;

	if (log->n[log->active] + (log->owner != c->id) + 1 + with_leaf > log->size)
		log_full(m, v, log);
	if (log->n[log->active] == log->size)
		return; /* only a device that is broken on purpose gets here */
	if (log->owner != c->id) {
		log_put(m, v, log, (uint64_t)c->id << PML_DEV_E_SHIFT | PML_DEV_E_CONTEXT);
		log_own(log, c->id);
		v->stats.contexts++;
	}
	log_put(m, v, log, entry);
	if (with_leaf)
		log_put(m, v, log, (leaf & PML_DEV_E_ADDRESS) | PML_DEV_E_LEAF);
	v->stats.entries++;
	if (entry & PML_DEV_E_DIRTY)
		v->stats.dirty++;
	if (entry & PML_DEV_E_REFERENCED)
		v->stats.referenced++;
	if (log->n[log->active] == log->size)
		log_full(m, v, log);
}

static int log_drain(struct pml_model *m, struct vcpu *v, struct log *log)
{
	int err = 0;

	if (log->aside)
		err = log_move(m, v, log, log->active ^ 1);
	return err ? err : log_move(m, v, log, log->active);
}

int logs_drain(struct pml_model *m, struct vcpu *v)
{
	int err = log_drain(m, v, &v->spml);

	return err ? err : log_drain(m, v, &v->epml);
}

int ring_sync(struct pml_model *m, struct vcpu *v, uint64_t key)
{
	uint64_t entry = key << PML_DEV_E_SHIFT | PML_DEV_E_SYNC;

	return ring_batch(m, v, &entry, 1);
}

static void log_offload(struct pml_model *m, struct vcpu *v, struct log *log)
{
	if (!log->aside || log_move(m, v, log, log->active ^ 1))
		return;
	v->stats.offloaded++;
	interrupt(m, v);
}

void logs_offload(struct pml_model *m, struct vcpu *v)
{
	log_offload(m, v, &v->spml);
	log_offload(m, v, &v->epml);
}

void logs_reset(struct pml_model *m, struct vcpu *v)
{
	struct log *logs[] = { &v->spml, &v->epml };
	unsigned int i;

	for (i = 0; i < 2; i++) {
		log_forget(v, logs[i], 0);
		log_forget(v, logs[i], 1);
		logs[i]->aside = false;
		logs[i]->size = m->log_entries;
	}
	v->head = 0;
	v->seq = 0;
	memset(&v->stats, 0, sizeof(v->stats));
	stats_publish(v);
	ring_publish(v, 0);
}
