/* SPDX-License-Identifier: MIT */
/*
 * test_host.c - the hypervisor's own use of the log beside the guest's: all
 * four flag states, each side seeing exactly its own.
 */
#include <errno.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "rig.h"

#define D PML_DEV_DIRTY
#define R PML_DEV_REFERENCED

static const uint32_t modes[] = {
	PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST,
	PML_DEV_MODE_SPML | PML_DEV_TRIGGER_GUEST,
	PML_DEV_MODE_EPML | PML_DEV_TRIGGER_EPT,
	PML_DEV_MODE_SPML | PML_DEV_TRIGGER_EPT,
};

static struct pml_host_summary look(struct rig *r, bool rearm)
{
	struct pml_host_summary s;

	cr_assert_eq(pml_model_host_collect(r->m, NULL, NULL, NULL, rearm, &s), 0);
	return s;
}

Test(host, the_four_flag_states)
{
	struct pml_host_summary s;
	unsigned int i, by_guest, by_hyp;
	struct rig *r;

	for (i = 0; i < 16; i++) {
		by_guest = i & 1;
		by_hyp = i >> 1 & 1;
		r = rig_new(NULL);
		rig_init(r, EVERY_MODE, 0, 0);
		if (by_guest)
			cr_assert_eq(rig_enable(r, 1, modes[i / 4], D), PML_DEV_ST_OK);
		if (by_hyp)
			cr_assert_eq(pml_model_host_enable(r->m, D), 0);
		cr_assert_eq(r->watched, by_guest || by_hyp ? PML_WATCH_WRITES : 0);
		rig_run(r, 0, by_guest);
		rig_write(r, 0, 1);
		rig_write(r, 0, 2);
		rig_run(r, 0, 0);
		rig_write(r, 0, 3); /* another process: the host's business only */
		cr_assert_eq(rig_take_all(r), by_guest ? 2 : 0, "state %u", i);
		if (by_hyp) {
			s = look(r, false);
			cr_assert_eq(s.dirty, 3, "state %u", i);
			cr_assert_eq(s.events, D);
			cr_assert_eq(s.contexts, by_guest);
		} else {
			cr_assert_eq(pml_model_host_collect(r->m, NULL, NULL, NULL, false, &s),
				     -ENOENT);
		}
		rig_free(r);
	}
}

Test(host, neither_side_re_arms_the_other)
{
	struct rig *r = rig_new(NULL);

	rig_init(r, EVERY_MODE, 0, 0);
	rig_enable(r, 1, modes[0], D);
	pml_model_host_enable(r->m, D);
	rig_run(r, 0, 1);
	rig_write(r, 0, 1);
	rig_take_all(r);
	rig_rearm_all(r, D);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 1);
	cr_assert_eq(look(r, true).entries, 1);
	rig_write(r, 0, 1);
	cr_assert_eq(rig_take_all(r), 0, "the host's clean re-armed the guest");
	cr_assert_eq(look(r, false).entries, 2);
	rig_free(r);
}

Test(host, collect_tells_which_frames_and_how_often)
{
	struct pml_model_config config = { .frames = 3 * RIG_PAGES, .host_log = 8 };
	struct rig *r = rig_new(&config);
	uint64_t *dirty = calloc(config.frames / 64, 8);
	uint16_t *counts = calloc(config.frames, 2);
	struct pml_host_summary s;
	int i;

	pml_model_host_enable(r->m, D | R);
	for (i = 0; i < 5; i++) {
		rig_write(r, 0, 100);
		rig_write(r, 0, 200 + (uint64_t)i);
		rig_read(r, 0, 300);
		cr_assert_eq(pml_model_host_collect(r->m, dirty, NULL, counts, true, &s), 0);
		cr_assert_eq(s.dirty, 2);
		cr_assert_eq(s.referenced, 3);
		cr_assert(dirty[r->frame[100] / 64] >> (r->frame[100] % 64) & 1);
	}
	cr_assert_eq(counts[r->frame[100]], 5);
	cr_assert_eq(counts[r->frame[201]], 1);
	cr_assert_eq(counts[r->frame[300]], 0);
	free(dirty);
	free(counts);
	rig_free(r);
}

Test(host, full_logs_are_exits_or_go_to_a_thread)
{
	struct pml_model_config config = { .host_log = 8 };
	struct rig *r = rig_new(&config);
	uint64_t i;

	pml_model_host_enable(r->m, D);
	for (i = 0; i < 80; i++)
		rig_write(r, 0, i);
	cr_assert_eq(look(r, false).vm_exits, 10);
	rig_free(r);
	config.host_offload = true;
	r = rig_new(&config);
	pml_model_host_enable(r->m, D);
	for (i = 0; i < 80; i++) {
		rig_write(r, 0, i);
		if (i % 8 == 7)
			pml_model_offload(r->m, 0);
	}
	cr_assert_eq(look(r, false).vm_exits, 0);
	cr_assert_eq(look(r, false).offloaded, 10);
	cr_assert_eq(look(r, false).dirty, 80);
	rig_free(r);
}

Test(host, memory_that_runs_out_is_reported)
{
	struct pml_model_config config = { .max_memory = 100 << 10 };
	struct rig *r = rig_new(&config);

	cr_assert_eq(pml_model_host_enable(r->m, D), 0);
	rig_write(r, 0, 1);
	cr_assert(look(r, false).lost);
	rig_free(r);
}

Test(host, what_lies_outside_ram_is_counted)
{
	struct pml_model_config config = { .frames = 16 };
	struct rig *r = rig_new(&config);

	pml_model_host_enable(r->m, D);
	rig_write(r, 0, 1);
	cr_assert_eq(look(r, false).dirty, 0);
	cr_assert_eq(look(r, false).outside, 1);
	rig_free(r);
}

Test(host, enable_and_disable_in_the_wrong_order_are_refused)
{
	struct rig *r = rig_new(NULL);

	cr_assert_eq(pml_model_host_disable(r->m), -ENOENT);
	cr_assert_eq(pml_model_host_clean(r->m), -ENOENT);
	cr_assert_eq(pml_model_host_enable(r->m, 0), -EINVAL);
	cr_assert_eq(pml_model_host_enable(r->m, D), 0);
	cr_assert_eq(pml_model_host_enable(r->m, D), -EEXIST);
	cr_assert_eq(pml_model_host_disable(r->m), 0);
	cr_assert_eq(r->watched, 0);
	rig_free(r);
}
