/* SPDX-License-Identifier: MIT */
/*
 * A process and its descendants: see tree.h.
 */
#define _GNU_SOURCE
#include "tree.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
	int *v;
	size_t n;
	size_t room;
} visited;

/* Out of memory some are left out: criu names each of them later. */
static void add(int pid)
{
	int *more;

	for (size_t i = 0; i < visited.n; i++)
		if (visited.v[i] == pid)
			return;
	if (visited.n == visited.room) {
		more = realloc(visited.v, (visited.room + 64) * sizeof(*more));
		if (!more)
			return;
		visited.v = more;
		visited.room += 64;
	}
	visited.v[visited.n++] = pid;
}

/* Each thread has children of its own. */
static void add_children(int pid)
{
	char path[300];
	const struct dirent *e;
	DIR *threads;
	FILE *f;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	threads = opendir(path);
	while (threads && (e = readdir(threads))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/children", pid, e->d_name);
		f = fopen(path, "re");
		while (f && fscanf(f, "%d", &child) == 1) // NOLINT
			add(child);
		if (f)
			fclose(f);
	}
	if (threads)
		closedir(threads);
}

void tree_visit(int pid, void (*visit)(int pid))
{
	size_t i = visited.n;

	add(pid);
	for (; i < visited.n; i++) {
		visit(visited.v[i]);
		add_children(visited.v[i]);
	}
}
