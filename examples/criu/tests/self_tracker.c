/* SPDX-License-Identifier: MIT */
/*
 * criu-self: a program that tracks its own memory by libpml, and is checkpointed.
 *
 *   criu-self BACKEND FILE
 *
 * Epoch after epoch it writes to some of its pages, collects, and holds what is told
 * against what it wrote.  FILE gets a line an epoch: "good", "missed N"; "stale", when it
 * is told that its tracker knows nothing any more, upon which it starts it anew; "lost",
 * when the result says so, and everything counts as written.  With "foreign" for the
 * back-end it has a userfaultfd as wp-async has, and that is not libpml's; FILE gets one
 * line.  Started and judged by chain.sh.
 */
#define _GNU_SOURCE
#include "pml.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGES 1024u
#define PAGE 4096u

static unsigned char *mem;
static int file;

static void say(const char *what, size_t n)
{
	if (n)
		dprintf(file, "%s %zu\n", what, n);
	else
		dprintf(file, "%s\n", what);
}

static void write_some(uint8_t *written)
{
	for (int i = 0; i < 100; i++) {
		size_t page = (size_t)rand() % PAGES;

		++mem[page * PAGE];
		written[page] = 1;
	}
}

/* How many of them are not told. */
static size_t missing(const struct pml_result *r, uint8_t *written)
{
	uint64_t base = (uintptr_t)mem;
	size_t n = 0;

	for (size_t i = 0; i < r->nranges; i++)
		for (uint64_t at = r->ranges[i].start; at < r->ranges[i].end; at += PAGE)
			if (at >= base && at < base + (uint64_t)PAGES * PAGE)
				written[(at - base) / PAGE] = 0;
	for (size_t i = 0; i < PAGES; i++)
		n += written[i];
	return n;
}

static int epoch(struct pml *t)
{
	uint8_t written[PAGES] = { 0 };
	const struct pml_result *r;
	int error;

	write_some(written);
	error = pml_collect(t, NULL, &r);
	if (error == -ESTALE) {
		say("stale", 0);
		return pml_start(t);
	}
	if (error)
		return error;
	if (r->flags & PML_RESULT_LOST)
		say("lost", 0);
	else
		say(missing(r, written) ? "missed" : "good", missing(r, written));
	return 0;
}

/* WP_ASYNC and nothing else. */
static int foreign(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = 1u << 15 };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return 1;
	say("good", 0);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const struct timespec pause = { 0, 50000000 };
	struct pml_options options = { .size = sizeof(options), .events = PML_DIRTY };
	struct pml_span watch;
	struct pml *t;
	int error;

	if (argc != 3) {
		fprintf(stderr, "usage: criu-self BACKEND FILE\n");
		return 2;
	}
	options.backend = argv[1];
	file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (file < 0 || mem == MAP_FAILED) {
		perror("criu-self");
		return 1;
	}
	memset(mem, 1, (size_t)PAGES * PAGE);
	if (!strcmp(argv[1], "foreign"))
		return foreign();
	watch = (struct pml_span){ (uintptr_t)mem, (uintptr_t)mem + (uint64_t)PAGES * PAGE };
	options.watch = &watch;
	options.nwatch = 1;
	error = pml_open(&t, &options);
	if (!error)
		error = pml_start(t);
	while (!error) {
		error = epoch(t);
		nanosleep(&pause, NULL);
	}
	dprintf(file, "error %d\n", error);
	return 1;
}
