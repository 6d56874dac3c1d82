/* SPDX-License-Identifier: MIT */
/*
 * boehm-words: counts words by map-reduce on the collector, and verifies the counts.
 * Usage: boehm-words [DOCUMENTS]
 */
#include "mapreduce.h"

#include <stdio.h>
#include <string.h>

static void map(struct mr_table *t, char *document)
{
	char *rest = document, *word;

	while ((word = strsep(&rest, " ")) != NULL)
		mr_emit(t, word, 1);
}

static struct mr_value *sum(struct mr_value *values)
{
	struct mr_value *result = boehm_alloc(sizeof(*result));

	for (; values; values = values->next)
		result->number += values->number;
	return result;
}

int main(int argc, char **argv)
{
	struct mr_text text;
	struct mr_table *t;
	uint64_t checked = 0;

	GC_INIT();
	mr_text_init(&text, 60000, argc > 1 ? boehm_number(argv[1], 1, 1000000) : 6000, 200);
	t = mr_table_new();
	for (long i = 0; i < text.documents; i++)
		map(t, mr_document(&text));
	mr_reduce(t, sum);
	for (long i = 0; i < text.words; i++) {
		const struct mr_value *v;
		char word[24];

		mr_word(word, (uint64_t)i);
		v = mr_find(t, word);
		if ((v ? v->number : 0) != text.counts[i])
			boehm_fail("words", "a count is wrong");
		checked += text.counts[i];
	}
	printf("words: %llu words counted right\n", (unsigned long long)checked);
	return 0;
}
