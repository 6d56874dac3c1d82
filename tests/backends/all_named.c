/* SPDX-License-Identifier: MIT */
/*
 * all_named.c - what pml_probe() says: about every back-end that the suite is
 * run over (its arguments), and about no other.  Run by CTest.
 */
#include "pml.h"
#include "tap.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static bool in_arguments(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return false;
}

/* Who tracks its own process only says why. */
static void from_outside(const char *name)
{
	char words[512] = "";
	struct pml_options o = {
		.size = sizeof(o), .target = PML_TARGET_PID, .pid = getppid(), .backend = name,
		.message = words, .message_size = sizeof(words),
	};
	struct pml *t = NULL;
	int err = pml_open(&t, &o);

	tap_ok(err == -ENOTSUP && strstr(words, "only track its own process: ") && strchr(words, ';'),
	       "%s: of another process it says why not (%s)", name, words);
	pml_close(t);
}

int main(int argc, char **argv)
{
	struct pml_probe_info info[32], few[2];
	int n = pml_probe(info, 32);

	tap_ok(n > 0 && n <= 32, "there are back-ends");
	tap_ok(pml_probe(NULL, 0) == n, "pml_probe(NULL, 0) tells how many");
	tap_ok(pml_probe(few, 1) == n && !strcmp(few[0].name, info[0].name),
	       "an array too small is filled as far as it goes");
	for (int i = 0; i < n && i < 32; i++) {
		tap_ok(in_arguments(info[i].name, argc, argv), "%s is in the suite", info[i].name);
		tap_ok(!info[i].available == !!info[i].reason[0],
		       "%s: available, or a reason in words (%s)", info[i].name, info[i].reason);
		tap_ok(info[i].events && !(info[i].events & ~(PML_DIRTY | PML_REFERENCED)),
		       "%s: gives events", info[i].name);
		if (info[i].available && !info[i].external)
			from_outside(info[i].name);
	}
	return tap_done();
}
