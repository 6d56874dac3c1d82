/* SPDX-License-Identifier: MIT */
/*
 * track.c - one tracking session for `pml dirty` and `pml wss`: starts or
 * finds the target, collects an epoch at each interval, and ends cleanly.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "command.h"
#include "output.h"
#include "say.h"
#include "summary.h"
#include "track.h"
#include "wake.h"

/* A target may be in a state where it cannot be stopped; that passes. */
#define TRIES 50
#define PAUSE_NS 20000000

struct session {
	const struct track_options *o;
	const struct track_printer *printer;
	struct output out;
	bool progress;
	struct pml *tracker;
	struct wake wake;
	struct child child;
	pid_t pid;
	struct epoch epoch;
	struct summary summary;
	bool signalled;		/* whatever else went wrong on the way to the end */
	int status;
};

static int fail(struct session *s, const char *message, int error)
{
	s->summary.end = END_ERROR;
	s->status = say_library(s->o->command, message, error);
	return -1;
}

static int open_output(struct session *s)
{
	int rc = output_open(&s->out, s->o->output, &s->wake);

	if (rc) {
		s->status = say_failed(s->o->command, "%s%s: cannot write it: %s; give a file that "
				       "can be made", s->o->output ? "-o " : "",
				       output_name(&s->out), strerror(-rc));
		return -1;
	}
	/* On a terminal the epochs themselves show the progress. */
	s->progress = !isatty(s->out.fd);
	return 0;
}

static int output_failed(struct session *s, int error)
{
	s->summary.end = END_ERROR;
	s->status = STATUS_FAILED;
	/* said at the end: it may be that nobody reads that either */
	if (!s->out.given_up)
		say_failed(s->o->command, "%s: cannot write the results: %s; check that there is "
			   "room and somebody reads", output_name(&s->out), strerror(-error));
	return -1;
}

static void close_output(struct session *s)
{
	int rc = output_close(&s->out);

	if (rc && s->status == STATUS_OK)
		output_failed(s, rc);
}

static int start_target(struct session *s)
{
	int rc;

	if (s->o->argv) {
		rc = child_start(&s->child, s->o->argv, &s->wake.former);
		if (rc) {
			s->status = say_failed(s->o->command, "%s: cannot run it: %s; check the "
					       "name and PATH", s->o->argv[0], strerror(-rc));
			return -1;
		}
		s->pid = s->child.pid;
	} else {
		s->pid = s->o->pid;
	}
	rc = wake_watch(&s->wake, s->pid);
	if (rc == -ESRCH || rc == -EINVAL)
		s->status = say_failed(s->o->command, "process %d: there is none; check the number",
				       (int)s->pid);
	else if (rc)
		s->status = say_failed(s->o->command, "process %d: cannot wait for its end: %s; "
				       "Linux 5.3 or later is needed", (int)s->pid, strerror(-rc));
	return rc ? -1 : 0;
}

static int open_tracker(struct session *s)
{
	char message[256] = "";
	struct pml_options options = {
		.size = sizeof(options),
		.target = s->o->argv ? PML_TARGET_TREE : PML_TARGET_PID,
		.pid = s->pid,
		.events = s->o->events,
		.flags = s->o->flags,
		.backend = s->o->backend,
		.message = message,
		.message_size = sizeof(message),
	};
	int rc = pml_open(&s->tracker, &options);

	if (rc < 0)
		return fail(s, message, rc);
	if (s->o->range_end)
		rc = pml_watch(s->tracker, s->o->range_start, s->o->range_end);
	return rc < 0 ? fail(s, pml_message(s->tracker), rc) : 0;
}

static int start_tracker(struct session *s)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	int rc = pml_start(s->tracker);

	for (int i = 0; rc == -EBUSY && i < TRIES; i++) {
		nanosleep(&pause, NULL);
		rc = pml_start(s->tracker);
	}
	return rc;
}

/* After an exec the tracking begins anew, and this epoch is a lost one. */
static int collect_after_exec(struct session *s)
{
	int rc = -ESTALE;

	for (int i = 0; rc == -ESTALE && i < TRIES; i++) {
		rc = start_tracker(s);
		if (rc >= 0)
			rc = epoch_collect(&s->epoch, s->tracker, s->printer->ranges);
	}
	s->epoch.lost = true;
	return rc;
}

static int print_epoch(struct session *s)
{
	struct pml_stats stats = { .size = sizeof(stats) };
	struct track_epoch e = {
		.epoch = &s->epoch,
		.pid = s->pid,
		.since_start_ns = s->epoch.end_ns - s->summary.start_ns,
	};
	int rc;

	if (pml_get_stats(s->tracker, &stats) == 0)
		e.memory_bytes = stats.memory_bytes;
	summary_add(&s->summary, &s->epoch);
	rc = s->printer->epoch(s->printer->context, s->out.file, &e);
	if (rc)
		return output_failed(s, rc);
	say_progress(s->progress, "epoch %" PRIu64 ": %" PRIu64 " pages", s->epoch.number,
		     s->epoch.dirty_pages);
	return 0;
}

static int target_gone(struct session *s)
{
	if (s->o->argv) {
		s->summary.end = END_COMMAND;
		return -1;
	}
	s->summary.end = END_TARGET;
	s->status = say_failed(s->o->command, "process %d: it exited while tracked; what it wrote "
			       "after the last epoch is not known", (int)s->pid);
	return -1;
}

/* A descendant that has just begun may be in a state where it cannot be joined. */
static int collect(struct session *s)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	int rc = epoch_collect(&s->epoch, s->tracker, s->printer->ranges);

	for (int i = 0; rc == -EBUSY && i < TRIES; i++) {
		nanosleep(&pause, NULL);
		rc = epoch_collect(&s->epoch, s->tracker, s->printer->ranges);
	}
	return rc == -ESTALE ? collect_after_exec(s) : rc;
}

/* Returns 0 to go on, -1 at the end of the session. */
static int collect_and_print(struct session *s)
{
	int rc = collect(s);

	/* Whatever a collect stumbles over in a process that is going: it has gone. */
	if (rc == -ESRCH || (rc < 0 && wake_exited(&s->wake)))
		return target_gone(s);
	if (rc < 0)
		return fail(s, pml_message(s->tracker), rc);
	return print_epoch(s);
}

/* Interrupted: what was written so far is a result too, a shorter epoch.  Who has sent the
 * signal may have ended the target by another one. */
static void collect_rest(struct session *s)
{
	int rc = collect(s);

	if (rc == 0)
		print_epoch(s);
	else if (rc != -ESRCH && !wake_exited(&s->wake))
		fail(s, pml_message(s->tracker), rc);
}

static void run_epochs(struct session *s)
{
	uint64_t interval = s->o->interval_ns;
	uint64_t deadline = s->summary.start_ns + interval;

	for (;;) {
		uint64_t now;

		switch (wake_wait(&s->wake, deadline)) {
		case WAKE_TIME:
			break;
		case WAKE_SIGNAL:
			s->summary.end = END_SIGNAL;
			s->signalled = true;
			collect_rest(s);
			return;
		case WAKE_EXIT:
			target_gone(s);
			return;
		case WAKE_ERROR:
			fail(s, "waiting for the epoch's end failed", 0);
			return;
		}
		if (collect_and_print(s))
			return;
		if (s->summary.epochs == s->o->epochs) {
			s->summary.end = END_COUNT;
			return;
		}
		/* An interval that was missed is not made up for by short ones. */
		now = wake_now();
		deadline += interval;
		if (deadline <= now)
			deadline = now + interval;
	}
}

static int begin(struct session *s)
{
	int rc;

	if (open_tracker(s))
		return -1;
	rc = start_tracker(s);
	if (rc < 0)
		return fail(s, pml_message(s->tracker), rc);
	/* before the command runs, which may still be ended then */
	if (s->printer->header && !s->o->json) {
		rc = s->printer->header(s->printer->context, s->out.file);
		if (rc)
			return output_failed(s, rc);
	}
	s->summary.start_ns = wake_now();
	child_continue(&s->child);
	return 0;
}

static void end_tracker(struct session *s)
{
	struct pml_stats stats = { .size = sizeof(stats) };

	s->summary.elapsed_ns = wake_now() - s->summary.start_ns;
	if (pml_get_stats(s->tracker, &stats) == 0) {
		s->summary.stop_ns = stats.stop_ns;
		s->summary.memory_bytes = stats.memory_bytes;
		s->summary.memory_limit = stats.memory_limit;
	}
	s->summary.split_bytes = pml_close(s->tracker);
	s->tracker = NULL;
}

/*
 * A signal that the terminal did not send to the command as well is passed on.
 * A shell's background jobs ignore the interrupt, and so does the command of
 * one: it is asked to end in the other way.
 */
static void pass_on_signal(struct session *s)
{
	int number = s->wake.signal;

	if (s->wake.from_terminal || s->child.ended)
		return;
	if (number == SIGINT && s->wake.interrupt_ignored)
		number = SIGTERM;
	kill(s->child.pid, number);
}

/* The command is not ours to kill: it is waited for.  A second signal ends the wait. */
static void wait_for_command(struct session *s)
{
	if (s->signalled)
		pass_on_signal(s);
	while (!child_reap(&s->child, false)) {
		if (s->summary.end == END_COUNT && !s->signalled)
			say_progress(true, "pml: done; waiting for the command to end");
		if (wake_wait(&s->wake, WAKE_NEVER) != WAKE_SIGNAL)
			continue;
		if (s->signalled)
			return;
		s->signalled = true;
		pass_on_signal(s);
	}
}

static void run(struct session *s)
{
	if (begin(s)) {
		child_abandon(&s->child);
		pml_close(s->tracker);
		return;
	}
	run_epochs(s);
	end_tracker(s);
	if (s->o->argv) {
		wait_for_command(s);
		s->summary.child = &s->child;
	}
	say_progress(s->progress, "%s", "");
	if (s->status == STATUS_OK || s->summary.end == END_TARGET) {
		int rc = summary_print(&s->summary, s->out.file, s->o);

		if (rc)
			output_failed(s, rc);
	}
}

int track(const struct track_options *o, const struct track_printer *printer)
{
	struct session s = { .o = o, .printer = printer };
	int rc;

	if (open_output(&s))
		return s.status;
	rc = wake_init(&s.wake);
	if (rc) {
		say_failed(o->command, "cannot wait for signals: %s", strerror(-rc));
		output_close(&s.out);
		return STATUS_FAILED;
	}
	if (start_target(&s) == 0)
		run(&s);
	epoch_free(&s.epoch);
	close_output(&s);
	wake_end(&s.wake);
	if (s.out.given_up)
		say_failed(o->command, "%s: interrupted, and nobody reads what is left of the "
			   "results", output_name(&s.out));
	return s.status;
}
