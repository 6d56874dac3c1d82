/* SPDX-License-Identifier: MIT */
/* Folders and stat files of /proc; see listing.h. */
#define _GNU_SOURCE
#include "listing.h"
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As getdents64(2) gives them. */
struct entry {
	uint64_t ino;
	int64_t next;
	uint16_t len;
	uint8_t type;
	char name[];
};

int pml_list(int dir, int (*each)(void *arg, const char *name), void *arg)
{
	char entries[2048] __attribute__((aligned(8)));
	long n;
	int rc;

	while ((n = syscall(SYS_getdents64, dir, entries, sizeof(entries))) > 0) {
		for (long at = 0; at < n;) {
			const struct entry *e = (const void *)(entries + at);

			at += e->len;
			rc = e->name[0] == '.' ? 0 : each(arg, e->name);
			if (rc)
				return rc;
		}
	}
	return n < 0 ? -errno : 0;
}

int pml_stat_read(struct pml_stat *s, int dir, int32_t id)
{
	char name[32], num[24];
	int fd, err = 0;
	ssize_t n;

	pml_words(name, sizeof(name), pml_number(num, (uint64_t)id), "/stat");
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, s->text, sizeof(s->text) - 1);
	if (n < 0)
		err = -errno;
	close(fd);
	if (err)
		return err;
	s->text[n] = '\0';
	/* the second field is a name, which may have blanks and brackets in it */
	s->state = strrchr(s->text, ')');
	if (!s->state || s->state[1] != ' ')
		return -EIO;
	s->state += 2;
	return 0;
}
