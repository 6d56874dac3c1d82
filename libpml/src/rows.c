/* SPDX-License-Identifier: MIT */
/* A sorted list of rows, found by number; see rows.h. */
#include "rows.h"

#include <string.h>

void pml_rows_init(struct pml_rows *r, struct pml_pool *pool, size_t size)
{
	memset(r, 0, sizeof(*r));
	r->pool = pool;
	r->size = size;
}

void pml_rows_free(struct pml_rows *r)
{
	pml_buf_free(&r->buf);
	r->n = 0;
}

static void *row_at(const struct pml_rows *r, uint32_t at)
{
	return (char *)r->buf.p + at * r->size;
}

static uint64_t number_of(const struct pml_rows *r, uint32_t at)
{
	uint64_t number;

	memcpy(&number, row_at(r, at), sizeof(number));
	return number;
}

uint32_t pml_rows_find(struct pml_rows *r, uint64_t number)
{
	uint32_t lo = 0, hi = r->n;

	if (r->last < r->n && number_of(r, r->last) == number)
		return r->last;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (number_of(r, mid) < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	r->last = lo;
	return lo;
}

void *pml_rows_make(struct pml_rows *r, uint64_t number)
{
	uint32_t at = pml_rows_find(r, number);
	char *row;

	if (at < r->n && number_of(r, at) == number)
		return row_at(r, at);
	if (pml_buf_reserve(r->pool, &r->buf, (r->n + 1) * r->size))
		return NULL;
	row = row_at(r, at);
	memmove(row + r->size, row, (r->n - at) * r->size);
	memset(row, 0, r->size);
	memcpy(row, &number, sizeof(number));
	r->n++;
	return row;
}
