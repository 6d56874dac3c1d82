/* SPDX-License-Identifier: MIT */
/*
 * Entries of /proc/PID/pagemap: see entry.h.  What a marker and the page of zeros look
 * like is the kernel's own business, and differs with its configuration.  So both are
 * made in pages of our own, and looked at.
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

/* As far as they are known; 0 is neither. */
static struct {
	bool learned;
	uint64_t marker;
	uint64_t zeros;
} known;

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

/* Without the right to see frames all look alike: then nothing is known. */
static uint64_t frame_known(uint64_t entry, uint64_t kind)
{
	return entry & kind && entry & ENTRY_FRAME ? what(entry) : 0;
}

static void learn(void)
{
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct entries own = { .fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) };
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	known.learned = true;
	if (pages != MAP_FAILED && own.fd >= 0) {
		madvise(pages, 2 * PAGE, MADV_NOHUGEPAGE);
		(void)*(volatile char *)pages;
		if (uffd >= 0 && make_marker(uffd, pages + PAGE))
			known.marker = frame_known(entries_at(&own, (uintptr_t)pages + PAGE),
						   ENTRY_SWAPPED);
		known.zeros = frame_known(entries_at(&own, (uintptr_t)pages), ENTRY_PRESENT);
	}
	if (pages != MAP_FAILED)
		munmap(pages, 2 * PAGE);
	if (own.fd >= 0)
		close(own.fd);
	if (uffd >= 0)
		close(uffd);
}

bool entry_is_marker(uint64_t entry)
{
	if (!known.learned)
		learn();
	return known.marker && what(entry) == known.marker;
}

bool entry_in_images(uint64_t entry)
{
	if (!known.learned)
		learn();
	if (!(entry & (ENTRY_PRESENT | ENTRY_SWAPPED)) || entry & ENTRY_FILE)
		return false;
	return what(entry) != known.zeros && !entry_is_marker(entry);
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
