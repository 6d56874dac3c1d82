/* SPDX-License-Identifier: MIT */
/*
 * model.h - the PML device as a state machine: what abi/pml_device.h says,
 * with no I/O, no threads of its own and no emulator.
 *
 * Who calls it: the front-ends (qemu-plugin/) and the tests.  A front-end
 * gives it the BAR's memory and a few operations, and tells it of every
 * access and every doorbell.
 *
 * Threads: pml_model_access() and pml_model_walk() are called for vCPU i by
 * one thread at a time, and for different vCPUs at once; everything else may
 * be called from any thread.  An access is reported AFTER the store was made,
 * on the thread that made it; that, with the barrier operation, is what makes
 * the memory ordering of section 7 of the contract true.
 */
#ifndef PML_MODEL_H
#define PML_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "done.h"

#define PML_MODEL_MAX_VCPUS	64

/* What an access did; PML_DEV_DIRTY and PML_DEV_REFERENCED events follow. */
#define PML_ACCESS_READ		1u
#define PML_ACCESS_WRITE	2u

/* What the front-end must report (see watch below). */
#define PML_WATCH_WRITES	1u
#define PML_WATCH_READS		2u

/* Where a virtual address lies in guest-physical memory. */
struct pml_where {
	uint64_t gpa;
	uint64_t leaf;	/* the page-table page that maps it; with F_LEAF only */
	bool lasting;	/* it stays so until pml_model_remapped() */
};

struct pml_model_ops {
	void *opaque;
	/*
	 * Translate for this vCPU, as of the access now reported: 1; 0 if it is
	 * not RAM; -1 if it cannot be told, which counts as entries lost.
	 */
	int (*translate)(void *opaque, unsigned int vcpu, uint64_t gva, struct pml_where *where);
	/* raise an MSI-X vector */
	void (*interrupt)(void *opaque, unsigned int vector);
	/* a log was set aside for pml_model_offload(); NULL: no such thread */
	void (*offload)(void *opaque, unsigned int vcpu);
	/* a full barrier on every thread that reports accesses; NULL: only one thread */
	void (*barrier)(void *opaque);
	uint64_t (*clock)(void *opaque);
	/*
	 * The set of accesses to be reported has changed.  Return true if it is
	 * in force now; false if pml_model_watching() will be called when it is.
	 * NULL: everything is always reported.
	 */
	bool (*watch)(void *opaque, unsigned int what);
};

struct pml_model_config {
	unsigned int vcpus;		/* 1..PML_MODEL_MAX_VCPUS */
	unsigned int vectors;		/* 0: no interrupts */
	unsigned int contexts;		/* 0: 1023 */
	uint32_t log_max;		/* entries, a power of two; 0: 4096 */
	uint32_t ring_max;		/* words, a power of two; 0: 65536 */
	uint32_t list_max;		/* items; 0: 512 */
	uint32_t doorbell;		/* PML_DEV_DOORBELL_*; 0: HINT */
	uint32_t doorbell_offset;
	uint32_t features_off;		/* features this front-end cannot give */
	uint64_t frames;		/* of guest RAM; 0: 4 GiB of them */
	size_t max_memory;		/* cap for page states; 0: 256 MiB */
	uint32_t host_log;		/* the hypervisor's log; 0: 512 entries */
	bool host_offload;		/* its full logs go to pml_model_offload() */
	unsigned int faults;		/* PML_FAULT_*, in builds with PML_MODEL_FAULTS only */
};

/* Ways to break the device on purpose: the tests' negative controls. */
#define PML_FAULT_INDEX_FIRST	1u	/* head and index are published before entries */
#define PML_FAULT_SKIP_DRAIN	2u	/* a log is emptied but not moved to the ring */
#define PML_FAULT_DROP_REARM	4u	/* REARM succeeds and does nothing */
#define PML_FAULT_AS_PUBLISHED	8u	/* full: interrupt, and the page is marked, not logged */
#define PML_FAULT_STALE_DONE	16u	/* re-arming leaves the vCPUs' short cuts as they are */

struct pml_model;

/* The size of BAR that a configuration needs: a power of two; 0 if it is not valid. */
size_t pml_model_bar_size(const struct pml_model_config *config);

/* bar: pml_model_bar_size() bytes of zeros that outlive the model.  0 or -errno. */
int pml_model_create(struct pml_model **out, const struct pml_model_config *config,
		     const struct pml_model_ops *ops, void *bar);
void pml_model_destroy(struct pml_model *m);

/*
 * What the front-end looks at before it reports an access: vCPU i's is element
 * i (done.h).
 */
struct pml_done *pml_model_done(struct pml_model *m);

/* vCPU i made an access to [gva, gva + size). */
void pml_model_access(struct pml_model *m, unsigned int vcpu, uint64_t gva, size_t size,
		      unsigned int access);
/* The same, by the shorter way if there is one; done: pml_model_done(). */
static inline void pml_model_report(struct pml_model *m, const struct pml_done *done,
				    unsigned int vcpu, uint64_t gva, size_t size,
				    unsigned int access)
{
	const struct pml_done *d = &done[vcpu];

	if (!pml_done(d, access & PML_ACCESS_WRITE ? d->write : d->read, gva, size))
		pml_model_access(m, vcpu, gva, size, access);
}
/* What vCPU i was told of translations may not be so any more; by its own thread. */
void pml_model_remapped(struct pml_model *m, unsigned int vcpu);
/* The page walker of vCPU i set dirty or accessed bits in the page-table page at gpa. */
void pml_model_walk(struct pml_model *m, unsigned int vcpu, uint64_t gpa);

/* vCPU i rang the doorbell. */
void pml_model_doorbell(struct pml_model *m, unsigned int vcpu);
/* What watch() asked for is in force. */
void pml_model_watching(struct pml_model *m);
/* Moves what was set aside for vCPU i; call it after offload(). */
void pml_model_offload(struct pml_model *m, unsigned int vcpu);
/* The machine was reset or restored: contexts are gone, the guest is told. */
void pml_model_reset(struct pml_model *m);

/* The bytes of page states now, and the cap. */
void pml_model_memory(const struct pml_model *m, size_t *used, size_t *cap);

/*
 * The hypervisor's own use: all frames of the machine, independent of what the
 * guest does with the device.
 */
struct pml_host_summary {
	uint64_t frames;	/* of guest RAM */
	uint64_t dirty;		/* frames written since clean or re-arming collect */
	uint64_t referenced;
	uint64_t vm_exits;	/* full logs drained by a vCPU */
	uint64_t offloaded;	/* full logs drained off the vCPU */
	uint64_t entries;	/* frames logged since enable */
	uint64_t outside;	/* accesses outside guest RAM */
	unsigned int events;	/* 0: not enabled */
	unsigned int contexts;	/* the guest's, enabled now */
	bool lost;		/* memory ran out: everything is dirty */
};

int pml_model_host_enable(struct pml_model *m, unsigned int events);
int pml_model_host_disable(struct pml_model *m);
int pml_model_host_clean(struct pml_model *m);
/*
 * dirty, referenced: bitmaps of (frames + 63) / 64 words, or NULL; counts: how
 * often each frame was logged dirty since enable, frames numbers, or NULL.
 * rearm: begin anew in the same step.
 */
int pml_model_host_collect(struct pml_model *m, uint64_t *dirty, uint64_t *referenced,
			   uint16_t *counts, bool rearm, struct pml_host_summary *summary);

#endif /* PML_MODEL_H */
