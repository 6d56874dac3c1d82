/* SPDX-License-Identifier: MIT */
/*
 * cramped.c - with whatever little memory for its tables, a collect of a large mapping
 * that has come since says that this is too little, or tells each page with content:
 * never less and nothing of it.  By the back-ends that keep account of such memory.
 */
#define _GNU_SOURCE
#include "pml.h"
#include "tap.h"
#include "told.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define SIZE (1ul << 40)
/* So many pages of it have content, far apart. */
#define PAGES 4096ul
#define STEP (SIZE / PAGES)
/* The bounds on the tables that are tried, in bytes. */
#define LEAST (512ul << 10)
#define MOST (2ul << 20)
#define MORE (128ul << 10)

static char *mem;

/* How many of the pages one collect tells, in as many parts as it takes; -errno. */
static int told(struct pml *t)
{
	struct pml_collect_args args = { .size = sizeof(args) };
	const struct pml_result *r;
	int n = 0;

	do {
		uint64_t from = args.start, to = UINT64_MAX;
		int err = pml_collect(t, &args, &r);

		if (err)
			return err;
		args.start = r->resume;
		args.from_pid = r->resume_pid;
		if (r->flags & PML_RESULT_MORE)
			to = r->resume;
		for (size_t i = 0; i < PAGES; i++) {
			const char *at = mem + i * STEP;

			n += (uintptr_t)at >= from && (uintptr_t)at < to && is_told(r, at);
		}
	} while (r->flags & PML_RESULT_MORE);
	return n;
}

/* One tracker.  How many pages it tells of, or -errno. */
static int with_memory(const char *backend, size_t bytes)
{
	struct pml_span watch = { .start = (uintptr_t)mem, .end = (uintptr_t)mem + STEP };
	struct pml_options o = { .size = sizeof(o), .backend = backend, .watch = &watch,
				 .nwatch = 1, .max_memory = bytes, .max_ranges = 512 };
	struct pml *t;
	int ret = pml_open(&t, &o);

	if (!ret)
		ret = pml_start(t);
	if (!ret)
		ret = pml_watch(t, (uintptr_t)mem, (uintptr_t)mem + SIZE);
	for (size_t i = 0; i < PAGES; i++)
		mem[i * STEP]++;
	if (!ret)
		ret = told(t);
	pml_close(t);
	return ret;
}

static void one(const char *backend)
{
	unsigned int refused = 0, whole = 0, less = 0;

	for (size_t bytes = LEAST; bytes <= MOST; bytes += MORE) {
		int n = with_memory(backend, bytes);

		if (n == -ENOMEM) {
			refused++;
		} else if (n == (int)PAGES) {
			whole++;
		} else {
			less++;
			tap_note("%s: with %zu bytes: %d", backend, bytes, n);
		}
	}
	tap_ok(!less && refused && whole, "%s: too little memory in %u cases, every page told in %u",
	       backend, refused, whole);
}

int main(void)
{
	static const char *const names[] = { "wp-async", "uffd-sync" };
	struct pml_probe_info info[32];
	int n = pml_probe(info, 32);

	mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED) {
		tap_skip(strerror(errno), "a large mapping");
		return tap_done();
	}
	madvise(mem, SIZE, MADV_NOHUGEPAGE);
	for (int i = 0; i < n && i < 32; i++)
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
			if (strcmp(names[k], info[i].name) != 0)
				continue;
			if (info[i].available)
				one(names[k]);
			else
				tap_skip(info[i].reason, "%s", names[k]);
		}
	return tap_done();
}
