/* SPDX-License-Identifier: MIT */
/*
 * states.h - which pages were logged in this epoch: a sparse table of dirty
 * and referenced generations, used by the model for contexts and for frames.
 *
 * A page is logged if its generation equals the table's, so re-arming all of
 * it is one increment.  Memory comes out of a budget shared by all tables.
 */
#ifndef PML_STATES_H
#define PML_STATES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PML_STATES_PAGE_BITS	35	/* 2^47 bytes of 4 KiB pages */

#ifndef PML_GENERATION_BITS
#define PML_GENERATION_BITS	32
#endif

struct pml_budget {
	atomic_size_t used;
	size_t cap;
};

struct pml_states;

struct pml_states *pml_states_new(struct pml_budget *budget);
void pml_states_free(struct pml_states *s);

/* Are all of these events of the page logged already?  Needs no lock. */
bool pml_states_logged(struct pml_states *s, uint64_t page, unsigned int events);

/*
 * The rest is called with re-arming excluded: any number of pml_states_mark()
 * at once, or one of the others.
 *
 * Return: the events that were not logged before and are now; -ERANGE;
 * -ENOMEM.
 */
int pml_states_mark(struct pml_states *s, uint64_t page, unsigned int events);
/* Return: how many states were cleared. */
uint64_t pml_states_rearm_all(struct pml_states *s, unsigned int events);
uint64_t pml_states_rearm(struct pml_states *s, uint64_t page, unsigned int events);
/* How many pages are logged for one event. */
uint64_t pml_states_count(struct pml_states *s, unsigned int event);

#endif /* PML_STATES_H */
