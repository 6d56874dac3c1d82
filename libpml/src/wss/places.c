/* SPDX-License-Identifier: MIT */
/*
 * Where the pages of a process are, in memory or swapped out: pml_wss_places().  By
 * PAGEMAP_SCAN (Linux 6.7), which passes over holes, or by the kernel's word for each
 * page.
 */
#define _GNU_SOURCE
#include "pml_wss.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../kernel_abi.h"
#include "open_maps.h"

#define REGIONS 1024u
#define WORDS 4096u
#define WORD_PRESENT	(1ull << 63)
#define WORD_SWAPPED	(1ull << 62)

struct looker {
	int pagemap;
	bool no_scan;
	uint64_t page_size;
	struct pml_wss_place *places;
	size_t room;
	size_t n;
	struct pml_wss_place run;	/* not yet among them */
};

static void end_run(struct looker *l)
{
	if (l->run.end > l->run.start) {
		if (l->n < l->room)
			l->places[l->n] = l->run;
		l->n++;
	}
	l->run.start = l->run.end;
}

static void add(struct looker *l, uint64_t start, uint64_t end, bool swapped)
{
	if (l->run.end == start && l->run.end > l->run.start && l->run.swapped == swapped) {
		l->run.end = end;
		return;
	}
	end_run(l);
	l->run.start = start;
	l->run.end = end;
	l->run.swapped = swapped;
}

static int look_by_scan(struct looker *l, uint64_t start, uint64_t end)
{
	struct pml_page_region v[REGIONS];

	while (start < end) {
		struct pml_scan_arg a = {
			.size = sizeof(a), .start = start, .end = end, .vec = (uintptr_t)v,
			.vec_len = REGIONS,
			.category_anyof_mask = PML_PAGE_PRESENT | PML_PAGE_SWAPPED,
			.return_mask = PML_PAGE_SWAPPED | PML_PAGE_PFNZERO,
		};
		int n = ioctl(l->pagemap, PML_PAGEMAP_SCAN, &a);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++)
			if (!(v[i].categories & PML_PAGE_PFNZERO))
				add(l, v[i].start, v[i].end, v[i].categories & PML_PAGE_SWAPPED);
		start = n < (int)REGIONS ? end : v[n - 1].end;
	}
	return 0;
}

static int look_by_words(struct looker *l, uint64_t start, uint64_t end)
{
	uint64_t words[WORDS];

	while (start < end) {
		uint64_t n = (end - start) / l->page_size;
		ssize_t got;

		if (n > WORDS)
			n = WORDS;
		got = pread(l->pagemap, words, n * sizeof(*words),
			    (off_t)(start / l->page_size * sizeof(*words)));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got < (ssize_t)sizeof(*words))
			return 0;
		n = (uint64_t)got / sizeof(*words);
		for (uint64_t i = 0; i < n; i++, start += l->page_size)
			if (words[i] & (WORD_PRESENT | WORD_SWAPPED))
				add(l, start, start + l->page_size, words[i] & WORD_SWAPPED);
	}
	return 0;
}

static int look_at_line(struct looker *l, const char *line)
{
	uint64_t start, end;
	char *rest;

	start = strtoull(line, &rest, 16);
	if (*rest != '-')
		return 0;
	end = strtoull(rest + 1, &rest, 16);
	/* what the kernel has for all, above where processes are */
	if (end <= start || end > INT64_MAX)
		return 0;
	if (!l->no_scan)
		return look_by_scan(l, start, end);
	/* what may not be touched may be vast: every page of it would be asked for */
	return strncmp(rest, " ---", 4) ? look_by_words(l, start, end) : 0;
}

static int look_at_all(struct looker *l, int directory)
{
	size_t size = 0, lines = 0;
	char *line = NULL;
	int rc;
	FILE *maps = pml_open_maps(directory, &rc);

	if (!maps)
		return rc;
	errno = 0;
	for (; rc == 0 && getline(&line, &size, maps) > 0; lines++)
		rc = look_at_line(l, line);
	if (rc == 0 && ferror(maps))
		rc = -(errno ? errno : EIO);
	free(line);
	fclose(maps);
	end_run(l);
	/* one that has exited, and is not yet waited for, has no mappings */
	return rc == 0 && !lines ? -ESRCH : rc;
}

int64_t pml_wss_places(pid_t pid, struct pml_wss_place *places, size_t room)
{
	struct looker l = { .places = places, .room = room, .run.pid = (uint32_t)pid };
	struct pml_scan_arg nothing = { .size = sizeof(nothing), .return_mask = PML_PAGE_PRESENT };
	char path[64];
	int directory, rc;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	l.page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	l.pagemap = openat(directory, "pagemap", O_RDONLY | O_CLOEXEC);
	rc = l.pagemap < 0 ? -errno : 0;
	if (rc == 0) {
		l.no_scan = ioctl(l.pagemap, PML_PAGEMAP_SCAN, &nothing) < 0;
		rc = look_at_all(&l, directory);
		close(l.pagemap);
	}
	close(directory);
	if (rc == -ENOENT)
		rc = -ESRCH;
	return rc ? rc : (int64_t)l.n;
}
