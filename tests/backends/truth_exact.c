/* SPDX-License-Identifier: MIT */
/*
 * truth_exact.c - what is reported is what was changed, no more and no less,
 * epoch after epoch, whatever kind of memory it is and however many threads
 * write.
 */
#include "suite.h"

static struct oracle_spec plain(const struct context *c, int threads)
{
	return (struct oracle_spec){
		.kind = ORACLE_ANON, .threads = threads, .pages = 1024, .seed = c->seed,
	};
}

static bool may_renew(const struct context *c, int thp)
{
	return thp && (c->sees & (RENEWS | RENEWS_HUGE));
}

/* What tells of huge pages that were split as ASSUMED may find nothing else, if one of the
 * first epochs splits all there are: then another seed says more. */
#define SEEDS 5

static enum verdict try_cell(const struct context *c, const struct oracle_spec *spec, bool *seen)
{
	struct trial tr;

	TRY(trial_begin(&tr, c, spec, 0, 0));
	tr.relaxed = may_renew(c, spec->thp);
	/* What was written before the start is nobody's. */
	TRY(trial_collect(&tr));
	/* A few of them may by chance hold nothing that is to be seen. */
	for (int i = 0; i < c->epochs || (!tr.v.observed_pages && i < c->epochs + 20); i++)
		TRY(trial_step(&tr, "mix"));
	TRY(trial_step(&tr, "none"));
	*seen = tr.v.observed_pages;
	trial_end(&tr);
	return PASS;
}

static enum verdict cell(const struct context *c, enum oracle_kind kind, int thp, int threads)
{
	struct oracle_spec spec = {
		.kind = kind, .thp = thp, .threads = threads, .pages = 1024, .seed = c->seed,
	};
	bool seen = false;

	if (is_file(kind) && !(c->sees & SEES_FILES))
		return NOT_APPLICABLE;
	for (int i = 0; !seen && i < (may_renew(c, thp) ? SEEDS : 1); i++) {
		TRY(try_cell(c, &spec, &seen));
		spec.seed++;
	}
	return seen ? PASS : fail("in %d epochs nothing was OBSERVED: then exact says nothing",
				  c->epochs);
}

#define CELL(fn, kind, thp, threads)                       \
	static enum verdict fn(const struct context *c)    \
	{                                                  \
		return cell(c, kind, thp, threads);        \
	}

CELL(anon_1, ORACLE_ANON, 0, 1)
CELL(anon_4, ORACLE_ANON, 0, 4)
CELL(anon_thp_1, ORACLE_ANON, 1, 1)
CELL(anon_thp_4, ORACLE_ANON, 1, 4)
CELL(memfd_1, ORACLE_MEMFD, 0, 1)
CELL(memfd_4, ORACLE_MEMFD, 0, 4)
CELL(memfd_thp_1, ORACLE_MEMFD, 1, 1)
CELL(memfd_thp_4, ORACLE_MEMFD, 1, 4)
CELL(file_private_1, ORACLE_FILE_PRIVATE, 0, 1)
CELL(file_private_4, ORACLE_FILE_PRIVATE, 0, 4)
CELL(file_shared_1, ORACLE_FILE_SHARED, 0, 1)
CELL(file_shared_4, ORACLE_FILE_SHARED, 0, 4)

/* Reading is not writing, be it of pages that are there or for the first time. */
static enum verdict reads(const struct context *c)
{
	struct oracle_spec spec = plain(c, 1);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_collect(&tr));
	for (int i = 0; i < 8; i++) {
		TRY(trial_step(&tr, "read 300"));
		TRY(trial_step(&tr, "readnew 5"));
		TRY(trial_step(&tr, "write 20"));
	}
	trial_end(&tr);
	return PASS;
}

static enum verdict first_touch(const struct context *c)
{
	struct oracle_spec spec = plain(c, 1);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_collect(&tr));
	for (int i = 0; i < 8; i++) {
		TRY(trial_step(&tr, "writenew 10"));
		TRY(trial_step(&tr, "write 10"));
		/* Read first, written later: the write is seen for itself. */
		TRY(trial_step(&tr, "readnew 4"));
		TRY(trial_step(&tr, "writeall"));
		TRY(trial_step(&tr, "dontneed 64"));
	}
	trial_end(&tr);
	return PASS;
}

static enum verdict quiet(const struct context *c)
{
	struct oracle_spec spec = plain(c, 1);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_step(&tr, "writeall"));
	for (int i = 0; i < 8; i++)
		TRY(trial_step(&tr, "none"));
	trial_end(&tr);
	return PASS;
}

/* Everything that is writable is watched unless it is said otherwise. */
static enum verdict whole_process(const struct context *c)
{
	struct oracle_spec spec = plain(c, 4);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, WATCH_ALL));
	TRY(trial_collect(&tr));
	for (int i = 0; i < 10; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

/* Hot for a while, then mixed: what is left unarmed comes and goes. */
static enum verdict hot_then_mixed(const struct context *c, uint32_t flags)
{
	struct oracle_spec spec = plain(c, 1);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, flags, 0));
	tr.relaxed = true;
	TRY(trial_collect(&tr));
	for (int i = 0; i < c->epochs; i++)
		TRY(trial_step(&tr, i % 12 < 8 ? "writeall" : "mix"));
	trial_end(&tr);
	return PASS;
}

/* Adaptive arming may report more, as ASSUMED, but never less. */
static enum verdict adaptive(const struct context *c)
{
	return hot_then_mixed(c, PML_ADAPTIVE);
}

/* Verified, what is reported as OBSERVED did change, hot or not. */
static enum verdict verified(const struct context *c)
{
	return hot_then_mixed(c, PML_ADAPTIVE | PML_ADAPTIVE_VERIFY);
}

/* The library's own check finds nothing to object to. */
static enum verdict checked(const struct context *c)
{
	struct oracle_spec spec = plain(c, 4);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, PML_CHECK, 0));
	TRY(trial_collect(&tr));
	for (int i = 0; i < c->epochs / 2; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

const struct truth truths_exact[] = {
	{ "exact", "anon, 1 thread", anon_1, BOTH, false },
	{ "exact", "anon, 4 threads", anon_4, BOTH, false },
	{ "exact", "anon, huge pages, 1 thread", anon_thp_1, BOTH, false },
	{ "exact", "anon, huge pages, 4 threads", anon_thp_4, BOTH, false },
	{ "exact", "memfd, 1 thread", memfd_1, BOTH, false },
	{ "exact", "memfd, 4 threads", memfd_4, BOTH, false },
	{ "exact", "memfd, huge pages, 1 thread", memfd_thp_1, BOTH, false },
	{ "exact", "memfd, huge pages, 4 threads", memfd_thp_4, BOTH, false },
	{ "exact", "private file, 1 thread", file_private_1, BOTH, false },
	{ "exact", "private file, 4 threads", file_private_4, BOTH, false },
	{ "exact", "shared file, 1 thread", file_shared_1, BOTH, false },
	{ "exact", "shared file, 4 threads", file_shared_4, BOTH, false },
	{ "exact", "reads are not writes", reads, BOTH, false },
	{ "exact", "first touch", first_touch, BOTH, false },
	{ "exact", "nothing written, nothing reported", quiet, BOTH, false },
	{ "exact", "the whole process watched", whole_process, BOTH, false },
	{ "exact", "adaptive arming misses nothing", adaptive, BOTH, false },
	{ "exact", "adaptive arming, verified by hashes", verified, BOTH, false },
	{ "exact", "PML_CHECK agrees", checked, BOTH, false },
	{ NULL, NULL, NULL, 0, false },
};
