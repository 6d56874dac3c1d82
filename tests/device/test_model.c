/* SPDX-License-Identifier: MIT */
/*
 * test_model.c - the device's modes, transitions, commands and refusals, each
 * as a truth that a guest can see.  Built twice: as it is, and with 3-bit
 * generations.
 */
#include <criterion/criterion.h>

#include "rig.h"

#define D PML_DEV_DIRTY
#define R PML_DEV_REFERENCED

static const uint32_t epml = PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST;
static const uint32_t spml = PML_DEV_MODE_SPML | PML_DEV_TRIGGER_GUEST;
static const uint32_t epml_ept = PML_DEV_MODE_EPML | PML_DEV_TRIGGER_EPT;
static const uint32_t spml_ept = PML_DEV_MODE_SPML | PML_DEV_TRIGGER_EPT;

static struct rig *ready(uint32_t mode, uint32_t events)
{
	struct rig *r = rig_new(NULL);

	cr_assert_eq(rig_init(r, EVERY_MODE, 0, 0), PML_DEV_ST_OK);
	cr_assert_eq(rig_enable(r, 1, mode, events), PML_DEV_ST_OK);
	rig_run(r, 0, 1);
	return r;
}

/* Two vCPUs, one context, which runs where and when the test says. */
static struct rig *ready_on_two(void)
{
	struct pml_model_config config = { .vcpus = 2 };
	struct rig *r = rig_new(&config);

	cr_assert_eq(rig_init(r, EVERY_MODE, 0, 0), PML_DEV_ST_OK);
	cr_assert_eq(rig_enable(r, 1, epml, D), PML_DEV_ST_OK);
	return r;
}

/* On vCPU 0 this context runs from now on, and writes one page. */
static void write_as(struct rig *r, uint32_t context, uint64_t page)
{
	rig_run(r, 0, context);
	rig_write(r, 0, page);
}

static uint64_t logged(struct rig *r, uint32_t mode, uint64_t page)
{
	return mode & PML_DEV_MODE_SPML ? rig_gpa(r, page) : rig_gva(page);
}

static uint32_t rearm_list(struct rig *r, uint32_t context, uint64_t first, uint64_t pages)
{
	struct rig_command c = { .cmd = PML_DEV_CMD_REARM,
				 .flags = PML_DEV_SCOPE_LIST,
				 .context = context,
				 .events = D | R,
				 .arg = { 1 } };

	rig_list(r, 0)[0] = first | (pages - 1);
	return rig_command(r, 0, c);
}

Test(discovery, the_info_page_tells_everything)
{
	struct pml_model_config c = { .vcpus = 3, .vectors = 3, .features_off = PML_DEV_F_LEAF };
	struct rig *r = rig_new(&c);

	cr_assert_eq(r->info->magic, PML_DEV_MAGIC);
	cr_assert_leq(r->info->version_min, r->info->version);
	cr_assert_eq(r->info->bar_size, r->bar_size);
	cr_assert_eq(r->info->vcpus, 3);
	cr_assert_eq(r->info->features & PML_DEV_F_LEAF, 0);
	cr_assert(r->info->features & PML_DEV_F_EPML);
	cr_assert_leq(r->info->block_offset + 3 * r->info->block_stride, r->bar_size);
	cr_assert_leq(r->info->ring_offset + r->info->ring_max * 8ull, r->info->block_stride);
	rig_free(r);
}

Test(discovery, another_version_is_refused_and_changes_nothing)
{
	struct rig *r = rig_new(NULL);
	struct rig_command c = { .cmd = PML_DEV_CMD_INIT };
	uint32_t resets = r->info->reset_count;

	c.arg[0] = PML_DEV_VERSION + 1;
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_VERSION);
	c.arg[0] = PML_DEV_VERSION_MIN - 1;
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_VERSION);
	c.arg[0] = ~0ull;
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_VERSION);
	cr_assert_eq(r->info->reset_count, resets);
	cr_assert_eq(rig_enable(r, 1, epml, D), PML_DEV_ST_NOT_READY);
	rig_free(r);
}

Test(refusals, every_wrong_command_has_its_words)
{
	struct rig *r = rig_new(NULL);
	struct rig_command c = { .cmd = 99 };

	cr_assert_eq(rig_init(r, 1u << 31, 0, 0), PML_DEV_ST_BAD_FEATURE);
	cr_assert_eq(rig_init(r, EVERY_MODE | PML_DEV_F_OFFLOAD, 0, 0), PML_DEV_ST_BAD_FEATURE);
	cr_assert_eq(rig_init(r, EVERY_MODE, 500, 0), PML_DEV_ST_BAD_SIZE);
	cr_assert_eq(rig_init(r, EVERY_MODE, 1u << 20, 0), PML_DEV_ST_BAD_SIZE);
	cr_assert_eq(rig_init(r, EVERY_MODE, 512, 512), PML_DEV_ST_BAD_SIZE);
	cr_assert_eq(rig_init(r, PML_DEV_F_EPML | PML_DEV_F_TRIGGER_GUEST, 0, 0), PML_DEV_ST_OK);
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_BAD_COMMAND);
	cr_assert_eq(rig_enable(r, 0, epml, D), PML_DEV_ST_BAD_CONTEXT);
	cr_assert_eq(rig_enable(r, ~0u, epml, D), PML_DEV_ST_BAD_CONTEXT);
	cr_assert_eq(rig_enable(r, 1, PML_DEV_TRIGGER_GUEST, D), PML_DEV_ST_BAD_FLAGS);
	cr_assert_eq(rig_enable(r, 1, epml | PML_DEV_MODE_SPML, D), PML_DEV_ST_BAD_FLAGS);
	cr_assert_eq(rig_enable(r, 1, epml, 0), PML_DEV_ST_BAD_FLAGS);
	cr_assert_eq(rig_enable(r, 1, epml, 4), PML_DEV_ST_BAD_FLAGS);
	cr_assert_eq(rig_enable(r, 1, epml, D | R), PML_DEV_ST_BAD_FEATURE);
	cr_assert_eq(rig_enable(r, 1, spml, D), PML_DEV_ST_BAD_FEATURE);
	cr_assert_eq(rig_enable(r, 1, epml, D), PML_DEV_ST_OK);
	cr_assert_eq(rig_enable(r, 1, epml, D), PML_DEV_ST_EXISTS);
	cr_assert_eq(rig_disable(r, 2), PML_DEV_ST_NO_CONTEXT);
	cr_assert_eq(rig_rearm_all(r, 0), PML_DEV_ST_BAD_FLAGS);
	cr_assert_eq(rearm_list(r, 1, 1ull << 60, 1), PML_DEV_ST_BAD_LIST);
	cr_assert_eq(rearm_list(r, 7, rig_gva(0), 1), PML_DEV_ST_NO_CONTEXT);
	c = (struct rig_command){ .cmd = PML_DEV_CMD_REARM,
				  .flags = PML_DEV_SCOPE_LIST,
				  .context = 1,
				  .events = D,
				  .arg = { ~0ull } };
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_BAD_LIST);
	rig_free(r);
}

static void once_per_epoch(uint32_t mode)
{
	struct rig *r = ready(mode, D);

	rig_write(r, 0, 5);
	rig_write(r, 0, 5);
	cr_assert_eq(rig_count(r, 1, logged(r, mode, 5), D), 1);
	rig_write(r, 0, 5);
	cr_assert_eq(rig_take_all(r), 0, "logged twice in one epoch");
	cr_assert_eq(rig_rearm_all(r, D), PML_DEV_ST_OK);
	cr_assert_eq(rig_vcpu(r, 0)->result[0], 1);
	rig_write(r, 0, 5);
	cr_assert_eq(rig_count(r, 1, logged(r, mode, 5), D), 1, "not logged after re-arm");
	rig_free(r);
}

Test(epoch, a_written_page_is_logged_once_epml)
{
	once_per_epoch(epml);
}

Test(epoch, a_written_page_is_logged_once_spml)
{
	once_per_epoch(spml);
}

Test(epoch, a_written_page_is_logged_once_epml_ept)
{
	once_per_epoch(epml_ept);
}

Test(epoch, a_written_page_is_logged_once_spml_ept)
{
	once_per_epoch(spml_ept);
}

Test(epoch, holds_over_any_number_of_epochs)
{
	struct rig *r = ready(epml, D | R);
	int i;

	for (i = 0; i < 200; i++) {
		if (i % 9 == 0) /* a page last seen many epochs ago */
			rig_write(r, 0, 9);
		rig_write(r, 0, 1);
		rig_write(r, 0, 1);
		cr_assert_eq(rig_take_all(r), 1 + (i % 9 == 0), "epoch %d", i);
		cr_assert_eq(rig_rearm_all(r, D | R), PML_DEV_ST_OK);
	}
	rig_free(r);
}

Test(epoch, an_access_across_two_pages_logs_both)
{
	struct rig *r = ready(epml, D);

	rig_access(r, 0, rig_gva(4) - 1, 2, PML_ACCESS_WRITE);
	cr_assert_eq(rig_take_all(r), 2);
	rig_write(r, 0, 3);
	rig_write(r, 0, 4);
	cr_assert_eq(rig_take_all(r), 0);
	rig_free(r);
}

Test(events, a_logged_read_does_not_hide_the_next_write)
{
	struct rig *r = ready(epml, D | R);

	rig_read(r, 0, 2);
	cr_assert_eq(rig_count(r, 1, rig_gva(2), R), 1);
	rig_write(r, 0, 2);
	cr_assert_eq(rig_count(r, 1, rig_gva(2), D), 1, "the write after a read went unlogged");
	rig_free(r);
}

Test(events, a_write_is_a_reference_too)
{
	struct rig *r = ready(epml, D | R);

	rig_write(r, 0, 2);
	cr_assert_eq(rig_count(r, 1, rig_gva(2), D | R), 1);
	rig_read(r, 0, 2);
	cr_assert_eq(rig_take_all(r), 0);
	rig_free(r);
}

Test(events, only_what_was_asked_for_is_logged)
{
	struct rig *r = ready(epml, D);

	rig_read(r, 0, 2);
	cr_assert_eq(rig_take_all(r), 0);
	rig_free(r);
	r = ready(spml, R);
	rig_write(r, 0, 2);
	cr_assert_eq(rig_count(r, 1, rig_gpa(r, 2), R), 1);
	rig_free(r);
}

Test(events, re_arming_one_event_leaves_the_other)
{
	struct rig *r = ready(epml, D | R);

	rig_write(r, 0, 2);
	rig_take_all(r);
	rig_rearm_all(r, R);
	rig_write(r, 0, 2);
	cr_assert_eq(rig_count(r, 1, rig_gva(2), R), 1);
	rig_rearm_all(r, D);
	rig_write(r, 0, 2);
	cr_assert_eq(rig_count(r, 1, rig_gva(2), D), 1);
	rig_free(r);
}

Test(watch, the_front_end_is_asked_for_no_more_than_is_needed)
{
	struct rig *r = rig_new(NULL);

	rig_init(r, EVERY_MODE, 0, 0);
	cr_assert_eq(r->watched, 0);
	rig_enable(r, 1, epml, D);
	cr_assert_eq(r->watched, PML_WATCH_WRITES);
	rig_enable(r, 2, epml, D | R);
	cr_assert_eq(r->watched, PML_WATCH_WRITES | PML_WATCH_READS);
	rig_disable(r, 2);
	cr_assert_eq(r->watched, PML_WATCH_WRITES);
	rig_disable(r, 1);
	cr_assert_eq(r->watched, 0);
	rig_free(r);
}

Test(watch, enable_completes_only_when_stores_are_seen)
{
	struct rig *r = rig_new(NULL);
	struct pml_dev_vcpu *p = rig_vcpu(r, 0);

	rig_init(r, EVERY_MODE, 0, 0);
	r->watch_later = true;
	rig_enable(r, 1, epml, D);
	cr_assert_neq(p->done_seq, p->cmd_seq);
	pml_model_watching(r->m);
	cr_assert_eq(p->done_seq, p->cmd_seq);
	cr_assert_eq(p->status, PML_DEV_ST_OK);
	rig_free(r);
}

Test(contexts, entries_belong_to_the_context_that_ran)
{
	struct rig *r = ready(epml, D);

	rig_enable(r, 2, epml, D);
	rig_write(r, 0, 1);
	write_as(r, 2, 1);
	write_as(r, 1, 2);
	cr_assert_eq(rig_count(r, 2, rig_gva(1), D), 1);
	cr_assert_eq(rig_vcpu(r, 0)->stats.contexts, 3);
	rig_free(r);
}

Test(contexts, logging_off_leaves_a_page_armed)
{
	struct rig *r = ready(epml, D);

	write_as(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 0);
	write_as(r, 1, 1);
	cr_assert_eq(rig_count(r, 1, rig_gva(1), D), 1);
	rig_free(r);
}

Test(contexts, an_unregistered_context_is_counted_and_ignored)
{
	struct rig *r = ready(epml, D);

	write_as(r, 7, 1);
	write_as(r, ~0u, 1);
	cr_assert_eq(rig_take_all(r), 0);
	cr_assert_eq(rig_vcpu(r, 0)->stats.bad_context, 2);
	rig_free(r);
}

Test(contexts, disable_drains_what_was_logged)
{
	struct rig *r = ready(epml, D);

	rig_write(r, 0, 1);
	cr_assert_eq(rig_disable(r, 1), PML_DEV_ST_OK);
	cr_assert_eq(rig_take(r, 0, NULL, NULL), 1);
	cr_assert_eq(rig_flags(r, 1), 0);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 0);
	rig_free(r);
}

Test(contexts, a_context_begun_again_has_every_page_armed)
{
	struct rig *r = ready(spml, D);

	rig_write(r, 0, 1);
	rig_disable(r, 1);
	rig_take_all(r);
	cr_assert_eq(rig_enable(r, 1, spml, D), PML_DEV_ST_OK);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 1);
	rig_free(r);
}

Test(addresses, epml_logs_the_user_half_only)
{
	struct rig *r = ready(epml, D);

	rig_access(r, 0, RIG_KERNEL + 0x5000, 8, PML_ACCESS_WRITE);
	cr_assert_eq(rig_take_all(r), 0);
	rig_free(r);
}

Test(addresses, a_write_through_the_direct_map_is_seen_by_frames_only)
{
	struct rig *e = ready(epml, D), *s = ready(spml, D);

	rig_access(e, 0, RIG_KERNEL + rig_gpa(e, 3), 8, PML_ACCESS_WRITE);
	rig_access(s, 0, RIG_KERNEL + rig_gpa(s, 3), 8, PML_ACCESS_WRITE);
	cr_assert_eq(rig_take_all(e), 0);
	cr_assert_eq(rig_count(s, 1, rig_gpa(s, 3), D), 1);
	rig_free(e);
	rig_free(s);
}

Test(addresses, what_is_not_ram_is_not_logged_by_frame)
{
	struct rig *r = ready(spml, D);

	rig_map(r, 3, RIG_NOT_RAM);
	rig_write(r, 0, 3);
	cr_assert_eq(rig_take_all(r), 0);
	rig_free(r);
}

Test(addresses, a_page_that_moved_to_another_frame_is_logged_there)
{
	struct rig *r = ready(spml, D);
	int i;

	for (i = 0; i < 10000; i++) {
		rig_write(r, 0, 3);
		rig_map(r, 3, r->frame[3] == 2 * RIG_PAGES ? RIG_PAGES : 2 * RIG_PAGES);
		rig_write(r, 0, 3);
		rig_write(r, 0, 3);
		cr_assert_eq(rig_take_all(r), 2, "move %d", i);
		rig_rearm_all(r, D);
	}
	rig_free(r);
}

Test(trigger_guest, two_mappings_of_a_frame_are_two_pages)
{
	struct rig *r = ready(epml, D);

	rig_map(r, 8, r->frame[9]);
	rig_write(r, 0, 8);
	rig_write(r, 0, 9);
	cr_assert_eq(rig_take_all(r), 2);
	rig_free(r);
}

/* The cases of the published trigger, asserted as the misses that they are. */
Test(trigger_ept, misses_a_frame_dirtied_through_another_mapping)
{
	struct rig *r = ready(epml_ept, D);

	rig_map(r, 8, r->frame[9]);
	rig_write(r, 0, 8);
	cr_assert_eq(rig_count(r, 1, rig_gva(8), D), 1);
	rig_write(r, 0, 9);
	cr_assert_eq(rig_take_all(r), 0);
	rig_free(r);
}

Test(trigger_ept, misses_a_frame_dirtied_while_logging_was_off)
{
	struct rig *r = ready(epml_ept, D);

	write_as(r, 0, 1);
	write_as(r, 1, 1);
	cr_assert_eq(rig_take_all(r), 0);
	cr_assert_eq(rig_vcpu(r, 0)->stats.unlogged, 1);
	rig_rearm_all(r, D);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 1, "re-arming must bring it back");
	rig_free(r);
}

Test(trigger_ept, misses_a_frame_dirtied_by_another_context)
{
	struct rig *r = ready(epml_ept, D);

	rig_enable(r, 2, epml_ept, D);
	write_as(r, 2, 1);
	write_as(r, 1, 1);
	cr_assert_eq(rig_count(r, 1, rig_gva(1), D), 0);
	rig_free(r);
}

Test(trigger_ept, misses_a_frame_dirtied_by_the_kernel_first)
{
	struct rig *r = ready(epml_ept, D);

	rig_access(r, 0, RIG_KERNEL + rig_gpa(r, 1), 8, PML_ACCESS_WRITE);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 0);
	rig_free(r);
}

Test(trigger_ept, a_list_is_of_frames)
{
	struct rig *r = ready(epml_ept, D);

	rig_write(r, 0, 1);
	rig_write(r, 0, 2);
	rig_take_all(r);
	cr_assert_eq(rearm_list(r, 1, rig_gpa(r, 2), 1), PML_DEV_ST_OK);
	rig_write(r, 0, 1);
	rig_write(r, 0, 2);
	cr_assert_eq(rig_count(r, 1, rig_gva(2), D), 1);
	rig_free(r);
}

Test(rearm, a_list_re_arms_exactly_its_pages)
{
	struct rig *r = ready(epml, D | R);
	uint64_t i;

	for (i = 0; i < 100; i++)
		rig_write(r, 0, i);
	rig_take_all(r);
	cr_assert_eq(rearm_list(r, 1, rig_gva(10), 7), PML_DEV_ST_OK);
	cr_assert_eq(rig_vcpu(r, 0)->result[0], 14, "7 dirty and 7 referenced states");
	for (i = 0; i < 100; i++)
		rig_write(r, 0, i);
	cr_assert_eq(rig_take_all(r), 7);
	rig_free(r);
}

Test(rearm, one_context_leaves_the_others)
{
	struct rig *r = ready(epml, D);
	struct rig_command c = { .cmd = PML_DEV_CMD_REARM,
				 .flags = PML_DEV_SCOPE_CONTEXT,
				 .context = 2,
				 .events = D };

	rig_enable(r, 2, epml, D);
	rig_write(r, 0, 1);
	write_as(r, 2, 1);
	rig_take_all(r);
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_OK);
	rig_write(r, 0, 1);
	write_as(r, 1, 1);
	cr_assert_eq(rig_count(r, 2, rig_gva(1), D), 1);
	cr_assert_eq(rig_vcpu(r, 0)->stats.entries, 3);
	rig_free(r);
}

Test(rearm, with_drain_is_one_step)
{
	struct rig *r = ready(epml, D);
	struct rig_command c = { .cmd = PML_DEV_CMD_REARM,
				 .flags = PML_DEV_SCOPE_ALL | PML_DEV_WITH_DRAIN,
				 .events = D };

	rig_write(r, 0, 1);
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_OK);
	cr_assert_eq(rig_take(r, 0, NULL, NULL), 1);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 1);
	rig_free(r);
}

static void find_sync(void *opaque, uint32_t context, uint64_t entry)
{
	(void)context;
	if ((entry & PML_DEV_E_TYPE) == PML_DEV_E_SYNC)
		*(uint64_t *)opaque = entry >> PML_DEV_E_SHIFT;
}

Test(commands, sync_puts_its_key_behind_all_that_was_logged)
{
	struct rig *r = ready_on_two();
	struct rig_command c = { .cmd = PML_DEV_CMD_SYNC, .arg = { 0x1234 } };
	uint64_t key = 0;

	rig_run(r, 1, 1);
	rig_write(r, 1, 1);
	cr_assert_eq(rig_command(r, 0, c), PML_DEV_ST_OK);
	cr_assert_eq(rig_take(r, 1, find_sync, &key), 1);
	cr_assert_eq(key, 0x1234);
	key = 0;
	cr_assert_eq(rig_take(r, 0, find_sync, &key), 0);
	cr_assert_eq(key, 0x1234);
	rig_free(r);
}

Test(commands, drain_of_one_vcpu_leaves_the_others)
{
	struct rig *r = ready_on_two();
	struct rig_command c = { .cmd = PML_DEV_CMD_DRAIN };

	rig_run(r, 0, 1);
	rig_run(r, 1, 1);
	rig_write(r, 0, 1);
	rig_write(r, 1, 2);
	cr_assert_eq(rig_command(r, 1, c), PML_DEV_ST_OK);
	cr_assert_eq(rig_take(r, 0, NULL, NULL), 0);
	cr_assert_eq(rig_take(r, 1, NULL, NULL), 1);
	rig_free(r);
}

Test(commands, the_epml_log_can_be_looked_into_without_one)
{
	struct rig *r = ready(epml, D);
	uint64_t *log = (uint64_t *)(r->bar + r->info->block_offset + r->info->log_offset);

	rig_write(r, 0, 1);
	cr_assert_eq(rig_vcpu(r, 0)->log_index, 2);
	cr_assert_eq(log[0], 1ull << 12 | PML_DEV_E_CONTEXT);
	cr_assert_eq(log[1], rig_gva(1) | PML_DEV_E_DIRTY);
	rig_drain(r);
	cr_assert_eq(rig_vcpu(r, 0)->log_index, 0);
	rig_free(r);
	r = ready(spml, D);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_vcpu(r, 0)->log_index, 0, "the hypervisor's log shows itself");
	rig_free(r);
}

Test(reset, init_forgets_everything_and_is_counted)
{
	struct rig *r = ready(epml, D);
	uint32_t resets = r->info->reset_count;

	rig_write(r, 0, 1);
	cr_assert_eq(rig_init(r, EVERY_MODE, 0, 0), PML_DEV_ST_OK);
	cr_assert_eq(r->info->reset_count, resets + 1);
	cr_assert_eq(r->info->enabled_by_guest, 0);
	cr_assert_eq(rig_take_all(r), 0);
	cr_assert_eq(rig_enable(r, 1, epml, D), PML_DEV_ST_OK);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 1);
	rig_free(r);
}

Test(reset, the_hosts_reset_is_told_to_the_guest)
{
	struct rig *r = ready(epml, D);
	uint32_t resets = r->info->reset_count;

	pml_model_reset(r->m);
	cr_assert_eq(r->info->reset_count, resets + 1);
	cr_assert_eq(rig_drain(r), PML_DEV_ST_NOT_READY);
	rig_free(r);
}

static void find_leaf(void *opaque, uint32_t context, uint64_t entry)
{
	(void)context;
	if ((entry & PML_DEV_E_TYPE) == PML_DEV_E_LEAF)
		*(uint64_t *)opaque = entry & PML_DEV_E_ADDRESS;
}

Test(thesis, an_entry_can_locate_its_page_table_leaf)
{
	struct rig *r = rig_new(NULL);
	uint64_t leaf = 0;

	rig_init(r, EVERY_MODE | PML_DEV_F_LEAF, 0, 0);
	rig_enable(r, 1, epml, D);
	write_as(r, 1, 600);
	rig_drain(r);
	cr_assert_eq(rig_take(r, 0, find_leaf, &leaf), 1);
	cr_assert_eq(leaf, 0x2000);
	rig_free(r);
}

Test(thesis, page_table_pages_can_be_left_out)
{
	struct rig *r = ready(spml, D);

	pml_model_walk(r->m, 0, 0x7000);
	cr_assert_eq(rig_count(r, 1, 0x7000, D), 1, "without the mode they are seen");
	rig_init(r, EVERY_MODE | PML_DEV_F_NO_WALK, 0, 0);
	rig_enable(r, 1, spml, D);
	pml_model_walk(r->m, 0, 0x7000);
	cr_assert_eq(rig_take_all(r), 0);
	rig_access(r, 0, RIG_KERNEL + 0x7000, 8, PML_ACCESS_WRITE);
	cr_assert_eq(rig_take_all(r), 1, "an ordinary store to such a page counts");
	rig_free(r);
}

Test(thesis, the_walker_has_no_virtual_address_to_log)
{
	struct rig *r = ready(epml, D);

	pml_model_walk(r->m, 0, 0x7000);
	cr_assert_eq(rig_take_all(r), 0);
	rig_free(r);
}
