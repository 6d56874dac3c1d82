/* SPDX-License-Identifier: MIT */
/*
 * test_controls.c - the negative controls: the device broken on purpose, one
 * way at a time, must be caught by the truths that the other tests rely on.
 * Each truth is a function; it must hold for the whole device and fail for the
 * broken one.
 */
#include <pthread.h>

#include <criterion/criterion.h>

#include "rig.h"

#define D PML_DEV_DIRTY

static struct rig *broken(unsigned int faults)
{
	struct pml_model_config config = { .faults = faults };
	struct rig *r = rig_new(&config);

	cr_assert_eq(rig_init(r, EVERY_MODE, 8, 4096), PML_DEV_ST_OK);
	cr_assert_eq(rig_enable(r, 1, PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST, D),
		     PML_DEV_ST_OK);
	rig_vcpu(r, 0)->irq_enable = 1;
	rig_run(r, 0, 1);
	return r;
}

/* Every page written is in the rings, or its context is flagged. */
static bool nothing_lost_in_silence(unsigned int faults)
{
	struct rig *r = broken(faults);
	uint64_t i;
	bool ok;

	for (i = 0; i < 100; i++)
		rig_write(r, 0, i);
	ok = rig_take_all(r) == 100 || rig_flags(r, 1) & PML_DEV_CTX_DIRTY_LOST;
	rig_free(r);
	return ok;
}

static bool re_armed_pages_come_again(unsigned int faults)
{
	struct rig *r = broken(faults);
	bool ok;

	rig_write(r, 0, 1);
	rig_take_all(r);
	rig_rearm_all(r, D);
	rig_write(r, 0, 1);
	ok = rig_take_all(r) == 1;
	rig_free(r);
	return ok;
}

/* The hypervisor's log: every frame written since the last collect is told. */
static bool host_sees_every_frame(unsigned int faults)
{
	struct rig *r = broken(faults);
	struct pml_host_summary s;
	bool ok = !pml_model_host_enable(r->m, D);
	int epoch;

	for (epoch = 0; ok && epoch < 2; epoch++) {
		for (uint64_t i = 0; i < 10; i++)
			rig_write(r, 0, i);
		ok = !pml_model_host_collect(r->m, NULL, NULL, NULL, true, &s) && s.dirty == 10;
	}
	rig_free(r);
	return ok;
}

struct looker {
	struct rig *r;
	bool in_ring;
	bool stale;
	int stop;
};

/* Another processor of the guest: what an index covers must be there. */
static void *look(void *opaque)
{
	struct looker *l = opaque;
	struct pml_dev_vcpu *p = rig_vcpu(l->r, 0);
	const uint64_t *words = (const uint64_t *)((char *)p + (l->in_ring ? l->r->info->ring_offset :
									     l->r->info->log_offset));
	uint64_t n, i;

	while (!__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
		n = l->in_ring ? __atomic_load_n(&p->head, __ATOMIC_ACQUIRE) :
				 __atomic_load_n(&p->log_index, __ATOMIC_ACQUIRE);
		for (i = 0; i < n; i++)
			l->stale |= !__atomic_load_n(&words[i], __ATOMIC_RELAXED);
	}
	return NULL;
}

/* An index is never ahead of its entries. */
static bool entries_before_index(unsigned int faults, bool in_ring)
{
	struct looker l = { .in_ring = in_ring };
	pthread_t thread;
	int round;

	for (round = 0; round < 200 && !l.stale; round++) {
		l.r = broken(faults);
		l.stop = 0;
		cr_assert_eq(pthread_create(&thread, NULL, look, &l), 0);
		for (uint64_t i = 0; i < (in_ring ? 70 : 6); i++)
			rig_write(l.r, 0, i);
		__atomic_store_n(&l.stop, 1, __ATOMIC_RELEASE);
		pthread_join(thread, NULL);
		rig_free(l.r);
	}
	return !l.stale;
}

Test(control, drain_skipped)
{
	cr_assert(nothing_lost_in_silence(0));
	cr_assert_not(nothing_lost_in_silence(PML_FAULT_SKIP_DRAIN));
}

Test(control, re_arm_dropped)
{
	cr_assert(re_armed_pages_come_again(0));
	cr_assert_not(re_armed_pages_come_again(PML_FAULT_DROP_REARM));
}

Test(control, short_cuts_outlive_a_re_arm)
{
	cr_assert_not(re_armed_pages_come_again(PML_FAULT_STALE_DONE));
}

/* On a full log the published code interrupts and goes on: the page is lost. */
Test(control, the_published_code_on_a_full_log)
{
	cr_assert_not(nothing_lost_in_silence(PML_FAULT_AS_PUBLISHED));
}

Test(control, the_hypervisors_log)
{
	cr_assert(host_sees_every_frame(0));
	cr_assert_not(host_sees_every_frame(PML_FAULT_SKIP_DRAIN));
	cr_assert_not(host_sees_every_frame(PML_FAULT_DROP_REARM));
	cr_assert_not(host_sees_every_frame(PML_FAULT_STALE_DONE));
}

Test(control, index_published_before_the_entry)
{
	cr_assert(entries_before_index(0, true));
	cr_assert(entries_before_index(0, false));
	cr_assert_not(entries_before_index(PML_FAULT_INDEX_FIRST, true));
	cr_assert_not(entries_before_index(PML_FAULT_INDEX_FIRST, false));
}
