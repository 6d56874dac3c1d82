/* SPDX-License-Identifier: MIT */
/*
 * command.c - the guest's commands: section 7 of abi/pml_device.h.  Called by
 * a front-end when a vCPU rings the doorbell.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model_impl.h"

#define EVENTS		(PML_DEV_DIRTY | PML_DEV_REFERENCED)
#define MODES		(PML_DEV_MODE_SPML | PML_DEV_MODE_EPML)
#define TRIGGERS	(PML_DEV_TRIGGER_EPT | PML_DEV_TRIGGER_GUEST)
#define SCOPES		(PML_DEV_SCOPE_ALL | PML_DEV_SCOPE_CONTEXT | PML_DEV_SCOPE_LIST)
#define ITEM_PAGES	0xfffull

/* A command as the guest wrote it, read once. */
struct command {
	uint32_t code;
	uint32_t flags;
	uint32_t context;
	uint32_t events;
	uint64_t arg[4];
	uint32_t seq;
	uint64_t result[2];
};

static void command_read(const struct vcpu *v, struct command *c)
{
	const struct pml_dev_vcpu *p = v->page;
	int i;

	c->seq = __atomic_load_n(&p->cmd_seq, __ATOMIC_ACQUIRE);
	c->code = __atomic_load_n(&p->cmd, __ATOMIC_RELAXED);
	c->flags = __atomic_load_n(&p->cmd_flags, __ATOMIC_RELAXED);
	c->context = __atomic_load_n(&p->context, __ATOMIC_RELAXED);
	c->events = __atomic_load_n(&p->events, __ATOMIC_RELAXED);
	for (i = 0; i < 4; i++)
		c->arg[i] = __atomic_load_n(&p->arg[i], __ATOMIC_RELAXED);
	c->result[0] = c->result[1] = 0;
}

void command_finish(struct vcpu *v, uint32_t seq)
{
	v->pending = false;
	__atomic_store_n(&v->page->done_seq, seq, __ATOMIC_RELEASE);
}

static bool one_of(uint32_t flags, uint32_t mask)
{
	return __builtin_popcount(flags & mask) == 1;
}

static bool log_size_ok(uint64_t n, uint64_t min, uint64_t max)
{
	return n >= min && n <= max && !(n & (n - 1));
}

static uint32_t cmd_init(struct pml_model *m, struct command *c)
{
	uint64_t log = c->arg[2] ? c->arg[2] : log_default(&m->config);
	uint64_t ring = c->arg[3] ? c->arg[3] : m->config.ring_max;
	uint32_t offered = features_offered(m);

	if (c->arg[0] < PML_DEV_VERSION_MIN || c->arg[0] > PML_DEV_VERSION)
		return PML_DEV_ST_VERSION;
	if (c->arg[1] & ~offered ||
	    (c->arg[1] & PML_DEV_F_OFFLOAD && !(c->arg[1] & PML_DEV_F_DOUBLE_LOG)))
		return PML_DEV_ST_BAD_FEATURE;
	if (!log_size_ok(log, PML_LOG_MIN, m->config.log_max) ||
	    !log_size_ok(ring, 2 * log, m->config.ring_max))
		return PML_DEV_ST_BAD_SIZE;
	m->ready = true;
	m->reset_count++;
	lock_all(m);
	__atomic_store_n(&m->features, (uint32_t)c->arg[1], __ATOMIC_RELAXED);
	m->log_entries = (uint32_t)log;
	m->ring_entries = (uint32_t)ring;
	unlock_all(m);
	end_contexts(m);
	update_watch(m);
	publish_info(m);
	return PML_DEV_ST_OK;
}

static uint32_t enable_check(struct pml_model *m, const struct command *c)
{
	uint32_t need = (c->flags & PML_DEV_MODE_SPML ? PML_DEV_F_SPML : PML_DEV_F_EPML) |
			(c->flags & PML_DEV_TRIGGER_EPT ? PML_DEV_F_TRIGGER_EPT :
							  PML_DEV_F_TRIGGER_GUEST) |
			(c->events & PML_DEV_REFERENCED ? PML_DEV_F_PRL : 0);

	if (!c->context || c->context > m->config.contexts)
		return PML_DEV_ST_BAD_CONTEXT;
	if (!one_of(c->flags, MODES) || !one_of(c->flags, TRIGGERS) ||
	    c->flags & ~(MODES | TRIGGERS) || !c->events || c->events & ~EVENTS)
		return PML_DEV_ST_BAD_FLAGS;
	if (need & ~m->features)
		return PML_DEV_ST_BAD_FEATURE;
	if (atomic_load(&m->context[c->context]))
		return PML_DEV_ST_EXISTS;
	return PML_DEV_ST_OK;
}

static bool ept_get(struct pml_model *m)
{
	struct pml_states *s = atomic_load(&m->ept);

	if (!s) {
		s = pml_states_new(&m->budget);
		if (!s)
			return false;
		atomic_store(&m->ept, s);
		atomic_fetch_or(&m->wide, WIDE_EPT);
	}
	m->ept_users++;
	return true;
}

static void flags_set(struct pml_model *m, uint32_t id, uint32_t flags)
{
	atomic_store(&m->flags[id], flags);
	__atomic_store_n(&m->flags_page[id], flags, __ATOMIC_RELEASE);
}

static uint32_t cmd_enable(struct pml_model *m, struct command *c)
{
	uint32_t status = enable_check(m, c);
	struct context *new;
	bool ok;

	if (status)
		return status;
	new = calloc(1, sizeof(*new));
	if (!new)
		return PML_DEV_ST_NO_MEMORY;
	new->id = c->context;
	new->events = c->events;
	new->mode = c->flags & MODES;
	new->trigger = c->flags & TRIGGERS;
	if (new->trigger == PML_DEV_TRIGGER_EPT) {
		ok = ept_get(m);
	} else {
		new->states = pml_states_new(&m->budget);
		ok = new->states;
	}
	if (!ok) {
		free(new);
		return PML_DEV_ST_NO_MEMORY;
	}
	flags_set(m, new->id, PML_DEV_CTX_ENABLED);
	m->enabled++;
	lock_all(m);
	atomic_store(&m->context[new->id], new);
	forget_done(m, NULL);
	unlock_all(m);
	wait_for_accesses(m, true);
	publish_info(m);
	return PML_DEV_ST_OK;
}

/* With all vCPUs locked. */
static uint32_t drain_all(struct pml_model *m)
{
	uint32_t status = PML_DEV_ST_OK;
	unsigned int i;

	for (i = 0; i < m->config.vcpus; i++) {
		if (logs_drain(m, &m->vcpu[i]))
			status = PML_DEV_ST_RING_FULL;
		stats_publish(&m->vcpu[i]);
	}
	return status;
}

static struct context *find(struct pml_model *m, uint32_t id, uint32_t *status)
{
	struct context *c = NULL;

	if (!id || id > m->config.contexts)
		*status = PML_DEV_ST_BAD_CONTEXT;
	else
		c = atomic_load(&m->context[id]);
	if (!c && *status == PML_DEV_ST_OK)
		*status = PML_DEV_ST_NO_CONTEXT;
	return c;
}

static uint32_t cmd_disable(struct pml_model *m, struct command *cmd)
{
	uint32_t status = PML_DEV_ST_OK;
	struct context *c = find(m, cmd->context, &status);
	struct pml_states *ept = NULL;

	if (!c)
		return status;
	lock_all(m);
	status = drain_all(m);
	if (status) {
		unlock_all(m);
		return status;
	}
	atomic_store(&m->context[c->id], NULL);
	flags_set(m, c->id, 0);
	if (c->trigger == PML_DEV_TRIGGER_EPT && --m->ept_users == 0) {
		ept = atomic_exchange(&m->ept, NULL);
		atomic_fetch_and(&m->wide, ~WIDE_EPT);
	}
	m->enabled--;
	forget_done(m, NULL);
	unlock_all(m);
	wait_for_accesses(m, true);
	pml_states_free(ept);
	pml_states_free(c->states);
	free(c);
	update_watch(m);
	publish_info(m);
	return PML_DEV_ST_OK;
}

static struct pml_states *states_of(struct pml_model *m, struct context *c)
{
	return c->trigger == PML_DEV_TRIGGER_EPT ? atomic_load(&m->ept) : c->states;
}

/* The part of the overflow flags that re-arming these events ends. */
static uint32_t lost_flags(uint32_t events)
{
	return (events & PML_DEV_DIRTY ? PML_DEV_CTX_DIRTY_LOST : 0) |
	       (events & PML_DEV_REFERENCED ? PML_DEV_CTX_REFERENCED_LOST : 0);
}

static void end_loss(struct pml_model *m, uint32_t id, struct command *c)
{
	uint32_t flags = atomic_load(&m->flags[id]);

	c->result[1] |= flags & (PML_DEV_CTX_DIRTY_LOST | PML_DEV_CTX_REFERENCED_LOST);
	flags_set(m, id, flags & ~lost_flags(c->events));
}

static void rearm_contexts(struct pml_model *m, struct command *c, uint32_t only)
{
	struct pml_states *ept = atomic_load(&m->ept);
	bool frames = false;
	uint32_t i, left = only ? 1 : m->enabled;
	struct context *x;

	for (i = only ? only : 1; left && i <= m->config.contexts; i++) {
		x = atomic_load(&m->context[i]);
		if (!x)
			continue;
		left--;
		end_loss(m, i, c);
		if (x->states)
			c->result[0] += pml_states_rearm_all(x->states, c->events);
		else
			frames = true;
	}
	if (frames)
		c->result[0] += pml_states_rearm_all(ept, c->events);
}

/* A private copy of the list, all of it in range; NULL: status says why. */
static uint64_t *list_copy(const struct pml_model *m, const struct vcpu *v, uint64_t n,
			   uint32_t *status)
{
	uint64_t *list, i;

	*status = PML_DEV_ST_BAD_LIST;
	if (n > m->config.list_max)
		return NULL;
	list = malloc((n ? n : 1) * sizeof(*list));
	if (!list) {
		*status = PML_DEV_ST_NO_MEMORY;
		return NULL;
	}
	for (i = 0; i < n; i++) {
		list[i] = __atomic_load_n(&v->list[i], __ATOMIC_RELAXED);
		if (((list[i] >> PML_DEV_E_SHIFT) + (list[i] & ITEM_PAGES)) >> PML_STATES_PAGE_BITS) {
			free(list);
			return NULL;
		}
	}
	*status = PML_DEV_ST_OK;
	return list;
}

static void rearm_list(struct pml_states *s, const uint64_t *list, struct command *c)
{
	uint64_t i, j;

	for (i = 0; i < c->arg[0]; i++)
		for (j = 0; j <= (list[i] & ITEM_PAGES); j++)
			c->result[0] += pml_states_rearm(s, (list[i] >> PML_DEV_E_SHIFT) + j,
							 c->events);
}

static uint32_t cmd_rearm(struct pml_model *m, struct vcpu *v, struct command *c)
{
	uint32_t status = PML_DEV_ST_OK;
	struct context *x = NULL;
	uint64_t *list = NULL;
	bool others = false;

	if (!one_of(c->flags, SCOPES) || c->flags & ~(SCOPES | PML_DEV_WITH_DRAIN) || !c->events ||
	    c->events & ~EVENTS)
		return PML_DEV_ST_BAD_FLAGS;
	if (!(c->flags & PML_DEV_SCOPE_ALL))
		x = find(m, c->context, &status);
	if (!status && c->flags & PML_DEV_SCOPE_LIST)
		list = list_copy(m, v, c->arg[0], &status);
	if (status)
		return status;
	lock_all(m);
	if (c->flags & PML_DEV_WITH_DRAIN)
		status = drain_all(m);
	if (!status && !FAULT(m, PML_FAULT_DROP_REARM)) {
		if (x && list)
			rearm_list(states_of(m, x), list, c);
		else
			rearm_contexts(m, c, x ? x->id : 0);
		if (!FAULT(m, PML_FAULT_STALE_DONE))
			others = forget_done(m, v);
		v->stats.rearmed += c->result[0];
		v->stats.flushes++;
	}
	unlock_all(m);
	if (others)
		wait_for_accesses(m, true);
	free(list);
	return status;
}

static uint32_t cmd_drain(struct pml_model *m, struct vcpu *v, struct command *c)
{
	uint32_t status;

	if (c->flags & ~PML_DEV_ALL_VCPUS)
		return PML_DEV_ST_BAD_FLAGS;
	if (c->flags & PML_DEV_ALL_VCPUS) {
		lock_all(m);
		status = drain_all(m);
		unlock_all(m);
		return status;
	}
	pthread_mutex_lock(&v->lock);
	status = logs_drain(m, v) ? PML_DEV_ST_RING_FULL : PML_DEV_ST_OK;
	pthread_mutex_unlock(&v->lock);
	return status;
}

static uint32_t cmd_sync(struct pml_model *m, struct command *c)
{
	uint32_t status;
	unsigned int i;

	if (c->flags)
		return PML_DEV_ST_BAD_FLAGS;
	lock_all(m);
	status = drain_all(m);
	for (i = 0; !status && i < m->config.vcpus; i++)
		if (ring_sync(m, &m->vcpu[i], c->arg[0]))
			status = PML_DEV_ST_RING_FULL;
	unlock_all(m);
	return status;
}

static uint32_t run(struct pml_model *m, struct vcpu *v, struct command *c)
{
	if (c->code != PML_DEV_CMD_INIT && !m->ready)
		return PML_DEV_ST_NOT_READY;
	switch (c->code) {
	case PML_DEV_CMD_INIT:
		return cmd_init(m, c);
	case PML_DEV_CMD_ENABLE:
		return cmd_enable(m, c);
	case PML_DEV_CMD_DISABLE:
		return cmd_disable(m, c);
	case PML_DEV_CMD_REARM:
		return cmd_rearm(m, v, c);
	case PML_DEV_CMD_DRAIN:
		return cmd_drain(m, v, c);
	case PML_DEV_CMD_SYNC:
		return cmd_sync(m, c);
	default:
		return PML_DEV_ST_BAD_COMMAND;
	}
}

void pml_model_doorbell(struct pml_model *m, unsigned int vcpu)
{
	struct vcpu *v = &m->vcpu[vcpu];
	struct command c;
	uint32_t status;

	pthread_mutex_lock(&m->lock);
	command_read(v, &c);
	v->pending = false;
	status = run(m, v, &c);
	pthread_mutex_lock(&v->lock);
	v->stats.commands++;
	v->stats.vm_exits++;
	stats_publish(v);
	pthread_mutex_unlock(&v->lock);
	__atomic_store_n(&v->page->status, status, __ATOMIC_RELAXED);
	__atomic_store_n(&v->page->result[0], c.result[0], __ATOMIC_RELAXED);
	__atomic_store_n(&v->page->result[1], c.result[1], __ATOMIC_RELAXED);
	if (c.code == PML_DEV_CMD_ENABLE && status == PML_DEV_ST_OK && !update_watch(m)) {
		v->pending = true;
		v->pending_seq = c.seq;
	} else {
		command_finish(v, c.seq);
	}
	pthread_mutex_unlock(&m->lock);
}
