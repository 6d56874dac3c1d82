/* SPDX-License-Identifier: MIT */
/* Growable tables made of whole mappings; see buf.h. */
#define _GNU_SOURCE
#include "buf.h"

#include <errno.h>
#include <sys/mman.h>

#define PML_BUF_UNIT ((size_t)1 << 16)

static void hang_on(struct pml_pool *pool, struct pml_buf *b)
{
	if (b->pool)
		return;
	b->pool = pool;
	b->next = pool->first;
	b->link = &pool->first;
	if (b->next)
		b->next->link = &b->next;
	pool->first = b;
}

int pml_buf_reserve(struct pml_pool *pool, struct pml_buf *b, size_t need)
{
	size_t len;
	void *p;

	if (need <= b->len)
		return 0;
	if (need > SIZE_MAX / 4)
		return -ENOMEM;
	len = b->len ? b->len : PML_BUF_UNIT;
	while (len < need)
		len *= 2;
	if (pool->used + (len - b->len) > pool->limit) {
		/* doubling may overshoot the bound where the need does not */
		len = (need + PML_BUF_UNIT - 1) & ~(PML_BUF_UNIT - 1);
		if (pool->used + (len - b->len) > pool->limit)
			return -ENOMEM;
	}
	if (b->p)
		p = mremap(b->p, b->len, len, MREMAP_MAYMOVE);
	else
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	hang_on(pool, b);
	pool->used += len - b->len;
	b->p = p;
	b->len = len;
	return 0;
}

void pml_buf_free(struct pml_buf *b)
{
	if (b->p) {
		munmap(b->p, b->len);
		b->pool->used -= b->len;
	}
	if (b->pool) {
		*b->link = b->next;
		if (b->next)
			b->next->link = b->link;
	}
	b->p = NULL;
	b->len = 0;
	b->pool = NULL;
}

void pml_buf_swap(struct pml_buf *a, struct pml_buf *b)
{
	void *p = a->p;
	size_t len = a->len;

	/* whoever gets memory must hang on its pool's list */
	if (a->pool)
		hang_on(a->pool, b);
	else if (b->pool)
		hang_on(b->pool, a);
	a->p = b->p;
	a->len = b->len;
	b->p = p;
	b->len = len;
}
