/* SPDX-License-Identifier: MIT */
/*
 * host.c - the hypervisor's own use of the log: every frame of the machine,
 * with states and logs of its own, whatever the guest does with the device.
 * Called by model.c for accesses and by a front-end for pml-host.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model_impl.h"

static size_t words(const struct pml_model *m)
{
	return (m->config.frames + 63) / 64;
}

/* Under the vCPU's lock: one buffer into the bitmaps. */
static void move(struct pml_model *m, struct log *log, unsigned int b)
{
	uint64_t entry, frame, bit;
	uint32_t i;

	pthread_mutex_lock(&m->host_lock);
	for (i = 0; m->host_dirty && !FAULT(m, PML_FAULT_SKIP_DRAIN) && i < log->n[b]; i++) {
		entry = log->buffer[b][i];
		frame = entry >> PML_DEV_E_SHIFT;
		bit = 1ull << (frame & 63);
		if (entry & PML_DEV_E_DIRTY) {
			m->host_dirty[frame / 64] |= bit;
			if (m->host_counts[frame] < UINT16_MAX)
				m->host_counts[frame]++;
		}
		if (entry & PML_DEV_E_REFERENCED)
			m->host_referenced[frame / 64] |= bit;
	}
	pthread_mutex_unlock(&m->host_lock);
	log->n[b] = 0;
	if (b != log->active)
		log->aside = false;
}

static void drain(struct pml_model *m, struct vcpu *v)
{
	if (v->host.aside)
		move(m, &v->host, v->host.active ^ 1);
	move(m, &v->host, v->host.active);
}

static void full(struct pml_model *m, struct vcpu *v)
{
	struct log *log = &v->host;

	if (!m->config.host_offload || !m->ops.offload) {
		atomic_fetch_add(&m->host_exits, 1);
		move(m, log, log->active);
		return;
	}
	if (log->aside) {
		atomic_fetch_add(&m->host_exits, 1);
		move(m, log, log->active ^ 1);
	}
	log->active ^= 1;
	log->aside = true;
	m->ops.offload(m->ops.opaque, v->number);
}

void host_offload(struct pml_model *m, struct vcpu *v)
{
	if (!v->host.aside)
		return;
	move(m, &v->host, v->host.active ^ 1);
	atomic_fetch_add(&m->host_offloaded, 1);
}

bool host_access(struct pml_model *m, struct vcpu *v, uint64_t gpa, unsigned int events)
{
	uint64_t frame = gpa >> PML_DEV_E_SHIFT;
	struct pml_states *s = atomic_load_explicit(&m->host, memory_order_acquire);
	struct log *log = &v->host;
	int news;

	events &= atomic_load_explicit(&m->host_events, memory_order_relaxed);
	if (!s || !events || pml_states_logged(s, frame, events))
		return true;
	if (frame >= m->config.frames) {
		atomic_fetch_add(&m->host_outside, 1);
		return false;
	}
	pthread_mutex_lock(&v->lock);
	s = atomic_load(&m->host);
	news = s ? pml_states_mark(s, frame, events) : 0;
	if (news < 0) {
		atomic_store(&m->host_lost, true);
	} else if (news) {
		log->buffer[log->active][log->n[log->active]++] =
			frame << PML_DEV_E_SHIFT | (uint64_t)news;
		atomic_fetch_add(&m->host_entries, 1);
		if (log->n[log->active] == log->size)
			full(m, v);
	}
	pthread_mutex_unlock(&v->lock);
	return news >= 0;
}

static void clear(struct pml_model *m)
{
	pthread_mutex_lock(&m->host_lock);
	memset(m->host_dirty, 0, words(m) * 8);
	memset(m->host_referenced, 0, words(m) * 8);
	pthread_mutex_unlock(&m->host_lock);
	atomic_store(&m->host_lost, false);
}

static void rearm(struct pml_model *m)
{
	if (!FAULT(m, PML_FAULT_DROP_REARM))
		pml_states_rearm_all(atomic_load(&m->host), PML_DEV_DIRTY | PML_DEV_REFERENCED);
	if (!FAULT(m, PML_FAULT_STALE_DONE))
		forget_done(m, NULL);
	clear(m);
}

int pml_model_host_enable(struct pml_model *m, unsigned int events)
{
	struct pml_states *s = NULL;
	int err = 0;

	if (!events || events & ~(PML_DEV_DIRTY | PML_DEV_REFERENCED))
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	if (atomic_load(&m->host)) {
		err = -EEXIST;
		goto out;
	}
	m->host_dirty = calloc(words(m), 8);
	m->host_referenced = calloc(words(m), 8);
	m->host_counts = calloc(m->config.frames, sizeof(*m->host_counts));
	s = pml_states_new(&m->host_budget);
	if (!m->host_dirty || !m->host_referenced || !m->host_counts || !s) {
		pml_states_free(s);
		host_free(m);
		err = -ENOMEM;
		goto out;
	}
	atomic_store(&m->host_lost, false);
	atomic_store(&m->host_entries, 0);
	atomic_store(&m->host_exits, 0);
	atomic_store(&m->host_offloaded, 0);
	atomic_store(&m->host_outside, 0);
	lock_all(m);
	atomic_store(&m->host_events, events);
	atomic_store(&m->host, s);
	atomic_fetch_or(&m->wide, WIDE_HOST);
	forget_done(m, NULL);
	unlock_all(m);
	wait_for_accesses(m, false);
	update_watch(m);
out:
	pthread_mutex_unlock(&m->lock);
	return err;
}

int pml_model_host_disable(struct pml_model *m)
{
	struct pml_states *s;

	pthread_mutex_lock(&m->lock);
	s = atomic_load(&m->host);
	if (!s) {
		pthread_mutex_unlock(&m->lock);
		return -ENOENT;
	}
	lock_all(m);
	atomic_store(&m->host, NULL);
	atomic_store(&m->host_events, 0);
	atomic_fetch_and(&m->wide, ~WIDE_HOST);
	for (unsigned int i = 0; i < m->config.vcpus; i++)
		drain(m, &m->vcpu[i]);
	forget_done(m, NULL);
	unlock_all(m);
	wait_for_accesses(m, false);
	pml_states_free(s);
	host_free(m);
	update_watch(m);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

void host_free(struct pml_model *m)
{
	pthread_mutex_lock(&m->host_lock);
	free(m->host_dirty);
	free(m->host_referenced);
	free(m->host_counts);
	m->host_dirty = m->host_referenced = NULL;
	m->host_counts = NULL;
	pthread_mutex_unlock(&m->host_lock);
}

int pml_model_host_clean(struct pml_model *m)
{
	struct pml_host_summary unused;

	return pml_model_host_collect(m, NULL, NULL, NULL, true, &unused);
}

static uint64_t count(const struct pml_model *m, const uint64_t *bitmap)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < words(m); i++)
		n += (uint64_t)__builtin_popcountll(bitmap[i]);
	return n;
}

static void summarise(struct pml_model *m, struct pml_host_summary *s)
{
	memset(s, 0, sizeof(*s));
	s->frames = m->config.frames;
	s->contexts = m->enabled;
	s->events = atomic_load(&m->host_events);
	s->vm_exits = atomic_load(&m->host_exits);
	s->offloaded = atomic_load(&m->host_offloaded);
	s->entries = atomic_load(&m->host_entries);
	s->outside = atomic_load(&m->host_outside);
	s->lost = atomic_load(&m->host_lost);
	if (!m->host_dirty)
		return;
	s->dirty = count(m, m->host_dirty);
	s->referenced = count(m, m->host_referenced);
}

int pml_model_host_collect(struct pml_model *m, uint64_t *dirty, uint64_t *referenced,
			   uint16_t *counts, bool again, struct pml_host_summary *summary)
{
	bool enabled;

	pthread_mutex_lock(&m->lock);
	enabled = atomic_load(&m->host);
	lock_all(m);
	if (enabled)
		for (unsigned int i = 0; i < m->config.vcpus; i++)
			drain(m, &m->vcpu[i]);
	summarise(m, summary);
	if (enabled && dirty)
		memcpy(dirty, m->host_dirty, words(m) * 8);
	if (enabled && referenced)
		memcpy(referenced, m->host_referenced, words(m) * 8);
	if (enabled && counts)
		memcpy(counts, m->host_counts, m->config.frames * sizeof(*counts));
	if (enabled && again)
		rearm(m);
	unlock_all(m);
	if (enabled && again)
		wait_for_accesses(m, false);
	pthread_mutex_unlock(&m->lock);
	return enabled ? 0 : -ENOENT;
}
