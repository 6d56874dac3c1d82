/* SPDX-License-Identifier: MIT */
/* What the programs on the collector share; see common.h. */
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t boehm_mix(uint64_t v)
{
	v = (v ^ v >> 31) * 0x9e3779b97f4a7c15u;
	v = (v ^ v >> 29) * 0xd1342543de82ef95u;
	return v ^ v >> 32;
}

uint64_t boehm_random(uint64_t *seed)
{
	*seed += 0x9e3779b97f4a7c15u;
	return boehm_mix(*seed);
}

void *boehm_alloc(size_t size)
{
	void *p = GC_MALLOC(size);

	if (!p)
		boehm_fail("allocation", "out of memory");
	return p;
}

void *boehm_alloc_atomic(size_t size)
{
	void *p = GC_MALLOC_ATOMIC(size);

	if (!p)
		boehm_fail("allocation", "out of memory");
	return p;
}

void boehm_fail(const char *what, const char *why)
{
	fprintf(stderr, "pml: %s: %s\n", what, why);
	exit(1);
}

long boehm_number(const char *text, long least, long most)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || *end || end == text || v < least || v > most) {
		fprintf(stderr, "pml: '%s': not a number from %ld to %ld\n", text, least, most);
		exit(2);
	}
	return v;
}
