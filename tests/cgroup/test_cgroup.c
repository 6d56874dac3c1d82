/* SPDX-License-Identifier: MIT */
/*
 * test_cgroup.c - what a tracker of a cgroup tells: of processes that are there,
 * that join, leave, and come and go unseen; of a cgroup that is removed; and
 * what is no cgroup v2.  Run by CTest; mounts what it needs for itself alone.
 */
#define _GNU_SOURCE
#include "common.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static void refused(const char *what, const char *path, int expected)
{
	char message[256] = "";
	struct pml_options o = {
		.size = sizeof(o), .target = PML_TARGET_CGROUP, .cgroup = path,
		.message = message, .message_size = sizeof(message),
	};
	struct pml *t;
	int err = pml_open(&t, &o);

	tap_ok(err == expected && strchr(message, ';'), "%s is refused in words (%d, %s)", what,
	       err, message);
	if (!err)
		pml_close(t);
}

/* The tree is mounted at another place for one collect; a cgroup itself cannot be
 * renamed in version 2. */
static void moved_tree(struct pml *t, const struct pml_result **r)
{
	char other[sizeof(below) + 8];

	snprintf(other, sizeof(other), "%s-renamed", below);
	tap_ok(rename(below, other) && access(below, F_OK) == 0, "a cgroup v2 cannot be renamed");
	*r = NULL;
	if (mount(v2, v1, NULL, MS_MOVE, NULL)) {
		tap_note("the mount cannot be moved: %s", strerrordesc_np(errno));
		collect(t, r);
		return;
	}
	collect(t, r);
	mount(v1, v2, NULL, MS_MOVE, NULL);
}

static void follow(struct pml *t)
{
	struct child a = born(), b = born(), c;
	const struct pml_result *r;

	tap_ok(put(a.pid, group) && !pml_start(t), "started with one process in it: %s",
	       pml_message(t));
	writes(&a, 3);
	tap_ok(!collect(t, &r) && dirty(r, a.pid) == 1 && r->processes == 1,
	       "the page that it writes is told, and no other");
	writes(&b, 1);
	tap_ok(!collect(t, &r) && !dirty(r, b.pid), "a process outside is not told of");
	put(b.pid, below);
	tap_ok(!collect(t, &r) && dirty(r, b.pid) == PAGES,
	       "one that joins, in a cgroup below, is told of with all that is there");
	writes(&b, 5);
	tap_ok(!collect(t, &r) && dirty(r, b.pid) == 1 && !dirty(r, a.pid) && r->processes == 2,
	       "and then with what it writes");
	put(a.pid, v2);
	writes(&a, 7);
	tap_ok(!collect(t, &r) && !dirty(r, a.pid) && r->processes == 1,
	       "one that leaves is not told of any more");
	put(a.pid, group);
	tap_ok(!collect(t, &r) && dirty(r, a.pid) == PAGES, "one that comes back is new");
	writes(&a, 2);
	moved_tree(t, &r);
	tap_ok(r && dirty(r, a.pid) == 1, "where its tree is mounted elsewhere, it is still followed");
	c = born();
	put(c.pid, group);
	dies(&c);
	tap_ok(!collect(t, &r) && unseen(r), "one that came and went between two polls is uncovered");
	dies(&b);
	tap_ok(!collect(t, &r) && r->processes == 1, "one that exits is no error");
	dies(&a);
	tap_ok(!collect(t, &r) && r->processes == 0, "nor is an empty cgroup");
}

int main(void)
{
	struct pml_options o = { .size = sizeof(o), .target = PML_TARGET_CGROUP };
	const struct pml_result *r;
	char message[256] = "";
	struct pml *t;
	int err;

	if (!prepare()) {
		printf("1..0 # SKIP no cgroup v2 can be mounted here: %s\n", strerrordesc_np(errno));
		clean_up();
		return TAP_SKIP_ALL;
	}
	o.cgroup = group;
	o.message = message;
	o.message_size = sizeof(message);
	refused("a directory that is none", "/tmp", -EINVAL);
	refused("one that is not there", "/nowhere", -ESRCH);
	refused("no name", "", -EINVAL);
	if (mount("none", v1, "cgroup", 0, "none,name=pml-test"))
		tap_skip("the kernel has no cgroup v1", "a cgroup v1 is refused");
	else
		refused("a cgroup v1", v1, -ENOTSUP);
	err = pml_open(&t, &o);
	if (err) {
		tap_ok(false, "pml_open of a cgroup: %d, %s", err, message);
	} else {
		follow(t);
		rmdir(below);
		tap_ok(!rmdir(group) && pml_collect(t, NULL, &r) == -ESRCH &&
		       strstr(pml_message(t), "removed"), "a cgroup that is removed is told of: %s",
		       pml_message(t));
		pml_close(t);
	}
	clean_up();
	return tap_done();
}
