/* SPDX-License-Identifier: MIT */
/*
 * smaps.c - what a process referenced, by the sums in smaps.
 *
 * The method of Gregg's wss.pl, without its error: clearing by 1 leaves
 * translations in the processors' buffers, and what is used by way of one stays
 * unseen.  Writing 4 flushes them.  Reading and clearing are two steps, and the
 * process runs meanwhile: what it uses between them only is not seen either.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "smaps.h"

static int clear(const struct smaps *s)
{
	if (pwrite(s->clear_refs, "1", 1, 0) == 1 && pwrite(s->clear_refs, "4", 1, 0) == 1)
		return 0;
	return errno == ENOENT ? -ESRCH : -errno;
}

void smaps_close(struct smaps *s)
{
	/* the lock goes with the descriptor */
	if (s->clear_refs >= 0)
		close(s->clear_refs);
	if (s->directory >= 0)
		close(s->directory);
	*s = (struct smaps){ -1, -1 };
}

int smaps_open(struct smaps *s, pid_t pid)
{
	char path[64];
	int rc = 0;

	*s = (struct smaps){ -1, -1 };
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	s->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->directory >= 0)
		s->clear_refs = openat(s->directory, "clear_refs", O_WRONLY | O_CLOEXEC);
	if (s->clear_refs < 0)
		rc = errno == ENOENT ? -ESRCH : -errno;
	else if (flock(s->clear_refs, LOCK_EX | LOCK_NB))
		rc = -EBUSY;
	else
		rc = clear(s);
	if (rc)
		smaps_close(s);
	return rc;
}

static uint64_t kilobytes(const char *line, const char *key)
{
	size_t length = strlen(key);

	return strncmp(line, key, length) ? 0 : strtoull(line + length, NULL, 10) * 1024;
}

int smaps_take(struct smaps *s, struct smaps_sums *sums)
{
	int fd = openat(s->directory, "smaps", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char *line = NULL;
	size_t size = 0, lines = 0;
	int error = 0;

	*sums = (struct smaps_sums){ 0 };
	if (!file) {
		error = errno;
		if (fd >= 0)
			close(fd);
		return error == ENOENT ? -ESRCH : -error;
	}
	errno = 0;
	for (; getline(&line, &size, file) > 0; lines++) {
		sums->rss_bytes += kilobytes(line, "Rss:");
		sums->referenced_bytes += kilobytes(line, "Referenced:");
	}
	if (ferror(file))
		error = errno ? errno : EIO;
	free(line);
	fclose(file);
	/* one that has exited, and is not yet waited for, has no mappings */
	if (error == ESRCH || (!error && !lines))
		return -ESRCH;
	return error ? -error : clear(s);
}
