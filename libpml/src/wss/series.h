/* SPDX-License-Identifier: MIT */
/*
 * The sizes of past epochs as a series: where its level changes, whether it
 * repeats, what comes next.  wss.c owns one.
 */
#ifndef PML_WSS_SERIES_H
#define PML_WSS_SERIES_H

#include <stdint.h>
#include "../buf.h"

struct pml_series {
	struct pml_buf values;	/* uint64_t, the oldest first; room for twice the most */
	struct pml_buf lengths;	/* uint64_t: how long their epochs took */
	struct pml_buf errors;	/* uint64_t: by how much past forecasts were off */
	struct pml_buf grid;	/* uint64_t: scratch, the values by time */
	struct pml_buf shifts;	/* double: scratch, while a period is looked for */
	uint32_t first;		/* where the oldest is */
	uint32_t n;
	uint32_t most;		/* so many are kept */
	uint32_t nerrors;
	uint32_t since;		/* values since the last change, that one included */
	int32_t change;		/* of the last value: 1, -1 or 0 */
	uint32_t permille;	/* less is no change */
};

struct pml_outlook {
	uint32_t period;	/* in epochs of the usual length; 0: none */
	uint32_t cycles;
	uint64_t next;
	uint64_t low;
	uint64_t high;
	uint64_t peak;
};

int pml_series_init(struct pml_series *s, struct pml_pool *pool, uint32_t most, uint32_t permille);
void pml_series_free(struct pml_series *s);

/* The next value, of an epoch that took @length; sets since and change. */
void pml_series_add(struct pml_series *s, uint64_t value, uint64_t length);

/* There must be a value. */
void pml_series_outlook(const struct pml_series *s, struct pml_outlook *out);

#endif /* PML_WSS_SERIES_H */
