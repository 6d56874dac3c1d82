/* SPDX-License-Identifier: MIT */
/* number.c - see number.h; called by options.c and wss.c, pml-host.c, and the device's plugin.c. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

int option_number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;
	unsigned long long number;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || *end || number == 0 || number > max)
		return -EINVAL;
	*value = number;
	return 0;
}

bool option_seconds(const char *text, double *seconds)
{
	char *end;

	/* strtod() alone would take " 1", "0x1p3", "nan" and "infinity". */
	if (strspn(text, "0123456789.eE+-") != strlen(text))
		return false;
	*seconds = strtod(text, &end);
	return end != text && !*end;
}
