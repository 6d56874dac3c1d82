/* SPDX-License-Identifier: MIT */
/*
 * wss_rounds.c - measures several things at each interval: a source is a tracker of
 * a cgroup, which is here, or what wss_methods.c, wss_short.c and wss_present.c read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "command.h"
#include "output.h"
#include "rss.h"
#include "say.h"
#include "summary.h"
#include "wake.h"
#include "wss_rounds.h"
#include "wss_source.h"

struct rounds {
	const struct track_options *o;
	const struct wss_settings *settings;
	const struct method *method;
	const struct wss_listener *listener;
	struct source *sources;
	size_t nsources;
	struct wake wake;
	struct child child;
	struct summary summary;
	struct output out;
	bool signalled;		/* whatever else went wrong on the way to the end */
	int status;
};

/* ---- a tracker of a cgroup ---- */

static int tracker_begin(struct source *s)
{
	const struct track_options *o = s->o;
	char message[256] = "";
	struct pml_options options = {
		.size = sizeof(options),
		.target = PML_TARGET_CGROUP,
		.cgroup = s->cgroup,
		.events = s->settings->events,
		.backend = o->backend,
		.message = message,
		.message_size = sizeof(message),
	};
	int rc = pml_open(&s->tracker, &options);

	if (rc == 0) {
		rc = pml_start(s->tracker);
		if (rc)
			snprintf(message, sizeof(message), "%s", pml_message(s->tracker));
	}
	if (rc == 0)
		rc = wss_model_init(&s->model, s->settings);
	if (rc)
		say_library(o->command, message, rc);
	if (rc == 0 && s->settings->apply) {
		apply_begin(&s->apply, source_floor(s));
		rc = limit_begin(&s->limit, s->cgroup);
	}
	return rc;
}

/*
 * What was estimated becomes the limit: the window, or what the next period will ask for.
 * Not the recommended limit, which is for one that is set once: it remembers for hundreds
 * of epochs what was used before a fall.
 */
static int tracker_apply(struct source *s, struct wss_sample *sample)
{
	const struct pml_wss_forecast *f = &sample->forecast;
	uint64_t pages = sample->estimate.pages;
	struct apply_sums sums;
	int rc;

	if (f->period && pages < f->peak)
		pages = f->peak;
	rc = apply_step(&s->apply, &s->limit, s->epoch.lost ? 0 : pages * s->epoch.page_size,
			s->epoch.end_ns - s->epoch.begin_ns, &sums);

	if (rc)
		return source_limit_failed(s, rc);
	sample->limits = true;
	sample->high_bytes = s->limit.high;
	sample->refaults = sums.refaults;
	sample->stalled_us = sums.stalled_us;
	sample->released = sums.released;
	return 0;
}

static int tracker_take(struct source *s, struct wss_sample *sample)
{
	struct pml_stats stats = { .size = sizeof(stats) };
	int rc = epoch_collect(&s->epoch, s->tracker, wss_needs_ranges(s->settings->kind));

	/* a process that execs is a new one to its cgroup; all begin anew with it */
	if (rc == -ESTALE && pml_start(s->tracker) == 0) {
		rc = epoch_collect(&s->epoch, s->tracker, true);
		s->epoch.lost = true;
	}
	if (rc) {
		say_library(s->o->command, pml_message(s->tracker), rc);
		return rc;
	}
	if (pml_get_stats(s->tracker, &stats) == 0)
		sample->memory_bytes = stats.memory_bytes;
	sample->rss_bytes = rss_of_cgroup(s->cgroup);
	rc = wss_model_take(&s->model, &s->epoch, sample);
	return rc || !s->settings->apply ? rc : tracker_apply(s, sample);
}

static const struct method tracker_method = { tracker_begin, tracker_take };

/* ---- the rounds ---- */

static int open_output(struct rounds *r)
{
	int rc = output_open(&r->out, r->o->output, &r->wake);

	if (rc)
		return say_failed(r->o->command, "%s%s: cannot write it: %s; give a file that can be "
				  "made", r->o->output ? "-o " : "", output_name(&r->out),
				  strerror(-rc));
	return 0;
}

static int output_failed(struct rounds *r, int error)
{
	r->summary.end = END_ERROR;
	r->status = STATUS_FAILED;
	/* said at the end: it may be that nobody reads that either */
	if (!r->out.given_up)
		say_failed(r->o->command, "%s: cannot write the results: %s; check that there is "
			   "room and somebody reads", output_name(&r->out), strerror(-error));
	return -1;
}

static int print(struct rounds *r, struct source *s, struct wss_sample *sample)
{
	int rc = r->o->json ? wss_print_json(r->out.file, &s->epoch, sample)
			    : wss_print_text(r->out.file, &s->epoch, sample);

	if (rc == 0 && r->listener)
		rc = r->listener->sample(r->listener->context, sample);
	return rc ? output_failed(r, rc) : 0;
}

/* One round over all sources.  A source that fails ends; the others go on. */
static int take_all(struct rounds *r)
{
	size_t left = 0;

	for (size_t i = 0; i < r->nsources; i++) {
		struct source *s = &r->sources[i];
		struct wss_sample sample = { .pid = s->pid, .cgroup = s->cgroup };
		int rc;

		if (s->ended)
			continue;
		rc = r->method->take(s, &sample);
		if (rc) {
			s->ended = true;
			if (limit_end(&s->limit))
				r->status = STATUS_FAILED;
			/* a command that has ended is no failure, nor one that is about to: its
			 * memory goes first */
			if (!r->o->argv || (rc != -ESRCH && !child_reap(&r->child, false)))
				r->status = STATUS_FAILED;
			continue;
		}
		left++;
		sample.since_start_ns = s->epoch.end_ns - r->summary.start_ns;
		summary_add(&r->summary, &s->epoch);
		if (print(r, s, &sample))
			return -1;
	}
	if (!left) {
		r->summary.end = r->o->argv ? END_COMMAND : END_TARGET;
		return -1;
	}
	return 0;
}

static void target_gone(struct rounds *r)
{
	r->summary.end = r->o->argv ? END_COMMAND : END_TARGET;
	if (!r->o->argv)
		r->status = say_failed(r->o->command, "process %d: it exited while measured; what "
				       "it used after the last epoch is not known", (int)r->o->pid);
}

static void run_rounds(struct rounds *r)
{
	uint64_t deadline = r->summary.start_ns + r->o->interval_ns;

	for (uint64_t round = 1;; round++) {
		uint64_t now;

		switch (wake_wait(&r->wake, deadline)) {
		case WAKE_TIME:
			break;
		case WAKE_SIGNAL:
			r->summary.end = END_SIGNAL;
			r->signalled = true;
			take_all(r);
			return;
		case WAKE_EXIT:
			target_gone(r);
			return;
		case WAKE_ERROR:
			r->status = say_failed(r->o->command, "waiting for the epoch's end failed");
			r->summary.end = END_ERROR;
			return;
		}
		if (take_all(r))
			return;
		if (round == r->o->epochs) {
			r->summary.end = END_COUNT;
			return;
		}
		/* An interval that was missed is not made up for by short ones. */
		now = wake_now();
		deadline += r->o->interval_ns;
		if (deadline <= now)
			deadline = now + r->o->interval_ns;
	}
}

static int find_target(struct rounds *r)
{
	pid_t pid = r->o->pid;
	int rc;

	if (r->o->argv) {
		rc = child_start(&r->child, r->o->argv, &r->wake.former);
		if (rc)
			return say_failed(r->o->command, "%s: cannot run it: %s; check the name "
					  "and PATH", r->o->argv[0], strerror(-rc));
		pid = r->child.pid;
	}
	if (!pid)
		return STATUS_OK;
	rc = wake_watch(&r->wake, pid);
	if (rc)
		return say_failed(r->o->command, "process %d: there is none; check the number",
				  (int)pid);
	r->sources[0].pid = pid;
	return STATUS_OK;
}

static int begin_all(struct rounds *r)
{
	for (size_t i = 0; i < r->nsources; i++)
		if (r->method->begin(&r->sources[i]))
			return STATUS_FAILED;
	/* before the command runs, which may still be ended then */
	if (!r->o->json && wss_print_header(r->out.file, r->sources[0].cgroup))
		return output_failed(r, -EIO);
	r->summary.start_ns = wake_now();
	child_continue(&r->child);
	return STATUS_OK;
}

static void end_all(struct rounds *r)
{
	for (size_t i = 0; i < r->nsources; i++) {
		struct source *s = &r->sources[i];

		if (limit_end(&s->limit))
			r->status = STATUS_FAILED;
		source_end_short(s);
		source_end_present(s);
		pml_close(s->tracker);
		wss_model_free(&s->model);
		if (r->method == &smaps_method)
			smaps_close(&s->smaps);
		epoch_free(&s->epoch);
	}
}

/* As track.c does: a signal that the terminal did not send to both is passed on. */
static void pass_on_signal(struct rounds *r)
{
	int number = r->wake.signal;

	if (r->wake.from_terminal || r->child.ended)
		return;
	if (number == SIGINT && r->wake.interrupt_ignored)
		number = SIGTERM;
	kill(r->child.pid, number);
}

/* The command is not ours to kill: it is waited for.  A second signal ends the wait. */
static void wait_for_command(struct rounds *r)
{
	r->summary.child = &r->child;
	if (r->signalled)
		pass_on_signal(r);
	while (!child_reap(&r->child, false)) {
		if (wake_wait(&r->wake, WAKE_NEVER) != WAKE_SIGNAL)
			continue;
		if (r->signalled)
			return;
		r->signalled = true;
		pass_on_signal(r);
	}
}

static void run(struct rounds *r)
{
	int status = find_target(r);

	if (status == STATUS_OK)
		status = begin_all(r);
	if (status != STATUS_OK) {
		child_abandon(&r->child);
		end_all(r);
		r->status = STATUS_FAILED;
		return;
	}
	run_rounds(r);
	r->summary.elapsed_ns = wake_now() - r->summary.start_ns;
	end_all(r);
	if (r->o->argv)
		wait_for_command(r);
	if (r->summary.end != END_ERROR && summary_print(&r->summary, r->out.file, r->o))
		output_failed(r, -EIO);
}

static const struct method *method_of(const struct wss_settings *settings)
{
	switch (settings->kind) {
	case WSS_COMMITTED:
		return &committed_method;
	case WSS_ZBALLOOND:
		return &balloon_method;
	case WSS_MPA:
		return &mpa_method;
	case WSS_EXCLUSIVE:
		return &cache_method;
	case WSS_GEIGER:
		return &geiger_method;
	case WSS_PRESENT:
		return &present_method;
	default:
		return settings->from_smaps ? &smaps_method : &tracker_method;
	}
}

int wss_rounds(const struct track_options *o, const struct wss_settings *settings,
	       const char *const *cgroups, size_t ncgroups, const struct wss_listener *listener)
{
	struct rounds r = { .o = o, .settings = settings, .listener = listener };
	int rc;

	r.nsources = ncgroups ? ncgroups : 1;
	r.method = method_of(settings);
	if (open_output(&r))
		return STATUS_FAILED;
	r.sources = calloc(r.nsources, sizeof(*r.sources));
	rc = r.sources ? wake_init(&r.wake) : -ENOMEM;
	if (rc)
		return say_failed(o->command, "cannot begin: %s; free some memory or descriptors",
				  strerror(-rc));
	for (size_t i = 0; i < r.nsources; i++) {
		r.sources[i].o = o;
		r.sources[i].settings = settings;
		r.sources[i].all = r.sources;
		r.sources[i].nall = r.nsources;
		r.sources[i].directory = -1;
		r.sources[i].smaps = (struct smaps){ -1, -1 };
		r.sources[i].limit.directory = -1;
		r.sources[i].limit.note = -1;
		r.sources[i].cgroup = ncgroups ? cgroups[i] : NULL;
	}
	run(&r);
	free(r.sources);
	rc = output_close(&r.out);
	if (rc && r.status == STATUS_OK)
		output_failed(&r, rc);
	wake_end(&r.wake);
	if (r.out.given_up)
		say_failed(o->command, "%s: interrupted, and nobody reads what is left of the "
			   "results", output_name(&r.out));
	return r.status;
}
