/* SPDX-License-Identifier: MIT */
/* failing.c - the kernel's fault injection; see failing.h. */
#define _GNU_SOURCE
#include "failing.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool failing_prepare(void)
{
	static const char *const settings[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
	};
	char path[96];

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		FILE *f;

		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", settings[i][0]);
		f = fopen(path, "we");
		if (!f)
			return false;
		fputs(settings[i][1], f);
		fclose(f);
	}
	return access("/proc/thread-self/fail-nth", W_OK) == 0;
}

bool failing_nth(unsigned int n)
{
	char text[16] = "";
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	bool failed = false;

	if (fd < 0)
		return false;
	/* what is left of the number: 0 when it has been counted down */
	if (!n)
		failed = pread(fd, text, sizeof(text) - 1, 0) > 0 && text[0] == '0';
	snprintf(text, sizeof(text), "%u", n);
	if (pwrite(fd, text, strlen(text), 0) < 0)
		failed = false;
	close(fd);
	return failed;
}
