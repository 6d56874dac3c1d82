/* SPDX-License-Identifier: MIT */
/*
 * test_overflow.c - full logs, full rings, memory's end, and what a hostile
 * guest writes: nothing is lost silently, nothing outside the BAR is touched.
 */
#include <string.h>

#include <criterion/criterion.h>

#include "rig.h"

#define D PML_DEV_DIRTY
#define R PML_DEV_REFERENCED
#define LOST (PML_DEV_CTX_DIRTY_LOST | PML_DEV_CTX_REFERENCED_LOST)

static const uint32_t epml = PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST;
static const uint32_t spml = PML_DEV_MODE_SPML | PML_DEV_TRIGGER_GUEST;

static struct rig *small(uint32_t features, uint64_t log, uint64_t ring, uint32_t mode)
{
	struct rig *r = rig_new(NULL);

	cr_assert_eq(rig_init(r, EVERY_MODE | features, log, ring), PML_DEV_ST_OK);
	cr_assert_eq(rig_enable(r, 1, mode, D), PML_DEV_ST_OK);
	rig_vcpu(r, 0)->irq_enable = 1;
	rig_run(r, 0, 1);
	return r;
}

static void write_pages(struct rig *r, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		rig_write(r, 0, i);
}

Test(full, every_full_log_goes_to_the_ring_with_one_interrupt)
{
	struct rig *r = small(0, 8, 4096, epml);
	const struct pml_dev_stats *s = &rig_vcpu(r, 0)->stats;

	write_pages(r, 0, 1000);
	cr_assert_eq(rig_take_all(r), 1000);
	cr_assert_eq(s->full, 1000 / 7);
	cr_assert_eq(s->interrupts, s->full);
	cr_assert_eq(r->interrupts[0], s->interrupts);
	cr_assert_eq(s->drops, 0);
	rig_free(r);
}

Test(full, spml_takes_a_vm_exit_and_epml_does_not)
{
	struct rig *e = small(0, 8, 4096, epml), *s = small(0, 8, 4096, spml);
	uint64_t e_before = rig_vcpu(e, 0)->stats.vm_exits;
	uint64_t s_before = rig_vcpu(s, 0)->stats.vm_exits;

	write_pages(e, 0, 70);
	write_pages(s, 0, 70);
	cr_assert_eq(rig_take_all(e), 70);
	cr_assert_eq(rig_take_all(s), 70);
	/* one more for the drain command itself */
	cr_assert_eq(rig_vcpu(e, 0)->stats.vm_exits - e_before, 1);
	cr_assert_eq(rig_vcpu(s, 0)->stats.vm_exits - s_before, 1 + 10);
	rig_free(e);
	rig_free(s);
}

Test(full, no_interrupt_where_none_was_asked_for)
{
	struct rig *r = small(0, 8, 4096, epml);

	rig_vcpu(r, 0)->irq_enable = 0;
	write_pages(r, 0, 100);
	cr_assert_eq(r->interrupts[0], 0);
	cr_assert_eq(rig_take_all(r), 100);
	rig_free(r);
}

Test(full, nothing_is_lost_in_ten_thousand_full_logs_at_the_stated_size)
{
	struct rig *r = small(0, 0, 0, epml);
	const struct pml_dev_stats *s = &rig_vcpu(r, 0)->stats;

	cr_assert_leq(RIG_PAGES / 511, r->info->ring_entries / (r->info->log_entries + 3));
	while (s->full < 10000) {
		write_pages(r, 0, RIG_PAGES);
		cr_assert_eq(rig_take_all(r), RIG_PAGES);
		rig_rearm_all(r, D);
	}
	cr_assert_eq(s->drops, 0);
	cr_assert_eq(s->interrupts, s->full);
	cr_assert_eq(rig_flags(r, 1), PML_DEV_CTX_ENABLED);
	rig_free(r);
}

Test(overflow, a_ring_too_small_is_reported_and_sticky)
{
	struct rig *r = small(0, 8, 16, epml);
	struct rig_command c = { .cmd = PML_DEV_CMD_REARM,
				 .flags = PML_DEV_SCOPE_LIST,
				 .context = 1,
				 .events = D,
				 .arg = { 1 } };
	int n;

	write_pages(r, 0, 100);
	cr_assert(rig_flags(r, 1) & PML_DEV_CTX_DIRTY_LOST);
	cr_assert_not(rig_flags(r, 1) & PML_DEV_CTX_REFERENCED_LOST, "nobody asked for those");
	n = rig_take(r, 0, NULL, NULL);
	n += rig_take_all(r);
	cr_assert_eq((uint64_t)n + rig_vcpu(r, 0)->stats.drops, 100);
	rig_list(r, 0)[0] = rig_gva(0) | 99;
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_OK);
	cr_assert(rig_flags(r, 1) & LOST, "a list must not end it");
	cr_assert_eq(rig_rearm_all(r, R), PML_DEV_ST_OK);
	cr_assert(rig_flags(r, 1) & LOST, "another event must not end it");
	cr_assert_eq(rig_rearm_all(r, D), PML_DEV_ST_OK);
	cr_assert_eq(rig_vcpu(r, 0)->result[1], PML_DEV_CTX_DIRTY_LOST);
	cr_assert_not(rig_flags(r, 1) & LOST);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 1);
	rig_free(r);
}

Test(overflow, touches_only_the_contexts_that_lost)
{
	struct rig *r = small(0, 8, 16, epml);

	rig_enable(r, 2, epml, D);
	rig_enable(r, 3, epml, D);
	rig_run(r, 0, 2);
	rig_write(r, 0, 1);
	rig_drain(r);
	rig_run(r, 0, 1);
	write_pages(r, 0, 50);
	cr_assert(rig_flags(r, 1) & LOST);
	cr_assert_not(rig_flags(r, 2) & LOST);
	cr_assert_not(rig_flags(r, 3) & LOST);
	rig_free(r);
}

Test(overflow, more_contexts_in_a_log_than_are_remembered_flags_all)
{
	struct pml_model_config config = { .contexts = 40 };
	struct rig *r = rig_new(&config);
	uint32_t i;

	rig_init(r, EVERY_MODE, 32, 64);
	for (i = 1; i <= 40; i++)
		cr_assert_eq(rig_enable(r, i, epml, D), PML_DEV_ST_OK);
	for (i = 0; i < 60; i++) {
		rig_run(r, 0, 1 + i % 12);
		rig_write(r, 0, i);
	}
	cr_assert_gt(rig_vcpu(r, 0)->stats.full, 2);
	for (i = 1; i <= 40; i++)
		cr_assert(rig_flags(r, i) & PML_DEV_CTX_DIRTY_LOST, "context %u", i);
	rig_free(r);
}

Test(overflow, a_drain_without_room_keeps_the_log)
{
	struct rig *r = small(0, 8, 16, epml);

	write_pages(r, 0, 7); /* a full log: 11 of 16 words */
	write_pages(r, 7, 3);
	cr_assert_eq(rig_drain(r), PML_DEV_ST_RING_FULL);
	cr_assert_eq(rig_disable(r, 1), PML_DEV_ST_RING_FULL);
	cr_assert_not(rig_flags(r, 1) & LOST);
	cr_assert_eq(rig_take(r, 0, NULL, NULL), 7);
	cr_assert_eq(rig_drain(r), PML_DEV_ST_OK);
	cr_assert_eq(rig_take(r, 0, NULL, NULL), 3);
	rig_free(r);
}

Test(overflow, rearm_with_drain_without_room_re_arms_nothing)
{
	struct rig *r = small(0, 8, 16, epml);
	struct rig_command c = { .cmd = PML_DEV_CMD_REARM,
				 .flags = PML_DEV_SCOPE_ALL | PML_DEV_WITH_DRAIN,
				 .events = D };

	write_pages(r, 0, 10);
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_RING_FULL);
	write_pages(r, 0, 10);
	cr_assert_eq(rig_take(r, 0, NULL, NULL), 7);
	cr_assert_eq(rig_take_all(r), 3);
	rig_free(r);
}

Test(double_log, a_second_log_takes_over_while_the_ring_is_full)
{
	struct rig *one = small(0, 8, 16, epml);
	struct rig *two = small(PML_DEV_F_DOUBLE_LOG, 8, 16, epml);
	int n;

	write_pages(one, 0, 7 * 2 + 3);
	write_pages(two, 0, 7 * 2 + 3);
	cr_assert(rig_flags(one, 1) & LOST);
	cr_assert_not(rig_flags(two, 1) & LOST);
	n = rig_take(two, 0, NULL, NULL);
	cr_assert_eq(rig_drain(two), PML_DEV_ST_RING_FULL);
	n += rig_take(two, 0, NULL, NULL);
	n += rig_take_all(two);
	cr_assert_eq(n, 7 * 2 + 3);
	rig_free(one);
	rig_free(two);
}

Test(double_log, when_both_are_full_it_is_reported)
{
	struct rig *r = small(PML_DEV_F_DOUBLE_LOG, 8, 16, epml);
	int n, taken = 0;

	write_pages(r, 0, 7 * 5);
	cr_assert(rig_flags(r, 1) & LOST);
	while ((n = rig_take(r, 0, NULL, NULL)) > 0) {
		taken += n;
		rig_drain(r);
	}
	cr_assert_eq((uint64_t)taken + rig_vcpu(r, 0)->stats.drops, 7 * 5);
	rig_free(r);
}

Test(offload, a_full_log_is_drained_off_the_vcpu)
{
	struct rig *r = small(PML_DEV_F_DOUBLE_LOG | PML_DEV_F_OFFLOAD, 8, 4096, spml);
	uint64_t exits = rig_vcpu(r, 0)->stats.vm_exits;

	write_pages(r, 0, 9);
	cr_assert_eq(r->offloads, 1);
	cr_assert_eq(rig_take(r, 0, NULL, NULL), 0, "the vCPU drained it itself");
	pml_model_offload(r->m, 0);
	cr_assert_eq(rig_take(r, 0, NULL, NULL), 7);
	cr_assert_eq(rig_take_all(r), 2);
	cr_assert_eq(rig_vcpu(r, 0)->stats.vm_exits - exits, 1, "only the drain command");
	cr_assert_eq(rig_vcpu(r, 0)->stats.offloaded, 1);
	rig_free(r);
}

Test(offload, a_slow_thread_makes_the_vcpu_drain_and_loses_nothing)
{
	struct rig *r = small(PML_DEV_F_DOUBLE_LOG | PML_DEV_F_OFFLOAD, 8, 4096, spml);

	write_pages(r, 0, 100);
	cr_assert_eq(rig_take_all(r), 100);
	cr_assert_eq(rig_vcpu(r, 0)->stats.drops, 0);
	rig_free(r);
}

Test(memory, beyond_the_cap_a_context_is_all_dirty)
{
	struct pml_model_config config = { .max_memory = 512 << 10 };
	struct rig *r = rig_new(&config);
	size_t used, cap;
	uint64_t i;

	rig_init(r, EVERY_MODE, 0, 0);
	rig_enable(r, 1, epml, D);
	rig_run(r, 0, 1);
	for (i = 0; i < 20000; i++)
		rig_access(r, 0, i << 21, 8, PML_ACCESS_WRITE);
	pml_model_memory(r->m, &used, &cap);
	cr_assert_leq(used, config.max_memory);
	cr_assert_gt(rig_take_all(r), 0);
	cr_assert(rig_flags(r, 1) & PML_DEV_CTX_DIRTY_LOST);
	rig_disable(r, 1);
	pml_model_memory(r->m, &used, &cap);
	cr_assert_eq(used, 0, "a context that ended still holds memory");
	rig_free(r);
}

Test(memory, contexts_without_end_are_refused)
{
	struct pml_model_config config = { .max_memory = 1 << 20 };
	struct rig *r = rig_new(&config);
	uint32_t i, status = PML_DEV_ST_OK;

	rig_init(r, EVERY_MODE, 0, 0);
	for (i = 1; i <= r->info->contexts && !status; i++)
		status = rig_enable(r, i, epml, D);
	cr_assert_eq(status, PML_DEV_ST_NO_MEMORY);
	rig_free(r);
}

Test(memory, an_address_that_cannot_be_kept_is_reported)
{
	struct rig *r = small(0, 0, 0, epml);

	rig_access(r, 0, 1ull << 50, 8, PML_ACCESS_WRITE);
	cr_assert(rig_flags(r, 1) & PML_DEV_CTX_DIRTY_LOST);
	rig_free(r);
}

Test(memory, a_frame_that_cannot_be_told_is_reported)
{
	struct rig *s = small(0, 0, 0, spml), *e = small(0, 0, 0, epml);
	struct pml_host_summary host;

	rig_map(s, 3, RIG_UNKNOWN);
	rig_map(e, 3, RIG_UNKNOWN);
	rig_write(s, 0, 3);
	rig_write(e, 0, 3);
	cr_assert(rig_flags(s, 1) & PML_DEV_CTX_DIRTY_LOST);
	cr_assert_not(rig_flags(e, 1) & LOST, "a virtual address needs no frame");
	pml_model_host_enable(e->m, D);
	rig_write(e, 0, 3);
	cr_assert_eq(pml_model_host_collect(e->m, NULL, NULL, NULL, true, &host), 0);
	cr_assert(host.lost);
	rig_free(s);
	rig_free(e);
}

Test(hostile, a_tail_out_of_range_is_a_full_ring)
{
	struct rig *r = small(0, 8, 16, epml);

	rig_vcpu(r, 0)->tail = 12345678;
	write_pages(r, 0, 50);
	cr_assert(rig_flags(r, 1) & PML_DEV_CTX_DIRTY_LOST);
	cr_assert_eq(rig_drain(r), PML_DEV_ST_RING_FULL);
	cr_assert_gt(rig_vcpu(r, 0)->stats.bad_tail, 0);
	rig_free(r);
}

Test(hostile, what_the_device_published_is_never_read_back)
{
	struct rig *r = small(0, 8, 64, epml);
	struct pml_dev_info info = *r->info;
	struct pml_dev_vcpu *p = rig_vcpu(r, 0);

	rig_write(r, 0, 1);
	memset(r->info, 0xff, sizeof(*r->info));
	memset((char *)r->bar + info.context_offset, 0xff, 4096);
	memset((char *)p + 256, 0xff, 4096 - 256);
	memset((char *)p + info.log_offset, 0xff, 64);
	for (uint64_t i = 0; i < 20; i++)
		rig_access(r, 0, rig_gva(i), 8, PML_ACCESS_WRITE);
	*r->info = info;
	cr_assert_eq(rig_take_all(r), 20);
	rig_free(r);
}

Test(hostile, a_reset_in_mid_drain_leaves_a_working_device)
{
	struct rig *r = small(PML_DEV_F_DOUBLE_LOG | PML_DEV_F_OFFLOAD, 8, 4096, spml);

	write_pages(r, 0, 20);
	cr_assert_eq(rig_init(r, EVERY_MODE, 16, 64), PML_DEV_ST_OK);
	pml_model_offload(r->m, 0);
	cr_assert_eq(rig_take_all(r), 0);
	rig_enable(r, 1, epml, D);
	write_pages(r, 0, 5);
	cr_assert_eq(rig_take_all(r), 5);
	rig_free(r);
}
