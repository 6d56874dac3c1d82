/* SPDX-License-Identifier: MIT */
/* Where other threads are; see passers.h. */
#define _GNU_SOURCE
#include "passers.h"
#include "listing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* From a fault to its signal it is some microseconds; a hundred times that if the
 * processor is emulated. */
#define OWN_NS 5000000ull
#define STEP_NS 1000000
#define STEPS 1000u

struct passer {
	int32_t tid;		/* 0: it has passed */
	uint64_t ran_ns;	/* at the beginning */
};

struct passers {
	struct pml_pool *pool;
	struct pml_buf buf;	/* struct passer */
	size_t n;
	int tasks;		/* /proc/self/task */
	int32_t me;
};

/* How long the thread has run; false: it has ended. */
static bool has_run(int32_t tid, uint64_t *ns)
{
	/* as the kernel names a thread's clock: clock_getcpuclockid(3) does not */
	const clockid_t clock = (clockid_t)(~(uint32_t)tid << 3 | 6);
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		return false;
	*ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
	return true;
}

static int list_one(void *arg, const char *name)
{
	const int32_t tid = (int32_t)strtol(name, NULL, 10);
	struct passers *l = arg;
	struct passer *p;
	int err;

	if (tid == l->me)
		return 0;
	err = pml_buf_reserve(l->pool, &l->buf, (l->n + 1) * sizeof(*p));
	if (err)
		return err;
	p = (struct passer *)l->buf.p + l->n;
	p->tid = tid;
	if (has_run(tid, &p->ran_ns))
		l->n++;
	return 0;
}

/* Not in a fault: those sleep for a page, or a lock, and so as not to be woken.  Nor
 * stopped: what stops a thread may do so on its way to the handler. */
static bool sleeps_in_a_call(int tasks, int32_t tid)
{
	struct pml_stat s;

	return !pml_stat_read(&s, tasks, tid) &&
	       (*s.state == 'S' || *s.state == 'Z' || *s.state == 'X');
}

static bool has_passed(const struct passers *l, const struct passer *p)
{
	uint64_t ns;

	return !has_run(p->tid, &ns) || ns - p->ran_ns > OWN_NS ||
	       sleeps_in_a_call(l->tasks, p->tid);
}

static bool wait_for_all(struct passers *l)
{
	const struct timespec step = { 0, STEP_NS };
	struct passer *p = l->buf.p;
	size_t left = l->n;

	for (unsigned int steps = 0; left && steps < STEPS; steps++) {
		if (steps)
			nanosleep(&step, NULL);
		for (size_t i = 0; i < l->n; i++)
			if (p[i].tid && has_passed(l, p + i)) {
				p[i].tid = 0;
				left--;
			}
	}
	return !left;
}

bool pml_passers_gone(struct pml_pool *pool)
{
	struct passers l = { .pool = pool, .me = (int32_t)syscall(SYS_gettid) };
	bool gone = false;

	l.tasks = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l.tasks < 0)
		return false;
	if (!pml_list(l.tasks, list_one, &l))
		gone = wait_for_all(&l);
	pml_buf_free(&l.buf);
	close(l.tasks);
	return gone;
}
