/* SPDX-License-Identifier: MIT */
/* A small map-reduce on the collector; see mapreduce.h. */
#include "mapreduce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash_of(const char *s)
{
	uint64_t h = 0;

	while (*s)
		h = boehm_mix(h ^ (unsigned char)*s++);
	return h;
}

struct mr_table *mr_table_new(void)
{
	struct mr_table *t = boehm_alloc(sizeof(*t));

	t->size = 256;
	t->buckets = boehm_alloc(t->size * sizeof(void *));
	return t;
}

static void grow(struct mr_table *t)
{
	size_t size = t->size * 2;
	struct mr_entry **buckets = boehm_alloc(size * sizeof(void *));

	for (size_t i = 0; i < t->size; i++) {
		struct mr_entry *e, *next;

		for (e = t->buckets[i]; e; e = next) {
			size_t at = hash_of(e->key) & (size - 1);

			next = e->next;
			e->next = buckets[at];
			buckets[at] = e;
		}
	}
	t->buckets = buckets;
	t->size = size;
}

static struct mr_entry *find(const struct mr_table *t, const char *key, uint64_t hash)
{
	struct mr_entry *e = t->buckets[hash & (t->size - 1)];

	while (e && strcmp(e->key, key) != 0)
		e = e->next;
	return e;
}

void mr_emit(struct mr_table *t, const char *key, uint64_t number)
{
	uint64_t hash = hash_of(key);
	struct mr_entry *e = find(t, key, hash);
	struct mr_value *v = boehm_alloc(sizeof(*v));

	if (!e) {
		size_t at = hash & (t->size - 1);

		e = boehm_alloc(sizeof(*e));
		e->key = boehm_alloc_atomic(strlen(key) + 1);
		memcpy(e->key, key, strlen(key) + 1);
		e->next = t->buckets[at];
		t->buckets[at] = e;
		if (++t->entries > t->size)
			grow(t);
	}
	v->number = number;
	v->next = e->values;
	e->values = v;
}

void mr_reduce(struct mr_table *t, struct mr_value *(*reduce)(struct mr_value *values))
{
	for (size_t i = 0; i < t->size; i++) {
		for (struct mr_entry *e = t->buckets[i]; e; e = e->next) {
			e->reduced = reduce(e->values);
			e->values = NULL;
		}
	}
}

struct mr_value *mr_find(const struct mr_table *t, const char *key)
{
	const struct mr_entry *e = find(t, key, hash_of(key));

	return e ? e->reduced : NULL;
}

void mr_text_init(struct mr_text *text, long words, long documents, long length)
{
	*text = (struct mr_text){ .words = words, .documents = documents, .length = length,
				  .seed = 1 };
	text->counts = calloc((size_t)words, sizeof(*text->counts));
	if (!text->counts)
		boehm_fail("map-reduce", "out of memory");
}

void mr_word(char name[24], uint64_t number)
{
	snprintf(name, 24, "w%llx", (unsigned long long)boehm_mix(number + 1) >> 20);
}

char *mr_document(struct mr_text *text)
{
	char *document = boehm_alloc_atomic((size_t)text->length * 24), *at = document;

	for (long i = 0; i < text->length; i++) {
		/* the product of two makes small numbers frequent, as in a text */
		uint64_t r = boehm_random(&text->seed), most = (uint64_t)text->words;
		uint64_t word = (r % most) * ((r >> 32) % most) / most;

		text->counts[word]++;
		mr_word(at, word);
		at += strlen(at);
		*at++ = ' ';
	}
	at[-1] = '\0';
	return document;
}
