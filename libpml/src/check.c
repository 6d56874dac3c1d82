/* SPDX-License-Identifier: MIT */
/*
 * PML_CHECK=1, the oracle: pages are hashed when a collect has returned and
 * again before the next one drains.  A page whose hash differs has been
 * written in between, so that collect must report it, or name it uncovered;
 * otherwise the process stops with the page's address.  It reads as any other
 * reader does.  Called by tracker.c and collect.c.
 *
 * It proves what it finds, on a running target too: only changes between the
 * two hash passes count, and those lie within the epoch.
 */
#define _GNU_SOURCE
#include "internal.h"
#include "hashes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct pml_check {
	struct pml_reader *reader;
	struct pml_hashes *hashes[PML_MAX_PROCS];
	uint64_t of[PML_MAX_PROCS];		/* whose hashes those are: its serial */
	struct pml_set changed;
};

int pml_check_new(struct pml *t)
{
	struct pml_check *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (c == MAP_FAILED)
		return -ENOMEM;
	t->check = c;
	pml_set_init(&c->changed, &t->pool, t->page_shift);
	err = pml_reader_new(t, false, &c->reader);
	if (err) {
		munmap(c, sizeof(*c));
		t->check = NULL;
	}
	return err;
}

static void forget(struct pml_check *c, uint32_t slot)
{
	if (!c->hashes[slot])
		return;
	pml_hashes_free(c->hashes[slot]);
	munmap(c->hashes[slot], sizeof(struct pml_hashes));
	c->hashes[slot] = NULL;
}

void pml_check_free(struct pml *t)
{
	struct pml_check *c = t->check;

	if (!c)
		return;
	for (uint32_t i = 0; i < PML_MAX_PROCS; i++)
		forget(c, i);
	pml_set_free(&c->changed);
	munmap(c, sizeof(*c));
	t->check = NULL;
}

static struct pml_hashes *hashes_of(struct pml_check *c, struct pml_proc *p)
{
	if (c->of[p->slot] != p->serial)
		forget(c, p->slot);
	if (!c->hashes[p->slot]) {
		struct pml_hashes *h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (h == MAP_FAILED)
			return NULL;
		if (pml_hashes_init(h, p)) {
			munmap(h, sizeof(*h));
			return NULL;
		}
		c->hashes[p->slot] = h;
		c->of[p->slot] = p->serial;
	}
	return c->hashes[p->slot];
}

static int note_change(void *arg, uint64_t start, uint64_t end, enum pml_hash_news news)
{
	struct pml_check *c = arg;
	struct pml_range r = { .start = start, .end = end, .events = PML_DIRTY };

	/* of a file, what comes and goes has not been written for that */
	return news == PML_HASH_CHANGED ? pml_set_add(&c->changed, &r) : 0;
}

/* Hashes what is armed of [start, end). */
static void pass(struct pml_check *c, struct pml_proc *p, uint64_t start, uint64_t end,
		 pml_hash_fn fn)
{
	struct pml_hashes *h = hashes_of(c, p);
	const struct pml_area *a = pml_areas_at(&p->armed);

	for (size_t i = 0; h && i < p->armed.n; i++) {
		uint64_t from = a[i].start > start ? a[i].start : start;
		uint64_t to = a[i].end < end ? a[i].end : end;
		uint64_t walk_end;

		if (from < to && !(a[i].flags & (PML_AREA_GHOST | PML_AREA_UNWRITABLE |
						 PML_AREA_OWNED | PML_AREA_UNSUPPORTED)))
			(void)pml_hashes_walk(h, p, a + i, from, to, fn, c, NULL, &walk_end);
	}
}

void pml_check_started(struct pml *t)
{
	for (uint32_t i = 0; t->check && i < t->nprocs; i++)
		if (pml_proc_at(t, i))
			pass(t->check, pml_proc_at(t, i), 0, UINT64_MAX, NULL);
}

void pml_check_before(struct pml *t, struct pml_proc *p, uint64_t start, uint64_t end)
{
	pml_set_clear(&t->check->changed);
	pass(t->check, p, start, end, note_change);
}

static bool is_uncovered(const struct pml_reader *r, const struct pml_proc *p, uint64_t addr)
{
	const struct pml_range *u = r->uncovered.p;

	for (size_t i = 0; i < r->nuncovered; i++)
		if (u[i].pid == (uint32_t)p->pid && u[i].start <= addr && addr < u[i].end)
			return true;
	return r->uncovered_cut;
}

/* A tracker of its own process reads and writes its own tables in between. */
static bool is_own(const struct pml_proc *p, uint64_t addr)
{
	for (const struct pml_buf *b = p->pool->first; p->self && b; b = b->next)
		if (addr - (uintptr_t)b->p < b->len)
			return true;
	return false;
}

static bool still_mapped(const struct pml_proc *p, uint64_t addr)
{
	const struct pml_area *a = pml_areas_at(&p->now);

	for (size_t i = 0; i < p->now.n; i++)
		if (addr - a[i].start < a[i].end - a[i].start)
			return true;
	return false;
}

static const char *hex(char buf[24], uint64_t v)
{
	char *p = buf + 23;

	*p = '\0';
	do {
		*--p = "0123456789abcdef"[v & 15];
		v >>= 4;
	} while (v);
	*--p = 'x';
	*--p = '0';
	return p;
}

static void stop_here(const struct pml *t, const struct pml_proc *p, uint64_t addr)
{
	const struct pml_area *a = pml_areas_at(&p->now);
	char text[512], n1[24], n2[24], n3[24], n4[24];
	uint64_t start = 0, end = 0;
	ssize_t done;

	for (size_t i = 0; i < p->now.n; i++) {
		if (addr - a[i].start < a[i].end - a[i].start) {
			start = a[i].start;
			end = a[i].end;
		}
	}
	pml_words(text, sizeof(text), "pml: PML_CHECK: page ", hex(n1, addr), " of process ",
		  pml_number(n2, (uint64_t)p->pid), ", in the mapping ", hex(n3, start), "-",
		  hex(n4, end), ", changed and ", t->ops->name,
		  " did not report it; stopping: nothing it says can be trusted\n");
	done = write(STDERR_FILENO, text, strlen(text));
	(void)done;
	abort();
}

void pml_check_after(struct pml *t, struct pml_proc *p, uint64_t start, uint64_t end)
{
	struct pml_check *c = t->check;
	struct pml_set *told = pml_reader_set(c->reader, p->slot);
	struct pml_range r;
	uint64_t pos = start;

	while (told && pml_set_next(&c->changed, &pos, end, &r))
		for (uint64_t addr = r.start; addr < r.end; addr += p->page_size)
			if (!pml_set_test(told, addr, PML_PLANE_DIRTY) &&
			    !is_uncovered(c->reader, p, addr) && !is_own(p, addr) &&
			    still_mapped(p, addr))
				stop_here(t, p, addr);
	if (told)
		pml_set_remove(told, start, end, PML_DIRTY | PML_REFERENCED);
	c->reader->nuncovered = 0;
	c->reader->uncovered_cut = false;
	pass(c, p, start, end, NULL);
}
