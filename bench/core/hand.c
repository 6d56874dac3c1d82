/* SPDX-License-Identifier: MIT */
/*
 * A collect beside what one would write by hand: a PAGEMAP_SCAN loop that keeps
 * what it finds, with the same reads of mappings, pins and descriptors, without
 * which neither could say what it does not cover.
 */
#include "common.h"
#include "kernel_abi.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct hand {
	int uffd;
	int pagemap;
	int maps;
	int status;
	char *mem;
	size_t bytes;
	uint64_t *found;	/* start, end; start, end; ... */
	size_t n;
	uint64_t pages;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void scan(struct hand *h)
{
	static struct pml_page_region vec[4096];
	struct pml_scan_arg a = {
		.size = sizeof(a), .start = (uintptr_t)h->mem,
		.end = (uintptr_t)h->mem + h->bytes, .vec = (uintptr_t)vec, .vec_len = 4096,
		.flags = PML_SCAN_WP_MATCHING | PML_SCAN_CHECK_WPASYNC,
		.category_mask = PML_PAGE_WRITTEN, .return_mask = PML_PAGE_WRITTEN,
	};

	h->n = 0;
	h->pages = 0;
	while (a.start < a.end) {
		int n = ioctl(h->pagemap, PML_PAGEMAP_SCAN, &a);

		if (n < 0)
			die("bench: PAGEMAP_SCAN");
		for (int i = 0; i < n; i++) {
			h->found[2 * h->n] = vec[i].start;
			h->found[2 * h->n++ + 1] = vec[i].end;
			h->pages += (vec[i].end - vec[i].start) >> 12;
		}
		/* walk_end may lie before the end, though the end was reached */
		a.start = (unsigned int)n < 4096 ? a.end : a.walk_end;
	}
}

static void start(struct hand *h, size_t bytes)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };
	struct uffdio_register r = { .mode = UFFDIO_REGISTER_MODE_WP };

	h->bytes = bytes;
	h->mem = bench_map(bytes, 1);
	h->found = (uint64_t *)(void *)bench_map(bytes / 4096 * 16, 0);
	h->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	h->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	h->maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	h->status = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	r.range.start = (uintptr_t)h->mem;
	r.range.len = bytes;
	if (h->uffd < 0 || ioctl(h->uffd, UFFDIO_API, &api) || ioctl(h->uffd, UFFDIO_REGISTER, &r))
		die("bench: userfaultfd");
	scan(h);
}

static void read_all(int fd)
{
	static char text[65536];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, text, sizeof(text), at)) > 0)
		at += n;
}

/* The descriptors that could be read directly or be rings. */
static void read_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	char path[300], link[64];
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
		int fd;

		if (n <= 0 || link[0] != '/')
			continue;
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			read_all(fd);
			close(fd);
		}
	}
	if (dir)
		closedir(dir);
}

static void collect_by_hand(struct hand *h)
{
	read_all(h->maps);
	read_all(h->status);
	read_descriptors();
	scan(h);
}

static void dirty(char *mem, size_t pages, double share)
{
	size_t n = (size_t)((double)pages * share);

	for (size_t i = 0; i < n; i++)
		mem[(share >= 1 ? i : bench_random() % pages) * 4096]++;
}

static int one_size(size_t bytes, int epochs)
{
	static const double shares[] = { 0, 0.01, 0.1, 0.5, 1 };
	char *mem = bench_map(bytes, 1);
	struct pml *t = bench_tracker(mem, bytes, 0);
	struct hand h;
	int missed = 0;

	start(&h, bytes);
	for (size_t s = 0; s < sizeof(shares) / sizeof(shares[0]); s++) {
		double *by_hand = calloc((size_t)epochs, sizeof(double));
		double *by_pml = calloc((size_t)epochs, sizeof(double));
		double *over = calloc((size_t)epochs, sizeof(double));
		struct spread a, b, c;
		double limit;

		for (int i = 0; i < epochs; i++) {
			double t0, t1, t2;

			dirty(h.mem, bytes / 4096, shares[s]);
			t0 = bench_now();
			collect_by_hand(&h);
			t1 = bench_now();
			by_hand[i] = t1 - t0;
			dirty(mem, bytes / 4096, shares[s]);
			t1 = bench_now();
			bench_collect(t);
			t2 = bench_now();
			by_pml[i] = t2 - t1;
			over[i] = by_pml[i] / by_hand[i];
		}
		a = bench_spread(by_hand, (size_t)epochs);
		b = bench_spread(by_pml, (size_t)epochs);
		c = bench_spread(over, (size_t)epochs);
		limit = 1.05 * a.median + 100e-6;
		printf("%5zu MB  %5.0f %%  %9.0f us  %9.0f us  %5.2f (%.2f to %.2f)  %s\n",
		       bytes >> 20, shares[s] * 100, a.median * 1e6, b.median * 1e6, c.median,
		       c.low, c.high, b.median <= limit ? "within" : "ABOVE");
		missed |= b.median > limit;
		free(by_hand);
		free(by_pml);
		free(over);
	}
	pml_close(t);
	return missed;
}

int bench_hand(int epochs)
{
	int missed;

	printf("A collect beside a hand-written loop with the same coverage reads\n"
	       "(limit: 1.05 x + 100 us, of the medians)\n"
	       "memory    dirty      by hand       libpml  ratio (10 %% to 90 %%)\n");
	missed = one_size((size_t)256 << 20, epochs);
	missed |= one_size((size_t)1 << 30, epochs);
	return missed;
}
