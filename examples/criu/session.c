/* SPDX-License-Identifier: MIT */
/*
 * One process that the keeper watches: see session.h.  A base is a set of pages
 * known to be clean.  Whatever is written, not covered or not understood is taken
 * out of it, and nothing ever comes in: a mistake on the way costs a page written
 * twice, never a page lost.
 */
#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pml.h"
#include "wire.h"

/* The parent's base, and what was begun since: rounds that failed, or that nobody
 * has named as a parent yet.  The oldest goes first. */
#define MAX_BASES 4

#define CUT "it has more memory that is not covered than can be told"

struct base {
	uint8_t token[KEEPER_TOKEN];
	struct spans clean;
};

struct session {
	struct session *next;
	int pid;
	int pidfd;
	uint64_t start_time;
	uint8_t begun_by[KEEPER_TOKEN];	/* the round that attached first */
	struct pml *tracker;
	const struct session_how *how;
	struct base bases[MAX_BASES];
	size_t nbases;
	struct spans uncovered;	/* at the last collect */
	bool cut;		/* and that is not all of it */
	uint64_t rounds;
	uint64_t scans;
	uint64_t faults;
	uint64_t collect_ns;
	char lost[160];		/* why there is no base, if track was lost */
};

static struct session *sessions;

static void drop_base(struct session *s, size_t i)
{
	spans_free(&s->bases[i].clean);
	memmove(&s->bases[i], &s->bases[i + 1], (s->nbases - i - 1) * sizeof(s->bases[0]));
	s->nbases--;
}

static void drop_all_bases(struct session *s, const char *why)
{
	while (s->nbases)
		drop_base(s, s->nbases - 1);
	snprintf(s->lost, sizeof(s->lost), "%s", why);
}

static void close_session(struct session *s)
{
	drop_all_bases(s, "");
	spans_free(&s->uncovered);
	pml_close(s->tracker);
	if (s->pidfd >= 0)
		close(s->pidfd);
	free(s);
}

static void end_session(struct session *gone)
{
	struct session **at = &sessions;

	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	close_session(gone);
}

/* A back-end that cannot see other processes' writes past the page tables says so of
 * everything, always.  Who asked for it by name has accepted that (README.md). */
static bool accepted(const struct session *s, const struct pml_range *r)
{
	return r->reason == PML_REASON_REMOTE && !s->how->strict;
}

static int add_ranges(struct session *s, const struct pml_result *r, struct spans *dirty)
{
	int status = 0;

	for (size_t i = 0; i < r->nranges && !status; i++)
		if (r->ranges[i].events & PML_DIRTY)
			status = spans_add(dirty, r->ranges[i].start, r->ranges[i].end);
	for (size_t i = 0; i < r->nuncovered && !status; i++)
		if (!accepted(s, &r->uncovered[i]))
			status = spans_add(&s->uncovered, r->uncovered[i].start,
					   r->uncovered[i].end);
	return status;
}

/* One collect, to its end.  0, or -errno: then nothing is known. */
static int collect(struct session *s, struct spans *dirty)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	const struct pml_result *r;
	int status;

	do {
		status = pml_collect(s->tracker, &args, &r);
		if (status < 0)
			return status;
		s->faults += r->cost.faults;
		s->collect_ns += r->cost.collect_ns;
		if (r->flags & PML_RESULT_LOST)
			drop_all_bases(s, "track was lost");
		if (r->flags & PML_RESULT_UNCOVERED_CUT) {
			drop_all_bases(s, CUT);
			s->cut = true;
		}
		status = add_ranges(s, r, dirty);
		args.start = r->resume;
		args.end = UINT64_MAX & ~(uint64_t)(r->page_size - 1);
		args.from_pid = r->resume_pid;
	} while (!status && r->flags & PML_RESULT_MORE);
	s->scans++;
	return status;
}

#ifdef PML_TEST_HOOKS
/* The negative control: one page in so many of those written is kept back; or one alone,
 * in the first collect that finds a file, which it takes away. */
static void keep_pages_back(struct spans *dirty)
{
	const char *set = getenv("PML_TEST_CRIU_DROP"), *once = getenv("PML_TEST_CRIU_DROP_ONE");
	unsigned long every = set ? strtoul(set, NULL, 10) : 0, most = ULONG_MAX, at = 0;
	struct spans kept = { 0 };

	if (once && unlink(once) == 0) {
		every = (spans_bytes(dirty) / 4096 + 1) / 2;
		most = 1;
	}
	if (!every)
		return;
	for (size_t i = 0; i < dirty->n; i++)
		for (uint64_t p = dirty->v[i].start; p < dirty->v[i].end; p += 4096)
			if (++at % every == 0 && at / every <= most &&
			    spans_add(&kept, p, p + 4096))
				abort();
	if (spans_subtract(dirty, &kept))
		abort();
	spans_free(&kept);
}
#else
static void keep_pages_back(struct spans *dirty)
{
	(void)dirty;
}
#endif

/* Takes what was written since the last time out of all bases. */
static int update(struct session *s)
{
	struct spans dirty = { 0 };
	int status;

	s->uncovered.n = 0;
	s->cut = false;
	status = collect(s, &dirty);
	spans_sort(&dirty);
	spans_sort(&s->uncovered);
	keep_pages_back(&dirty);
	for (size_t i = 0; i < s->nbases && !status; i++) {
		status = spans_subtract(&s->bases[i].clean, &dirty);
		if (!status)
			status = spans_subtract(&s->bases[i].clean, &s->uncovered);
	}
	spans_free(&dirty);
	return status;
}

/* After a call of exec the same process has other memory: begun anew.  The collect
 * that follows a beginning says that all is lost, and is got over with here. */
static int begin_anew(struct session *s, const char *why)
{
	int status = pml_start(s->tracker);

	if (!status)
		status = update(s);
	drop_all_bases(s, why);
	return status;
}

static int open_pidfd(int pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static struct session *new_session(const struct session_how *how, const uint8_t *round, int pid,
				   uint64_t start_time, char *words, size_t size)
{
	struct pml_options options = {
		.size = sizeof(options),
		.target = PML_TARGET_PID,
		.pid = pid,
		.backend = how->backend,
		.message = words,
		.message_size = size,
	};
	struct session *s = calloc(1, sizeof(*s));
	int status;

	if (!s) {
		snprintf(words, size, "the keeper is out of memory");
		return NULL;
	}
	s->pid = pid;
	s->start_time = start_time;
	memcpy(s->begun_by, round, KEEPER_TOKEN);
	s->how = how;
	s->pidfd = open_pidfd(pid);
	if (s->pidfd < 0) {
		snprintf(words, size, "no pidfd of %d: %s", pid, strerror(errno));
		free(s);
		return NULL;
	}
	if (pml_open(&s->tracker, &options)) {
		close_session(s);
		return NULL;
	}
	status = pml_start(s->tracker);
	/* the number may have been given to another process meanwhile */
	if (!status && wire_start_time(pid) != start_time)
		status = -ESRCH;
	if (status) {
		snprintf(words, size, "%s", *pml_message(s->tracker) ? pml_message(s->tracker) :
								       pml_strerror(status));
		close_session(s);
		return NULL;
	}
	s->next = sessions;
	sessions = s;
	return s;
}

struct session *session_find(int pid, uint64_t start_time)
{
	struct session *s = sessions;

	while (s && (s->pid != pid || s->start_time != start_time))
		s = s->next;
	return s;
}

struct session *session_attach(const struct session_how *how, const uint8_t *round, int pid,
			       uint64_t start_time, char *words, size_t size)
{
	struct session *s = session_find(pid, start_time);
	int status;

	if (!start_time || wire_start_time(pid) != start_time) {
		snprintf(words, size, "process %d is another one here: "
			 "is the keeper in another pid namespace?", pid);
		return NULL;
	}
	if (!s)
		return new_session(how, round, pid, start_time, words, size);
	/* What was written so far is collected while the process still runs, so that
	 * little is left for the moment when it stands still. */
	status = update(s);
	if (status == -ESTALE)
		status = begin_anew(s, "it has called exec since");
	if (!status)
		return s;
	/* Nothing is known any more. */
	end_session(s);
	return new_session(how, round, pid, start_time, words, size);
}

static size_t find_base(const struct session *s, const uint8_t *token)
{
	size_t i = 0;

	while (i < s->nbases && memcmp(s->bases[i].token, token, KEEPER_TOKEN) != 0)
		i++;
	return i;
}

void session_scan(struct session *s, const uint8_t *parent, const struct spans **left,
		  char *words, size_t size)
{
	int status = update(s);
	size_t at;

	*left = NULL;
	if (status) {
		/* it may go on; if not, the next round attaches anew */
		if (begin_anew(s, pml_strerror(status))) {
			snprintf(words, size, "%s", pml_strerror(status));
			end_session(s);
			return;
		}
	}
	at = find_base(s, parent);
	if (at == s->nbases) {
		snprintf(words, size, "%s", *s->lost ? s->lost : !s->rounds ?
			 "it was not watched in the parent's round" :
			 "the parent directory is not of a round that the keeper holds");
		return;
	}
	/* This is the parent: the others are of rounds that led nowhere. */
	for (size_t i = s->nbases; i-- > 0;) {
		if (i == at)
			continue;
		drop_base(s, i);
		if (i < at)
			at--;
	}
	*left = &s->bases[at].clean;
}

int session_reset(struct session *s, const uint8_t *round, struct spans *present,
		  char *words, size_t size)
{
	struct base *b;
	size_t at = find_base(s, round);
	int status;

	/* What was under way when the process was read may come to its end later, and
	 * then nobody knows where. */
	if (s->cut) {
		snprintf(words, size, "%s", CUT);
		return -EOVERFLOW;
	}
	status = spans_subtract(present, &s->uncovered);
	if (status) {
		snprintf(words, size, "%s", strerror(-status));
		return status;
	}
	if (at < s->nbases)
		drop_base(s, at);
	if (s->nbases == MAX_BASES)
		drop_base(s, 0);
	b = &s->bases[s->nbases++];
	memcpy(b->token, round, KEEPER_TOKEN);
	b->clean = *present;
	*present = (struct spans){ 0 };
	s->lost[0] = '\0';
	s->rounds++;
	return 0;
}

void session_forget_round(const uint8_t *round)
{
	struct session *s = sessions, *next;

	for (; s; s = next) {
		size_t at = find_base(s, round);

		next = s->next;
		if (at < s->nbases)
			drop_base(s, at);
		if (!s->nbases && !memcmp(s->begun_by, round, KEEPER_TOKEN))
			end_session(s);
	}
}

void session_reap(void)
{
	struct session *s = sessions, *next;

	for (; s; s = next) {
		struct pollfd ended = { .fd = s->pidfd, .events = POLLIN };

		next = s->next;
		if (poll(&ended, 1, 0) == 1)
			end_session(s);
	}
}

void session_close_all(void)
{
	while (sessions)
		end_session(sessions);
}

json_t *session_describe_all(void)
{
	json_t *all = json_array();

	for (const struct session *s = sessions; s; s = s->next) {
		struct pml_stats stats = { .size = sizeof(stats) };
		uint64_t clean = 0;

		pml_get_stats(s->tracker, &stats);
		/* of the last round: the others are of the same pages */
		if (s->nbases)
			clean = spans_bytes(&s->bases[s->nbases - 1].clean);
		json_array_append_new(all, json_pack(
			"{s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			"pid", s->pid, "backend", pml_backend_name(s->tracker),
			"bases", (json_int_t)s->nbases, "clean_bytes", (json_int_t)clean,
			"rounds", (json_int_t)s->rounds, "collects", (json_int_t)s->scans,
			"collect_ns", (json_int_t)s->collect_ns,
			"faults", (json_int_t)s->faults,
			"memory_bytes", (json_int_t)stats.memory_bytes));
	}
	return all;
}
