/* SPDX-License-Identifier: MIT */
/*
 * two_guests.c - two machines with a device each, at the same time, never see
 * each other: one uses its device as it should and finds nothing but what it
 * wrote itself, while the other one writes its own mark all over the BAR and
 * gives commands of all sorts.  Run in both by two-guests.sh:
 *   device-two quiet|loud DIR     DIR: a folder that both can write
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device.h"

#define PAGES	    256u
#define EPOCHS	    200u
#define WAIT_TENTHS 3000
#define QUIET_REGION 0x100000000ul
#define LOUD_REGION  0x200000000ul

struct seen {
	unsigned int own, foreign;
};

static void note(const char *dir, const char *name)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	if (f)
		fclose(f);
}

static bool noted(const char *dir, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return !access(path, F_OK);
}

static bool wait_until(const char *dir, const char *name)
{
	int i;

	for (i = 0; i < WAIT_TENTHS && !noted(dir, name); i++)
		usleep(100000);
	return noted(dir, name);
}

static void on_entry(void *opaque, uint32_t context, uint64_t entry)
{
	struct seen *s = opaque;

	uint64_t at = entry & PML_DEV_E_ADDRESS;

	/* the program's stack and the BAR's mapping are logged too */
	s->own += context == 1 && at - QUIET_REGION < PAGES * 4096ull;
	s->foreign += at - LOUD_REGION < PAGES * 4096ull;
}

static volatile char *map_region(unsigned long at)
{
	void *p = mmap((void *)at, PAGES * 4096ul, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* One epoch; false if it was not exactly what this machine wrote. */
static bool epoch(struct device *d, volatile char *region, struct seen *s)
{
	struct pml_dev_vcpu *v = device_vcpu(d, d->vcpu);
	unsigned int i;

	s->own = s->foreign = 0;
	for (i = 0; i < 47; i++)
		v->guest_reserved[i] = i;
	device_run(d, 1);
	for (i = 0; i < PAGES; i++)
		region[i * 4096ul]++;
	device_run(d, 0);
	if (device_rearm(d, PML_DEV_DIRTY) != PML_DEV_ST_OK ||
	    device_take(d, d->vcpu, on_entry, s) < 0)
		return false;
	for (i = 0; i < 47 && v->guest_reserved[i] == i; i++)
		;
	return s->own == PAGES && !s->foreign && i == 47;
}

static int quiet(struct device *d, const char *dir)
{
	volatile char *region = map_region(QUIET_REGION);
	unsigned int i, wrong = 0;
	struct seen s;
	uint32_t resets;
	bool reset;

	if (!region || device_init(d, ALL_FEATURES, 0, 0) != PML_DEV_ST_OK ||
	    device_enable(d, 1, PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST, PML_DEV_DIRTY) !=
		    PML_DEV_ST_OK)
		return 1;
	resets = d->info.reset_count;
	epoch(d, region, &s);
	if (!wait_until(dir, "loud"))
		return 1;
	note(dir, "quiet");
	for (i = 0; i < EPOCHS || !noted(dir, "loud-done"); i++) {
		wrong += !epoch(d, region, &s);
		usleep(1000);
	}
	note(dir, "quiet-done");
	printf("%sok 1 - %u epochs beside another machine, %u with other than this one's pages\n",
	       wrong ? "not " : "", i, wrong);
	reset = ((volatile struct pml_dev_info *)d->bar)->reset_count != resets;
	printf("%sok 2 - no reset, command or mark of the other machine has arrived\n1..2\n",
	       reset ? "not " : "");
	return wrong || reset;
}

static int loud(struct device *d, const char *dir)
{
	volatile char *region = map_region(LOUD_REGION);
	struct pml_dev_vcpu *v = device_vcpu(d, d->vcpu);
	unsigned int round, page, command;
	uint64_t at;

	if (!region)
		return 1;
	note(dir, "loud");
	if (!wait_until(dir, "quiet"))
		return 1;
	for (round = 0; round < EPOCHS; round++) {
		for (at = 0; at < d->info.bar_size; at += 8 * 61)
			*(volatile uint64_t *)(d->bar + at) = 0x6c6f7564ull << 32 | round;
		v->run = 1;
		for (page = 0; page < PAGES; page++)
			region[page * 4096ul]++;
		for (command = 0; command < 7; command++) {
			if (command == PML_DEV_CMD_DISABLE)
				continue; /* so that the next round's stores are logged */
			v->cmd = command;
			v->context = 1;
			v->events = PML_DEV_DIRTY;
			v->arg[0] = command == PML_DEV_CMD_INIT ? PML_DEV_VERSION : 0;
			v->arg[1] = ALL_FEATURES;
			v->arg[2] = v->arg[3] = 0;
			v->cmd_flags = command == PML_DEV_CMD_ENABLE ?
					       PML_DEV_MODE_EPML | PML_DEV_TRIGGER_GUEST :
					       command == PML_DEV_CMD_REARM ? PML_DEV_SCOPE_ALL : 0;
			__asm__ volatile(".byte 0x0f, 0x1f, 0x80, 0x50, 0x4d, 0x4c, 0x31" ::: "memory");
		}
		usleep(1000);
	}
	v->run = 0;
	note(dir, "loud-done");
	if (!wait_until(dir, "quiet-done"))
		return 1;
	printf("ok 1 - %u times the whole BAR written, and as many commands of each sort\n1..1\n",
	       EPOCHS);
	return 0;
}

int main(int argc, char **argv)
{
	struct device d;

	if (argc != 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!device_open(&d)) {
		printf("1..0 # SKIP no PML device\n");
		return 77;
	}
	device_pin(&d, 0);
	return strcmp(argv[1], "loud") != 0 ? quiet(&d, argv[2]) : loud(&d, argv[2]);
}
