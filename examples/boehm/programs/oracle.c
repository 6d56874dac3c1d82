/* SPDX-License-Identifier: MIT */
/*
 * boehm-oracle: does the collector lose an object?
 *
 * Long chains of old nodes, each with a value.  Values are replaced at random:
 * the only pointer to a new object is then written into an old one, which is
 * what a collector by generations has to be told of.  Which value belongs where
 * is known outside of the collector's heap, so every object can be verified:
 * one that was freed too early is somebody else's by then, or a link of a free
 * list.  Values have a tail each, so that marking has to go on from them.
 *
 * Exit status: 0 all were there, 1 some were lost, 77 --need and not enabled.
 */
#include "common.h"
#include "oracle.h"
#include "pml_gc.h"

#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE 300000	/* bytes: a block of its own */
#define TURN 4096	/* writes between two looks around */

struct value {
	struct value *tail;
	uint64_t id;
	uint64_t check;
	uint64_t *plain;	/* holds no pointers */
};

/* The value before the next: along a long chain libgc's stack of marks fills up. */
struct node {
	struct value *value;
	struct node *next;
	uint64_t id;
};

struct part {
	struct node **heads;	/* in the collector's heap */
	uint64_t *expected;	/* not in it: ids, by chain and depth */
	uint64_t seed;
	uint64_t serial;
	unsigned long lost;
	const struct wishes *w;
	bool first;
};

static struct part *parts;	/* roots: static data */
static atomic_ulong verified;

static struct value *new_value(struct part *p, uint64_t id)
{
	bool large = p->w->huge && id % 4099 == 0;
	struct value *v = boehm_alloc(large ? LARGE : (size_t)p->w->size);
	struct value *tail = boehm_alloc(sizeof(*tail));

	tail->id = id + 1;
	tail->check = boehm_mix(id + 1);
	v->id = id;
	v->check = boehm_mix(id);
	if (p->w->plain || (p->w->huge && id % 17 == 0)) {
		size_t bytes = id % 8191 == 0 ? LARGE : 64;

		if (p->w->plain)
			bytes = (size_t)p->w->plain;
		v->plain = boehm_alloc_atomic(bytes);
		memset(v->plain, (int)id, bytes);
		*v->plain = boehm_mix(id + 2);
		GC_END_STUBBORN_CHANGE(v);
	}
	v->tail = tail;
	return v;
}

static bool is_sound(const struct value *v, uint64_t id)
{
	return v->id == id && v->check == boehm_mix(id) && v->tail &&
	       v->tail->id == id + 1 && v->tail->check == boehm_mix(id + 1) &&
	       (!v->plain || *v->plain == boehm_mix(id + 2));
}

static uint64_t next_id(struct part *p)
{
	p->serial += 4;
	return p->serial;
}

static uint64_t body_id(long chain, long at)
{
	return boehm_mix((uint64_t)chain << 32 | (uint64_t)at);
}

static void add_node(struct part *p, long chain, uint64_t id)
{
	struct node *n = boehm_alloc(sizeof(*n));

	n->id = id;
	n->next = p->heads[chain];
	p->heads[chain] = n;
}

/* The bodies first: what is never written again lies together. */
static void build(struct part *p)
{
	const struct wishes *w = p->w;

	p->heads = boehm_alloc((size_t)w->chains * sizeof(void *));
	p->expected = calloc((size_t)(w->chains * w->length), sizeof(*p->expected));
	if (!p->expected)
		boehm_fail("oracle", "out of memory");
	for (long c = 0; c < w->chains; c++)
		for (long b = w->body; b > 0; b--)
			add_node(p, c, body_id(c, b));
	for (long c = 0; c < w->chains; c++) {
		for (long d = w->length - 1; d >= 0; d--) {
			uint64_t id = next_id(p);

			add_node(p, c, boehm_mix((uint64_t)(c * w->length + d)));
			p->heads[c]->value = new_value(p, id);
			p->expected[c * w->length + d] = id;
		}
	}
}

static void write_one(struct part *p)
{
	const struct wishes *w = p->w;
	uint64_t r = boehm_random(&p->seed), id = next_id(p);
	long c = (long)(r % (uint64_t)w->chains), d = (long)((r >> 40) % (uint64_t)w->length);
	struct node *n = p->heads[c];

	for (long i = 0; i < d && n; i++)
		n = n->next;
	if (!n) {
		p->lost++;
		return;
	}
	n->value = new_value(p, id);
	p->expected[c * w->length + d] = id;
}

/* The rest of a chain, which nobody writes to. */
static void verify_body(struct part *p, long chain, const struct node *n)
{
	for (long b = 1; b <= p->w->body; b++, n = n->next) {
		if (!n || n->id != body_id(chain, b)) {
			p->lost++;
			return;
		}
	}
}

static void verify(struct part *p)
{
	const struct wishes *w = p->w;

	for (long c = 0; c < w->chains; c++) {
		struct node *n = p->heads[c];
		long d;

		for (d = 0; d < w->length; d++, n = n->next) {
			long at = c * w->length + d;

			if (!n || n->id != boehm_mix((uint64_t)at)) {
				/* what it points to is anything by now */
				p->lost += (unsigned long)(w->length - d);
				break;
			}
			if (!is_sound(n->value, p->expected[at]))
				p->lost++;
		}
		if (d == w->length)
			verify_body(p, c, n);
		atomic_fetch_add_explicit(&verified, (unsigned long)(d + w->body),
					  memory_order_relaxed);
	}
}

/* A child that goes on by itself, with a collector that has lost its tracking. */
static void fork_off(struct part *p)
{
	pid_t pid = p->w->namespaces ? bad_fork() : fork();
	int status;

	if (pid < 0)
		boehm_fail("fork", "the system refuses");
	if (pid == 0 && p->w->exec)
		bad_exec(p->w);
	if (pid == 0) {
		if (p->w->namespaces)
			bad_collect();
		for (long i = 0; i < p->w->writes / 4; i++)
			write_one(p);
		verify(p);
		_exit(p->lost != 0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status)) {
		fprintf(stderr, "pml: oracle: a forked child lost objects or died\n");
		p->lost++;
	}
	/* at once: few of the pages that were written before have been written again */
	if (p->w->namespaces)
		bad_collect();
}

static void *work(void *arg)
{
	struct part *p = arg;
	long share = p->w->forks ? p->w->writes / (p->w->forks + 1) : 0;

	build(p);
	if (p->first && p->w->threads == 1)
		bad_before_writes(p->w);
	if (p->first)
		stay_from_now_on(p->w);
	for (long i = 1; i <= p->w->writes; i++) {
		write_one(p);
		if (p->first && share && i % share == 0 && i < p->w->writes)
			fork_off(p);
		if (p->first && i % TURN == 0)
			p->lost += bad_now_and_then(p->w, (unsigned long)(i / TURN));
		if (i % (p->w->writes / 3 + 1) == 0)
			verify(p);
	}
	verify(p);
	return NULL;
}

static void run(const struct wishes *w)
{
	pthread_t ids[64] = { 0 };

	parts = GC_MALLOC_UNCOLLECTABLE((size_t)w->threads * sizeof(*parts));
	if (!parts)
		boehm_fail("oracle", "out of memory");
	for (long i = 0; i < w->threads; i++) {
		parts[i].w = w;
		parts[i].seed = (uint64_t)i * 1000003u + 1;
		/* ids are even and so never look like an odd tail's */
		parts[i].serial = (uint64_t)i << 40;
		parts[i].first = i == 0;
	}
	for (long i = 1; i < w->threads; i++)
		if (pthread_create(&ids[i], NULL, work, &parts[i]))
			boehm_fail("threads", "the system refuses");
	work(&parts[0]);
	for (long i = 1; i < w->threads; i++)
		pthread_join(ids[i], NULL);
}

static void usage(void)
{
	fprintf(stderr,
		"Usage: boehm-oracle [--chains N] [--length N] [--body N] [--size N] [--plain N] [--writes N] [--threads N] [--forks N]\n"
		"       [--namespaces] [--exec] [--call] [--need] [--control] [--replace] [--close-all] [--close-some] [--bystander] [--files] [--keep-errno] [--direct] [--unmap] [--huge]\n"
		"       [--toggle] [--no-descriptors] [--run-out] [--withdraw] [--environment] [--late] [--read-only] [--stay FILE] [--quiet]\n");
	exit(2);
}

static void parse(int argc, char **argv, struct wishes *w)
{
	enum { CHAINS = 1, LENGTH, BODY, SIZE, PLAIN, WRITES, THREADS, FORKS, EXEC, CALL, NEED, CONTROL, REPLACE, CLOSE_ALL,
	       UNMAP, HUGE_ONES, TOGGLE, QUIET, ENVIRONMENT, WITHDRAW, NO_DESCRIPTORS, STAY, LATE, READ_ONLY,
	       NAMESPACES, FILES, KEEP_ERRNO, DIRECT, CLOSE_SOME, BYSTANDER, RUN_OUT };
	static const struct option options[] = {
		{ "chains", 1, NULL, CHAINS }, { "length", 1, NULL, LENGTH },
		{ "body", 1, NULL, BODY }, { "size", 1, NULL, SIZE },
		{ "plain", 1, NULL, PLAIN }, { "writes", 1, NULL, WRITES }, { "threads", 1, NULL, THREADS },
		{ "forks", 1, NULL, FORKS }, { "exec", 0, NULL, EXEC }, { "call", 0, NULL, CALL }, { "need", 0, NULL, NEED },
		{ "control", 0, NULL, CONTROL }, { "replace", 0, NULL, REPLACE },
		{ "close-all", 0, NULL, CLOSE_ALL }, { "unmap", 0, NULL, UNMAP },
		{ "huge", 0, NULL, HUGE_ONES }, { "toggle", 0, NULL, TOGGLE },
		{ "quiet", 0, NULL, QUIET },
		{ "environment", 0, NULL, ENVIRONMENT }, { "withdraw", 0, NULL, WITHDRAW },
		{ "no-descriptors", 0, NULL, NO_DESCRIPTORS }, { "stay", 1, NULL, STAY },
		{ "late", 0, NULL, LATE }, { "read-only", 0, NULL, READ_ONLY },
		{ "namespaces", 0, NULL, NAMESPACES }, { "files", 0, NULL, FILES },
		{ "keep-errno", 0, NULL, KEEP_ERRNO }, { "direct", 0, NULL, DIRECT },
		{ "close-some", 0, NULL, CLOSE_SOME }, { "bystander", 0, NULL, BYSTANDER },
		{ "run-out", 0, NULL, RUN_OUT },
		{ NULL, 0, NULL, 0 },
	};
	int o;

	*w = (struct wishes){ .chains = 20000, .length = 4, .writes = 300000, .threads = 1,
			      .size = sizeof(struct value) };
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case CHAINS: w->chains = boehm_number(optarg, 1, 10000000); break;
		case LENGTH: w->length = boehm_number(optarg, 1, 100000); break;
		case BODY: w->body = boehm_number(optarg, 0, 1000); break;
		case SIZE: w->size = boehm_number(optarg, sizeof(struct value), LARGE); break;
		case PLAIN: w->plain = boehm_number(optarg, sizeof(uint64_t), LARGE); break;
		case WRITES: w->writes = boehm_number(optarg, 1, 1000000000); break;
		case THREADS: w->threads = boehm_number(optarg, 1, 64); break;
		case FORKS: w->forks = boehm_number(optarg, 0, 100); break;
		case EXEC: w->exec = true; break;
		case CALL: w->call = true; break;
		case NEED: w->need = true; break;
		case CONTROL: w->control = true; break;
		case REPLACE: w->replace = true; break;
		case CLOSE_ALL: w->close_all = true; break;
		case UNMAP: w->unmap = true; break;
		case HUGE_ONES: w->huge = true; break;
		case TOGGLE: w->toggle = true; break;
		case QUIET: w->quiet = true; break;
		case ENVIRONMENT: w->environment = true; break;
		case WITHDRAW: w->withdraw = true; break;
		case NO_DESCRIPTORS: w->no_descriptors = true; break;
		case STAY: w->stay = optarg; break;
		case LATE: w->late = true; break;
		case NAMESPACES: w->namespaces = true; break;
		case FILES: w->files = true; break;
		case CLOSE_SOME: w->close_some = true; break;
		case BYSTANDER: w->bystander = true; break;
		case RUN_OUT: w->run_out = true; break;
		case KEEP_ERRNO: w->keep_errno = true; break;
		case DIRECT: w->direct = true; break;
		case READ_ONLY: w->read_only = true; break;
		default: usage();
		}
	}
	if (optind < argc)
		usage();
}

int main(int argc, char **argv)
{
	struct pml_gc_stats s = { .size = sizeof(s) };
	unsigned long lost = 0, taken;
	struct wishes w;

	parse(argc, argv, &w);
	if (w.direct && !bad_direct()) {
		printf("no file can be opened for direct I/O here\n");
		return 77;
	}
	if (w.call && pml_gc_enable() && w.need) {
		printf("%s\n", pml_gc_message());
		return 77;
	}
	if (w.withdraw)
		GC_set_manual_vdb_allowed(0);
	if (w.late)
		clearenv();
	GC_INIT();
	if (w.late)
		GC_enable_incremental();
	if (w.environment)
		printf("GC_ENABLE_INCREMENTAL is %sset\n",
		       getenv("GC_ENABLE_INCREMENTAL") ? "" : "not ");
	GC_allow_register_threads();
	GC_gcollect();
	pml_gc_get_stats(&s);
	if (w.need && !s.enabled) {
		printf("not enabled: %s\n", pml_gc_message());
		return 77;
	}
	if (w.threads > 1)
		bad_before_writes(&w);
	if (w.files)
		bad_files();
	if (w.keep_errno)
		bad_errno();
	run(&w);
	for (long i = 0; i < w.threads; i++)
		lost += parts[i].lost;
	pml_gc_get_stats(&s);
	if (!w.quiet)
		printf("%s: verified %lu, stops %llu, all dirty %llu, restarts %llu, bypassed %llu\n",
		       *s.backend ? s.backend : "libgc alone", atomic_load(&verified),
		       (unsigned long long)s.stops, (unsigned long long)s.all_dirty,
		       (unsigned long long)s.restarts, (unsigned long long)s.bypassed);
	if (lost)
		printf("LOST %lu\n", lost);
	if (bad_errno_changes()) {
		printf("errno changed %lu times\n", bad_errno_changes());
		return 1;
	}
	taken = bad_files_taken();
	if (taken) {
		printf("%lu files of the program's were closed\n", taken);
		return 1;
	}
	if (bad_gave_up()) {
		printf("tracking did not go on\n");
		return 1;
	}
	if ((w.files || w.close_some || w.bystander || w.run_out) && bad_restarts()) {
		printf("tracking began anew %lu times without need\n", bad_restarts());
		return 1;
	}
	return lost != 0;
}
