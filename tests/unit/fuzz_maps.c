/* SPDX-License-Identifier: MIT */
/*
 * fuzz_maps.c - any bytes as a maps file: nothing outside of them is read, and
 * what comes out is sorted.  libFuzzer calls it; built with clang only.
 */
#define _GNU_SOURCE
#include "maps.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_whole(const uint8_t *data, size_t size)
{
	static struct pml_pool pool = { .limit = 64u << 20 };
	static struct pml_buf text;
	static struct pml_areas list;
	static int fd = -1;
	struct pml_maps_facts facts;

	if (fd < 0)
		fd = memfd_create("maps", MFD_CLOEXEC);
	if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		return;
	if (pml_maps_read(fd, &pool, &text, &list, &facts))
		return;
	for (size_t i = 1; i < list.n; i++)
		if (pml_areas_at(&list)[i - 1].end > pml_areas_at(&list)[i].start)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Its own allocation, so that the sanitizer sees a byte too far. */
	char *line = malloc(size ? size : 1);
	struct pml_area a;
	bool aio = false;

	if (!line)
		return 0;
	memcpy(line, data, size);
	if (pml_maps_parse_line(line, size, &a, &aio) && a.start >= a.end)
		abort();
	free(line);
	read_whole(data, size);
	return 0;
}
