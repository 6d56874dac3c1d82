/* SPDX-License-Identifier: MIT */
/*
 * fuzz_model.c - a hostile guest: bytes from the fuzzer are written anywhere
 * in the BAR, rung as doorbells and made as accesses, in any order.  Guard
 * pages around the BAR catch a write outside it; the memory cap is checked
 * after every input.  With libFuzzer, or with a main() that replays files.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "model.h"
#include "pml_device.h"

#define VCPUS 2u
#define GUARD 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int translate(void *opaque, unsigned int vcpu, uint64_t gva, struct pml_where *where)
{
	(void)opaque;
	(void)vcpu;
	where->gpa = gva & 0xffffffffffffffull;
	where->leaf = gva;
	where->lasting = gva >> 14 & 1;
	return (int)(gva >> 12 & 3) - 1;
}

static void nothing(void *opaque, unsigned int n)
{
	(void)opaque;
	(void)n;
}

static const uint8_t *get(const uint8_t **data, size_t *size, size_t n)
{
	const uint8_t *p = *data;

	if (*size < n)
		return NULL;
	*data += n;
	*size -= n;
	return p;
}

static uint64_t number(const uint8_t *p, size_t n)
{
	uint64_t x = 0;

	memcpy(&x, p, n);
	return x;
}

/* A command with plausible fields is found sooner than by bytes alone. */
static void command(struct pml_model *m, struct pml_dev_vcpu *p, unsigned int vcpu,
		    const uint8_t *b)
{
	p->cmd = b[0] % 8;
	p->cmd_flags = (uint32_t)number(b + 1, 2);
	p->context = b[3] % 16;
	p->events = b[4] % 4;
	p->arg[0] = b[5] & 0x80 ? number(b + 5, 4) : b[5];
	p->arg[1] = number(b + 6, 2);
	p->arg[2] = 1ull << b[7] % 16;
	p->arg[3] = 1ull << b[8] % 20;
	p->cmd_seq++;
	pml_model_doorbell(m, vcpu);
}

static void step(struct pml_model *m, char *bar, size_t bar_size, struct pml_dev_vcpu *v[VCPUS],
		 const uint8_t *op, const uint8_t *b)
{
	unsigned int vcpu = op[0] >> 4 & 1;

	switch (op[0] & 15) {
	case 0:
	case 1:
		command(m, v[vcpu], vcpu, b);
		break;
	case 2:
		memcpy(bar + number(b, 4) % (bar_size - 8), b + 4, 5);
		break;
	case 3:
		memcpy((char *)v[vcpu] + number(b, 2) % 248, b + 2, 8);
		break;
	case 4:
		pml_model_offload(m, vcpu);
		break;
	case 5:
		pml_model_walk(m, vcpu, number(b, 8));
		break;
	case 6:
		if (b[0] & 1)
			pml_model_host_enable(m, b[1]);
		else
			pml_model_host_disable(m);
		break;
	case 7:
		pml_model_host_clean(m);
		break;
	case 8:
		pml_model_reset(m);
		break;
	case 9:
		pml_model_doorbell(m, vcpu);
		break;
	case 10:
		v[vcpu]->tail = v[vcpu]->head;
		break;
	case 11:
		v[vcpu]->run = b[0] % 16;
		break;
	case 12:
		pml_model_remapped(m, vcpu);
		break;
	default:
		pml_model_report(m, pml_model_done(m), vcpu, number(b, op[0] & 1 ? 8 : 3), b[8],
				 1 + (op[0] >> 5 & 1));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pml_model_config config = { .vcpus = VCPUS,
						 .contexts = 12,
						 .log_max = 16,
						 .ring_max = 64,
						 .list_max = 8,
						 .frames = 1024,
						 .host_log = 8,
						 .max_memory = 1 << 20,
						 .host_offload = size & 1 };
	const struct pml_model_ops ops = { .translate = translate,
					   .interrupt = nothing,
					   .offload = nothing };
	size_t bar_size = pml_model_bar_size(&config), used, cap;
	struct pml_dev_vcpu *v[VCPUS];
	const uint8_t *op, *b;
	struct pml_dev_info *info;
	struct pml_model *m;
	unsigned int i;
	char *map, *bar;

	map = mmap(NULL, bar_size + 2ul * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		abort();
	bar = map + GUARD;
	if (mprotect(bar, bar_size, PROT_READ | PROT_WRITE) ||
	    pml_model_create(&m, &config, &ops, bar))
		abort();
	info = (struct pml_dev_info *)bar;
	for (i = 0; i < VCPUS; i++)
		v[i] = (struct pml_dev_vcpu *)(bar + info->block_offset + i * info->block_stride);
	while ((op = get(&data, &size, 1)) && (b = get(&data, &size, 10)))
		step(m, bar, bar_size, v, op, b);
	pml_model_memory(m, &used, &cap);
	if (used > cap)
		abort();
	pml_model_destroy(m);
	munmap(map, bar_size + 2ul * GUARD);
	return 0;
}

#ifdef PML_FUZZ_STANDALONE
/* Without libFuzzer: PML_DEVICE_INPUTS pseudo-random inputs of up to 4 KiB. */
#include <stdio.h>

int main(void)
{
	static uint8_t data[4096];
	const char *inputs = getenv("PML_DEVICE_INPUTS");
	long n = inputs ? strtol(inputs, NULL, 0) : 3000, i;
	uint64_t x = 0x2545f4914f6cdd1dull;
	size_t size, j;

	printf("TAP version 13\n1..1\n");
	for (i = 0; i < n; i++) {
		for (j = 0; j < sizeof(data); j++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			data[j] = (uint8_t)(x >> 32);
		}
		size = (x >> 40) % sizeof(data);
		LLVMFuzzerTestOneInput(data, size);
	}
	printf("ok 1 - %ld hostile inputs stayed inside the device\n", n);
	return 0;
}
#endif
