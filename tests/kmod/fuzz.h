/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - random calls of /dev/pml against processes that lead random lives.
 *
 *   fuzz_lives.c  the processes: they map, drop, fork, make threads, exec, die
 *   fuzz.c        the calls, and what must hold for each of them
 */
#ifndef PML_TESTS_KMOD_FUZZ_H
#define PML_TESTS_KMOD_FUZZ_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#define LIVES 6

/* Where the lives are; the address of the memory they play with. */
#define LIFE_BASE 0x200000000000ull
#define LIFE_PAGES 2048u

extern _Atomic pid_t lives[LIVES];

uint64_t fuzz_random(uint64_t *state);
/* Begins those that have ended, ends the chosen one if kill is set. */
void lives_renew(const char *self, uint64_t *random);
void lives_end(void);
/* What `fuzz --life SEED` does. */
_Noreturn void life(uint64_t seed);

#endif
