/* SPDX-License-Identifier: MIT */
/*
 * random.h - random numbers for samples (splitmix64; Steele, Lea and Flood, 2014).
 * sample.c and present.c draw by them.
 */
#ifndef PML_WSS_RANDOM_H
#define PML_WSS_RANDOM_H

#include <stdint.h>

static inline uint64_t pml_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

#endif /* PML_WSS_RANDOM_H */
