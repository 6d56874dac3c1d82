/* SPDX-License-Identifier: MIT */
/*
 * device.h - the PML device driven from a guest's user space, for tests and
 * measurements without a kernel module: its BAR is mapped through sysfs, and
 * the hint instruction is heard in user mode (pml-qemu --pml user=on).  The
 * calling thread stays on the vCPU that it commands.
 */
#ifndef GUEST_DEVICE_H
#define GUEST_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pml_device.h"

#define ALL_FEATURES (PML_DEV_F_SPML | PML_DEV_F_EPML | PML_DEV_F_PRL | PML_DEV_F_TRIGGER_EPT | \
		      PML_DEV_F_TRIGGER_GUEST)

struct device {
	char *bar;
	struct pml_dev_info info;	/* a copy, checked */
	unsigned int vcpu;		/* this thread's */
};

typedef void (*device_entry_fn)(void *opaque, uint32_t context, uint64_t entry);

/* Finds and maps it; false with words on standard output if it is not there. */
bool device_open(struct device *d);
/* This thread runs on that vCPU from now on. */
void device_pin(struct device *d, unsigned int vcpu);
struct pml_dev_vcpu *device_vcpu(struct device *d, unsigned int vcpu);
uint64_t *device_list(struct device *d);
uint32_t device_flags(struct device *d, uint32_t context);

struct device_command {
	uint32_t cmd, flags, context, events;
	uint64_t arg[4];
};
/* Returns the status, or ~0 if the device does not answer. */
uint32_t device_command(struct device *d, struct device_command c);
uint32_t device_init(struct device *d, uint32_t features, uint64_t log, uint64_t ring);
uint32_t device_enable(struct device *d, uint32_t context, uint32_t flags, uint32_t events);
uint32_t device_disable(struct device *d, uint32_t context);
uint32_t device_drain(struct device *d);
/* Re-arms all and drains, in one step. */
uint32_t device_rearm(struct device *d, uint32_t events);
/* Which context runs on this vCPU. */
void device_run(struct device *d, uint32_t context);
/* Takes a vCPU's ring; returns its PAGE entries, or -1 if it is malformed. */
long device_take(struct device *d, unsigned int vcpu, device_entry_fn fn, void *opaque);

#endif /* GUEST_DEVICE_H */
