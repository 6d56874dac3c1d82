/* SPDX-License-Identifier: MIT */
/* common.h - what the programs on the collector share: numbers, words, ends. */
#ifndef BOEHM_COMMON_H
#define BOEHM_COMMON_H

#include <gc/gc.h>
#include <stddef.h>
#include <stdint.h>

/* The same numbers every run, per seed. */
uint64_t boehm_random(uint64_t *seed);
/* Mixes bits: neighbours give unlike results. */
uint64_t boehm_mix(uint64_t v);
/* GC_MALLOC, or the end of the program. */
void *boehm_alloc(size_t size);
void *boehm_alloc_atomic(size_t size);
/* "pml: what: why", status 1 */
_Noreturn void boehm_fail(const char *what, const char *why);
/* A number given on the command line. */
long boehm_number(const char *text, long least, long most);

#endif /* BOEHM_COMMON_H */
