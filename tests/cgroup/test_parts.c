/* SPDX-License-Identifier: MIT */
/*
 * test_parts.c - epochs of several processes that are collected in parts lose
 * nothing: where the process to go on with is gone, where an error came before,
 * where only a range is asked for.  Run by CTest.
 */
#define _GNU_SOURCE
#include "common.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CHILDREN 3

static struct child children[CHILDREN];
static struct pml *t;

/* A tracker of the region alone, with all children in its cgroup. */
static bool begin(void)
{
	static struct pml_span watch;
	struct pml_options o = {
		.size = sizeof(o), .target = PML_TARGET_CGROUP, .cgroup = group,
		.watch = &watch, .nwatch = 1,
	};

	watch.start = (uintptr_t)region;
	watch.end = watch.start + PAGES * page;
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = born();
		if (children[i].pid < 0 || !put(children[i].pid, group))
			return false;
	}
	return !pml_open(&t, &o) && !pml_start(t);
}

static void end(void)
{
	pml_close(t);
	for (int i = 0; i < CHILDREN; i++)
		dies(&children[i]);
}

static void all_write(void)
{
	for (int i = 0; i < CHILDREN; i++)
		for (unsigned char k = 0; k < PAGES; k += 2)
			writes(&children[i], k);
}

static bool cut(const struct pml_collect_args *args, const struct pml_result **r)
{
	return !collect_part(t, args, r) && ((*r)->flags & PML_RESULT_MORE);
}

/* The others' pages are in the parts that follow. */
static void gone_between_parts(void)
{
	struct pml_collect_args args = { .size = sizeof(args), .max_pages = 3 };
	unsigned int told[CHILDREN] = { 0 };
	const struct pml_result *r = NULL;
	uint64_t ended = 0;
	bool more;

	if (!begin() || collect(t, &r)) {
		tap_ok(false, "started: %s", pml_message(t));
		return;
	}
	all_write();
	more = cut(&args, &r);
	tap_ok(more && r->resume_pid == (uint32_t)children[0].pid,
	       "an epoch is cut in its first process");
	if (!more)
		return;
	args.start = r->resume;
	args.from_pid = r->resume_pid;
	args.max_pages = 0;
	dies(&children[0]);
	if (!collect_part(t, &args, &r)) {
		for (int i = 1; i < CHILDREN; i++)
			told[i] += dirty(r, children[i].pid);
		ended = r->end_ns;
	}
	tap_ok(told[1] == PAGES / 2 && told[2] == PAGES / 2,
	       "where that is gone, the next part has the others' pages (%u, %u)", told[1],
	       told[2]);
	tap_ok(!collect(t, &r) && !dirty(r, children[1].pid) && !dirty(r, children[2].pid),
	       "and the next epoch does not repeat them");
	tap_ok(r && r->begin_ns >= ended, "but begins where that part ended");
	end();
}

/* Each part goes on where the last one was cut, whatever the process. */
static void part_by_part(void)
{
	struct pml_collect_args args = { .size = sizeof(args), .max_pages = 3 };
	unsigned int told[CHILDREN] = { 0 }, parts = 0;
	const struct pml_result *r = NULL;
	bool more = begin() && !collect(t, &r);

	all_write();
	while (more && parts++ < 100) {
		more = cut(&args, &r);
		for (int i = 0; r && i < CHILDREN; i++)
			told[i] += dirty(r, children[i].pid);
		if (more) {
			args.start = r->resume;
			args.from_pid = r->resume_pid;
		}
	}
	tap_ok(told[0] == PAGES / 2 && told[1] == PAGES / 2 && told[2] == PAGES / 2 && parts >= 8,
	       "in %u parts each page is told once (%u, %u, %u)", parts, told[0], told[1], told[2]);
	end();
}

/* What is asked for is of every process, and what is not stays for later. */
static void range(void)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	unsigned int told[CHILDREN] = { 0 }, later[CHILDREN] = { 0 };
	const struct pml_result *r = NULL;
	bool ok = begin() && !collect(t, &r);

	args.start = (uintptr_t)region + 4 * page;
	args.end = (uintptr_t)region + 8 * page;
	all_write();
	ok = ok && !collect_part(t, &args, &r);
	for (int i = 0; ok && i < CHILDREN; i++)
		told[i] = dirty(r, children[i].pid);
	ok = ok && !collect(t, &r);
	for (int i = 0; ok && i < CHILDREN; i++)
		later[i] = dirty(r, children[i].pid);
	tap_ok(told[0] == 2 && told[1] == 2 && told[2] == 2,
	       "a range is told of each process (%u, %u, %u)", told[0], told[1], told[2]);
	tap_ok(later[0] == PAGES / 2 - 2 && later[2] == PAGES / 2 - 2,
	       "and the rest later (%u, %u)", later[0], later[2]);
	end();
}

/* A collect that fails leaves everything dirty, until that has been told. */
static void after_an_error(void)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	const struct pml_result *r = NULL;
	struct rlimit before, none;
	bool ok = begin() && !collect(t, &r);
	unsigned int told = 0;

	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	tap_ok(ok && pml_collect(t, NULL, &r) == -EMFILE, "a collect fails: %s", pml_message(t));
	setrlimit(RLIMIT_NOFILE, &before);
	args.start = (uintptr_t)region;
	args.end = args.start + 4 * page;
	tap_ok(!collect_part(t, &args, &r) && dirty(r, children[1].pid) == 4,
	       "a range after that is all dirty");
	args.start = args.end = 0;
	args.max_pages = 5;
	ok = cut(&args, &r);
	if (r)
		told = dirty(r, children[0].pid);
	tap_ok(ok && told == 5 && r->dirty_pages == 5, "a budget is kept then, too (%u)", told);
	args.start = r ? r->resume : 0;
	args.from_pid = r ? r->resume_pid : 0;
	args.max_pages = 0;
	tap_ok(!collect_part(t, &args, &r) && told + dirty(r, children[0].pid) == PAGES &&
	       dirty(r, children[1].pid) == PAGES,
	       "all of it is told, whatever part was before");
	tap_ok(!collect(t, &r) && r->dirty_pages == 0, "and then no more");
	end();
}

int main(void)
{
	if (!prepare()) {
		printf("1..0 # SKIP no cgroup v2 can be mounted here: %s\n", strerrordesc_np(errno));
		clean_up();
		return TAP_SKIP_ALL;
	}
	gone_between_parts();
	part_by_part();
	range();
	after_an_error();
	clean_up();
	return tap_done();
}
