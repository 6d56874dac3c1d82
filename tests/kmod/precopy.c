/* SPDX-License-Identifier: MIT */
/*
 * precopy.c - copies a process while it runs, as a checkpointer does: what a
 * collect reports is copied after the collect.  Now and then the process stands
 * still, one more collect is made, and the copy has to be the memory, word for
 * word; and what its writers stored has to be in the memory.  Run by
 * tests/kmod/inside in guests, by tests/long/kmod, and by hand:
 *
 *   precopy [--backend NAME] [--collects N] [--pages N] [--seed S] [--negative]
 *
 * --negative: the tracking, or with --forget this program, is broken on purpose,
 * and the loss has to be seen.
 */
#define _GNU_SOURCE
#include "precopy.h"

#include "pml.h"
#include "tap.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COLLECTS_A_HALT 10
/* What the kernel does, it does in its own time: so many times the collects are made
 * before it counts as not done. */
#define PATIENCE 40
#define BATCH 256

struct precopy {
	struct layout l;
	struct control *c;
	struct pml *t;
	pid_t target;
	unsigned char *copy;
	unsigned char *now;	/* BATCH pages, for comparisons */
	uint64_t copied;	/* pages */
	uint64_t told;		/* pages that results named as dirty */
	uint64_t lost_flags;	/* results that said that track was lost */
	uint64_t uncovered;	/* ranges of the region named as not covered */
	int reason;		/* of the last of them */
	uint64_t missed;	/* pages that are not as they were copied */
	uint64_t damaged;	/* words that are not what was stored */
	uint64_t collect_ns;
	uint64_t coverage_ns;	/* of it */
	unsigned int forget;	/* one in so many reported ranges is not copied; 0: none */
};

struct choice {
	const char *backend;
	unsigned long collects;
	size_t pages;
	uint64_t seed;
	unsigned int forget;
	bool negative;
};

/* Bytes read from the target; 0 if the first page is not there. */
static size_t read_target(const struct precopy *p, size_t page, size_t n, void *to)
{
	struct iovec local = { to, n * p->l.page };
	struct iovec remote = { p->l.base + page * p->l.page, n * p->l.page };
	ssize_t got = process_vm_readv(p->target, &local, 1, &remote, 1, 0);

	return got > 0 ? (size_t)got : 0;
}

/*
 * What is not mapped is copied as zeros: that is what a mapping is that comes to
 * be there, and pages of it that nobody has touched need not be reported.
 */
static void copy_pages(struct precopy *p, size_t from, size_t to)
{
	while (from < to) {
		size_t n = to - from < BATCH ? to - from : BATCH;
		size_t got = read_target(p, from, n, p->copy + from * p->l.page) / p->l.page;

		if (got < n)
			memset(p->copy + (from + got++) * p->l.page, 0, p->l.page);
		p->copied += got;
		from += got;
	}
}

/* The pages of a range that are the region's. */
static bool in_region(const struct precopy *p, const struct pml_range *r, size_t *from, size_t *to)
{
	uint64_t base = (uintptr_t)p->l.base, end = base + p->l.pages * p->l.page;
	uint64_t a = r->start > base ? r->start : base, b = r->end < end ? r->end : end;

	if ((pid_t)r->pid != p->target || a >= b)
		return false;
	*from = (a - base) / p->l.page;
	*to = (b - base + p->l.page - 1) / p->l.page;
	return true;
}

/* Copies what a result names, or with a mark sets a byte for each such page. */
static void take_result(struct precopy *p, const struct pml_result *r, uint8_t *mark)
{
	size_t from, to;

	p->collect_ns += r->cost.collect_ns;
	p->coverage_ns += r->cost.coverage_ns;
	p->lost_flags += !!(r->flags & PML_RESULT_LOST);
	for (size_t i = 0; i < r->nuncovered; i++) {
		if (!in_region(p, &r->uncovered[i], &from, &to))
			continue;
		p->uncovered++;
		p->reason = r->uncovered[i].reason;
	}
	for (size_t i = 0; i < r->nranges; i++) {
		if (!in_region(p, &r->ranges[i], &from, &to))
			continue;
		p->told += to - from;
		if (mark)
			memset(mark + from, 1, to - from);
		else if (!p->forget || p->told % p->forget)
			copy_pages(p, from, to);
	}
}

static int collect(struct precopy *p, uint8_t *mark)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	const struct pml_result *r;

	do {
		int error = pml_collect(p->t, &args, &r);

		if (error) {
			tap_note("pml_collect: %d, %s", error, pml_message(p->t));
			return error;
		}
		take_result(p, r, mark);
		args.start = r->resume;
		args.from_pid = r->resume_pid;
	} while (r->flags & PML_RESULT_MORE);
	return 0;
}

static bool is_alive(const struct precopy *p)
{
	int status;

	if (waitpid(p->target, &status, WNOHANG) == 0)
		return true;
	tap_note("the target died: %s %d", WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return false;
}

static bool halt(struct precopy *p)
{
	struct timespec pause = { 0, 200000 };

	atomic_store(&p->c->halt, true);
	while (atomic_load(&p->c->parked) < STORERS) {
		if (!is_alive(p))
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static void go_on(struct precopy *p)
{
	struct timespec pause = { 0, 200000 };

	atomic_store(&p->c->halt, false);
	while (atomic_load(&p->c->parked) && is_alive(p))
		nanosleep(&pause, NULL);
}

/* What the writers stored last is in the parts where nothing is ever dropped. */
static void check_kept(struct precopy *p, size_t page, const uint64_t *words)
{
	for (unsigned int storer = 0; storer < STORERS; storer++)
		for (size_t slot = 0; slot < SLOTS; slot++)
			if (words[word_of(storer, slot)] !=
			    atomic_load(last_of(p->c, page, storer, slot)))
				p->damaged++;
}

/* Marks the pages that are not as they were copied; returns how many. */
static size_t find_differing(struct precopy *p, uint8_t *differs)
{
	size_t size = p->l.page, differing = 0;

	for (size_t i = 0; i < p->l.pages;) {
		size_t n = p->l.pages - i < BATCH ? p->l.pages - i : BATCH;
		size_t got = read_target(p, i, n, p->now) / size;

		for (size_t k = 0; k < got; k++) {
			differs[i + k] = !!memcmp(p->now + k * size, p->copy + (i + k) * size, size);
			differing += differs[i + k];
			if (is_kept(&p->l, i + k))
				check_kept(p, i + k, (const uint64_t *)(p->now + k * size));
		}
		i += got;
		/* a page that is not mapped has no content to be lost */
		if (got < n)
			differs[i++] = 0;
	}
	return differing;
}

/*
 * A page of MADV_FREE may lose its content while it is compared: the collect
 * after that tells.  A page that was missed is in no result, for nobody writes.
 */
static int compare(struct precopy *p, uint8_t *differs, uint8_t *later)
{
	memset(later, 0, p->l.pages);
	if (!find_differing(p, differs))
		return 0;
	if (collect(p, later))
		return -EIO;
	for (size_t i = 0; i < p->l.pages; i++) {
		if (!differs[i])
			continue;
		if (!later[i] && p->missed++ < 5)
			tap_note("page %zu (part %s) was lost", i,
				 i < p->l.from[PART_HUGE] ? "kept" :
				 i < p->l.from[PART_DROPPED] ? "huge" :
				 i < p->l.from[PART_MERGED] ? "dropped" :
				 i < p->l.from[PART_MOVED] ? "merged" : "moved");
	}
	/* the second collect's pages, and those that were missed */
	for (size_t i = 0; i < p->l.pages; i++)
		if (differs[i] || later[i])
			copy_pages(p, i, i + 1);
	return 0;
}

/* Some collects under way, then a halt. */
static int round_of(struct precopy *p, uint8_t *differs, uint8_t *later)
{
	struct timespec pause = { 0, 500000 };
	int error = 0;

	for (int i = 1; !error && i < COLLECTS_A_HALT; i++) {
		error = collect(p, NULL);
		if (i % 3 == 0)
			nanosleep(&pause, NULL);
	}
	if (error || !halt(p))
		return error ? error : -ESRCH;
	error = collect(p, NULL);
	if (!error)
		error = compare(p, differs, later);
	go_on(p);
	return error;
}

static int begin(struct precopy *p, const struct choice *choice)
{
	struct pml_span watch;
	char message[512] = "";
	struct pml_options o = {
		.size = sizeof(o), .target = PML_TARGET_PID, .backend = choice->backend,
		.watch = &watch, .nwatch = 1, .message = message, .message_size = sizeof(message),
	};
	struct timespec pause = { 0, 1000000 };
	int error = target_layout(&p->l, choice->pages);

	p->c = error ? NULL : control_map(&p->l);
	p->copy = calloc(p->l.pages, p->l.page);
	p->now = malloc(BATCH * p->l.page);
	if (!p->c || !p->copy || !p->now)
		return -ENOMEM;
	p->forget = choice->forget;
	p->target = fork();
	if (!p->target)
		target_run(&p->l, p->c, choice->seed);
	/* not before its mappings are what they will be */
	while (!atomic_load(&p->c->ready) && is_alive(p))
		nanosleep(&pause, NULL);
	o.pid = p->target;
	watch.start = (uintptr_t)p->l.base;
	watch.end = watch.start + p->l.pages * p->l.page;
	error = pml_open(&p->t, &o);
	if (error) {
		tap_note("pml_open: %d, %s", error, message);
		return error;
	}
	error = pml_start(p->t);
	if (error) {
		tap_note("pml_start: %d, %s", error, pml_message(p->t));
		return error;
	}
	/* everything once, with the tracking already on */
	copy_pages(p, 0, p->l.pages);
	return 0;
}

static void end(struct precopy *p, pid_t mover, uint8_t *differs)
{
	if (mover > 0)
		kill(mover, SIGKILL);
	pml_close(p->t);
	if (p->target > 0)
		kill(p->target, SIGKILL);
	free(differs);
	free(p->copy);
	free(p->now);
}

static void note_deeds(const struct precopy *p)
{
	tap_note("%lu stores by the writers; pages told %" PRIu64 ", copied %" PRIu64,
		 atomic_load(&p->c->stores), p->told, p->copied);
	tap_note("in collects %" PRIu64 " ms, of it for mappings and coverage %" PRIu64 " ms",
		 p->collect_ns / 1000000, p->coverage_ns / 1000000);
	for (int i = 0; i < DEEDS; i++)
		tap_note("%s: %lu times, of which the kernel refused %lu", deed_name((enum deed)i),
			 atomic_load(&p->c->deeds[i]), atomic_load(&p->c->failed[i]));
}

static void really(bool can, const char *what, uint64_t count, const char *why)
{
	if (!can)
		tap_skip(why, "%s really happened", what);
	else
		tap_ok(count > 0, "%s really happened (%" PRIu64 " times)", what, count);
}

/* Whether all that this kernel can do has been done; KSM has its own wait, below. */
static bool has_happened(const struct happened *before)
{
	struct happened now;

	happened_read(&now);
	return (!now.can_swap || (now.swapped_out > before->swapped_out &&
				  now.swapped_in > before->swapped_in)) &&
	       (!now.can_huge || (now.huge_made > before->huge_made &&
				  now.huge_split > before->huge_split)) &&
	       (!now.can_migrate || now.migrated > before->migrated);
}

static void check_happened(const struct happened *before, const struct happened *after)
{
	really(after->can_swap, "swapping out", after->swapped_out - before->swapped_out,
	       "there is no swap: see tests/kmod/pressure.sh");
	really(after->can_swap, "swapping in", after->swapped_in - before->swapped_in,
	       "there is no swap: see tests/kmod/pressure.sh");
	really(after->can_huge, "making huge pages", after->huge_made - before->huge_made,
	       "transparent huge pages are off, or not in this kernel");
	really(after->can_huge, "splitting huge pages", after->huge_split - before->huge_split,
	       "transparent huge pages are off, or not in this kernel");
	really(after->can_migrate, "migration", after->migrated - before->migrated,
	       "the kernel cannot compact memory");
	really(after->can_merge, "merging by KSM", after->merged, "KSM is off, or not in this kernel");
}

static int usage(void)
{
	fputs("usage: precopy [--backend NAME] [--collects N] [--pages N] [--seed S]\n"
	      "               [--forget N] [--negative]\n", stderr);
	return 2;
}

static int parse(int argc, char **argv, struct choice *choice)
{
	static const struct option options[] = {
		{ "backend", required_argument, NULL, 'b' },
		{ "collects", required_argument, NULL, 'c' },
		{ "pages", required_argument, NULL, 'p' },
		{ "seed", required_argument, NULL, 's' },
		{ "forget", required_argument, NULL, 'f' },
		{ "negative", no_argument, NULL, 'N' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'b':
			choice->backend = optarg;
			break;
		case 'c':
			choice->collects = strtoul(optarg, NULL, 10);
			break;
		case 'p':
			choice->pages = strtoul(optarg, NULL, 10);
			break;
		case 's':
			choice->seed = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			choice->forget = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 'N':
			choice->negative = true;
			break;
		default:
			return usage();
		}
	}
	return 0;
}

/* Is the back-end asked for to be had?  0, or why not. */
static const char *missing(const char *backend)
{
	static char why[256];
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	for (int i = 0; i < n && i < 32; i++) {
		if (strcmp(info[i].name, backend) != 0)
			continue;
		snprintf(why, sizeof(why), "%s", info[i].reason);
		return info[i].available && info[i].external ? NULL : why;
	}
	return "the library has no such back-end";
}

int main(int argc, char **argv)
{
	struct choice choice = { .backend = "ptscan", .collects = 300, .pages = 4096, .seed = 1 };
	struct happened before, after;
	struct precopy p = { .forget = 0 };
	unsigned long done = 0;
	uint8_t *differs, *later;
	const char *why;
	pid_t mover;
	int error = parse(argc, argv, &choice);

	if (error)
		return error;
	why = missing(choice.backend);
	if (why) {
		printf("1..0 # SKIP %s: %s\n", choice.backend, why);
		return TAP_SKIP_ALL;
	}
	happened_read(&before);
	error = begin(&p, &choice);
	differs = calloc(2, p.l.pages + 1);
	if (error || !differs) {
		tap_ok(0, "%s: the pre-copy begins", choice.backend);
		end(&p, 0, differs);
		return tap_done();
	}
	later = differs + p.l.pages;
	mover = mover_start(p.target, &p.l);
	while (!error && !(choice.negative && p.missed) &&
	       (done < choice.collects ||
		(!choice.negative && done < PATIENCE * choice.collects && !has_happened(&before)))) {
		error = round_of(&p, differs, later);
		done += COLLECTS_A_HALT;
		if (done % 500 == 0)
			fprintf(stderr, "precopy: %lu collects, %" PRIu64 " pages lost\n", done,
				p.missed);
	}
	happened_read(&after);
	/* KSM's thread takes its time, above all with one processor */
	for (int i = 0; i < 300 && after.can_merge && !after.merged; i++) {
		usleep(100000);
		happened_read(&after);
	}
	note_deeds(&p);
	if (choice.negative) {
		tap_ok(p.missed, "%s, broken on purpose: the loss is seen (after %lu collects)",
		       choice.backend, done);
	} else {
		tap_ok(!error && is_alive(&p), "%s: the target lives through %lu collects",
		       choice.backend, done);
		tap_ok(!p.missed, "%s: the copy is the memory (%" PRIu64 " pages lost)",
		       choice.backend, p.missed);
		tap_ok(!p.damaged, "%s: what was stored is there (%" PRIu64 " words damaged)",
		       choice.backend, p.damaged);
		tap_ok(!p.lost_flags, "%s: no result said that track was lost (%" PRIu64 " did)",
		       choice.backend, p.lost_flags);
		tap_note("ranges of the region named as not covered: %" PRIu64 ", the last: %s",
			 p.uncovered, pml_reason_name(p.reason));
		check_happened(&before, &after);
	}
	end(&p, mover, differs);
	return tap_done();
}
