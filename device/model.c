/* SPDX-License-Identifier: MIT */
/*
 * model.c - the device's life, its place in memory, and what an access does:
 * which states it uses up and which entries follow.  See model.h.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "model_impl.h"

#define PAGE		4096u
#define FEATURES                                                                        \
	(PML_DEV_F_SPML | PML_DEV_F_EPML | PML_DEV_F_PRL | PML_DEV_F_TRIGGER_EPT |      \
	 PML_DEV_F_TRIGGER_GUEST | PML_DEV_F_DOUBLE_LOG | PML_DEV_F_OFFLOAD | PML_DEV_F_LEAF | \
	 PML_DEV_F_NO_WALK | PML_DEV_F_FETCH)

static void defaults(struct pml_model_config *c)
{
	if (!c->contexts)
		c->contexts = 1023;
	if (!c->log_max)
		c->log_max = 4096;
	if (!c->ring_max)
		c->ring_max = 65536;
	if (!c->list_max)
		c->list_max = 512;
	if (!c->doorbell)
		c->doorbell = PML_DEV_DOORBELL_HINT;
	if (!c->frames)
		c->frames = 1u << 20;
	if (!c->max_memory)
		c->max_memory = 256u << 20;
	if (!c->host_log)
		c->host_log = PML_LOG_DEFAULT;
}

static bool valid(const struct pml_model_config *c)
{
	return c->vcpus && c->vcpus <= PML_MODEL_MAX_VCPUS && c->contexts < 1u << 20 &&
	       !(c->log_max & (c->log_max - 1)) && c->log_max >= PML_LOG_MIN &&
	       c->log_max <= 1u << 20 && !(c->ring_max & (c->ring_max - 1)) &&
	       c->ring_max >= 2 * c->log_max && c->ring_max <= 1u << 24 &&
	       c->list_max <= 1u << 16 && c->frames <= 1ull << PML_STATES_PAGE_BITS;
}

static size_t up(size_t n)
{
	return (n + PAGE - 1) & ~(size_t)(PAGE - 1);
}

struct layout {
	size_t context, block, stride, list, log, ring, size;
};

static struct layout layout(const struct pml_model_config *c)
{
	struct layout l = { .context = PAGE };

	l.block = l.context + up((c->contexts + 1) * sizeof(uint32_t));
	l.list = up(sizeof(struct pml_dev_vcpu));
	l.log = l.list + up(c->list_max * sizeof(uint64_t));
	l.ring = l.log + up(2 * c->log_max * sizeof(uint64_t));
	l.stride = l.ring + up(c->ring_max * sizeof(uint64_t));
	for (l.size = 1u << 20; l.size < l.block + c->vcpus * l.stride; l.size *= 2)
		;
	return l;
}

size_t pml_model_bar_size(const struct pml_model_config *config)
{
	struct pml_model_config c = *config;

	defaults(&c);
	return valid(&c) ? layout(&c).size : 0;
}

uint32_t features_offered(const struct pml_model *m)
{
	return FEATURES & ~m->config.features_off;
}

void publish_info(struct pml_model *m)
{
	const struct pml_model_config *c = &m->config;
	struct layout l = layout(c);
	struct pml_dev_info info = {
		.magic = PML_DEV_MAGIC,
		.version = PML_DEV_VERSION,
		.version_min = PML_DEV_VERSION_MIN,
		.bar_size = l.size,
		.features = features_offered(m),
		.features_used = m->features,
		.doorbell = c->doorbell,
		.doorbell_offset = c->doorbell_offset,
		.page_shift = 12,
		.vcpus = c->vcpus,
		.vectors = c->vectors,
		.contexts = c->contexts,
		.log_max = c->log_max,
		.ring_max = c->ring_max,
		.list_max = c->list_max,
		.log_entries = m->log_entries,
		.ring_entries = m->ring_entries,
		.reset_count = m->reset_count,
		.context_offset = l.context,
		.block_offset = l.block,
		.block_stride = l.stride,
		.list_offset = l.list,
		.log_offset = l.log,
		.ring_offset = l.ring,
		.enabled_by_guest = m->enabled,
	};

	*m->info = info;
}

uint32_t log_default(const struct pml_model_config *c)
{
	return c->log_max < PML_LOG_DEFAULT ? c->log_max : PML_LOG_DEFAULT;
}

static int log_alloc(struct log *log, uint32_t entries)
{
	log->size = entries;
	log->buffer[0] = calloc(2ull * entries, sizeof(uint64_t));
	if (!log->buffer[0])
		return -ENOMEM;
	log->buffer[1] = log->buffer[0] + entries;
	return 0;
}

static int vcpu_create(struct pml_model *m, unsigned int i, char *bar)
{
	struct layout l = layout(&m->config);
	struct vcpu *v = &m->vcpu[i];
	char *block = bar + l.block + i * l.stride;

	v->number = i;
	v->done = &m->done[i];
	v->page = (struct pml_dev_vcpu *)block;
	v->list = (uint64_t *)(block + l.list);
	v->ring = (uint64_t *)(block + l.ring);
	v->done->run = &v->page->run;
	v->done->valid = PML_DONE_NOTHING;
	v->epml.shared[0] = (uint64_t *)(block + l.log);
	v->epml.shared[1] = v->epml.shared[0] + m->config.log_max;
	pthread_mutex_init(&v->lock, NULL);
	if (log_alloc(&v->spml, m->config.log_max) || log_alloc(&v->epml, m->config.log_max))
		return -ENOMEM;
	return log_alloc(&v->host, m->config.host_log);
}

int pml_model_create(struct pml_model **out, const struct pml_model_config *config,
		     const struct pml_model_ops *ops, void *bar)
{
	struct pml_model_config c = *config;
	struct pml_model *m;
	unsigned int i;
	int err = 0;

	*out = NULL;
	defaults(&c);
	if (!valid(&c))
		return -EINVAL;
	m = aligned_alloc(64, (sizeof(*m) + c.vcpus * sizeof(struct vcpu) + 63) & ~63ul);
	if (!m)
		return -ENOMEM;
	memset(m, 0, sizeof(*m) + c.vcpus * sizeof(struct vcpu));
	m->config = c;
	m->ops = *ops;
	m->info = bar;
	m->flags_page = (uint32_t *)((char *)bar + layout(&c).context);
	m->budget.cap = c.max_memory;
	m->host_budget.cap = c.max_memory;
	m->log_entries = log_default(&c);
	m->ring_entries = c.ring_max;
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->host_lock, NULL);
	m->context = calloc(c.contexts + 1, sizeof(*m->context));
	m->flags = calloc(c.contexts + 1, sizeof(*m->flags));
	m->done = aligned_alloc(64, c.vcpus * sizeof(*m->done));
	if (m->done)
		memset(m->done, 0, c.vcpus * sizeof(*m->done));
	for (i = 0; m->done && i < c.vcpus; i++)
		err = vcpu_create(m, i, bar) ? -ENOMEM : err;
	if (!m->context || !m->flags || !m->done || err) {
		pml_model_destroy(m);
		return -ENOMEM;
	}
	publish_info(m);
	*out = m;
	return 0;
}

void pml_model_destroy(struct pml_model *m)
{
	unsigned int i;

	if (!m)
		return;
	for (i = 0; m->context && i <= m->config.contexts; i++) {
		struct context *c = atomic_load(&m->context[i]);

		if (c)
			pml_states_free(c->states);
		free(c);
	}
	pml_states_free(atomic_load(&m->ept));
	pml_states_free(atomic_load(&m->host));
	host_free(m);
	for (i = 0; i < m->config.vcpus; i++) {
		free(m->vcpu[i].spml.buffer[0]);
		free(m->vcpu[i].epml.buffer[0]);
		free(m->vcpu[i].host.buffer[0]);
	}
	free(m->context);
	free(m->flags);
	free(m->done);
	free(m);
}

void lock_all(struct pml_model *m)
{
	unsigned int i;

	for (i = 0; i < m->config.vcpus; i++)
		pthread_mutex_lock(&m->vcpu[i].lock);
}

void unlock_all(struct pml_model *m)
{
	unsigned int i;

	for (i = m->config.vcpus; i-- > 0;)
		pthread_mutex_unlock(&m->vcpu[i].lock);
}

static void access_begin(struct vcpu *v)
{
	unsigned int busy = atomic_load_explicit(&v->busy, memory_order_relaxed);

	atomic_store_explicit(&v->busy, busy + 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst); /* the other half is ops.barrier() */
}

static void access_end(struct vcpu *v)
{
	unsigned int busy = atomic_load_explicit(&v->busy, memory_order_relaxed);

	atomic_store_explicit(&v->busy, busy + 1, memory_order_release);
}

void wait_for_accesses(struct pml_model *m, bool by_vcpu)
{
	unsigned int i, busy;

	if (!m->ops.barrier || (by_vcpu && m->config.vcpus == 1))
		return;
	m->ops.barrier(m->ops.opaque);
	for (i = 0; i < m->config.vcpus; i++) {
		busy = atomic_load_explicit(&m->vcpu[i].busy, memory_order_acquire);
		while (busy & 1 && atomic_load_explicit(&m->vcpu[i].busy,
							memory_order_acquire) == busy)
			sched_yield();
	}
}

bool forget_done(struct pml_model *m, const struct vcpu *but)
{
	struct vcpu *v;
	bool some = false;

	for (v = m->vcpu; v < m->vcpu + m->config.vcpus; v++) {
		some |= v != but && v->done->valid != PML_DONE_NOTHING;
		__atomic_store_n(&v->done->valid, PML_DONE_NOTHING, __ATOMIC_RELAXED);
	}
	return some;
}

bool update_watch(struct pml_model *m)
{
	uint32_t what = 0, events = atomic_load(&m->host_events), i;
	struct context *c;

	for (i = 1; m->enabled && i <= m->config.contexts; i++) {
		c = atomic_load(&m->context[i]);
		events |= c ? c->events : 0;
	}
	if (events)
		what = PML_WATCH_WRITES | (events & PML_DEV_REFERENCED ? PML_WATCH_READS : 0);
	if (what != m->watched) {
		m->watched = what;
		m->watch_pending = m->ops.watch && !m->ops.watch(m->ops.opaque, what);
	}
	return !m->watch_pending;
}

void pml_model_watching(struct pml_model *m)
{
	struct vcpu *v;

	pthread_mutex_lock(&m->lock);
	m->watch_pending = false;
	for (v = m->vcpu; v < m->vcpu + m->config.vcpus; v++)
		if (v->pending)
			command_finish(v, v->pending_seq);
	pthread_mutex_unlock(&m->lock);
}

/* Under model.lock: no context is left, and no log knows of one. */
void end_contexts(struct pml_model *m)
{
	struct pml_states *ept = atomic_load(&m->ept);
	struct context *c, **gone;
	uint32_t i, n = 0;

	gone = calloc(m->config.contexts + 1, sizeof(struct context *));
	lock_all(m);
	for (i = 0; i <= m->config.contexts; i++) {
		c = atomic_exchange(&m->context[i], NULL);
		if (c && gone)
			gone[n++] = c;
		atomic_store(&m->flags[i], 0);
		__atomic_store_n(&m->flags_page[i], 0, __ATOMIC_RELAXED);
	}
	atomic_store(&m->ept, NULL);
	atomic_fetch_and(&m->wide, ~WIDE_EPT);
	m->ept_users = 0;
	m->enabled = 0;
	for (i = 0; i < m->config.vcpus; i++)
		logs_reset(m, &m->vcpu[i]);
	forget_done(m, NULL);
	unlock_all(m);
	wait_for_accesses(m, false);
	pml_states_free(ept);
	for (i = 0; i < n; i++) {
		pml_states_free(gone[i]->states);
		free(gone[i]);
	}
	free(gone);
}

void pml_model_reset(struct pml_model *m)
{
	pthread_mutex_lock(&m->lock);
	m->ready = false;
	m->reset_count++;
	end_contexts(m);
	update_watch(m);
	publish_info(m);
	pthread_mutex_unlock(&m->lock);
}

void pml_model_offload(struct pml_model *m, unsigned int vcpu)
{
	struct vcpu *v = &m->vcpu[vcpu];

	pthread_mutex_lock(&v->lock);
	logs_offload(m, v);
	host_offload(m, v);
	pthread_mutex_unlock(&v->lock);
}

void pml_model_memory(const struct pml_model *m, size_t *used, size_t *cap)
{
	*used = atomic_load(&m->budget.used) + atomic_load(&m->host_budget.used);
	*cap = m->budget.cap + m->host_budget.cap;
}

/* A page of one access, and where it lies, which is asked for only once. */
struct touch {
	struct pml_model *m;
	struct vcpu *v;
	uint64_t gva;
	bool has_gva;
	bool asked;
	int ram;	/* as translate() says */
	struct pml_where where;
};

static void ept_lost(struct pml_model *m, unsigned int events)
{
	struct context *c;
	uint32_t i;

	for (i = 1; i <= m->config.contexts; i++) {
		c = atomic_load(&m->context[i]);
		if (c && c->trigger == PML_DEV_TRIGGER_EPT && c->events & events)
			context_lost(m, i, c->events & events);
	}
}

/* An access whose frame nobody knows: whoever logs frames has lost it. */
static void unlocated(struct touch *t, struct context *c, uint32_t run, unsigned int events)
{
	struct vcpu *v = t->v;

	pthread_mutex_lock(&v->lock);
	c = c ? atomic_load(&t->m->context[run]) : NULL;
	if (c && c->mode == PML_DEV_MODE_SPML && c->events & events)
		context_lost(t->m, run, c->events & events);
	ept_lost(t->m, events);
	if (atomic_load(&t->m->host_events) & events)
		atomic_store(&t->m->host_lost, true);
	v->stats.drops++;
	pthread_mutex_unlock(&v->lock);
}

static bool located(struct touch *t)
{
	if (!t->asked) {
		t->asked = true;
		t->ram = t->m->ops.translate ?
				 t->m->ops.translate(t->m->ops.opaque, t->v->number, t->gva,
						     &t->where) :
				 0;
	}
	return t->ram > 0;
}

static bool user_half(const struct touch *t)
{
	return t->has_gva && (int64_t)t->gva >= 0;
}

/* The page as this context logs it. */
static uint64_t logged_as(const struct context *c, const struct touch *t)
{
	return c->mode == PML_DEV_MODE_SPML ? t->where.gpa : t->gva;
}

static void append(struct touch *t, struct context *c, unsigned int news)
{
	uint64_t entry = (logged_as(c, t) & PML_DEV_E_ADDRESS) | news;

	if (c->mode == PML_DEV_MODE_SPML)
		log_append(t->m, t->v, &t->v->spml, c, entry | PML_DEV_E_PHYS, t->where.leaf);
	else
		log_append(t->m, t->v, &t->v->epml, c, entry, t->where.leaf);
}

/*
 * The context's own states: TRIGGER_GUEST.  As the two that follow, it returns
 * whether the same access, made again, would change nothing.
 */
static bool touch_guest(struct touch *t, struct context *c, uint32_t run, unsigned int events)
{
	uint64_t page;
	int news;

	if (c->mode == PML_DEV_MODE_SPML ? !located(t) : !user_half(t))
		return true;
	page = logged_as(c, t) >> PML_DEV_E_SHIFT;
	if (pml_states_logged(c->states, page, events))
		return true;
	if (__atomic_load_n(&t->m->features, __ATOMIC_RELAXED) & PML_DEV_F_LEAF)
		located(t);
	pthread_mutex_lock(&t->v->lock);
	c = atomic_load(&t->m->context[run]);
	news = c && c->states ? pml_states_mark(c->states, page, events & c->events) : 0;
	if (news < 0) {
		t->v->stats.drops++;
		context_lost(t->m, run, events);
	} else if (news) {
		append(t, c, (unsigned int)news);
	}
	pthread_mutex_unlock(&t->v->lock);
	return news >= 0;
}

/* The machine's states: TRIGGER_EPT.  Whoever accesses uses the state up. */
static bool touch_ept(struct touch *t, struct context *c, uint32_t run, unsigned int events)
{
	struct pml_states *s = atomic_load_explicit(&t->m->ept, memory_order_acquire);
	unsigned int wanted;
	int news;

	if (!s || !located(t) || pml_states_logged(s, t->where.gpa >> PML_DEV_E_SHIFT, events))
		return true;
	pthread_mutex_lock(&t->v->lock);
	s = atomic_load(&t->m->ept);
	news = s ? pml_states_mark(s, t->where.gpa >> PML_DEV_E_SHIFT, events) : 0;
	if (news < 0) {
		t->v->stats.drops++;
		ept_lost(t->m, events);
	} else if (news) {
		c = c ? atomic_load(&t->m->context[run]) : NULL;
		wanted = c && c->trigger == PML_DEV_TRIGGER_EPT ? c->events & (unsigned int)news : 0;
		if (wanted && (c->mode == PML_DEV_MODE_SPML || user_half(t)))
			append(t, c, wanted);
		else
			t->v->stats.unlogged++;
	}
	pthread_mutex_unlock(&t->v->lock);
	return news >= 0;
}

static struct context *running(struct pml_model *m, struct vcpu *v, uint32_t run)
{
	struct context *c = NULL;

	if (!run)
		return NULL;
	if (run <= m->config.contexts)
		c = atomic_load_explicit(&m->context[run], memory_order_acquire);
	if (!c) {
		pthread_mutex_lock(&v->lock);
		v->stats.bad_context++;
		pthread_mutex_unlock(&v->lock);
	}
	return c;
}

static bool touch(struct touch *t, struct context *c, uint32_t run, unsigned int events)
{
	uint32_t wide = atomic_load_explicit(&t->m->wide, memory_order_relaxed);
	bool done = c || !run;	/* each access of an unknown context is counted */

	if (c && c->trigger == PML_DEV_TRIGGER_GUEST && c->events & events)
		done &= touch_guest(t, c, run, c->events & events);
	if (wide & WIDE_EPT)
		done &= touch_ept(t, c, run, events);
	if (wide & WIDE_HOST && located(t))
		done &= host_access(t->m, t->v, t->where.gpa, events);
	if (t->asked && t->ram < 0)
		unlocated(t, c, run, events);
	return done && (!t->asked || (t->ram > 0 && t->where.lasting));
}

/* Tags of another time or context are not looked at any more. */
static void done_anew(struct vcpu *v)
{
	struct pml_done *d = v->done;

	if (d->stamp++ < PML_DONE_STAMPS)
		return;
	memset(d->write, 0, sizeof(d->write));
	memset(d->read, 0, sizeof(d->read));
	d->stamp = 1;
}

/* Before the states are looked at: what is found from here on holds for run. */
static void done_for(struct vcpu *v, uint32_t run)
{
	if (__atomic_load_n(&v->done->valid, __ATOMIC_RELAXED) == run)
		return;
	pthread_mutex_lock(&v->lock);
	done_anew(v);
	__atomic_store_n(&v->done->valid, run, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&v->lock);
}

static void done_keep(struct pml_done *d, uint64_t gva, unsigned int events)
{
	uint64_t tag = pml_done_tag(d, gva);

	d->read[pml_done_slot(gva)] = tag;
	if (events & PML_DEV_DIRTY)
		d->write[pml_done_slot(gva)] = tag;
}

static void access_pages(struct pml_model *m, struct vcpu *v, uint32_t run, uint64_t gva,
			 uint64_t last, unsigned int events)
{
	struct touch t = { .m = m, .v = v, .gva = gva, .has_gva = true };
	struct context *c = running(m, v, run);

	for (;;) {
		if (touch(&t, c, run, events))
			done_keep(v->done, t.gva, events);
		if ((t.gva ^ last) < PAGE)
			break;
		t.gva = (t.gva & ~(uint64_t)(PAGE - 1)) + PAGE;
		t.asked = false;
	}
}

struct pml_done *pml_model_done(struct pml_model *m)
{
	return m->done;
}

void pml_model_remapped(struct pml_model *m, unsigned int vcpu)
{
	done_anew(&m->vcpu[vcpu]);
}

void pml_model_access(struct pml_model *m, unsigned int vcpu, uint64_t gva, size_t size,
		      unsigned int access)
{
	struct vcpu *v = &m->vcpu[vcpu];
	uint32_t run = __atomic_load_n(&v->page->run, __ATOMIC_RELAXED);
	unsigned int events = access & PML_ACCESS_WRITE ? PML_DEV_DIRTY | PML_DEV_REFERENCED :
							  PML_DEV_REFERENCED;

	if (!run && !atomic_load_explicit(&m->wide, memory_order_relaxed))
		return;
	done_for(v, run);
	access_begin(v);
	access_pages(m, v, run, gva, gva + (size ? size - 1 : 0), events);
	access_end(v);
}

void pml_model_walk(struct pml_model *m, unsigned int vcpu, uint64_t gpa)
{
	struct vcpu *v = &m->vcpu[vcpu];
	uint32_t run = __atomic_load_n(&v->page->run, __ATOMIC_RELAXED);
	struct touch t = { .m = m, .v = v, .asked = true, .ram = 1, .where.gpa = gpa };

	if (__atomic_load_n(&m->features, __ATOMIC_RELAXED) & PML_DEV_F_NO_WALK)
		return;
	if (!run && !atomic_load_explicit(&m->wide, memory_order_relaxed))
		return;
	done_for(v, run);
	access_begin(v);
	touch(&t, running(m, v, run), run, PML_DEV_DIRTY | PML_DEV_REFERENCED);
	access_end(v);
}
