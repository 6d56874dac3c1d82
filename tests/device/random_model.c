/* SPDX-License-Identifier: MIT */
/*
 * random_model.c - the model against a reference so simple that it can be
 * checked by reading: sets of pages per context.  Random accesses, commands,
 * remappings, resets and host requests; after each drain, every entry must
 * have been predicted and every prediction must have come, or be counted as
 * dropped with its context flagged.
 *
 * PML_DEVICE_STEPS sets the number of steps, PML_DEVICE_SEED the seed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define VCPUS	 2u
#define CONTEXTS 4u
#define PAGES	 64u
#define EVENTS	 (PML_DEV_DIRTY | PML_DEV_REFERENCED)
#define LOST	 (PML_DEV_CTX_DIRTY_LOST | PML_DEV_CTX_REFERENCED_LOST)

struct set {
	unsigned char events[PAGES];	/* logged in this epoch */
};

static struct {
	struct rig *r;
	uint64_t seed;
	long step;
	uint32_t run[VCPUS];
	struct {
		uint32_t mode, trigger, events;	/* events 0: not enabled */
		struct set logged;
		bool lost;
	} context[CONTEXTS + 1];
	struct set ept;
	struct set host;
	unsigned char host_dirty[PAGES], host_referenced[PAGES];
	uint32_t host_events;
	/* what must still come: [context][0 virtual, 1 physical][page][events] */
	int due[CONTEXTS + 1][2][PAGES][4];
	uint64_t drops;
} t;

static void fail(const char *what)
{
	printf("not ok 1 - %s at step %ld\n", what, t.step);
	exit(1);
}

static uint32_t rnd(uint32_t n)
{
	t.seed ^= t.seed << 13;
	t.seed ^= t.seed >> 7;
	t.seed ^= t.seed << 17;
	return (uint32_t)(t.seed >> 16) % n;
}

static unsigned int frame_of(unsigned int page)
{
	return (unsigned int)(t.r->frame[page] - RIG_PAGES);
}

static bool ept_used(void)
{
	for (unsigned int c = 1; c <= CONTEXTS; c++)
		if (t.context[c].events && t.context[c].trigger == PML_DEV_TRIGGER_EPT)
			return true;
	return false;
}

static unsigned int add(struct set *s, unsigned int page, unsigned int events)
{
	unsigned int news = events & ~s->events[page];

	s->events[page] |= (unsigned char)events;
	return news;
}

/* The reference: what one access to a page must lead to. */
static void reference(unsigned int vcpu, bool user, unsigned int page, unsigned int frame,
		      unsigned int events)
{
	uint32_t c = t.run[vcpu];
	bool on = c && c <= CONTEXTS && t.context[c].events;
	bool physical = on && t.context[c].mode == PML_DEV_MODE_SPML;
	unsigned int key = physical ? frame : page, news = 0;

	if (on && t.context[c].trigger == PML_DEV_TRIGGER_GUEST && (physical || user))
		news = add(&t.context[c].logged, key, events & t.context[c].events);
	if (ept_used()) {
		unsigned int used = add(&t.ept, frame, events);

		if (on && t.context[c].trigger == PML_DEV_TRIGGER_EPT && (physical || user))
			news = used & t.context[c].events;
	}
	if (news)
		t.due[c][physical][key][news]++;
	if (t.host_events) {
		news = add(&t.host, frame, events & t.host_events);
		t.host_dirty[frame] |= news & PML_DEV_DIRTY;
		t.host_referenced[frame] |= news & PML_DEV_REFERENCED;
	}
}

static void step_access(void)
{
	unsigned int vcpu = rnd(VCPUS), page = rnd(PAGES), frame = frame_of(page);
	bool write = rnd(2), user = rnd(8), cross = user && page + 1 < PAGES && !rnd(8);
	unsigned int events = write ? EVENTS : PML_DEV_REFERENCED;
	uint64_t at = user ? rig_gva(page) : RIG_KERNEL + rig_gpa(t.r, page);

	rig_access(t.r, vcpu, cross ? at + 4092 : at + rnd(4088), 8,
		   write ? PML_ACCESS_WRITE : PML_ACCESS_READ);
	reference(vcpu, user, page, frame, events);
	if (cross)
		reference(vcpu, true, page + 1, frame_of(page + 1), events);
}

static void on_entry(void *opaque, uint32_t c, uint64_t entry)
{
	bool physical = entry & PML_DEV_E_PHYS;
	uint64_t page = physical ? (entry >> 12) - RIG_PAGES : (entry - RIG_BASE) >> 12;

	(void)opaque;
	if ((entry & PML_DEV_E_TYPE) != PML_DEV_E_PAGE)
		return;
	if (!c || c > CONTEXTS || page >= PAGES)
		fail("an entry for nobody's page");
	if (t.due[c][physical][page][entry & EVENTS]-- == 0)
		fail("an entry that no access explains");
}

static void take(unsigned int vcpu)
{
	if (rig_take(t.r, vcpu, on_entry, NULL) < 0)
		fail("a ring that is not as the contract says");
}

static void note_losses(void)
{
	for (uint32_t c = 1; c <= CONTEXTS; c++)
		t.context[c].lost |= (rig_flags(t.r, c) & LOST) != 0;
}

static int left(uint32_t c)
{
	int *due = &t.due[c][0][0][0], n = 0;

	for (unsigned int i = 0; i < sizeof(t.due[c]) / sizeof(int); i++)
		n += due[i];
	return n;
}

/* Everything drained and taken: predictions and drops must balance. */
static void balance(void)
{
	uint64_t missing = 0, drops = 0;
	uint32_t c, v;

	while (rig_drain(t.r) == PML_DEV_ST_RING_FULL)
		for (v = 0; v < VCPUS; v++)
			take(v);
	note_losses();
	for (v = 0; v < VCPUS; v++) {
		take(v);
		drops += rig_vcpu(t.r, v)->stats.drops;
	}
	for (c = 1; c <= CONTEXTS; c++) {
		int n = left(c);

		if (n && !t.context[c].lost)
			fail("entries lost in silence");
		missing += (uint64_t)n;
		t.context[c].lost = false;
		memset(t.due[c], 0, sizeof(t.due[c]));
	}
	if (missing != drops - t.drops)
		fail("the count of drops is not what is missing");
	t.drops = drops;
}

static void clear(struct set *s, uint32_t events)
{
	for (unsigned int i = 0; i < PAGES; i++)
		s->events[i] &= (unsigned char)~events;
}

static void step_rearm(void)
{
	uint32_t scopes[] = { PML_DEV_SCOPE_ALL, PML_DEV_SCOPE_CONTEXT, PML_DEV_SCOPE_LIST };
	struct rig_command cmd = { .cmd = PML_DEV_CMD_REARM,
				   .flags = scopes[rnd(3)],
				   .context = 1 + rnd(CONTEXTS),
				   .events = 1 + rnd(3),
				   .arg = { 1 } };
	uint32_t c = cmd.context;
	unsigned int first = rnd(PAGES), n = 1 + rnd(PAGES - first), i;
	bool frames = t.context[c].mode == PML_DEV_MODE_SPML ||
		      t.context[c].trigger == PML_DEV_TRIGGER_EPT;
	struct set *s = t.context[c].trigger == PML_DEV_TRIGGER_EPT ? &t.ept :
								      &t.context[c].logged;

	if (!rnd(3))
		cmd.flags |= PML_DEV_WITH_DRAIN;
	rig_list(t.r, 0)[0] = (frames ? (uint64_t)(RIG_PAGES + first) << 12 : rig_gva(first)) |
			      (n - 1);
	note_losses();
	if (rig_command(t.r, 0, cmd)) {
		if (t.context[c].events && !(cmd.flags & PML_DEV_WITH_DRAIN))
			fail("a REARM refused");
		return;
	}
	if (cmd.flags & PML_DEV_SCOPE_LIST) {
		for (i = first; i < first + n; i++)
			s->events[i] &= (unsigned char)~cmd.events;
	} else if (cmd.flags & PML_DEV_SCOPE_CONTEXT) {
		clear(s, cmd.events);
	} else {
		for (c = 1; c <= CONTEXTS; c++)
			clear(&t.context[c].logged, cmd.events);
		clear(&t.ept, cmd.events);
	}
}

static void step_enable(void)
{
	uint32_t c = 1 + rnd(CONTEXTS), events = 1 + rnd(3);
	uint32_t mode = rnd(2) ? PML_DEV_MODE_SPML : PML_DEV_MODE_EPML;
	uint32_t trigger = rnd(3) ? PML_DEV_TRIGGER_GUEST : PML_DEV_TRIGGER_EPT;
	bool fresh_ept = !ept_used();

	if (rig_enable(t.r, c, mode | trigger, events) != PML_DEV_ST_OK) {
		if (!t.context[c].events)
			fail("an ENABLE refused");
		return;
	}
	if (t.context[c].events)
		fail("a context enabled twice");
	t.context[c].mode = mode;
	t.context[c].trigger = trigger;
	t.context[c].events = events;
	memset(&t.context[c].logged, 0, sizeof(struct set));
	if (fresh_ept)
		memset(&t.ept, 0, sizeof(t.ept));
}

static void step_disable(void)
{
	uint32_t c = 1 + rnd(CONTEXTS);

	note_losses();
	if (rig_disable(t.r, c) == PML_DEV_ST_OK)
		t.context[c].events = 0;
}

static void step_init(void)
{
	uint32_t features = EVERY_MODE | (rnd(2) ? PML_DEV_F_DOUBLE_LOG : 0);
	uint32_t log = 4u << rnd(5), c;

	if (features & PML_DEV_F_DOUBLE_LOG && rnd(2))
		features |= PML_DEV_F_OFFLOAD;
	balance();
	if (rig_init(t.r, features, log, (uint64_t)log << (1 + rnd(5))))
		fail("an INIT refused");
	for (c = 1; c <= CONTEXTS; c++)
		t.context[c].events = 0;
	memset(&t.ept, 0, sizeof(t.ept));
	t.drops = 0;
}

static void step_host(void)
{
	static uint64_t dirty[(RIG_PAGES + PAGES) / 64], referenced[(RIG_PAGES + PAGES) / 64];
	struct pml_host_summary s;
	bool again = rnd(2);
	unsigned int i, f;

	if (!t.host_events || !rnd(4)) {
		if (t.host_events) {
			pml_model_host_disable(t.r->m);
			t.host_events = 0;
			return;
		}
		t.host_events = 1 + rnd(3);
		pml_model_host_enable(t.r->m, t.host_events);
		memset(&t.host, 0, sizeof(t.host));
	} else {
		if (pml_model_host_collect(t.r->m, dirty, referenced, NULL, again, &s) || s.lost)
			fail("a host collect refused");
		for (i = 0; i < PAGES; i++) {
			f = RIG_PAGES + i;
			if (!(dirty[f / 64] >> (f % 64) & 1) != !t.host_dirty[i] ||
			    !(referenced[f / 64] >> (f % 64) & 1) != !t.host_referenced[i])
				fail("the host's frames are not those accessed");
		}
		if (!again)
			return;
		clear(&t.host, EVENTS);
	}
	memset(t.host_dirty, 0, sizeof(t.host_dirty));
	memset(t.host_referenced, 0, sizeof(t.host_referenced));
}

static void step(void)
{
	uint32_t what = rnd(1000), v = rnd(VCPUS);

	if (what < 880) {
		step_access();
	} else if (what < 910) {
		t.run[v] = rnd(CONTEXTS + 2);
		rig_run(t.r, v, t.run[v]);
	} else if (what < 920) {
		rig_map(t.r, rnd(PAGES), RIG_PAGES + rnd(PAGES));
	} else if (what < 945) {
		step_rearm();
	} else if (what < 955) {
		take(v);
	} else if (what < 962) {
		rig_command(t.r, v, (struct rig_command){ .cmd = PML_DEV_CMD_DRAIN });
	} else if (what < 966) {
		rig_command(t.r, v, (struct rig_command){ .cmd = PML_DEV_CMD_SYNC });
	} else if (what < 976) {
		step_enable();
	} else if (what < 980) {
		step_disable();
	} else if (what < 982) {
		step_init();
	} else if (what < 988) {
		step_host();
	} else if (what < 995) {
		pml_model_offload(t.r->m, v);
	} else {
		balance();
	}
}

int main(void)
{
	struct pml_model_config config = {
		.vcpus = VCPUS, .frames = RIG_PAGES + PAGES, .host_log = 8
	};
	const char *steps = getenv("PML_DEVICE_STEPS"), *seed = getenv("PML_DEVICE_SEED");
	long n = steps ? strtol(steps, NULL, 0) : 2000000;

	t.seed = seed ? strtoull(seed, NULL, 0) | 1 : 0x9e3779b97f4a7c15ull;
	printf("TAP version 13\n1..1\n# %ld steps, seed %#llx\n", n, (unsigned long long)t.seed);
	t.r = rig_new(&config);
	step_init();
	for (t.step = 0; t.step < n; t.step++)
		step();
	balance();
	rig_free(t.r);
	printf("ok 1 - the model agrees with sets of pages per context\n");
	return 0;
}
