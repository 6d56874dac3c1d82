/* SPDX-License-Identifier: MIT */
/*
 * suite.c - runs the truths over one back-end, each in a process of its own,
 * and prints TAP and one line a truth for the matrix.  Run by CTest, by
 * scripts/test.sh --long, in guests by tests/vm/run, and by hand:
 *
 *   suite --backend NAME [--outside] [--group G]... [--name TEXT] [--epochs N]
 *         [--collects N] [--seed S] [--negative]
 *
 * --negative is for a library broken on purpose: a truth has to fail there.
 */
#define _GNU_SOURCE
#include "suite.h"

#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_GROUPS 16
#define MAX_LINES 256

static const struct truth *const all_truths[] = {
	truths_exact, truths_race, truths_rules, truths_readers, truths_cover, truths_bad,
};

struct choice {
	const char *groups[MAX_GROUPS];
	int ngroups;
	const char *name;
	unsigned int limit_s;
};

struct line {
	const struct truth *truth;
	const char *verdict;
	char *how;
};

static struct line matrix[MAX_LINES];
static size_t nlines;

static bool chosen(const struct choice *choice, const struct context *c, const struct truth *t)
{
	bool in = choice->ngroups == 0;

	for (int i = 0; i < choice->ngroups; i++)
		in |= !strcmp(choice->groups[i], t->group);
	if (choice->name && !strstr(t->name, choice->name))
		in = false;
	if (t->only == SELF_ONLY && c->outside)
		in = false;
	if (t->only == OUTSIDE_ONLY && !c->outside)
		in = false;
	return in;
}

/* What changes the whole machine (swap, huge pages) is done by one at a time. */
static int machine_lock(const struct truth *t)
{
	int fd;

	if (!t->serial)
		return -1;
	fd = open("/var/tmp/pml-tests.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		flock(fd, LOCK_EX);
	return fd;
}

static int run_child(const struct context *c, const struct truth *t, unsigned int limit_s)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		enum verdict verdict;

		/* its time begins when it is its turn */
		machine_lock(t);
		alarm(limit_s);
		verdict = t->run(c);
		fflush(stdout);
		/* A good end goes through exit(), where leaks are looked for. */
		if (verdict == PASS)
			exit(PASS);
		_exit(verdict);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	return status;
}

static const char *tell(const struct context *c, const struct truth *t, int status)
{
	const char *where = c->outside ? "outside" : "self";
	int verdict = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	if (WIFSIGNALED(status))
		tap_note("ended by signal %d%s", WTERMSIG(status),
			 WTERMSIG(status) == SIGALRM ? ": it took too long" : "");
	if (verdict == NOT_APPLICABLE)
		return "n/a";
	if (verdict == SKIP) {
		tap_skip(c->why[0] ? c->why : "no reason", "%s, %s, %s: %s", c->backend, where,
			 t->group, t->name);
		return "skipped";
	}
	if (c->negative) {
		tap_ok(verdict == FAIL, "broken on purpose, %s, %s, %s: %s is not believed",
		       c->backend, where, t->group, t->name);
		return verdict == FAIL ? "caught" : "NOT CAUGHT";
	}
	tap_ok(verdict == PASS, "%s, %s, %s: %s", c->backend, where, t->group, t->name);
	return verdict == PASS ? "passed" : "FAILED";
}

static void run_truth(struct context *c, const struct truth *t, const struct choice *choice)
{
	int status;

	const char *verdict;

	c->why[0] = '\0';
	status = run_child(c, t, choice->limit_s);
	verdict = tell(c, t, status);
	if (nlines < MAX_LINES)
		matrix[nlines++] = (struct line){ t, verdict, strdup(c->why) };
}

/* Of the kernel, the numbers that Debian names it by. */
static const char *kernel(void)
{
	static char name[32];
	struct utsname u;
	unsigned int major, minor;

	if (!name[0] && (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2))
		return "?";
	if (!name[0])
		snprintf(name, sizeof(name), "%u.%u", major, minor);
	return name;
}

/* One line a truth: kernel, back-end, side, group, truth, verdict, and how it was
 * met (told, ASSUMED, nothing: seen) or why it was skipped.  tests/lib/matrix.awk
 * makes tables of them. */
static void print_matrix(const struct context *c)
{
	for (size_t i = 0; i < nlines; i++)
		tap_note("matrix | %s | %s | %s | %s | %s | %s | %s", kernel(), c->backend,
			 c->outside ? "outside" : "self", matrix[i].truth->group,
			 matrix[i].truth->name, matrix[i].verdict,
			 matrix[i].how ? matrix[i].how : "");
}

/* 0, or why this back-end cannot be held to anything here. */
static const char *find_backend(struct context *c)
{
	static char why[256];
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);
	const struct caps *caps = caps_of(c->backend);

	for (int i = 0; i < n; i++)
		if (!strcmp(info[i].name, c->backend))
			c->info = info[i];
	if (!c->info.name)
		return "the library has no such back-end";
	if (!c->info.available) {
		snprintf(why, sizeof(why), "%s", c->info.reason);
		return why;
	}
	if (c->outside && !c->info.external)
		return "it cannot track another process";
	if (!(c->info.events & PML_DIRTY))
		return "it gives no dirty events";
	if (!caps)
		return NULL;
	c->sees = c->outside ? caps->outside : caps->self;
	return NULL;
}

static char *writer_path(void)
{
	static char path[PATH_MAX + 32];
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	snprintf(path, sizeof(path), "%s/../oracle/writer", dirname(self));
	return path;
}

static int usage(void)
{
	fprintf(stderr, "usage: suite --backend NAME [--outside] [--group G] [--name TEXT]\n"
			"             [--epochs N] [--collects N] [--seed S] [--negative]\n");
	return 2;
}

static int parse(int argc, char **argv, struct context *c, struct choice *choice)
{
	static const struct option options[] = {
		{ "backend", required_argument, NULL, 'b' },
		{ "outside", no_argument, NULL, 'o' },
		{ "group", required_argument, NULL, 'g' },
		{ "name", required_argument, NULL, 'n' },
		{ "epochs", required_argument, NULL, 'e' },
		{ "collects", required_argument, NULL, 'c' },
		{ "seed", required_argument, NULL, 's' },
		{ "negative", no_argument, NULL, 'N' },
		{ "limit", required_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'b':
			c->backend = optarg;
			break;
		case 'o':
			c->outside = true;
			break;
		case 'g':
			if (choice->ngroups < MAX_GROUPS)
				choice->groups[choice->ngroups++] = optarg;
			break;
		case 'n':
			choice->name = optarg;
			break;
		case 'e':
			c->epochs = (int)strtol(optarg, NULL, 10);
			break;
		case 'c':
			c->collects = (int)strtol(optarg, NULL, 10);
			break;
		case 's':
			c->seed = strtoull(optarg, NULL, 10);
			break;
		case 'N':
			c->negative = true;
			break;
		case 'l':
			choice->limit_s = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		default:
			return -1;
		}
	}
	return c->backend ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct context c = { .epochs = 60, .collects = 300 };
	struct choice choice = { .limit_s = 300 };
	const char *why;

	c.seed = (uint64_t)time(NULL);
	c.writer = writer_path();
	if (parse(argc, argv, &c, &choice))
		return usage();
	c.why_size = 512;
	c.why = mmap(NULL, c.why_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c.why == MAP_FAILED)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	why = find_backend(&c);
	if (why) {
		tap_note("matrix | %s | %s | %s | all | all | skipped | %s", kernel(), c.backend,
			 c.outside ? "outside" : "self", why);
		printf("1..0 # SKIP %s, %s: %s\n", c.backend, c.outside ? "outside" : "self", why);
		return TAP_SKIP_ALL;
	}
	tap_note("%s, %s, seed %lu, %d epochs, %d collects", c.backend,
		 c.outside ? "outside" : "self", c.seed, c.epochs, c.collects);
	tap_ok(caps_of(c.backend) != NULL, "%s: it is written what it is held to", c.backend);
	for (size_t i = 0; i < sizeof(all_truths) / sizeof(all_truths[0]); i++)
		for (const struct truth *t = all_truths[i]; t->name; t++)
			if (chosen(&choice, &c, t))
				run_truth(&c, t, &choice);
	print_matrix(&c);
	return tap_done();
}
