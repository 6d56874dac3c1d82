/* SPDX-License-Identifier: MIT */
/*
 * truth_cover.c - what a tracker cannot see is told, never guessed: pinned
 * buffers, direct I/O, mappings written through elsewhere, mappings that
 * somebody else's userfaultfd owns, a second tracker.
 */
#define _GNU_SOURCE
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct oracle_spec spec_of(const struct context *c, enum oracle_kind kind)
{
	return (struct oracle_spec){ .kind = kind, .threads = 1, .pages = 1024, .seed = c->seed };
}

static size_t count(const uint8_t *set, size_t n, int reason)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += set[i] == 1 + reason;
	return found;
}

static enum verdict fold_next(struct trial *tr, const struct pml_result **r)
{
	int error = pml_collect(tr->t, NULL, r);

	if (error)
		return fail("pml_collect: %d, %s", error, pml_message(tr->t));
	return view_fold(&tr->v, tr, *r);
}

/* Written through a registered buffer, no page fault tells: always dirty then. */
static enum verdict pinned(const struct context *c)
{
	struct oracle_spec spec = spec_of(c, ORACLE_ANON);
	const struct pml_result *r;
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, NO_START));
	TRY(trial_do(&tr, "pin 16"));
	view_clear(&tr.v, &tr.s);
	if (pml_start(tr.t))
		return fail("pml_start: %s", pml_message(tr.t));
	TRY(fold_next(&tr, &r));
	view_clear(&tr.v, &tr.s);
	for (int i = 0; i < 10; i++) {
		size_t told;

		TRY(trial_do(&tr, "pinread 16"));
		TRY(fold_next(&tr, &r));
		for (size_t p = 0; p < 16; p++) {
			bool seen = tr.v.observed[p] || tr.v.assumed[p] || tr.v.uncovered[p];

			if (tr.v.changed[p] && !seen)
				return fail("page %zu was written by I/O and is not told", p);
		}
		told = count(tr.v.assumed, 16, PML_REASON_PINNED) +
		       count(tr.v.uncovered, 16, PML_REASON_UNKNOWN_PIN) +
		       count(tr.v.uncovered, 16, PML_REASON_IO);
		/* or the back-end itself finds them written, each time */
		for (size_t p = 0; p < 16; p++)
			told += !!tr.v.observed[p];
		if (!(c->sees & BY_CONTENT) && told < 16)
			return fail("%zu of 16 pinned pages are told as such", told);
		view_clear(&tr.v, &tr.s);
		TRY(trial_do(&tr, "write 50"));
		TRY(fold_next(&tr, &r));
		for (size_t p = 16; p < tr.s.pages; p++)
			if (tr.v.changed[p] && !tr.v.observed[p] && !tr.v.assumed[p])
				return fail("page %zu missed beside a pinned buffer", p);
		view_clear(&tr.v, &tr.s);
	}
	trial_end(&tr);
	return PASS;
}

static enum verdict direct_io(const struct context *c)
{
	struct oracle_spec spec = spec_of(c, ORACLE_ANON);
	const struct pml_result *r;
	size_t before, told;
	struct trial tr;

	if (c->sees & BY_CONTENT)
		return NOT_APPLICABLE;
	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(fold_next(&tr, &r));
	before = count(tr.v.uncovered, tr.s.main_pages, PML_REASON_IO);
	view_clear(&tr.v, &tr.s);
	TRY(trial_do(&tr, "direct"));
	TRY(fold_next(&tr, &r));
	told = count(tr.v.uncovered, tr.s.main_pages, PML_REASON_IO);
	if (before)
		return fail("%zu pages UNCOVERED (io) before there was direct I/O", before);
	if (told < tr.s.main_pages)
		return fail("a file open for direct I/O: %zu of %zu pages UNCOVERED (io)", told,
			    tr.s.main_pages);
	trial_end(&tr);
	return PASS;
}

static enum verdict told_as(const struct context *c, enum oracle_kind kind, const char *command,
			    int reason, size_t least)
{
	struct oracle_spec spec = spec_of(c, kind);
	const struct pml_result *r;
	struct trial tr;
	size_t told;

	TRY(trial_begin(&tr, c, &spec, 0, NO_START));
	TRY(trial_do(&tr, command));
	if (pml_start(tr.t))
		return fail("pml_start: %s", pml_message(tr.t));
	TRY(fold_next(&tr, &r));
	told = count(tr.v.uncovered, least, reason);
	if (told < least)
		return fail("%zu of %zu pages UNCOVERED (%s)", told, least,
			    pml_reason_name(reason));
	/* What it does see is right all the same. */
	view_clear(&tr.v, &tr.s);
	tr.told_is_enough = true;
	for (int i = 0; i < 6; i++)
		TRY(trial_step(&tr, "write 60"));
	trial_end(&tr);
	return PASS;
}

static enum verdict shared_memfd(const struct context *c)
{
	if (c->sees & BY_CONTENT)
		return NOT_APPLICABLE;
	return told_as(c, ORACLE_MEMFD, "share", PML_REASON_SHARED, 1024);
}

static enum verdict shared_file(const struct context *c)
{
	if (c->sees & BY_CONTENT || !(c->sees & SEES_FILES))
		return NOT_APPLICABLE;
	return told_as(c, ORACLE_FILE_SHARED, "share", PML_REASON_SHARED, 1024);
}

/* Written through another mapping: reported, or told. */
static enum verdict alias(const struct context *c)
{
	struct oracle_spec spec = spec_of(c, ORACLE_MEMFD);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_do(&tr, "share"));
	/* by content too: a page that is in no page table of this process is not
	 * read, and shows when it gets there */
	tr.told_is_enough = true;
	tr.relaxed = c->sees & BY_CONTENT;
	TRY(trial_collect(&tr));
	for (int i = 0; i < 8; i++) {
		TRY(trial_step(&tr, "alias 30"));
		TRY(trial_step(&tr, "write 30"));
	}
	trial_end(&tr);
	return PASS;
}

static enum verdict owned(const struct context *c)
{
	if (strcmp(c->backend, "wp-async") != 0 && strcmp(c->backend, "uffd-sync") != 0)
		return NOT_APPLICABLE;
	return told_as(c, ORACLE_ANON, "own 512", PML_REASON_OWNED, 512);
}

/* Private memory without I/O is covered in full: nothing is told in vain. */
static enum verdict nothing_in_vain(const struct context *c)
{
	struct oracle_spec spec = spec_of(c, ORACLE_ANON);
	const struct pml_result *r;
	struct trial tr;

	if (c->sees & BY_CONTENT && !c->outside)
		return NOT_APPLICABLE;
	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(fold_next(&tr, &r));
	for (size_t i = 0; i < tr.s.main_pages; i++)
		if (tr.v.uncovered[i] && tr.v.uncovered[i] != 1 + PML_REASON_CLEAN_BY_HASH &&
		    (tr.v.uncovered[i] != 1 + PML_REASON_FORCED || c->sees & SEES_REMOTE) &&
		    (tr.v.uncovered[i] != 1 + PML_REASON_DROPS || c->sees & SEES_DROPS) &&
		    (tr.v.uncovered[i] != 1 + PML_REASON_REMOTE || c->sees & SEES_REMOTE))
			return fail("page %zu is UNCOVERED (%s)", i,
				    pml_reason_name(tr.v.uncovered[i] - 1));
	trial_end(&tr);
	return PASS;
}

/* PML_NO_IO_CHECKS says that nobody looked. */
static enum verdict not_checked(const struct context *c)
{
	struct oracle_spec spec = spec_of(c, ORACLE_ANON);
	const struct pml_result *r;
	bool found = false;
	struct trial tr;

	if (c->sees & BY_CONTENT)
		return NOT_APPLICABLE;
	TRY(trial_begin(&tr, c, &spec, PML_NO_IO_CHECKS, 0));
	TRY(fold_next(&tr, &r));
	for (size_t i = 0; i < r->nuncovered; i++)
		found |= r->uncovered[i].reason == PML_REASON_NOT_CHECKED;
	if (!found)
		return fail("the result does not say that I/O was not checked");
	view_clear(&tr.v, &tr.s);
	for (int i = 0; i < 5; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

/* A second tracker takes nothing from the first, and knows what it cannot see. */
static enum verdict two_trackers(const struct context *c)
{
	struct oracle_spec spec = spec_of(c, ORACLE_ANON);
	struct pml_options o = { .size = sizeof(o), .backend = c->backend };
	const struct pml_result *r;
	struct trial tr, second;
	int error;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_collect(&tr));
	second = tr;
	second.t = NULL;
	o.target = c->outside ? PML_TARGET_PID : PML_TARGET_SELF;
	o.pid = tr.s.pid;
	o.watch = &(struct pml_span){ (uintptr_t)tr.s.base,
				      (uintptr_t)tr.s.base + tr.s.main_pages * tr.s.page };
	o.nwatch = 1;
	if (pml_open(&second.t, &o))
		return fail("pml_open of a second tracker");
	error = pml_start(second.t);
	if (error && !strchr(pml_message(second.t), ';'))
		return fail("a second tracker is refused without words (%d)", error);
	if (view_init(&second.v, &tr.s))
		return fail("no memory");
	second.told_is_enough = true;
	second.relaxed = true;
	for (int i = 0; i < 8; i++) {
		TRY(trial_do(&tr, "write 80"));
		view_expect(&second.v, &tr.s);
		TRY(trial_collect(&tr));
		if (error)
			continue;
		if (pml_collect(second.t, NULL, &r))
			return fail("the second tracker: %s", pml_message(second.t));
		TRY(view_fold(&second.v, &second, r));
		TRY(view_compare(&second.v, &second));
	}
	pml_close(second.t);
	/* Its end is not the end of the first. */
	for (int i = 0; i < 5; i++)
		TRY(trial_step(&tr, "mix"));
	view_free(&second.v);
	trial_end(&tr);
	return PASS;
}

#define KSM "/sys/kernel/mm/ksm/"

/*
 * Whether every changed page has its soft-dirty bit yet: newer kernels (6.12.118 has it)
 * keep the bit when they merge, and 6.1 sets it when it unmerges.  Then there is nothing
 * that a back-end which is blind to KSM could miss.
 */
static bool keeps_the_bits(const struct trial *tr)
{
	const struct subject *s = &tr->s;
	char path[64];
	bool kept = true;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", s->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; fd >= 0 && i < s->pages; i++) {
		off_t at = (off_t)(((uintptr_t)s->base / s->page + i) * sizeof(uint64_t));
		uint64_t word = 0;

		if (tr->v.changed[i] && pread(fd, &word, sizeof(word), at) == sizeof(word))
			kept &= word >> 55 & 1;
	}
	if (fd >= 0)
		close(fd);
	return kept;
}

static enum verdict nothing_to_miss(const struct context *c)
{
	return skip(c, "this kernel keeps the soft-dirty bit of what it merges");
}

static enum verdict merge_steps(const struct context *c)
{
	struct oracle_spec spec = spec_of(c, ORACLE_ANON);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	tr.told_is_enough = !(c->sees & SEES_MERGES);
	tr.told_as = PML_REASON_MERGED;
	TRY(trial_collect(&tr));
	TRY(trial_do(&tr, "merge 40"));
	if (c->negative && keeps_the_bits(&tr))
		return nothing_to_miss(c);
	TRY(trial_collect(&tr));
	TRY(trial_step(&tr, "write 60"));
	TRY(trial_do(&tr, "write 30"));
	TRY(trial_step(&tr, "merge 40"));
	TRY(trial_step(&tr, "none"));
	trial_end(&tr);
	return PASS;
}

/* All within one epoch, of which nothing is left to be seen. */
static enum verdict forget_steps(const struct context *c)
{
	struct oracle_spec spec = spec_of(c, ORACLE_ANON);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	tr.told_is_enough = !(c->sees & SEES_MERGES);
	tr.told_as = PML_REASON_MERGED;
	TRY(trial_step(&tr, "write 60"));
	TRY(trial_collect(&tr));
	TRY(trial_do(&tr, "merge 40"));
	TRY(trial_do(&tr, "unmerge"));
	if (c->negative && keeps_the_bits(&tr))
		return nothing_to_miss(c);
	TRY(trial_collect(&tr));
	trial_end(&tr);
	return PASS;
}

/* With KSM in a hurry. */
static enum verdict while_merging(const struct context *c,
				  enum verdict (*steps)(const struct context *c))
{
	long run = 0, pages = 0;
	enum verdict verdict;

	if (set_number(KSM "run", 1, &run))
		return skip(c, "no KSM in this kernel, or it cannot be switched on");
	set_number(KSM "pages_to_scan", 2000, &pages);
	verdict = in_child(c, steps);
	set_number(KSM "pages_to_scan", pages, NULL);
	set_number(KSM "run", run, NULL);
	return verdict;
}

/* Written, and then made one with others by the kernel, before anybody looked. */
static enum verdict merged(const struct context *c)
{
	return while_merging(c, merge_steps);
}

static enum verdict merged_and_forgotten(const struct context *c)
{
	return while_merging(c, forget_steps);
}

const struct truth truths_cover[] = {
	{ "coverage", "registered I/O buffers are always dirty", pinned, BOTH, false },
	{ "coverage", "direct I/O is told", direct_io, BOTH, false },
	{ "coverage", "a memfd mapped twice is told", shared_memfd, BOTH, false },
	{ "coverage", "a file mapped twice is told", shared_file, BOTH, false },
	{ "coverage", "written through another mapping", alias, BOTH, false },
	{ "coverage", "another userfaultfd's mapping is told", owned, BOTH, false },
	{ "coverage", "nothing is told in vain", nothing_in_vain, BOTH, false },
	{ "coverage", "I/O not checked is told", not_checked, BOTH, false },
	{ "coverage", "two trackers", two_trackers, BOTH, false },
	{ "coverage", "written, then merged by the kernel", merged, BOTH, true },
	{ "coverage", "written, merged by the kernel, and forgotten", merged_and_forgotten, BOTH, true },
	{ NULL, NULL, NULL, 0, false },
};
