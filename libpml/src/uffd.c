/* SPDX-License-Identifier: MIT */
/* Registering memory with a userfaultfd; see uffd.h. */
#define _GNU_SOURCE
#include "uffd.h"
#include "broken.h"
#include "kernel_abi.h"
#include "pause.h"

#include <errno.h>

static int register_range(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_register r = {
		.range = { .start = start, .len = end - start },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (ioctl(uffd, UFFDIO_REGISTER, &r))
		return -errno;
	/* taken, but not to be protected: files, where writes wait for somebody */
	return r.ioctls & (1ull << _UFFDIO_WRITEPROTECT) ? 0 : -EINVAL;
}

/* Whether b is the mapping after a.  What was refused before may be another by now. */
static bool are_neighbours(const struct pml_area *a, const struct pml_area *b)
{
	return !((a->flags | b->flags) & PML_AREA_HUGETLB) && a->around_end >= b->start &&
	       b->around_start <= a->end;
}

/* What was armed there is not to be relied on: the next collect finds it replaced, unless
 * this one gets to it, and arms it anew. */
static void forget(struct pml_proc *p, const struct pml_area *a)
{
	struct pml_area *w = pml_areas_at(&p->armed);

	for (size_t i = 0; i < p->armed.n; i++)
		if (w[i].start < a->end && w[i].end > a->start)
			w[i].flags |= PML_AREA_GHOST;
}

/*
 * mremap without UFFD_FEATURE_EVENT_REMAP takes the registration from what it has
 * moved, and if that was joined with its new neighbour, from the neighbour as well,
 * whose pages keep their protection bits: what is written to it then goes unseen.
 * That can be asked for, unless it was registered again before, as is about to be
 * done here.  So those in [start, end) that are registered no more are remembered as
 * other mappings than those that were armed.
 */
static void find_lost(struct pml_proc *p, pml_uffd_lost_fn *has_lost, const struct pml_area *a,
		      uint64_t start, uint64_t end)
{
	struct pml_area *q = pml_areas_at(&p->pieces), *last = q + p->pieces.n;

	for (; q < last && q->start < end; q++) {
		if (q->end <= start || q == a ||
		    q->flags & (PML_AREA_FRESH | PML_AREA_GHOST | PML_AREA_UNWRITABLE) ||
		    !has_lost(p, q))
			continue;
		/* those before it are drained, and it is the next collect's news */
		q->flags |= q < a ? PML_AREA_GHOST : PML_AREA_FRESH | PML_AREA_REPLACED;
		forget(p, q);
	}
}

/*
 * What to ask for, for the sake of one area, from the most to the least: the last is
 * the area with the space around it.  That may be the neighbours' by now: they can
 * have grown into it, and what holds for a part of them only splits them.  So each
 * comes too, if it can: the one below from its start on, the one above with the space
 * behind it, because what grows, grows upwards.
 */
struct spans {
	struct pml_span at[4];
	unsigned int n;
	struct pml_span all;	/* with both neighbours, whether it is asked for or not */
};

static void add_span(struct spans *s, uint64_t start, uint64_t end)
{
	s->at[s->n].start = start;
	s->at[s->n++].end = end;
}

static struct spans spans_around(const struct pml_areas *list, const struct pml_area *a)
{
	const struct pml_area *first = pml_areas_at(list), *last = first + list->n - 1;
	const uint64_t part = a->flags & PML_AREA_HUGETLB ? (1ull << a->granule_shift) - 1 : 0;
	/* huge pages by whole ones */
	const uint64_t start = (a->around_start + part) & ~part, end = a->around_end & ~part;
	const struct pml_area *below = a, *above = a;
	struct spans s = { .n = 0 };

	/* pieces of the same mapping have the same space around it */
	while (below > first && below->around_start == a->around_start)
		below--;
	while (above < last && above->around_end == a->around_end)
		above++;
	if (!are_neighbours(below, a))
		below = a;
	if (!are_neighbours(a, above))
		above = a;
	while (below > first && below != a && below[-1].around_start == below->around_start)
		below--;
	s.all.start = below->start < start ? below->start : start;
	s.all.end = above->around_end > end ? above->around_end : end;
	/* broken: whatever has grown meanwhile is split */
	if (pml_broken("split"))
		below = above = a;
	if (below != a && above != a)
		add_span(&s, below->start, above->around_end);
	if (below != a)
		add_span(&s, below->start, end);
	if (above != a)
		add_span(&s, start, above->around_end);
	add_span(&s, start, end);
	return s;
}

static int register_around(struct pml_proc *p, int uffd, pml_uffd_lost_fn *has_lost,
			   const struct pml_area *a)
{
	const struct spans s = spans_around(&p->pieces, a);
	int err = -EINVAL;

	if (!pml_broken("no-neighbours"))
		find_lost(p, has_lost, a, s.all.start, s.all.end);
	for (unsigned int i = 0; err && i < s.n; i++)
		err = register_range(uffd, s.at[i].start, s.at[i].end);
	return err;
}

/* How often a mapping is looked at again whose surroundings change all the time. */
#define TRIES 4

/*
 * What is around the area now.  0: something else than before; -EALREADY: nothing
 * has changed; -EINVAL: it is there, but not in one piece; -ENOENT: nothing is there.
 */
static int look_again(struct pml_proc *p, struct pml_area *a)
{
	struct pml_maps_facts facts;
	int err = pml_maps_read(p->maps_fd, p->pool, &p->text, &p->scratch, &facts);
	const struct pml_area *now = pml_areas_at(&p->scratch), *last = now + p->scratch.n;
	uint64_t start, end;

	if (err)
		return err;
	while (now < last && now->end <= a->start)
		now++;
	if (now == last || now->start >= a->end)
		return -ENOENT;
	if (now->start > a->start || now->end < a->end || now->kind != a->kind)
		return -EINVAL;
	start = now->around_start > a->limit_start ? now->around_start : a->limit_start;
	end = now->around_end < a->limit_end ? now->around_end : a->limit_end;
	if (start == a->around_start && end == a->around_end)
		return -EALREADY;
	a->around_start = start;
	a->around_end = end;
	return 0;
}

/* The area alone is never tried: it may be part of a larger mapping by now. */
static int register_whole(struct pml_proc *p, int uffd, pml_uffd_lost_fn *has_lost,
			  struct pml_area *a)
{
	int err = register_around(p, uffd, has_lost, a), again;

	/* files do not grow all the time, and many of them are refused for ever; but
	 * -ENOMEM may also mean that the whole memory is gone */
	if (a->kind == PML_AREA_PRIVATE_FILE && err != -ENOMEM)
		return err;
	for (int i = 0; i < TRIES; i++) {
		if (!err || err == -ESRCH)
			return err;
		again = look_again(p, a);
		if (again)
			return again == -EALREADY ? err : again;
		err = register_around(p, uffd, has_lost, a);
	}
	return err;
}

int pml_uffd_register(struct pml_proc *p, int uffd, pml_uffd_lost_fn *has_lost,
		      struct pml_area *a, bool hugetlb)
{
	int err = -EINVAL;

	/* a part of it may have been collected before, and will not be in this epoch again */
	if (a->flags & PML_AREA_REPLACED)
		forget(p, a);
	if (hugetlb || !(a->flags & PML_AREA_HUGETLB))
		err = register_whole(p, uffd, has_lost, a);
	switch (err) {
	case 0:
		return 0;
	case -EBUSY:
		a->flags |= PML_AREA_OWNED;
		return -EBUSY;
	case -EPERM:
		/* shared, of a file that was opened for reading only */
		a->flags |= PML_AREA_UNWRITABLE;
		return -EBUSY;
	case -ENOMEM:
		/* broken: no room is taken for nothing there */
		return pml_broken("no-room") ? -ENOENT : -ENOMEM;
	case -ENOENT:
	case -ESRCH:
		return err;
	default:
		a->flags |= a->flags & PML_AREA_WRITE ? PML_AREA_UNSUPPORTED : PML_AREA_UNWRITABLE;
		return -EBUSY;
	}
}

void pml_uffd_assume_all(struct pml_proc *p, struct pml_area *a, uint64_t start, uint64_t end,
			 struct pml_sink *s, uint64_t *walk_end)
{
	uint64_t pages = s ? pml_sink_pages(s) : UINT64_MAX;

	a->flags |= PML_AREA_UNSUPPORTED;
	if (s && !pml_sink_room(s))
		pages = 0;
	if (pages < (end - start) >> p->page_shift)
		end = start + (pages << p->page_shift);
	if (s && start < end)
		pml_sink_emit(s, start, end, p->page_size, PML_DIRTY, PML_ASSUMED,
			      PML_REASON_OVERFLOW);
	*walk_end = end;
}

/* Whether the list has something there; it is asked in order of address. */
static bool has_some(const struct pml_areas *l, size_t *at, const struct pml_area *a)
{
	const struct pml_area *w = pml_areas_at(l);

	while (*at < l->n && w[*at].end <= a->start)
		++*at;
	return *at < l->n && w[*at].start < a->end;
}

/* 0; -EINVAL: not all that is there can be ours; -EAGAIN. */
static int unregister_range(int uffd, const struct pml_span *at)
{
	struct uffdio_range range = { .start = at->start, .len = at->end - at->start };
	int err = register_range(uffd, at->start, at->end);

	/* refused if another one has it, from whom older kernels would take it */
	if (err == -EBUSY || err == -EPERM)
		return -EINVAL;
	/* broken: what is split now is so for long */
	if (pml_broken("split"))
		pml_pause_ns(200000);
	if (ioctl(uffd, UFFDIO_UNREGISTER, &range) == 0)
		return 0;
	return err == -EINVAL ? err : -EAGAIN;
}

/*
 * The area, and what comes with it: to register the area alone, as unregister_range does,
 * splits what has grown into the space beside it, and a program that calls mremap at that
 * moment gets EFAULT.  Sets how far it is done.
 */
static int unregister_around(struct pml_proc *p, int uffd, const struct pml_area *a,
			     uint64_t *done)
{
	const struct pml_span alone = { .start = a->start, .end = a->end };
	const struct spans s = spans_around(&p->scratch, a);
	unsigned int i = 0;
	int err;

	do {
		err = unregister_range(uffd, &s.at[i]);
	} while (err == -EINVAL && ++i < s.n);
	*done = err ? a->end : s.at[i].end;
	return err ? unregister_range(uffd, &alone) : 0;
}

void pml_uffd_unregister_all(struct pml_proc *p, int uffd)
{
	struct pml_maps_facts facts;
	/* broken: the descriptor is closed, and that is all, as if the tracker had been
	 * killed; by keep-armed the next one falls for it */
	bool again = !pml_broken("close-alone") && !pml_broken("keep-armed");

	for (int i = 0; again && i < TRIES; i++) {
		size_t armed = 0, pieces = 0;
		uint64_t done = 0;

		again = false;
		if (pml_maps_read(p->maps_fd, p->pool, &p->text, &p->scratch, &facts))
			return;
		for (size_t k = 0; k < p->scratch.n; k++) {
			const struct pml_area *a = pml_areas_at(&p->scratch) + k;

			/* what a collect registered that failed later is in its pieces only */
			if (a->end > done && (has_some(&p->armed, &armed, a) ||
					      has_some(&p->pieces, &pieces, a)))
				again |= unregister_around(p, uffd, a, &done) == -EAGAIN;
		}
	}
}
