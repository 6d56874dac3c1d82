/* SPDX-License-Identifier: MIT */
/* Calls that a stop makes start again; see waits.h. */
#include "waits.h"

void pml_waits_begin(struct pml_waits *w)
{
	pml_buf_swap(&w->before, &w->now);
	w->nbefore = w->nnow;
	w->nnow = 0;
	w->cursor = 0;
}

/* Threads come in the same order each time: where the last one was, the next one is. */
static const struct pml_wait *find(struct pml_waits *w, int32_t tid)
{
	const struct pml_wait *list = w->before.p;

	for (size_t i = 0; i < w->nbefore; i++) {
		size_t at = (w->cursor + i) % w->nbefore;

		if (list[at].tid == tid) {
			w->cursor = at + 1;
			return list + at;
		}
	}
	return NULL;
}

static bool is_same_place(const struct pml_wait *was, const struct pml_wait *now)
{
	return was->call == now->call && was->insn == now->insn && was->stack == now->stack;
}

/*
 * Whether it is the same call.  One that was started again so long ago has ended by
 * itself, whatever the stop took, and this is another one: a loop that waits for a
 * shorter time than lies between two stops gets no EINTR.
 */
static bool is_same(const struct pml_wait *was, const struct pml_wait *now)
{
	return is_same_place(was, now) && was->limit_ns == now->limit_ns &&
	       now->seen_ns - was->seen_ns < 2 * now->limit_ns;
}

static bool remember(struct pml_waits *w, struct pml_pool *pool, const struct pml_wait *wait)
{
	if (pml_buf_reserve(pool, &w->now, (w->nnow + 1) * sizeof(*wait)))
		return false;
	((struct pml_wait *)w->now.p)[w->nnow++] = *wait;
	return true;
}

bool pml_waits_again(struct pml_waits *w, struct pml_pool *pool, struct pml_wait wait)
{
	const struct pml_wait *was = find(w, wait.tid);

	if (was && is_same(was, &wait)) {
		if (wait.since_ns - was->since_ns >= wait.limit_ns)
			return false;
		wait.since_ns = was->since_ns;
	}
	/* what cannot be remembered must not wait for ever */
	return remember(w, pool, &wait);
}

void pml_waits_on_its_way(struct pml_waits *w, struct pml_pool *pool, struct pml_wait wait)
{
	const struct pml_wait *was = find(w, wait.tid);

	if (!was || !is_same_place(was, &wait))
		return;
	wait.limit_ns = was->limit_ns;
	wait.since_ns = was->since_ns;
	/* one that ended by itself, and is made anew */
	if (is_same(was, &wait))
		remember(w, pool, &wait);
}

void pml_waits_free(struct pml_waits *w)
{
	pml_buf_free(&w->before);
	pml_buf_free(&w->now);
}
