/* SPDX-License-Identifier: MIT */
/* files.c - descriptors of trackers in the processes that are dumped; see files.h. */
#define _GNU_SOURCE
#include "files.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "criu_abi.h"
#include "say.h"

/* What libpml asks of a userfaultfd (libpml/src/backends/wp_async.c): PAGEFAULT_FLAG_WP,
 * WP_HUGETLBFS_SHMEM, WP_UNPOPULATED, WP_ASYNC.  Nobody waits for an answer of such a one,
 * so that none is missed. */
#define FEATURES (1ull << 0 | 1ull << 12 | 1ull << 13 | 1ull << 15)
/* the kernel's own: it was told the features */
#define INITIALIZED (1ull << 31)

static bool is_userfaultfd(int fd)
{
	char path[64], line[128];
	unsigned long long features = 0;
	ssize_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	if (strcmp(line, "anon_inode:[userfaultfd]") != 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "API: %*x:%llx", &features) == 1)
			break;
	if (f)
		fclose(f);
	return (features & ~INITIALIZED) == FEATURES;
}

static bool is_session(int fd)
{
	struct stat st, device;

	return !fstat(fd, &st) && S_ISCHR(st.st_mode) && !stat("/dev/pml", &device) &&
	       st.st_rdev == device.st_rdev;
}

/* The note beside the images. */
static int open_note(int id, int flags)
{
	int (*image_dir)(void);
	char name[32];

	*(void **)&image_dir = dlsym(RTLD_DEFAULT, "criu_get_image_dir");
	if (!image_dir) {
		errno = ENOSYS;
		return -1;
	}
	snprintf(name, sizeof(name), "pml-tracker-%x", (unsigned int)id);
	return openat(image_dir(), name, flags | O_CLOEXEC, 0600);
}

int files_dump(int fd, int id)
{
	int note;

	if (!is_userfaultfd(fd) && !is_session(fd))
		return -ENOTSUP;
	note = open_note(id, O_WRONLY | O_CREAT | O_TRUNC);
	if (note < 0) {
		say(CRIU_LOG_ERROR, "a process tracks itself by libpml, and that cannot be noted in the image directory: %s",
		    strerror(errno));
		return -1;
	}
	close(note);
	say(CRIU_LOG_INFO, "a process of the tree tracks by libpml: it will have to start anew when it is restored");
	return 0;
}

int files_restore(int id)
{
	int fd = open_note(id, O_RDONLY);

	if (fd < 0)
		return -ENOTSUP;
	close(fd);
	fd = memfd_create("pml: restored, tracks nothing", 0);
	if (fd < 0)
		say(CRIU_LOG_ERROR, "no memory for the place of a tracker's descriptor: %s",
		    strerror(errno));
	return fd < 0 ? -1 : fd;
}
