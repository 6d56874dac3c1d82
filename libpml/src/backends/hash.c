/* SPDX-License-Identifier: MIT */
/*
 * hash: reads every page and compares its hash (xxh3, 64 bits) with the last
 * one.  Works wherever /proc/PID/mem can be read, costs the target nothing and
 * the tracker everything.  Called through struct pml_backend.
 *
 * What it reports as changed has changed.  What it does not report is known
 * unchanged only if the target stood still from the collect until the pages
 * were copied: a change that is undone in between is not seen.  So everything
 * is UNCOVERED (CLEAN_BY_HASH) unless the target is stopped.
 */
#define _GNU_SOURCE
#include "../backend.h"
#include "../hashes.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct state {
	struct pml_hashes hashes;
	struct pml_proc *p;
	const struct pml_area *area;
	struct pml_sink *sink;
};

static int report(void *arg, uint64_t start, uint64_t end, enum pml_hash_news news)
{
	struct state *s = arg;
	bool fresh = s->area->flags & PML_AREA_FRESH;

	/* a page of a file that appears may only have been read */
	pml_sink_emit(s->sink, start, end, s->p->page_size, PML_DIRTY,
		      news == PML_HASH_CHANGED && !fresh ? PML_OBSERVED : PML_ASSUMED,
		      fresh || news == PML_HASH_APPEARED ? PML_REASON_FIRST_SIGHT :
		      news == PML_HASH_GONE ? PML_REASON_DROPPED : PML_REASON_NONE);
	return 0;
}

/* A segment's worth of ranges must fit, in the worst case. */
static uint64_t room(void *arg)
{
	const struct state *s = arg;

	return pml_sink_room(s->sink) >= 512 ? pml_sink_pages(s->sink) : 0;
}

static int hash_drain(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
		      struct pml_sink *sink, uint64_t *walk_end)
{
	struct state *s = p->state;
	const struct pml_area *a = pml_areas_at(&p->pieces);

	(void)events;
	s->sink = sink;
	*walk_end = start;
	for (size_t i = 0; i < p->pieces.n && a[i].start < end; i++) {
		uint64_t from = a[i].start > start ? a[i].start : start;
		uint64_t to = a[i].end < end ? a[i].end : end;
		int err;

		if (from >= to)
			continue;
		s->area = a + i;
		err = pml_hashes_walk(&s->hashes, p, a + i, from, to, sink ? report : NULL, s,
				      sink ? room : NULL, walk_end);
		if (err)
			return err;
		p->cost.scanned_bytes += *walk_end - from;
		p->cost.scans++;
		if (*walk_end < to)
			return 0;
	}
	if (sink && !p->stopped && p->pieces.n)
		pml_proc_uncovered(p, a[0].start, a[p->pieces.n - 1].end, PML_REASON_CLEAN_BY_HASH);
	*walk_end = end;
	return 0;
}

static int hash_attach(struct pml_proc *p)
{
	struct state *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (s == MAP_FAILED)
		return pml_proc_fail(p, -ENOMEM, "hash: out of memory");
	s->p = p;
	/* Linux 6.1 opens the mem of one that has none */
	err = pml_proc_has_memory(p) ? pml_hashes_init(&s->hashes, p) : -ESRCH;
	if (err) {
		munmap(s, sizeof(*s));
		if (err == -ESRCH)
			return pml_proc_fail(p, -ENOTSUP, "hash: the process has no memory: it is a kernel thread, or a zombie; name another");
		return pml_proc_fail(p, err, "hash: the process's memory cannot be read; ptrace rights are needed, and two free descriptors");
	}
	p->state = s;
	return 0;
}

static void hash_detach(struct pml_proc *p)
{
	struct state *s = p->state;

	pml_hashes_free(&s->hashes);
	munmap(s, sizeof(*s));
	p->state = NULL;
}

const struct pml_backend pml_backend_hash = {
	.name = "hash",
	.source = "xxh3 of every page",
	.events = PML_DIRTY,
	.caps = PML_CAP_SELF | PML_CAP_EXTERNAL | PML_CAP_ATOMIC_REARM | PML_CAP_MAPS |
		PML_CAP_PARTIAL | PML_CAP_FIRST_TOUCH,
	.granularity = 1,
	.attach = hash_attach,
	.detach = hash_detach,
	.drain = hash_drain,
};
