/* SPDX-License-Identifier: MIT */
/*
 * check_negative.c - PML_CHECK against a library that drops pages on purpose:
 * the check has to stop the program, and to name the page and its mapping.
 * Run by CTest in builds with PML_TEST_HOOKS.
 */
#define _GNU_SOURCE
#include "oracle.h"
#include "pml.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Tracks itself and changes pages; ends with 0 if nothing stopped it. */
static int changes(int words)
{
	struct oracle_spec spec = { .kind = ORACLE_ANON, .threads = 1, .pages = 512, .seed = 7 };
	struct pml_options o = { .size = sizeof(o), .backend = "wp-async", .flags = PML_CHECK };
	const struct pml_result *r;
	struct pml_span watch;
	struct oracle oracle;
	struct pml *t;

	dup2(words, 2);
	if (oracle_open(&oracle, &spec))
		return 3;
	watch.start = (uintptr_t)oracle.base;
	watch.end = watch.start + oracle.main_pages * oracle.page;
	o.watch = &watch;
	o.nwatch = 1;
	if (pml_open(&t, &o) || pml_start(t))
		return 3;
	for (int i = 0; i < 60; i++) {
		oracle_do(&oracle, "write 100");
		if (pml_collect(t, NULL, &r))
			return 3;
	}
	pml_close(t);
	oracle_close(&oracle);
	return 0;
}

static int run(const char *broken, char *said, size_t size)
{
	int status = 0, words[2];
	size_t used = 0;
	ssize_t n;
	pid_t child;

	if (pipe(words))
		return -1;
	if (broken)
		setenv("PML_TEST_BREAK", broken, 1);
	else
		unsetenv("PML_TEST_BREAK");
	child = fork();
	if (!child)
		_exit(changes(words[1]));
	close(words[1]);
	while (used + 1 < size && (n = read(words[0], said + used, size - used - 1)) > 0)
		used += (size_t)n;
	said[used] = '\0';
	close(words[0]);
	waitpid(child, &status, 0);
	return status;
}

int main(void)
{
	char said[4096];
	int status = run(NULL, said, sizeof(said));

	tap_ok(status == 0, "PML_CHECK does not stop a program whose changes are all reported");
	status = run("drop-page", said, sizeof(said));
	tap_note("%s", said);
	tap_ok(status != 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 3),
	       "PML_CHECK stops a program when a change went unreported");
	tap_ok(strstr(said, "pml: ") && strstr(said, "0x"),
	       "and names the address of the page");
	return tap_done();
}
