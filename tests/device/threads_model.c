/* SPDX-License-Identifier: MIT */
/*
 * threads_model.c - vCPUs as threads.  Each store changes its page's counter
 * first and is reported after, as a front-end does.  Truths: a collector that
 * copies the pages of each collect, while two vCPUs store to the same pages,
 * has all of memory when they stop (0 missed); with the world stopped between
 * epochs, each page comes exactly once, though both wrote it (0 duplicate).
 *
 * PML_DEVICE_ROUNDS sets how many collects.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rig.h"

#define VCPUS 3u	/* two store, the last one commands */
#define PAGES 256u
#define BURST 2000u

static struct {
	struct rig *r;
	_Atomic uint64_t memory[PAGES][VCPUS - 1];
	atomic_int stop;
	pthread_barrier_t gate;
	unsigned char seen[PAGES];
} t;

static void barrier(void *opaque)
{
	(void)opaque;
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		abort();
}

static void store(unsigned int vcpu, unsigned int page)
{
	/* no locked instruction: that would order the store before what follows */
	uint64_t was = atomic_load_explicit(&t.memory[page][vcpu], memory_order_relaxed);

	atomic_store_explicit(&t.memory[page][vcpu], was + 1, memory_order_relaxed);
	rig_write(t.r, vcpu, page);
}

static void mark(void *opaque, uint32_t context, uint64_t entry)
{
	(void)opaque;
	(void)context;
	if ((entry & PML_DEV_E_TYPE) == PML_DEV_E_PAGE)
		t.seen[(entry - RIG_BASE) >> 12]++;
}

static void collect(void)
{
	struct rig_command c = { .cmd = PML_DEV_CMD_REARM,
				 .flags = PML_DEV_SCOPE_ALL | PML_DEV_WITH_DRAIN,
				 .events = PML_DEV_DIRTY };
	uint32_t status;
	unsigned int i;

	memset(t.seen, 0, sizeof(t.seen));
	do {
		status = rig_command(t.r, VCPUS - 1, c);
		for (i = 0; i < VCPUS; i++)
			if (rig_take(t.r, i, mark, NULL) < 0)
				abort();
	} while (status == PML_DEV_ST_RING_FULL);
}

static void begin(pthread_t thread[VCPUS - 1], void *(*vcpu)(void *))
{
	unsigned int i;

	atomic_store(&t.stop, 0);
	pthread_barrier_init(&t.gate, NULL, VCPUS);
	for (i = 0; i < VCPUS - 1; i++)
		if (pthread_create(&thread[i], NULL, vcpu, (void *)(uintptr_t)i))
			abort();
}

static void end(pthread_t thread[VCPUS - 1])
{
	unsigned int i;

	for (i = 0; i < VCPUS - 1; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&t.gate);
}

static void *bursts(void *arg)
{
	unsigned int vcpu = (unsigned int)(uintptr_t)arg, i;
	uint64_t x = vcpu + 88172645463325252ull;

	while (!atomic_load(&t.stop)) {
		pthread_barrier_wait(&t.gate);
		for (i = 0; i < BURST; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			store(vcpu, (unsigned int)(x >> 20) % PAGES);
		}
		pthread_barrier_wait(&t.gate);
	}
	return NULL;
}

static uint64_t content(unsigned int page)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < VCPUS - 1; i++)
		sum += atomic_load(&t.memory[page][i]);
	return sum;
}

static void copy(uint64_t *to)
{
	unsigned int i;

	collect();
	for (i = 0; i < PAGES; i++)
		if (t.seen[i])
			to[i] = content(i);
}

/* Running world: 0 missed. */
static unsigned int running(long rounds)
{
	static uint64_t copied[PAGES];
	unsigned int missed = 0, i;
	pthread_t thread[VCPUS - 1];

	begin(thread, bursts);
	while (rounds--) {
		pthread_barrier_wait(&t.gate);
		for (i = 0; i < 10; i++)
			copy(copied);
		atomic_store(&t.stop, !rounds);
		pthread_barrier_wait(&t.gate);
		copy(copied);
		for (i = 0; i < PAGES; i++)
			missed += copied[i] != content(i);
	}
	end(thread);
	return missed;
}

static void *all_pages(void *arg)
{
	unsigned int vcpu = (unsigned int)(uintptr_t)arg, i;

	while (!atomic_load(&t.stop)) {
		pthread_barrier_wait(&t.gate);
		for (i = 0; i < PAGES; i++)
			store(vcpu, i);
		pthread_barrier_wait(&t.gate);
	}
	return NULL;
}

/* Stopped world: exactly once. */
static unsigned int stopped(long rounds)
{
	pthread_t thread[VCPUS - 1];
	unsigned int wrong = 0, i;

	begin(thread, all_pages);
	collect();
	while (rounds--) {
		pthread_barrier_wait(&t.gate);
		atomic_store(&t.stop, !rounds);
		pthread_barrier_wait(&t.gate);
		collect();
		for (i = 0; i < PAGES; i++)
			wrong += t.seen[i] != 1;
	}
	end(thread);
	return wrong;
}

int main(void)
{
	struct pml_model_config config = { .vcpus = VCPUS };
	const char *env = getenv("PML_DEVICE_ROUNDS");
	long rounds = env ? strtol(env, NULL, 0) : 3000;
	unsigned int missed, wrong;

	printf("TAP version 13\n");
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0)) {
		printf("1..0 # SKIP this kernel has no membarrier\n");
		return 77;
	}
	printf("1..2\n");
	t.r = rig_new_with_barrier(&config, barrier);
	rig_init(t.r, EVERY_MODE, 0, 0);
	rig_enable(t.r, 1, PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST, PML_DEV_DIRTY);
	rig_run(t.r, 0, 1);
	rig_run(t.r, 1, 1);
	missed = running(rounds);
	printf("%sok 1 - %u missed in %ld rounds of collects under two writers\n", missed ? "not " : "", missed,
	       rounds);
	wrong = stopped(rounds);
	printf("%sok 2 - %u pages not exactly once in %ld epochs written by two\n",
	       wrong ? "not " : "", wrong, rounds);
	rig_free(t.r);
	return missed || wrong;
}
