/* SPDX-License-Identifier: MIT */
/* fuzz_lives.c - processes that lead random, short lives; see fuzz.h. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define STORM 24

_Atomic pid_t lives[LIVES];

/* splitmix64: repeatable from the seed. */
uint64_t fuzz_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static unsigned char *some_place(uint64_t *random, size_t *size)
{
	/* mostly a few pages; now and then more than a page table has */
	size_t n = 1 + fuzz_random(random) % (fuzz_random(random) % 16 ? 32 : 600);

	*size = n * 4096;
	return (unsigned char *)LIFE_BASE + fuzz_random(random) % (LIFE_PAGES - n) * 4096;
}

static void map_some(uint64_t *random)
{
	int kind = fuzz_random(random) % 4 ? MAP_PRIVATE : MAP_SHARED;
	size_t size;
	unsigned char *at = some_place(random, &size);

	if (mmap(at, size, PROT_READ | PROT_WRITE,
		 kind | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		_exit(1);
}

/* Reads and writes what may not be mapped: by a call, which only fails. */
static void touch_some(uint64_t *random, int zero)
{
	size_t size;
	unsigned char *at = some_place(random, &size);

	for (size_t i = 0; i < size; i += 4096)
		if (read(zero, at + i + fuzz_random(random) % 4096, 1) != 1)
			return;
}

static void *store_a_while(void *arg)
{
	uint64_t random = (uintptr_t)arg;
	FILE *zero = fopen("/dev/zero", "re");

	for (int i = 0; zero && i < 4; i++)
		touch_some(&random, fileno(zero));
	if (zero)
		fclose(zero);
	return NULL;
}

static void storm(uint64_t *random)
{
	pthread_t thread[STORM];
	size_t n = 0;

	while (n < STORM &&
	       !pthread_create(&thread[n], NULL, store_a_while, (void *)fuzz_random(random)))
		n++;
	while (n)
		pthread_join(thread[--n], NULL);
}

static void fork_some(uint64_t *random, int zero)
{
	pid_t child = fork();

	if (child < 0)
		return;
	touch_some(random, zero);
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
}

static void move_some(uint64_t *random)
{
	size_t size, other;
	unsigned char *from = some_place(random, &size), *to = some_place(random, &other);

	if (to + size <= (unsigned char *)LIFE_BASE + (size_t)LIFE_PAGES * 4096)
		mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

static void advise_some(uint64_t *random)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD, MADV_PAGEOUT,
		MADV_COLLAPSE, MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_DONTFORK, MADV_DOFORK,
	};
	size_t size;
	unsigned char *at = some_place(random, &size);

	madvise(at, size, advice[fuzz_random(random) % (sizeof(advice) / sizeof(advice[0]))]);
}

static void protect_some(uint64_t *random)
{
	size_t size;
	unsigned char *at = some_place(random, &size);

	mprotect(at, size, fuzz_random(random) % 2 ? PROT_READ : PROT_READ | PROT_WRITE);
}

static void one_deed(uint64_t *random, int zero)
{
	size_t size;
	unsigned char *at;

	switch (fuzz_random(random) % 16) {
	case 0:
		map_some(random);
		break;
	case 1:
		at = some_place(random, &size);
		munmap(at, size);
		break;
	case 2:
		move_some(random);
		break;
	case 3:
		protect_some(random);
		break;
	case 4:
		fork_some(random, zero);
		break;
	case 5:
		if (fuzz_random(random) % 8 == 0)
			storm(random);
		break;
	case 6:
		at = some_place(random, &size);
		if (mlock(at, size) == 0)
			munlock(at, size);
		break;
	case 7:
	case 8:
	case 9:
		advise_some(random);
		break;
	default:
		touch_some(random, zero);
	}
}

void life(uint64_t seed)
{
	uint64_t random = seed;
	int deeds = (int)(fuzz_random(&random) % 400);
	FILE *zero = fopen("/dev/zero", "re");
	struct timespec pause = { 0, 2000000 };
	char next[32];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* some threads' stores end in a hole: that is a life, too */
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	map_some(&random);
	/* there are more of us than of those whom it is all about */
	if (nice(10) < 0)
		deeds /= 2;
	for (int i = 0; zero && i < deeds; i++) {
		one_deed(&random, fileno(zero));
		nanosleep(&pause, NULL);
	}
	snprintf(next, sizeof(next), "%lu", fuzz_random(&random));
	if (fuzz_random(&random) % 2)
		execl("/proc/self/exe", "fuzz", "--life", next, NULL);
	_exit(0);
}

void lives_renew(const char *self, uint64_t *random)
{
	char seed[32];
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (int i = 0; i < LIVES; i++)
			if (lives[i] == pid)
				lives[i] = 0;
	for (int i = 0; i < LIVES; i++) {
		if (lives[i])
			continue;
		snprintf(seed, sizeof(seed), "%lu", fuzz_random(random));
		pid = fork();
		if (!pid) {
			execl(self, "fuzz", "--life", seed, NULL);
			_exit(127);
		}
		lives[i] = pid > 0 ? pid : 0;
	}
}

void lives_end(void)
{
	for (int i = 0; i < LIVES; i++) {
		if (lives[i] <= 0)
			continue;
		kill(lives[i], SIGKILL);
		waitpid(lives[i], NULL, 0);
	}
}
