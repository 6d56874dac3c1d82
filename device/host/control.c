/* SPDX-License-Identifier: MIT */
/* control.c - see control.h; in pml-host and in the front-end's server. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "control.h"

bool pml_control_transfer(int fd, void *data, size_t size, bool out)
{
	char *p = data;
	ssize_t n;

	while (size) {
		n = out ? send(fd, p, size, MSG_NOSIGNAL) : recv(fd, p, size, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		size -= (size_t)n;
	}
	return true;
}
