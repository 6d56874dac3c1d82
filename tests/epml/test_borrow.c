/* SPDX-License-Identifier: MIT */
/*
 * test_borrow.c - a kernel thread that borrows a memory and writes to it is a writer
 * as any: whichever processor it runs on, and whether that had the memory's page
 * tables loaded before (it was the last to run there) or has to load them.  Run by
 * CTest, which skips it, and in guests that have the module, the device and
 * borrow-kmod: tests/kmod/inside.
 *
 *   test-borrow [EPOCHS]
 */
#define _GNU_SOURCE
#include "memory.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 256u
#define DEVICE "/dev/pml-borrow"

/* As borrow-kmod/pml-borrow.c has it. */
struct borrow {
	uint64_t pid;
	uint64_t start;
	uint64_t pages;
	uint64_t cpu;
};

static int epochs = 20;

static bool ask(int fd, const struct borrow *what)
{
	return write(fd, what, sizeof(*what)) == sizeof(*what);
}

/* ---- another process that asks ---- */

struct helper {
	pid_t pid;
	int requests;
	int answers;
};

static void help(int fd, int requests, int answers)
{
	struct borrow what;
	char good;

	while (read(requests, &what, sizeof(what)) == sizeof(what)) {
		good = ask(fd, &what);
		if (write(answers, &good, 1) != 1)
			break;
	}
	_exit(0);
}

static bool helper_start(struct helper *h, int fd)
{
	int there[2], back[2];

	if (pipe2(there, O_CLOEXEC) || pipe2(back, O_CLOEXEC))
		return false;
	h->pid = fork();
	if (!h->pid) {
		close(there[1]);
		close(back[0]);
		help(fd, there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	h->requests = there[1];
	h->answers = back[0];
	return h->pid > 0;
}

static bool helper_ask(const struct helper *h, const struct borrow *what)
{
	char good = 0;

	return write(h->requests, what, sizeof(*what)) == sizeof(*what) &&
	       read(h->answers, &good, 1) == 1 && good;
}

static void helper_end(struct helper *h)
{
	close(h->requests);
	close(h->answers);
	waitpid(h->pid, NULL, 0);
}

/* ---- the truth ---- */

/* One run of pages, written by the kernel's thread; which, is noted. */
static bool have_written(const struct memory *m, int fd, const struct helper *h, unsigned int cpu,
			 uint8_t *dirty)
{
	size_t first = (size_t)rand() % m->pages, n = 1 + (size_t)rand() % (m->pages - first);
	struct borrow what = {
		.pid = (uint64_t)getpid(), .start = (uintptr_t)m->at + first * m->page,
		.pages = n, .cpu = cpu,
	};

	memset(dirty, 0, m->pages);
	memset(dirty + first, PML_DIRTY, n);
	return h ? helper_ask(h, &what) : ask(fd, &what);
}

static void told(const struct memory *m, int fd, const struct helper *h, unsigned int cpu)
{
	uint8_t dirty[PAGES], events[PAGES];
	struct told told = { .events = events };
	struct pml *t = memory_track(m, "epml", PML_DIRTY);
	bool good = t && memory_collect(m, t, &told);
	size_t missed = 0, wrong = 0;

	for (int i = 0; good && i < epochs; i++) {
		good = have_written(m, fd, h, cpu, dirty) && memory_collect(m, t, &told);
		missed += memory_missed(m, dirty, events);
		wrong += memory_differs(m, dirty, events);
	}
	tap_ok(good && !wrong,
	       "what a kernel thread writes in borrowed memory is told: processor %u, asked by %s: "
	       "%zu missed, %zu differ", cpu, h ? "another process" : "the process itself", missed,
	       wrong);
	pml_close(t);
}

int main(int argc, char **argv)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	const char *why = why_not("epml");
	int fd = open(DEVICE, O_WRONLY | O_CLOEXEC);
	struct helper h;
	struct memory m;

	if (argc > 1)
		epochs = atoi(argv[1]);
	if (fd < 0 && !*why)
		why = "there is no " DEVICE;
	if (*why) {
		tap_skip(why, "kernel threads that borrow a memory");
		return tap_done();
	}
	if (!helper_start(&h, fd))
		return 1;
	m = memory_make(PAGES);
	if (!m.at)
		return 1;
	for (long cpu = 0; cpu < processors; cpu++) {
		told(&m, fd, NULL, (unsigned int)cpu);
		told(&m, fd, &h, (unsigned int)cpu);
	}
	helper_end(&h);
	memory_free(&m);
	close(fd);
	return tap_done();
}
