/* SPDX-License-Identifier: MIT */
/*
 * test_spml.c - what the log of frames does that no log of addresses does: what the
 * kernel writes by its own mapping is seen, a frame is told at each address that maps
 * it, frames of others are told at none, and a page that gets another frame before
 * anybody looks is not lost.  Speaks to the module itself.  Run by CTest, and in guests
 * that have the module and the device: tests/kmod/inside.
 *
 *   test-spml [EPOCHS]
 */
#define _GNU_SOURCE
#include "pml_uapi.h"
#include "session.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	 4096u
#define PAGES	 512u
#define MANY	 16384u		/* pages; their tables are more than a few frames cost */
#define HUGE	 (PAGES * PAGE)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static int session, target;
static int epochs = 20;

static unsigned char *map(size_t pages, int fd)
{
	unsigned char *m = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	if (m == MAP_FAILED) {
		tap_ok(0, "memory: %s", strerror(errno));
		exit(tap_done());
	}
	madvise(m, pages * PAGE, MADV_NOHUGEPAGE);
	return m;
}

static void fill(unsigned char *m, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		m[i * PAGE] = 1;
}

static struct pml_uapi_stats stats(void)
{
	struct pml_uapi_stats s = { .size = sizeof(s) };

	ioctl(session, PML_IOC_STATS, &s);
	return s;
}

/* An epoch begins. */
static bool begin(const void *m, size_t pages)
{
	return !session_collect(session, target, 0, (uintptr_t)m, (uintptr_t)m + pages * PAGE, NULL);
}

/* Ends it: how many of the pages differ from what is expected. */
static size_t differing(const unsigned char *m, size_t pages, const unsigned char *expect)
{
	uint64_t base = (uintptr_t)m;
	size_t n = 0;
	struct harvest h;

	if (session_collect(session, target, 0, base, base + pages * PAGE, &h))
		return SIZE_MAX;
	for (size_t i = 0; i < pages; i++, base += PAGE)
		n += harvest_has(&h, base, base + PAGE) != (expect[i] != 0);
	harvest_free(&h);
	return n;
}

/* Some pages, other ones each time. */
static void choose(unsigned char *chosen, size_t pages, size_t n)
{
	memset(chosen, 0, pages);
	while (n--)
		chosen[(size_t)rand() % pages] = 1;
}

/* ---- what the kernel writes ---- */

static void by_call(unsigned char *to, int memory)
{
	struct iovec local = { (void *)"x", 1 }, remote = { to, 1 };

	if (memory >= 0)
		pwrite(memory, "y", 1, (off_t)(uintptr_t)to);
	else
		process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
}

static void kernel_writes(const char *what, int memory)
{
	unsigned char chosen[PAGES], *m = map(PAGES, -1);
	size_t wrong = 0;

	fill(m, PAGES);
	begin(m, PAGES);
	for (int i = 0; i < epochs; i++) {
		choose(chosen, PAGES, 1 + (size_t)rand() % 60);
		for (size_t p = 0; p < PAGES; p++)
			if (chosen[p])
				by_call(m + p * PAGE, memory);
		wrong += differing(m, PAGES, chosen);
	}
	tap_ok(!wrong, "what the process writes to itself by %s is told, and no more: %zu pages differ",
	       what, wrong);
	munmap(m, PAGES * PAGE);
}

/* ---- aliases ---- */

/* A memfd is mapped twice: what is written at one address is told at both. */
static void aliases(size_t written, const char *how)
{
	int fd = memfd_create("spml", MFD_CLOEXEC);
	unsigned char chosen[PAGES], *one, *two;
	size_t wrong = 0;

	if (!tap_ok(!ftruncate(fd, (off_t)PAGES * PAGE), "a memfd"))
		return;
	one = map(PAGES, fd);
	two = map(PAGES, fd);
	fill(one, PAGES);
	fill(two, PAGES);
	begin(one, PAGES);
	begin(two, PAGES);
	for (int i = 0; i < epochs; i++) {
		choose(chosen, PAGES, written);
		for (size_t p = 0; p < PAGES; p++)
			if (chosen[p])
				++(p % 2 ? one : two)[p * PAGE];
		wrong += differing(one, PAGES, chosen);
		wrong += differing(two, PAGES, chosen);
	}
	tap_ok(!wrong, "a frame is told at both addresses that map it, %s: %zu pages differ", how,
	       wrong);
	munmap(one, PAGES * PAGE);
	munmap(two, PAGES * PAGE);
	close(fd);
}

/* ---- both ways of finding them ---- */

static void both_ways(void)
{
	struct pml_uapi_stats before = stats(), after;
	unsigned char *chosen = calloc(1, MANY), *m = map(MANY, -1);
	size_t wrong = 0;

	fill(m, MANY);
	begin(m, MANY);
	for (int i = 0; i < epochs; i++) {
		choose(chosen, MANY, i % 2 ? 8 : MANY / 4);
		for (size_t p = 0; p < MANY; p++)
			if (chosen[p])
				++m[p * PAGE];
		wrong += differing(m, MANY, chosen);
	}
	after = stats();
	tap_ok(!wrong, "few pages and many, of %u: %zu differ", MANY, wrong);
	tap_ok(after.log_joins > before.log_joins && after.log_lookups > before.log_lookups,
	       "... found by going through the tables %llu times, and %llu times one by one",
	       after.log_joins - before.log_joins, after.log_lookups - before.log_lookups);
	munmap(m, MANY * PAGE);
	free(chosen);
}

/* ---- frames of others ---- */

/* The kernel writes its own memory for us, and the file's pages are not mapped. */
static void strangers(void)
{
	struct pml_uapi_stats before = stats(), after;
	unsigned char chosen[PAGES] = { 0 }, *m = map(PAGES, -1);
	int fd = memfd_create("spml", MFD_CLOEXEC);
	size_t wrong = 0;

	fill(m, PAGES);
	begin(m, PAGES);
	for (int i = 0; i < epochs; i++) {
		for (size_t p = 0; p < PAGES / 2; p++)
			if (write(fd, m, PAGE) != PAGE)
				wrong++;
		if (lseek(fd, 0, SEEK_SET))
			wrong++;
		wrong += differing(m, PAGES, chosen);
	}
	after = stats();
	tap_ok(!wrong, "nothing is told of frames that the process does not map: %zu pages differ",
	       wrong);
	tap_ok(after.log_frames - before.log_frames >
		       after.log_mapped - before.log_mapped + (uint64_t)epochs * PAGES / 2,
	       "... though %llu frames were logged, of which %llu are mapped",
	       after.log_frames - before.log_frames, after.log_mapped - before.log_mapped);
	munmap(m, PAGES * PAGE);
	close(fd);
}

/* ---- pages that move ---- */

/*
 * A process that is not tracked, and shares none of these pages, has the kernel put
 * them into a huge page: each of them has another frame then.
 */
struct helper {
	pid_t pid;
	int to;
	int from;
};

static void help(int parent, int from, int to)
{
	void *at;

	while (read(from, &at, sizeof(at)) == sizeof(at)) {
		struct iovec all = { at, HUGE };
		char done = syscall(SYS_process_madvise, parent, &all, 1, MADV_COLLAPSE, 0) ==
			    (long)HUGE;

		if (write(to, &done, 1) != 1)
			break;
	}
	_exit(0);
}

static bool helper_start(struct helper *h)
{
	int parent = (int)syscall(SYS_pidfd_open, getpid(), 0), to[2], from[2];

	if (parent < 0 || pipe(to) || pipe(from))
		return false;
	h->pid = fork();
	if (!h->pid) {
		close(to[1]);
		help(parent, to[0], from[1]);
	}
	close(parent);
	close(to[0]);
	close(from[1]);
	h->to = to[1];
	h->from = from[0];
	return h->pid > 0;
}

static bool collapse(const struct helper *h, unsigned char *m)
{
	char done = 0;

	return write(h->to, &m, sizeof(m)) == sizeof(m) && read(h->from, &done, 1) == 1 && done;
}

/* One epoch: pages are written, and moved; how many of them are not told. */
static size_t move_written(const struct helper *h, unsigned char *m, size_t *times)
{
	unsigned char chosen[PAGES];
	uint64_t base = (uintptr_t)m;
	size_t missed = 0;
	struct harvest got;

	/* small pages again */
	madvise(m, HUGE, MADV_DONTNEED);
	madvise(m, HUGE, MADV_NOHUGEPAGE);
	fill(m, PAGES);
	begin(m, PAGES);
	choose(chosen, PAGES, 40);
	for (size_t p = 0; p < PAGES; p++)
		if (chosen[p])
			++m[p * PAGE];
	madvise(m, HUGE, MADV_HUGEPAGE);
	*times += collapse(h, m);
	if (session_collect(session, target, 0, base, base + HUGE, &got))
		return PAGES;
	for (size_t p = 0; p < PAGES; p++, base += PAGE)
		missed += chosen[p] && !harvest_has(&got, base, base + PAGE);
	harvest_free(&got);
	return missed;
}

static void moved(void)
{
	struct helper h = { .pid = 0 };
	unsigned char *area, *m;
	size_t missed = 0, times = 0;

	if (!helper_start(&h)) {
		tap_ok(0, "a process that helps: %s", strerror(errno));
		return;
	}
	area = map(2 * PAGES, -1);
	m = (unsigned char *)(((uintptr_t)area + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	for (int i = 0; i < epochs; i++)
		missed += move_written(&h, m, &times);
	if (times || missed)
		tap_ok(!missed, "pages that got other frames before anybody looked, %zu times: %zu missed",
		       times, missed);
	else
		tap_skip("the kernel puts no pages together on request", "pages that got other frames");
	munmap(area, 2 * HUGE);
	close(h.to);
	close(h.from);
	waitpid(h.pid, NULL, 0);
}

/* ---- what the contract says of the calls ---- */

static void calls(void)
{
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = PML_TARGET_SELF, .mode = PML_MODE_EPML,
		.events = PML_EV_DIRTY,
	};
	int other = session_open();

	tap_ok(ioctl(other, PML_IOC_ADD, &add) == -1 && errno == EBUSY,
	       "a process that is tracked by frames cannot be tracked by addresses besides");
	add.mode = PML_MODE_PTSCAN;
	tap_ok(!ioctl(other, PML_IOC_ADD, &add), "... but by its page tables");
	close(other);
}

static bool add_self(void)
{
	struct pml_uapi_info info = { .size = sizeof(info) };
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = PML_TARGET_SELF, .mode = PML_MODE_SPML,
		.events = PML_EV_DIRTY,
	};

	if (ioctl(session, PML_IOC_INFO, &info) || !(info.modes & PML_MODE_SPML)) {
		tap_skip((const char *)info.device_words, "spml");
		return false;
	}
	if (!tap_ok(!ioctl(session, PML_IOC_ADD, &add), "a process is added by SPML"))
		return false;
	target = (int)add.target;
	return true;
}

int main(int argc, char **argv)
{
	int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	if (argc > 1)
		epochs = atoi(argv[1]);
	need_module();
	session = session_open();
	if (!add_self())
		return tap_done();
	kernel_writes("process_vm_writev", -1);
	kernel_writes("/proc/self/mem", memory);
	both_ways();
	aliases(PAGES / 2, "many at once");
	aliases(2, "few at once");
	strangers();
	moved();
	calls();
	close(session);
	return tap_done();
}
