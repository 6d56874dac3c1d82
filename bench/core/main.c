/* SPDX-License-Identifier: MIT */
/*
 * bench-collect: what collecting costs (issue "Core", must reach).
 * Usage: bench-collect [hand|sparse|adaptive]...   BENCH_EPOCHS=N for more
 * Exit status 1 if a ratio that must be reached was not.
 */
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

static int wanted(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return 1;
	return argc < 2;
}

int main(int argc, char **argv)
{
	const char *n = getenv("BENCH_EPOCHS");
	int epochs = n ? atoi(n) : 0;
	struct utsname u;
	int missed = 0;

	uname(&u);
	printf("Linux %s %s, libpml %s; times are of this machine, read the ratios\n", u.release,
	       u.machine, pml_version());
	if (wanted(argc, argv, "hand"))
		missed |= bench_hand(epochs ? epochs : 31);
	if (wanted(argc, argv, "sparse"))
		missed |= bench_sparse(epochs ? epochs : 31);
	if (wanted(argc, argv, "adaptive"))
		missed |= bench_adaptive(epochs ? epochs * 100 : 1500);
	return missed;
}
