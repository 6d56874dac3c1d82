/* SPDX-License-Identifier: MIT */
/*
 * One run of criu, as the keeper sees it: see round.h.
 */
#define _GNU_SOURCE
#include "round.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "parent.h"
#include "say.h"
#include "wire.h"

/* As long as a process may stand still for an answer. */
#define LIMIT 60

static struct {
	int keeper;	/* or -1 */
	int dir;
	bool has_parent;
	uint8_t parent[KEEPER_TOKEN];
	uint8_t token[KEEPER_TOKEN];
	uint64_t resets;
} this_round = { .keeper = -1, .dir = -1 };

static void lose_keeper(const char *what, int status)
{
	if (this_round.keeper < 0)
		return;
	say(CRIU_LOG_WARN, "%s: the keeper gives no answer (%s): "
	    "this round is a full one, and the next", what, wire_words(status));
	close(this_round.keeper);
	this_round.keeper = -1;
}

/* One question and its answer; false: there is none. */
static bool ask(const char *what, struct keeper_message *m, const struct spans *with,
		struct spans *answer)
{
	uint32_t type = m->type;
	int status;

	if (this_round.keeper < 0)
		return false;
	status = wire_send(this_round.keeper, m, with);
	if (!status)
		status = wire_receive(this_round.keeper, m, answer);
	if (!status && m->type != type)
		status = -EPROTO;
	if (status)
		lose_keeper(what, status);
	return !status;
}

static void look_at_parent(void)
{
	char words[160];
	enum parent status = parent_read(this_round.dir, this_round.parent, words, sizeof(words));

	this_round.has_parent = status == PARENT_GOOD;
	if (status != PARENT_GOOD)
		say(CRIU_LOG_WARN, "%s: this round is a full one", words);
	if (status == PARENT_DAMAGED) {
		say(CRIU_LOG_WARN, "it is made without that parent, and needs none");
		parent_cut(this_round.dir);
	}
}

static void greet(void)
{
	struct keeper_message m = { .type = KEEPER_HELLO };
	struct spans none = { 0 };

	memcpy(m.token, this_round.parent, KEEPER_TOKEN);
	if (ask("hello", &m, NULL, &none)) {
		if (m.status)
			lose_keeper("hello", m.status);
		memcpy(this_round.token, m.token, KEEPER_TOKEN);
	}
	spans_free(&none);
}

void round_begin(int dir)
{
	const char *path = wire_path(NULL);

	this_round.dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	parent_forget(this_round.dir);
	look_at_parent();
	this_round.keeper = wire_connect(path, LIMIT);
	if (this_round.keeper < 0) {
		say(CRIU_LOG_WARN, "%s: no keeper (%s): this round is a full one, and the next; "
		    "start it with `pml-criu start`", path, strerror(-this_round.keeper));
		this_round.keeper = -1;
		return;
	}
	greet();
}

void round_attach(int pid)
{
	struct keeper_message m = { .type = KEEPER_ATTACH, .pid = pid,
				    .start_time = wire_start_time(pid) };
	struct spans none = { 0 };

	if (ask("attach", &m, NULL, &none) && m.status)
		say(CRIU_LOG_WARN, "process %d is not watched: %s", pid, m.words);
	spans_free(&none);
}

void round_scan(int pid, struct spans *clean)
{
	struct keeper_message m = { .type = KEEPER_SCAN, .pid = pid,
				    .start_time = wire_start_time(pid) };

	clean->n = 0;
	if (!ask("scan", &m, NULL, clean)) {
		clean->n = 0;
		return;
	}
	if (m.status || !spans_sorted(clean))
		clean->n = 0;
	if (m.status && this_round.has_parent)
		say(CRIU_LOG_WARN, "process %d: %s: all of it is written", pid, m.words);
}

void round_reset(int pid, struct spans *present)
{
	struct keeper_message m = { .type = KEEPER_RESET, .pid = pid,
				    .start_time = wire_start_time(pid) };
	struct spans none = { 0 };

	if (present->n > KEEPER_MAX_SPANS)
		present->n = KEEPER_MAX_SPANS;
	if (ask("reset", &m, present, &none)) {
		if (m.status)
			say(CRIU_LOG_WARN, "process %d: %s: its next round is a full one", pid,
			    m.words);
		else
			this_round.resets++;
	}
	spans_free(&none);
}

void round_end(int good)
{
	struct keeper_message m = { .type = KEEPER_COMMIT };
	struct spans none = { 0 };
	int status;

	if (!good || !this_round.resets || !ask("commit", &m, NULL, &none))
		return;
	spans_free(&none);
	status = parent_write(this_round.dir, this_round.token,
			      this_round.has_parent ? this_round.parent : NULL);
	if (status)
		say(CRIU_LOG_WARN, "the note in the image directory cannot be written (%s): "
		    "the next round is a full one", strerror(-status));
}
