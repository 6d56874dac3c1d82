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
	char words[512] = "pml: ";
	size_t at = strlen(words);
	ssize_t ignored;
	va_list ap;

	va_start(ap, format);
	vsnprintf(words + at, sizeof(words) - at - 1, format, ap);
	va_end(ap);
	strcat(words, "\n");
	*(void **)&print = dlsym(RTLD_DEFAULT, "print_on_level");
	if (print) {
		print(level, "%s", words);
	} else if (level <= CRIU_LOG_WARN) {
		ignored = write(STDERR_FILENO, words, strlen(words));
		(void)ignored;
	}
}
