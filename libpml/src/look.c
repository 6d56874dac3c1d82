/* SPDX-License-Identifier: MIT */
/* What the kernel says of pages; see look.h. */
#define _GNU_SOURCE
#include "look.h"
#include "kernel_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define VEC_LEN 2048

/* The kernel's word for a page, in /proc/PID/pagemap. */
#define WORD_PRESENT	(1ull << 63)
#define WORD_SWAPPED	(1ull << 62)
#define WORD_FILE	(1ull << 61)
#define WORD_ARMED	(1ull << 57)
#define WORD_EXCLUSIVE	(1ull << 56)
#define WORD_SOFT_DIRTY	(1ull << 55)
#define WORD_FRAME	((1ull << 55) - 1)

/* The zero page's frame number, learnt from a page of our own that was only
 * read.  Without the right to see frame numbers it stays 0. */
static uint64_t find_zero_frame(size_t page)
{
	volatile char *m = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t word = 0;

	if (m != MAP_FAILED && fd >= 0) {
		(void)m[0];
		if (pread(fd, &word, sizeof(word), (off_t)((uintptr_t)m / page * 8)) != sizeof(word))
			word = 0;
	}
	if (m != MAP_FAILED)
		munmap((void *)m, page);
	if (fd >= 0)
		close(fd);
	return word & WORD_PRESENT ? word & WORD_FRAME : 0;
}

static bool has_scan(int pagemap)
{
	struct pml_scan_arg a = { .size = sizeof(a), .return_mask = PML_PAGE_PRESENT };
	struct pml_page_region v;

	a.vec = (uintptr_t)&v;
	a.vec_len = 1;
	return ioctl(pagemap, PML_PAGEMAP_SCAN, &a) >= 0;
}

int pml_look_open(struct pml_look *l, struct pml_proc *p)
{
	int err;

	l->pagemap = openat(p->dirfd, "pagemap", O_RDONLY | O_CLOEXEC);
	if (l->pagemap < 0)
		return -errno;
	l->no_scan = !has_scan(l->pagemap);
	if (l->no_scan)
		l->zero_frame = find_zero_frame(p->page_size);
	err = pml_buf_reserve(p->pool, &l->vec, VEC_LEN * sizeof(struct pml_page_region));
	if (err)
		pml_look_close(l);
	return err;
}

void pml_look_close(struct pml_look *l)
{
	if (l->pagemap >= 0)
		close(l->pagemap);
	l->pagemap = -1;
	pml_buf_free(&l->vec);
}

static unsigned int seen_by_scan(uint64_t categories)
{
	unsigned int seen = 0;

	if (!(categories & PML_PAGE_PFNZERO))
		seen |= PML_SEEN_CONTENT;
	if (categories & PML_PAGE_SOFT_DIRTY)
		seen |= PML_SEEN_SOFT_DIRTY;
	if (categories & PML_PAGE_FILE)
		seen |= PML_SEEN_FILE;
	if (!(categories & PML_PAGE_WRITTEN))
		seen |= PML_SEEN_ARMED;
	if (categories & PML_PAGE_HUGE)
		seen |= PML_SEEN_HUGE;
	return seen;
}

static int look_by_scan(struct pml_look *l, struct pml_proc *p, uint64_t start, uint64_t end,
			pml_look_fn fn, void *arg)
{
	const struct pml_page_region *v = l->vec.p;

	while (start < end) {
		struct pml_scan_arg a = {
			.size = sizeof(a), .start = start, .end = end, .vec = (uintptr_t)v,
			.vec_len = VEC_LEN, .category_anyof_mask = PML_PAGE_PRESENT | PML_PAGE_SWAPPED,
			.return_mask = PML_PAGE_SOFT_DIRTY | PML_PAGE_PFNZERO | PML_PAGE_FILE |
				       PML_PAGE_HUGE | PML_PAGE_WRITTEN,
		};
		long n = ioctl(l->pagemap, PML_PAGEMAP_SCAN, &a);
		uint64_t walked;

		p->cost.scans++;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (long i = 0; i < n; i++) {
			int err = fn(arg, v[i].start, v[i].end, seen_by_scan(v[i].categories));

			if (err)
				return err;
		}
		/* walk_end is not to be relied on: unless the vector is used up, the
		 * scan got to the end */
		walked = n < VEC_LEN ? end : v[n - 1].end;
		p->cost.scanned_bytes += walked - start;
		start = walked;
	}
	return 0;
}

/* A huge page's pages cannot be told from others by their words. */
static unsigned int seen_by_word(const struct pml_look *l, uint64_t word)
{
	uint64_t frame = word & WORD_FRAME;
	unsigned int seen = 0;

	if (!(word & (WORD_PRESENT | WORD_SWAPPED)))
		return 0;
	if ((word & WORD_SWAPPED) || !frame || frame != l->zero_frame)
		seen |= PML_SEEN_CONTENT;
	/* frames are hidden: but the zero page is never exclusive */
	if (!(word & (WORD_SWAPPED | WORD_EXCLUSIVE | WORD_FILE)) && !frame)
		seen |= PML_SEEN_UNSURE;
	if (word & WORD_SOFT_DIRTY)
		seen |= PML_SEEN_SOFT_DIRTY;
	if (word & WORD_FILE)
		seen |= PML_SEEN_FILE;
	if (word & WORD_ARMED)
		seen |= PML_SEEN_ARMED;
	/* bit 31 is none of the PML_SEEN ones: the page is there, and that is all */
	return seen | 1u << 31;
}

static int look_by_words(struct pml_look *l, struct pml_proc *p, uint64_t start, uint64_t end,
			 pml_look_fn fn, void *arg)
{
	const uint64_t *words = l->vec.p;
	uint64_t from = start;
	unsigned int run = 0;
	int err = 0;

	for (uint64_t at = start; at < end && !err;) {
		uint64_t n = (end - at) >> p->page_shift;
		ssize_t got;

		if (n > l->vec.len / sizeof(*words))
			n = l->vec.len / sizeof(*words);
		got = pread(l->pagemap, l->vec.p, n * sizeof(*words), (off_t)((at >> p->page_shift) * 8));
		p->cost.scans++;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got < (ssize_t)sizeof(*words))
			break;
		n = (uint64_t)got / sizeof(*words);
		for (uint64_t i = 0; i < n && !err; i++, at += p->page_size) {
			unsigned int seen = seen_by_word(l, words[i]);

			if (seen == run)
				continue;
			if (run)
				err = fn(arg, from, at, run & ~(1u << 31));
			run = seen;
			from = at;
		}
	}
	p->cost.scanned_bytes += end - start;
	return !err && run ? fn(arg, from, end, run & ~(1u << 31)) : err;
}

static int all_dirty_by_words(struct pml_look *l, const struct pml_proc *p, uint64_t start,
			      uint64_t end, bool *all)
{
	const uint64_t *words = l->vec.p;

	while (start < end) {
		uint64_t n = (end - start) >> p->page_shift;
		ssize_t got;

		/* the first clean page ends it: begin with few */
		if (n > 64)
			n = 64;
		got = pread(l->pagemap, l->vec.p, n * sizeof(*words),
			    (off_t)((start >> p->page_shift) * 8));
		if (got < (ssize_t)sizeof(*words))
			return got < 0 ? -errno : 0;
		n = (uint64_t)got / sizeof(*words);
		for (uint64_t i = 0; i < n; i++)
			if (!(words[i] & WORD_SOFT_DIRTY))
				return 0;
		start += n << p->page_shift;
	}
	*all = true;
	return 0;
}

int pml_look_all_dirty(struct pml_look *l, struct pml_proc *p, uint64_t start, uint64_t end,
		       bool *all)
{
	struct pml_page_region v;
	struct pml_scan_arg a = {
		.size = sizeof(a), .start = start, .end = end, .vec = (uintptr_t)&v, .vec_len = 1,
		.max_pages = 1, .category_inverted = PML_PAGE_SOFT_DIRTY,
		.category_mask = PML_PAGE_SOFT_DIRTY,
	};
	long n;

	*all = false;
	p->cost.scans++;
	if (l->no_scan)
		return all_dirty_by_words(l, p, start, end, all);
	n = ioctl(l->pagemap, PML_PAGEMAP_SCAN, &a);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	*all = n == 0;
	return 0;
}

int pml_look(struct pml_look *l, struct pml_proc *p, uint64_t start, uint64_t end, pml_look_fn fn,
	     void *arg)
{
	return l->no_scan ? look_by_words(l, p, start, end, fn, arg)
			  : look_by_scan(l, p, start, end, fn, arg);
}
