/* SPDX-License-Identifier: MIT */
/* device.c - see device.h; runs inside a guest. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device.h"

#define PCI "/sys/bus/pci/devices"

static unsigned long number_in(const char *device, const char *file)
{
	char path[512], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), PCI "/%s/%s", device, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtoul(text, NULL, 0);
}

static char *map_bar(const char *device, size_t *size)
{
	char path[512], *bar;
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), PCI "/%s/enable", device);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		return NULL;
	close(fd);
	snprintf(path, sizeof(path), PCI "/%s/resource%d", device, PML_DEV_BAR);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return NULL;
	*size = (size_t)st.st_size;
	bar = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return bar == MAP_FAILED ? NULL : bar;
}

static bool acceptable(const struct pml_dev_info *i, size_t size)
{
	return i->magic == PML_DEV_MAGIC && i->version_min <= PML_DEV_VERSION &&
	       i->version >= PML_DEV_VERSION && i->bar_size == size &&
	       i->block_offset + i->vcpus * i->block_stride <= size &&
	       i->ring_offset + i->ring_max * 8ull <= i->block_stride &&
	       i->doorbell == PML_DEV_DOORBELL_HINT;
}

bool device_open(struct device *d)
{
	DIR *dir = opendir(PCI);
	struct dirent *e;
	size_t size;

	memset(d, 0, sizeof(*d));
	while (dir && !d->bar && (e = readdir(dir))) {
		if (number_in(e->d_name, "vendor") != PML_DEV_PCI_VENDOR ||
		    number_in(e->d_name, "device") != PML_DEV_PCI_DEVICE)
			continue;
		d->bar = map_bar(e->d_name, &size);
		if (!d->bar)
			continue;
		d->info = *(volatile struct pml_dev_info *)d->bar;
		if (!acceptable(&d->info, size))
			d->bar = NULL;
	}
	if (dir)
		closedir(dir);
	if (!d->bar)
		printf("# no PML device of version %d here\n", PML_DEV_VERSION);
	return d->bar;
}

void device_pin(struct device *d, unsigned int vcpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(vcpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		abort();
	d->vcpu = vcpu;
}

struct pml_dev_vcpu *device_vcpu(struct device *d, unsigned int vcpu)
{
	return (struct pml_dev_vcpu *)(d->bar + d->info.block_offset + vcpu * d->info.block_stride);
}

uint64_t *device_list(struct device *d)
{
	return (uint64_t *)((char *)device_vcpu(d, d->vcpu) + d->info.list_offset);
}

uint32_t device_flags(struct device *d, uint32_t context)
{
	return __atomic_load_n((uint32_t *)(d->bar + d->info.context_offset) + context,
			       __ATOMIC_ACQUIRE);
}

uint32_t device_command(struct device *d, struct device_command c)
{
	struct pml_dev_vcpu *v = device_vcpu(d, d->vcpu);
	uint32_t seq = v->cmd_seq + 1;
	long spin;

	v->cmd = c.cmd;
	v->cmd_flags = c.flags;
	v->context = c.context;
	v->events = c.events;
	memcpy(v->arg, c.arg, sizeof(c.arg));
	__atomic_store_n(&v->cmd_seq, seq, __ATOMIC_RELEASE);
	__asm__ volatile(".byte 0x0f, 0x1f, 0x80, 0x50, 0x4d, 0x4c, 0x31" ::: "memory");
	for (spin = 0; spin < 1000000000; spin++)
		if (__atomic_load_n(&v->done_seq, __ATOMIC_ACQUIRE) == seq)
			return v->status;
	return ~0u;
}

uint32_t device_init(struct device *d, uint32_t features, uint64_t log, uint64_t ring)
{
	struct device_command c = { .cmd = PML_DEV_CMD_INIT,
				    .arg = { PML_DEV_VERSION, features, log, ring } };
	unsigned int i;
	uint32_t status;

	for (i = 0; i < d->info.vcpus; i++)
		device_vcpu(d, i)->tail = 0;
	status = device_command(d, c);
	d->info = *(volatile struct pml_dev_info *)d->bar;
	return status;
}

uint32_t device_enable(struct device *d, uint32_t context, uint32_t flags, uint32_t events)
{
	return device_command(d, (struct device_command){ .cmd = PML_DEV_CMD_ENABLE,
							  .flags = flags,
							  .context = context,
							  .events = events });
}

uint32_t device_disable(struct device *d, uint32_t context)
{
	return device_command(d, (struct device_command){ .cmd = PML_DEV_CMD_DISABLE,
							  .context = context });
}

uint32_t device_drain(struct device *d)
{
	return device_command(d, (struct device_command){ .cmd = PML_DEV_CMD_DRAIN,
							  .flags = PML_DEV_ALL_VCPUS });
}

uint32_t device_rearm(struct device *d, uint32_t events)
{
	return device_command(d, (struct device_command){ .cmd = PML_DEV_CMD_REARM,
							  .flags = PML_DEV_SCOPE_ALL |
								   PML_DEV_WITH_DRAIN,
							  .events = events });
}

void device_run(struct device *d, uint32_t context)
{
	__atomic_store_n(&device_vcpu(d, d->vcpu)->run, context, __ATOMIC_RELEASE);
}

long device_take(struct device *d, unsigned int vcpu, device_entry_fn fn, void *opaque)
{
	struct pml_dev_vcpu *v = device_vcpu(d, vcpu);
	const uint64_t *ring = (const uint64_t *)((char *)v + d->info.ring_offset);
	uint64_t mask = d->info.ring_entries - 1, pos = v->tail, entry, left = 0;
	uint64_t head = __atomic_load_n(&v->head, __ATOMIC_ACQUIRE);
	uint32_t context = 0;
	long pages = 0;

	while (pos != head) {
		entry = ring[pos++ & mask];
		if (!left) {
			if ((entry & PML_DEV_E_TYPE) != PML_DEV_E_BATCH ||
			    ring[pos & mask] >> PML_DEV_BATCH_VCPU_SHIFT != vcpu)
				return -1;
			left = entry >> PML_DEV_E_SHIFT;
			pos += 2;
			context = 0;
			continue;
		}
		left--;
		if ((entry & PML_DEV_E_TYPE) == PML_DEV_E_CONTEXT) {
			context = (uint32_t)(entry >> PML_DEV_E_SHIFT);
		} else if ((entry & PML_DEV_E_TYPE) == PML_DEV_E_PAGE) {
			if (!context)
				return -1;
			pages++;
			if (fn)
				fn(opaque, context, entry);
		}
	}
	__atomic_store_n(&v->tail, pos, __ATOMIC_RELEASE);
	return pages;
}
