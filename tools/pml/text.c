/* SPDX-License-Identifier: MIT */
/*
 * text.c - numbers as people read them, for the text output of pml.
 */
#include <inttypes.h>
#include <stdio.h>

#include "text.h"

const char *text_size(char buf[TEXT_MAX], uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(buf, TEXT_MAX, "%" PRIu64 " B", bytes);
		return buf;
	}
	while (value >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, TEXT_MAX, "%.1f %s", value, units[unit]);
	return buf;
}

const char *text_time(char buf[TEXT_MAX], uint64_t ns)
{
	if (ns < 1000000)
		snprintf(buf, TEXT_MAX, "%.0f us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(buf, TEXT_MAX, "%.2f ms", (double)ns / 1e6);
	else
		snprintf(buf, TEXT_MAX, "%.2f s", (double)ns / 1e9);
	return buf;
}
