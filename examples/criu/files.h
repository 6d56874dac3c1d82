/* SPDX-License-Identifier: MIT */
/*
 * files.h - descriptors of trackers in the processes that are dumped: programs that
 * themselves use libpml.  Called by plugin.c.
 */
#ifndef PML_CRIU_FILES_H
#define PML_CRIU_FILES_H

/*
 * CRIU does not know of what type fd is, and will know it by id: 0 if it is a
 * tracker's, which is noted beside the images; -ENOTSUP if not; -1.
 */
int files_dump(int fd, int id);

/*
 * A descriptor in the place of the one that was noted by this id; -ENOTSUP if none was;
 * -1.  It tracks nothing, and libpml sees that: pml_collect() says -ESTALE, and
 * pml_start() begins anew.
 */
int files_restore(int id);

#endif
