/* SPDX-License-Identifier: MIT */
/*
 * test_tree.c - a tracker of a cgroup misses nobody in the cgroups below it:
 * deep ones, threaded ones, those that cannot be looked into, and processes
 * that are moved from one to another while it looks.  Run by CTest.
 */
#define _GNU_SOURCE
#include "common.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEPTH 24
#define SIBLINGS 800	/* that a walk has to get through */
#define ROUNDS 20

static char message[512];

static struct pml *tracker(const char *path, const char *backend)
{
	struct pml_options o = {
		.size = sizeof(o), .target = PML_TARGET_CGROUP, .cgroup = path,
		.backend = backend, .message = message, .message_size = sizeof(message),
	};
	struct pml *t = NULL;
	int err = pml_open(&t, &o);

	if (!err)
		err = pml_start(t);
	if (err)
		tap_note("%s: %d, %s%s", path, err, message, t ? pml_message(t) : "");
	return t;
}

static bool put_text(const char *where, const char *name, const char *text)
{
	char path[PATH_MAX];
	int fd, n = snprintf(path, sizeof(path), "%s/%s", where, name);
	bool ok;

	if (n < 0 || n >= (int)sizeof(path))
		return false;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return ok;
}

/* `below` is made threaded; the root of its threads is `group`. */
static void threaded(void)
{
	struct pml_options o = {
		.size = sizeof(o), .target = PML_TARGET_CGROUP, .cgroup = below,
		.message = message, .message_size = sizeof(message),
	};
	const struct pml_result *r = NULL;
	struct pml *t = tracker(below, NULL);
	struct child a = born();
	char number[16];
	int err;

	if (!put_text(below, "cgroup.type", "threaded")) {
		tap_skip("no cgroup can be made threaded here", "threaded cgroups");
		pml_close(t);
		dies(&a);
		return;
	}
	err = pml_collect(t, NULL, &r);
	tap_ok(err == -ENOTSUP && strchr(pml_message(t), ';'),
	       "a cgroup that becomes threaded is an error in words: %d, %s", err, pml_message(t));
	pml_close(t);
	err = pml_open(&t, &o);
	tap_ok(err == -ENOTSUP && strstr(message, "threaded") && strchr(message, ';') &&
	       strlen(message) > strlen(group) &&
	       strcmp(message + strlen(message) - strlen(group), group) == 0,
	       "a threaded cgroup is refused, and its domain is named: %d, %s", err, message);
	pml_close(t);
	snprintf(number, sizeof(number), "%d", a.pid);
	put(a.pid, group);
	tap_ok(put_text(below, "cgroup.threads", number), "a thread is in a threaded cgroup");
	t = tracker(group, NULL);
	writes(&a, 4);
	tap_ok(t && !collect(t, &r) && r->processes == 1 && dirty(r, a.pid) == 1,
	       "its process is seen from the domain above");
	pml_close(t);
	dies(&a);
}

/* The path of the cgroup `depth` levels below `below`. */
static const char *deep(int depth)
{
	static char path[sizeof(below) + 2 * DEPTH + 1];

	snprintf(path, sizeof(path), "%s", below);
	for (size_t n = strlen(path); depth; depth--, n += 2)
		memcpy(path + n, "/d", 3);
	return path;
}

/* How many descriptors may be open, so that the next but `spare` fail. */
static struct rlimit leave_descriptors(rlim_t spare)
{
	struct rlimit before, less;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	getrlimit(RLIMIT_NOFILE, &before);
	less = before;
	less.rlim_cur = (rlim_t)fd + spare;
	close(fd);
	setrlimit(RLIMIT_NOFILE, &less);
	return before;
}

static void depths(void)
{
	struct child a = born();
	const struct pml_result *r = NULL;
	struct rlimit before;
	struct pml *t;
	int err, made = 1;

	for (int i = 1; i <= DEPTH; i++)
		made &= mkdir(deep(i), 0755) == 0;
	t = tracker(group, NULL);
	tap_ok(made && put(a.pid, deep(DEPTH)) && t && !collect(t, &r) && dirty(r, a.pid) == PAGES,
	       "a process is seen that is %d cgroups below", DEPTH + 1);
	before = leave_descriptors(6);
	err = pml_collect(t, NULL, &r);
	setrlimit(RLIMIT_NOFILE, &before);
	tap_ok(err == -EMFILE && strchr(pml_message(t), ';'),
	       "with too few descriptors to get there that is an error, in words: %d, %s", err,
	       pml_message(t));
	tap_ok(!collect(t, &r) && dirty(r, a.pid) == PAGES && (r->flags & PML_RESULT_LOST),
	       "after which everything is dirty");
	pml_close(t);
	dies(&a);
	for (int i = DEPTH; i; i--)
		rmdir(deep(i));
}

/* As a user who may not look into `below`: 0 if that is told. */
static int look_as_nobody(void)
{
	const struct pml_result *r;
	struct pml *t;

	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return 2;
	t = tracker(group, "hash");
	if (!t || collect(t, &r))
		return 2;
	return unseen(r) ? 0 : 1;
}

static void closed(void)
{
	int status = 0;
	pid_t pid;

	chmod(below, 0700);
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(look_as_nobody());
	waitpid(pid, &status, 0);
	chmod(below, 0755);
	tap_ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
	       "what is in a cgroup that may not be looked into is uncovered (%x)", status);
}

static const char *sibling(int i)
{
	static char path[sizeof(group) + 16];

	snprintf(path, sizeof(path), "%s/s%d", group, i);
	return path;
}

/* Moves a process to and fro until it is killed. */
static pid_t mover(pid_t pid)
{
	pid_t self = fork();

	if (self)
		return self;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0;; i = SIBLINGS - 1 - i)
		if (!put(pid, sibling(i)))
			_exit(1);
}

static void moved(void)
{
	const struct pml_result *r = NULL;
	struct child a = born();
	int exact = 0, present = 0;
	struct pml *t;
	pid_t by;

	for (int i = 0; i < SIBLINGS; i++)
		mkdir(sibling(i), 0755);
	put(a.pid, sibling(0));
	t = tracker(group, NULL);
	fflush(stdout);
	by = mover(a.pid);
	for (int i = 0; i < ROUNDS; i++) {
		writes(&a, (unsigned char)(i % PAGES));
		if (!t || collect(t, &r))
			break;
		present += r->processes == 1;
		exact += dirty(r, a.pid) == 1;
	}
	tap_ok(present == ROUNDS && exact == ROUNDS,
	       "one that is moved about below stays, with what it writes (%d, %d of %d)", present,
	       exact, ROUNDS);
	kill(by, SIGKILL);
	waitpid(by, NULL, 0);
	put(a.pid, v2);
	tap_ok(t && !collect(t, &r) && r->processes == 0, "until it is moved out of there");
	pml_close(t);
	dies(&a);
	for (int i = 0; i < SIBLINGS; i++)
		rmdir(sibling(i));
}

/* One comes in from outside, and another is born and dies, between two looks. */
static void masked(void)
{
	const struct timespec tick = { 0, 20000000 };
	struct child old = born(), c;
	const struct pml_result *r = NULL;
	struct pml *t;

	nanosleep(&tick, NULL);
	t = tracker(group, NULL);
	put(old.pid, group);
	c = born();
	put(c.pid, group);
	dies(&c);
	tap_ok(t && !collect(t, &r) && dirty(r, old.pid) == PAGES && unseen(r),
	       "one that comes in does not hide another that has lived and died");
	pml_close(t);
	dies(&old);
}

int main(void)
{
	if (!prepare()) {
		printf("1..0 # SKIP no cgroup v2 can be mounted here: %s\n", strerrordesc_np(errno));
		clean_up();
		return TAP_SKIP_ALL;
	}
	depths();
	closed();
	moved();
	masked();
	threaded();
	clean_up();
	return tap_done();
}
