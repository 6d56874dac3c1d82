/* SPDX-License-Identifier: MIT */
/*
 * Words into criu's own log: see say.h.
 */
#define _GNU_SOURCE
#include "say.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void say(unsigned int level, const char *format, ...)
{
	void (*print)(unsigned int level, const char *format, ...);
	char words[480], line[512];
	ssize_t ignored;
	va_list ap;

	va_start(ap, format);
	vsnprintf(words, sizeof(words), format, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "pml: %s\n", words);
	*(void **)&print = dlsym(RTLD_DEFAULT, "print_on_level");
	if (print) {
		print(level, "%s", line);
	} else if (level <= CRIU_LOG_WARN) {
		ignored = write(STDERR_FILENO, line, strlen(line));
		(void)ignored;
	}
}
