/* SPDX-License-Identifier: MIT */
/*
 * truth_bad.c - input that is wrong, targets that are not what they seem, and
 * a machine that has run out: each is refused with the right number and with
 * words, and leaves everything as it was.
 */
#define _GNU_SOURCE
#include "suite.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct oracle_spec plain(const struct context *c)
{
	return (struct oracle_spec){ .kind = ORACLE_ANON, .threads = 1, .pages = 512,
				     .seed = c->seed };
}

static struct pml_options options_for(const struct context *c, pid_t pid, char *words, size_t size)
{
	struct pml_options o = { .size = sizeof(o), .backend = c->backend, .message = words,
				 .message_size = size };

	o.target = c->outside ? PML_TARGET_PID : PML_TARGET_SELF;
	o.pid = pid;
	return o;
}

/* `what: why; what to do`; the command puts `pml: ` before it. */
static enum verdict has_words(const char *words)
{
	const char *why = strchr(words, ':');

	if (!why || !strchr(why, ';') || strncmp(words, "pml: ", 5) == 0)
		return fail("not of the form 'what: why; what to do': '%s'", words);
	return PASS;
}

/* Some want to be told what to watch. */
static void name_region(const struct context *c, const struct subject *s, struct pml_options *o,
			struct pml_span *region)
{
	region->start = (uintptr_t)s->base;
	region->end = region->start + s->pages * s->page;
	if (c->sees & NAMED_ONLY) {
		o->watch = region;
		o->nwatch = 1;
	}
}

/* Opens and starts; the error of whichever refuses. */
static int attach(const struct context *c, pid_t pid, const struct subject *s, char *words,
		  size_t size)
{
	struct pml_options o = options_for(c, pid, words, size);
	struct pml_span region;
	struct pml *t = NULL;
	int error;

	if (s)
		name_region(c, s, &o, &region);
	words[0] = '\0';
	error = pml_open(&t, &o);
	if (error)
		return t ? 1 : error;
	error = pml_start(t);
	snprintf(words, size, "%s", pml_message(t));
	pml_close(t);
	return error;
}

static enum verdict refused(const struct context *c, pid_t pid, const char *who, int one, int other)
{
	char words[512];
	int error = attach(c, pid, NULL, words, sizeof(words));

	if (error != one && error != other)
		return fail("%s: %d (%s), expected %d or %d", who, error, words, one, other);
	return has_words(words);
}

static enum verdict no_process(const struct context *c)
{
	TRY(refused(c, 0x3ffffff, "a pid that does not exist", -ESRCH, -ESRCH));
	TRY(refused(c, -5, "a negative pid", -ESRCH, -EINVAL));
	return refused(c, 0, "pid 0", -ESRCH, -EINVAL);
}

static enum verdict zombie(const struct context *c)
{
	enum verdict verdict;
	siginfo_t info;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	verdict = refused(c, pid, "a zombie", -ENOTSUP, -ESRCH);
	waitpid(pid, NULL, 0);
	return verdict;
}

static enum verdict kernel_thread(const struct context *c)
{
	if (access("/proc/2/exe", F_OK) == 0 || access("/proc/2/comm", F_OK) != 0)
		return skip(c, "no kernel thread is visible here");
	return refused(c, 2, "a kernel thread", -ENOTSUP, -EPERM);
}

static enum verdict dies_between(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct trial tr;
	int error;

	TRY(trial_begin(&tr, c, &spec, 0, NO_START));
	kill(tr.s.pid, SIGKILL);
	waitpid(tr.s.pid, NULL, 0);
	error = pml_start(tr.t);
	tr.s.pid = 0;
	if (error != -ESRCH)
		return fail("pml_start after the target died: %d", error);
	TRY(has_words(pml_message(tr.t)));
	trial_end(&tr);
	return PASS;
}

/* Dies in the middle of collects: an error, or the last results; no hang. */
static enum verdict dies_meanwhile(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	const struct pml_result *r;
	struct trial tr;
	int error = 0;
	pid_t killer;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	subject_tell(&tr.s, "race 3");
	killer = fork();
	if (!killer) {
		usleep(20000);
		kill(tr.s.pid, SIGKILL);
		_exit(0);
	}
	while (!error)
		error = pml_collect(tr.t, NULL, &r);
	waitpid(killer, NULL, 0);
	waitpid(tr.s.pid, NULL, 0);
	tr.s.pid = 0;
	if (error != -ESRCH)
		return fail("collect of a target that died: %d, %s", error, pml_message(tr.t));
	trial_end(&tr);
	return PASS;
}

/* Held by a debugger: refused, and the debugger keeps it. */
static enum verdict traced(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct subject s;
	enum verdict verdict;
	int ready[2], status;
	char byte;
	pid_t debugger;

	if (strcmp(c->backend, "wp-async") != 0)
		return NOT_APPLICABLE;
	if (subject_open(&s, c, &spec) || pipe(ready))
		return fail("no subject");
	debugger = fork();
	if (!debugger) {
		long held = ptrace(PTRACE_SEIZE, s.pid, 0, 0);

		if (write(ready[1], held ? "n" : "y", 1) == 1)
			pause();
		_exit(0);
	}
	if (read(ready[0], &byte, 1) != 1 || byte != 'y')
		return skip(c, "ptrace is not allowed here");
	verdict = refused(c, s.pid, "a traced process", -EBUSY, -EPERM);
	kill(debugger, SIGKILL);
	waitpid(debugger, &status, 0);
	if (verdict == PASS && subject_do(&s, "mix"))
		verdict = fail("the target did not survive");
	subject_close(&s);
	return verdict;
}

static enum verdict bad_options(const struct context *c)
{
	char words[512] = "";
	struct pml_options o;
	struct pml *t;
	int error;

	o = options_for(c, getpid(), words, sizeof(words));
	o.backend = "no-such-thing";
	t = (struct pml *)&o;
	error = pml_open(&t, &o);
	if (error != -ENOENT || t)
		return fail("an unknown back-end: %d", error);
	TRY(has_words(words));
	o = options_for(c, getpid(), words, sizeof(words));
	o.events = 64;
	if (pml_open(&t, &o) != -EINVAL || t)
		return fail("unknown events were taken");
	TRY(has_words(words));
	o = options_for(c, getpid(), words, sizeof(words));
	o.target = 77;
	if (pml_open(&t, &o) != -EINVAL || t)
		return fail("an unknown kind of target was taken");
	o = options_for(c, getpid(), words, sizeof(words));
	o.flags = 1u << 30;
	if (pml_open(&t, &o) != -EINVAL || t)
		return fail("an unknown flag was taken");
	o = options_for(c, getpid(), words, sizeof(words));
	o.size = 3;
	if (pml_open(&t, &o) != -EINVAL || t)
		return fail("a size of 3 was taken");
	o = options_for(c, getpid(), words, sizeof(words));
	o.watch = &(struct pml_span){ 4096 * 5 + 1, 4096 * 9 };
	o.nwatch = 1;
	if (pml_open(&t, &o) != -EINVAL || t)
		return fail("an unaligned watch list was taken");
	return PASS;
}

static enum verdict bad_ranges(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct pml_collect_args args = { .size = sizeof(args) };
	const struct pml_result *r;
	struct trial tr;
	uint64_t page;

	TRY(trial_begin(&tr, c, &spec, 0, NO_START));
	page = tr.s.page;
	if (pml_collect(tr.t, NULL, &r) != -ENODATA)
		return fail("collect before start is not -ENODATA");
	TRY(has_words(pml_message(tr.t)));
	if (pml_start(tr.t))
		return fail("pml_start: %s", pml_message(tr.t));
	TRY(trial_collect(&tr));
	struct {
		uint64_t start, end;
		const char *what;
	} bad[] = {
		{ page + 1, 9 * page, "an unaligned start" },
		{ page, 9 * page + 5, "an unaligned end" },
		{ 9 * page, page, "an end before the start" },
		{ 9 * page, 9 * page, "an empty range" },
		{ UINT64_MAX & ~(page - 1), page, "a range that wraps" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		args.start = bad[i].start;
		args.end = bad[i].end;
		if (pml_collect(tr.t, &args, &r) != -EINVAL)
			return fail("collect took %s", bad[i].what);
		TRY(has_words(pml_message(tr.t)));
		if (pml_watch(tr.t, bad[i].start, bad[i].end) != -EINVAL)
			return fail("watch took %s", bad[i].what);
		if (pml_leave(tr.t, bad[i].start, bad[i].end) != -EINVAL)
			return fail("leave took %s", bad[i].what);
	}
	args.size = 1;
	args.start = args.end = 0;
	if (pml_collect(tr.t, &args, &r) != -EINVAL)
		return fail("collect took arguments of size 1");
	/* Refusals take nothing away. */
	for (int i = 0; i < 5; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

/* Ranges that are not mapped: nothing to report, and no error. */
static enum verdict unmapped(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct pml_collect_args args = { .size = sizeof(args), .start = 0x10000, .end = 0x20000 };
	const struct pml_result *r;
	struct trial tr;
	int error;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_collect(&tr));
	error = pml_collect(tr.t, &args, &r);
	if (error || r->nranges)
		return fail("collect of what is not mapped: %d", error);
	tr.v.epoch = r->epoch;
	error = pml_watch(tr.t, 0x10000, 0x20000);
	if (error)
		return fail("watch of what is not mapped: %d", error);
	for (int i = 0; i < 3; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

struct hammer {
	struct pml *t;
	atomic_int bad;
	atomic_int good;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;
	const struct pml_result *r;
	struct pml_stats stats = { .size = sizeof(stats) };

	for (int i = 0; i < 300; i++) {
		int error = pml_collect(h->t, NULL, &r);

		if (!error)
			atomic_fetch_add(&h->good, 1);
		else if (error != -EBUSY)
			atomic_store(&h->bad, error);
		error = pml_get_stats(h->t, &stats);
		if (error && error != -EBUSY)
			atomic_store(&h->bad, error);
	}
	return NULL;
}

/* Two threads, one tracker: the second is told so, and does no harm. */
static enum verdict busy(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct hammer h = { 0 };
	const struct pml_result *r;
	pthread_t threads[3];
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	h.t = tr.t;
	for (int i = 0; i < 3; i++)
		if (pthread_create(&threads[i], NULL, hammer, &h))
			return fail("no thread");
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	if (h.bad || !h.good)
		return fail("%d good collects, error %d", h.good, h.bad);
	if (pml_collect(tr.t, NULL, &r))
		return fail("the tracker stays busy: %s", pml_message(tr.t));
	tr.v.epoch = r->epoch;
	for (int i = 0; i < 5; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

static size_t descriptors(pid_t pid)
{
	char path[64];
	size_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* Descriptors run out at every possible place: words, and nothing is left open. */
static enum verdict no_descriptors(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	struct rlimit before, limit;
	size_t open_before;
	char words[512];
	struct subject s;
	int error = -1, used;

	if (subject_open(&s, c, &spec))
		return fail("no subject");
	getrlimit(RLIMIT_NOFILE, &before);
	open_before = descriptors(getpid());
	used = dup(0);
	close(used);
	for (int spare = 0; spare < 24 && error; spare++) {
		limit = before;
		limit.rlim_cur = (rlim_t)used + (rlim_t)spare;
		setrlimit(RLIMIT_NOFILE, &limit);
		error = attach(c, s.pid, &s, words, sizeof(words));
		setrlimit(RLIMIT_NOFILE, &before);
		if (descriptors(getpid()) != open_before)
			return fail("with %d descriptors left, some stayed open", spare);
		if (error)
			TRY(has_words(words));
	}
	if (error)
		return fail("24 descriptors are not enough: %d, %s", error, words);
	if (subject_do(&s, "mix"))
		return fail("the target did not survive");
	subject_close(&s);
	return PASS;
}

/* Without "sd", which says that nobody has cleared soft-dirty bits: no trace. */
static size_t put_line(char *text, size_t size, char *line)
{
	char *at = strstr(line, " sd");

	if (at && !strncmp(line, "VmFlags", 7))
		memmove(at, at + 3, strlen(at + 3) + 1);
	return (size_t)snprintf(text, size, "%.120s", line);
}

/* The whole of /proc/PID/smaps that says how memory is set up. */
static size_t flags_of(pid_t pid, uint64_t base, char *text, size_t size)
{
	char path[64], line[512];
	bool inside = false;
	size_t used = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "r");
	text[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		uint64_t start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start >= base && start < base + (64u << 20);
		else if (!inside || strncmp(line, "VmFlags", 7) != 0)
			continue;
		if (inside && used + strlen(line) < size)
			used += put_line(text + used, size - used, line);
	}
	if (f)
		fclose(f);
	return used;
}

/* After close the process is as it was: descriptors, mappings, flags. */
static enum verdict leaves_no_trace(const struct context *c)
{
	struct oracle_spec spec = plain(c);
	char before[4096], after[4096];
	size_t open_here, open_there;
	struct pml_span region;
	struct pml_options o;
	struct trial tr = { 0 };

	if (subject_open(&tr.s, c, &spec))
		return fail("no subject");
	/* The first use of the library may set up what then stays. */
	for (int i = 0; i < 3; i++) {
		const struct pml_result *r;
		char words[512] = "";

		open_here = descriptors(getpid());
		open_there = descriptors(tr.s.pid);
		flags_of(tr.s.pid, (uintptr_t)tr.s.base, before, sizeof(before));
		o = options_for(c, tr.s.pid, words, sizeof(words));
		name_region(c, &tr.s, &o, &region);
		if (pml_open(&tr.t, &o) || pml_start(tr.t))
			return fail("%s%s", words, tr.t ? pml_message(tr.t) : "");
		subject_do(&tr.s, "write 100");
		if (pml_collect(tr.t, NULL, &r))
			return fail("pml_collect: %s", pml_message(tr.t));
		if (c->outside && descriptors(tr.s.pid) != open_there)
			return fail("the target has other descriptors while it is tracked");
		if (pml_close(tr.t) < 0)
			return fail("pml_close");
		if (descriptors(getpid()) != open_here)
			return fail("a descriptor stays open after pml_close");
		if (descriptors(tr.s.pid) != open_there)
			return fail("a descriptor stays open in the target");
		flags_of(tr.s.pid, (uintptr_t)tr.s.base, after, sizeof(after));
		if (strcmp(before, after) != 0)
			return fail("mappings before and after differ: [%s] [%s]", before, after);
	}
	subject_close(&tr.s);
	return PASS;
}

/* Names and words for everything, and for what does not exist. */
static enum verdict words(const struct context *c)
{
	(void)c;
	for (int e = 1; e < 135; e++)
		if (strcmp(pml_strerror(e), pml_strerror(-e)) != 0 || !pml_strerror(e)[0])
			return fail("pml_strerror(%d) and (%d) differ or are empty", e, -e);
	for (int r = 0; r < 64; r++)
		if (!pml_reason_name(r)[0] || !pml_reason_text(r)[0])
			return fail("reason %d has no name or no text", r);
	if (strcmp(pml_reason_name(9999), "unknown") != 0)
		return fail("reason 9999 is '%s'", pml_reason_name(9999));
	if (!pml_version()[0])
		return fail("no version");
	if (pml_close(NULL) != 0 || pml_reader_close(NULL) != 0)
		return fail("closing nothing is an error");
	return PASS;
}

const struct truth truths_bad[] = {
	{ "bad input", "a pid that does not exist", no_process, OUTSIDE_ONLY, false },
	{ "bad input", "a zombie", zombie, OUTSIDE_ONLY, false },
	{ "bad input", "a kernel thread", kernel_thread, OUTSIDE_ONLY, false },
	{ "bad input", "dies between open and start", dies_between, OUTSIDE_ONLY, false },
	{ "bad input", "dies while it is collected", dies_meanwhile, OUTSIDE_ONLY, false },
	{ "bad input", "a traced process", traced, OUTSIDE_ONLY, false },
	{ "bad input", "options out of range", bad_options, BOTH, false },
	{ "bad input", "ranges unaligned, empty, wrapping", bad_ranges, BOTH, false },
	{ "bad input", "ranges that are not mapped", unmapped, BOTH, false },
	{ "bad input", "two threads, one tracker", busy, BOTH, false },
	{ "bad input", "descriptors run out", no_descriptors, BOTH, false },
	{ "bad input", "no trace after close", leaves_no_trace, BOTH, false },
	{ "bad input", "words for every number", words, SELF_ONLY, false },
	{ NULL, NULL, NULL, 0, false },
};
