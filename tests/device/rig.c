/* SPDX-License-Identifier: MIT */
/* rig.c - see rig.h; used by every test of the model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

static int translate(void *opaque, unsigned int vcpu, uint64_t gva, struct pml_where *where)
{
	struct rig *r = opaque;
	uint64_t page = (gva - RIG_BASE) >> 12;

	(void)vcpu;
	where->lasting = true;
	if (gva >= RIG_KERNEL) {
		where->gpa = gva - RIG_KERNEL;
		where->leaf = 0;
		return 1;
	}
	if (page >= RIG_PAGES || r->frame[page] == RIG_NOT_RAM)
		return 0;
	if (r->frame[page] == RIG_UNKNOWN)
		return -1;
	where->gpa = r->frame[page] << 12 | (gva & 0xfff);
	where->leaf = 0x1000 * (1 + page / 512);
	return 1;
}

static void interrupt(void *opaque, unsigned int vector)
{
	struct rig *r = opaque;

	r->interrupts[vector % RIG_MAX_VCPUS]++;
}

static void offload(void *opaque, unsigned int vcpu)
{
	struct rig *r = opaque;

	(void)vcpu;
	r->offloads++;
}

static uint64_t tick(void *opaque)
{
	struct rig *r = opaque;

	return __atomic_add_fetch(&r->now, 1, __ATOMIC_RELAXED);
}

static bool watch(void *opaque, unsigned int what)
{
	struct rig *r = opaque;

	r->watch_calls++;
	r->watched = what;
	return !r->watch_later;
}

struct rig *rig_new(const struct pml_model_config *config)
{
	return rig_new_with_barrier(config, NULL);
}

struct rig *rig_new_with_barrier(const struct pml_model_config *config, void (*barrier)(void *))
{
	struct rig *r = calloc(1, sizeof(*r));
	struct pml_model_ops ops = { .translate = translate,
				     .interrupt = interrupt,
				     .offload = offload,
				     .barrier = barrier,
				     .clock = tick,
				     .watch = watch };
	uint64_t i;

	if (!r)
		abort();
	if (config)
		r->config = *config;
	if (!r->config.vcpus)
		r->config.vcpus = 1;
	if (!r->config.vectors)
		r->config.vectors = RIG_MAX_VCPUS;
	ops.opaque = r;
	r->bar_size = pml_model_bar_size(&r->config);
	r->bar = r->bar_size ? aligned_alloc(4096, r->bar_size) : NULL;
	if (!r->bar)
		abort();
	memset(r->bar, 0, r->bar_size);
	for (i = 0; i < RIG_PAGES; i++)
		r->frame[i] = RIG_PAGES + i;
	if (pml_model_create(&r->m, &r->config, &ops, r->bar))
		abort();
	r->done = pml_model_done(r->m);
	r->info = (struct pml_dev_info *)r->bar;
	return r;
}

void rig_free(struct rig *r)
{
	pml_model_destroy(r->m);
	free(r->bar);
	free(r);
}

static char *block(struct rig *r, unsigned int vcpu)
{
	return r->bar + r->info->block_offset + vcpu * r->info->block_stride;
}

struct pml_dev_vcpu *rig_vcpu(struct rig *r, unsigned int vcpu)
{
	return (struct pml_dev_vcpu *)block(r, vcpu);
}

uint64_t *rig_list(struct rig *r, unsigned int vcpu)
{
	return (uint64_t *)(block(r, vcpu) + r->info->list_offset);
}

uint32_t rig_flags(struct rig *r, uint32_t context)
{
	return ((uint32_t *)(r->bar + r->info->context_offset))[context];
}

uint32_t rig_command(struct rig *r, unsigned int vcpu, struct rig_command c)
{
	struct pml_dev_vcpu *p = rig_vcpu(r, vcpu);

	p->cmd = c.cmd;
	p->cmd_flags = c.flags;
	p->context = c.context;
	p->events = c.events;
	memcpy(p->arg, c.arg, sizeof(c.arg));
	p->cmd_seq++;
	pml_model_doorbell(r->m, vcpu);
	return p->status;
}

uint32_t rig_init(struct rig *r, uint32_t features, uint64_t log, uint64_t ring)
{
	struct rig_command c = { .cmd = PML_DEV_CMD_INIT,
				 .arg = { PML_DEV_VERSION, features, log, ring } };
	unsigned int i;

	for (i = 0; i < r->config.vcpus; i++)
		rig_vcpu(r, i)->tail = 0;
	return rig_command(r, 0, c);
}

uint32_t rig_enable(struct rig *r, uint32_t context, uint32_t flags, uint32_t events)
{
	struct rig_command c = {
		.cmd = PML_DEV_CMD_ENABLE, .flags = flags, .context = context, .events = events
	};

	return rig_command(r, 0, c);
}

uint32_t rig_disable(struct rig *r, uint32_t context)
{
	struct rig_command c = { .cmd = PML_DEV_CMD_DISABLE, .context = context };

	return rig_command(r, 0, c);
}

uint32_t rig_rearm_all(struct rig *r, uint32_t events)
{
	struct rig_command c = { .cmd = PML_DEV_CMD_REARM,
				 .flags = PML_DEV_SCOPE_ALL,
				 .events = events };

	return rig_command(r, 0, c);
}

uint32_t rig_drain(struct rig *r)
{
	struct rig_command c = { .cmd = PML_DEV_CMD_DRAIN, .flags = PML_DEV_ALL_VCPUS };

	return rig_command(r, 0, c);
}

void rig_run(struct rig *r, unsigned int vcpu, uint32_t context)
{
	__atomic_store_n(&rig_vcpu(r, vcpu)->run, context, __ATOMIC_RELAXED);
}

uint64_t rig_gva(uint64_t page)
{
	return RIG_BASE + (page << 12);
}

uint64_t rig_gpa(const struct rig *r, uint64_t page)
{
	return r->frame[page] << 12;
}

void rig_map(struct rig *r, uint64_t page, uint64_t frame)
{
	unsigned int i;

	r->frame[page] = frame;
	for (i = 0; i < r->config.vcpus; i++)
		pml_model_remapped(r->m, i);
}

void rig_access(struct rig *r, unsigned int vcpu, uint64_t gva, size_t size, unsigned int access)
{
	pml_model_report(r->m, r->done, vcpu, gva, size, access);
}

void rig_write(struct rig *r, unsigned int vcpu, uint64_t page)
{
	rig_access(r, vcpu, rig_gva(page) + 8, 8, PML_ACCESS_WRITE);
}

void rig_read(struct rig *r, unsigned int vcpu, uint64_t page)
{
	rig_access(r, vcpu, rig_gva(page) + 8, 8, PML_ACCESS_READ);
}

/* A ring as its reader walks it. */
struct walk {
	uint64_t *ring;
	uint64_t mask, pos, head;
};

static uint64_t next(struct walk *w)
{
	return __atomic_load_n(&w->ring[w->pos++ & w->mask], __ATOMIC_RELAXED);
}

static int take_batch(struct walk *w, uint64_t count, rig_entry_fn fn, void *opaque)
{
	uint64_t i, entry;
	uint32_t context = 0;
	int pages = 0;

	for (i = 0; i < count; i++) {
		entry = next(w);
		switch (entry & PML_DEV_E_TYPE) {
		case PML_DEV_E_CONTEXT:
			context = (uint32_t)(entry >> PML_DEV_E_SHIFT);
			break;
		case PML_DEV_E_PAGE:
			if (!context || !(entry & (PML_DEV_E_DIRTY | PML_DEV_E_REFERENCED)))
				return -1;
			pages++;
			if (fn)
				fn(opaque, context, entry);
			break;
		case PML_DEV_E_SYNC:
		case PML_DEV_E_LEAF:
			if (fn)
				fn(opaque, context, entry);
			break;
		default:
			return -1;
		}
	}
	return pages;
}

int rig_take(struct rig *r, unsigned int vcpu, rig_entry_fn fn, void *opaque)
{
	struct pml_dev_vcpu *p = rig_vcpu(r, vcpu);
	struct walk w = { .ring = (uint64_t *)(block(r, vcpu) + r->info->ring_offset),
			  .mask = r->info->ring_entries - 1,
			  .pos = p->tail,
			  .head = __atomic_load_n(&p->head, __ATOMIC_ACQUIRE) };
	uint64_t word, stamp, clock, before = 0;
	int n, pages = 0;

	while (w.pos != w.head) {
		word = next(&w);
		stamp = next(&w);
		clock = next(&w);
		if ((word & PML_DEV_E_TYPE) != PML_DEV_E_BATCH ||
		    stamp >> PML_DEV_BATCH_VCPU_SHIFT != vcpu || clock <= before ||
		    (word >> PML_DEV_E_SHIFT) > w.head - w.pos)
			return -1;
		before = clock;
		n = take_batch(&w, word >> PML_DEV_E_SHIFT, fn, opaque);
		if (n < 0)
			return -1;
		pages += n;
	}
	__atomic_store_n(&p->tail, w.pos, __ATOMIC_RELEASE);
	return pages;
}

struct wanted {
	uint32_t context;
	uint64_t address;
	uint32_t events;
	int seen;
};

static void match(void *opaque, uint32_t context, uint64_t entry)
{
	struct wanted *w = opaque;

	if (context == w->context && (entry & PML_DEV_E_ADDRESS) == w->address &&
	    (entry & (PML_DEV_E_DIRTY | PML_DEV_E_REFERENCED)) == w->events)
		w->seen++;
}

int rig_count(struct rig *r, uint32_t context, uint64_t address, uint32_t events)
{
	struct wanted w = { .context = context, .address = address, .events = events };
	unsigned int i;

	if (rig_drain(r))
		return -1;
	for (i = 0; i < r->config.vcpus; i++)
		if (rig_take(r, i, match, &w) < 0)
			return -1;
	return w.seen;
}

int rig_take_all(struct rig *r)
{
	unsigned int i;
	int n, pages = 0;

	if (rig_drain(r))
		return -1;
	for (i = 0; i < r->config.vcpus; i++) {
		n = rig_take(r, i, NULL, NULL);
		if (n < 0)
			return -1;
		pages += n;
	}
	return pages;
}
