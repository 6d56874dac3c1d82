/* SPDX-License-Identifier: MIT */
/*
 * summary.c - prints what a tracking session came to, for track.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/wait.h>

#include "json.h"
#include "summary.h"
#include "text.h"

/* For JSON and for people. */
static const struct {
	const char *name;
	const char *words;
} ends[] = {
	[END_COUNT] = { "count", "the number of epochs asked for" },
	[END_SIGNAL] = { "signal", "interrupted" },
	[END_COMMAND] = { "command", "the command ended" },
	[END_TARGET] = { "exit", "the process exited" },
	[END_ERROR] = { "error", "tracking failed" },
};

void summary_add(struct summary *s, const struct epoch *e)
{
	snprintf(s->backend, sizeof(s->backend), "%s", e->backend);
	s->page_size = e->page_size;
	s->epochs++;
	s->lost_epochs += e->lost;
	s->pages += e->dirty_pages;
	s->assumed_pages += e->assumed_pages;
	s->collect_ns += e->cost.collect_ns;
	if (e->dirty_pages > s->max_pages)
		s->max_pages = e->dirty_pages;
}

static int print_text(const struct summary *s, FILE *out)
{
	char a[TEXT_MAX], b[TEXT_MAX], words[128];

	fprintf(out, "\nepochs: %" PRIu64 " in %s (%s)", s->epochs, text_time(a, s->elapsed_ns),
		ends[s->end].words);
	if (s->epochs)
		fprintf(out, "; %s%s, %s dirty at most in one epoch",
			*s->backend ? "back-end " : "", s->backend,
			text_size(b, s->max_pages * s->page_size));
	else
		fputs("; a smaller -i gives some", out);
	fputc('\n', out);
	fprintf(out, "cost: %s in collects", text_time(a, s->collect_ns));
	fprintf(out, ", target stopped for %s at the start", text_time(a, s->stop_ns));
	fprintf(out, ", tables of %s", text_size(a, s->memory_bytes));
	fprintf(out, " (at most %s)\n", text_size(a, s->memory_limit));
	if (s->lost_epochs)
		fprintf(out, "epochs in which track was lost: %" PRIu64 "\n", s->lost_epochs);
	if (s->split_bytes > 0)
		fprintf(out, "up to %s of huge pages were split and stay so\n",
			text_size(a, (uint64_t)s->split_bytes));
	if (s->child)
		fprintf(out, "command: %s\n", child_words(s->child, words, sizeof(words)));
	return fflush(out) || ferror(out) ? -EIO : 0;
}

static json_t *child_json(const struct child *c)
{
	bool exited = c->ended && WIFEXITED(c->status);
	bool killed = c->ended && WIFSIGNALED(c->status);

	return json_pack("{s:i, s:b, s:o, s:o}",
			 "pid", (int)c->pid,
			 "ended", (int)c->ended,
			 "status", exited ? json_integer(WEXITSTATUS(c->status)) : json_null(),
			 "signal", killed ? json_integer(WTERMSIG(c->status)) : json_null());
}

static int print_json(const struct summary *s, FILE *out)
{
	json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:o, s:o}",
				   "type", "summary",
				   "end", ends[s->end].name,
				   "epochs", (json_int_t)s->epochs,
				   "lost_epochs", (json_int_t)s->lost_epochs,
				   "elapsed", json_seconds(s->elapsed_ns),
				   "command", s->child ? child_json(s->child) : json_null());
	json_t *numbers = json_pack("{s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I}",
				    "pages", (json_int_t)s->pages,
				    "max_pages", (json_int_t)s->max_pages,
				    "assumed_pages", (json_int_t)s->assumed_pages,
				    "collect_s", json_seconds(s->collect_ns),
				    "stop_s", json_seconds(s->stop_ns),
				    "memory_bytes", (json_int_t)s->memory_bytes,
				    "memory_limit", (json_int_t)s->memory_limit,
				    "split_bytes", (json_int_t)s->split_bytes);
	int rc = object && numbers ? json_object_update(object, numbers) : -1;

	rc = rc ? -ENOMEM : json_line(out, object);
	json_decref(numbers);
	json_decref(object);
	return rc;
}

int summary_print(const struct summary *s, FILE *out, const struct track_options *o)
{
	if (o->json && o->summary)
		return print_json(s, out);
	/* Where epochs are JSON lines, nothing else is to stand among them. */
	return print_text(s, o->json ? stderr : out);
}
