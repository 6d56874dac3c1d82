/* SPDX-License-Identifier: MIT */
/*
 * Where a drain reports to: straight into one reader's result when nobody else
 * reads, otherwise into every reader's set.  Called by the back-ends.
 */
#include "internal.h"
#include "broken.h"
#include "kernel_abi.h"

#include <errno.h>

int pml_sink_open(struct pml_sink *s, struct pml *t, struct pml_proc *p, struct pml_reader *r,
		  bool to_sets, uint64_t pages_left)
{
	s->t = t;
	s->pid = (uint32_t)p->pid;
	s->slot = p->slot;
	s->out = r->ranges.p;
	s->n = r->result.nranges;
	s->cap = r->ranges.len / sizeof(struct pml_range);
	if (s->cap > t->max_ranges)
		s->cap = t->max_ranges;
	s->pages_left = pages_left;
	s->pages = (struct pml_pages){ 0 };
	s->to_sets = to_sets;
	return 0;
}

static void emit_to_sets(struct pml_sink *s, const struct pml_range *r)
{
	for (struct pml_reader *rd = s->t->readers; rd; rd = rd->next) {
		struct pml_set *set = pml_reader_set(rd, s->slot);

		if (!set || pml_set_add(set, r))
			rd->lost = true;
	}
}

#ifdef PML_TEST_HOOKS
/* A negative control: one page in a hundred reports is dropped. */
static bool drop_this(void)
{
	static unsigned int n;

	return pml_broken("drop-page") && ++n % 100 == 0;
}
#endif

static void spend(struct pml_sink *s, uint64_t pages)
{
	if (s->pages_left != UINT64_MAX)
		s->pages_left -= pages < s->pages_left ? pages : s->pages_left;
}

void pml_sink_emit(struct pml_sink *s, uint64_t start, uint64_t end, uint64_t granule,
		   uint32_t events, enum pml_known known, enum pml_reason reason)
{
	struct pml_range r = {
		.start = start, .end = end, .granule = granule, .pid = s->pid,
		.events = (uint16_t)events, .known = (uint8_t)known, .reason = (uint8_t)reason,
	};
	struct pml_range *last = s->n ? s->out + s->n - 1 : NULL;
	uint64_t pages = (end - start) >> s->t->page_shift;

#ifdef PML_TEST_HOOKS
	if (drop_this())
		return;
#endif
	if (s->to_sets) {
		emit_to_sets(s, &r);
		return;
	}
	spend(s, pages);
	if (last && last->end == start && last->pid == r.pid && last->granule == granule &&
	    last->events == r.events && last->known == r.known && last->reason == r.reason) {
		last->end = end;
		pml_pages_add(&s->pages, pages, events, known);
		return;
	}
	if (s->out && s->n < s->cap) {
		s->out[s->n++] = r;
		pml_pages_add(&s->pages, pages, events, known);
		return;
	}
	/* a back-end that did not ask for room: never silently */
	for (struct pml_reader *rd = s->t->readers; rd; rd = rd->next)
		rd->lost = true;
}

uint64_t pml_sink_emit_regions(struct pml_sink *s, const struct pml_page_region *v, size_t n,
			       uint64_t granule, uint32_t events, enum pml_known known,
			       enum pml_reason reason)
{
	/* the first may join what is there already; the others are alike */
	size_t by_itself = s->to_sets || pml_sink_room(s) < n ? n : 1;
	struct pml_range r = {
		.granule = granule, .pid = s->pid, .events = (uint16_t)events,
		.known = (uint8_t)known, .reason = (uint8_t)reason,
	};
	uint64_t first = 0, bytes = 0;
	struct pml_range *out;
	size_t i;

#ifdef PML_TEST_HOOKS
	by_itself = n;	/* any of them may be dropped on purpose */
#endif
	for (i = 0; i < n && i < by_itself; i++) {
		pml_sink_emit(s, v[i].start, v[i].end, granule, events, known, reason);
		first += v[i].end - v[i].start;
	}
	if (i == n)
		return first;
	out = s->out + s->n - 1;
	for (; i < n; i++) {
		bytes += v[i].end - v[i].start;
		if (v[i].start == out->end) {
			out->end = v[i].end;
			continue;
		}
		r.start = v[i].start;
		r.end = v[i].end;
		*++out = r;
	}
	s->n = (size_t)(out - s->out) + 1;
	spend(s, bytes >> s->t->page_shift);
	pml_pages_add(&s->pages, bytes >> s->t->page_shift, events, known);
	return first + bytes;
}
