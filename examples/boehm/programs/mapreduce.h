/* SPDX-License-Identifier: MIT */
/*
 * mapreduce.h - a small map-reduce whose tables live in the collector's heap, and
 * a text of which it is known how often each word occurs.  Used by words.c and
 * index.c.
 */
#ifndef BOEHM_MAPREDUCE_H
#define BOEHM_MAPREDUCE_H

#include "common.h"

struct mr_value {
	struct mr_value *next;
	uint64_t number;
};

struct mr_entry {
	struct mr_entry *next;
	char *key;
	struct mr_value *values;	/* emitted, the last one first */
	struct mr_value *reduced;
};

struct mr_table {
	size_t size;			/* a power of two */
	struct mr_entry **buckets;
	size_t entries;
};

struct mr_text {
	uint64_t *counts;	/* how often each word occurs: not in the collector's heap */
	long words;		/* different ones */
	long documents;
	long length;		/* words a document */
	uint64_t seed;
};

struct mr_table *mr_table_new(void);
/* What `map` calls for each pair. */
void mr_emit(struct mr_table *t, const char *key, uint64_t number);
/* Folds the values of each key; `reduce` returns the new value. */
void mr_reduce(struct mr_table *t, struct mr_value *(*reduce)(struct mr_value *values));
struct mr_value *mr_find(const struct mr_table *t, const char *key);

void mr_text_init(struct mr_text *text, long words, long documents, long length);
/* The next document, in the collector's heap: words with blanks between; the words'
 * numbers are counted. */
char *mr_document(struct mr_text *text);
/* The name of a word. */
void mr_word(char name[24], uint64_t number);

#endif /* BOEHM_MAPREDUCE_H */
