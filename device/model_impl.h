/* SPDX-License-Identifier: MIT */
/*
 * model_impl.h - what the parts of the model share: model.c (accesses and
 * life), command.c (the guest's commands), vlog.c (logs and rings), host.c
 * (the hypervisor's own use).  Nobody else includes it.
 *
 * Locks, taken in this order: model.lock (commands, one at a time), every
 * vcpu.lock in order of number (logs, ring, marking, what is valid in done),
 * model.host_lock.  The common access, to a page that is logged already, takes
 * none.
 */
#ifndef PML_MODEL_IMPL_H
#define PML_MODEL_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "model.h"
#include "pml_device.h"
#include "states.h"

#define OWNERS_MAX 8
#define PML_LOG_DEFAULT	512u
#define PML_LOG_MIN	4u	/* a CONTEXT record, a page, its leaf */

struct context {
	uint32_t id;
	uint32_t events;
	uint32_t mode;		/* PML_DEV_MODE_SPML or _EPML */
	uint32_t trigger;	/* PML_DEV_TRIGGER_EPT or _GUEST */
	struct pml_states *states;	/* with TRIGGER_GUEST */
};

/* One log of one vCPU: two buffers, of which one is written. */
struct log {
	uint64_t *buffer[2];
	uint32_t n[2];
	uint32_t size;
	unsigned int active;
	bool aside;		/* the other buffer is full and waits */
	uint64_t *shared[2];	/* EPML: the guest's sight of the buffers */
	uint32_t owner;		/* the context of the active buffer's last record */
	struct owners {		/* who is in a buffer, should it be lost */
		uint32_t id[OWNERS_MAX];
		uint32_t n;	/* above OWNERS_MAX: anybody */
	} owners[2];
};

struct vcpu {
	_Alignas(64) atomic_uint busy;	/* odd within an access */
	unsigned int number;
	struct pml_done *done;
	struct pml_dev_vcpu *page;	/* shared with the guest */
	uint64_t *list;
	uint64_t *ring;
	pthread_mutex_t lock;
	struct log spml;
	struct log epml;
	struct log host;
	uint64_t head;
	uint64_t seq;
	bool pending;			/* a command waits for watch() */
	uint32_t pending_seq;
	struct pml_dev_stats stats;
};

struct pml_model {
	struct pml_model_config config;
	struct pml_model_ops ops;
	struct pml_dev_info *info;
	uint32_t *flags_page;		/* shared: flags[context] */
	pthread_mutex_t lock;
	struct pml_budget budget;
	uint32_t features;		/* in use */
	uint32_t log_entries;
	uint32_t ring_entries;
	bool ready;			/* INIT was done */
	uint32_t reset_count;
	uint32_t enabled;
	uint32_t watched;		/* what watch() was last asked for */
	bool watch_pending;		/* and it is not in force yet */
	/* Accesses look at these: */
	atomic_uint wide;		/* not only contexts: ept or host is in use */
	_Atomic(struct pml_states *) ept;
	uint32_t ept_users;
	_Atomic(struct context *) *context;	/* [contexts + 1] */
	_Atomic uint32_t *flags;		/* [contexts + 1] */
	/* The hypervisor's own use: */
	pthread_mutex_t host_lock;
	_Atomic(struct pml_states *) host;
	struct pml_budget host_budget;
	atomic_uint host_events;
	atomic_bool host_lost;
	_Atomic uint64_t host_entries, host_exits, host_offloaded, host_outside;
	struct pml_done *done;		/* [vcpus] */
	uint64_t *host_dirty;		/* under host_lock */
	uint64_t *host_referenced;
	uint16_t *host_counts;
	struct vcpu vcpu[];
};

#ifdef PML_MODEL_FAULTS
#define FAULT(m, f) ((m)->config.faults & (f))
#else
#define FAULT(m, f) ((void)(m), 0)
#endif

#define WIDE_EPT	1u
#define WIDE_HOST	2u

/* model.c */
void lock_all(struct pml_model *m);
void unlock_all(struct pml_model *m);
/*
 * Returns when every access that was under way has ended; no vCPU lock held.
 * by_vcpu: called for a vCPU's own command, so that vCPU has none under way.
 */
void wait_for_accesses(struct pml_model *m, bool by_vcpu);
/*
 * With all vCPUs locked: what they found done must be looked at again.  Whoever
 * calls it also calls wait_for_accesses() before the next may.  Returns whether
 * a vCPU other than this one (NULL: any) has made an access since the last time:
 * only then is there something to wait for.
 */
bool forget_done(struct pml_model *m, const struct vcpu *but);
/* Asks for what is needed now; true if it is in force. */
bool update_watch(struct pml_model *m);
void end_contexts(struct pml_model *m);
void publish_info(struct pml_model *m);
uint32_t features_offered(const struct pml_model *m);
uint32_t log_default(const struct pml_model_config *c);

/* vlog.c: all with the vCPU's lock held */
void log_append(struct pml_model *m, struct vcpu *v, struct log *log, const struct context *c,
		uint64_t entry, uint64_t leaf);
/* Everything in the vCPU's logs goes to its ring; 0, or -ENOSPC and nothing is lost. */
int logs_drain(struct pml_model *m, struct vcpu *v);
int ring_sync(struct pml_model *m, struct vcpu *v, uint64_t key);
void logs_offload(struct pml_model *m, struct vcpu *v);
void logs_reset(struct pml_model *m, struct vcpu *v);
void context_lost(struct pml_model *m, uint32_t id, uint32_t events);
void stats_publish(struct vcpu *v);

/* host.c */
/* False: what was to be logged is lost. */
bool host_access(struct pml_model *m, struct vcpu *v, uint64_t gpa, unsigned int events);
void host_offload(struct pml_model *m, struct vcpu *v);
void host_free(struct pml_model *m);

/* command.c */
void command_finish(struct vcpu *v, uint32_t seq);

#endif /* PML_MODEL_IMPL_H */
