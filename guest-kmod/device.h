/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The PML device, as bound by device.c.  Used by log.c (commands, rings) and
 * sched.c (which memory runs on a processor); main.c tells what there is.
 */
#ifndef PML_DEVICE_KMOD_H
#define PML_DEVICE_KMOD_H

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include "pml_device.h"
#include "pml_uapi.h"

struct pci_dev;

/* One vCPU's part: pointers into the device's memory, and what we keep of it. */
struct pml_device_cpu {
	struct pml_dev_vcpu *block;
	const u64 *ring;
	u64 tail;		/* under pml_take_lock */
	u64 batch;		/* sequence number of the last batch, likewise */
	u32 seq;		/* of the last command; under pml_device_lock */
	u32 run;		/* the context that the device was told; by its own CPU */
	u64 switches;		/* how often it was told; likewise */
};

struct pml_device {
	struct pci_dev *pci;
	void *bar;
	u64 bar_size;
	struct pml_dev_info info; /* a copy, checked; never read again */
	void __iomem *doorbell;	/* NULL: the hint instruction */
	u32 features;		/* in use */
	u32 resets;		/* the device's count after our INIT */
	struct pml_device_cpu *cpu;
	bool stale;		/* it told nonsense, or lost its state: begin anew */
	bool dead;		/* it has stopped to answer */
	atomic64_t commands;
	atomic64_t interrupts;
	atomic64_t foreign;
	atomic64_t begun;	/* times that it was begun anew */
};

struct pml_command {
	u32 code;
	u32 flags;
	u32 context;
	u32 events;
	u64 arg[4];
	u64 result[2];		/* out */
};

/*
 * The device that is bound, or NULL.  Under pml_device_lock, which also serialises
 * commands; device.c changes it with pml_take_lock held as well, so that either
 * lock keeps it.
 */
extern struct pml_device *pml_device;
extern struct mutex pml_device_lock;
/* Inside it: whoever reads rings. */
extern struct mutex pml_take_lock;

/* Rings the doorbell and waits.  PML_DEV_ST_*, or -EIO: it does not answer. */
int pml_device_command(struct pml_device *d, struct pml_command *c);
/* INIT: all contexts end.  0 or -errno. */
int pml_device_begin(struct pml_device *d);
/* Has it lost its state behind our back? */
bool pml_device_is_stale(const struct pml_device *d);

void pml_device_info(struct pml_uapi_info *info);
void pml_device_stats(struct pml_uapi_stats *stats);
/* PML_MODE_* that it makes possible, PML_EV_* that it can tell. */
u32 pml_device_modes(void);

int pml_device_setup(void);
void pml_device_teardown(void);

#endif
