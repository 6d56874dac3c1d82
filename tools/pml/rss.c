/* SPDX-License-Identifier: MIT */
/*
 * rss.c - resident sizes, as /proc tells them.
 */
#include <dirent.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rss.h"

uint64_t rss_of(pid_t pid)
{
	unsigned long long resident = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%*u %llu", &resident) != 1)
		resident = 0;
	fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The children that one thread has. */
static uint64_t rss_of_children(pid_t pid, const char *thread)
{
	uint64_t sum = 0;
	char path[300];
	FILE *file;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, thread);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fscanf(file, "%d", &child) == 1)
		sum += rss_of_tree(child);
	fclose(file);
	return sum;
}

uint64_t rss_of_tree(pid_t pid)
{
	uint64_t sum = rss_of(pid);
	struct dirent *entry;
	char path[64];
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	threads = opendir(path);
	if (!threads)
		return sum;
	while ((entry = readdir(threads))) {
		if (entry->d_name[0] != '.')
			sum += rss_of_children(pid, entry->d_name);
	}
	closedir(threads);
	return sum;
}

static uint64_t rss_of_listed(const char *procs)
{
	FILE *file = fopen(procs, "re");
	uint64_t sum = 0;
	int pid;

	if (!file)
		return 0;
	while (fscanf(file, "%d", &pid) == 1)
		sum += rss_of(pid);
	fclose(file);
	return sum;
}

uint64_t rss_of_cgroup(const char *path)
{
	char *roots[] = { (char *)path, NULL };
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOSTAT | FTS_NOCHDIR, NULL);
	uint64_t sum = 0;
	FTSENT *entry;

	if (!tree)
		return 0;
	while ((entry = fts_read(tree)))
		if (!strcmp(entry->fts_name, "cgroup.procs"))
			sum += rss_of_listed(entry->fts_path);
	fts_close(tree);
	return sum;
}
