/* SPDX-License-Identifier: MIT */
/* Adaptive arming; see adaptive.h. */
#include "adaptive.h"

#include <stdbool.h>
#include <string.h>

#define ROW_BLOCKS 4096u
#define HOT_PAGES (PML_BLOCK_PAGES * 3 / 4)
#define HOT_EPOCHS 2u
#define LEAVE_MIN 16u
#define LEAVE_SPAN 49u		/* 16 to 64 */
#define LEAVE_MAX 255u

struct block {
	uint8_t dirty;		/* pages found dirty in this epoch */
	uint8_t hot;		/* epochs running in which it was hot */
	uint8_t left;		/* epochs that it stays unarmed */
	uint8_t last_left;	/* how long it was left alone the last time */
};

struct row {
	uint64_t index;				/* block number / ROW_BLOCKS */
	uint64_t state[2][ROW_BLOCKS / 64];	/* bits LEFT, AGAIN */
	uint64_t awake[ROW_BLOCKS / 64];	/* blocks with anything to decide */
	struct block blocks[ROW_BLOCKS];
};

void pml_adaptive_init(struct pml_adaptive *a, struct pml_pool *pool, unsigned int page_shift,
		       uint64_t seed)
{
	memset(a, 0, sizeof(*a));
	pml_rows_init(&a->rows, pool, sizeof(struct row));
	a->page_shift = (uint8_t)page_shift;
	a->random = seed | 1;
}

void pml_adaptive_free(struct pml_adaptive *a)
{
	pml_rows_free(&a->rows);
}

static enum pml_arming block_state(const struct row *r, uint64_t block)
{
	unsigned int w = block % ROW_BLOCKS / 64, b = block % 64;

	return (enum pml_arming)((r->state[0][w] >> b & 1) | (r->state[1][w] >> b & 1) << 1);
}

enum pml_arming pml_adaptive_run(struct pml_adaptive *a, uint64_t at, uint64_t end,
				 uint64_t *run_end)
{
	unsigned int shift = a->page_shift + 6u;
	uint64_t block = at >> shift, last = (end - 1) >> shift;
	const struct row *r = a->rows.buf.p;
	enum pml_arming state = PML_ARM_NORMAL;

	for (bool first = true; block <= last; first = false) {
		uint32_t i = pml_rows_find(&a->rows, block / ROW_BLOCKS);
		unsigned int w = block % ROW_BLOCKS / 64, b = block % 64;
		uint64_t differs;

		if (i >= a->rows.n || r[i].index != block / ROW_BLOCKS) {
			if (!first && state != PML_ARM_NORMAL)
				break;
			block = i < a->rows.n ? r[i].index * ROW_BLOCKS : last + 1;
			continue;
		}
		if (first)
			state = block_state(r + i, block);
		differs = (r[i].state[0][w] ^ (state & 1 ? ~0ull : 0)) |
			  (r[i].state[1][w] ^ (state & 2 ? ~0ull : 0));
		differs >>= b;
		if (differs) {
			block += (uint64_t)__builtin_ctzll(differs);
			break;
		}
		block = (block / 64 + 1) * 64;
	}
	*run_end = block > last || block << shift > end ? end : block << shift;
	return state;
}

void pml_adaptive_note(struct pml_adaptive *a, uint64_t start, uint64_t end)
{
	uint64_t page = start >> a->page_shift, stop = end >> a->page_shift;

	while (page < stop) {
		uint64_t block = page / PML_BLOCK_PAGES;
		uint64_t next = (block + 1) * PML_BLOCK_PAGES;
		struct row *r = pml_rows_make(&a->rows, block / ROW_BLOCKS);
		struct block *b;

		if (!r)
			return;
		if (next > stop)
			next = stop;
		b = &r->blocks[block % ROW_BLOCKS];
		/* more than a block holds: collected twice in an epoch, by ranges */
		if (b->dirty <= PML_BLOCK_PAGES)
			b->dirty += (uint8_t)(next - page);
		r->awake[block % ROW_BLOCKS / 64] |= 1ull << (block % 64);
		page = next;
	}
}

static uint8_t leave_for(struct pml_adaptive *a, const struct block *b)
{
	uint32_t n;

	/* xorshift: nothing depends on its quality but the spread of phases */
	a->random ^= a->random << 13;
	a->random ^= a->random >> 7;
	a->random ^= a->random << 17;
	n = LEAVE_MIN + (uint32_t)(a->random >> 33) % LEAVE_SPAN;
	if (b->last_left) {
		n += b->last_left;
		if (n < 2u * b->last_left)
			n = 2u * b->last_left;
	}
	return (uint8_t)(n < LEAVE_MAX ? n : LEAVE_MAX);
}

/* One epoch of one block.  False: nothing is left to decide about it. */
static bool decide(struct pml_adaptive *a, struct row *r, unsigned int i)
{
	struct block *b = &r->blocks[i];
	uint64_t bit = 1ull << (i % 64);
	uint64_t *left = &r->state[0][i / 64], *again = &r->state[1][i / 64];

	if (*left & bit) {
		if (--b->left == 0) {
			*left &= ~bit;
			*again |= bit;
			a->left_blocks--;
		}
		return true;
	}
	if (*again & bit) {
		/* armed by this collect; the next epoch shows whether it is hot */
		*again &= ~bit;
		b->dirty = 0;
		b->hot = HOT_EPOCHS - 1;
		return true;
	}
	if (b->dirty >= HOT_PAGES && b->dirty <= PML_BLOCK_PAGES) {
		b->hot++;
	} else {
		b->hot = 0;
		b->last_left = 0;
	}
	b->dirty = 0;
	if (b->hot >= HOT_EPOCHS) {
		b->hot = 0;
		b->left = b->last_left = leave_for(a, b);
		*left |= bit;
		a->left_blocks++;
	}
	return b->hot || (*left & bit);
}

void pml_adaptive_epoch(struct pml_adaptive *a, uint64_t start, uint64_t end)
{
	unsigned int shift = a->page_shift + 6u;
	uint64_t first = (start + (1ull << shift) - 1) >> shift, stop = end >> shift;
	struct row *rows = a->rows.buf.p;

	for (uint32_t n = 0; n < a->rows.n; n++) {
		uint64_t base = rows[n].index * ROW_BLOCKS;

		for (unsigned int w = 0; w < ROW_BLOCKS / 64; w++) {
			uint64_t todo = rows[n].awake[w];

			while (todo) {
				unsigned int i = w * 64 + (unsigned int)__builtin_ctzll(todo);

				todo &= todo - 1;
				if (base + i < first || base + i >= stop)
					continue;
				if (!decide(a, rows + n, i))
					rows[n].awake[w] &= ~(1ull << (i % 64));
			}
		}
	}
}
