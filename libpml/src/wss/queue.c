/* SPDX-License-Identifier: MIT */
/* The pages that are swapped out, in the order in which they went; see queue.h. */
#define _GNU_SOURCE
#include "queue.h"

#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CAME UINT32_MAX		/* instead of a place: told to have come in this epoch */
#define LEAST_ENTRIES 4096u
#define LEAST_PLACES 8192u

struct entry {
	uint64_t address;
	uint32_t pid;		/* 0: not in use */
	uint32_t at;		/* its place in the queue, or CAME */
};

void pml_queue_init(struct pml_queue *q, struct pml_pool *pool, struct pml_reuse *depths,
		    uint8_t page_shift)
{
	*q = (struct pml_queue){ .pool = pool, .depths = depths, .page_shift = page_shift };
}

void pml_queue_free(struct pml_queue *q)
{
	pml_buf_free(&q->table);
	pml_buf_free(&q->next);
	pml_buf_free(&q->order);
}

/* ---- places: which are taken, counted from the first on ---- */

static void change(struct pml_queue *q, uint32_t at, uint32_t by)
{
	uint32_t *tree = q->order.p;

	for (uint32_t i = at + 1; i <= q->size; i += i & -i)
		tree[i - 1] += by;
}

/* How many up to this one, it included. */
static uint32_t taken_to(const struct pml_queue *q, uint32_t at)
{
	const uint32_t *tree = q->order.p;
	uint32_t n = 0;

	for (uint32_t i = at + 1; i; i -= i & -i)
		n += tree[i - 1];
	return n;
}

static uint32_t taken_before(const struct pml_queue *q, uint32_t at)
{
	return at ? taken_to(q, at - 1) : 0;
}

/* No place is left: those that are out move up, in their order. */
static int move_up(struct pml_queue *q)
{
	uint64_t need = 2 * q->pages + LEAST_PLACES;
	struct entry *e = q->table.p;
	uint32_t *tree;

	if (need > INT32_MAX || pml_buf_reserve(q->pool, &q->order, need * sizeof(*tree)))
		return -ENOMEM;
	tree = q->order.p;
	q->begun = taken_before(q, q->begun);
	q->known = taken_before(q, q->known);
	for (uint64_t i = 0; i < q->room; i++)
		if (e[i].pid && e[i].at != CAME)
			e[i].at = taken_to(q, e[i].at) - 1;
	q->size = (uint32_t)(q->order.len / sizeof(*tree));
	memset(tree, 0, q->order.len);
	for (q->at = 0; q->at < q->pages; q->at++)
		change(q, q->at, 1);
	return 0;
}

static int take_place(struct pml_queue *q, struct entry *e)
{
	int rc = q->at == q->size ? move_up(q) : 0;

	if (rc)
		return rc;
	e->at = q->at++;
	change(q, e->at, 1);
	q->pages++;
	return 0;
}

static void leave_place(struct pml_queue *q, const struct entry *e)
{
	change(q, e->at, (uint32_t)-1);
	q->pages--;
}

/* It came back: a memory larger by what went after it, and by itself, would have kept it. */
static void come(struct pml_queue *q, const struct entry *e)
{
	if (e->at >= q->known)
		pml_reuse_note(q->depths, q->pages - taken_to(q, e->at) + 1, 1);
	leave_place(q, e);
	q->came++;
}

/* ---- the table: at most half of it is in use ---- */

/* Where it is, or would be. */
static struct entry *look_up(const struct pml_buf *table, uint64_t room, uint32_t pid,
			     uint64_t address)
{
	const uint64_t key[] = { address, pid };
	struct entry *e = table->p;
	uint64_t i = XXH3_64bits(key, sizeof(key)) & (room - 1);

	while (e[i].pid && (e[i].pid != pid || e[i].address != address))
		i = (i + 1) & (room - 1);
	return &e[i];
}

/* Puts the entries that stay (all, if NULL) into a table of their own. */
static int rebuild(struct pml_queue *q, uint64_t more,
		   bool (*stays)(struct pml_queue *q, const struct entry *e, void *arg), void *arg)
{
	const struct entry *e = q->table.p;
	uint64_t room = LEAST_ENTRIES, entries = 0;

	while (room / 2 < q->entries + more)
		room *= 2;
	/* what is new in it is zero */
	pml_buf_free(&q->next);
	if (pml_buf_reserve(q->pool, &q->next, room * sizeof(*e)))
		return -ENOMEM;
	for (uint64_t i = 0; i < q->room; i++) {
		if (!e[i].pid || (stays && !stays(q, &e[i], arg)))
			continue;
		*look_up(&q->next, room, e[i].pid, e[i].address) = e[i];
		entries++;
	}
	pml_buf_swap(&q->table, &q->next);
	pml_buf_free(&q->next);
	q->room = room;
	q->entries = entries;
	return 0;
}

static int make_room(struct pml_queue *q, uint64_t more)
{
	return q->entries + more <= q->room / 2 ? 0 : rebuild(q, q->entries + more, NULL, NULL);
}

/* Its entry, a new one if need be: *known says whether it was there. */
static struct entry *entry_of(struct pml_queue *q, uint32_t pid, uint64_t address, bool *known)
{
	struct entry *e = look_up(&q->table, q->room, pid, address);

	*known = e->pid;
	if (!*known) {
		*e = (struct entry){ .address = address, .pid = pid, .at = CAME };
		q->entries++;
	}
	return e;
}

/* ---- what is told ---- */

static int entry_told(struct pml_queue *q, uint32_t pid, uint64_t address, struct entry **e)
{
	bool known;
	int rc = make_room(q, 1);

	if (rc == 0)
		*e = entry_of(q, pid, address, &known);
	return rc;
}

int pml_queue_out(struct pml_queue *q, uint32_t pid, uint64_t address)
{
	struct entry *e;
	int rc = entry_told(q, pid, address, &e);

	if (rc)
		return rc;
	/* one that is out goes again: nobody told that it came */
	if (e->at != CAME)
		leave_place(q, e);
	else
		q->went++;
	e->at = CAME;
	return take_place(q, e);
}

int pml_queue_in(struct pml_queue *q, uint32_t pid, uint64_t address)
{
	struct entry *e;
	/* also of one that was not known to be out: it is in memory now */
	int rc = entry_told(q, pid, address, &e);

	if (rc)
		return rc;
	if (e->at != CAME)
		come(q, e);
	e->at = CAME;
	return 0;
}

/* ---- a look ---- */

struct look {
	const struct pml_wss_place *places;
	size_t n;
};

/* The place that has it, or NULL. */
static const struct pml_wss_place *find(const struct look *l, const struct entry *e)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct pml_wss_place *p = &l->places[mid];

		if (p->pid < e->pid || (p->pid == e->pid && p->end <= e->address))
			low = mid + 1;
		else
			high = mid;
	}
	if (low < l->n && l->places[low].pid == e->pid && l->places[low].start <= e->address)
		return &l->places[low];
	return NULL;
}

static bool is_out(struct pml_queue *q, const struct entry *e, void *look)
{
	const struct pml_wss_place *p;

	if (e->at == CAME)
		return false;
	p = find(look, e);
	if (e->at >= q->begun || (p && p->swapped))
		return true;
	/* in memory again, or nowhere: the process has given it up */
	if (p)
		come(q, e);
	else
		leave_place(q, e);
	return false;
}

/* Those that nobody told of are taken to have gone last. */
static int add_swapped(struct pml_queue *q, const struct pml_wss_place *p)
{
	int rc = make_room(q, (p->end - p->start) >> q->page_shift);

	for (uint64_t at = p->start; rc == 0 && at < p->end; at += 1ull << q->page_shift) {
		bool known;
		struct entry *e = entry_of(q, p->pid, at, &known);

		if (known)
			continue;
		rc = take_place(q, e);
		q->went++;
	}
	return rc;
}

int pml_queue_look(struct pml_queue *q, const struct pml_wss_place *places, size_t n)
{
	struct look look = { places, n };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		if (places[i].swapped)
			rc = add_swapped(q, &places[i]);
	if (rc == 0)
		rc = rebuild(q, 0, is_out, &look);
	if (!q->looked)
		q->known = q->at;
	q->looked = true;
	q->begun = q->at;
	return rc;
}
