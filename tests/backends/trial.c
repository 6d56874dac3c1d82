/* SPDX-License-Identifier: MIT */
/*
 * trial.c - a subject with a tracker on it.  What a result says is laid over
 * the pages of the region and compared with what the subject says it did:
 *   missed  a changed page that was not reported
 *   extra   a block of a granule reported as OBSERVED in which nothing changed
 *   excuse  a page reported as ASSUMED that was not first touched, dropped,
 *           swapped or replaced
 */
#define _GNU_SOURCE
#include "suite.h"

#include "tap.h"
#include "told.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Bits of view.soft beside those of oracle.h. */
#define UNDONE	4u	/* written, then dropped, in one epoch */
#define LATE	8u	/* dropped in the epoch before: found missing only now */
#define ABSENT	64u	/* dropped, and not seen since */
#define HUGE_SHIFT 21

enum verdict fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tap_vnote(fmt, ap);
	va_end(ap);
	return FAIL;
}

enum verdict skip(const struct context *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, c->why_size, fmt, ap);
	va_end(ap);
	return SKIP;
}

enum verdict in_child(const struct context *c, enum verdict (*run)(const struct context *c))
{
	int status = 0;
	pid_t child = fork();

	if (!child)
		_exit(run(c));
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	return WIFEXITED(status) ? (enum verdict)WEXITSTATUS(status) : FAIL;
}

int set_number(const char *path, long value, long *before)
{
	FILE *f = fopen(path, "r+");

	if (!f)
		return -errno;
	if (before && fscanf(f, "%ld", before) != 1)
		*before = 0;
	rewind(f);
	fprintf(f, "%ld\n", value);
	return fclose(f) ? -errno : 0;
}

int view_init(struct view *v, const struct subject *s)
{
	memset(v, 0, sizeof(*v));
	v->changed = calloc(5, s->pages);
	if (!v->changed)
		return -ENOMEM;
	v->soft = v->changed + s->pages;
	v->observed = v->soft + s->pages;
	v->assumed = v->observed + s->pages;
	v->uncovered = v->assumed + s->pages;
	return 0;
}

void view_free(struct view *v)
{
	free(v->changed);
	v->changed = NULL;
}

void view_clear(struct view *v, const struct subject *s)
{
	for (size_t i = 0; i < s->pages; i++) {
		bool seen = v->changed[i] || v->observed[i];

		if (v->soft[i] & ORACLE_DROPPED)
			v->soft[i] = LATE | ABSENT;
		else
			v->soft[i] = seen ? 0 : v->soft[i] & ABSENT;
	}
	memset(v->changed, 0, s->pages);
	memset(v->observed, 0, 3 * s->pages);
	v->lost = false;
}

void view_expect(struct view *v, const struct subject *s)
{
	for (size_t i = 0; i < s->pages; i++) {
		/* Written, then dropped, in one epoch: the content may be the old one. */
		if (v->changed[i] && (s->soft[i] & ORACLE_DROPPED))
			v->soft[i] |= UNDONE;
		v->changed[i] |= s->changed[i];
		v->soft[i] |= s->soft[i];
	}
}

static uint8_t log2_of(uint64_t granule)
{
	return granule ? (uint8_t)(63 - __builtin_clzll(granule)) : 63;
}

/* Lays ranges over the region. */
static void lay(const struct subject *s, const struct pml_range *r, uint8_t *set, uint8_t mark)
{
	uint64_t base = (uintptr_t)s->base, end = base + s->pages * s->page;
	uint64_t a = r->start > base ? r->start : base, b = r->end < end ? r->end : end;

	if ((pid_t)r->pid != s->pid || a >= b)
		return;
	memset(set + (a - base) / s->page, mark, (b - a + s->page - 1) / s->page);
}

static enum verdict check_range(const struct pml_range *r, const struct pml_range *before,
				const struct pml_result *all)
{
	if (r->start >= r->end || r->start % all->page_size || r->end % all->page_size)
		return fail("range %#lx-%#lx is empty or unaligned", r->start, r->end);
	if (before && before->pid == r->pid && before->end > r->start)
		return fail("range %#lx is not after %#lx", r->start, before->end);
	if (r->known > PML_ASSUMED)
		return fail("range %#lx in ranges[] has known %d", r->start, r->known);
	if ((r->known == PML_ASSUMED) != (r->reason != PML_REASON_NONE))
		return fail("range %#lx has known %d, reason %d", r->start, r->known, r->reason);
	if (!(r->events & PML_DIRTY))
		return fail("range %#lx has events %d", r->start, r->events);
	if (r->granule && r->granule % all->page_size)
		return fail("range %#lx has granule %lu", r->start, r->granule);
	return PASS;
}

static enum verdict check_form(const struct view *v, const struct trial *tr,
			       const struct pml_result *r)
{
	uint64_t dirty = 0, assumed = 0;

	for (size_t i = 0; i < r->nranges; i++) {
		TRY(check_range(&r->ranges[i], i ? &r->ranges[i - 1] : NULL, r));
		dirty += (r->ranges[i].end - r->ranges[i].start) / r->page_size;
		if (r->ranges[i].known == PML_ASSUMED)
			assumed += (r->ranges[i].end - r->ranges[i].start) / r->page_size;
	}
	if (r->dirty_pages != dirty || r->assumed_pages != assumed)
		return fail("pages: says %lu dirty, %lu assumed; ranges hold %lu, %lu",
			    r->dirty_pages, r->assumed_pages, dirty, assumed);
	for (size_t i = 0; i < r->nuncovered; i++)
		if (r->uncovered[i].known != PML_UNCOVERED || !r->uncovered[i].reason)
			return fail("uncovered[%zu] has known %d, reason %d", i,
				    r->uncovered[i].known, r->uncovered[i].reason);
	if (r->page_size != tr->s.page)
		return fail("page size %u, the machine's is %zu", r->page_size, tr->s.page);
	if (strcmp(r->backend, tr->c->backend) != 0)
		return fail("back-end %s, asked for %s", r->backend, tr->c->backend);
	if (r->epoch != v->epoch + 1)
		return fail("epoch %lu after %lu", r->epoch, v->epoch);
	if (r->begin_ns > r->end_ns)
		return fail("the interval ends before it begins");
	if (r->cost.coverage_ns > r->cost.collect_ns)
		return fail("the coverage reads took longer than the whole collect");
	return PASS;
}

enum verdict view_fold(struct view *v, const struct trial *tr, const struct pml_result *r)
{
	TRY(check_form(v, tr, r));
	for (size_t i = 0; i < r->nranges; i++) {
		const struct pml_range *range = &r->ranges[i];

		if (range->known == PML_ASSUMED)
			lay(&tr->s, range, v->assumed, (uint8_t)(1 + range->reason));
		else
			lay(&tr->s, range, v->observed, (uint8_t)(1 + log2_of(range->granule)));
	}
	/* what is said of everything first: any other reason of a page counts more */
	for (size_t i = 0; i < r->nuncovered; i++)
		if (is_general(r->uncovered[i].reason))
			lay(&tr->s, &r->uncovered[i], v->uncovered,
			    (uint8_t)(1 + r->uncovered[i].reason));
	for (size_t i = 0; i < r->nuncovered; i++)
		if (!is_general(r->uncovered[i].reason))
			lay(&tr->s, &r->uncovered[i], v->uncovered,
			    (uint8_t)(1 + r->uncovered[i].reason));
	if (r->flags & PML_RESULT_LOST)
		v->lost = true;
	if (!(r->flags & PML_RESULT_MORE))
		v->epoch = r->epoch;
	return PASS;
}

/* Is anything set within the granule around this page? */
static bool near(const struct subject *s, const uint8_t *set, size_t page, unsigned int shift)
{
	uint64_t address = (uintptr_t)s->base + page * s->page, size = 1ull << shift;
	uint64_t from = address & ~(size - 1), base = (uintptr_t)s->base;

	if (shift >= 48)
		return memchr(set, 1, s->pages);
	for (uint64_t a = from; a < from + size; a += s->page)
		if (a >= base && a < base + s->pages * s->page && set[(a - base) / s->page])
			return true;
	return false;
}

/* UNCOVERED for a reason that really means "such a write may go unseen here". */
static bool told(const struct trial *tr, uint8_t mark)
{
	int reason = mark - 1;

	if (tr->told_as)
		return reason == tr->told_as;
	if (reason == PML_REASON_REMOTE)
		return tr->remote;
	return mark && reason != PML_REASON_NOT_CHECKED && reason != PML_REASON_CLEAN_BY_HASH;
}

static bool excused(const struct view *v, const struct trial *tr, size_t page)
{
	unsigned int why = v->soft[page] & ~ABSENT;

	if (v->assumed[page] == 1 + PML_REASON_DROPPED)
		return why & ~(ORACLE_PROTECTED | (tr->c->sees & CLEANS ? 0 : ORACLE_CLEANED));
	why &= ~ORACLE_CLEANED;
	if (v->assumed[page] == 1 + PML_REASON_FIRST_SIGHT && (tr->c->sees & SPREADS))
		return why & ~LATE;
	return why & ~(LATE | ORACLE_PROTECTED);
}

/* Written, then dropped: the content may be the old one; and where nothing was at the
 * last collect, a back-end that does not see drops has only told of them. */
static bool undone(const struct view *v, const struct trial *tr, size_t page)
{
	return (v->soft[page] & UNDONE) &&
	       ((tr->c->sees & BY_CONTENT) || (!(tr->c->sees & SEES_DROPS) &&
					       v->uncovered[page] == 1 + PML_REASON_DROPS));
}

/* Nothing has changed there, but it counts as written. */
static bool counts(const struct view *v, const struct trial *tr, size_t page)
{
	if (v->soft[page] & ORACLE_DROPPED)
		return true;
	return (tr->c->sees & FILLS) && (v->soft[page] & ABSENT) &&
	       near(&tr->s, v->changed, page, HUGE_SHIFT);
}

enum verdict view_compare(struct view *v, const struct trial *tr)
{
	const struct subject *s = &tr->s;
	size_t missed = 0, extra = 0, excuse = 0, changed = 0;
	size_t first_missed = 0, first_extra = 0, first_excuse = 0;
	uint8_t reason = 0;

	for (size_t i = 0; i < s->pages; i++) {
		unsigned int shift = v->observed[i] ? v->observed[i] - 1u : 12;

		changed += v->changed[i];
		v->observed_pages += !!v->observed[i];
		v->assumed_pages += !!v->assumed[i];
		if (v->changed[i] && !v->observed[i] && !v->assumed[i] && !undone(v, tr, i)) {
			if (tr->told_is_enough && told(tr, v->uncovered[i])) {
				v->told_only++;
				v->how = v->uncovered[i] - 1;
			} else if (!missed++) {
				first_missed = i;
			}
		} else if (v->changed[i] && !v->observed[i] && v->assumed[i]) {
			v->assumed_only++;
			if (!v->told_only)
				v->how = v->assumed[i] - 1;
		}
		if (v->observed[i] && !near(s, v->changed, i, shift) &&
		    !counts(v, tr, i) && !v->lost && !extra++)
			first_extra = i;
		if (v->assumed[i] && !excused(v, tr, i) && !tr->relaxed && !v->lost && !excuse++) {
			first_excuse = i;
			reason = v->assumed[i] - 1;
		}
	}
	if (missed)
		fail("epoch %lu: missed %zu of %zu changed pages, the first is page %zu", v->epoch,
		     missed, changed, first_missed);
	if (extra)
		fail("epoch %lu: %zu pages OBSERVED that did not change, the first is page %zu",
		     v->epoch, extra, first_extra);
	if (excuse)
		fail("epoch %lu: %zu pages ASSUMED without an excuse, the first is page %zu (%s)",
		     v->epoch, excuse, first_excuse, pml_reason_name(reason));
	view_clear(v, s);
	return missed || extra || excuse ? FAIL : PASS;
}

enum verdict trial_do(struct trial *tr, const char *command)
{
	int error = subject_do(&tr->s, command);

	if (error == -ENOTSUP)
		return NOT_APPLICABLE;
	if (error == -EFAULT && (tr->c->sees & SPOILS_CALLS)) {
		snprintf(tr->c->why, tr->c->why_size, "the call fails with EFAULT: %s", command);
		return NOT_APPLICABLE;
	}
	if (error == -ENODATA)
		return skip(tr->c, "the kernel did not do it: %s", command);
	if (error)
		return fail("command '%s': %s", command, strerror(-error));
	view_expect(&tr->v, &tr->s);
	return PASS;
}

enum verdict trial_collect(struct trial *tr)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	const struct pml_result *r;

	do {
		int error = pml_collect(tr->t, &args, &r);

		if (error)
			return fail("pml_collect: %d, %s", error, pml_message(tr->t));
		TRY(view_fold(&tr->v, tr, r));
		args.start = r->resume;
		args.from_pid = r->resume_pid;
	} while (r->flags & PML_RESULT_MORE);
	return view_compare(&tr->v, tr);
}

enum verdict reader_step(struct view *v, const struct trial *tr, struct pml_reader *reader)
{
	const struct pml_result *r;
	int error = pml_reader_collect(reader, NULL, &r);

	if (error)
		return fail("pml_reader_collect: %d, %s", error, pml_message(tr->t));
	if (r->flags & PML_RESULT_MORE)
		return fail("a collect without budget was cut");
	TRY(view_fold(v, tr, r));
	return view_compare(v, tr);
}

enum verdict trial_step(struct trial *tr, const char *command)
{
	TRY(trial_do(tr, command));
	return trial_collect(tr);
}

enum verdict trial_begin(struct trial *tr, const struct context *c, const struct oracle_spec *spec,
			 uint32_t pml_flags, int flags)
{
	struct pml_options o = { .size = sizeof(o), .events = PML_DIRTY, .flags = pml_flags };
	struct pml_span watch;
	char message[512] = "";
	int error;

	memset(tr, 0, sizeof(*tr));
	tr->c = c;
	if ((flags & WATCH_ALL) && (c->sees & NAMED_ONLY))
		return NOT_APPLICABLE;
	error = subject_open(&tr->s, c, spec);
	if (error == -ENOMEM && spec->kind == ORACLE_HUGETLB)
		return skip(c, "no huge pages: see vm.nr_hugepages");
	if (error)
		return fail("subject: %s", strerror(-error));
	if (view_init(&tr->v, &tr->s))
		return fail("no memory");
	o.target = c->outside ? PML_TARGET_PID : PML_TARGET_SELF;
	o.pid = tr->s.pid;
	o.backend = c->backend;
	o.message = message;
	o.message_size = sizeof(message);
	if (!(flags & WATCH_ALL)) {
		watch.start = (uintptr_t)tr->s.base;
		watch.end = watch.start + tr->s.pages * tr->s.page;
		o.watch = &watch;
		o.nwatch = 1;
	}
	error = pml_open(&tr->t, &o);
	if (error)
		return fail("pml_open: %d, %s", error, message);
	if (flags & NO_START)
		return PASS;
	error = pml_start(tr->t);
	if (error)
		return fail("pml_start: %d, %s", error, pml_message(tr->t));
	return PASS;
}

void trial_end(struct trial *tr)
{
	/* for the matrix, and for the tables of docs/ that are made from it */
	if (tr->v.told_only || tr->v.assumed_only)
		snprintf(tr->c->why, tr->c->why_size, "%s (%s)",
			 tr->v.told_only ? "told" : "ASSUMED", pml_reason_name(tr->v.how));
	pml_close(tr->t);
	tr->t = NULL;
	subject_close(&tr->s);
	view_free(&tr->v);
}
