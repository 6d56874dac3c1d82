/* SPDX-License-Identifier: MIT */
/*
 * writer - a process whose changes are known: it takes the commands of
 * oracle.h from its standard input and tells after each one which pages
 * changed.  Driven by the behaviour suite, by the checks of the pml command,
 * and by hand.
 *
 *   writer [--kind K] [--thp] [--threads N] [--pages N] [--seed S]
 *
 * It says   region START END PAGE   once, and then for each command
 *   c START END     these addresses changed
 *   s START END     these may be reported as ASSUMED
 *   d START END     these were dropped: they count as dirty, whatever was in them
 *   done BEGIN END  of the command, nanoseconds of CLOCK_MONOTONIC
 * or          error NUMBER WORDS
 * `quit`, or the end of the input, ends it; `exit` ends it at once; `exec`
 * makes it begin anew, in the same process.
 */
#define _GNU_SOURCE
#include "oracle.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_set(const struct oracle *o, const uint8_t *set, unsigned int bit, char tag)
{
	for (size_t i = 0; i < o->pages; i++) {
		size_t from = i;

		if (!(set[i] & bit))
			continue;
		while (i < o->pages && (set[i] & bit))
			i++;
		printf("%c %" PRIxPTR " %" PRIxPTR "\n", tag, (uintptr_t)o->base + from * o->page,
		       (uintptr_t)o->base + i * o->page);
	}
}

static void serve(struct oracle *o, char **argv)
{
	char line[128];

	while (fgets(line, sizeof(line), stdin)) {
		int error;

		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, "quit"))
			break;
		if (!strcmp(line, "exit"))
			_exit(0);
		if (!strcmp(line, "exec")) {
			execv("/proc/self/exe", argv);
			_exit(127);
		}
		error = oracle_do(o, line);
		if (error) {
			printf("error %d %s\n", -error, strerror(-error));
		} else {
			print_set(o, o->changed, 1, 'c');
			print_set(o, o->soft, ORACLE_SOFT, 's');
			print_set(o, o->soft, ORACLE_DROPPED, 'd');
			print_set(o, o->soft, ORACLE_PROTECTED, 'p');
			print_set(o, o->soft, ORACLE_CLEANED, 'w');
			printf("done %" PRIu64 " %" PRIu64 "\n", o->begin_ns, o->end_ns);
		}
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "kind", required_argument, NULL, 'k' },
		{ "thp", no_argument, NULL, 't' },
		{ "threads", required_argument, NULL, 'n' },
		{ "pages", required_argument, NULL, 'p' },
		{ "seed", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	struct oracle_spec spec = { .kind = ORACLE_ANON, .threads = 1, .pages = 1024, .seed = 1 };
	struct oracle o;
	int c, kind, error;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'k':
			kind = oracle_kind_by_name(optarg);
			if (kind < 0)
				return 2;
			spec.kind = (enum oracle_kind)kind;
			break;
		case 't':
			spec.thp = 1;
			break;
		case 'n':
			spec.threads = (int)strtol(optarg, NULL, 10);
			break;
		case 'p':
			spec.pages = strtoul(optarg, NULL, 10);
			break;
		case 's':
			spec.seed = strtoull(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	}
	error = oracle_open(&o, &spec);
	if (error) {
		printf("error %d %s\n", -error, strerror(-error));
		return 1;
	}
	printf("region %" PRIxPTR " %" PRIxPTR " %zu\n", (uintptr_t)o.base,
	       (uintptr_t)o.base + o.pages * o.page, o.page);
	fflush(stdout);
	serve(&o, argv);
	oracle_close(&o);
	return 0;
}
