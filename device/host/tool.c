/* SPDX-License-Identifier: MIT */
/* See tool.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tool.h"

int fail(const char *what, const char *why, const char *todo)
{
	fprintf(stderr, "pml: %s: %s; %s\n", what, why, todo);
	return 1;
}

int dial(const char *path, int patience_s)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = patience_s };
	int fd, error;

	if (strlen(path) >= sizeof(at.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(at.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
			setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
			connect(fd, (struct sockaddr *)&at, sizeof(at)))) {
		error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}
