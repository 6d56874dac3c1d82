/* SPDX-License-Identifier: MIT */
/*
 * The list of back-ends, in order of preference, and the one place that
 * decides between them.  Called by tracker.c and by `pml info`.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

extern const struct pml_backend pml_backend_epml;
extern const struct pml_backend pml_backend_ptscan;
extern const struct pml_backend pml_backend_spml;
extern const struct pml_backend pml_backend_wp_async;
extern const struct pml_backend pml_backend_soft_dirty;
extern const struct pml_backend pml_backend_uffd_sync;
extern const struct pml_backend pml_backend_hash;
extern const struct pml_backend pml_backend_referenced;
extern const struct pml_backend pml_backend_mprotect;

/* The order (docs/concepts.md): the cheapest exact one first.  What spml logs has to be
 * mapped back, which costs as much as ptscan's reading of small page tables. */
const struct pml_backend *const pml_backends[] = {
	&pml_backend_epml,
	&pml_backend_ptscan,
	&pml_backend_spml,
	&pml_backend_wp_async,
	&pml_backend_soft_dirty,
	&pml_backend_uffd_sync,
	&pml_backend_hash,
	&pml_backend_referenced,
	&pml_backend_mprotect,
};
const size_t pml_nbackends = sizeof(pml_backends) / sizeof(pml_backends[0]);

/* Those of the design that this version does not have: named, so that nobody
 * takes their absence for the machine's.  Without words: rwp_async.c finds them. */
static const struct {
	const char *name;
	const char *reason;
	uint32_t events;
} absent[] = {
	{ "rwp-async", NULL, PML_REFERENCED },
};

const struct pml_backend *pml_backend_by_name(const char *name)
{
	for (size_t i = 0; i < pml_nbackends; i++)
		if (strcmp(pml_backends[i]->name, name) == 0)
			return pml_backends[i];
	return NULL;
}

const struct pml_backend *pml_backend_best(uint32_t events, bool external, char *why, size_t size)
{
	pml_words(why, size, "none can tell the events asked for");
	for (size_t i = 0; i < pml_nbackends; i++) {
		const struct pml_backend *b = pml_backends[i];

		if ((events & ~b->events) || (b->caps & PML_CAP_BY_NAME))
			continue;
		if (external && !(b->caps & PML_CAP_EXTERNAL))
			continue;
		if (!b->probe || b->probe(why, size) == 0)
			return b;
	}
	return NULL;
}

int pml_probe(struct pml_probe_info *info, size_t n)
{
	size_t nabsent = sizeof(absent) / sizeof(absent[0]);
	int saved = errno;

	for (size_t i = 0; i < n && i < pml_nbackends + nabsent; i++) {
		struct pml_probe_info *p = info + i;

		memset(p, 0, sizeof(*p));
		if (i >= pml_nbackends) {
			p->name = absent[i - pml_nbackends].name;
			p->events = absent[i - pml_nbackends].events;
			p->rank = -1;
			if (absent[i - pml_nbackends].reason)
				pml_words(p->reason, sizeof(p->reason), absent[i - pml_nbackends].reason);
			else
				pml_rwp_async_why_not(p->reason, sizeof(p->reason));
			continue;
		}
		p->name = pml_backends[i]->name;
		p->events = pml_backends[i]->events;
		p->granularity = pml_backends[i]->granularity == 1 ? (uint64_t)sysconf(_SC_PAGESIZE)
								   : pml_backends[i]->granularity;
		p->external = (pml_backends[i]->caps & PML_CAP_EXTERNAL) != 0;
		p->rank = pml_backends[i]->caps & PML_CAP_BY_NAME ? -1 : (int32_t)i;
		p->available = !pml_backends[i]->probe ||
			       pml_backends[i]->probe(p->reason, sizeof(p->reason)) == 0;
	}
	errno = saved;
	return (int)(pml_nbackends + nabsent);
}
