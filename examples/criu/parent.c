/* SPDX-License-Identifier: MIT */
/*
 * The note in an image directory: see parent.h.  Its lines:
 *
 *   pml-criu 1 TOKEN
 *   parent TOKEN		that of the parent, if it has a note
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
#define PARENT "parent "

/* More rounds than these are one upon the other in no chain that criu could open. */
#define MAX_CHAIN 65536

static bool is_memory(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && !strcmp(name + n - 4, ".img") &&
	       (!strncmp(name, "pagemap-", 8) || !strncmp(name, "pages-", 6));
}

static void write_token(FILE *out, const char *name, const uint8_t *token)
{
	fputs(name, out);
	for (size_t i = 0; i < KEEPER_TOKEN; i++)
		fprintf(out, "%02x", token[i]);
	fputc('\n', out);
}

static int write_lines(FILE *out, int dir, const uint8_t *token, const uint8_t *parent)
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
	write_token(out, HEAD, token);
	if (parent)
		write_token(out, PARENT, parent);
	while ((e = readdir(d)))
		if (is_memory(e->d_name) && !fstatat(dir, e->d_name, &st, 0))
			fprintf(out, "%s %lld\n", e->d_name, (long long)st.st_size);
	closedir(d);
	return 0;
}

int parent_write(int dir, const uint8_t *token, const uint8_t *parent)
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
	status = write_lines(out, dir, token, parent);
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

void parent_cut(int dir)
{
	unlinkat(dir, "parent", 0);
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

static enum parent complain(char *words, size_t size, const char *why)
{
	snprintf(words, size, "%s", why);
	return PARENT_NONE;
}

/* One note. */
struct note {
	uint8_t token[KEEPER_TOKEN];
	uint8_t parent[KEEPER_TOKEN];
	bool has_parent;
};

static enum parent check_lines(FILE *in, int dir, struct note *n, char *words,
			       size_t size)
{
	char line[400], name[280];
	struct stat st;
	long long bytes;

	if (!fgets(line, sizeof(line), in) || strncmp(line, HEAD, strlen(HEAD)) != 0 ||
	    !read_token(line + strlen(HEAD), n->token))
		return complain(words, size, "the parent's " NOTE " is damaged");
	while (fgets(line, sizeof(line), in)) {
		if (!n->has_parent && !strncmp(line, PARENT, strlen(PARENT)) &&
		    read_token(line + strlen(PARENT), n->parent)) {
			n->has_parent = true;
			continue;
		}
		if (sscanf(line, "%279s %lld", name, &bytes) != 2 || !is_memory(name) ||
		    strchr(name, '/'))
			return complain(words, size, "the parent's " NOTE " is damaged");
		if (fstatat(dir, name, &st, 0) || st.st_size != bytes) {
			snprintf(words, size,
				 "the parent is incomplete: %.64s is not as it was written", name);
			return PARENT_DAMAGED;
		}
	}
	return PARENT_GOOD;
}

static enum parent read_note(int dir, struct note *n, char *words, size_t size)
{
	int fd = openat(dir, NOTE, O_RDONLY | O_CLOEXEC);
	FILE *in = fd < 0 ? NULL : fdopen(fd, "r");
	enum parent status;

	*n = (struct note){ 0 };
	if (in)
		status = check_lines(in, dir, n, words, size);
	else
		status = complain(words, size, "the parent directory is of no round of "
				  "this plugin that ended well");
	if (in)
		fclose(in);
	else if (fd >= 0)
		close(fd);
	return status;
}

/* What the parent has left to its own parent lies there, or further back.  Each has to be
 * the one that the next was written upon. */
static enum parent check_older(int dir, const struct note *parent, char *words, size_t size)
{
	struct note n = *parent, older = { 0 };
	char why[160];
	enum parent status = PARENT_GOOD;
	int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);

	for (int i = 0; n.has_parent && !status; i++) {
		int next = openat(at, "parent", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (at >= 0)
			close(at);
		at = next;
		if (at < 0 || i == MAX_CHAIN || read_note(at, &older, why, sizeof(why)) ||
		    memcmp(older.token, n.parent, KEEPER_TOKEN) != 0)
			status = PARENT_DAMAGED;
		n = older;
	}
	if (at >= 0)
		close(at);
	if (status)
		snprintf(words, size, "older images, in which pages of the parent lie, are not as "
			 "they were written");
	return status;
}

enum parent parent_read(int dir, uint8_t *token, char *words, size_t size)
{
	int parent = openat(dir, "parent", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct note n;
	enum parent status;

	memset(token, 0, KEEPER_TOKEN);
	if (parent < 0)
		return complain(words, size, "there is no parent directory");
	status = read_note(parent, &n, words, size);
	if (!status)
		status = check_older(parent, &n, words, size);
	if (!status)
		memcpy(token, n.token, KEEPER_TOKEN);
	close(parent);
	return status;
}
