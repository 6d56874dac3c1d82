/* SPDX-License-Identifier: MIT */
/*
 * say.c - messages and progress on stderr, for every subcommand of pml.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "pml.h"
#include "say.h"

static bool progress_shown;

static void wipe_progress(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
}

static void say(const char *what, const char *format, va_list args)
{
	wipe_progress();
	fprintf(stderr, "pml: %s: ", what);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

int say_failed(const char *what, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(what, format, args);
	va_end(args);
	return STATUS_FAILED;
}

int say_usage(const char *what, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(what, format, args);
	va_end(args);
	fprintf(stderr, "See 'pml %s --help'.\n", what);
	return STATUS_USAGE;
}

int say_library(const char *what, const char *message, int error)
{
	static const char prefix[] = "pml: ";

	if (!message || !*message)
		message = pml_strerror(error);
	if (!strncmp(message, prefix, sizeof(prefix) - 1))
		message += sizeof(prefix) - 1;
	return say_failed(what, "%s", message);
}

void say_note(const char *what, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(what, format, args);
	va_end(args);
}

void say_progress(bool wanted, const char *format, ...)
{
	va_list args;

	if (!wanted || !isatty(STDERR_FILENO))
		return;
	fputs("\r\033[K", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fflush(stderr);
	progress_shown = true;
}
