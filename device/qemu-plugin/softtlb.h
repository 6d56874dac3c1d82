/* SPDX-License-Identifier: MIT */
/*
 * softtlb.h - where a vCPU's virtual pages lie, remembered by plugin.c because
 * asking QEMU at each access costs too much.  As a processor's TLB, it may keep
 * a translation until the guest flushes it; softtlb_flushes() knows the
 * instructions that do.
 */
#ifndef PML_SOFTTLB_H
#define PML_SOFTTLB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SOFTTLB_SLOTS 512u

struct softtlb {
	struct {
		uint64_t tag;	/* virtual page + 1; 0: empty */
		uint64_t frame;
	} slot[SOFTTLB_SLOTS];
};

static inline bool softtlb_find(const struct softtlb *t, uint64_t gva, uint64_t *gpa)
{
	uint64_t page = gva >> 12, i = page % SOFTTLB_SLOTS;

	if (t->slot[i].tag != page + 1)
		return false;
	*gpa = t->slot[i].frame << 12 | (gva & 4095);
	return true;
}

static inline void softtlb_keep(struct softtlb *t, uint64_t gva, uint64_t gpa)
{
	uint64_t page = gva >> 12, i = page % SOFTTLB_SLOTS;

	t->slot[i].tag = page + 1;
	t->slot[i].frame = gpa >> 12;
}

static inline void softtlb_flush(struct softtlb *t)
{
	memset(t, 0, sizeof(*t));
}

/* May this instruction change translations?  Prefixes are passed over. */
static inline bool softtlb_flushes(const unsigned char *insn, size_t size)
{
	size_t i = 0;

	while (i < size && (insn[i] == 0x66 || insn[i] == 0x67 || insn[i] == 0xf2 ||
			    insn[i] == 0xf3 || (insn[i] & 0xf0) == 0x40))
		i++;
	if (i + 2 >= size || insn[i] != 0x0f)
		return i + 1 < size && insn[i] == 0x0f && insn[i + 1] == 0xaa; /* rsm */
	switch (insn[i + 1]) {
	case 0x22: /* mov to a control register */
		return true;
	case 0x01: /* invlpg; vmrun, invlpga and their kin */
		return insn[i + 2] >= 0xc0 ? insn[i + 2] >= 0xd8 && insn[i + 2] <= 0xdf :
					     (insn[i + 2] >> 3 & 7) == 7;
	case 0x38: /* invpcid */
		return insn[i + 2] == 0x82;
	default:
		return false;
	}
}

#endif /* PML_SOFTTLB_H */
