/* SPDX-License-Identifier: MIT */
/*
 * rig.h - a machine in miniature for the model's tests: vCPUs, a mapping of
 * virtual pages to frames, and a guest that speaks only abi/pml_device.h.
 */
#ifndef RIG_H
#define RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model.h"
#include "pml_device.h"

#define RIG_PAGES	4096u
#define RIG_BASE	0x7f0000000000ull	/* virtual address of page 0 */
#define RIG_KERNEL	0xffff888000000000ull	/* the direct map: frame f is here + f */
#define RIG_MAX_VCPUS	4
#define RIG_NOT_RAM	(~0ull)
#define RIG_UNKNOWN	(~1ull)	/* the front-end cannot tell */

#define EVERY_MODE (PML_DEV_F_SPML | PML_DEV_F_EPML | PML_DEV_F_PRL | PML_DEV_F_TRIGGER_EPT | \
		    PML_DEV_F_TRIGGER_GUEST)

struct rig {
	struct pml_model *m;
	struct pml_done *done;
	struct pml_model_config config;
	struct pml_dev_info *info;
	char *bar;
	size_t bar_size;
	uint64_t frame[RIG_PAGES];	/* where a virtual page lies, or RIG_...; rig_map() sets it */
	unsigned int interrupts[RIG_MAX_VCPUS];
	unsigned int offloads;
	unsigned int watch_calls;
	unsigned int watched;
	bool watch_later;
	uint64_t now;
};

/* What a ring or log held: pages of a context, with their events. */
typedef void (*rig_entry_fn)(void *opaque, uint32_t context, uint64_t entry);

/* config: NULL or the caller's, of which zeros take the defaults; vcpus 0: 1. */
struct rig *rig_new(const struct pml_model_config *config);
/* The same, with vCPUs that are threads. */
struct rig *rig_new_with_barrier(const struct pml_model_config *config, void (*barrier)(void *));
void rig_free(struct rig *r);

struct pml_dev_vcpu *rig_vcpu(struct rig *r, unsigned int vcpu);
uint64_t *rig_list(struct rig *r, unsigned int vcpu);
uint32_t rig_flags(struct rig *r, uint32_t context);

/* One command by one vCPU; returns its status. */
struct rig_command {
	uint32_t cmd, flags, context, events;
	uint64_t arg[4];
};
uint32_t rig_command(struct rig *r, unsigned int vcpu, struct rig_command c);
uint32_t rig_init(struct rig *r, uint32_t features, uint64_t log, uint64_t ring);
uint32_t rig_enable(struct rig *r, uint32_t context, uint32_t flags, uint32_t events);
uint32_t rig_disable(struct rig *r, uint32_t context);
uint32_t rig_rearm_all(struct rig *r, uint32_t events);
uint32_t rig_drain(struct rig *r);
void rig_run(struct rig *r, unsigned int vcpu, uint32_t context);

uint64_t rig_gva(uint64_t page);
uint64_t rig_gpa(const struct rig *r, uint64_t page);
/* Page lies there from now on; every vCPU knows it at once. */
void rig_map(struct rig *r, uint64_t page, uint64_t frame);
/* An access as a front-end reports it. */
void rig_access(struct rig *r, unsigned int vcpu, uint64_t gva, size_t size, unsigned int access);
void rig_write(struct rig *r, unsigned int vcpu, uint64_t page);
void rig_read(struct rig *r, unsigned int vcpu, uint64_t page);

/*
 * Takes all words of a ring, checking each batch's form, sequence and clock;
 * returns the number of PAGE entries, or -1 if the ring is not as the contract
 * says.
 */
int rig_take(struct rig *r, unsigned int vcpu, rig_entry_fn fn, void *opaque);
/* Drains everything, takes all rings, and tells how often one entry was there. */
int rig_count(struct rig *r, uint32_t context, uint64_t address, uint32_t events);
/* Drains and takes everything; returns the number of PAGE entries. */
int rig_take_all(struct rig *r);

#endif /* RIG_H */
