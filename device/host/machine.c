/* SPDX-License-Identifier: MIT */
/*
 * machine.c - limit_look() and limit_set() of tools/pml/limit.h for a virtual machine; see
 * machine.h.
 *
 * A balloon takes memory from the guest's kernel, which frees it as for any allocation: by
 * dropping files, by swapping if it can.  A guest without swap is never asked for more than
 * it says it can spare, and not for all of that; when it has next to nothing to spare, it is
 * as good as at a stand, and gets back what it had.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"
#include "tool.h"

#define NOTES "/run/pml-balloons"	/* unless PML_BALLOONS_DIR names another */
#define MIB (1ull << 20)
#define SPARE_PART 20			/* a twentieth of what is there is left ... */
#define SPARE_LEAST (16 * MIB)		/* ... or this */
#define AT_A_STAND (UINT64_MAX / 1000)
#define WAITS 50			/* for the guest's first statistics, 0.1 s each */

static uint64_t number(const json_t *object, const char *key)
{
	double n = json_number_value(json_object_get(object, key));

	/* what a guest does not tell is 2^64 - 1 */
	return n > 0 && n < 0x1p63 ? (uint64_t)n : 0;
}

static int set_bytes(struct machine *m, uint64_t bytes)
{
	json_t *value;
	int rc = qmp_run(&m->qmp, "balloon", json_pack("{s:I}", "value", (json_int_t)bytes),
			 &value);

	json_decref(value);
	return rc;
}

static int get_bytes(struct machine *m, uint64_t *bytes)
{
	json_t *value;
	int rc = qmp_run(&m->qmp, "query-balloon", NULL, &value);

	*bytes = rc ? 0 : number(value, "actual");
	json_decref(value);
	return rc == 0 && !*bytes ? -EPROTO : rc;
}

/* ---- the device ---- */

static int find_in(struct machine *m, const char *folder)
{
	json_t *list, *item;
	int rc = qmp_run(&m->qmp, "qom-list", json_pack("{s:s}", "path", folder), &list);
	size_t i;

	if (rc == 0) {
		json_array_foreach(list, i, item) {
			const char *type = json_string_value(json_object_get(item, "type"));
			const char *name = json_string_value(json_object_get(item, "name"));

			if (!type || !name || strncmp(type, "child<virtio-balloon", 20) != 0)
				continue;
			snprintf(m->device, sizeof(m->device), "%s/%s", folder, name);
			break;
		}
	}
	json_decref(list);
	return rc;
}

static int find_device(struct machine *m)
{
	int rc = find_in(m, "/machine/peripheral");

	if (rc == 0 && !m->device[0])
		rc = find_in(m, "/machine/peripheral-anon");
	return rc == 0 && !m->device[0] ? -ENODEV : rc;
}

static int ask_for_statistics(struct machine *m)
{
	json_t *value;
	int rc = qmp_run(&m->qmp, "qom-set",
			 json_pack("{s:s, s:s, s:i}", "path", m->device, "property",
				   "guest-stats-polling-interval", "value", 1), &value);

	json_decref(value);
	return rc;
}

/* Sets *@stats, which is the caller's; -EAGAIN: the guest has told nothing yet. */
static int statistics(struct machine *m, json_t **stats)
{
	json_t *value;
	int rc = qmp_run(&m->qmp, "qom-get", json_pack("{s:s, s:s}", "path", m->device, "property",
						       "guest-stats"), &value);

	*stats = NULL;
	if (rc == 0 && !number(value, "last-update"))
		rc = -EAGAIN;
	if (rc == 0)
		*stats = json_incref(json_object_get(value, "stats"));
	json_decref(value);
	return rc == 0 && !number(*stats, "stat-total-memory") ? -EAGAIN : rc;
}

static int wait_for_statistics(struct machine *m)
{
	json_t *stats;
	int rc = -EAGAIN;

	for (int i = 0; rc == -EAGAIN && i < WAITS; i++) {
		rc = statistics(m, &stats);
		json_decref(stats);
		if (rc == -EAGAIN)
			nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	return rc;
}

/* ---- what is to be given back ---- */

/* Who ends removes its note: what was opened just before that is nobody's note any more, and
 * what is written there is lost. */
static int lock_note(struct machine *m)
{
	struct stat st;

	for (;;) {
		m->note = open(m->note_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (m->note < 0)
			return -errno;
		if (flock(m->note, LOCK_EX | LOCK_NB))
			return -EBUSY;
		if (fstat(m->note, &st))
			return -errno;
		if (st.st_nlink)
			return 0;
		close(m->note);
	}
}

static int open_note(struct machine *m, const char *monitor)
{
	const char *folder = getenv("PML_BALLOONS_DIR");
	struct stat st;

	if (!folder || !*folder)
		folder = NOTES;
	if (stat(monitor, &st) || (mkdir(folder, 0700) && errno != EEXIST))
		return -errno;
	snprintf(m->note_path, sizeof(m->note_path), "%s/%jx-%jx", folder, (uintmax_t)st.st_dev,
		 (uintmax_t)st.st_ino);
	return lock_note(m);
}

/* A note without its owner is of a run that was killed. */
static int take_note(struct machine *m)
{
	char text[32] = "";
	ssize_t n = pread(m->note, text, sizeof(text) - 1, 0);
	uint64_t before = n > 0 && strchr(text, '\n') ? strtoull(text, NULL, 10) : 0;
	int rc;

	if (before > m->before) {
		rc = set_bytes(m, before);
		if (rc)
			return rc;
		m->before = before;
		fprintf(stderr, "pml: the machine has %" PRIu64 " MiB again, as before a run that was "
			"killed\n", (uint64_t)(before / MIB));
	}
	n = snprintf(text, sizeof(text), "%" PRIu64 "\n", m->before);
	m->noted = true;
	return ftruncate(m->note, 0) || pwrite(m->note, text, (size_t)n, 0) != n || fsync(m->note)
	       ? -EIO : 0;
}

/* What a run that was killed has left stays until it has been given back. */
static bool may_drop_note(const struct machine *m)
{
	struct stat st;

	return m->noted || (fstat(m->note, &st) == 0 && !st.st_size);
}

static int refuse(struct machine *m, const char *monitor, int rc)
{
	switch (rc) {
	case -EBUSY:
		fail(monitor, "somebody else talks to this monitor, or limits the machine",
		    "end that, or give the machine another one with -qmp unix:PATH,server,nowait");
		break;
	case -EPROTO:
		fail(monitor, "it does not answer as a QMP monitor", "start the machine with "
		    "-qmp unix:PATH,server,nowait, and give PATH");
		break;
	case -ENODEV:
		fail(monitor, "the machine has no balloon", "start it with -device "
		    "virtio-balloon,deflate-on-oom=on");
		break;
	case -EAGAIN:
		fail(monitor, "the guest tells nothing of its memory", "load its virtio_balloon");
		break;
	default:
		fail(monitor, rc == -EREMOTEIO ? "the balloon cannot be used" : strerror(-rc),
		    "start the machine with -qmp unix:PATH,server,nowait and -device "
		    "virtio-balloon");
	}
	if (m->note >= 0 && rc != -EBUSY && may_drop_note(m))
		unlink(m->note_path);
	if (m->note >= 0)
		close(m->note);
	m->note = -1;
	qmp_close(&m->qmp);
	return rc;
}

int machine_begin(struct machine *m, const char *monitor)
{
	int rc;

	*m = (struct machine){ .note = -1, .qmp.fd = -1 };
	rc = open_note(m, monitor);
	if (rc == 0)
		rc = qmp_open(&m->qmp, monitor);
	if (rc == 0)
		rc = find_device(m);
	if (rc == 0)
		rc = get_bytes(m, &m->before);
	if (rc == 0)
		rc = take_note(m);
	if (rc == 0)
		rc = ask_for_statistics(m);
	if (rc == 0)
		rc = wait_for_statistics(m);
	return rc ? refuse(m, monitor, rc) : 0;
}

int machine_end(struct machine *m)
{
	int rc;

	if (m->note < 0)
		return 0;
	rc = m->limit.high ? set_bytes(m, m->before) : 0;
	if (rc)
		fail("balloon", "the machine could not be given back what it had",
		     "run this again, or use QEMU's monitor");
	else
		unlink(m->note_path);
	close(m->note);
	m->note = -1;
	qmp_close(&m->qmp);
	return rc;
}

/* ---- what apply.c does with it ---- */

static struct machine *of(struct limit *l)
{
	return (struct machine *)l;
}

int limit_look(struct limit *l, struct limit_look *look)
{
	struct machine *m = of(l);
	uint64_t actual, free_bytes, available, spare, faults;
	json_t *stats;
	int rc = get_bytes(m, &actual);

	*look = (struct limit_look){ 0 };
	if (rc == 0)
		rc = statistics(m, &stats);
	if (rc)
		return rc;
	free_bytes = number(stats, "stat-free-memory");
	available = number(stats, "stat-available-memory");
	faults = number(stats, "stat-major-faults");
	json_decref(stats);
	spare = actual / SPARE_PART > SPARE_LEAST ? actual / SPARE_PART : SPARE_LEAST;
	m->least = actual + spare > available ? actual + spare - available : actual;
	if (!m->swapping && available < spare / 4)
		look->stalled_us = AT_A_STAND;
	look->current = actual > free_bytes ? actual - free_bytes : actual;
	/* after a reboot they are counted anew */
	look->refaults = m->looked && faults > m->major_faults ? faults - m->major_faults : 0;
	m->major_faults = faults;
	m->looked = true;
	return 0;
}

int limit_set(struct limit *l, uint64_t high)
{
	struct machine *m = of(l);
	int rc;

	if (high && !m->swapping && high < m->least)
		high = m->least;
	high -= high % MIB;
	if (high >= m->before)
		high = 0;
	/* whatever the monitor answers, if it does: the guest may have less from here on */
	if (high)
		l->high = high;
	rc = set_bytes(m, high ? high : m->before);
	if (rc == 0)
		l->high = high;
	return rc;
}
