/* SPDX-License-Identifier: MIT */
/*
 * test_ksm.c - whether the kernel merges a process's pages: what it says of itself,
 * on every kernel that we know of, is understood.  Run by CTest.
 */
#define _GNU_SOURCE
#include "ksm.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A directory with these files; NULL is none. */
static char *directory(const char *name, const char *text, const char *name2, const char *text2)
{
	char *dir = strdup("/tmp/pml-ksm-XXXXXX"), path[64];
	const char *both[2][2] = { { name, text }, { name2, text2 } };

	cr_assert(mkdtemp(dir));
	for (int i = 0; i < 2; i++) {
		FILE *f;

		if (!both[i][0])
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, both[i][0]);
		f = fopen(path, "we");
		cr_assert(f && fputs(both[i][1], f) >= 0 && !fclose(f));
	}
	return dir;
}

static void forget(char *dir)
{
	static const char *const names[] = { "ksm_stat", "run", "pages_shared", "full_scans" };

	for (int i = 0; i < 4; i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
	free(dir);
}

static bool knows(char *proc, char *ksm)
{
	int fd = open(proc, O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool answer = pml_ksm_knows(fd, ksm ? ksm : "/nowhere/at/all");

	close(fd);
	forget(proc);
	if (ksm)
		forget(ksm);
	return answer;
}

static char *stat_of(const char *text)
{
	return directory("ksm_stat", text, NULL, NULL);
}

Test(ksm, items_on_the_list)
{
	cr_assert_not(knows(stat_of("ksm_rmap_items 0\nksm_zero_pages 0\n"), NULL));
	cr_assert_not(knows(stat_of("ksm_rmap_items 0"), NULL));
	cr_assert(knows(stat_of("ksm_rmap_items 10\nksm_merging_pages 0\n"), NULL));
	cr_assert(knows(stat_of("ksm_rmap_items 7\n"), NULL));
}

Test(ksm, what_is_not_understood_counts)
{
	cr_assert(knows(stat_of(""), NULL));
	cr_assert(knows(stat_of("something else\n"), NULL));
	cr_assert(knows(stat_of("ksm_rmap_items \n"), NULL));
}

Test(ksm, without_a_list_per_process)
{
	cr_assert_not(knows(directory(NULL, NULL, NULL, NULL), NULL), "no KSM in the kernel");
	cr_assert_not(knows(directory(NULL, NULL, NULL, NULL),
			    directory("run", "0\n", "pages_shared", "0\n")));
	cr_assert(knows(directory(NULL, NULL, NULL, NULL),
			directory("run", "1\n", "pages_shared", "0\n")));
	cr_assert(knows(directory(NULL, NULL, NULL, NULL),
			directory("run", "0\n", "pages_shared", "3\n")));
	cr_assert(knows(directory(NULL, NULL, NULL, NULL), directory("run", "0\n", NULL, NULL)));
}

static uint64_t passes(const char *text)
{
	char *dir = directory("full_scans", text, NULL, NULL);
	uint64_t n = pml_ksm_passes(dir);

	forget(dir);
	return n;
}

Test(ksm, passes)
{
	cr_assert_eq(pml_ksm_passes("/nowhere/at/all"), 0, "no KSM in the kernel");
	cr_assert_eq(passes("0\n"), 0);
	cr_assert_eq(passes("4711\n"), 4711);
	cr_assert_eq(passes("7"), 7);
	cr_assert_eq(passes(""), PML_KSM_UNKNOWN);
	cr_assert_eq(passes("many\n"), PML_KSM_UNKNOWN);
	cr_assert_eq(passes("7 of 9\n"), PML_KSM_UNKNOWN);
}
