/* SPDX-License-Identifier: MIT */
/*
 * One process as this round of criu sees it: see view.h.
 */
#define _GNU_SOURCE
#include "view.h"

#include <errno.h>
#include <stdio.h>

#include "round.h"
#include "say.h"

void view_free(struct view *v)
{
	spans_free(&v->clean);
	spans_free(&v->told);
	*v = (struct view){ 0 };
}

void view_ask(struct view *v)
{
	if (v->asked)
		return;
	v->asked = true;
	round_scan(v->pid, &v->clean);
}

void view_tell(struct view *v, uint64_t start, uint64_t end)
{
	if (spans_add(&v->told, start, end))
		v->broken = true;
}

/* What criu leaves out of the images may lie in what it asked for: mappings that it
 * may not read, and shared ones. */
static int readable(int pid, struct spans *out)
{
	char path[40], line[512];
	unsigned long start, end;
	char rights[5];
	int status = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return -errno;
	while (!status && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %4s", &start, &end, rights) != 3)
			continue;	/* the rest of a long name */
		if (rights[0] == 'r' && rights[3] == 'p')
			status = spans_add(out, start, end);
	}
	fclose(maps);
	return status;
}

void view_reset(struct view *v, int pid)
{
	struct spans keep = { 0 };

	if (!v || !v->asked || v->broken || readable(pid, &keep)) {
		spans_free(&keep);
		say(CRIU_LOG_WARN, "process %d: its next round is a full one", pid);
		return;
	}
	spans_sort(&v->told);
	spans_sort(&keep);
	if (!spans_intersect(&v->told, &keep))
		round_reset(pid, &v->told);
	spans_free(&keep);
}
