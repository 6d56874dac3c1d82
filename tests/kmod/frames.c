/* SPDX-License-Identifier: MIT */
/*
 * frames.c - nothing that user space can read carries a frame number or a
 * guest-physical address.  The frames of a piece of memory are read, as root,
 * from /proc/self/pagemap; then all that the module says, in answers, parameters,
 * files and trace events, is searched for them.  That the search would find them
 * is tested first.  Run in a guest by tests/kmod/inside.
 */
#define _GNU_SOURCE
#include "session.h"
#include "tap.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 2048u
#define PAGE 4096u
#define FRAME_MASK ((1ull << 55) - 1)
#define EVENTS "/sys/kernel/tracing/events/pml"
/* A counter may happen to be a frame's number; so many of them do not. */
#define CHANCE 3

static unsigned char *region;
static uint64_t frames[PAGES];
static unsigned char reported[1u << 20];
static unsigned long hits;	/* in the file under way */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool read_frames(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	off_t at = (off_t)((uintptr_t)region / PAGE * sizeof(uint64_t));
	bool ok = fd >= 0 && pread(fd, frames, sizeof(frames), at) == sizeof(frames);

	for (size_t i = 0; i < PAGES; i++) {
		ok &= frames[i] >> 63;
		frames[i] &= FRAME_MASK;
	}
	qsort(frames, PAGES, sizeof(frames[0]), compare);
	close(fd);
	return ok && frames[0] > 0;
}

static bool is_frame(uint64_t n)
{
	return bsearch(&n, frames, PAGES, sizeof(n), compare) != NULL;
}

/* A number, or an address in that frame; small ones are counts and sizes. */
static void look_at(uint64_t n)
{
	if (n > 65536 && (is_frame(n) || is_frame(n >> 12)))
		hits++;
}

static unsigned long in_bytes(const void *bytes, size_t size)
{
	const unsigned char *b = bytes;

	hits = 0;
	for (size_t i = 0; i + 8 <= size; i += 4) {
		uint64_t n;

		memcpy(&n, b + i, sizeof(n));
		look_at(n);
	}
	return hits;
}

/* Every number of a text, read as hexadecimal and as decimal. */
static unsigned long in_text(const char *text)
{
	hits = 0;
	while (*text) {
		char *end;

		if (!isxdigit((unsigned char)*text)) {
			text++;
			continue;
		}
		look_at(strtoull(text, NULL, 10));
		look_at(strtoull(text, &end, 16));
		text = end > text ? end : text + 1;
	}
	return hits;
}

static char *read_all(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *text = calloc(1, 1u << 20);
	size_t n = 0;
	ssize_t got;

	while (text && fd >= 0 && n + 1 < 1u << 20 &&
	       (got = read(fd, text + n, (1u << 20) - 1 - n)) > 0)
		n += (size_t)got;
	if (fd >= 0)
		close(fd);
	return text;
}

static void test_search(void)
{
	char text[256];
	uint64_t words[4] = { frames[0], frames[1] << 12 | 0x123, frames[2] << 12, frames[3] };
	unsigned int expect = 0;

	for (int i = 0; i < 4; i++)
		expect += words[i] > 65536;
	tap_ok(in_bytes(words, sizeof(words)) >= expect, "the search finds frames in bytes");
	snprintf(text, sizeof(text), "a=%lx b: 0x%lx c %lu", words[1], words[2], words[3]);
	tap_ok(in_text(text) >= 3 - (frames[3] <= 65536), "the search finds frames in words");
}

/* All that COLLECT, LIST, STATS and INFO write, byte by byte. */
static void test_answers(int fd, int target)
{
	struct pml_uapi_collect c = {
		.size = sizeof(c), .target = (uint32_t)target, .end = 1ull << 47,
		.vec = (uintptr_t)reported, .flags = PML_COLLECT_UNCOVERED,
		.vec_len = 8192,
	};
	struct pml_uapi_list l = { .size = sizeof(l), .vec = (uintptr_t)reported, .vec_len = 64 };
	struct pml_uapi_stats stats = { .size = sizeof(stats) };
	struct pml_uapi_info info = { .size = sizeof(info) };
	int error;

	/* every second page, so that there are many records */
	for (size_t i = 0; i < PAGES; i += 2)
		region[i * PAGE]++;
	memset(reported, 0, sizeof(reported));
	error = ioctl(fd, PML_IOC_COLLECT, &c) ? errno : 0;
	tap_ok(!error && c.n >= PAGES / 2, "COLLECT tells %u records", c.n);
	tap_ok(in_bytes(reported, sizeof(reported)) < CHANCE, "no frame in what it tells (%lu)",
	       hits);
	memset(reported, 0, sizeof(reported));
	error = ioctl(fd, PML_IOC_LIST, &l) ? errno : 0;
	tap_ok(!error && in_bytes(reported, sizeof(reported)) < CHANCE, "no frame in LIST");
	error = ioctl(fd, PML_IOC_STATS, &stats) ? errno : 0;
	tap_ok(!error && in_bytes(&stats, sizeof(stats)) < CHANCE, "no frame in STATS");
	error = ioctl(fd, PML_IOC_INFO, &info) ? errno : 0;
	tap_ok(!error && in_bytes(&info, sizeof(info)) < CHANCE, "no frame in INFO");
}

static int files_seen, files_bad;

static int look_into(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char *text;

	(void)st;
	(void)ftw;
	if (type != FTW_F || access(path, R_OK))
		return 0;
	text = read_all(path);
	files_seen++;
	if (text && in_text(text) >= CHANCE) {
		files_bad++;
		tap_note("%s: %lu frames", path, hits);
	}
	free(text);
	return 0;
}

/* What the module shows of itself; sections say where its code is, to root. */
static void test_files(void)
{
	static const char *const trees[] = {
		"/sys/module/pml/parameters", "/sys/module/pml/holders", "/sys/kernel/debug/pml",
		"/sys/class/misc/pml", "/proc/pml", EVENTS,
	};

	for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++)
		nftw(trees[i], look_into, 8, FTW_PHYS);
	tap_ok(!files_bad, "no frame in its %d files of sysfs, debugfs and tracefs", files_seen);
}

static bool set_tracing(const char *on)
{
	int fd = open(EVENTS "/enable", O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, on, 1) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

static void test_trace(int fd, int target)
{
	unsigned long lines = 0, found = 0;
	char *text, *line, *save = NULL;

	if (!set_tracing("1")) {
		tap_skip("the module has no trace events here", "no frame in trace events");
		return;
	}
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < PAGES; i += 3)
			region[i * PAGE]++;
		session_collect(fd, target, 0, 0, 1ull << 47, NULL);
		/* what was written in the round before is invalidated in this one */
		mprotect(region + (size_t)round * 8 * PAGE, PAGE, PROT_READ);
		mprotect(region + (size_t)round * 8 * PAGE, PAGE, PROT_READ | PROT_WRITE);
	}
	set_tracing("0");
	text = read_all("/sys/kernel/tracing/trace");
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *event = strstr(line, ": pml_");

		if (!event)
			continue;
		lines++;
		/* behind its name: before it is the time */
		found += in_text(event + 2);
	}
	tap_ok(lines > 0, "there are trace events (%lu lines)", lines);
	tap_ok(found < CHANCE, "no frame in trace events (%lu)", found);
	free(text);
}

int main(void)
{
	int fd, target;

	need_module();
	region = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		return 1;
	/* small pages, and each has its frame for good */
	madvise(region, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < PAGES; i++)
		region[i * PAGE] = 1;
	if (mlock(region, (size_t)PAGES * PAGE) || !read_frames()) {
		printf("1..0 # SKIP the frames cannot be read from pagemap: run it as root\n");
		return TAP_SKIP_ALL;
	}
	test_search();
	fd = session_open();
	target = session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY | PML_EV_REFERENCED);
	tap_ok(target > 0, "a session on this process");
	test_answers(fd, target);
	test_files();
	test_trace(fd, target);
	close(fd);
	return tap_done();
}
