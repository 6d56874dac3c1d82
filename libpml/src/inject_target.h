/* SPDX-License-Identifier: MIT */
/*
 * inject_target.h - what can be known of a target before it is touched: may it
 * be stopped, by which thread, where is a system call instruction.  Used by
 * inject.c and strays.c.
 */
#ifndef PML_INJECT_TARGET_H
#define PML_INJECT_TARGET_H

#include <stdarg.h>
#include <stddef.h>
#include <sys/types.h>

struct pml_remote_job;

/* Words on failure; text may be NULL. */
struct pml_inject_words {
	char *text;
	size_t size;
};

/* Puts the words together and returns error, so that a check can end with it. */
__attribute__((format(printf, 3, 4)))
int pml_inject_say(const struct pml_inject_words *words, int error, const char *format, ...);

/*
 * pml_inject_examine - all checks that need not stop the target
 * @job: pid is read; insn, threads and nthreads are filled in
 *
 * Return: 0 or -errno with words, as pml_inject_userfaultfd().
 */
int pml_inject_examine(struct pml_remote_job *job, const struct pml_inject_words *words);

/* Words for a PTRACE_SEIZE that was not permitted; tracer: who was seen to trace it, or 0. */
int pml_inject_say_denied(pid_t pid, long tracer, const struct pml_inject_words *words);

/* Words for a file of the process in /proc that could not be opened. */
int pml_inject_say_no_access(pid_t pid, int error, const struct pml_inject_words *words);

#endif /* PML_INJECT_TARGET_H */
