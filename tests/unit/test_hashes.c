/* SPDX-License-Identifier: MIT */
/*
 * test_hashes.c - hashes of pages tell what has changed, also around a page that
 * cannot be read.  Run by CTest.
 */
#define _GNU_SOURCE
#include "hashes.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 200u

/* Linux 6.13 */
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103

static struct pml_pool pool = { .limit = 64 << 20 };
static struct pml_proc process;
static struct pml_hashes hashes;
static struct pml_area area;
static unsigned char *memory;
static bool changed[PAGES];

static void begin(void)
{
	process.pool = &pool;
	process.page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	process.page_shift = (uint8_t)__builtin_ctz(process.page_size);
	process.dirfd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	memory = mmap(NULL, (size_t)PAGES * process.page_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(memory != MAP_FAILED && process.dirfd >= 0);
	memset(memory, 1, (size_t)PAGES * process.page_size);
	area.start = (uintptr_t)memory;
	area.end = area.start + (uint64_t)PAGES * process.page_size;
	cr_assert_eq(pml_hashes_init(&hashes, &process), 0);
}

static void finish(void)
{
	pml_hashes_free(&hashes);
	close(process.dirfd);
	munmap(memory, (size_t)PAGES * process.page_size);
}

static int note(void *arg, uint64_t start, uint64_t end_of, enum pml_hash_news news)
{
	(void)arg;
	for (uint64_t at = start; at < end_of; at += process.page_size)
		changed[(at - area.start) / process.page_size] = news == PML_HASH_CHANGED;
	return 0;
}

/* How many pages have changed. */
static unsigned int walk(void)
{
	uint64_t walk_end;
	unsigned int n = 0;

	memset(changed, 0, sizeof(changed));
	cr_assert_eq(pml_hashes_walk(&hashes, &process, &area, area.start, area.end, note, NULL,
				     NULL, &walk_end), 0);
	cr_assert_eq(walk_end, area.end);
	for (unsigned int i = 0; i < PAGES; i++)
		n += changed[i];
	return n;
}

static void store(unsigned int page)
{
	memory[(size_t)page * process.page_size + 7]++;
}

static int open_process(pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

Test(hashes, what_changed_is_told_once)
{
	begin();
	cr_assert_eq(walk(), PAGES);
	cr_assert_eq(walk(), 0);
	store(3);
	store(150);
	cr_assert_eq(walk(), 2);
	cr_assert(changed[3] && changed[150]);
	cr_assert_eq(walk(), 0);
	finish();
}

Test(hashes, a_page_that_cannot_be_read_hides_no_other)
{
	const unsigned int pages[] = { 2, 11, 40, 72, 80, 199 };
	const unsigned int n = sizeof(pages) / sizeof(pages[0]);

	begin();
	walk();
	if (madvise(memory + (size_t)10 * process.page_size, process.page_size, GUARD_INSTALL) ||
	    madvise(memory + (size_t)79 * process.page_size, process.page_size, GUARD_INSTALL))
		cr_skip_test("the kernel has no guard pages (Linux 6.13)");
	for (unsigned int i = 0; i < n; i++)
		store(pages[i]);
	cr_assert_eq(walk(), n);
	for (unsigned int i = 0; i < n; i++)
		cr_assert(changed[pages[i]]);
	madvise(memory + (size_t)10 * process.page_size, process.page_size, GUARD_REMOVE);
	cr_assert_eq(walk(), 1, "what was dropped shows when it can be read");
	cr_assert(changed[10]);
	finish();
}

Test(hashes, memory_that_is_gone_is_an_error)
{
	uint64_t walk_end;
	int status;
	pid_t pid;

	begin();
	pid = fork();
	if (!pid)
		_exit(pause());
	close(process.dirfd);
	pml_hashes_free(&hashes);
	process.dirfd = open_process(pid);
	cr_assert_eq(pml_hashes_init(&hashes, &process), 0);
	walk();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	cr_assert_eq(pml_hashes_walk(&hashes, &process, &area, area.start, area.end, note, NULL,
				     NULL, &walk_end), -ESRCH);
	finish();
}
