/* SPDX-License-Identifier: MIT */
/*
 * The note in an image directory: see parent.h.  Its lines:
 *
 *   pml-criu 1 TOKEN
 *   NAME SIZE			one for each pagemap-*.img and pages-*.img
 */
#define _GNU_SOURCE
#include "parent.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper.h"

#define NOTE "pml-criu.note"
#define NEW_NOTE NOTE ".new"
#define HEAD "pml-criu 1 "

static bool is_memory(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && !strcmp(name + n - 4, ".img") &&
	       (!strncmp(name, "pagemap-", 8) || !strncmp(name, "pages-", 6));
}

static int write_lines(FILE *out, int dir, const uint8_t *token)
{
	int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	const struct dirent *e;
	struct stat st;

	if (!d) {
		if (again >= 0)
			close(again);
		return -errno;
	}
	fputs(HEAD, out);
	for (size_t i = 0; i < KEEPER_TOKEN; i++)
		fprintf(out, "%02x", token[i]);
	fputc('\n', out);
	while ((e = readdir(d)))
		if (is_memory(e->d_name) && !fstatat(dir, e->d_name, &st, 0))
			fprintf(out, "%s %lld\n", e->d_name, (long long)st.st_size);
	closedir(d);
	return 0;
}

int parent_write(int dir, const uint8_t *token)
{
	int fd = openat(dir, NEW_NOTE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	int status;

	if (!out) {
		status = -errno;
		if (fd >= 0)
			close(fd);
		return status;
	}
	status = write_lines(out, dir, token);
	if (fflush(out) || ferror(out) || fsync(fd))
		status = -errno;
	if (fclose(out) && !status)
		status = -errno;
	if (!status && renameat(dir, NEW_NOTE, dir, NOTE))
		status = -errno;
	if (status)
		unlinkat(dir, NEW_NOTE, 0);
	return status;
}

void parent_forget(int dir)
{
	unlinkat(dir, NOTE, 0);
}

static bool read_token(const char *text, uint8_t *token)
{
	for (size_t i = 0; i < KEEPER_TOKEN; i++) {
		unsigned int byte;

		if (!isxdigit((unsigned char)text[2 * i]) ||
		    !isxdigit((unsigned char)text[2 * i + 1]) ||
		    sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		token[i] = (uint8_t)byte;
	}
	return true;
}

static int complain(char *words, size_t size, const char *why)
{
	snprintf(words, size, "%s", why);
	return 1;
}

static int check_lines(FILE *in, int parent, uint8_t *token, char *words, size_t size)
{
	char line[400], name[280];
	struct stat st;
	long long bytes;

	if (!fgets(line, sizeof(line), in) || strncmp(line, HEAD, strlen(HEAD)) != 0 ||
	    !read_token(line + strlen(HEAD), token))
		return complain(words, size, "the parent's " NOTE " is damaged");
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%279s %lld", name, &bytes) != 2 || !is_memory(name) ||
		    strchr(name, '/'))
			return complain(words, size, "the parent's " NOTE " is damaged");
		if (fstatat(parent, name, &st, 0) || st.st_size != bytes) {
			snprintf(words, size,
				 "the parent is incomplete: %.64s is not as it was written", name);
			return 1;
		}
	}
	return 0;
}

int parent_read(int dir, uint8_t *token, char *words, size_t size)
{
	int parent = openat(dir, "parent", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = parent < 0 ? -1 : openat(parent, NOTE, O_RDONLY | O_CLOEXEC);
	FILE *in = fd < 0 ? NULL : fdopen(fd, "r");
	int status;

	memset(token, 0, KEEPER_TOKEN);
	if (in)
		status = check_lines(in, parent, token, words, size);
	else if (parent < 0)
		status = complain(words, size, "there is no parent directory");
	else
		status = complain(words, size, "the parent directory is of no round of "
				  "this plugin that ended well");
	if (status)
		memset(token, 0, KEEPER_TOKEN);
	if (in)
		fclose(in);
	else if (fd >= 0)
		close(fd);
	if (parent >= 0)
		close(parent);
	return status;
}
