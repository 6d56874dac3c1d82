/* SPDX-License-Identifier: MIT */
/* Readers: epochs of their own over one tracker.  Called by users and by
 * collect.c. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Readers are made outside of collects, but not with malloc: one tracker, one
 * kind of memory. */
int pml_reader_new(struct pml *t, bool first, struct pml_reader **out)
{
	struct pml_reader *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct pml_reader **at = &t->readers;
	int err;

	if (r == MAP_FAILED)
		return -ENOMEM;
	r->t = t;
	r->first = first;
	err = pml_buf_reserve(&t->pool, &r->ranges, 4096 * sizeof(struct pml_range));
	if (!err)
		err = pml_buf_reserve(&t->pool, &r->uncovered,
				      2 * PML_MAX_UNCOVERED * sizeof(struct pml_range));
	if (!err)
		err = pml_buf_reserve(&t->pool, &r->sets, PML_MAX_PROCS * sizeof(struct pml_set *));
	if (err) {
		pml_reader_free(r);
		return err;
	}
	while (*at)
		at = &(*at)->next;
	*at = r;
	*out = r;
	return 0;
}

void pml_reader_free(struct pml_reader *r)
{
	struct pml_reader **at = &r->t->readers;
	struct pml_set **sets = r->sets.p;

	while (*at && *at != r)
		at = &(*at)->next;
	if (*at)
		*at = r->next;
	for (uint32_t i = 0; sets && i < PML_MAX_PROCS; i++) {
		if (sets[i]) {
			pml_set_free(sets[i]);
			munmap(sets[i], sizeof(struct pml_set));
		}
	}
	pml_buf_free(&r->sets);
	pml_buf_free(&r->ranges);
	pml_buf_free(&r->uncovered);
	munmap(r, sizeof(*r));
}

/* The reader's set for a process; NULL: no memory, so that all of it is dirty. */
struct pml_set *pml_reader_set(struct pml_reader *r, uint32_t slot)
{
	struct pml_set **sets = r->sets.p;

	if (!sets[slot]) {
		struct pml_set *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (s == MAP_FAILED) {
			r->no_set[slot / 64] |= 1ull << (slot % 64);
			return NULL;
		}
		pml_set_init(s, &r->t->pool, r->t->page_shift);
		sets[slot] = s;
	}
	return sets[slot];
}

/* Forgets what it was to tell of a process. */
void pml_reader_forget(struct pml_reader *r, uint32_t slot)
{
	struct pml_set *s = ((struct pml_set **)r->sets.p)[slot];

	if (s)
		pml_set_clear(s);
	r->no_set[slot / 64] &= ~(1ull << (slot % 64));
}

/* Forgets everything: its first epoch begins now. */
void pml_reader_reset(struct pml_reader *r)
{
	for (uint32_t i = 0; i < PML_MAX_PROCS; i++)
		pml_reader_forget(r, i);
	r->parts.open = false;
	r->nuncovered = 0;
	r->told = 0;
	r->uncovered_cut = false;
	r->pending_faults = 0;
	r->last_end_ns = pml_now_ns();
}

void pml_reader_uncovered(struct pml_reader *r, const struct pml_range *u)
{
	struct pml_range *list = r->uncovered.p;

	for (size_t i = r->told; i < r->nuncovered; i++) {
		if (list[i].pid == u->pid && list[i].reason == u->reason &&
		    list[i].start <= u->start && list[i].end >= u->end)
			return;
	}
	/* told ones are kept until the next collect: the caller may be reading */
	if (r->nuncovered - r->told >= PML_MAX_UNCOVERED ||
	    r->nuncovered >= 2 * PML_MAX_UNCOVERED) {
		r->uncovered_cut = true;
		return;
	}
	list[r->nuncovered++] = *u;
}

int pml_reader_open(struct pml *t, struct pml_reader **out)
{
	int err, saved = errno;

	if (!t || !out)
		return -EINVAL;
	*out = NULL;
	if (!pml_enter(t))
		return -EBUSY;
	if (t->started && pml_is_owner(t))
		pml_collect_for_others(t);
	err = pml_reader_new(t, false, out);
	if (err)
		pml_fail(t, err, "pml_reader_open: out of memory: the tracker's tables are at their bound; raise max_memory");
	else
		pml_reader_reset(*out);
	pml_leave_call(t);
	errno = saved;
	return err;
}

int pml_reader_close(struct pml_reader *r)
{
	struct pml *t;

	if (!r)
		return 0;
	t = r->t;
	if (!pml_enter(t))
		return -EBUSY;
	if (t->default_reader == r)
		t->default_reader = NULL;
	pml_reader_free(r);
	pml_leave_call(t);
	return 0;
}

int pml_reader_collect(struct pml_reader *r, const struct pml_collect_args *args,
		       const struct pml_result **result)
{
	if (!r || !result)
		return -EINVAL;
	return pml_collect_reader(r, args, result);
}
