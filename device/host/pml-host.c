/* SPDX-License-Identifier: MIT */
/*
 * pml-host.c - the hypervisor's use of the PML device for a whole virtual
 * machine: which frames it wrote or referenced, and its working set.  Run by
 * people and scripts on the host; talks to a front-end's socket (control.h).
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "apply.h"
#include "machine.h"
#include "control.h"
#include "number.h"
#include "standard.h"
#include "tool.h"
#include "window.h"

#define DIRTY	   1u
#define REFERENCED 2u
#define MOST_FRAMES (1ull << 40) /* 52 bits of address */
#define MOST_MIB (1l << 30) /* as pml wss has it */
#define LAST_PATIENCE_S 3 /* with a front-end, after a signal */
#define FLAT_PER_CENT 1	/* the curve is flat if it grew by no more than this ... */
#define FLAT_INTERVALS 3 /* ... in each of so many intervals */

static const char usage[] =
	"usage: pml-host -s SOCKET [-j] COMMAND\n"
	"\n"
	"Follows the frames of a virtual machine that runs with the PML device.\n"
	"SOCKET is what pml-qemu was given with --pml control=SOCKET.\n"
	"\n"
	"  status                 what is followed, and what it cost\n"
	"  enable [-e EVENTS]     begin; EVENTS is dirty (default), referenced or both\n"
	"  clean                  begin anew: no frame is dirty\n"
	"  collect [-r] [-f] [-c] frames dirtied since; -r begins anew in the same step;\n"
	"                         -f lists them; -c how often each was logged dirty\n"
	"  wss [-i S] [-n N]      distinct frames over time, until the curve is flat\n"
	"  wss -w W [-i S] [-n N] frames of the last W intervals, each begun anew, by the\n"
	"                         estimator of 'pml wss', with a forecast and a limit\n"
	"  wss -w W --apply MONITOR --active [--floor MIB] [--swap]\n"
	"                         and give the machine that much memory by its balloon; MONITOR\n"
	"                         is a socket that QEMU speaks QMP on; --swap: the guest has\n"
	"                         swap, and may be made to use it; in the end all is given back\n"
	"  disable                end\n"
	"  reset                  tell the guest that all is dirty, as after a restore\n"
	"\n"
	"  -s, --socket PATH   -j, --json   -e, --events dirty|referenced|both\n"
	"  -r, --rearm   -f, --frames   -c, --counts   -i, --interval SECONDS (1)\n"
	"  -n, --intervals N (60)   -w, --window W (1 to 64)\n";

static volatile sig_atomic_t ended;
static volatile sig_atomic_t front;	/* the front-end's socket, once that is caught */

struct options {
	const char *socket;
	const char *command;
	bool json;
	uint32_t events;
	bool rearm, frames, counts;
	double interval;
	long intervals;
	long window;		/* 0: none */
	const char *monitor;	/* NULL: the machine is not limited */
	bool active;
	bool swapping;
	long floor_mib;		/* 0: a tenth */
};

struct answer {
	struct pml_control_reply reply;
	uint64_t *words;	/* reply.words of them */
};

#define EXPLAINED (-4096)	/* what is wrong has been said */

/* What is to follow a reply; UINT64_MAX: no machine has so many frames. */
static uint64_t words_of(const struct pml_control_reply *r, uint32_t flags)
{
	uint64_t bitmap = r->frames / 64 + !!(r->frames % 64);

	if (r->frames > MOST_FRAMES)
		return UINT64_MAX;
	return (flags & PML_CONTROL_DIRTY ? bitmap : 0) +
	       (flags & PML_CONTROL_REFERENCED ? bitmap : 0) +
	       (flags & PML_CONTROL_COUNTS ? r->frames / 4 + !!(r->frames % 4) : 0);
}

/* One request; false if the other end does not speak as it should. */
static bool ask(int fd, uint32_t command, uint32_t events, uint32_t flags, struct answer *a)
{
	struct pml_control_request q = {
		.magic = PML_CONTROL_MAGIC, .command = command, .events = events, .flags = flags
	};

	memset(a, 0, sizeof(*a));
	if (!pml_control_transfer(fd, &q, sizeof(q), true) ||
	    !pml_control_transfer(fd, &a->reply, sizeof(a->reply), false) ||
	    a->reply.magic != PML_CONTROL_MAGIC)
		return false;
	/* who sends less than was asked for would be read beyond its end */
	if (a->reply.words != (a->reply.error ? 0 : words_of(&a->reply, flags)))
		return false;
	if (!a->reply.words)
		return true;
	a->words = calloc(a->reply.words, sizeof(uint64_t));
	return a->words &&
	       pml_control_transfer(fd, a->words, a->reply.words * sizeof(uint64_t), false);
}

static const char *events_name(uint32_t events)
{
	static const char *const name[] = { "none", "dirty", "referenced", "both" };

	return name[events & 3];
}

static json_int_t number(uint64_t n)
{
	return (json_int_t)n;
}

static json_t *to_json(const struct options *o, const struct pml_control_reply *r)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:i}", "type",
			 o->command, "events", events_name(r->events), "frames",
			 number(r->frames), "dirty_frames", number(r->dirty),
			 "referenced_frames", number(r->referenced), "entries",
			 number(r->entries), "vm_exits", number(r->vm_exits), "offloaded",
			 number(r->offloaded), "outside", number(r->outside), "lost",
			 (int)(r->lost != 0), "memory_bytes", number(r->memory_used),
			 "memory_cap", number(r->memory_cap), "guest_contexts",
			 (int)r->contexts);
}

static void print_json(json_t *j)
{
	json_dumpf(j, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(j);
}

/* What was printed has got there: a full disk shows only here. */
static int printed(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	fail("standard output", strerror(errno), "check that its reader lives and its disk has "
	     "room");
	return EXPLAINED;
}

static void print_text(const struct pml_control_reply *r)
{
	printf("events %s; %" PRIu64 " of %" PRIu64 " frames dirty, %" PRIu64 " referenced%s\n",
	       events_name(r->events), r->dirty, r->frames, r->referenced,
	       r->lost ? "; LOST: memory ran out, take all as dirty" : "");
	printf("%" PRIu64 " entries, %" PRIu64 " full logs by vCPUs, %" PRIu64
	       " by a thread; tables %" PRIu64 " of %" PRIu64 " bytes; guest contexts %u\n",
	       r->entries, r->vm_exits, r->offloaded, r->memory_used, r->memory_cap, r->contexts);
}

static bool set(const uint64_t *bitmap, uint64_t frame)
{
	return bitmap[frame / 64] >> (frame % 64) & 1;
}

/* Calls fn for each run of frames that are set. */
static void runs(const uint64_t *bitmap, uint64_t frames,
		 void (*fn)(void *opaque, uint64_t first, uint64_t end), void *opaque)
{
	uint64_t i = 0, first;

	while (i < frames) {
		if (!set(bitmap, i)) {
			i++;
			continue;
		}
		for (first = i; i < frames && set(bitmap, i); i++)
			;
		fn(opaque, first, i);
	}
}

static void print_run(void *opaque, uint64_t first, uint64_t end)
{
	(void)opaque;
	printf("%#" PRIx64 "-%#" PRIx64 "\n", first << 12, end << 12);
}

static void add_run(void *opaque, uint64_t first, uint64_t end)
{
	json_array_append_new(opaque, json_pack("{s:I, s:I}", "start", number(first << 12),
						"end", number(end << 12)));
}

static json_t *counts_json(const uint64_t *words, uint64_t frames)
{
	json_t *list = json_array();
	uint64_t i, n;

	for (i = 0; i < frames; i++) {
		n = words[i / 4] >> (i % 4 * 16) & 0xffff;
		if (n)
			json_array_append_new(list, json_pack("[I, I]", number(i << 12),
							      number(n)));
	}
	return list;
}

static void print_collect(const struct options *o, const struct answer *a)
{
	const struct pml_control_reply *r = &a->reply;
	const uint64_t *counts = a->words + (o->frames ? (r->frames + 63) / 64 : 0);
	json_t *j, *list;
	uint64_t i, n;

	if (o->json) {
		j = to_json(o, r);
		if (o->frames) {
			list = json_array();
			runs(a->words, r->frames, add_run, list);
			json_object_set_new(j, "ranges", list);
		}
		if (o->counts)
			json_object_set_new(j, "counts", counts_json(counts, r->frames));
		print_json(j);
		return;
	}
	print_text(r);
	if (o->frames)
		runs(a->words, r->frames, print_run, NULL);
	for (i = 0; o->counts && i < r->frames; i++) {
		n = counts[i / 4] >> (i % 4 * 16) & 0xffff;
		if (n)
			printf("%#" PRIx64 " %" PRIu64 "\n", i << 12, n);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A request whose answer is numbers only; 0 or -errno. */
static int ask_numbers(int fd, uint32_t command, struct pml_control_reply *reply)
{
	struct answer a;
	bool ok = ask(fd, command, 0, 0, &a);

	free(a.words);
	*reply = a.reply;
	return ok ? reply->error : -EPROTO;
}

/* Nothing is re-armed in between: the curve is that of distinct frames. */
static int wss(int fd, const struct options *o)
{
	struct timespec pause = { .tv_sec = (time_t)o->interval };
	uint64_t frames, before = 0;
	double began = now();
	struct pml_control_reply r;
	int flat = 0, err;
	long i;

	pause.tv_nsec = (long)((o->interval - (double)pause.tv_sec) * 1e9);
	err = ask_numbers(fd, PML_CONTROL_CLEAN, &r);
	for (i = 0; !err && i < o->intervals && flat < FLAT_INTERVALS; i++) {
		nanosleep(&pause, NULL);
		err = ask_numbers(fd, PML_CONTROL_COLLECT, &r);
		if (err)
			break;
		frames = r.events & REFERENCED ? r.referenced : r.dirty;
		if (o->json)
			print_json(json_pack("{s:s, s:f, s:s, s:I, s:I, s:b}", "type", "wss", "t",
					     now() - began, "events", events_name(r.events),
					     "wss_frames", number(frames), "wss_bytes",
					     number(frames << 12), "lost",
					     (int)(r.lost != 0)));
		else
			printf("%8.2f s  %10" PRIu64 " frames  %10.1f MiB  (%s%s)\n", now() - began,
			       frames, (double)frames / 256, events_name(r.events),
			       r.lost ? ", LOST" : "");
		err = printed();
		flat = (frames - before) * 100 <= before * FLAT_PER_CENT ? flat + 1 : 0;
		before = frames;
	}
	return err;
}

/* What the machine is given of its memory, if it is limited. */
struct limited {
	struct machine machine;
	struct apply apply;
	struct apply_sums sums;
};

static void add_limited(json_t *j, const struct limited *m)
{
	uint64_t high = m->machine.limit.high;

	json_object_set_new(j, "balloon_bytes", high ? json_integer(number(high)) : json_null());
	json_object_set_new(j, "refaults", json_integer(number(m->sums.refaults)));
	json_object_set_new(j, "released", json_boolean(m->sums.released));
}

static void print_estimate(const struct options *o, double t, const struct window_estimate *e,
			   const struct pml_control_reply *r, const struct limited *m)
{
	static const char *const changes[] = { "fall", "none", "rise" };
	json_t *j;

	if (!o->json) {
		printf("%8.2f s  %10" PRIu64 " frames  %10.1f MiB  in %u intervals, limit %.1f MiB  "
		       "(%s%s)", t, e->now.pages, (double)e->now.pages / 256, e->now.window,
		       (double)e->limit.pages / 256, events_name(r->events), r->lost ? ", LOST" : "");
		if (m && m->machine.limit.high)
			printf("  given %.1f MiB", (double)m->machine.limit.high / (1 << 20));
		if (m && m->sums.refaults)
			printf("  %" PRIu64 " refaults", m->sums.refaults);
		puts(m && m->sums.released ? "  released" : "");
		return;
	}
	j = json_pack("{s:s, s:f, s:s, s:s, s:I, s:I, s:i, s:s, s:I, s:I, s:I, s:I, s:I, "
			     "s:i, s:b}", "type", "wss", "t", t, "estimator", "pml", "events",
			     events_name(r->events), "wss_frames", number(e->now.pages),
			     "wss_bytes", number(e->now.pages << 12), "window",
			     (int)e->now.window, "change", changes[e->now.change + 1],
			     "dirty_bytes", number(e->now.dirty_pages << 12), "read_bytes",
			     number(e->now.read_pages << 12), "last_bytes",
			     number(e->now.last_pages << 12), "forecast_bytes",
			     number(e->next.pages << 12), "limit_bytes",
			     number(e->limit.pages << 12), "period", (int)e->next.period, "lost",
			     (int)(r->lost != 0));
	if (m)
		add_limited(j, m);
	print_json(j);
}

/* As `pml wss --apply` does it: the window, or what the next period asks for. */
static int limit_machine(struct limited *m, const struct window_estimate *e, bool lost,
			 double seconds)
{
	uint64_t pages = e->now.pages;

	if (e->next.period && pages < e->next.peak)
		pages = e->next.peak;
	if (apply_step(&m->apply, &m->machine.limit, lost ? 0 : pages << 12,
		       (uint64_t)(seconds * 1e9), &m->sums)) {
		fail("--apply", "the machine's balloon does not answer any more",
		     "is it still running?");
		return EXPLAINED;
	}
	return 0;
}

/* One interval: what was touched in it, and the next is begun in the same step. */
static int take_interval(int fd, const struct options *o, struct pml_wss *w, struct limited *m,
			 double began, double *before)
{
	struct window_estimate e;
	struct answer a;
	double end;
	int err = -EPROTO;

	if (ask(fd, PML_CONTROL_COLLECT, 0,
		PML_CONTROL_REARM | PML_CONTROL_DIRTY | PML_CONTROL_REFERENCED, &a)) {
		end = now();
		err = a.reply.error;
		if (!err)
			err = window_add(w, &a.reply, a.words, (uint64_t)(*before * 1e9),
					 (uint64_t)(end * 1e9), &e);
		if (!err && m)
			err = limit_machine(m, &e, a.reply.lost, end - *before);
		if (!err) {
			print_estimate(o, end - began, &e, &a.reply, m);
			err = printed();
		}
		*before = end;
	}
	free(a.words);
	return err;
}

/* A front-end that answers nothing is not waited for without end: the machine is not its. */
static void note_end(int number)
{
	const struct timeval patience = { .tv_sec = LAST_PATIENCE_S };
	int saved = errno;

	(void)number;
	ended = 1;
	setsockopt(front, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(front, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	errno = saved;
}

/* So that the machine is given back what it had. */
static void catch_ends(int fd)
{
	struct sigaction action = { .sa_handler = note_end };

	front = fd;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static int begin_limit(int fd, struct limited *m, const struct options *o)
{
	catch_ends(fd);
	if (machine_begin(&m->machine, o->monitor))
		return EXPLAINED;
	m->machine.swapping = o->swapping;
	apply_begin(&m->apply, (uint64_t)o->floor_mib << 20);
	return 0;
}

static int wss_window(int fd, const struct options *o)
{
	struct limited limited = { .machine.note = -1 }, *m = o->monitor ? &limited : NULL;
	struct timespec pause = { .tv_sec = (time_t)o->interval };
	struct pml_wss_options options = { .size = sizeof(options), .window = (uint32_t)o->window };
	double began = now(), before = began;
	struct pml_control_reply r;
	struct pml_wss *w;
	int err = pml_wss_open(&w, &options);

	pause.tv_nsec = (long)((o->interval - (double)pause.tv_sec) * 1e9);
	if (!err && m)
		err = begin_limit(fd, m, o);
	if (!err)
		err = ask_numbers(fd, PML_CONTROL_CLEAN, &r);
	for (long i = 0; !err && !ended && i < o->intervals; i++) {
		nanosleep(&pause, NULL);
		if (!ended)
			err = take_interval(fd, o, w, m, began, &before);
	}
	if (machine_end(&limited.machine) && !err)
		err = EXPLAINED;
	pml_wss_close(w);
	return err;
}

static int simple(int fd, const struct options *o, uint32_t command, uint32_t flags)
{
	struct answer a;
	int err = -EPROTO;

	if (ask(fd, command, o->events, flags, &a)) {
		err = a.reply.error;
		if (!err && command == PML_CONTROL_COLLECT)
			print_collect(o, &a);
		else if (!err && o->json)
			print_json(to_json(o, &a.reply));
		else if (!err)
			print_text(&a.reply);
	}
	free(a.words);
	return err ? err : printed();
}

static int run(int fd, const struct options *o)
{
	static const struct {
		const char *name;
		uint32_t command;
	} commands[] = { { "status", PML_CONTROL_STATUS },   { "enable", PML_CONTROL_ENABLE },
			 { "disable", PML_CONTROL_DISABLE }, { "clean", PML_CONTROL_CLEAN },
			 { "collect", PML_CONTROL_COLLECT }, { "reset", PML_CONTROL_RESET } };
	uint32_t flags = (o->rearm ? PML_CONTROL_REARM : 0) | (o->frames ? PML_CONTROL_DIRTY : 0) |
			 (o->counts ? PML_CONTROL_COUNTS : 0);
	size_t i;

	if (!strcmp(o->command, "wss"))
		return o->window ? wss_window(fd, o) : wss(fd, o);
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(o->command, commands[i].name))
			return simple(fd, o, commands[i].command, flags);
	return 1;
}

static bool parse_events(const char *text, uint32_t *events)
{
	if (!strcmp(text, "dirty"))
		*events = DIRTY;
	else if (!strcmp(text, "referenced"))
		*events = REFERENCED;
	else if (!strcmp(text, "both"))
		*events = DIRTY | REFERENCED;
	else
		return false;
	return true;
}

static bool parse_number(const char *text, long most, long *number)
{
	uint64_t value;

	if (option_number(text, (uint64_t)most, &value))
		return false;
	*number = (long)value;
	return true;
}

static bool parse_seconds(const char *text, double *seconds)
{
	return option_seconds(text, seconds) && *seconds > 0 && *seconds < 1e6;
}

/* To limit a machine takes a window, and leave. */
static bool may_limit(const struct options *o)
{
	if (!o->monitor)
		return !o->active && !o->swapping && !o->floor_mib;
	if (!o->window || strcmp(o->command, "wss") != 0)
		return false;
	if (!o->active)
		fail("--apply", "it takes memory away from the machine", "give --active too");
	return o->active;
}

static bool parse(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
		{ "socket", required_argument, NULL, 's' }, { "json", no_argument, NULL, 'j' },
		{ "events", required_argument, NULL, 'e' }, { "rearm", no_argument, NULL, 'r' },
		{ "frames", no_argument, NULL, 'f' },	    { "counts", no_argument, NULL, 'c' },
		{ "interval", required_argument, NULL, 'i' },
		{ "intervals", required_argument, NULL, 'n' },
		{ "window", required_argument, NULL, 'w' },
		{ "apply", required_argument, NULL, 'A' }, { "active", no_argument, NULL, 'a' },
		{ "floor", required_argument, NULL, 'F' }, { "swap", no_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },	    { NULL, 0, NULL, 0 },
	};
	bool ok = true;
	int c;

	while (ok && (c = getopt_long(argc, argv, "s:je:rfci:n:w:h", names, NULL)) != -1) {
		switch (c) {
		case 's': o->socket = optarg; break;
		case 'j': o->json = true; break;
		case 'e': ok = parse_events(optarg, &o->events); break;
		case 'r': o->rearm = true; break;
		case 'f': o->frames = true; break;
		case 'c': o->counts = true; break;
		case 'i': ok = parse_seconds(optarg, &o->interval); break;
		case 'n': ok = parse_number(optarg, LONG_MAX, &o->intervals); break;
		case 'w': ok = parse_number(optarg, PML_WSS_MAX_WINDOW, &o->window); break;
		case 'A': o->monitor = optarg; break;
		case 'a': o->active = true; break;
		case 'S': o->swapping = true; break;
		case 'F': ok = parse_number(optarg, MOST_MIB, &o->floor_mib); break;
		case 'h':
			fputs(usage, stdout);
			exit(printed() ? 1 : 0);
		default: ok = false;
		}
	}
	if (optind == argc - 1)
		o->command = argv[optind];
	return ok && o->socket && o->command && may_limit(o);
}

static int explain(int err)
{
	switch (err) {
	case EXPLAINED:
		return 1;
	case -ENOENT:
		return fail("collect", "the device does not follow this machine", "enable first");
	case -EEXIST:
		return fail("enable", "it is enabled already", "disable first, or clean");
	case -ETIMEDOUT:
		return fail("enable", "no virtual CPU ran", "is the machine paused?");
	case -EPROTO:
		return fail("socket", "the other end does not answer as a PML device",
			    "is the machine still running?");
	default:
		return fail("command", strerror(-err), "try status");
	}
}

int main(int argc, char **argv)
{
	struct options o = { .events = DIRTY, .interval = 1, .intervals = 60 };
	int fd, err;

	standard_hold();
	/* A reader that went away is an error to report: all that was taken is given back. */
	signal(SIGPIPE, SIG_IGN);
	if (!parse(argc, argv, &o)) {
		fputs(usage, stderr);
		return 2;
	}
	fd = dial(o.socket, 0);
	if (fd < 0)
		return fail(o.socket, strerror(errno),
			    "start the machine with pml-qemu --pml control=SOCKET");
	err = run(fd, &o);
	close(fd);
	if (err > 0) {
		fputs(usage, stderr);
		return 2;
	}
	return err ? explain(err) : 0;
}
