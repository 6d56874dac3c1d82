/* SPDX-License-Identifier: MIT */
/* The calling process's mappings, in a signal handler; see vmas.h. */
#define _GNU_SOURCE
#include "vmas.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

/* As much of a line as is needed: addresses, rights, device and inode; flags. */
#define LINE 192

static const char *number(const char *p, unsigned int base, uint64_t *out)
{
	*out = 0;
	for (;; p++) {
		unsigned int c = (unsigned char)*p, digit = c - '0' < 10 ? c - '0' : c - 'a' + 10;

		if (digit >= base || (c - '0' >= 10 && c - 'a' >= 6))
			return p;
		*out = *out * base + digit;
	}
}

/* "start-end rwxp offset major:minor inode name" */
static bool parse_head(const char *line, struct pml_vma *v)
{
	uint64_t start, end, skipped;
	const char *p = number(line, 16, &start), *rights;

	if (p == line || *p != '-')
		return false;
	p = number(p + 1, 16, &end);
	if (*p != ' ')
		return false;
	rights = p + 1;
	for (int i = 0; i < 4; i++)
		if (!rights[i])
			return false;
	v->start = start;
	v->end = end;
	v->read = rights[0] == 'r';
	v->write = rights[1] == 'w';
	v->exec = rights[2] == 'x';
	v->random = false;
	p = number(rights + 5, 16, &skipped);
	p = number(p + 1, 16, &skipped);
	p = number(p + 1, 16, &skipped);
	number(p + 1, 10, &v->inode);
	return true;
}

/* "VmFlags: rd wr mr mw me rr": the last line of a mapping. */
static bool parse_flags(const char *line, struct pml_vma *v)
{
	static const char name[] = "VmFlags:";

	for (size_t i = 0; i < sizeof(name) - 1; i++)
		if (line[i] != name[i])
			return false;
	for (line += sizeof(name) - 1; line[0] == ' ' && line[1] && line[2]; line += 3)
		v->random |= line[1] == 'r' && line[2] == 'r';
	return true;
}

int pml_vmas(int smaps, uint64_t from, pml_vma_fn fn, void *arg)
{
	int fd = smaps < 0 ? open("/proc/self/smaps", O_RDONLY | O_CLOEXEC) : smaps;
	struct pml_vma v = { 0 };
	char text[768], line[LINE];
	size_t len = 0;
	off_t at = 0;
	bool go_on = true;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (go_on && ((n = pread(fd, text, sizeof(text), at)) > 0 || (n < 0 && errno == EINTR))) {
		at += n > 0 ? n : 0;
		for (ssize_t i = 0; i < n && go_on; i++) {
			if (text[i] != '\n') {
				if (len < LINE - 1)
					line[len++] = text[i];
				continue;
			}
			line[len] = '\0';
			len = 0;
			if (!parse_head(line, &v) && parse_flags(line, &v) && v.end > from)
				go_on = fn(arg, &v);
		}
	}
	if (smaps < 0)
		close(fd);
	return at ? 0 : -EIO;
}
