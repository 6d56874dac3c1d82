/* SPDX-License-Identifier: MIT */
/*
 * criu-subject: what is checkpointed by the tests.  It writes to its memory and knows
 * of every word what it has to be, so that it can say after a restore whether it is the
 * memory it had.
 *
 *   criu-subject DIR PROCESSES THREADS PAGES [quiet]
 *
 * Each thread of each process owns PAGES pages of anonymous memory, a quarter of that
 * in a private mapping of a file, and a mapping that comes and goes; the processes were
 * forked after their memory had content, so that pages are shared until written.  All
 * the time it writes to the lower half of the first, the file's and the last; not if it
 * is quiet.  Upon SIGUSR2 it writes to every fourth page of the upper half, others each
 * time.  Upon SIGUSR1 each thread checks every word and leaves DIR/PID.THREAD: "good"
 * or what is wrong.  After either it leaves DIR/done.PID.THREAD with the number of
 * signals so far.  Upon SIGHUP it calls exec and begins anew.  Started and judged by
 * chain.sh.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / 8)
#define CHURN 32u

/* One piece of memory; `version[p]` counts the writes to page p.  Write v goes to word
 * v % WORDS, and is a function of both. */
struct piece {
	uint64_t *memory;
	uint64_t *version;
	size_t pages;
};

struct worker {
	int number;
	uint64_t random;
	struct piece anon;
	struct piece file;
	struct piece churn;
	int checked;
	int written;
};

static const char *directory;
static bool quiet;
static volatile sig_atomic_t asked_to_check;
static volatile sig_atomic_t asked_to_write;
static volatile sig_atomic_t asked_to_exec;
static char **arguments;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdu;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53u;
	return x ^ x >> 33;
}

static uint64_t next(struct worker *w)
{
	w->random += 0x9e3779b97f4a7c15u;
	return mix(w->random);
}

static uint64_t content(size_t page, uint64_t version)
{
	return mix(page * 1000003u + version);
}

/* The last write to this word, of all up to `version`; 0: none. */
static uint64_t last_write(uint64_t version, size_t word)
{
	uint64_t back = (version + WORDS - word) % WORDS;

	return version < back ? 0 : version - back;
}

static void write_page(struct piece *p, size_t page)
{
	uint64_t version = ++p->version[page];

	p->memory[page * WORDS + version % WORDS] = content(page, version);
}

static bool check(const struct piece *p, const char *name, char *words, size_t size)
{
	for (size_t page = 0; page < p->pages; page++)
		for (size_t i = 0; i < WORDS; i++) {
			uint64_t write = last_write(p->version[page], i);
			uint64_t wanted = write ? content(page, write) : 0;

			if (p->memory[page * WORDS + i] == wanted)
				continue;
			snprintf(words, size,
				 "%s page %zu of version %llu, word %zu: not write %llu", name, page,
				 (unsigned long long)p->version[page], i,
				 (unsigned long long)write);
			return false;
		}
	return true;
}

static void *map(size_t size, int fd)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_PRIVATE, fd, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static struct piece new_piece(size_t pages, int fd)
{
	return (struct piece){ .memory = map(pages * PAGE, fd), .pages = pages,
			       .version = map(pages * sizeof(uint64_t) + PAGE, -1) };
}

/* New memory at the old place or another, or the same dropped. */
static void renew(struct worker *w)
{
	struct piece *p = &w->churn;

	memset(p->version, 0, p->pages * sizeof(uint64_t));
	switch (next(w) % 3) {
	case 0:
		madvise(p->memory, p->pages * PAGE, MADV_DONTNEED);
		break;
	case 1:
		munmap(p->memory, p->pages * PAGE);
		p->memory = map(p->pages * PAGE, -1);
		break;
	default:
		p->memory = mremap(p->memory, p->pages * PAGE, p->pages * PAGE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, map(p->pages * PAGE, -1));
		if (p->memory == MAP_FAILED)
			abort();
		madvise(p->memory, p->pages * PAGE, MADV_DONTNEED);
	}
	for (size_t i = 0; i < p->pages; i += 1 + next(w) % 3)
		write_page(p, i);
}

static void leave(const struct worker *w, const char *prefix, const char *words)
{
	char path[400], made[420];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s%d.%d", directory, prefix, getpid(), w->number);
	snprintf(made, sizeof(made), "%s.new", path);
	out = fopen(made, "we");
	if (!out)
		abort();
	fprintf(out, "%s\n", words);
	if (fclose(out) || rename(made, path))
		abort();
}

static void answer(struct worker *w)
{
	char words[200] = "good";

	if (check(&w->anon, "anon", words, sizeof(words)) &&
	    check(&w->file, "file", words, sizeof(words)))
		check(&w->churn, "churn", words, sizeof(words));
	leave(w, "", words);
}

static void write_upper_half(struct worker *w)
{
	size_t half = w->anon.pages / 2;

	for (size_t i = half + (size_t)w->written % 4; i < w->anon.pages; i += 4)
		write_page(&w->anon, i);
}

static void obey(struct worker *w)
{
	int check_now = asked_to_check, write_now = asked_to_write;
	char count[24];

	if (w->checked == check_now && w->written == write_now)
		return;
	for (; w->written != write_now; w->written++)
		write_upper_half(w);
	if (w->checked != check_now)
		answer(w);
	w->checked = check_now;
	snprintf(count, sizeof(count), "%d", w->checked + w->written);
	leave(w, "done.", count);
}

static void write_some(struct worker *w)
{
	for (unsigned int i = 0; i < 16; i++)
		write_page(&w->anon, next(w) % (w->anon.pages / 2));
	write_page(&w->file, next(w) % w->file.pages);
	if (next(w) % 64 == 0)
		renew(w);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (;;) {
		if (asked_to_exec && w->number == 0)
			execv("/proc/self/exe", arguments);
		if (!quiet)
			write_some(w);
		obey(w);
		usleep(2000);
	}
	return NULL;
}

static void on_check(int signal)
{
	(void)signal;
	asked_to_check++;
}

static void on_write(int signal)
{
	(void)signal;
	asked_to_write++;
}

static void on_exec(int signal)
{
	(void)signal;
	asked_to_exec = 1;
}

static void fill(struct worker *w, int number, size_t pages)
{
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/file", directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)(pages / 4 * PAGE)))
		abort();
	*w = (struct worker){ .number = number, .random = (uint64_t)number };
	w->anon = new_piece(pages, -1);
	/* what is counted is in pages of 4 KiB, whatever the back-end's granule is */
	if (number == 0)
		madvise(w->anon.memory, pages * PAGE, MADV_NOHUGEPAGE);
	w->file = new_piece(pages / 4, fd);
	w->churn = new_piece(CHURN, -1);
	close(fd);
	for (size_t i = 0; i < pages; i++)
		write_page(&w->anon, i);
}

int main(int argc, char **argv)
{
	int processes = argc > 4 ? atoi(argv[2]) : 0, threads = argc > 4 ? atoi(argv[3]) : 0;
	size_t pages = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
	struct worker *workers;

	if (processes < 1 || threads < 1 || pages < 4)
		return 2;
	arguments = argv;
	directory = argv[1];
	quiet = argc > 5;
	workers = calloc((size_t)threads, sizeof(*workers));
	if (!workers)
		return 1;
	signal(SIGUSR1, on_check);
	signal(SIGUSR2, on_write);
	signal(SIGHUP, on_exec);
	for (int i = 0; i < threads; i++)
		fill(&workers[i], i, pages);
	for (int i = 1; i < processes; i++)
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			break;
		}
	for (int i = 0; i < threads; i++)
		workers[i].random += (uint64_t)getpid();
	for (int i = 1; i < threads; i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, work, &workers[i]))
			return 1;
	}
	leave(&workers[0], "up.", "");
	work(&workers[0]);
}
