/* SPDX-License-Identifier: MIT */
/*
 * Entries of /proc/PID/pagemap: see entry.h.  What a marker looks like is the kernel's
 * own business, and may differ with its configuration.  So one is made in a page of our
 * own, and looked at.
 */
#define _GNU_SOURCE
#include "entry.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "criu_abi.h"

#define PAGE 4096u
#define UFFD_WP_UNPOPULATED (1u << 13)	/* Linux 6.4 */

/* What markers look like, if that is known. */
static uint64_t marker;

/* Soft-dirty is a mapping's too, and the file's bit no part of what a page is. */
static uint64_t what(uint64_t entry)
{
	return entry & (ENTRY_PRESENT | ENTRY_SWAPPED | ENTRY_FRAME);
}

/* One page that nothing was written to is watched as wp-async does.  Nothing is known
 * if the kernel cannot, and then there are no markers. */
static bool make_marker(int uffd, void *page)
{
	struct uffdio_range range = { .start = (uintptr_t)page, .len = PAGE };
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_WP_UNPOPULATED };
	struct uffdio_register watch = { .range = range, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect arm = { .range = range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	return !ioctl(uffd, UFFDIO_API, &api) && !ioctl(uffd, UFFDIO_REGISTER, &watch) &&
	       !ioctl(uffd, UFFDIO_WRITEPROTECT, &arm);
}

static void learn(void)
{
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct entries own = { .fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) };
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t made;

	if (uffd >= 0 && own.fd >= 0 && page != MAP_FAILED && make_marker(uffd, page)) {
		made = what(entries_at(&own, (uintptr_t)page));
		/* without the right to see frames all swapped pages look alike */
		if (made & ENTRY_SWAPPED && made & ENTRY_FRAME)
			marker = made;
	}
	if (page != MAP_FAILED)
		munmap(page, PAGE);
	if (own.fd >= 0)
		close(own.fd);
	if (uffd >= 0)
		close(uffd);
}

bool entry_is_marker(uint64_t entry)
{
	static bool learned;

	if (!learned)
		learn();
	learned = true;
	return marker && what(entry) == marker;
}

uint64_t entries_at(struct entries *e, uint64_t address)
{
	ssize_t n;

	if (address < e->start || address - e->start >= e->n * PAGE) {
		n = pread(e->fd, e->v, sizeof(e->v), (off_t)(address / PAGE * sizeof(*e->v)));
		e->start = address;
		e->n = n < 0 ? 0 : (size_t)n / sizeof(*e->v);
	}
	return e->n ? e->v[(address - e->start) / PAGE] : ENTRY_PRESENT;
}
