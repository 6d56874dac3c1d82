/* SPDX-License-Identifier: MIT */
/*
 * A process's mappings, as the back-ends need them: read from /proc/PID/maps
 * without malloc or stdio, filtered to what is watched, and compared with what
 * was armed before.
 */
#ifndef PML_MAPS_H
#define PML_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include "buf.h"
#include "pml.h"

enum pml_area_kind {
	PML_AREA_ANON = 0,	/* private, no file: heap, stack, arenas */
	PML_AREA_PRIVATE_FILE = 1,
	PML_AREA_SHARED = 2,	/* memfd, shared anonymous, shared file */
};

/* Flags of an area. */
#define PML_AREA_WRITE		1u	/* may be written now */
#define PML_AREA_FRESH		2u	/* not armed yet, or replaced: see areas_match */
#define PML_AREA_OWNED		4u	/* another userfaultfd has it */
#define PML_AREA_UNSUPPORTED	8u	/* the back-end cannot watch it */
#define PML_AREA_REPLACED	16u	/* with FRESH: something else was armed here */
#define PML_AREA_HUGETLB	32u
#define PML_AREA_UNWRITABLE	64u	/* can never be written through: not watched */
#define PML_AREA_GHOST		128u	/* in the armed list: was armed, is unmapped */

struct pml_area {
	uint64_t start;
	uint64_t end;
	/* the whole mapping with the unmapped space around it, as far as it is
	 * watched: whoever registers that does not split it, even if it grows now */
	uint64_t around_start;
	uint64_t around_end;
	/* where the list was cut: the space around ends there, whatever is mapped */
	uint64_t limit_start;
	uint64_t limit_end;
	uint64_t offset;	/* of start in the file */
	uint64_t inode;
	uint32_t dev;
	uint8_t kind;		/* enum pml_area_kind */
	uint8_t flags;
	uint8_t granule_shift;	/* of huge pages; 0: the page size */
	bool odd_rights;	/* it may be executed, or not be read */
};

/* A list of areas, sorted, not overlapping. */
struct pml_areas {
	struct pml_buf buf;
	size_t n;
};

static inline struct pml_area *pml_areas_at(const struct pml_areas *l)
{
	return l->buf.p;
}

/* What maps tells besides areas. */
struct pml_maps_facts {
	bool aio;		/* the process has a kernel AIO ring */
	/* while reading: where the last mapping ended, watched or not, and whether
	 * the last area still waits for the next one's start */
	uint64_t last_end;
	bool open_area;
};

/* Parses one line of maps; false: not one, or nothing to watch there. */
bool pml_maps_parse_line(const char *line, size_t len, struct pml_area *a, bool *aio);

/* Reads fd, a /proc/PID/maps, into list.  0, -ESRCH (empty: the memory is
 * gone), -ENOMEM, or what read(2) said. */
int pml_maps_read(int fd, struct pml_pool *pool, struct pml_buf *text, struct pml_areas *list,
		  struct pml_maps_facts *facts);

/* Keeps of list what lies in spans (keep) or outside of them (!keep). */
int pml_areas_filter(struct pml_pool *pool, struct pml_areas *list, const struct pml_span *spans,
		     size_t n, bool keep, struct pml_areas *scratch);

/* Writes to out the areas of now, split where armed begins and ends, each with
 * FRESH unless the same thing was armed there, and REPLACED if another was. */
int pml_areas_match(struct pml_pool *pool, const struct pml_areas *now,
		    const struct pml_areas *armed, struct pml_areas *out);

/* Replaces what armed says of [start, end) by what pieces says of it.  What was
 * armed there and is unmapped stays as a ghost: its pages had content, so that
 * whatever is mapped there next differs from it. */
int pml_areas_commit(struct pml_pool *pool, struct pml_areas *armed, const struct pml_areas *pieces,
		     uint64_t start, uint64_t end, struct pml_areas *scratch);

int pml_areas_push(struct pml_pool *pool, struct pml_areas *list, const struct pml_area *a);
void pml_areas_swap(struct pml_areas *a, struct pml_areas *b);

#endif /* PML_MAPS_H */
