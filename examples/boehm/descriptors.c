/* SPDX-License-Identifier: MIT */
/* A tracker's descriptors; see descriptors.h.  Called by tracker.c. */
#define _GNU_SOURCE
#include "descriptors.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

void pml_gc_descriptors_now(struct pml_gc_open *open)
{
	for (int fd = 0; fd < PML_GC_NUMBERS; fd++) {
		struct stat st;
		bool is_open = fstat(fd, &st) == 0;

		open->dev[fd] = is_open ? st.st_dev : 0;
		open->ino[fd] = is_open ? st.st_ino : 0;
	}
}

static bool is_anonymous(int fd, const char *name)
{
	char path[32], link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return false;
	link[n] = '\0';
	return strcmp(link, name) == 0;
}

static bool is_userfaultfd(int fd)
{
	return is_anonymous(fd, "anon_inode:[userfaultfd]");
}

/* Whether a back-end may have opened it: files of /proc, userfaultfds, an eventfd, the
 * module's device.  What a thread opens for itself meanwhile mostly is something else. */
static bool is_a_trackers(int fd, const struct stat *st)
{
	struct statfs fs;
	struct stat device;

	if (S_ISCHR(st->st_mode))
		return stat("/dev/pml", &device) == 0 && device.st_rdev == st->st_rdev;
	if (fstatfs(fd, &fs))
		return false;
	return fs.f_type == PROC_SUPER_MAGIC ||
	       (fs.f_type == ANON_INODE_FS_MAGIC &&
		(is_userfaultfd(fd) || is_anonymous(fd, "anon_inode:[eventfd]")));
}

void pml_gc_descriptors_since(struct pml_gc_descriptors *d, const struct pml_gc_open *before)
{
	d->n = 0;
	d->unknown = false;
	for (int fd = 0; fd < PML_GC_NUMBERS; fd++) {
		struct stat st;

		/* a number that was another thread's may be the tracker's now */
		if (fstat(fd, &st) || (before->dev[fd] == st.st_dev && before->ino[fd] == st.st_ino) ||
		    !is_a_trackers(fd, &st))
			continue;
		if (d->n == PML_GC_MAX_DESCRIPTORS) {
			d->unknown = true;
			return;
		}
		d->list[d->n++] = (struct pml_gc_descriptor){
			.fd = fd, .dev = st.st_dev, .ino = st.st_ino, .holds = is_userfaultfd(fd),
		};
	}
	/* beyond the numbers that are looked at */
	d->unknown = d->n == 0;
}

static bool is_same(const struct pml_gc_descriptor *d)
{
	struct stat st;

	return fstat(d->fd, &st) == 0 && st.st_dev == d->dev && st.st_ino == d->ino;
}

bool pml_gc_descriptors_same(const struct pml_gc_descriptors *d)
{
	for (unsigned int i = 0; i < d->n; i++)
		if (!is_same(d->list + i))
			return false;
	return true;
}

void pml_gc_descriptors_let_go(const struct pml_gc_descriptors *d)
{
	for (unsigned int i = 0; i < d->n; i++)
		if (d->list[i].holds && is_same(d->list + i) && is_userfaultfd(d->list[i].fd))
			close(d->list[i].fd);
}

static struct pml_gc_descriptor *some_other(struct pml_gc_descriptors *d)
{
	for (unsigned int i = 0; i < d->n; i++)
		if (!d->list[i].holds && is_same(d->list + i))
			return d->list + i;
	return NULL;
}

void pml_gc_descriptors_forked(struct pml_gc_descriptors *d)
{
	const struct pml_gc_descriptor *other = some_other(d);

	for (unsigned int i = 0; i < d->n && other; i++) {
		struct pml_gc_descriptor *own = d->list + i;

		if (!own->holds || !is_same(own) || dup3(other->fd, own->fd, O_CLOEXEC) < 0)
			continue;
		own->dev = other->dev;
		own->ino = other->ino;
		own->holds = false;
	}
}
