/* SPDX-License-Identifier: MIT */
/* Whether KSM knows a process; see ksm.h.  Called while the world may stand still. */
#define _GNU_SOURCE
#include "ksm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The text of a small file, or "".  False: it is not there. */
static bool read_small(int dirfd, const char *name, char *text, size_t size)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	text[0] = '\0';
	if (fd < 0)
		return errno != ENOENT;
	n = read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return true;
}

/* The number after a name is zero; false, too, if there is none. */
static bool is_zero(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	if (!at)
		return false;
	for (at += strlen(name); *at == ' '; at++)
		continue;
	return at[0] == '0' && (at[1] == '\n' || !at[1]);
}

bool pml_ksm_knows(int proc, const char *ksm)
{
	char text[512];
	bool knows = true;
	int dir;

	/* the items of KSM's list, one for each page that it looks at: Linux 6.1 */
	if (read_small(proc, "ksm_stat", text, sizeof(text)))
		return !is_zero(text, "ksm_rmap_items");
	/* before that, nobody tells what is on the list: then, all while KSM runs, and
	 * as long as anything is merged; without KSM in the kernel nothing is */
	dir = open(ksm, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno != ENOENT;
	if (read_small(dir, "run", text, sizeof(text)) && is_zero(text, "") &&
	    read_small(dir, "pages_shared", text, sizeof(text)) && is_zero(text, ""))
		knows = false;
	close(dir);
	return knows;
}

uint64_t pml_ksm_passes(const char *ksm)
{
	uint64_t passes = PML_KSM_UNKNOWN;
	char text[32], *end;
	int dir = open(ksm, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return errno == ENOENT ? 0 : PML_KSM_UNKNOWN;
	if (read_small(dir, "full_scans", text, sizeof(text)) && *text >= '0' && *text <= '9') {
		passes = strtoull(text, &end, 10);
		if (*end && *end != '\n')
			passes = PML_KSM_UNKNOWN;
	}
	close(dir);
	return passes;
}
