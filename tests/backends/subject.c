/* SPDX-License-Identifier: MIT */
/*
 * subject.c - the process whose memory changes.  Self: an oracle in this
 * process.  Outside: a writer program, driven over two pipes.
 */
#define _GNU_SOURCE
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void become_writer(const struct context *c, const struct oracle_spec *spec, int in, int out)
{
	char threads[16], pages[32], seed[32];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in, 0);
	dup2(out, 1);
	snprintf(threads, sizeof(threads), "%d", spec->threads);
	snprintf(pages, sizeof(pages), "%zu", spec->pages);
	snprintf(seed, sizeof(seed), "%" PRIu64, spec->seed);
	execl(c->writer, "writer", "--kind", oracle_kind_name(spec->kind), "--threads", threads,
	      "--pages", pages, "--seed", seed, spec->thp ? "--thp" : NULL, NULL);
	_exit(127);
}

int subject_reread(struct subject *s)
{
	char line[256];
	uint64_t start, end;
	int error;

	if (!fgets(line, sizeof(line), s->from))
		return -EPIPE;
	if (sscanf(line, "error %d", &error) == 1)
		return -error;
	if (sscanf(line, "region %" SCNx64 " %" SCNx64 " %zu", &start, &end, &s->page) != 3)
		return -EPROTO;
	s->base = (unsigned char *)(uintptr_t)start;
	s->pages = (end - start) / s->page;
	return 0;
}

static int open_outside(struct subject *s, const struct oracle_spec *spec)
{
	int in[2], out[2], error;

	if (pipe2(in, O_CLOEXEC))
		return -errno;
	if (pipe2(out, O_CLOEXEC)) {
		close(in[0]);
		close(in[1]);
		return -EMFILE;
	}
	s->pid = fork();
	if (s->pid < 0)
		return -errno;
	if (!s->pid)
		become_writer(s->c, spec, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	s->to = fdopen(in[1], "w");
	s->from = fdopen(out[0], "r");
	if (!s->to || !s->from)
		return -ENOMEM;
	error = subject_reread(s);
	if (error)
		return error;
	s->changed = calloc(2, s->pages);
	if (!s->changed)
		return -ENOMEM;
	s->soft = s->changed + s->pages;
	return 0;
}

int subject_open(struct subject *s, const struct context *c, const struct oracle_spec *spec)
{
	size_t huge_pages = ((size_t)2 << 20) / (size_t)sysconf(_SC_PAGESIZE);
	int error;

	memset(s, 0, sizeof(*s));
	s->c = c;
	s->main_pages = (spec->pages + huge_pages - 1) / huge_pages * huge_pages;
	if (c->outside)
		return open_outside(s, spec);
	error = oracle_open(&s->own, spec);
	if (error)
		return error;
	s->pid = getpid();
	s->base = s->own.base;
	s->page = s->own.page;
	s->pages = s->own.pages;
	s->changed = s->own.changed;
	s->soft = s->own.soft;
	return 0;
}

static void mark(struct subject *s, uint8_t *set, unsigned int bit, uint64_t start, uint64_t end)
{
	size_t from = (start - (uintptr_t)s->base) / s->page;
	size_t to = (end - (uintptr_t)s->base) / s->page;

	for (size_t i = from; i < to; i++)
		set[i] |= (uint8_t)bit;
}

static int read_answer(struct subject *s)
{
	char line[256];

	memset(s->changed, 0, 2 * s->pages);
	while (fgets(line, sizeof(line), s->from)) {
		uint64_t a, b;
		int error;

		if (sscanf(line, "c %" SCNx64 " %" SCNx64, &a, &b) == 2)
			mark(s, s->changed, 1, a, b);
		else if (sscanf(line, "s %" SCNx64 " %" SCNx64, &a, &b) == 2)
			mark(s, s->soft, ORACLE_SOFT, a, b);
		else if (sscanf(line, "d %" SCNx64 " %" SCNx64, &a, &b) == 2)
			mark(s, s->soft, ORACLE_DROPPED, a, b);
		else if (sscanf(line, "p %" SCNx64 " %" SCNx64, &a, &b) == 2)
			mark(s, s->soft, ORACLE_PROTECTED, a, b);
		else if (sscanf(line, "w %" SCNx64 " %" SCNx64, &a, &b) == 2)
			mark(s, s->soft, ORACLE_CLEANED, a, b);
		else if (sscanf(line, "done %" SCNu64 " %" SCNu64, &s->begin_ns, &s->end_ns) == 2)
			return 0;
		else if (sscanf(line, "error %d", &error) == 1)
			return -error;
		else
			return -EPROTO;
	}
	return -EPIPE;
}

int subject_tell(struct subject *s, const char *command)
{
	return fprintf(s->to, "%s\n", command) < 0 || fflush(s->to) ? -EPIPE : 0;
}

int subject_do(struct subject *s, const char *command)
{
	int error;

	if (s->c->outside) {
		error = subject_tell(s, command);
		return error ? error : read_answer(s);
	}
	error = oracle_do(&s->own, command);
	s->begin_ns = s->own.begin_ns;
	s->end_ns = s->own.end_ns;
	return error;
}

/* Word by word, as the writers store: no word is ever seen half written. */
static void copy_words(const unsigned char *from, void *to, size_t size)
{
	uint64_t *out = to;

	for (size_t i = 0; i < size / sizeof(*out); i++)
		out[i] = __atomic_load_n((const uint64_t *)from + i, __ATOMIC_RELAXED);
}

int subject_copy(const struct subject *s, size_t page, size_t n, void *to)
{
	struct iovec local = { to, n * s->page };
	struct iovec remote = { s->base + page * s->page, n * s->page };

	if (!s->c->outside) {
		copy_words(remote.iov_base, to, local.iov_len);
		return 0;
	}
	if (process_vm_readv(s->pid, &local, 1, &remote, 1, 0) != (ssize_t)local.iov_len)
		return errno ? -errno : -EFAULT;
	return 0;
}

void subject_close(struct subject *s)
{
	if (!s->c)
		return;
	if (!s->c->outside) {
		oracle_close(&s->own);
		return;
	}
	if (s->to)
		fclose(s->to);
	if (s->from)
		fclose(s->from);
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	free(s->changed);
	s->c = NULL;
}
