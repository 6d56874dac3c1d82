/* SPDX-License-Identifier: MIT */
/*
 * guest_device.c - the device in a real guest: that a store of any kind is
 * logged exactly once per epoch, in each mode and by each trigger; two vCPUs;
 * re-arming; full logs; overflow; statistics; switching on and off; a hostile
 * guest.  Or one part: "order" (is an index ever ahead of its entries?), "full N"
 * (full logs), "hostile SECONDS", "epochs TIMES".  Runs in a guest of pml-qemu
 * --pml user=on; needs no kernel module.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "index_order.h"
#include "stores.h"

#define PAGES	   512u
#define LOG_WORDS  512u
#define HOSTILE_WRITES 200u
#define D	   PML_DEV_DIRTY
#define R	   PML_DEV_REFERENCED
#define LOST	   (PML_DEV_CTX_DIRTY_LOST | PML_DEV_CTX_REFERENCED_LOST)

#define EPML	   (PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST)
#define SPML	   (PML_DEV_MODE_SPML | PML_DEV_TRIGGER_GUEST)
#define EPML_EPT   (PML_DEV_MODE_EPML | PML_DEV_TRIGGER_EPT)
#define SPML_EPT   (PML_DEV_MODE_SPML | PML_DEV_TRIGGER_EPT)

static const uint32_t modes[] = { EPML, SPML, EPML_EPT, SPML_EPT };

static struct device d;
static char *region;
static uint64_t frame[PAGES];
static unsigned int dirty[PAGES], referenced[PAGES];
static int tests, failures;

static void result(bool ok, const char *what, const char *mode)
{
	printf("%sok %d - %s%s%s\n", ok ? "" : "not ", ++tests, what, *mode ? ", " : "", mode);
	failures += !ok;
}

static const char *mode_name(uint32_t mode)
{
	return mode == EPML ? "epml, guest" : mode == SPML ? "spml, guest" :
	       mode == EPML_EPT ? "epml, ept" : "spml, ept";
}

/* Which page of the region an entry means, or PAGES. */
static unsigned int page_of(uint64_t entry)
{
	uint64_t at = entry & PML_DEV_E_ADDRESS;
	unsigned int i;

	if (!(entry & PML_DEV_E_PHYS)) {
		at -= (uint64_t)region;
		return at < PAGES * 4096ull ? (unsigned int)(at >> 12) : PAGES;
	}
	for (i = 0; i < PAGES && frame[i] != at >> 12; i++)
		;
	return i;
}

static void on_entry(void *opaque, uint32_t context, uint64_t entry)
{
	unsigned int page = page_of(entry);

	(void)opaque;
	if (page == PAGES || context != 1)
		return;
	dirty[page] += (entry & PML_DEV_E_DIRTY) != 0;
	referenced[page] += (entry & PML_DEV_E_REFERENCED) != 0;
}

static bool take_all(void)
{
	unsigned int v;
	bool ok = true;

	for (v = 0; v < d.info.vcpus; v++)
		ok &= device_take(&d, v, on_entry, NULL) >= 0;
	return ok;
}

static void forget(void)
{
	memset(dirty, 0, sizeof(dirty));
	memset(referenced, 0, sizeof(referenced));
}

/* Ends an epoch; what it held is in dirty[] and referenced[]. */
static bool collect(void)
{
	forget();
	while (device_rearm(&d, D | R) == PML_DEV_ST_RING_FULL)
		if (!take_all())
			return false;
	return take_all();
}

/* What was logged since the last time, without ending the epoch. */
static void drain(void)
{
	forget();
	device_drain(&d);
	take_all();
}

static unsigned int sum(const unsigned int *a)
{
	unsigned int i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += a[i];
	return n;
}

static bool find_frames(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;
	unsigned int i;

	for (i = 0; i < PAGES; i++) {
		if (pread(fd, &entry, 8, (off_t)(((uint64_t)region >> 12) + i) * 8) != 8)
			return false;
		frame[i] = entry & ((1ull << 55) - 1);
		if (!frame[i])
			return false;
	}
	close(fd);
	return true;
}

static bool begin(uint32_t mode, uint32_t events)
{
	return device_init(&d, ALL_FEATURES, LOG_WORDS, 0) == PML_DEV_ST_OK &&
	       device_enable(&d, 1, mode, events) == PML_DEV_ST_OK;
}

/* One store to a page: exactly once, or not at all, and no other page. */
static bool one_store(const struct store *s, unsigned int page, size_t offset, unsigned int pages,
		      unsigned int times)
{
	char *at = region + page * 4096ul + offset;
	unsigned int i;
	bool ok;

	collect();
	device_run(&d, 1);
	s->make(at);
	device_run(&d, 0);
	ok = collect() && sum(dirty) == pages * times;
	for (i = page; i < page + pages; i++)
		ok &= dirty[i] == times;
	if (!ok)
		printf("# %s at %zu: page %u times, next %u times, in all %u of %u\n", s->name, offset,
		       dirty[page], dirty[page + 1], sum(dirty), pages * times);
	return ok;
}

static void store_classes(uint32_t mode)
{
	unsigned int user = 0, cross = 0, crossable = 0, kernel = 0, direct = 0;
	unsigned int direct_times = mode & PML_DEV_MODE_SPML ? 1 : 0;
	char text[128];
	size_t i;

	begin(mode, D);
	for (i = 0; i < user_stores_count; i++) {
		user += one_store(&user_stores[i], 8, 128, 1, 1);
		if (!user_stores[i].anywhere)
			continue;
		crossable++;
		cross += one_store(&user_stores[i], 8, 4095, 2, 1);
	}
	for (i = 0; i < kernel_stores_count; i++)
		kernel += one_store(&kernel_stores[i], 8, 128, 1, 1);
	for (i = 0; i < direct_stores_count; i++)
		direct += one_store(&direct_stores[i], 8, 128, 1, direct_times);
	snprintf(text, sizeof(text), "%u of %zu instructions, each page exactly once", user,
		 user_stores_count);
	result(user == user_stores_count, text, mode_name(mode));
	snprintf(text, sizeof(text), "%u of %u across two pages, both exactly once", cross, crossable);
	result(cross == crossable, text, mode_name(mode));
	snprintf(text, sizeof(text), "%u of %zu system calls, each page exactly once", kernel,
		 kernel_stores_count);
	result(kernel == kernel_stores_count, text, mode_name(mode));
	snprintf(text, sizeof(text), "%u of %zu writes through the direct map are %s", direct,
		 direct_stores_count, direct_times ? "seen" : "not seen, as on real hardware");
	result(direct == direct_stores_count, text, mode_name(mode));
	device_disable(&d, 1);
}

static void write_page(unsigned int page)
{
	((volatile char *)region)[page * 4096ul]++;
}

static void write_all(void)
{
	unsigned int i;

	device_run(&d, 1);
	for (i = 0; i < PAGES; i++)
		write_page(i);
	device_run(&d, 0);
}

static void epochs(uint32_t mode)
{
	unsigned int round, i, wrong = 0;

	begin(mode, D);
	for (round = 0; round < 50; round++) {
		collect();
		device_run(&d, 1);
		for (i = 0; i < PAGES; i++)
			if ((i + round) % 3)
				write_page(i);
		device_run(&d, 0);
		collect();
		for (i = 0; i < PAGES; i++)
			wrong += dirty[i] != ((i + round) % 3 != 0);
	}
	result(!wrong, "50 epochs, each page written exactly once", mode_name(mode));
	device_disable(&d, 1);
}

static void references(void)
{
	volatile char *page = region + 5 * 4096;
	char got;

	begin(EPML, D | R);
	collect();
	device_run(&d, 1);
	got = *page;
	device_run(&d, 0);
	drain();
	result(referenced[5] == 1 && !dirty[5], "a read is logged as a reference", "");
	device_run(&d, 1);
	*page = got;
	device_run(&d, 0);
	drain();
	result(dirty[5] == 1 && !referenced[5], "a logged read does not hide the next write", "");
	device_disable(&d, 1);
}

/* What the published trigger misses, and ours does not. */
static void misses(uint32_t mode, unsigned int expected)
{
	char text[96];

	begin(mode, D);
	collect();
	write_page(3); /* run is 0: logging is off for this context */
	device_run(&d, 1);
	write_page(3);
	device_run(&d, 0);
	collect();
	snprintf(text, sizeof(text), "a page dirtied while logging was off is %s",
		 expected ? "logged" : "missed, as published");
	result(dirty[3] == expected, text, mode_name(mode));
	device_disable(&d, 1);
}

static void list(void)
{
	struct device_command c = { .cmd = PML_DEV_CMD_REARM,
				    .flags = PML_DEV_SCOPE_LIST,
				    .context = 1,
				    .events = D,
				    .arg = { 1 } };
	uint64_t *item = device_list(&d);
	unsigned int i, wrong = 0;

	begin(EPML, D);
	collect();
	write_all();
	drain();
	*item = ((uint64_t)region + 100 * 4096) | (20 - 1);
	wrong += device_command(&d, c) != PML_DEV_ST_OK;
	wrong += device_vcpu(&d, d.vcpu)->result[0] != 20;
	write_all();
	drain();
	for (i = 0; i < PAGES; i++)
		wrong += dirty[i] != (i >= 100 && i < 120);
	result(!wrong, "REARM of a list re-logs exactly its pages", "");
	device_disable(&d, 1);
}

/* Epochs until so many logs of this size were full, each of them drained. */
static void full_logs(uint32_t log, uint64_t wanted)
{
	struct pml_dev_stats *s = &device_vcpu(&d, d.vcpu)->stats;
	unsigned int i, wrong = 0;
	char text[128];
	uint64_t epoch = 0;

	device_init(&d, ALL_FEATURES, log, 0);
	device_enable(&d, 1, EPML, D);
	device_vcpu(&d, d.vcpu)->irq_enable = 1;
	for (; s->full < wanted && !wrong; epoch++) {
		write_all();
		collect();
		for (i = 0; i < PAGES; i++)
			wrong += dirty[i] != 1;
	}
	device_vcpu(&d, d.vcpu)->irq_enable = 0;
	snprintf(text, sizeof(text), "%llu full logs of %u entries were drained, %llu entries lost",
		 (unsigned long long)s->full, log, (unsigned long long)s->drops + wrong);
	result(!wrong && !s->drops && s->full >= wanted, text, "");
	snprintf(text, sizeof(text), "%llu interrupts are no more than full logs",
		 (unsigned long long)s->interrupts);
	result(s->interrupts <= s->full && s->interrupts, text, "");
	result(s->dirty == s->entries && s->entries >= epoch * PAGES,
	       "statistics agree with what was seen", "");
	device_disable(&d, 1);
}

static void overflow(void)
{
	unsigned int seen;
	bool flagged;

	device_init(&d, ALL_FEATURES, 16, 32);
	device_enable(&d, 1, EPML, D);
	write_all();
	flagged = device_flags(&d, 1) & PML_DEV_CTX_DIRTY_LOST;
	memset(dirty, 0, sizeof(dirty));
	do {
		take_all();
	} while (device_drain(&d) == PML_DEV_ST_RING_FULL);
	take_all();
	seen = sum(dirty);
	result(flagged && seen < PAGES, "a log too small is reported, not silent", "");
	device_rearm(&d, D);
	result(!(device_flags(&d, 1) & LOST), "a re-arm ends the overflow", "");
	device_disable(&d, 1);
}

/* Off and on many times: the emulator survives it and stores are seen at once. */
static void toggles(void)
{
	unsigned int i, wrong = 0;

	device_init(&d, ALL_FEATURES, LOG_WORDS, 0);
	for (i = 0; i < 30; i++) {
		wrong += device_enable(&d, 1, EPML, i & 1 ? D : D | R) != PML_DEV_ST_OK;
		device_run(&d, 1);
		write_page(i);
		device_run(&d, 0);
		collect();
		wrong += dirty[i] != 1;
		wrong += device_disable(&d, 1) != PML_DEV_ST_OK;
		usleep(2000);
	}
	result(!wrong, "stores are seen as soon as ENABLE has completed, 30 times", "");
}

/* Anything written anywhere in the BAR, and a command of any sort. */
static void hostile_round(uint64_t *random, unsigned int round)
{
	struct pml_dev_vcpu *v = device_vcpu(&d, d.vcpu);
	uint64_t x = *random;
	unsigned int i;

	for (i = 0; i < HOSTILE_WRITES; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		*(volatile uint64_t *)(d.bar + (x >> 8) % (d.info.bar_size / 8) * 8) = x;
		*((volatile uint32_t *)v + (x >> 40) % 64) = (uint32_t)x & 15;
	}
	v->cmd = (uint32_t)(x >> 33) & 7;
	v->context = (uint32_t)(x >> 36) & 3;
	__asm__ volatile(".byte 0x0f, 0x1f, 0x80, 0x50, 0x4d, 0x4c, 0x31" ::: "memory");
	write_page(round % PAGES);
	*random = x;
}

/* Until rounds and seconds have both passed; then the device must work as ever. */
static void hostile(unsigned int rounds, time_t seconds)
{
	uint64_t x = 0x2545f4914f6cdd1dull ^ (seconds ? (uint64_t)time(NULL) : 0);
	time_t until = time(NULL) + seconds;
	unsigned int i;
	char text[96];

	printf("# seed %#llx\n", (unsigned long long)x);
	for (i = 0; i < rounds || time(NULL) < until; i++)
		hostile_round(&x, i);
	snprintf(text, sizeof(text), "after %llu hostile writes and %u commands INIT works",
		 2ull * HOSTILE_WRITES * i, i);
	for (i = 0; i < d.info.vcpus; i++)
		device_vcpu(&d, i)->run = 0;
	result(begin(EPML, D), text, "");
	device_disable(&d, 1);
	epochs(EPML);
}

struct worker {
	unsigned int vcpu;
	pthread_barrier_t *gate;
};

#define ROUNDS 40

static void *two_writer(void *arg)
{
	struct worker *w = arg;
	struct device mine = d;
	unsigned int round, i;

	device_pin(&mine, w->vcpu);
	for (round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(w->gate);
		device_run(&mine, 1);
		for (i = 0; i < PAGES; i++)
			__atomic_fetch_add(region + i * 4096ul, 1, __ATOMIC_RELAXED);
		device_run(&mine, 0);
		pthread_barrier_wait(w->gate);
		pthread_barrier_wait(w->gate);
	}
	return NULL;
}

static void two_vcpus(uint32_t mode)
{
	unsigned int i, round, missed = 0, twice = 0;
	pthread_barrier_t gate;
	struct worker w[2] = { { 0, &gate }, { 1, &gate } };
	pthread_t thread[2];
	char text[96];

	begin(mode, D);
	pthread_barrier_init(&gate, NULL, 3);
	for (i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, two_writer, &w[i]);
	collect();
	for (round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&gate);
		pthread_barrier_wait(&gate);
		collect();
		for (i = 0; i < PAGES; i++) {
			missed += dirty[i] == 0;
			twice += dirty[i] > 1;
		}
		pthread_barrier_wait(&gate);
	}
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	snprintf(text, sizeof(text), "two vCPUs on the same pages: %u missed, %u duplicate", missed,
		 twice);
	result(!missed && !twice, text, mode_name(mode));
	device_disable(&d, 1);
}

static void index_order(bool in_ring)
{
	unsigned long early = 0;
	unsigned int round;
	char text[96];

	for (round = 0; round < 20 && !early; round++)
		early = index_too_early(&d, region, PAGES, in_ring);
	snprintf(text, sizeof(text), "the %s's index was ahead of its entries %lu times",
		 in_ring ? "ring" : "log", early);
	result(!early, text, "");
}

static void index_orders(void)
{
	if (d.info.vcpus < 2)
		return;
	index_order(false);
	index_order(true);
}

/* Tracks itself over and over, in every mode, while the host does what it does. */
static void with_the_host(unsigned long times)
{
	unsigned long i;

	for (i = 0; i < times; i++)
		epochs(modes[i % 4]);
}

static bool part(const char *name, unsigned long n)
{
	if (!strcmp(name, "order"))
		index_orders();
	else if (!strcmp(name, "full"))
		full_logs(LOG_WORDS, n);
	else if (!strcmp(name, "hostile"))
		hostile(1, (time_t)n);
	else if (!strcmp(name, "epochs"))
		with_the_host(n);
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	unsigned int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	if (!device_open(&d)) {
		printf("1..0 # SKIP no PML device\n");
		return 77;
	}
	device_pin(&d, 0);
	region = mmap(NULL, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED || madvise(region, PAGES * 4096ul, MADV_NOHUGEPAGE) ||
	    mlock(region, PAGES * 4096ul))
		return 1;
	memset(region, 1, PAGES * 4096ul);
	if (!find_frames())
		return 1;
	if (argc > 1) {
		if (!part(argv[1], argc > 2 ? strtoul(argv[2], NULL, 10) : 0))
			return 2;
		printf("1..%d\n", tests);
		return failures != 0;
	}
	for (i = 0; i < 4; i++) {
		store_classes(modes[i]);
		epochs(modes[i]);
	}
	references();
	misses(EPML, 1);
	misses(SPML, 1);
	misses(EPML_EPT, 0);
	misses(SPML_EPT, 0);
	list();
	full_logs(16, 20ull * PAGES / 15);
	overflow();
	toggles();
	for (i = 0; d.info.vcpus > 1 && i < 4; i++)
		two_vcpus(modes[i]);
	index_orders();
	hostile(2000, 0);
	printf("1..%d\n", tests);
	return failures != 0;
}
