// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is pending for one target of one session; see pageset.h.
 */
#include <linux/slab.h>
#include "pageset.h"
#include "pml_uapi.h"

static struct kmem_cache *pages_cache;

int pml_pageset_setup(void)
{
	BUILD_BUG_ON(PML_WHY_SPREAD > 7);
	pages_cache = KMEM_CACHE(pml_pages, SLAB_ACCOUNT);
	return pages_cache ? 0 : -ENOMEM;
}

void pml_pageset_teardown(void)
{
	kmem_cache_destroy(pages_cache);
}

int pml_set_init(struct pml_set *s, struct pml_budget *budget)
{
	xa_init(&s->chunks);
	s->budget = budget;
	if (!pml_charge(budget, sizeof(*s->spans)))
		return -ENOMEM;
	s->spans = kvzalloc(sizeof(*s->spans), GFP_KERNEL_ACCOUNT);
	if (!s->spans) {
		pml_uncharge(budget, sizeof(*s->spans));
		return -ENOMEM;
	}
	return 0;
}

void pml_set_drop(struct pml_set *s)
{
	struct pml_pages *p;
	unsigned long index;

	xa_for_each(&s->chunks, index, p) {
		pml_uncharge(s->budget, sizeof(*p));
		kmem_cache_free(pages_cache, p);
		cond_resched();
	}
	xa_destroy(&s->chunks);
}

void pml_set_free(struct pml_set *s)
{
	pml_set_drop(s);
	if (s->spans)
		pml_uncharge(s->budget, sizeof(*s->spans));
	kvfree(s->spans);
	s->spans = NULL;
}

void pml_pages_merge(struct pml_pages *to, const struct pml_pages *from)
{
	/* pages that both assume keep the later reason */
	for (unsigned int i = PML_PLANE_WHY0; i <= PML_PLANE_WHY2; i++)
		bitmap_andnot(to->plane[i], to->plane[i], from->plane[PML_PLANE_ASSUMED],
			      PML_CHUNK_PAGES);
	for (unsigned int i = 0; i < PML_PLANES; i++)
		bitmap_or(to->plane[i], to->plane[i], from->plane[i], PML_CHUNK_PAGES);
	to->huge |= from->huge;
}

bool pml_pages_empty(const struct pml_pages *p)
{
	return bitmap_empty(p->plane[PML_PLANE_DIRTY], PML_CHUNK_PAGES) &&
	       bitmap_empty(p->plane[PML_PLANE_REFERENCED], PML_CHUNK_PAGES) &&
	       bitmap_empty(p->plane[PML_PLANE_ASSUMED], PML_CHUNK_PAGES);
}

void pml_pages_assume(struct pml_pages *p, const unsigned long *mask, unsigned int why)
{
	bitmap_or(p->plane[PML_PLANE_ASSUMED], p->plane[PML_PLANE_ASSUMED], mask, PML_CHUNK_PAGES);
	for (unsigned int i = 0; i < 3; i++) {
		unsigned long *plane = p->plane[PML_PLANE_WHY0 + i];

		if (why >> i & 1)
			bitmap_or(plane, plane, mask, PML_CHUNK_PAGES);
		else
			bitmap_andnot(plane, plane, mask, PML_CHUNK_PAGES);
	}
}

unsigned int pml_pages_why(const struct pml_pages *p, unsigned int i)
{
	return (unsigned int)test_bit(i, p->plane[PML_PLANE_WHY0]) |
	       (unsigned int)test_bit(i, p->plane[PML_PLANE_WHY1]) << 1 |
	       (unsigned int)test_bit(i, p->plane[PML_PLANE_WHY2]) << 2;
}

bool pml_set_add(struct pml_set *s, unsigned long index, const struct pml_pages *pages)
{
	struct pml_pages *p = xa_load(&s->chunks, index);

	if (p) {
		pml_pages_merge(p, pages);
		return true;
	}
	if (!pml_charge(s->budget, sizeof(*p)))
		return false;
	p = kmem_cache_alloc(pages_cache, GFP_KERNEL | __GFP_NOWARN);
	if (p) {
		*p = *pages;
		if (!xa_err(xa_store(&s->chunks, index, p, GFP_KERNEL_ACCOUNT | __GFP_NOWARN)))
			return true;
		kmem_cache_free(pages_cache, p);
	}
	pml_uncharge(s->budget, sizeof(*p));
	return false;
}

void pml_set_take(struct pml_set *s, unsigned long index, struct pml_pages *pages)
{
	struct pml_pages *p = xa_erase(&s->chunks, index);

	if (!p) {
		memset(pages, 0, sizeof(*pages));
		return;
	}
	*pages = *p;
	pml_uncharge(s->budget, sizeof(*p));
	kmem_cache_free(pages_cache, p);
}

unsigned long pml_set_next(struct pml_set *s, unsigned long index, unsigned long last)
{
	return xa_find(&s->chunks, &index, last, XA_PRESENT) ? index : ULONG_MAX;
}
