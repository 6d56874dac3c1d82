/* SPDX-License-Identifier: MIT */
/*
 * Registering a process's memory with a userfaultfd, as wp-async and uffd-sync
 * do: whole mappings, and what a refusal means.
 */
#ifndef PML_UFFD_H
#define PML_UFFD_H

#include "backend.h"

/* Whether what the area is part of is registered no more; of one that was. */
typedef bool pml_uffd_lost_fn(const struct pml_proc *p, const struct pml_area *a);

/*
 * Registers the mapping that the area is part of, whole, even if it has grown
 * since it was looked at: a part of it would split it in two, and a program that
 * calls mremap on both at once would get EFAULT for what we did.  If that is
 * refused, it is looked at again.  Mappings of hugetlb only if they are asked for.
 * Uses the process's scratch list.  `has_lost` finds neighbours that have lost
 * their registration, which are then not what was armed.
 *
 * 0; -EBUSY it cannot be watched, and its flags say why (OWNED, UNWRITABLE,
 * UNSUPPORTED); -ENOENT or -ESRCH, the mapping, or the whole memory, went away
 * meanwhile; -ENOMEM it is there, and the kernel has no room: a list cuts through
 * a mapping, which is one mapping more (vm.max_map_count).
 */
int pml_uffd_register(struct pml_proc *p, int uffd, pml_uffd_lost_fn *has_lost,
		      struct pml_area *a, bool hugetlb);

/*
 * What the kernel had no room to register may be written at any time: all of it is
 * dirty, as far as the sink takes it.  Tried again at the next collect.
 */
void pml_uffd_assume_all(struct pml_proc *p, struct pml_area *a, uint64_t start, uint64_t end,
			 struct pml_sink *s, uint64_t *walk_end);

/*
 * Takes back what was registered, whole mappings again, before the descriptor is
 * closed: a child that was forked meanwhile has it too, and as long as it does, closing
 * it ends nothing.  What another userfaultfd has stays its own.
 */
void pml_uffd_unregister_all(struct pml_proc *p, int uffd);

#endif /* PML_UFFD_H */
