/* SPDX-License-Identifier: MIT */
/*
 * done.h - the shortest way for an access of which the model need not hear: a
 * page of which this vCPU has found, since anything was re-armed, enabled or
 * remapped, that one more access of the kind changes nothing.
 *
 * Who calls it: a front-end, before pml_model_access(), on the vCPU's thread
 * and after the store was made.  Who fills it: the model (model.c).
 *
 * A slot's tag is a page with the vCPU's stamp in its low bits, so that a new
 * stamp empties them all.  valid holds the context for which they were filled;
 * commands, which may be other threads', overwrite it with PML_DONE_NOTHING,
 * and the vCPU takes a new stamp before it fills again.  The barrier at the end
 * of a command (model.h) makes this enough: who read valid before the barrier
 * made its store before it too.
 */
#ifndef PML_DONE_H
#define PML_DONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PML_DONE_SLOTS	 1024u
#define PML_DONE_STAMPS	 0xfffull
#define PML_DONE_NOTHING (1ull << 32)	/* no context has this number */
/* No access is wider; those nearer to a page's end take the longer way. */
#define PML_DONE_WIDEST	 64u

struct pml_done {
	_Alignas(64) uint64_t valid;
	uint64_t stamp;			/* 1..PML_DONE_STAMPS */
	const uint32_t *run;		/* the guest's word: which context runs */
	uint64_t write[PML_DONE_SLOTS];	/* no access of any kind changes anything */
	uint64_t read[PML_DONE_SLOTS];	/* no read does */
};

static inline unsigned int pml_done_slot(uint64_t gva)
{
	return (unsigned int)(gva >> 12) % PML_DONE_SLOTS;
}

static inline uint64_t pml_done_tag(const struct pml_done *d, uint64_t gva)
{
	return (gva & ~PML_DONE_STAMPS) | d->stamp;
}

/*
 * Does an access of at most size bytes, no more than a page, change nothing?
 * The tag is that of its last byte's page and the slot that of its first, so
 * an access across two pages is never found.
 */
static inline bool pml_done(const struct pml_done *d, const uint64_t *tags, uint64_t gva,
			    size_t size)
{
	return __atomic_load_n(&d->valid, __ATOMIC_RELAXED) ==
		       __atomic_load_n(d->run, __ATOMIC_RELAXED) &&
	       tags[pml_done_slot(gva)] == pml_done_tag(d, gva + size - 1);
}

#endif /* PML_DONE_H */
