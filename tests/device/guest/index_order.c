/* SPDX-License-Identifier: MIT */
/*
 * index_order.c - what an index covers is there: one vCPU stores, another one
 * looks at the log and the ring all the while.  Used by guest_device.c; see
 * device.h for the device.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>

#include "device.h"
#include "index_order.h"

struct looker {
	struct device d;	/* on its own vCPU */
	unsigned int at;	/* the vCPU that is looked at */
	bool in_ring;
	int stop;
	unsigned long early;	/* words that an index covered too soon */
};

static void *look(void *arg)
{
	struct looker *l = arg;
	struct pml_dev_vcpu *v = device_vcpu(&l->d, l->at);
	const uint64_t *words = (const uint64_t *)((char *)v + (l->in_ring ? l->d.info.ring_offset :
									     l->d.info.log_offset));
	uint64_t n, i, from = 0;

	device_pin(&l->d, l->d.vcpu);
	while (!__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
		n = l->in_ring ? __atomic_load_n(&v->head, __ATOMIC_ACQUIRE) :
				 __atomic_load_n(&v->log_index, __ATOMIC_ACQUIRE);
		for (i = from; i < n; i++)
			l->early += !__atomic_load_n(&words[i], __ATOMIC_RELAXED);
		from = n;
	}
	return NULL;
}

/* Every page of the region once; less than a ring, and of the log if that is looked at. */
static void store(struct device *d, char *region, unsigned int pages)
{
	unsigned int i;

	device_run(d, 1);
	for (i = 0; i < pages; i++)
		((volatile char *)region)[i * 4096ul]++;
	device_run(d, 0);
}

unsigned long index_too_early(struct device *d, char *region, unsigned int pages, bool in_ring)
{
	uint32_t log = in_ring ? 16 : 2048;
	struct looker l = { .at = d->vcpu, .in_ring = in_ring };
	struct pml_dev_vcpu *v = device_vcpu(d, d->vcpu);
	pthread_t thread;

	if (device_init(d, ALL_FEATURES, log, 0) != PML_DEV_ST_OK)
		return 1;
	memset((char *)v + d->info.log_offset, 0, log * sizeof(uint64_t));
	memset((char *)v + d->info.ring_offset, 0, d->info.ring_entries * sizeof(uint64_t));
	if (device_enable(d, 1, PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST, PML_DEV_DIRTY) !=
	    PML_DEV_ST_OK)
		return 1;
	l.d = *d;
	l.d.vcpu = d->vcpu ^ 1;
	if (pthread_create(&thread, NULL, look, &l))
		return 1;
	store(d, region, pages);
	__atomic_store_n(&l.stop, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	device_disable(d, 1);
	return l.early;
}
