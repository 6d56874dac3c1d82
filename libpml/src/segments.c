/* SPDX-License-Identifier: MIT */
/* One bit per segment of address space; see segments.h. */
#include "segments.h"

#include <errno.h>
#include <string.h>

#define ROW_SEGMENTS 512u

struct row {
	uint64_t index;			/* segment number / ROW_SEGMENTS */
	uint64_t bits[ROW_SEGMENTS / 64];
};

void pml_segments_init(struct pml_segments *s, struct pml_pool *pool, unsigned int page_shift)
{
	memset(s, 0, sizeof(*s));
	pml_rows_init(&s->rows, pool, sizeof(struct row));
	s->shift = (uint8_t)(page_shift + 9);
}

void pml_segments_free(struct pml_segments *s)
{
	pml_rows_free(&s->rows);
}

int pml_segments_mark(struct pml_segments *s, uint64_t start, uint64_t end)
{
	uint64_t seg = start >> s->shift, last = (end - 1) >> s->shift;

	for (; seg <= last; seg++) {
		struct row *r = pml_rows_make(&s->rows, seg / ROW_SEGMENTS);

		if (!r)
			return -ENOMEM;
		r->bits[seg % ROW_SEGMENTS / 64] |= 1ull << (seg % 64);
	}
	return 0;
}

bool pml_segments_run(struct pml_segments *s, uint64_t at, uint64_t end, uint64_t *run_end)
{
	uint64_t seg = at >> s->shift, last = (end - 1) >> s->shift;
	const struct row *r = s->rows.buf.p;
	bool marked = false;

	for (bool first = true; seg <= last; first = false) {
		uint32_t i = pml_rows_find(&s->rows, seg / ROW_SEGMENTS);
		bool in_row = i < s->rows.n && r[i].index == seg / ROW_SEGMENTS;
		uint64_t word = in_row ? r[i].bits[seg % ROW_SEGMENTS / 64] : 0;
		uint64_t differs;

		if (first)
			marked = word >> (seg % 64) & 1;
		if (!in_row) {
			/* no row: unmarked up to the next one */
			uint64_t next = i < s->rows.n ? r[i].index * ROW_SEGMENTS : last + 1;

			if (marked)
				break;
			seg = next;
			continue;
		}
		differs = (marked ? ~word : word) >> (seg % 64);
		if (differs) {
			seg += (uint64_t)__builtin_ctzll(differs);
			break;
		}
		seg = (seg / 64 + 1) * 64;
	}
	*run_end = seg > last || seg << s->shift > end ? end : seg << s->shift;
	return marked;
}
