/* SPDX-License-Identifier: MIT */
/*
 * json.c - JSON lines for every subcommand of pml.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

/* 15 digits: a clock of ten days to the nanosecond, and no 0.1000000001. */
#define FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(15))

json_t *json_text(const char *text)
{
	json_t *string = json_string(text);
	char *escaped, *p;

	if (string)
		return string;
	escaped = malloc(4 * strlen(text) + 1);
	if (!escaped)
		return NULL;
	for (p = escaped; *text; text++) {
		if ((unsigned char)*text < 0x80)
			*p++ = *text;
		else
			p += sprintf(p, "\\x%02x", (unsigned char)*text);
	}
	*p = '\0';
	string = json_string(escaped);
	free(escaped);
	return string;
}

json_t *json_seconds(uint64_t ns)
{
	return json_real((double)ns / 1e9);
}

static int check(FILE *out)
{
	errno = 0;
	if (fflush(out) || ferror(out))
		return errno ? -errno : -EIO;
	return 0;
}

int json_line(FILE *out, const json_t *value)
{
	errno = 0;
	if (!value)
		return -ENOMEM;
	if (json_dumpf(value, out, FLAGS) || putc('\n', out) == EOF)
		return errno ? -errno : -EIO;
	return check(out);
}

json_t *json_epoch(const char *type, const struct epoch *e, uint64_t memory_bytes)
{
	json_t *cost = json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I}",
				 "collect_s", json_seconds(e->cost.collect_ns),
				 "coverage_s", json_seconds(e->cost.coverage_ns),
				 "scans", (json_int_t)e->cost.scans,
				 "scanned_bytes", (json_int_t)e->cost.scanned_bytes,
				 "faults", (json_int_t)e->cost.faults,
				 "parts", (json_int_t)e->parts,
				 "memory_bytes", (json_int_t)memory_bytes);

	return json_pack("{s:s, s:I, s:o, s:o, s:s, s:b, s:b, s:I, s:I, s:o}",
			 "type", type,
			 "epoch", (json_int_t)e->number,
			 "t", json_seconds(e->end_ns),
			 "interval", json_seconds(e->end_ns - e->begin_ns),
			 "backend", e->backend,
			 "lost", (int)e->lost,
			 "uncovered_cut", (int)e->uncovered_cut,
			 "processes", (json_int_t)e->processes,
			 "page_size", (json_int_t)e->page_size,
			 "cost", cost);
}

static const char *known_name(unsigned int known)
{
	switch (known) {
	case PML_OBSERVED:
		return "observed";
	case PML_ASSUMED:
		return "assumed";
	default:
		return "uncovered";
	}
}

/* All the strings here are the library's own short names: nothing to escape. */
static void write_ranges(FILE *out, const char *key, const struct range_list *list)
{
	fprintf(out, ",\"%s\":[", key);
	for (size_t i = 0; i < list->n; i++) {
		const struct pml_range *r = &list->ranges[i];

		fprintf(out, "%s{\"pid\":%" PRIu32 ",\"start\":\"0x%" PRIx64 "\",\"end\":\"0x%"
			PRIx64 "\",\"granule\":%" PRIu64 ",\"known\":\"%s\"", i ? "," : "",
			r->pid, r->start, r->end, r->granule, known_name(r->known));
		if (r->reason != PML_REASON_NONE)
			fprintf(out, ",\"reason\":\"%s\"", pml_reason_name(r->reason));
		putc('}', out);
	}
	putc(']', out);
}

int json_epoch_line(FILE *out, const json_t *object, const struct epoch *e, bool with_ranges)
{
	char *head = object ? json_dumps(object, FLAGS) : NULL;

	if (!head)
		return -ENOMEM;
	/* The object's closing brace comes after the lists. */
	fwrite(head, 1, strlen(head) - 1, out);
	free(head);
	write_ranges(out, "uncovered", &e->uncovered);
	if (with_ranges)
		write_ranges(out, "ranges", &e->ranges);
	fputs("}\n", out);
	return check(out);
}
