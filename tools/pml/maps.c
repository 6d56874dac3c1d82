/* SPDX-License-Identifier: MIT */
/*
 * maps.c - groups an epoch's dirty pages by mapping, for dirty.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "maps.h"

static struct mapping *append(struct mapping_list *list)
{
	if (list->n == list->room) {
		size_t room = list->room ? 2 * list->room : 64;
		struct mapping *grown = reallocarray(list->mappings, room, sizeof(*grown));

		if (!grown)
			return NULL;
		list->mappings = grown;
		list->room = room;
	}
	list->mappings[list->n] = (struct mapping){ 0 };
	return &list->mappings[list->n++];
}

static int add_mapping(struct mapping_list *list, uint32_t pid, uint64_t start, uint64_t end,
		       const char *perms, const char *name)
{
	struct mapping *m = append(list);

	if (!m)
		return -ENOMEM;
	m->pid = pid;
	m->start = start;
	m->end = end;
	snprintf(m->perms, sizeof(m->perms), "%s", perms);
	m->name = strdup(name);
	return m->name ? 0 : -ENOMEM;
}

/* One line of /proc/PID/maps. */
static int add_line(struct mapping_list *list, uint32_t pid, char *line)
{
	uint64_t start, end;
	char perms[5];
	int name = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s %n", &start, &end, perms,
		   &name) < 3 || !name)
		return 0;
	return add_mapping(list, pid, start, end, perms, line[name] ? line + name : "[anon]");
}

/* A process that has gone has no mappings: that is not an error. */
static int read_maps(struct mapping_list *list, uint32_t pid)
{
	char path[32];
	char *line = NULL;
	size_t room = 0;
	FILE *file;
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/maps", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (rc == 0 && getline(&line, &room, file) > 0)
		rc = add_line(list, pid, line);
	free(line);
	fclose(file);
	return rc;
}

static void count(struct mapping *m, const struct epoch *e, const struct pml_range *r,
		  uint64_t bytes)
{
	m->pages += bytes / e->page_size;
	if (r->known == PML_ASSUMED)
		m->assumed_pages += bytes / e->page_size;
}

/*
 * Spreads one range over the mappings of its process from @at on; pages of
 * mappings that went meanwhile are counted in one entry called "[gone]".
 */
static void spread(struct mapping_list *maps, size_t *at, struct mapping *gone,
		   const struct epoch *e, const struct pml_range *r)
{
	uint64_t start = r->start;

	while (start < r->end) {
		struct mapping *m;
		uint64_t end = r->end;

		while (*at < maps->n && maps->mappings[*at].end <= start)
			(*at)++;
		m = *at < maps->n ? &maps->mappings[*at] : NULL;
		if (m && m->start <= start) {
			end = m->end < end ? m->end : end;
			count(m, e, r, end - start);
		} else {
			end = m && m->start < end ? m->start : end;
			count(gone, e, r, end - start);
			gone->start = gone->start ? gone->start : start;
			gone->end = end;
		}
		start = end;
	}
}

static int keep_dirty(struct mapping_list *list, struct mapping_list *maps,
		      const struct mapping *gone)
{
	int rc = 0;

	for (size_t i = 0; i < maps->n; i++) {
		struct mapping *kept;

		if (!maps->mappings[i].pages)
			continue;
		kept = append(list);
		if (!kept)
			return -ENOMEM;
		*kept = maps->mappings[i];
		maps->mappings[i].name = NULL;
	}
	if (gone->pages) {
		rc = add_mapping(list, gone->pid, gone->start, gone->end, "----", "[gone]");
		if (rc == 0) {
			list->mappings[list->n - 1].pages = gone->pages;
			list->mappings[list->n - 1].assumed_pages = gone->assumed_pages;
		}
	}
	return rc;
}

/* The ranges of one process, from @i on; returns where the next begins. */
static int group_process(struct mapping_list *list, const struct epoch *e, size_t *i)
{
	uint32_t pid = e->ranges.ranges[*i].pid;
	struct mapping gone = { .pid = pid };
	struct mapping_list maps = { 0 };
	size_t at = 0;
	int rc = read_maps(&maps, pid);

	for (; *i < e->ranges.n && e->ranges.ranges[*i].pid == pid; (*i)++) {
		const struct pml_range *r = &e->ranges.ranges[*i];

		if (rc == 0 && (r->events & PML_DIRTY))
			spread(&maps, &at, &gone, e, r);
	}
	if (rc == 0)
		rc = keep_dirty(list, &maps, &gone);
	maps_free(&maps);
	return rc;
}

int maps_group(struct mapping_list *list, const struct epoch *e)
{
	size_t i = 0;
	int rc = 0;

	*list = (struct mapping_list){ 0 };
	while (rc == 0 && i < e->ranges.n)
		rc = group_process(list, e, &i);
	return rc;
}

void maps_free(struct mapping_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->mappings[i].name);
	free(list->mappings);
	*list = (struct mapping_list){ 0 };
}
