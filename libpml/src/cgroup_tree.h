/* SPDX-License-Identifier: MIT */
/*
 * A cgroup v2 and those below it, as the kernel's files tell of them: which
 * processes they list, and whether one is among them.  It knows no tracker.
 * Used by cgroup.c.
 */
#ifndef PML_CGROUP_TREE_H
#define PML_CGROUP_TREE_H

#include <stdint.h>
#include "buf.h"

struct pml_cgroup_tree {
	int fd;			/* the directory */
	struct pml_pool *pool;
	struct pml_buf levels;	/* where a walk is, from the top down */
};

/* What a walk meets.  0: it goes on. */
struct pml_cgroup_visit {
	void *arg;
	/* the numbers of the processes of one cgroup can be read from this */
	int (*list)(void *arg, int procs);
	/* a cgroup that cannot be looked into, and why */
	int (*closed)(void *arg, int err);
};

/*
 * Visits every cgroup of the tree.  Whatever is moved from one to another
 * meanwhile may be missed.  0, what a visit returned, or -errno: -ENODEV the
 * cgroup is removed, -EOPNOTSUPP it is threaded, -EMFILE, -ENOMEM.
 */
int pml_cgroup_walk(struct pml_cgroup_tree *tree, const struct pml_cgroup_visit *visit);

/*
 * Whether a process is in the tree, by its own account.  1, 0; -ESRCH there is
 * none; -ENOENT it names a cgroup that is not to be seen from here; -EAGAIN it
 * moves too often; or another -errno.
 */
int pml_cgroup_holds(const struct pml_cgroup_tree *tree, int proc_dir, int32_t pid);

/*
 * Where the processes of a threaded cgroup are listed: a descriptor of that
 * cgroup's directory.  -ENOENT: the cgroup is not threaded.
 */
int pml_cgroup_domain(int fd);

#endif /* PML_CGROUP_TREE_H */
