/* SPDX-License-Identifier: MIT */
/*
 * writer.c - a program that writes the pages it is told to, and no others of
 * its region.  Driven over standard input by the tests of the command:
 *   page-writer PAGES [KIND [THREADS]]
 * KIND is anon, thp (huge pages asked for), small (huge pages refused), memfd,
 * shared or private (a file).  Commands:
 *   w I J ...  write these pages, from THREADS threads, then say "ok"
 *   x          exec itself again, which prints the first line again
 * The first line printed is "PID START PAGES", START in hexadecimal.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_SIZE (2ul << 20)
#define MAX_THREADS 16

static unsigned char *region;
static size_t page_size;
static size_t pages;
static const char *kind;
static size_t nthreads;
static size_t list[65536];
static size_t nlist;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* A descriptor of what is mapped; -1 for anonymous memory. */
static int open_memory(size_t size)
{
	char name[] = "/var/tmp/page-writer-XXXXXX";
	int fd = -1;

	if (!strcmp(kind, "memfd"))
		fd = memfd_create("page-writer", MFD_CLOEXEC);
	else if (!strcmp(kind, "shared") || !strcmp(kind, "private"))
		fd = mkstemp(name);
	else
		return -1;
	if (fd < 0 || ftruncate(fd, (off_t)size))
		fail(kind);
	unlink(name);
	return fd;
}

static void make_region(void)
{
	size_t size = pages * page_size;
	/* Nobody's memory at either end keeps the region a mapping of its own. */
	char *hole = mmap(NULL, size + 2 * HUGE_SIZE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start = (char *)(((uintptr_t)hole + HUGE_SIZE) & ~(HUGE_SIZE - 1));
	int shared = !strcmp(kind, "memfd") || !strcmp(kind, "shared");
	int fd = open_memory(size);
	int flags = (fd < 0 ? MAP_ANONYMOUS : 0) | (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED;

	if (hole == MAP_FAILED ||
	    mmap(start, size, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED)
		fail("mmap");
	if (fd >= 0)
		close(fd);
	if (!strcmp(kind, "thp"))
		madvise(start, size, MADV_HUGEPAGE);
	if (!strcmp(kind, "small"))
		madvise(start, size, MADV_NOHUGEPAGE);
	region = (unsigned char *)start;
	for (size_t i = 0; i < pages; i++)
		region[i * page_size] = 1;
	printf("%d %" PRIxPTR " %zu\n", (int)getpid(), (uintptr_t)start, pages);
	fflush(stdout);
}

/* Every nthreads-th page of the list, from the thread's own number on. */
static void *write_share(void *number)
{
	for (size_t i = (size_t)number; i < nlist; i += nthreads)
		region[list[i] * page_size]++;
	return NULL;
}

static void write_pages(char *words)
{
	pthread_t threads[MAX_THREADS];

	nlist = 0;
	for (char *word = strtok(words, " \n"); word; word = strtok(NULL, " \n"))
		list[nlist++] = strtoul(word, NULL, 10) % pages;
	for (size_t i = 1; i < nthreads; i++)
		if (pthread_create(&threads[i], NULL, write_share, (void *)i))
			fail("pthread_create");
	write_share(0);
	for (size_t i = 1; i < nthreads; i++)
		pthread_join(threads[i], NULL);
	puts("ok");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static char line[sizeof(list) / sizeof(list[0]) * 6];

	page_size = (size_t)sysconf(_SC_PAGESIZE);
	pages = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
	kind = argc > 2 ? argv[2] : "anon";
	nthreads = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
	if (!pages || pages > sizeof(list) / sizeof(list[0]) || !nthreads || nthreads > MAX_THREADS)
		return 2;
	/* Unbuffered: what is read ahead would be lost in an exec. */
	setvbuf(stdin, NULL, _IONBF, 0);
	make_region();
	while (fgets(line, sizeof(line), stdin)) {
		if (line[0] == 'w') {
			write_pages(line + 1);
		} else if (line[0] == 'x') {
			execv("/proc/self/exe", argv);
			return 1;
		}
	}
	return 0;
}
