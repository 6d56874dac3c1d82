/* SPDX-License-Identifier: MIT */
/* oracle.h - what the oracle is asked for, the bad input it can be given, and where it
 * stands still. */
#ifndef BOEHM_ORACLE_H
#define BOEHM_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct wishes {
	long chains;		/* a thread */
	long length;		/* nodes a chain that are written */
	long body;		/* and nodes behind them that are not */
	long size;		/* bytes a value */
	long plain;		/* bytes without pointers that each value has beside it */
	long writes;		/* a thread */
	long threads;
	long forks;		/* a thread's share: children that go on by themselves */
	bool namespaces;	/* each child in a pid namespace of its own */
	bool exec;		/* the children become new programs instead */
	bool call;		/* pml_gc_enable(), not the constructor alone */
	bool need;		/* skip unless libpml gives the dirty pages */
	bool control;		/* take the hooks away: objects must be lost */
	bool replace;		/* set another event hook, which calls nobody */
	bool close_all;		/* close all descriptors, and open others, now and then */
	bool close_some;	/* close all but the userfaultfds, once */
	bool bystander;		/* a forked child lives on, and does nothing */
	bool files;		/* close all once; a thread opens and closes others all the time */
	bool keep_errno;	/* collections that change errno are mistakes */
	bool direct;		/* a file is open for direct I/O */
	bool unmap;		/* grow by large blocks and drop them */
	bool huge;		/* some objects are large, some hold no pointers */
	bool toggle;		/* GC_disable() and GC_enable() */
	bool no_descriptors;	/* leave no descriptor free */
	bool run_out;		/* lose all, and have none for many collections */
	bool withdraw;		/* GC_set_manual_vdb_allowed(0) before GC_INIT() */
	bool read_only;		/* heap that is read-only while it is collected */
	bool late;		/* lose the environment, and ask libgc after GC_INIT() */
	bool environment;	/* say what is left of the constructor's variable */
	const char *stay;	/* a file, see stay_from_now_on() */
	bool quiet;
};

/* Bad input, applied where it belongs; `turn` counts the calls. */
void bad_before_writes(const struct wishes *w);
/* Returns how many objects were lost by it. */
unsigned long bad_now_and_then(const struct wishes *w, unsigned long turn);
/* For --keep-errno, and how often it changed. */
void bad_errno(void);
unsigned long bad_errno_changes(void);
/* For --direct; false if no such file can be opened here. */
bool bad_direct(void);
/* For --files: the thread. */
void bad_files(void);
/* How much more often tracking began anew than descriptors were lost. */
unsigned long bad_restarts(void);
/* How many files, opened after all were closed, are not what they were any more. */
unsigned long bad_files_taken(void);
/* For --run-out: whether tracking did not go on when descriptors could be had again. */
bool bad_gave_up(void);
/* Allocates until the world was stopped twice: what was lost is somebody else's then. */
void bad_collect(void);
/* fork(); the child is the first of a new pid namespace. */
pid_t bad_fork(void);
/* Some of the heap is read-only while collections go on; returns how many objects were lost. */
unsigned long bad_read_only(void);
/* In a forked child: the oracle from its beginning, as a new program. */
_Noreturn void bad_exec(const struct wishes *w);

/* From now on each collection that finds the file stays in its middle: it adds a line to
 * it and goes on when the file is gone, or is empty again. */
void stay_from_now_on(const struct wishes *w);

#endif /* BOEHM_ORACLE_H */
