/* SPDX-License-Identifier: MIT */
/*
 * What a program may do to a collector that depends on others: take its hooks
 * and descriptors away, make it unmap its heap, switch it off and on.
 * Called by oracle.c.
 */
#include "common.h"
#include "oracle.h"
#include "pml_gc.h"

#include <errno.h>
#include <fcntl.h>
#include <gc/gc_mark.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LARGE_BLOCK ((size_t)4 << 20)
#define HIGH 500		/* a descriptor that nobody else is given */
#define MANY 16
#define FILES 12
#define TURNS 30u
#define GARBAGE 32	/* bytes: as a value's tail */
#define AT_ONCE 128
#define MOST_GARBAGE ((size_t)1 << 30)

static GC_push_other_roots_proc roots_before;
static unsigned long closed, changes;
static GC_on_collection_event_proc event_before;

static void GC_CALLBACK no_event(GC_EventType event)
{
	(void)event;
}

/* Before any library's constructor: what libgc pushes by itself. */
static void remember(void)
{
	roots_before = GC_get_push_other_roots();
}

static void (*const early)(void) __attribute__((used, section(".preinit_array"))) = remember;

static void leave_a_child(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		boehm_fail("fork", "the system refuses");
	if (pid)
		return;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
		pause();
	_exit(0);
}

void bad_before_writes(const struct wishes *w)
{
	/* from here on, what is old is known to the collector */
	GC_gcollect();
	if (w->bystander)
		leave_a_child();
	if (w->replace || w->control)
		GC_set_on_collection_event(no_event);
	if (w->control)
		GC_set_push_other_roots(roots_before);
}

/* The files that the program has opened after it closed all. */
static int files[FILES];
static ino_t inodes[FILES];
static unsigned long taken;

static ino_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static void look_for_files(void)
{
	for (unsigned int i = 0; i < FILES && inodes[i]; i++)
		taken += inode_of(files[i]) != inodes[i];
}

unsigned long bad_files_taken(void)
{
	look_for_files();
	return taken;
}

/* All are closed; whoever opens next gets the numbers. */
static void close_all(void)
{
	look_for_files();
	closed++;
	closefrom(3);
	for (int i = 0; i < FILES; i++) {
		files[i] = open(i % 2 ? "/dev/zero" : "/proc/self/exe", O_RDONLY);
		if (files[i] < 0)
			boehm_fail("oracle", "no descriptor to be had");
		inodes[i] = inode_of(files[i]);
	}
}

static bool is_userfaultfd(int fd)
{
	char path[32], link[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof(link) - 1) > 0 &&
	       strcmp(link, "anon_inode:[userfaultfd]") == 0;
}

/* As one does who knows which numbers are his own, and is mistaken. */
static void close_some(void)
{
	closed++;
	for (int fd = 3; fd < HIGH; fd++)
		if (!is_userfaultfd(fd))
			close(fd);
}

static void take_all_descriptors(void)
{
	while (open("/dev/null", O_RDONLY) >= 0)
		;
}

static bool gave_up;

bool bad_gave_up(void)
{
	return gave_up;
}

static uint64_t all_dirty_so_far(void)
{
	struct pml_gc_stats s = { .size = sizeof(s) };

	pml_gc_get_stats(&s);
	return s.all_dirty;
}

static void collect_often(int times)
{
	for (int i = 0; i < times; i++)
		GC_gcollect();
}

static void run_out(void)
{
	struct rlimit before, none;
	uint64_t all_dirty;

	close_all();
	/* the loss is noticed here, and nothing can be opened from then on */
	collect_often(1);
	if (getrlimit(RLIMIT_NOFILE, &before))
		boehm_fail("oracle", "no limits to be had");
	none = (struct rlimit){ 3, before.rlim_max };
	if (setrlimit(RLIMIT_NOFILE, &none))
		boehm_fail("oracle", "the limit is refused");
	collect_often(100);
	if (setrlimit(RLIMIT_NOFILE, &before))
		boehm_fail("oracle", "the limit is refused");
	collect_often(20);
	all_dirty = all_dirty_so_far();
	collect_often(2);
	gave_up = all_dirty_so_far() > all_dirty;
}

static void large_garbage(void)
{
	for (int i = 0; i < 16; i++) {
		char *block = boehm_alloc_atomic(LARGE_BLOCK);

		for (size_t at = 0; at < LARGE_BLOCK; at += 4096)
			block[at] = 1;
	}
}

/* High numbers alone, so that it never closes what has become somebody else's. */
static void *open_and_close(void *arg)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	(void)arg;
	for (unsigned int n = 0;; n++) {
		int fds[MANY];

		for (int i = 0; i < MANY; i++)
			fds[i] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, HIGH + n % TURNS * MANY);
		nanosleep(&pause, NULL);
		for (int i = 0; i < MANY; i++)
			if (fds[i] >= 0)
				close(fds[i]);
	}
	return NULL;
}

void bad_files(void)
{
	pthread_t id;

	if (pthread_create(&id, NULL, open_and_close, NULL) || pthread_detach(id))
		boehm_fail("threads", "the system refuses");
}

unsigned long bad_restarts(void)
{
	struct pml_gc_stats s = { .size = sizeof(s) };

	pml_gc_get_stats(&s);
	return s.restarts > closed ? s.restarts - closed : 0;
}

static void GC_CALLBACK watch_errno(GC_EventType event)
{
	errno = EDOM;
	event_before(event);
	changes += errno != EDOM;
}

void bad_errno(void)
{
	event_before = GC_get_on_collection_event();
	GC_set_on_collection_event(watch_errno);
}

unsigned long bad_errno_changes(void)
{
	return changes;
}

bool bad_direct(void)
{
	return open("/proc/self/exe", O_RDONLY | O_DIRECT | O_CLOEXEC) >= 0;
}

void bad_collect(void)
{
	struct pml_gc_stats s = { .size = sizeof(s) };
	uint64_t before;

	pml_gc_get_stats(&s);
	before = s.stops;
	for (size_t done = 0; s.stops < before + 2 && done < MOST_GARBAGE; done += AT_ONCE * GARBAGE) {
		for (int i = 0; i < AT_ONCE; i++)
			memset(boehm_alloc(GARBAGE), 0xff, GARBAGE);
		pml_gc_get_stats(&s);
	}
}

/* The namespace of the children after it is the process's own again. */
pid_t bad_fork(void)
{
	int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	pid_t pid;

	if (own < 0 || unshare(CLONE_NEWPID))
		boehm_fail("pid namespace", "the system refuses");
	pid = fork();
	if (pid != 0 && setns(own, CLONE_NEWPID))
		boehm_fail("pid namespace", "the system refuses");
	close(own);
	return pid;
}

_Noreturn void bad_exec(const struct wishes *w)
{
	execl("/proc/self/exe", "boehm-oracle", "--chains", "5000", "--writes", "100000", "--quiet",
	      w->need ? "--need" : NULL, NULL);
	_exit(1);
}

unsigned long bad_now_and_then(const struct wishes *w, unsigned long turn)
{
	if ((w->close_all && turn % 16 == 3) || (w->files && turn == 3))
		close_all();
	if (w->close_some && turn == 3)
		close_some();
	if (w->run_out && turn == 3)
		run_out();
	if (w->no_descriptors && turn == 4)
		take_all_descriptors();
	if (w->unmap && turn % 16 == 5)
		large_garbage();
	if (w->unmap && turn % 16 == 9)
		for (int i = 0; i < 3; i++)
			GC_gcollect();
	if (w->toggle && turn % 8 == 1)
		GC_disable();
	if (w->toggle && turn % 8 == 3)
		GC_enable();
	return w->read_only && turn % 8 == 6 ? bad_read_only() : 0;
}
