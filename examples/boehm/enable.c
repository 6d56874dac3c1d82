/* SPDX-License-Identifier: MIT */
/*
 * libpml-gc's ways in: the call, the constructor for programs that only link
 * the library, guile's entry; see pml_gc.h.
 *
 * The constructor cannot make libgc begin: a program sets options before its
 * own GC_INIT() that count only then.  So it asks for incremental collection by
 * the environment variable that GC_INIT() reads, and takes the variable out of
 * the environment again as soon as libgc has a heap.
 */
#define _GNU_SOURCE
#include "hook.h"
#include "process.h"
#include "tracker.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define INCREMENTAL "GC_ENABLE_INCREMENTAL"

enum state { OFF, ASKED, ON };

static enum state state;
static bool set_variable;
static bool has_provider;
static int allowed_before;
static char message[320];
static GC_on_heap_resize_proc next_resize;
static struct pml_gc_process loaded_by;

static int refuse(int err, const char *why)
{
	snprintf(message, sizeof(message), "pml: libpml-gc: %s", why);
	return err;
}

/* ---- a libgc with GC_set_dirty_provider() ---- */

static int GC_CALLBACK measured_read(void *client_data, const struct GC_dirty_range_s *parts,
				     size_t nparts, GC_dirty_found_proc found, void *closure)
{
	uint64_t began = pml_gc_now(), bytes = 0;
	int err = pml_gc_provider.read(client_data, parts, nparts, found, closure);

	for (size_t i = 0; i < nparts; i++)
		bytes += (uint64_t)((char *)parts[i].end - (char *)parts[i].start);
	pml_gc_hook_collected(began, err != 0, bytes);
	return err;
}

static bool offer_provider(void)
{
	void *symbol = dlsym(RTLD_DEFAULT, "GC_set_dirty_provider");
	static struct GC_dirty_provider_s provider;
	pml_gc_set_provider_proc set;

	if (!symbol)
		return false;
	memcpy(&set, &symbol, sizeof(set));
	provider = pml_gc_provider;
	provider.read = measured_read;
	return set(&provider) == 0;
}

/* ---- which mode libgc is in ---- */

static void take_back_variable(void)
{
	if (set_variable)
		unsetenv(INCREMENTAL);
	set_variable = false;
}

/* libgc has begun since it was asked.  What it does depends on what was allowed
 * at that moment. */
static void settle(void)
{
	if (state != ASKED)
		return;
	take_back_variable();
	if (!GC_is_incremental_mode()) {
		refuse(0, "libgc does not collect incrementally; unset GC_DISABLE_INCREMENTAL, and do not ask it to find leaks");
		pml_gc_hook_feed(false);
		pml_gc_tracker_close();
		/* it may be asked later, and nobody would tell it then */
		if (!has_provider)
			GC_set_manual_vdb_allowed(allowed_before);
		state = OFF;
		return;
	}
	state = ON;
	if (has_provider || GC_get_manual_vdb_allowed())
		return;
	/* The program has withdrawn the permission, and nobody saw whether before
	 * libgc began, or after.  If before, libgc uses means of its own, perhaps
	 * soft-dirty, and must not be robbed of it; if after, it depends on us.
	 * So nothing is tracked, and everything told dirty. */
	pml_gc_tracker_close();
	refuse(0, "the program has withdrawn the permission for dirty bits by hand; have it call GC_set_manual_vdb_allowed(1), or leave it alone");
}

/* libgc is in the middle of GC_INIT(): it has decided how to keep dirty bits. */
static void GC_CALLBACK on_resize(GC_word bytes)
{
	int saved = errno;

	settle();
	errno = saved;
	if (next_resize)
		next_resize(bytes);
}

/* ---- the ways in ---- */

/* Everything but the switch itself. */
static int get_ready(void (*before_first)(void))
{
	char words[256] = "";
	int err = pml_gc_tracker_open(words, sizeof(words));

	if (err) {
		snprintf(message, sizeof(message), "%s", words);
		return err;
	}
	pml_gc_hook_install(before_first);
	has_provider = offer_provider();
	pml_gc_hook_feed(!has_provider);
	if (!has_provider) {
		allowed_before = GC_get_manual_vdb_allowed();
		GC_set_manual_vdb_allowed(1);
	}
	return 0;
}

static bool is_set(const char *name, const char *value)
{
	const char *v = getenv(name);

	return v && (!value || strcmp(v, value) == 0);
}

/* One of the library's own: a setuid program does not listen to its caller. */
static bool is_ours(const char *name, const char *value)
{
	const char *v = secure_getenv(name);

	return v && strcmp(v, value) == 0;
}

/* 0; or there is no more tracking, and the words are there or are put there. */
static int goes_on(void)
{
	if (pml_gc_tracker_goes_on())
		return 0;
	if (!*message)
		refuse(0, "its descriptors were closed again and again; leave those open that are not your own");
	return -ENOTSUP;
}

int pml_gc_enable(void)
{
	int err;

	if (state == ON)
		return goes_on();
	if (is_ours("PML_GC", "0") || is_ours("PML_GC", "measure"))
		return refuse(-ENOTSUP, "PML_GC switches it off; unset it");
	if (state == OFF) {
		if (GC_is_init_called() && GC_is_incremental_mode())
			return refuse(-EALREADY, "libgc already collects incrementally in its own way; call pml_gc_enable() first, or unset " INCREMENTAL);
		err = get_ready(NULL);
		if (err)
			return err;
	}
	GC_enable_incremental();
	state = state == ON ? ON : ASKED;
	settle();
	if (state == ON)
		return goes_on();
	pml_gc_hook_remove();
	return -ENOTSUP;
}

const char *pml_gc_message(void)
{
	return message;
}

void scm_init_pml_gc(void)
{
	if (pml_gc_enable())
		fprintf(stderr, "%s\n", message);
}

static void __attribute__((constructor)) on_load(void)
{
	loaded_by = pml_gc_process_now();
	/* loaded by a running program: it will call */
	if (is_ours("PML_GC", "0") || GC_is_init_called())
		return;
	if (is_ours("PML_GC", "measure")) {
		pml_gc_hook_install(NULL);
		return;
	}
	if (is_set("GC_DISABLE_INCREMENTAL", NULL))
		return;
	if (get_ready(settle)) {
		fprintf(stderr, "%s\n", message);
		return;
	}
	state = ASKED;
	next_resize = GC_get_on_heap_resize();
	GC_set_on_heap_resize(on_resize);
	if (!is_set(INCREMENTAL, NULL))
		set_variable = setenv(INCREMENTAL, "1", 0) == 0;
}

/* ---- statistics ---- */

int pml_gc_get_stats(struct pml_gc_stats *stats)
{
	struct pml_gc_stats s;
	const char *why;
	size_t size;

	if (!stats || stats->size < 2 * sizeof(uint64_t))
		return -EINVAL;
	pml_gc_hook_stats(&s);
	size = stats->size < sizeof(s) ? stats->size : sizeof(s);
	s.size = stats->size;
	s.enabled = state == ON && pml_gc_tracker_goes_on();
	s.provider = has_provider;
	s.restarts = pml_gc_tracker_restarts();
	s.dirty_pages = pml_gc_tracker_pages();
	s.doubted = pml_gc_tracker_doubted(&why);
	snprintf(s.doubt, sizeof(s.doubt), "%s", why);
	snprintf(s.backend, sizeof(s.backend), "%s", pml_gc_tracker_backend());
	memcpy(stats, &s, size);
	return 0;
}

static void print_times(FILE *f, const char *name, const struct pml_gc_times *t)
{
	fprintf(f, "%s_ns %llu\n%s_max_ns %llu\n%s_first_ns %llu\n", name,
		(unsigned long long)t->total_ns, name, (unsigned long long)t->max_ns, name,
		(unsigned long long)t->first_ns);
}

static void __attribute__((destructor)) on_exit_print(void)
{
	const char *name = secure_getenv("PML_GC_STATS");
	struct pml_gc_stats s = { .size = sizeof(s) };
	struct rusage used;
	FILE *f;

	/* forked children are not what was asked about */
	if (!name || !*name || !pml_gc_process_is(&loaded_by))
		return;
	f = strcmp(name, "-") == 0 ? stderr : fopen(name, "ae");
	if (!f)
		return;
	pml_gc_get_stats(&s);
	fprintf(f, "backend %s\nenabled %llu\nprovider %llu\nstops %llu\nall_dirty %llu\n",
		*s.backend ? s.backend : "none", (unsigned long long)s.enabled,
		(unsigned long long)s.provider, (unsigned long long)s.stops,
		(unsigned long long)s.all_dirty);
	fprintf(f, "restarts %llu\nbypassed %llu\ndirty_pages %llu\nheap_bytes %llu\n",
		(unsigned long long)s.restarts, (unsigned long long)s.bypassed,
		(unsigned long long)s.dirty_pages, (unsigned long long)s.heap_bytes);
	fprintf(f, "doubted %llu\ndoubt %s\n", (unsigned long long)s.doubted,
		*s.doubt ? s.doubt : "none");
	/* of the whole process: what remains of the faults without those that a page's
	 * first use takes is what tracking adds */
	if (getrusage(RUSAGE_SELF, &used) == 0)
		fprintf(f, "minor_faults %ld\nmost_resident_kb %ld\n", used.ru_minflt,
			used.ru_maxrss);
	print_times(f, "stopped", &s.stopped);
	print_times(f, "collect", &s.collect);
	print_times(f, "mark", &s.mark);
	if (f != stderr)
		fclose(f);
}
