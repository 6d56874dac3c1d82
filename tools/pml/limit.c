/* SPDX-License-Identifier: MIT */
/*
 * limit.c - memory.high of a cgroup: set, watched, and put back on any end.
 *
 * memory.high is enforced by reclaim alone, and never by killing.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "cgroup_file.h"
#include "limit.h"
#include "say.h"

#define NOTES "/run/pml-limits"		/* unless PML_LIMITS_DIR names another */
#define NOTE_FORMAT "%-31s\n%s\n"	/* what memory.high was, and the cgroup */
#define PATIENCE_US 200000		/* with the kernel's reclaim, at each setting */

/* ---- files ---- */

static int read_high(int directory, char text[32])
{
	int rc = cgroup_read(directory, "memory.high", text, 32);

	if (rc == 0)
		text[strcspn(text, "\n")] = '\0';
	return rc;
}

static void nothing(int number)
{
	(void)number;
}

/*
 * The kernel reclaims within the write, for as long as it gets anywhere; against a
 * load that fetches all of it back, that may be for ever.  The limit holds from the
 * beginning, so the write may be cut short: a signal does so.
 */
static int write_high(int directory, const char *text)
{
	struct itimerval timer = { { 0, PATIENCE_US }, { 0, PATIENCE_US } }, off = { 0 };
	struct sigaction action = { .sa_handler = nothing }, former;
	int fd = openat(directory, "memory.high", O_WRONLY | O_TRUNC | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	sigaction(SIGALRM, &action, &former);
	setitimer(ITIMER_REAL, &timer, NULL);
	do
		n = write(fd, text, strlen(text));
	while (n < 0 && errno == EINTR);
	n = n < 0 ? -errno : 0;
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &former, NULL);
	close(fd);
	return (int)n;
}

/* Of the line "full avg10=... total=N"; a kernel without pressure figures tells none. */
static uint64_t stalled_of(int directory)
{
	char text[512] = "";
	const char *line, *total;

	if (cgroup_read(directory, "memory.pressure", text, sizeof(text)))
		return 0;
	line = strstr(text, "full ");
	total = line ? strstr(line, "total=") : NULL;
	return total ? strtoull(total + strlen("total="), NULL, 10) : 0;
}

static int gone(int rc)
{
	return rc == -ENODEV || rc == -ENOENT ? -ESRCH : rc;
}

/* ---- what is to be put back ---- */

static const char *notes(void)
{
	const char *named = getenv("PML_LIMITS_DIR");

	return named && *named ? named : NOTES;
}

static void name_note(char path[PATH_MAX], const struct stat *st)
{
	snprintf(path, PATH_MAX, "%s/%jx-%jx", notes(), (uintmax_t)st->st_dev,
		 (uintmax_t)st->st_ino);
}

/* Whether it is still that cgroup, not another one of its name. */
static bool is_of(const char *note_path, int directory)
{
	struct stat st;
	char path[PATH_MAX];

	if (fstat(directory, &st))
		return false;
	name_note(path, &st);
	return !strcmp(path, note_path);
}

/* False: it is still to be done. */
static bool put_back(const char *note_path, char *text)
{
	char *path = strchr(text, '\n');
	int directory, rc = 0;

	/* a note that was not finished is of a limit that was not set */
	if (!path || path[strlen(path) - 1] != '\n')
		return true;
	*path++ = '\0';
	text[strcspn(text, " ")] = '\0';
	path[strcspn(path, "\n")] = '\0';
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return true;
	if (is_of(note_path, directory)) {
		rc = write_high(directory, text);
		if (rc == 0)
			say_note("wss", "%s: memory.high is %s again, as it was before a run that "
				 "was killed", path, text);
	}
	close(directory);
	return rc == 0;
}

/* Puts back what a note says, if nobody holds it any more.  One whose owner has ended since
 * it was opened says nothing, and what bears its name by now is another's. */
static void recover_one(const char *note_path)
{
	char text[PATH_MAX + 64] = "";
	struct stat st;
	int fd = open(note_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink) {
		n = read(fd, text, sizeof(text) - 1);
		if (n <= 0 || put_back(note_path, text))
			unlink(note_path);
	}
	close(fd);
}

static void recover_all(void)
{
	DIR *folder = opendir(notes());
	struct dirent *entry;
	char path[PATH_MAX];

	while (folder && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", notes(), entry->d_name);
		recover_one(path);
	}
	if (folder)
		closedir(folder);
}

static int write_note(struct limit *l)
{
	char text[PATH_MAX + 64];
	int n = snprintf(text, sizeof(text), NOTE_FORMAT, l->before, l->path);

	return pwrite(l->note, text, (size_t)n, 0) == n && fsync(l->note) == 0 ? 0 : -EIO;
}

/* The note, locked; somebody who looks for what is to be put back may hold it shortly.
 * One that says something still is of a run that was killed, and it is not to be
 * forgotten what was there before that: -EUCLEAN. */
static int open_note(struct limit *l)
{
	struct stat st;
	bool is_ours;

	if (fstat(l->directory, &st))
		return -errno;
	if (mkdir(notes(), 0700) && errno != EEXIST)
		return -errno;
	name_note(l->note_path, &st);
	for (int tries = 0; tries < 20; tries++) {
		l->note = open(l->note_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (l->note < 0)
			return -errno;
		is_ours = flock(l->note, LOCK_EX | LOCK_NB) == 0 && fstat(l->note, &st) == 0 &&
			  st.st_nlink;
		if (is_ours && !st.st_size)
			return 0;
		close(l->note);
		l->note = -1;
		if (is_ours)
			return -EUCLEAN;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	return -EBUSY;
}

static void drop(struct limit *l)
{
	if (l->note >= 0)
		close(l->note);
	if (l->directory >= 0)
		close(l->directory);
	l->note = -1;
	l->directory = -1;
}

static int refuse(struct limit *l, const char *path, int error)
{
	if (error == -EBUSY)
		say_failed("wss", "cgroup %s: another run limits it already; end that one", path);
	else if (error == -EUCLEAN)
		say_failed("wss", "cgroup %s: memory.high is as a run that was killed left it, and "
			   "what was there before could not be put back; run this again, or "
			   "write it there: %s has it", path, l->note_path);
	else if (error == -ENOENT)
		say_failed("wss", "cgroup %s: it has no memory.high; name a cgroup v2 below the "
			   "root whose parent has +memory in cgroup.subtree_control", path);
	else
		say_failed("wss", "cgroup %s: it cannot be limited: %s; run as root", path,
			   strerror(-error));
	if (l->note >= 0)
		unlink(l->note_path);
	drop(l);
	return error;
}

int limit_begin(struct limit *l, const char *path)
{
	struct limit_look look;
	int rc = 0;

	recover_all();
	*l = (struct limit){ .directory = -1, .note = -1 };
	l->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->directory < 0 || !realpath(path, l->path))
		return refuse(l, path, -errno);
	if (faccessat(l->directory, "memory.high", F_OK, 0))
		rc = -ENOENT;
	if (rc == 0)
		rc = open_note(l);
	/* only now nobody else changes it under such a note */
	if (rc == 0)
		rc = read_high(l->directory, l->before);
	if (rc == 0)
		rc = write_note(l);
	if (rc == 0)
		rc = limit_look(l, &look);
	memcpy(l->ours, l->before, sizeof(l->ours));
	return rc ? refuse(l, path, rc) : 0;
}

/* ---- the limit ---- */

int limit_look(struct limit *l, struct limit_look *look)
{
	uint64_t refaults, throttled, stalled;
	char text[8192] = "";
	int rc = cgroup_read(l->directory, "memory.current", text, sizeof(text));

	*look = (struct limit_look){ .current = strtoull(text, NULL, 10) };
	if (rc == 0)
		rc = cgroup_read(l->directory, "memory.stat", text, sizeof(text));
	if (rc)
		return gone(rc);
	refaults = cgroup_number(text, "workingset_refault_anon") +
		   cgroup_number(text, "workingset_refault_file");
	look->beside = cgroup_number(text, "kernel") + cgroup_number(text, "sock") +
		       cgroup_number(text, "active_file") + cgroup_number(text, "file_mapped");
	rc = cgroup_read(l->directory, "memory.events", text, sizeof(text));
	throttled = rc ? 0 : cgroup_number(text, "high");
	stalled = stalled_of(l->directory);
	look->refaults = refaults - l->refaults;
	look->throttled = throttled - l->throttled;
	look->stalled_us = stalled - l->stalled_us;
	l->refaults = refaults;
	l->throttled = throttled;
	l->stalled_us = stalled;
	return 0;
}

/* Somebody else has set it meanwhile: that is what is to be put back then. */
static int respect_others(struct limit *l)
{
	char now[32];
	int rc = read_high(l->directory, now);

	if (rc || !strcmp(now, l->ours))
		return rc;
	say_note("wss", "%s: memory.high was set to %s by another; that will be put back", l->path,
		 now);
	memcpy(l->before, now, sizeof(l->before));
	return write_note(l);
}

int limit_set(struct limit *l, uint64_t high)
{
	char text[32];
	int rc = respect_others(l);

	if (rc)
		return gone(rc);
	if (strcmp(l->before, "max") != 0 && high >= strtoull(l->before, NULL, 10))
		high = 0;
	/* as the kernel will tell it; to read it back might be to read what another set */
	high -= high % (uint64_t)sysconf(_SC_PAGESIZE);
	snprintf(text, sizeof(text), "%" PRIu64, high);
	rc = write_high(l->directory, high ? text : l->before);
	if (rc)
		return gone(rc);
	memcpy(l->ours, high ? text : l->before, sizeof(l->ours));
	l->high = high;
	return 0;
}

int limit_end(struct limit *l)
{
	char now[32];
	int rc;

	if (l->directory < 0)
		return 0;
	rc = read_high(l->directory, now);
	if (rc == 0 && strcmp(now, l->ours) != 0)
		say_note("wss", "%s: memory.high was set to %s by another; it is left so",
			 l->path, now);
	else if (rc == 0 && strcmp(now, l->before) != 0)
		rc = write_high(l->directory, l->before);
	rc = gone(rc);
	if (rc == -ESRCH)
		rc = 0;
	/* the note stays for the next start, then */
	if (rc)
		say_failed("wss", "%s: memory.high could not be put back to %s: %s; run this again, "
			   "or write it there", l->path, l->before, strerror(-rc));
	else
		unlink(l->note_path);
	drop(l);
	return rc;
}
