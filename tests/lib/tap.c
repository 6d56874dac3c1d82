/* SPDX-License-Identifier: MIT */
/*
 * tap.c - counts and prints TAP lines; see tap.h.  Every line is flushed, for
 * the programs that use it fork and may die.
 */
#include "tap.h"

#include <stdio.h>

static int ran, failed, skipped;

static void line(int good, const char *fmt, va_list ap)
{
	ran++;
	printf("%sok %d - ", good ? "" : "not ", ran);
	vprintf(fmt, ap);
}

int tap_ok(int good, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line(good, fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	if (!good)
		failed++;
	return good;
}

void tap_skip(const char *reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line(1, fmt, ap);
	va_end(ap);
	printf(" # SKIP %s\n", reason);
	fflush(stdout);
	skipped++;
}

void tap_vnote(const char *fmt, va_list ap)
{
	printf("# ");
	vprintf(fmt, ap);
	putchar('\n');
	fflush(stdout);
}

void tap_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tap_vnote(fmt, ap);
	va_end(ap);
}

int tap_done(void)
{
	printf("1..%d\n", ran);
	fflush(stdout);
	if (failed)
		return 1;
	return ran && ran == skipped ? TAP_SKIP_ALL : 0;
}
