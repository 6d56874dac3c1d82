/* SPDX-License-Identifier: MIT */
/*
 * truth_readers.c - who collects, how much of it, and of what: several readers,
 * parts of the memory, budgets, lists to watch and to leave, and the
 * descriptor that tells when there is enough to collect.
 */
#define _GNU_SOURCE
#include "suite.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct oracle_spec plain(const struct context *c)
{
	return (struct oracle_spec){ .kind = ORACLE_ANON, .threads = 1, .pages = 1024,
				     .seed = c->seed };
}

static enum verdict other_do(struct trial *tr, struct view *other, const char *command)
{
	TRY(trial_do(tr, command));
	view_expect(other, &tr->s);
	return PASS;
}

/* Two readers, in random order: each gets everything since its own last time. */
static enum verdict two_readers(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct pml_reader *reader;
	unsigned int seed = (unsigned int)c->seed;
	struct view other;
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, NO_START));
	if (pml_reader_open(tr.t, &reader))
		return fail("pml_reader_open: %s", pml_message(tr.t));
	if (pml_start(tr.t))
		return fail("pml_start: %s", pml_message(tr.t));
	if (view_init(&other, &tr.s))
		return fail("no memory");
	for (int i = 0; i < c->epochs; i++) {
		TRY(other_do(&tr, &other, "mix"));
		switch (rand_r(&seed) % 4) {
		case 0:
			TRY(trial_collect(&tr));
			break;
		case 1:
			TRY(reader_step(&other, &tr, reader));
			break;
		case 2:
			TRY(reader_step(&other, &tr, reader));
			TRY(trial_collect(&tr));
			break;
		}
	}
	TRY(trial_collect(&tr));
	TRY(reader_step(&other, &tr, reader));
	TRY(trial_collect(&tr));
	TRY(reader_step(&other, &tr, reader));
	if (pml_reader_close(reader))
		return fail("pml_reader_close: %s", pml_message(tr.t));
	TRY(trial_step(&tr, "mix"));
	view_free(&other);
	trial_end(&tr);
	return PASS;
}

/* A reader that comes later sees what is written from then on. */
static enum verdict late_reader(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct pml_reader *reader;
	struct view other;
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_step(&tr, "write 100"));
	TRY(trial_do(&tr, "write 50"));
	if (pml_reader_open(tr.t, &reader))
		return fail("pml_reader_open: %s", pml_message(tr.t));
	if (view_init(&other, &tr.s))
		return fail("no memory");
	TRY(other_do(&tr, &other, "write 70"));
	TRY(reader_step(&other, &tr, reader));
	TRY(trial_collect(&tr));
	for (int i = 0; i < 8; i++) {
		TRY(other_do(&tr, &other, "mix"));
		TRY(trial_collect(&tr));
		TRY(other_do(&tr, &other, "mix"));
		TRY(reader_step(&other, &tr, reader));
	}
	/* The tracker ends its readers. */
	view_free(&other);
	trial_end(&tr);
	return PASS;
}

/* Opens the tracker with the least memory that holds it and one more reader. */
static enum verdict open_small(struct trial *tr, struct pml_reader **reader, size_t *memory)
{
	struct pml_span watch = { (uintptr_t)tr->s.base,
				  (uintptr_t)tr->s.base + tr->s.main_pages * tr->s.page };
	struct pml_options o = { .size = sizeof(o), .backend = tr->c->backend, .watch = &watch,
				 .nwatch = 1, .max_ranges = 64 };

	o.target = tr->c->outside ? PML_TARGET_PID : PML_TARGET_SELF;
	o.pid = tr->s.pid;
	for (*memory = 1; *memory <= (64u << 20); *memory *= 2) {
		o.max_memory = *memory;
		if (pml_open(&tr->t, &o))
			continue;
		if (!pml_reader_open(tr->t, reader) && !pml_start(tr->t))
			return PASS;
		pml_close(tr->t);
		tr->t = NULL;
	}
	return fail("no limit on memory was accepted up to 64 MiB");
}

/* All parts of one reader's epoch. */
static enum verdict drain(struct trial *tr, struct view *v, struct pml_reader *reader)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	const struct pml_result *r;

	do {
		int error = reader ? pml_reader_collect(reader, &args, &r) :
				     pml_collect(tr->t, &args, &r);

		/* its list of mappings grows with what is written */
		if (error == -ENOMEM && (tr->c->sees & SPOILS_CALLS))
			return skip(tr->c, "what this back-end itself keeps does not fit");
		if (error)
			return fail("collect: %d, %s", error, pml_message(tr->t));
		TRY(view_fold(v, tr, r));
		args.start = r->resume;
		args.from_pid = r->resume_pid;
	} while (r->flags & PML_RESULT_MORE);
	return PASS;
}

/* A reader whose set is full is told so, and is right again afterwards. */
static enum verdict overflow(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct trial tr = { .c = c };
	struct pml_reader *reader;
	struct view other;
	size_t memory;

	spec.pages = 16384;
	if (subject_open(&tr.s, c, &spec) || view_init(&tr.v, &tr.s) || view_init(&other, &tr.s))
		return fail("no subject");
	TRY(open_small(&tr, &reader, &memory));
	for (int i = 0; i < 12; i++) {
		TRY(other_do(&tr, &other, "write 4000"));
		TRY(drain(&tr, &tr.v, NULL));
		TRY(view_compare(&tr.v, &tr));
	}
	TRY(drain(&tr, &other, reader));
	if (!other.lost) {
		TRY(view_compare(&other, &tr));
		return skip(c, "a set within %zu bytes held 48,000 page writes", memory);
	}
	for (size_t i = 0; i < tr.s.main_pages; i++)
		if (!other.assumed[i] && !other.observed[i])
			return fail("page %zu is left out though all is lost", i);
	view_clear(&other, &tr.s);
	TRY(other_do(&tr, &other, "write 20"));
	TRY(drain(&tr, &other, reader));
	TRY(view_compare(&other, &tr));
	view_free(&other);
	trial_end(&tr);
	return PASS;
}

/* Of the expected, only what lies in [from, to) pages; the rest stays expected. */
static enum verdict part(struct trial *tr, size_t from, size_t to)
{
	struct pml_collect_args args = {
		.size = sizeof(args),
		.start = (uintptr_t)tr->s.base + from * tr->s.page,
		.end = (uintptr_t)tr->s.base + to * tr->s.page,
	};
	const struct pml_result *r;
	enum verdict verdict;
	struct view v;
	int error = pml_collect(tr->t, &args, &r);

	if (error)
		return fail("pml_collect of a part: %d, %s", error, pml_message(tr->t));
	for (size_t i = 0; i < r->nranges; i++)
		if (r->ranges[i].granule <= tr->s.page &&
		    (r->ranges[i].start < args.start || r->ranges[i].end > args.end))
			return fail("range %#lx is outside of what was asked for",
				    r->ranges[i].start);
	if (view_init(&v, &tr->s))
		return fail("no memory");
	v.epoch = tr->v.epoch;
	memcpy(v.changed + from, tr->v.changed + from, to - from);
	memcpy(v.soft + from, tr->v.soft + from, to - from);
	memset(tr->v.changed + from, 0, to - from);
	memset(tr->v.soft + from, 0, to - from);
	TRY(view_fold(&v, tr, r));
	tr->v.epoch = v.epoch;
	verdict = view_compare(&v, tr);
	view_free(&v);
	return verdict;
}

/* Collecting a part leaves the rest for later, unharmed. */
static enum verdict parts(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	unsigned int seed = (unsigned int)c->seed;
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_collect(&tr));
	for (int i = 0; i < 20; i++) {
		size_t from = (size_t)rand_r(&seed) % 1000;
		size_t to = from + 1 + (size_t)rand_r(&seed) % (1024 - from);

		TRY(trial_do(&tr, "write 100"));
		TRY(part(&tr, from, to));
		if (i % 4 == 3)
			TRY(trial_collect(&tr));
	}
	TRY(trial_collect(&tr));
	trial_end(&tr);
	return PASS;
}

/*
 * Collects with a budget: what is returned was expected and is taken off; what
 * is written between them comes now or in the next epoch, but comes.
 */
static enum verdict budget_epoch(struct trial *tr, struct pml_collect_args *args, bool writes)
{
	const struct pml_result *r;
	uint64_t last = 0;

	args->start = 0;
	args->from_pid = 0;
	do {
		struct view *v = &tr->v;
		int error = pml_collect(tr->t, args, &r);

		if (error)
			return fail("pml_collect: %d, %s", error, pml_message(tr->t));
		TRY(view_fold(v, tr, r));
		if (args->max_pages && tr->c->info.granularity == tr->s.page &&
		    r->dirty_pages > args->max_pages)
			return fail("%lu pages against a budget of %lu", r->dirty_pages,
				    args->max_pages);
		for (size_t i = 0; i < tr->s.pages; i++) {
			if (!v->observed[i] && !v->assumed[i])
				continue;
			if (v->observed[i] == 13 && !v->changed[i])
				return fail("page %zu came without a write since it last came", i);
			v->changed[i] = v->soft[i] = v->observed[i] = v->assumed[i] = 0;
		}
		if (!(r->flags & PML_RESULT_MORE))
			break;
		if (r->resume <= last)
			return fail("resume does not advance at %#lx", r->resume);
		last = r->resume;
		args->start = r->resume;
		args->from_pid = r->resume_pid;
		if (writes)
			TRY(trial_do(tr, "write 10"));
	} while (1);
	return PASS;
}

static enum verdict nothing_left(const struct trial *tr)
{
	for (size_t i = 0; i < tr->s.pages; i++)
		if (tr->v.changed[i])
			return fail("page %zu was never returned", i);
	return PASS;
}

static enum verdict budget(const struct context *c)
{
	struct pml_collect_args args = { .size = sizeof(args), .max_pages = 37 };
	struct oracle_spec spec = plain(c);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_collect(&tr));
	for (int i = 0; i < 10; i++) {
		TRY(trial_do(&tr, "write 300"));
		TRY(budget_epoch(&tr, &args, false));
		TRY(nothing_left(&tr));
		TRY(trial_do(&tr, "write 300"));
		TRY(budget_epoch(&tr, &args, true));
	}
	TRY(trial_collect(&tr));
	trial_end(&tr);
	return PASS;
}

/* A result with room for few ranges: cut, and resumed. */
static enum verdict few_ranges(const struct context *c)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	struct oracle_spec spec = plain(c);
	struct pml_options o = { .size = sizeof(o), .max_ranges = 16 };
	struct pml_span watch;
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, NO_START));
	pml_close(tr.t);
	watch.start = (uintptr_t)tr.s.base;
	watch.end = watch.start + tr.s.pages * tr.s.page;
	o.watch = &watch;
	o.nwatch = 1;
	o.target = c->outside ? PML_TARGET_PID : PML_TARGET_SELF;
	o.pid = tr.s.pid;
	o.backend = c->backend;
	if (pml_open(&tr.t, &o) || pml_start(tr.t))
		return fail("16 ranges are too few for pml_open or pml_start");
	TRY(budget_epoch(&tr, &args, false));
	for (int i = 0; i < 10; i++) {
		TRY(trial_do(&tr, "write 200"));
		TRY(budget_epoch(&tr, &args, false));
		TRY(nothing_left(&tr));
	}
	trial_end(&tr);
	return PASS;
}

/* What is left out is not reported; what is added is, as new, then exactly. */
static enum verdict watch_and_leave(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct trial tr;
	uint64_t base, page;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	base = (uintptr_t)tr.s.base;
	page = tr.s.page;
	TRY(trial_step(&tr, "writeall"));
	if (pml_leave(tr.t, base + 100 * page, base + 200 * page))
		return fail("pml_leave: %s", pml_message(tr.t));
	for (int i = 0; i < 6; i++) {
		TRY(trial_do(&tr, "writeall"));
		memset(tr.v.changed + 100, 0, 100);
		TRY(trial_collect(&tr));
	}
	if (pml_watch(tr.t, base + 100 * page, base + 150 * page))
		return fail("pml_watch: %s", pml_message(tr.t));
	TRY(trial_do(&tr, "writeall"));
	memset(tr.v.soft + 100, 1, 50);
	memset(tr.v.changed + 150, 0, 50);
	TRY(trial_collect(&tr));
	for (int i = 0; i < 6; i++) {
		TRY(trial_do(&tr, "writeall"));
		memset(tr.v.changed + 150, 0, 50);
		TRY(trial_collect(&tr));
		TRY(trial_step(&tr, "none"));
	}
	trial_end(&tr);
	return PASS;
}

/* A range that is named after the start was written before anybody looked. */
static enum verdict watch_later(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct pml_options o = { .size = sizeof(o) };
	struct pml_span watch;
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, NO_START));
	pml_close(tr.t);
	watch.start = (uintptr_t)tr.s.base + (tr.s.pages - 1) * tr.s.page;
	watch.end = watch.start + tr.s.page;
	o.watch = &watch;
	o.nwatch = 1;
	o.target = c->outside ? PML_TARGET_PID : PML_TARGET_SELF;
	o.pid = tr.s.pid;
	o.backend = c->backend;
	TRY(trial_do(&tr, "writeall"));
	if (pml_open(&tr.t, &o) || pml_start(tr.t))
		return fail("one page is too little for pml_open or pml_start");
	if (pml_watch(tr.t, (uintptr_t)tr.s.base, (uintptr_t)tr.s.base + 50 * tr.s.page))
		return fail("pml_watch: %s", pml_message(tr.t));
	memset(tr.v.changed, 0, tr.s.pages);
	memset(tr.v.changed, 1, 50);
	memset(tr.v.soft, 1, 50);
	TRY(trial_collect(&tr));
	for (int i = 0; i < 3; i++) {
		TRY(trial_do(&tr, "writeall"));
		memset(tr.v.changed + 50, 0, tr.s.pages - 51);
		TRY(trial_collect(&tr));
	}
	trial_end(&tr);
	return PASS;
}

static int readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1 && (p.revents & POLLIN);
}

/*
 * Whether the descriptor stays quiet.  What was being counted at the last collect may
 * be told after it, at any later moment of a busy machine, but once only.
 */
static bool stays_quiet(int fd)
{
	uint64_t count;

	for (int i = 0; i < 20; i++) {
		if (!readable(fd, 60))
			return true;
		if (read(fd, &count, sizeof(count)) != sizeof(count))
			break;
	}
	return false;
}

/* The descriptor tells when there is enough; counting takes nothing away. */
static enum verdict poll_descriptor(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	uint64_t count;
	struct trial tr;
	int fd;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_step(&tr, "writeall"));
	fd = pml_poll_fd(tr.t, 8, 5);
	if (fd == -ENOTSUP)
		return skip(c, "%s", pml_message(tr.t));
	if (fd < 0)
		return fail("pml_poll_fd: %d, %s", fd, pml_message(tr.t));
	for (int i = 0; i < 3; i++) {
		TRY(trial_do(&tr, "write 4"));
		if (!stays_quiet(fd))
			return fail("readable with at most 4 pages dirty");
		TRY(trial_do(&tr, "write 200"));
		if (!readable(fd, 20000))
			return fail("not readable with 100 pages dirty");
		TRY(trial_collect(&tr));
		if (read(fd, &count, sizeof(count)) != sizeof(count))
			return fail("the eventfd cannot be read: %s", strerror(errno));
	}
	if (pml_poll_fd(tr.t, 0, 5) < 0)
		return fail("pml_poll_fd(0) to end it: %s", pml_message(tr.t));
	TRY(trial_step(&tr, "writeall"));
	if (pml_poll_fd(tr.t, 1, 0) != -EINVAL || pml_poll_fd(tr.t, 1, 60001) != -EINVAL)
		return fail("intervals of 0 and 60,001 ms were taken");
	trial_end(&tr);
	return PASS;
}

/* As above, where it surely happens: pages so far apart that each costs much. */
static enum verdict overflow_sparse(const struct context *c)
{
	const size_t apart = (size_t)2 << 20, n = 16384;
	struct pml_options o = { .size = sizeof(o), .backend = c->backend, .max_ranges = 64 };
	struct pml_collect_args args = { .size = sizeof(args) };
	struct trial tr = { .c = c };
	struct pml_reader *reader;
	const struct pml_result *r;
	struct pml_span watch;
	uint64_t pages = 0;
	bool lost = false;
	char *m;

	m = mmap(NULL, n * apart, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m == MAP_FAILED || madvise(m, n * apart, MADV_NOHUGEPAGE))
		return skip(c, "32 GB of address space are not to be had");
	watch = (struct pml_span){ (uintptr_t)m, (uintptr_t)m + n * apart };
	o.watch = &watch;
	o.nwatch = 1;
	o.max_memory = 3u << 20;
	if (pml_open(&tr.t, &o) || pml_reader_open(tr.t, &reader) || pml_start(tr.t))
		return skip(c, "3 MiB are too little for this back-end");
	for (size_t i = 0; i < n; i++)
		m[i * apart] = 1;
	do {
		int error = pml_collect(tr.t, &args, &r);

		if (error == -ENOMEM && !strchr(pml_message(tr.t), ';'))
			return fail("out of memory, without words: '%s'", pml_message(tr.t));
		if (error == -ENOMEM)
			return skip(c, "what this back-end itself keeps does not fit into 3 MiB");
		if (error)
			return fail("pml_collect: %d, %s", error, pml_message(tr.t));
		args.start = r->resume;
	} while (r->flags & PML_RESULT_MORE);
	args.start = 0;
	do {
		if (pml_reader_collect(reader, &args, &r))
			return fail("pml_reader_collect: %s", pml_message(tr.t));
		lost |= !!(r->flags & PML_RESULT_LOST);
		pages += r->dirty_pages;
		args.start = r->resume;
	} while (r->flags & PML_RESULT_MORE);
	if (!lost)
		return fail("%lu pages in a set of at most 3 MiB, and nothing is lost", pages);
	if (pages < n * apart / 4096)
		return fail("all is lost, but only %lu pages are in the result", pages);
	pml_close(tr.t);
	munmap(m, n * apart);
	return PASS;
}

const struct truth truths_readers[] = {
	{ "readers", "two readers do not steal", two_readers, BOTH, false },
	{ "readers", "a reader that comes later", late_reader, BOTH, false },
	{ "readers", "a full set says lost", overflow, BOTH, false },
	{ "readers", "a full set says lost, pages far apart", overflow_sparse, SELF_ONLY, false },
	{ "readers", "a part collected leaves the rest", parts, BOTH, false },
	{ "readers", "a budget, resumed", budget, BOTH, false },
	{ "readers", "few ranges, resumed", few_ranges, BOTH, false },
	{ "readers", "watch and leave", watch_and_leave, BOTH, false },
	{ "readers", "named after the start", watch_later, BOTH, false },
	{ "readers", "the poll descriptor", poll_descriptor, BOTH, false },
	{ NULL, NULL, NULL, 0, false },
};
