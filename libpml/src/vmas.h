/* SPDX-License-Identifier: MIT */
/*
 * The calling process's mappings, read where nothing else may be used: in a signal
 * handler, on a small stack.  Used by mprotect.c.
 */
#ifndef PML_VMAS_H
#define PML_VMAS_H

#include <stdbool.h>
#include <stdint.h>

/* What smaps says of one mapping. */
struct pml_vma {
	uint64_t start;
	uint64_t end;
	uint64_t inode;
	bool read;
	bool write;
	bool exec;
	bool random;	/* MADV_RANDOM was said of it */
};

/* Calls fn for each mapping that ends behind `from`, in order, until it returns
 * false.  `smaps` is /proc/self/smaps, open in this very process (a forked child needs
 * its own); -1: it is opened, if there is a descriptor left.  No memory but the stack
 * (1 KiB), no lock, errno may change.  0 or -errno. */
typedef bool (*pml_vma_fn)(void *arg, const struct pml_vma *v);
int pml_vmas(int smaps, uint64_t from, pml_vma_fn fn, void *arg);

#endif /* PML_VMAS_H */
