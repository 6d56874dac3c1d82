/* SPDX-License-Identifier: MIT */
/*
 * json.h - JSON lines, with jansson.  An epoch's ranges may be a million, so
 * they are written behind the object's other keys without becoming objects
 * in memory first.
 */
#ifndef PML_TOOL_JSON_H
#define PML_TOOL_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "epoch.h"

/* A string that need not be UTF-8: other bytes are shown as \xNN. */
json_t *json_text(const char *text);

/* Nanoseconds as a number of seconds. */
json_t *json_seconds(uint64_t ns);

/* Writes @value and a newline; returns 0 or -errno. */
int json_line(FILE *out, const json_t *value);

/* An object with what epochs of every @type have; NULL if there is no memory. */
json_t *json_epoch(const char *type, const struct epoch *e, uint64_t memory_bytes);

/*
 * Writes @object (which may be NULL: no memory) with the epoch's uncovered
 * list, with its ranges if @with_ranges, and a newline; returns 0 or -errno.
 */
int json_epoch_line(FILE *out, const json_t *object, const struct epoch *e, bool with_ranges);

#endif /* PML_TOOL_JSON_H */
