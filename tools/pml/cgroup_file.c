/* SPDX-License-Identifier: MIT */
/*
 * cgroup_file.c - reads a cgroup's files.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup_file.h"

int cgroup_read(int directory, const char *name, char *text, size_t size)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0) {
		n = -errno;
		close(fd);
		return (int)n;
	}
	close(fd);
	text[n] = '\0';
	return 0;
}

uint64_t cgroup_number(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, length) && line[length] == ' ')
			return strtoull(line + length, NULL, 10);
	}
	return 0;
}

static int each_listed(const char *procs, int (*fn)(void *arg, pid_t pid), void *arg)
{
	FILE *file = fopen(procs, "re");
	int pid, rc = 0;

	if (!file)
		return 0;
	while (rc == 0 && fscanf(file, "%d", &pid) == 1)
		rc = fn(arg, pid);
	fclose(file);
	return rc;
}

int cgroup_each(const char *path, int (*fn)(void *arg, pid_t pid), void *arg)
{
	char *roots[] = { (char *)path, NULL };
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOSTAT | FTS_NOCHDIR, NULL);
	bool found = false;
	FTSENT *entry;
	int rc = 0;

	if (!tree)
		return errno == ENOENT ? -ESRCH : -errno;
	while (rc == 0 && (entry = fts_read(tree))) {
		if (strcmp(entry->fts_name, "cgroup.procs") != 0)
			continue;
		found = true;
		rc = each_listed(entry->fts_path, fn, arg);
	}
	fts_close(tree);
	return rc == 0 && !found ? -ESRCH : rc;
}
