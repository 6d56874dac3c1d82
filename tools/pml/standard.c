/* SPDX-License-Identifier: MIT */
/* standard.c - see standard.h; called by main.c, by pml-host.c, and by pml-criu. */
#include <fcntl.h>
#include <unistd.h>

#include "standard.h"

void standard_hold(void)
{
	int fd;

	/* a descriptor of a path alone can be neither read nor written */
	do
		fd = open("/", O_PATH | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}
