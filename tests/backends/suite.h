/* SPDX-License-Identifier: MIT */
/*
 * suite.h - the behaviour suite: one set of truths, run over every back-end
 * through the public interface alone.
 *
 *   subject.c  the process whose memory changes: this one, or a writer
 *   trial.c    a subject with a tracker on it; compares result with truth
 *   caps.c     what a back-end is held to
 *   truth_*.c  the truths
 *   suite.c    runs them and prints TAP and the matrix
 */
#ifndef PML_TESTS_SUITE_H
#define PML_TESTS_SUITE_H

#include "oracle.h"
#include "pml.h"

#include <stdbool.h>
#include <stdio.h>

enum verdict { PASS = 0, FAIL = 1, SKIP = 77, NOT_APPLICABLE = 78 };

/* What a back-end is held to; where a bit is missing, the result must say so. */
enum {
	SEES_DROPS = 1u << 0,	/* MADV_DONTNEED and reclaimed MADV_FREE pages */
	SEES_KERNEL = 1u << 1,	/* the kernel writing to a buffer, as read(2) does */
	SEES_REMOTE = 1u << 2,	/* process_vm_writev and /proc/PID/mem */
	SEES_RACES = 1u << 3,	/* writers that race with the collects */
	SEES_MOVES = 1u << 4,	/* munmap+mmap and mremap */
	BY_CONTENT = 1u << 5,	/* knows pages by their content alone */
	SEES_HUGETLB = 1u << 6,	/* huge pages of hugetlb */
	SEES_FILES = 1u << 8,	/* private and shared mappings of files */
	NAMED_ONLY = 1u << 9,	/* watches what is named, not the whole process */
	SPOILS_CALLS = 1u << 10,	/* system calls that write to watched memory, or
				 * move it, may fail with EFAULT */
	RENEWS = 1u << 7,	/* what is joined with a new mapping, or split, is ASSUMED */
	RENEWS_HUGE = 1u << 11,	/* a huge page that is split or put together is ASSUMED */
	SEES_MERGES = 1u << 13,	/* a page written, and then merged with others by KSM */
	REFILLS = 1u << 14,	/* a page that comes back from swap may be ASSUMED */
	CLEANS = 1u << 15,	/* so may a page of a shared file that was written back */
	FILLS = 1u << 16,	/* tells pages that the kernel fills: of a huge page that is
				 * made where nothing was, all */
	SPREADS = 1u << 12,	/* when a part of a large page is given another protection,
				 * all of that part is ASSUMED if a page of it was written */
};

struct caps {
	const char *name;
	unsigned int self;	/* the bits above, tracking itself */
	unsigned int outside;	/* and tracking another process */
};

/* Mappings of files: not everyone takes them. */
static inline bool is_file(enum oracle_kind kind)
{
	return kind == ORACLE_FILE_PRIVATE || kind == ORACLE_FILE_SHARED;
}

const struct caps *caps_of(const char *backend);

/* What one truth is run with. */
struct context {
	const char *backend;
	struct pml_probe_info info;
	unsigned int sees;
	bool outside;
	bool negative;		/* the library is broken on purpose */
	int epochs;		/* per cell of the exactness truths */
	int collects;		/* per race */
	uint64_t seed;
	const char *writer;	/* path of the writer program */
	char *why;		/* of a skip, or how a truth was met; shared with the
				 * parent */
	size_t why_size;
};

struct subject {
	const struct context *c;
	pid_t pid;
	FILE *to;		/* outside: the writer's input and output */
	FILE *from;
	struct oracle own;	/* self */
	unsigned char *base;
	size_t page;
	size_t pages;
	size_t main_pages;	/* without the spare part for moves */
	uint8_t *changed;	/* as in struct oracle, of the last command */
	uint8_t *soft;
	uint64_t begin_ns;
	uint64_t end_ns;
};

int subject_open(struct subject *s, const struct context *c, const struct oracle_spec *spec);
int subject_do(struct subject *s, const char *command);
/* As subject_do, but does not wait for an answer (exit, exec). */
int subject_tell(struct subject *s, const char *command);
/* After an exec: where is the region now? */
int subject_reread(struct subject *s);
int subject_copy(const struct subject *s, size_t page, size_t n, void *to);
void subject_close(struct subject *s);

/* A reader's view of a subject: what should come, and what came. */
struct view {
	uint8_t *changed;	/* since this reader's last collect */
	uint8_t *soft;
	uint8_t *observed;	/* what came; 1 + log2 of the granule */
	uint8_t *assumed;	/* what came; 1 + the reason */
	uint8_t *uncovered;	/* what came; 1 + the reason */
	uint64_t epoch;
	bool lost;
	uint64_t told_only;	/* changed pages that were only told as not covered */
	uint64_t assumed_only;	/* changed pages that were only ASSUMED */
	uint8_t how;		/* the reason of one of those, told ones first */
	uint64_t assumed_pages;
	uint64_t observed_pages;
};

struct trial {
	const struct context *c;
	struct subject s;
	struct pml *t;
	struct view v;		/* of the first reader */
	bool relaxed;		/* ASSUMED pages need no excuse */
	bool told_is_enough;	/* a missed page may be told as UNCOVERED */
	bool remote;		/* ... as written by another process, which it was */
	uint8_t told_as;	/* ... for this reason alone, if it is not 0 */
};

/* Flags of trial_begin. */
enum { WATCH_ALL = 1, NO_START = 2 };

enum verdict trial_begin(struct trial *tr, const struct context *c, const struct oracle_spec *spec,
			 uint32_t pml_flags, int flags);
/* One command, one collect, one comparison. */
enum verdict trial_step(struct trial *tr, const char *command);
/* The command alone: what it does is added to what should come. */
enum verdict trial_do(struct trial *tr, const char *command);
/* The collect and the comparison alone. */
enum verdict trial_collect(struct trial *tr);
void trial_end(struct trial *tr);

int view_init(struct view *v, const struct subject *s);
void view_free(struct view *v);
void view_expect(struct view *v, const struct subject *s);
void view_clear(struct view *v, const struct subject *s);
/* Adds a result; FAIL if its form breaks a promise of pml.h. */
enum verdict view_fold(struct view *v, const struct trial *tr, const struct pml_result *r);
/* What came against what should have come; then nothing is expected any more. */
enum verdict view_compare(struct view *v, const struct trial *tr);
enum verdict reader_step(struct view *v, const struct trial *tr, struct pml_reader *r);

/* Runs it in a child, so that the caller can undo a setting of the machine's
 * whatever happens there. */
enum verdict in_child(const struct context *c, enum verdict (*run)(const struct context *c));
/* Writes a number to a file of /proc or /sys; what was there goes to before, if not
 * NULL.  0 or -errno. */
int set_number(const char *path, long value, long *before);

/* Why, as a remark in the log; both return their verdict. */
enum verdict fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
enum verdict skip(const struct context *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

struct truth {
	const char *group;
	const char *name;
	enum verdict (*run)(const struct context *c);
	int only;		/* 0: both; 1: self only; 2: outside only */
	bool serial;		/* changes something of the whole machine */
};
enum { BOTH = 0, SELF_ONLY = 1, OUTSIDE_ONLY = 2 };

extern const struct truth truths_exact[], truths_race[], truths_rules[], truths_readers[],
	truths_cover[], truths_bad[];

/* Runs the statement; returns from the truth if its verdict is not PASS. */
#define TRY(expr)                               \
	do {                                    \
		enum verdict try_v = (expr);    \
		if (try_v != PASS)              \
			return try_v;           \
	} while (0)

#endif
