/* SPDX-License-Identifier: MIT */
/* target.c - starting, watching and ending the targets of target.h. */
#include "target.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long anything may take before it counts as stuck, in milliseconds. */
enum { STUCK_MS = 20000 };

static void nap(void)
{
	const struct timespec ms = { 0, 1000000 };

	nanosleep(&ms, NULL);
}

void target_ready(struct shared *shared)
{
	atomic_store(&shared->ready, true);
}

void target_error(struct shared *shared, const char *format, ...)
{
	va_list args;

	if (atomic_fetch_add(&shared->errors, 1))
		return;
	va_start(args, format);
	vsnprintf(shared->why, sizeof(shared->why), format, args);
	va_end(args);
}

struct target target_start(behaviour run)
{
	struct target target;
	int i;

	target.shared = mmap(NULL, sizeof(*target.shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (target.shared == MAP_FAILED)
		abort();
	target.pid = fork();
	if (!target.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(target.shared);
		_exit(0);
	}
	for (i = 0; i < STUCK_MS && !atomic_load(&target.shared->ready); i++)
		nap();
	return target;
}

bool target_goes_on(const struct target *target, unsigned long n)
{
	unsigned long begin = atomic_load(&target->shared->rounds);
	int i;

	for (i = 0; i < STUCK_MS; i++) {
		if (atomic_load(&target->shared->rounds) - begin >= n)
			return true;
		nap();
	}
	return false;
}

bool target_end(struct target *target, unsigned long rounds)
{
	struct shared *shared = target->shared;
	bool good = target_goes_on(target, 1) && atomic_load(&shared->rounds) > rounds;
	int status = 0, i;
	pid_t ended = 0;

	if (!good)
		tap_note("the target does not get on: %lu rounds", atomic_load(&shared->rounds));
	atomic_store(&shared->stop, true);
	for (i = 0; i < STUCK_MS && !ended; i++) {
		ended = waitpid(target->pid, &status, WNOHANG);
		if (!ended)
			nap();
	}
	if (ended != target->pid || status) {
		tap_note("the target ended badly: waitpid %d, status 0x%x", ended, (unsigned)status);
		good = false;
	}
	if (atomic_load(&shared->errors)) {
		tap_note("%lu errors, the first: %s", atomic_load(&shared->errors), shared->why);
		good = false;
	}
	target_kill(target);
	return good;
}

void target_kill(struct target *target)
{
	kill(target->pid, SIGKILL);
	waitpid(target->pid, NULL, 0);
	munmap(target->shared, sizeof(*target->shared));
	target->shared = NULL;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

void target_fds(const struct target *target, char *text, size_t size)
{
	char path[64];
	struct dirent **names = NULL;
	size_t used = 0;
	int i, n;

	snprintf(path, sizeof(path), "/proc/%d/fd", target->pid);
	n = scandir(path, &names, NULL, by_name);
	text[0] = '\0';
	for (i = 0; i < n; i++) {
		char link[512], to[256];
		ssize_t length;

		snprintf(link, sizeof(link), "%s/%s", path, names[i]->d_name);
		length = readlink(link, to, sizeof(to) - 1);
		to[length < 0 ? 0 : length] = '\0';
		if (used < size)
			used += (size_t)snprintf(text + used, size - used, "%s -> %s\n",
						 names[i]->d_name, to);
		free(names[i]);
	}
	free(names);
}

char target_state(pid_t pid)
{
	char path[64], text[512];
	const char *at;
	size_t n;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return '?';
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	at = strrchr(text, ')');
	return at ? at[2] : '?';
}

struct job {
	struct shared *shared;
	behaviour run;
};

static void *thread_main(void *arg)
{
	const struct job *job = arg;

	job->run(job->shared);
	return NULL;
}

void target_threads(struct shared *shared, unsigned int n, behaviour run)
{
	struct job job = { shared, run };
	pthread_t threads[64];
	unsigned int i;

	for (i = 1; i < n; i++)
		if (pthread_create(&threads[i], NULL, thread_main, &job))
			abort();
	run(shared);
	for (i = 1; i < n; i++)
		pthread_join(threads[i], NULL);
}

static int vfork_main(void *arg)
{
	const struct job *job = arg;

	/* Not of the library: the child shares even what getpid() might keep. */
	atomic_store(&job->shared->helper, syscall(SYS_getpid));
	job->run(job->shared);
	return 0;
}

void target_vfork(struct shared *shared, behaviour run)
{
	static char stack[65536] __attribute__((aligned(16)));
	struct job job = { shared, run };
	pid_t child = clone(vfork_main, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
			    &job);

	if (child > 0)
		waitpid(child, NULL, 0);
	else
		target_error(shared, "no child: %s", strerror(errno));
}
