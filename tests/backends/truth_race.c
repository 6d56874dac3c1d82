/* SPDX-License-Identifier: MIT */
/*
 * truth_race.c - writers that do not wait for anybody: each reported page is
 * copied after the collect that reported it.  When the writers have stopped and
 * one more collect has been made, the copy must be the memory, word for word.
 */
#define _GNU_SOURCE
#include "suite.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static enum verdict copy_reported(struct trial *tr, unsigned char *shadow, uint64_t *pages)
{
	const struct subject *s = &tr->s;
	struct view *v = &tr->v;

	for (size_t i = 0; i < s->main_pages; i++) {
		size_t n = 0;

		while (i + n < s->main_pages && n < 256 &&
		       (v->observed[i + n] || v->assumed[i + n]))
			n++;
		if (!n)
			continue;
		if (subject_copy(s, i, n, shadow + i * s->page))
			return fail("page %zu could not be copied", i);
		*pages += n;
		i += n - 1;
	}
	view_clear(v, s);
	return PASS;
}

/* Whether a result says that the writers did not stop for it: then what they wrote
 * meanwhile may be lost, and that is told. */
static bool tells_of_race(const struct pml_result *r)
{
	for (size_t i = 0; i < r->nuncovered; i++)
		if (r->uncovered[i].reason == PML_REASON_RACE)
			return true;
	return false;
}

static enum verdict collect_and_copy(struct trial *tr, unsigned char *shadow, uint64_t *pages)
{
	const struct pml_result *r;
	int error = pml_collect(tr->t, NULL, &r);

	if (error)
		return fail("pml_collect: %d, %s", error, pml_message(tr->t));
	if (tells_of_race(r))
		return skip(tr->c, "the machine is too busy to stop the writers in time");
	TRY(view_fold(&tr->v, tr, r));
	if (tr->v.lost)
		return fail("track was lost in a race");
	return copy_reported(tr, shadow, pages);
}

/* By how much the first lost word is behind tells an old page from a late write. */
static enum verdict compare(const struct trial *tr, const unsigned char *shadow)
{
	const struct subject *s = &tr->s;
	size_t lost_words = 0, lost_pages = 0, first = 0, first_at = 0, page_before = SIZE_MAX;
	uint64_t is, copied, first_is = 0, first_copied = 0;
	unsigned char *page = malloc(s->page);

	for (size_t i = 0; page && i < s->main_pages; i++) {
		if (subject_copy(s, i, 1, page))
			return fail("page %zu could not be read", i);
		for (size_t at = 0; at < s->page; at += 8) {
			memcpy(&is, page + at, 8);
			memcpy(&copied, shadow + i * s->page + at, 8);
			if (is == copied)
				continue;
			if (!lost_words++) {
				first = i;
				first_at = at;
				first_is = is;
				first_copied = copied;
			}
			lost_pages += i != page_before;
			page_before = i;
		}
	}
	free(page);
	if (lost_words)
		return fail("%zu words in %zu pages lost, the first at %zu of page %zu: %#lx, copied as %#lx",
			    lost_words, lost_pages, first_at, first, first_is, first_copied);
	return PASS;
}

/* Some collects under way, then a halt: is the copy the memory? */
static enum verdict round_of(struct trial *tr, unsigned char *shadow, const char *command,
			     int collects, uint64_t *pages)
{
	struct timespec pause = { 0, 200000 };
	uint64_t before = *pages;
	int error = subject_do(&tr->s, command);

	if (error)
		return fail("command '%s': %s", command, strerror(-error));
	for (int i = 0; i < collects; i++) {
		TRY(collect_and_copy(tr, shadow, pages));
		/* Some collects come at once, some a little later. */
		if (i % 3 == 2)
			nanosleep(&pause, NULL);
	}
	subject_do(&tr->s, "stop");
	TRY(collect_and_copy(tr, shadow, pages));
	if (*pages == before)
		return fail("the writers wrote, and no page was reported");
	return compare(tr, shadow);
}

/*
 * Halts are many, for a page that was lost is found again as soon as it is
 * written once more.
 */
static enum verdict run(const struct context *c, const struct oracle_spec *spec,
			const char *meanwhile, const char *command, uint32_t flags)
{
	unsigned char *shadow;
	uint64_t pages = 0;
	struct trial tr;
	int done;

	TRY(trial_begin(&tr, c, spec, flags, 0));
	shadow = malloc(tr.s.main_pages * tr.s.page);
	if (!shadow || subject_copy(&tr.s, 0, tr.s.main_pages, shadow))
		return fail("no first copy");
	TRY(collect_and_copy(&tr, shadow, &pages));
	TRY(trial_do(&tr, meanwhile));
	pages = 0;
	for (done = 0; done < c->collects; done += 10)
		TRY(round_of(&tr, shadow, command, 10, &pages));
	tap_note("%d collects reported %lu pages, %zu there are", done, pages, tr.s.main_pages);
	free(shadow);
	trial_end(&tr);
	return PASS;
}

/* meanwhile: what goes on all the time, beside the writers. */
static enum verdict race_beside(const struct context *c, enum oracle_kind kind, int thp,
				const char *meanwhile, const char *command, uint32_t flags)
{
	struct oracle_spec spec = {
		.kind = kind, .thp = thp, .threads = 1, .pages = 8192, .seed = c->seed,
	};

	/* Where every page is read, or a sanitizer looks on, a quarter will do. */
	if (c->sees & BY_CONTENT || c->collects < 300)
		spec.pages = 2048;
	if (!(c->sees & SEES_RACES) || (is_file(kind) && !(c->sees & SEES_FILES)))
		return NOT_APPLICABLE;
	return run(c, &spec, meanwhile, command, flags);
}

static enum verdict race(const struct context *c, enum oracle_kind kind, int thp,
			 const char *command, uint32_t flags)
{
	return race_beside(c, kind, thp, "none", command, flags);
}

static enum verdict anon_1(const struct context *c)
{
	return race(c, ORACLE_ANON, 0, "race 1", 0);
}

static enum verdict anon_4(const struct context *c)
{
	return race(c, ORACLE_ANON, 0, "race 4", 0);
}

/* What is written between a look and the next step is the last word for long. */
static enum verdict anon_rarely(const struct context *c)
{
	return race(c, ORACLE_ANON, 0, "rarely 4", 0);
}

static enum verdict anon_thp(const struct context *c)
{
	return race(c, ORACLE_ANON, 1, "race 3", 0);
}

static enum verdict memfd(const struct context *c)
{
	return race(c, ORACLE_MEMFD, 0, "race 3", 0);
}

static enum verdict file_private(const struct context *c)
{
	return race(c, ORACLE_FILE_PRIVATE, 0, "race 3", 0);
}

static enum verdict file_shared(const struct context *c)
{
	return race(c, ORACLE_FILE_SHARED, 0, "race 3", 0);
}

/* Where the kernel takes a page's bits away while it is collected, also when nobody
 * writes any more. */
static enum verdict written_back(const struct context *c)
{
	return race_beside(c, ORACLE_FILE_SHARED, 0, "syncing", "race 3", 0);
}

/*
 * Not by content alone: a page of zeros that was reported, written, copied and
 * dropped again is a page of zeros.  Such results say CLEAN_BY_HASH, or DROPS.
 */
static enum verdict churning(const struct context *c, int thp)
{
	if (c->sees & BY_CONTENT || !(c->sees & SEES_DROPS))
		return NOT_APPLICABLE;
	return race(c, ORACLE_ANON, thp, "churn 3", 0);
}

static enum verdict churn(const struct context *c)
{
	return churning(c, 0);
}

static enum verdict churn_thp(const struct context *c)
{
	return churning(c, 1);
}

static enum verdict adaptive(const struct context *c)
{
	return race(c, ORACLE_ANON, 0, "race 3", PML_ADAPTIVE);
}

const struct truth truths_race[] = {
	{ "race", "anon, 1 writer", anon_1, BOTH, false },
	{ "race", "anon, 4 writers", anon_4, BOTH, false },
	{ "race", "anon, 4 writers that write rarely", anon_rarely, BOTH, false },
	{ "race", "anon, huge pages, 3 writers", anon_thp, BOTH, false },
	{ "race", "memfd, 3 writers", memfd, BOTH, false },
	{ "race", "private file, 3 writers", file_private, BOTH, false },
	{ "race", "shared file, 3 writers", file_shared, BOTH, false },
	{ "race", "shared file, written back meanwhile", written_back, BOTH, false },
	{ "race", "dropped and remapped meanwhile", churn, BOTH, false },
	{ "race", "the same with huge pages", churn_thp, BOTH, false },
	{ "race", "adaptive arming", adaptive, BOTH, false },
	{ NULL, NULL, NULL, 0, false },
};
