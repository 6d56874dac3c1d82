/* SPDX-License-Identifier: MIT */
/*
 * machine.h - the memory of a virtual machine in our hands for a while, by its
 * virtio-balloon: set, watched, and given back.  tools/pml/apply.c decides what it is to
 * be, as it does for a cgroup; pml-host.c begins and ends.
 */
#ifndef PML_HOST_MACHINE_H
#define PML_HOST_MACHINE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "limit.h"
#include "qmp.h"

struct machine {
	struct limit limit;	/* what apply.c sees of it; first, and of it high alone is used */
	struct qmp qmp;
	char device[128];	/* its path among QEMU's objects */
	char note_path[PATH_MAX];
	int note;
	bool noted;		/* the note is of this run, not of one that was killed */
	bool swapping;		/* the guest may be made to swap */
	bool looked;
	uint64_t before;	/* bytes that the machine had */
	uint64_t least;		/* bytes that it cannot do without, but for swap */
	uint64_t major_faults;	/* the guest's count at the last look */
};

/*
 * Takes the balloon of the machine with this monitor over; says what is wrong.  What the
 * machine had is written down: if this is killed, the next start gives it back.  Returns
 * 0 or -errno.
 */
int machine_begin(struct machine *m, const char *monitor);

/* Gives it back; may be called twice.  Returns 0, or -errno after having said that it could
 * not: the next start does it then. */
int machine_end(struct machine *m);

#endif /* PML_HOST_MACHINE_H */
