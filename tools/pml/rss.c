/* SPDX-License-Identifier: MIT */
/*
 * rss.c - resident sizes, as /proc tells them.
 */
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "cgroup_file.h"
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

static int add_rss(void *sum, pid_t pid)
{
	*(uint64_t *)sum += rss_of(pid);
	return 0;
}

uint64_t rss_of_cgroup(const char *path)
{
	uint64_t sum = 0;

	cgroup_each(path, add_rss, &sum);
	return sum;
}
