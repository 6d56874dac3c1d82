/* SPDX-License-Identifier: MIT */
/*
 * test_broken.c - negative controls: with one part of the injection left out on
 * purpose, the attaches or the self-checking targets of this folder must fail.
 */
#include "attach.h"
#include "tap.h"
#include "target.h"

#include <stdlib.h>

static void must_fail(const char *part, const char *what, behaviour run, unsigned int n)
{
	struct target target = target_start(run);
	unsigned int failed;
	bool fine;

	setenv("PML_TEST_BREAK", part, 1);
	failed = attach_times(target.pid, n, 1, NULL);
	unsetenv("PML_TEST_BREAK");
	fine = target_end(&target, 0);
	tap_ok(failed || !fine, "without '%s', %s does not pass", part, what);
}

int main(void)
{
	const char *no_rseq = rseq_missing();

	must_fail("registers", "a busy loop", run_registers, 20);
	must_fail("mask", "a signal storm", run_signal_storm, 100);
	must_fail("eintr", "a program in epoll_wait", run_epoll_forever, 50);
	if (no_rseq)
		tap_skip(no_rseq, "restartable sequences");
	else
		must_fail("rseq", "a program in restartable sequences", run_rseq, 200);
	return tap_done();
}
