/* SPDX-License-Identifier: MIT */
/*
 * test_references.c - what was read, what was written and what was left alone are
 * told apart by one tracker, epoch after epoch: whatever kind of memory it is,
 * however many threads there are, in this process and in another.  Run by CTest,
 * and in guests that have pml.ko:
 *
 *   test-references [EPOCHS] [SEED]
 */
#define _GNU_SOURCE
#include "common.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 1024u
#define HUGES 16u
#define HUGE ((size_t)2 << 20)
#define MAX_THREADS 4u

enum kind { ANON, ANON_HUGE, MEMFD, FILE_PRIVATE, FILE_SHARED, KINDS };

static const char *const kind_names[KINDS] = {
	"anon", "anon, huge pages", "memfd", "private file", "shared file",
};

/* Who touches, whom this process tells when to; shared with it if it is another. */
static struct subject {
	enum kind kind;
	unsigned int threads;
	pthread_barrier_t ready;	/* it has its memory */
	pthread_barrier_t begin;	/* of one round of touching */
	pthread_barrier_t end;
	unsigned int seed;		/* of that round */
	bool stop;
	unsigned char *base;		/* MAP_FAILED: it has no memory */
	size_t unit;			/* what is told apart: a page, or a huge one */
	size_t units;
} *subject;

struct thread {
	pthread_t id;
	unsigned int number;
};

struct cell {
	enum kind kind;
	unsigned int threads;
	bool outside;
};

struct counts {
	size_t told;	/* OBSERVED, and so it was */
	size_t missed;
	size_t wrong;	/* OBSERVED, and it was not */
	size_t assumed;
};

static int epochs = 20;
static unsigned int first_seed = 1;
static volatile unsigned int sum;

/* What happens to a unit in a round, as the events it must be told by. */
static uint8_t deed(unsigned int seed, size_t unit)
{
	uint64_t x = ((uint64_t)seed << 32 | unit) * 0x9e3779b97f4a7c15ull;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ull;
	switch (x >> 61) {
	case 0:
	case 1:
		return PML_REFERENCED;
	case 2:
	case 3:
		return PML_DIRTY | PML_REFERENCED;
	default:
		return 0;
	}
}

/* Each thread has its units, which lie between the others'. */
static void touch(unsigned int thread)
{
	for (size_t i = thread; i < subject->units; i += subject->threads) {
		volatile unsigned char *p = subject->base + i * subject->unit;

		switch (deed(subject->seed, i)) {
		case PML_REFERENCED:
			sum += *p;
			break;
		case PML_DIRTY | PML_REFERENCED:
			++*p;
			break;
		default:
			break;
		}
	}
}

static void *toucher(void *arg)
{
	const struct thread *t = arg;

	for (;;) {
		pthread_barrier_wait(&subject->begin);
		if (subject->stop)
			return NULL;
		touch(t->number);
		pthread_barrier_wait(&subject->end);
	}
}

static int open_file(enum kind kind, size_t size)
{
	char path[] = "/var/tmp/pml-references-XXXXXX";
	int fd;

	if (kind == MEMFD) {
		fd = memfd_create("pml-references", MFD_CLOEXEC);
	} else {
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
	}
	if (fd >= 0 && ftruncate(fd, (off_t)size)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Memory of its kind, all of which has been written. */
static void *get_memory(enum kind kind, size_t size)
{
	int flags = kind == MEMFD || kind == FILE_SHARED ? MAP_SHARED : MAP_PRIVATE;
	unsigned char *m;
	int fd = -1;

	if (kind == ANON || kind == ANON_HUGE)
		flags |= MAP_ANONYMOUS;
	else
		fd = open_file(kind, size);
	/* room to begin at a multiple of a huge page */
	m = mmap(NULL, size + (kind == ANON_HUGE ? HUGE : 0), PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (m == MAP_FAILED)
		return m;
	if (kind == ANON_HUGE)
		m = (unsigned char *)(((uintptr_t)m + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	if (madvise(m, size, kind == ANON_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		return MAP_FAILED;
	memset(m, 1, size);
	return m;
}

/* The whole life of a subject; its first thread touches, too. */
static void *live(void *unused)
{
	struct thread t[MAX_THREADS] = { 0 };

	(void)unused;
	subject->base = get_memory(subject->kind, subject->unit * subject->units);
	pthread_barrier_wait(&subject->ready);
	for (unsigned int i = 0; i < subject->threads; i++) {
		t[i].number = i;
		if (i && pthread_create(&t[i].id, NULL, toucher, &t[i]))
			abort();
	}
	toucher(&t[0]);
	for (unsigned int i = 1; i < subject->threads; i++)
		pthread_join(t[i].id, NULL);
	return NULL;
}

static void barrier(pthread_barrier_t *b, unsigned int n)
{
	pthread_barrierattr_t shared;

	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(b, &shared, n);
	pthread_barrierattr_destroy(&shared);
}

/* Its pid, or -1; it has its memory then, if there is enough. */
static pid_t begin_subject(const struct cell *c, pthread_t *self)
{
	pid_t pid = getpid();

	memset(subject, 0, sizeof(*subject));
	subject->kind = c->kind;
	subject->threads = c->threads;
	subject->unit = c->kind == ANON_HUGE ? HUGE : (size_t)sysconf(_SC_PAGESIZE);
	subject->units = c->kind == ANON_HUGE ? HUGES : PAGES;
	barrier(&subject->ready, 2);
	barrier(&subject->begin, c->threads + 1);
	barrier(&subject->end, c->threads + 1);
	if (c->outside) {
		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			live(NULL);
			_exit(0);
		}
	} else if (pthread_create(self, NULL, live, NULL)) {
		return -1;
	}
	if (pid > 0)
		pthread_barrier_wait(&subject->ready);
	return pid;
}

static void end_subject(const struct cell *c, pid_t pid, pthread_t self)
{
	subject->stop = true;
	pthread_barrier_wait(&subject->begin);
	if (c->outside)
		waitpid(pid, NULL, 0);
	else
		pthread_join(self, NULL);
}

static struct pml *open_tracker(const struct cell *c, pid_t pid)
{
	struct pml_span watch = {
		.start = (uintptr_t)subject->base,
		.end = (uintptr_t)subject->base + subject->unit * subject->units,
	};
	struct pml_options o = {
		.events = PML_DIRTY | PML_REFERENCED, .watch = &watch, .nwatch = 1,
		.target = c->outside ? PML_TARGET_PID : PML_TARGET_SELF,
		.pid = c->outside ? pid : 0,
	};

	return start_tracker(&o);
}

/* Lays what a result says over the units. */
static void lay(const struct pml_result *r, uint8_t *observed, uint8_t *assumed)
{
	uint64_t base = (uintptr_t)subject->base, end = base + subject->unit * subject->units;

	memset(observed, 0, PAGES);
	memset(assumed, 0, PAGES);
	for (size_t i = 0; i < r->nranges; i++) {
		const struct pml_range *range = &r->ranges[i];
		uint8_t *set = range->known == PML_OBSERVED ? observed : assumed;

		for (uint64_t at = range->start; at < range->end; at += r->page_size)
			if (at >= base && at < end)
				set[(at - base) / subject->unit] |= (uint8_t)range->events;
	}
}

/* 0, or -errno. */
static int round_of(struct pml *t, unsigned int seed, struct counts *n)
{
	uint8_t observed[PAGES], assumed[PAGES];
	const struct pml_result *r;
	int error;

	subject->seed = seed;
	pthread_barrier_wait(&subject->begin);
	pthread_barrier_wait(&subject->end);
	error = pml_collect(t, NULL, &r);
	if (error)
		return error;
	if (r->flags & (PML_RESULT_LOST | PML_RESULT_MORE))
		return -EOVERFLOW;
	lay(r, observed, assumed);
	for (size_t i = 0; i < subject->units; i++) {
		uint8_t expect = deed(seed, i);

		n->told += expect && observed[i] == expect;
		n->missed += (expect & ~(observed[i] | assumed[i])) != 0;
		n->wrong += (observed[i] & ~expect) != 0;
		n->assumed += assumed[i] != 0;
	}
	return 0;
}

static void run(const struct cell *c)
{
	pthread_t self = { 0 };
	struct counts n = { 0 };
	pid_t pid = begin_subject(c, &self);
	struct pml *t = NULL;
	int error = pid > 0 ? 0 : -EAGAIN;

	if (!error && subject->base != MAP_FAILED)
		t = open_tracker(c, pid);
	/* what was before the first collect is nobody's; a private file's pages become the
	 * process's own when they are first written */
	if (t) {
		struct counts ignored = { 0 };

		error = round_of(t, 0, &ignored);
	}
	for (int i = 0; t && !error && i < epochs; i++)
		error = round_of(t, first_seed + (unsigned int)i, &n);
	tap_ok(t && !error && n.told && !n.missed && !n.wrong,
	       "references, %s, %u thread%s, %s: %d epochs, %zu told, %zu missed, %zu wrong, %zu ASSUMED (%d)",
	       kind_names[c->kind], c->threads, c->threads > 1 ? "s" : "",
	       c->outside ? "outside" : "self", epochs, n.told, n.missed, n.wrong, n.assumed, error);
	pml_close(t);
	if (pid > 0)
		end_subject(c, pid, self);
	if (!c->outside && subject->base && subject->base != MAP_FAILED)
		munmap(subject->base, subject->unit * subject->units);
}

int main(int argc, char **argv)
{
	need_module();
	if (argc > 1)
		epochs = (int)strtol(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = (unsigned int)strtoul(argv[2], NULL, 10);
	stop_damon();
	subject = mmap(NULL, sizeof(*subject), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (subject == MAP_FAILED)
		return 1;
	for (int kind = 0; kind < KINDS; kind++)
		for (int i = 0; i < 4; i++)
			run(&(struct cell){ (enum kind)kind, i & 1 ? MAX_THREADS : 1, i & 2 });
	return tap_done();
}
