/* SPDX-License-Identifier: MIT */
/*
 * open_maps.h - a process's maps, by its directory in /proc.  places.c and present.c read
 * them.
 */
#ifndef PML_WSS_OPEN_MAPS_H
#define PML_WSS_OPEN_MAPS_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* NULL: *@rc is -ESRCH if the process has gone, or another -errno. */
static inline FILE *pml_open_maps(int directory, int *rc)
{
	int fd = openat(directory, "maps", O_RDONLY | O_CLOEXEC);
	FILE *maps = fd < 0 ? NULL : fdopen(fd, "r");

	*rc = maps ? 0 : errno == ENOENT ? -ESRCH : -errno;
	if (!maps && fd >= 0)
		close(fd);
	return maps;
}

#endif /* PML_WSS_OPEN_MAPS_H */
