/* SPDX-License-Identifier: MIT */
/*
 * minimal.c - which pages of a buffer did this program write?  The smallest
 * use of libpml, built against an installed one (see the files beside it).
 */
#include <inttypes.h>
#include <pml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void fail(const char *words)
{
	fprintf(stderr, "%s\n", words);
	exit(1);
}

int main(void)
{
	const size_t page = 4096, size = 64 * page;
	char *buffer = aligned_alloc(page, size);
	struct pml_span watch = { (uintptr_t)buffer, (uintptr_t)buffer + size };
	char words[256] = "";
	struct pml_options options = { .size = sizeof(options), .watch = &watch, .nwatch = 1,
				       .message = words, .message_size = sizeof(words) };
	const struct pml_result *result;
	struct pml *tracker;

	memset(buffer, 1, size);
	if (pml_open(&tracker, &options) < 0)
		fail(words);
	if (pml_start(tracker) < 0)
		fail(pml_message(tracker));
	buffer[3 * page] = 2;
	memset(buffer + 10 * page, 2, 2 * page);
	if (pml_collect(tracker, NULL, &result) < 0)
		fail(pml_message(tracker));
	for (size_t i = 0; i < result->nranges; i++)
		printf("written: pages %" PRIu64 " to %" PRIu64 "\n",
		       (result->ranges[i].start - watch.start) / page,
		       (result->ranges[i].end - watch.start) / page - 1);
	pml_close(tracker);
	free(buffer);
	return 0;
}
