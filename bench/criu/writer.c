/* SPDX-License-Identifier: MIT */
/*
 * writer.c - what bench/criu/run takes checkpoints of: a program that writes to so many
 * random pages of its memory when it is told to, and notes what that cost it.
 *
 *   criu-writer FILE MIB PAGES
 *
 * All of its MIB are written once.  Upon each SIGUSR2 it writes to PAGES others of them,
 * random ones, and adds a line to FILE: seconds of its processor's time, page faults.
 * Between signals it has nothing open.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u

static volatile sig_atomic_t asked;

static void ask(int number)
{
	(void)number;
	asked++;
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt;
}

static void note(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(1);
	close(fd);
}

/* The first n of `order` become random ones of all, each at most once. */
static void shuffle(uint32_t *order, size_t all, size_t n, uint64_t *seed)
{
	for (size_t i = 0; i < n; i++) {
		size_t other;
		uint32_t page = order[i];

		*seed = *seed * 6364136223846793005u + 1442695040888963407u;
		other = i + (size_t)(*seed >> 33) % (all - i);
		order[i] = order[other];
		order[other] = page;
	}
}

static void write_pages(volatile unsigned char *memory, const uint32_t *order, size_t n,
			const char *path)
{
	long before = faults();
	double begun = cpu_seconds();
	char text[64];

	for (size_t i = 0; i < n; i++)
		memory[(size_t)order[i] * PAGE]++;
	snprintf(text, sizeof(text), "%.6f %ld\n", cpu_seconds() - begun, faults() - before);
	note(path, text);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = ask };
	volatile unsigned char *memory;
	sigset_t none, usr2;
	uint64_t seed = 1;
	uint32_t *order;
	size_t all, n;
	int done = 0;

	if (argc != 4)
		return 2;
	all = strtoul(argv[2], NULL, 10) * 256;
	n = strtoul(argv[3], NULL, 10);
	if (!all || n > all)
		return 2;
	memory = mmap(NULL, all * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	order = calloc(all, sizeof(*order));
	if (memory == MAP_FAILED || !order) {
		free(order);
		return 1;
	}
	madvise((void *)(uintptr_t)memory, all * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < all; i++) {
		memory[i * PAGE] = 1;
		order[i] = (uint32_t)i;
	}
	sigemptyset(&none);
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	sigprocmask(SIG_BLOCK, &usr2, NULL);
	sigaction(SIGUSR2, &action, NULL);
	note(argv[1], "");
	for (;;) {
		while (done == asked)
			sigsuspend(&none);
		done++;
		shuffle(order, all, n, &seed);
		write_pages(memory, order, n, argv[1]);
	}
}
