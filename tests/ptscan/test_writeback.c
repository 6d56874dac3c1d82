/* SPDX-License-Identifier: MIT */
/*
 * test_writeback.c - a page of a shared file is written, and written again, while the
 * kernel is about to clean it: each collect has to tell what was written before it.
 * The kernel takes a moment for that, unless the module is told to make it linger
 * (PML_HOOK_LINGER of guest-kmod/track.h): then a collect comes before the page's
 * dirty bit is taken away, and one between that and the kernel's word that it is done.
 * Run by CTest, and in guests that have the module:
 *
 *   test-writeback [ROUNDS]
 */
#define _GNU_SOURCE
#include "common.h"
#include "tap.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

#define PAGES 128u	/* of which two are pages that linger */
#define LINGER_MS 400

static int file;

static void *write_back(void *arg)
{
	fsync(file);
	return arg;
}

/* How many of the two writes were not told. */
static int one_round(struct pml *t, volatile unsigned char *addr)
{
	pthread_t thread;
	int missed = 0;

	++*addr;
	if (pthread_create(&thread, NULL, write_back, NULL))
		return 2;
	sleep_ms(LINGER_MS / 4);
	missed += !is_told(t, addr);
	++*addr;
	sleep_ms(LINGER_MS);
	missed += !is_told(t, addr);
	pthread_join(thread, NULL);
	is_told(t, addr);
	return missed;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 3, missed = 0;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct pml_options options = { .events = PML_DIRTY };
	char path[] = "/var/tmp/pml-writeback-XXXXXX";
	unsigned char *mem, *lingers;
	struct statfs on;
	struct pml *t;

	file = mkostemp(path, O_CLOEXEC);
	if (file < 0 || unlink(path) || ftruncate(file, (off_t)(PAGES * page)) || fstatfs(file, &on)) {
		perror(path);
		return 1;
	}
	need_module();
	if (on.f_type == TMPFS_MAGIC) {
		tap_skip("/var/tmp is in memory: nothing is written back", "written back");
		return tap_done();
	}
	mem = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (mem == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	lingers = mem + (-(uintptr_t)mem & (64 * page - 1));
	memset(mem, 1, PAGES * page);
	fsync(file);
	t = start_tracker(&options);
	is_told(t, mem);
	for (int i = 0; i < rounds; i++)
		missed += one_round(t, lingers);
	tap_ok(!missed, "a page that is written back is told at each collect: %d of %d missed",
	       missed, 2 * rounds);
	pml_close(t);
	return tap_done();
}
