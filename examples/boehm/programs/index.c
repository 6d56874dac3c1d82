/* SPDX-License-Identifier: MIT */
/*
 * boehm-index: which documents hold a word, by map-reduce on the collector; documents
 * are replaced at random meanwhile, so that old memory is written.  Verified.
 * Usage: boehm-index [DOCUMENTS]
 */
#include "mapreduce.h"

#include <stdio.h>
#include <string.h>

#define KEPT 4096

/* The documents at hand; an old array that gets young texts all the time. */
static char **kept;

static void map(struct mr_table *t, const char *document, uint64_t number)
{
	char word[24];
	const char *at = document;

	while (*at) {
		size_t n = strcspn(at, " ");

		memcpy(word, at, n);
		word[n] = '\0';
		mr_emit(t, word, number);
		at += n + (at[n] == ' ');
	}
}

/* Each document once; they come with the last one first. */
static struct mr_value *once(struct mr_value *values)
{
	struct mr_value *first = NULL, **end = &first;

	for (; values; values = values->next) {
		struct mr_value *v;

		if (values->next && values->next->number == values->number)
			continue;
		v = boehm_alloc(sizeof(*v));
		v->number = values->number;
		*end = v;
		GC_END_STUBBORN_CHANGE(end);
		end = &v->next;
	}
	return first;
}

static int holds(const char *document, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = document; (at = strstr(at, word)) != NULL; at += n)
		if ((at == document || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	long documents = argc > 1 ? boehm_number(argv[1], 1, 1000000) : 8000, round = 0;
	uint64_t seed = 7, checked = 0;
	struct mr_text text;

	GC_INIT();
	mr_text_init(&text, 20000, documents, 100);
	kept = GC_MALLOC_UNCOLLECTABLE(KEPT * sizeof(void *));
	if (!kept)
		boehm_fail("index", "out of memory");
	for (long i = 0; i < KEPT; i++)
		kept[i] = mr_document(&text);
	for (long done = 0; done < documents; done += KEPT / 2, round++) {
		struct mr_table *t = mr_table_new();

		for (long i = 0; i < KEPT; i++)
			map(t, kept[i], (uint64_t)i);
		mr_reduce(t, once);
		for (int i = 0; i < 300; i++) {
			uint64_t r = boehm_random(&seed), document = r % KEPT;
			const struct mr_value *v;
			char word[24];

			mr_word(word, (r >> 20) % 500);
			v = mr_find(t, word);
			while (v && v->number != document)
				v = v->next;
			if ((v != NULL) != holds(kept[document], word))
				boehm_fail("index", "an entry is wrong");
			checked++;
		}
		for (long i = 0; i < KEPT / 2; i++)
			kept[boehm_random(&seed) % KEPT] = mr_document(&text);
	}
	printf("index: %llu entries right in %ld rounds\n", (unsigned long long)checked, round);
	return 0;
}
