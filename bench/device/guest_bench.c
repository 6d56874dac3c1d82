/* SPDX-License-Identifier: MIT */
/*
 * guest_bench.c - what the device costs a guest: a program of stores and loads
 * with logging off and on, and single commands.  Run by bench/device/run in
 * guests with and without the device; prints "name value" lines, values in
 * nanoseconds of the guest's clock.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

#define CHUNKS	 16u
#define CHUNK	 (1u << 20)
#define CHUNK_WORDS (CHUNK / 8)
#define PASSES	 40
#define COMMANDS 100
#define SERIES	 400
#define SINGLES	 2000

static uint64_t *memory;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * One load and one store for each word of the memory.  Each MiB is timed alone
 * and counts with its best pass: so short a time often passes undisturbed even
 * where the host is busy, however long the whole takes.
 */
static void stores(const char *name)
{
	uint64_t begin, took, best[CHUNKS], sum = 0;
	volatile uint64_t *m = memory;
	size_t chunk, i;
	int pass;

	memset(best, 0xff, sizeof(best));
	for (pass = 0; pass < PASSES; pass++) {
		for (chunk = 0; chunk < CHUNKS; chunk++) {
			begin = now();
			for (i = chunk * CHUNK_WORDS; i < (chunk + 1) * CHUNK_WORDS; i++)
				m[i] += i;
			took = now() - begin;
			best[chunk] = took < best[chunk] ? took : best[chunk];
		}
	}
	for (chunk = 0; chunk < CHUNKS; chunk++)
		sum += best[chunk];
	printf("%s %llu\n", name, (unsigned long long)sum);
}

static void measure(struct device *d, const char *name, uint32_t mode, uint32_t events)
{
	device_init(d, ALL_FEATURES, 0, 0);
	if (device_enable(d, 1, mode, events) != PML_DEV_ST_OK)
		return;
	device_run(d, 1);
	stores(name);
	device_run(d, 0);
	device_disable(d, 1);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The best of many short series: see stores(). */
static void command(struct device *d, const char *name, struct device_command c)
{
	uint64_t begin, took, best = UINT64_MAX;
	int series, i;

	for (series = 0; series < SERIES; series++) {
		begin = now();
		for (i = 0; i < COMMANDS; i++)
			device_command(d, c);
		took = now() - begin;
		best = took < best ? took : best;
	}
	printf("%s %llu\n", name, (unsigned long long)best / COMMANDS);
}

/*
 * Of single commands, with pauses in which the other vCPU stores, those that
 * found that it had: only then is there a vCPU to wait for.
 */
static void command_while_busy(struct device *d, const char *name, struct device_command c)
{
	static uint64_t took[SINGLES];
	uint64_t begin;
	size_t n = 0;
	int i;

	for (i = 0; i < SINGLES; i++) {
		usleep(200);
		begin = now();
		device_command(d, c);
		took[n] = now() - begin;
		n += device_vcpu(d, d->vcpu)->result[0] != 0;
	}
	qsort(took, n, sizeof(*took), by_size);
	printf("%s %llu\n", name, n ? (unsigned long long)took[n / 2] : 0);
}

struct other {
	struct device d;
	int stop;
};

/* Another vCPU, whose process is tracked and stores all the time. */
static void *busy(void *arg)
{
	struct other *o = arg;
	size_t i = 0;

	device_pin(&o->d, 1);
	device_run(&o->d, 1);
	while (!__atomic_load_n(&o->stop, __ATOMIC_RELAXED))
		((volatile uint64_t *)memory)[i++ % CHUNK_WORDS]++;
	device_run(&o->d, 0);
	return NULL;
}

/* REARM of all, alone and while the other vCPU stores. */
static void rearms(struct device *d)
{
	const struct device_command c = { .cmd = PML_DEV_CMD_REARM,
					  .flags = PML_DEV_SCOPE_ALL,
					  .events = PML_DEV_DIRTY };
	struct other o = { .d = *d };
	pthread_t thread;

	device_enable(d, 1, PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST, PML_DEV_DIRTY);
	command(d, "rearm", c);
	if (d->info.vcpus > 1 && !pthread_create(&thread, NULL, busy, &o)) {
		usleep(10000);
		command_while_busy(d, "rearm-busy", c);
		__atomic_store_n(&o.stop, 1, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
	}
	device_disable(d, 1);
}

int main(void)
{
	struct device d;

	memory = mmap(NULL, (size_t)CHUNKS * CHUNK, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	memset(memory, 1, (size_t)CHUNKS * CHUNK);
	stores("off");
	if (!device_open(&d))
		return 0;
	device_pin(&d, 0);
	measure(&d, "epml", PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST, PML_DEV_DIRTY);
	measure(&d, "spml", PML_DEV_MODE_SPML | PML_DEV_TRIGGER_GUEST, PML_DEV_DIRTY);
	measure(&d, "epml-ept", PML_DEV_MODE_EPML | PML_DEV_TRIGGER_EPT, PML_DEV_DIRTY);
	measure(&d, "references", PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST,
		PML_DEV_DIRTY | PML_DEV_REFERENCED);
	stores("off-again");
	device_init(&d, ALL_FEATURES, 0, 0);
	command(&d, "drain", (struct device_command){ .cmd = PML_DEV_CMD_DRAIN });
	rearms(&d);
	return 0;
}
