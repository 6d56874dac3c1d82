/* SPDX-License-Identifier: MIT */
/*
 * test_epml.c - what epml does beyond the behaviour suite: entries of one process
 * never reach the session of another, whoever shares a processor and addresses with
 * it; trackers by the device and by page tables go beside one another; references.
 * Run by CTest, and in guests that have the module and the device.
 *
 *   test-epml [EPOCHS [BACKEND]]
 *
 * The back-end may be spml as well: what is said here holds for both.
 */
#define _GNU_SOURCE
#include "pml.h"
#include "pml_uapi.h"
#include "tap.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES	 512u
#define PROCESSES 2

static volatile unsigned char *mem;
static size_t page;
static int epochs = 20;
static const char *logged = "epml";
static volatile unsigned int sum;

static struct pml *open_tracker(const char *backend, uint32_t events, pid_t pid)
{
	struct pml_span all = { (uintptr_t)mem, (uintptr_t)mem + PAGES * page };
	char message[256] = "";
	struct pml_options o = {
		.size = sizeof(o), .backend = backend, .events = events, .message = message,
		.message_size = sizeof(message), .watch = &all, .nwatch = 1,
		.target = pid ? PML_TARGET_PID : PML_TARGET_SELF, .pid = pid,
	};
	struct pml *t = NULL;

	if (pml_open(&t, &o)) {
		tap_note("%s: %s", backend, message);
		return NULL;
	}
	if (pml_start(t)) {
		tap_note("%s: %s", backend, pml_message(t));
		pml_close(t);
		return NULL;
	}
	return t;
}

/* Collects: the events of each page of mem.  False: it failed, or lost track. */
static bool collect(struct pml *t, uint8_t *set)
{
	const struct pml_result *r;
	uint64_t base = (uintptr_t)mem, end = base + PAGES * page;

	memset(set, 0, PAGES);
	if (pml_collect(t, NULL, &r) || (r->flags & PML_RESULT_LOST))
		return false;
	for (size_t i = 0; i < r->nranges; i++)
		for (uint64_t at = r->ranges[i].start; at < r->ranges[i].end; at += page)
			if (at >= base && at < end)
				set[(at - base) / page] |= (uint8_t)r->ranges[i].events;
	return true;
}

static size_t differing(const uint8_t *a, const uint8_t *b, uint8_t events)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += ((a[i] ^ b[i]) & events) != 0;
	return n;
}

/* Reads some pages, writes others; what each of them must be told as. */
static void touch(uint8_t *expect)
{
	for (size_t i = 0; i < PAGES; i++) {
		int what = rand() % 4;

		expect[i] = what == 1 ? PML_REFERENCED : what == 2 ? PML_DIRTY | PML_REFERENCED : 0;
		if (what == 1)
			sum += mem[i * page];
		else if (what == 2)
			++mem[i * page];
	}
}

static void told_apart(void)
{
	struct pml *t = open_tracker(logged, PML_DIRTY | PML_REFERENCED, 0);
	uint8_t expect[PAGES], got[PAGES];
	size_t wrong = 0;
	bool good = t && collect(t, got);

	for (int i = 0; good && i < epochs; i++) {
		touch(expect);
		good = collect(t, got);
		wrong += differing(expect, got, PML_DIRTY | PML_REFERENCED);
	}
	tap_ok(good && !wrong, "read and written pages are told apart: %zu of %zu differ", wrong,
	       (size_t)epochs * PAGES);
	pml_close(t);
}

/* Two by the device, one by page tables, each at a pace of its own. */
static void beside(void)
{
	const char *const backends[] = { logged, "ptscan", logged };
	uint8_t expect[PAGES], got[PAGES], since[3][PAGES] = { 0 };
	size_t wrong[3] = { 0 };
	struct pml *t[3];
	bool good = true;

	for (int k = 0; k < 3; k++) {
		t[k] = open_tracker(backends[k], PML_DIRTY, 0);
		good = good && t[k];
	}
	for (int k = 0; good && k < 3; k++)
		good = collect(t[k], got);
	for (int i = 0; good && i < 4 * epochs; i++) {
		touch(expect);
		for (int k = 0; good && k < 3; k++) {
			for (size_t p = 0; p < PAGES; p++)
				since[k][p] |= expect[p];
			if (i % (k + 1))
				continue;
			good = collect(t[k], got);
			wrong[k] += differing(since[k], got, PML_DIRTY);
			memset(since[k], 0, PAGES);
		}
	}
	tap_ok(good && !wrong[0] && !wrong[1] && !wrong[2],
	       "trackers by the device and by page tables do not steal: %zu, %zu, %zu pages differ",
	       wrong[0], wrong[1], wrong[2]);
	for (int k = 0; k < 3; k++)
		pml_close(t[k]);
}

/* ---- processes ---- */

struct writer {
	pid_t pid;
	int stop;		/* closed: it ends */
	struct pml *t;
};

/* Writes the pages of its own, and leaves the processor to the other. */
static void write_own(int which, int stop, bool one_processor)
{
	cpu_set_t first;
	char byte;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (one_processor && sched_setaffinity(0, sizeof(first), &first))
		_exit(1);
	while (read(stop, &byte, 1) < 0)
		for (size_t i = (size_t)which; i < PAGES; i += PROCESSES) {
			++mem[i * page];
			if (i % 32 < PROCESSES)
				sched_yield();
		}
	_exit(0);
}

static bool writer_start(struct writer *w, int which, bool one_processor)
{
	int pipe_ends[2];

	w->t = NULL;
	if (pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK))
		return false;
	w->stop = pipe_ends[1];
	w->pid = fork();
	if (!w->pid) {
		close(pipe_ends[1]);
		write_own(which, pipe_ends[0], one_processor);
	}
	close(pipe_ends[0]);
	w->t = w->pid > 0 ? open_tracker(logged, PML_DIRTY, w->pid) : NULL;
	return w->t;
}

static void writer_end(struct writer *w)
{
	pml_close(w->t);
	close(w->stop);
	if (w->pid > 0) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
	}
}

/* They were forked of one process: the same addresses, and other frames. */
static void isolated(bool one_processor, const char *where)
{
	struct writer w[PROCESSES] = { { .stop = -1 }, { .stop = -1 } };
	size_t strange = 0, own = 0;
	uint8_t got[PAGES];
	bool good = true;

	for (int k = 0; k < PROCESSES; k++)
		good = writer_start(&w[k], k, one_processor) && good;
	for (int k = 0; good && k < PROCESSES; k++)
		good = collect(w[k].t, got);
	for (int i = 0; good && i < epochs; i++) {
		usleep(20000);
		for (int k = 0; good && k < PROCESSES; k++) {
			good = collect(w[k].t, got);
			for (size_t p = 0; p < PAGES; p++)
				if (got[p] & PML_DIRTY)
					*(p % PROCESSES == (size_t)k ? &own : &strange) += 1;
		}
	}
	tap_ok(good && own && !strange,
	       "two processes with the same addresses, %s: %zu pages of their own, %zu of the other",
	       where, own, strange);
	for (int k = 0; k < PROCESSES; k++)
		writer_end(&w[k]);
}

/* ---- what the contract says of the calls ---- */

static void calls(void)
{
	int fd = open(PML_UAPI_DEVICE, O_RDWR | O_CLOEXEC);
	int other = open(PML_UAPI_DEVICE, O_RDWR | O_CLOEXEC);
	struct pml_uapi_stats before = { .size = sizeof(before) }, after = before;
	struct pml_uapi_add add = {
		.size = sizeof(add), .kind = PML_TARGET_SELF, .events = PML_EV_DIRTY,
		.mode = strcmp(logged, "spml") ? PML_MODE_EPML : PML_MODE_SPML,
	};
	struct pml_uapi_add ept = add;

	ept.flags = PML_ADD_TRIGGER_EPT;
	tap_ok(!ioctl(fd, PML_IOC_STATS, &before) && !ioctl(fd, PML_IOC_ADD, &add),
	       "a process is added by %s", logged);
	tap_ok(ioctl(other, PML_IOC_ADD, &ept) == -1, "... and by one trigger at a time");
	close(other);
	for (int i = 0; i < 100; i++)
		sched_yield();
	tap_ok(!ioctl(fd, PML_IOC_STATS, &after) && after.device_resets == before.device_resets,
	       "the device was never begun anew");
	close(fd);
	fd = open(PML_UAPI_DEVICE, O_RDWR | O_CLOEXEC);
	ioctl(fd, PML_IOC_STATS, &before);
	for (int i = 0; i < 100; i++) {
		sched_yield();
		usleep(100);
	}
	ioctl(fd, PML_IOC_STATS, &after);
	tap_ok(after.device_switches == before.device_switches &&
		       after.device_commands == before.device_commands,
	       "where nothing is tracked the device is told nothing: %llu switches, %llu commands",
	       after.device_switches - before.device_switches,
	       after.device_commands - before.device_commands);
	close(fd);
}

static bool is_here(char *why, size_t size)
{
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	for (int i = 0; i < n && i < 32; i++) {
		if (strcmp(info[i].name, logged) != 0)
			continue;
		strncpy(why, info[i].reason, size - 1);
		return info[i].available;
	}
	return false;
}

int main(int argc, char **argv)
{
	char why[256] = "";

	if (argc > 1)
		epochs = atoi(argv[1]);
	if (argc > 2)
		logged = argv[2];
	if (!is_here(why, sizeof(why))) {
		tap_skip(why, "%s", logged);
		return tap_done();
	}
	page = (size_t)sysconf(_SC_PAGESIZE);
	mem = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return 1;
	madvise((void *)mem, PAGES * page, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < PAGES; i++)
		mem[i * page] = 1;
	told_apart();
	beside();
	isolated(true, "on one processor");
	isolated(false, "on any");
	calls();
	return tap_done();
}
