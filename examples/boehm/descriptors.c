/* SPDX-License-Identifier: MIT */
/* A tracker's descriptors; see descriptors.h.  Called by tracker.c. */
#define _GNU_SOURCE
#include "descriptors.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define NUMBERS (16 * 64)

void pml_gc_descriptors_now(struct pml_gc_open *open)
{
	memset(open, 0, sizeof(*open));
	for (int fd = 0; fd < NUMBERS; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			open->bits[fd / 64] |= 1ull << (fd % 64);
}

/* What another thread opens meanwhile is listed too: then it may happen that a
 * tracker is not closed that could have been. */
void pml_gc_descriptors_since(struct pml_gc_descriptors *d, const struct pml_gc_open *before)
{
	struct pml_gc_open now;

	pml_gc_descriptors_now(&now);
	d->n = 0;
	d->unknown = false;
	for (int fd = 0; fd < NUMBERS; fd++) {
		struct stat st;

		if (!(now.bits[fd / 64] & ~before->bits[fd / 64] & 1ull << (fd % 64)))
			continue;
		if (d->n == PML_GC_MAX_DESCRIPTORS || fstat(fd, &st)) {
			d->unknown = true;
			return;
		}
		d->list[d->n++] = (struct pml_gc_descriptor){ fd, st.st_dev, st.st_ino };
	}
	/* beyond the numbers that are looked at */
	d->unknown = d->n == 0;
}

bool pml_gc_descriptors_same(const struct pml_gc_descriptors *d)
{
	for (unsigned int i = 0; i < d->n; i++) {
		struct stat st;

		if (fstat(d->list[i].fd, &st) || st.st_dev != d->list[i].dev ||
		    st.st_ino != d->list[i].ino)
			return false;
	}
	return true;
}
