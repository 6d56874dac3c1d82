/* SPDX-License-Identifier: MIT */
/*
 * test_maps.c - /proc/PID/maps read without stdio: against another parser, and
 * with the lines that trip parsers up.  Run by CTest.
 */
#define _GNU_SOURCE
#include "maps.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct pml_pool pool = { .limit = 64u << 20 };

static bool parse(const char *line, struct pml_area *a)
{
	bool aio = false;

	return pml_maps_parse_line(line, strlen(line), a, &aio);
}

Test(maps, ordinary_lines)
{
	struct pml_area a;

	cr_assert(parse("7f00-8000 rw-p 00000000 00:00 0 ", &a));
	cr_assert(a.start == 0x7f00 && a.end == 0x8000 && a.kind == PML_AREA_ANON);
	cr_assert(a.flags & PML_AREA_WRITE);
	cr_assert(parse("55d0a4c45000-55d0a4c66000 r--p 00001000 fe:01 1234 /usr/bin/x", &a));
	cr_assert(a.kind == PML_AREA_PRIVATE_FILE && a.offset == 0x1000 && a.inode == 1234);
	cr_assert_not(a.flags & PML_AREA_WRITE);
	cr_assert(parse("1000-2000 rw-s 00000000 00:01 77 /memfd:name (deleted)", &a));
	cr_assert_eq(a.kind, PML_AREA_SHARED);
	cr_assert(parse("1000-2000 rw-p 00000000 00:00 0 [heap]", &a));
	cr_assert_eq(a.kind, PML_AREA_ANON);
	cr_assert(parse("1000-2000 rw-p 00000000 00:00 0 [anon:name of its own]", &a));
	cr_assert_eq(a.kind, PML_AREA_ANON);
	cr_assert(parse("1000-201000 rw-p 00000000 00:0f 9 /anon_hugepage (deleted)", &a));
	cr_assert(a.flags & PML_AREA_HUGETLB);
}

Test(maps, names_that_look_like_something_else)
{
	struct pml_area a;

	cr_assert(parse("1000-2000 rw-p 00000000 fe:01 5 /home/1000-2000 rw-p 00000000 00:00 0", &a));
	cr_assert(a.inode == 5 && a.kind == PML_AREA_PRIVATE_FILE);
	cr_assert(parse("1000-2000 rw-p 00000000 fe:01 5 /a\\012b (deleted)", &a));
	cr_assert(parse("1000-2000 rw-p 00000000 fe:01 5 [vvar]", &a), "a file may be named so");
	cr_assert(parse("ffffffffff600000-ffffffffff601000 rw-p 00000000 00:00 0", &a));
}

Test(maps, what_is_the_kernels_is_not_watched)
{
	struct pml_area a;

	cr_assert_not(parse("1000-2000 r--p 00000000 00:00 0 [vvar]", &a));
	cr_assert_not(parse("1000-2000 r--p 00000000 00:00 0 [vvar_vclock]", &a));
	cr_assert_not(parse("1000-2000 r-xp 00000000 00:00 0 [vdso]", &a));
	cr_assert_not(parse("1000-2000 --xp 00000000 00:00 0 [vsyscall]", &a));
}

Test(maps, broken_lines_are_refused)
{
	static const char whole[] = "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ";
	struct pml_area a;
	bool aio;

	for (size_t n = 0; n + 3 < strlen(whole); n++)
		cr_assert_not(pml_maps_parse_line(whole, n, &a, &aio), "%zu bytes were taken", n);
	cr_assert_not(parse("2000-1000 rw-p 00000000 00:00 0", &a));
	cr_assert_not(parse("1000-1000 rw-p 00000000 00:00 0", &a));
	cr_assert_not(parse("1000 2000 rw-p 00000000 00:00 0", &a));
	cr_assert_not(parse("", &a));
	cr_assert_not(parse("zzz", &a));
}

/* Another parser, for comparison: what the process may watch. */
static size_t by_stdio(struct pml_area *out, size_t max)
{
	char *line = NULL;
	size_t size = 0, n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	while (f && n < max && getline(&line, &size, f) > 0) {
		char perms[8];
		struct pml_area a;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*s %" SCNu64, &a.start,
			   &a.end, perms, &a.offset, &a.inode) != 5)
			continue;
		if (a.inode == 0 && (strstr(line, "[vvar") || strstr(line, "[vdso]") ||
				     strstr(line, "[vsyscall]")))
			continue;
		out[n++] = a;
	}
	free(line);
	if (f)
		fclose(f);
	return n;
}

static void compare_with_stdio(size_t least)
{
	static struct pml_area other[40000];
	struct pml_areas list = { 0 };
	struct pml_buf text = { 0 };
	struct pml_maps_facts facts;
	int fd = open("/proc/self/maps", O_RDONLY);
	size_t n, found = 0;

	/* The first time makes the tables, which are mappings themselves. */
	cr_assert_eq(pml_maps_read(fd, &pool, &text, &list, &facts), 0);
	n = by_stdio(other, sizeof(other) / sizeof(other[0]));
	cr_assert_eq(pml_maps_read(fd, &pool, &text, &list, &facts), 0);
	cr_assert_geq(list.n, least);
	for (size_t i = 0; i < list.n; i++) {
		const struct pml_area *a = pml_areas_at(&list) + i;

		if (i)
			cr_assert_leq(a[-1].end, a->start, "not sorted at %zu", i);
		for (size_t k = 0; k < n; k++)
			found += other[k].start == a->start && other[k].end == a->end &&
				 other[k].inode == a->inode && other[k].offset == a->offset;
	}
	/* stdio's own buffers may come and go. */
	cr_assert_geq(found + 4, n);
	pml_buf_free(&text);
	pml_buf_free(&list.buf);
	close(fd);
}

Test(maps, of_this_process)
{
	compare_with_stdio(5);
}

Test(maps, thousands_of_mappings)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 6000;
	char *m = mmap(NULL, n * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(m, MAP_FAILED);
	for (size_t i = 0; i < n; i += 2)
		cr_assert_eq(mprotect(m + i * page, page, PROT_READ), 0);
	compare_with_stdio(n);
	munmap(m, n * page);
}

Test(maps, a_file_with_a_name_that_has_a_new_line)
{
	char path[] = "/tmp/pml 1000-2000 rw-p\n3000-4000 rw-p 0 00:00 0 XXXXXX";
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = mkstemp(path);
	char *m;

	cr_assert_geq(fd, 0);
	unlink(path);
	cr_assert_eq(ftruncate(fd, (off_t)page), 0);
	m = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	cr_assert_neq(m, MAP_FAILED);
	compare_with_stdio(5);
	munmap(m, page);
	close(fd);
}

/* Reads a text as if it were maps. */
static void read_text(const char *lines, struct pml_areas *list)
{
	struct pml_buf text = { 0 };
	struct pml_maps_facts facts;
	int fd = memfd_create("maps", 0);

	cr_assert_eq(write(fd, lines, strlen(lines)), (ssize_t)strlen(lines));
	cr_assert_eq(pml_maps_read(fd, &pool, &text, list, &facts), 0);
	pml_buf_free(&text);
	close(fd);
}

Test(maps, what_grows_while_the_file_is_read_stays_one_area)
{
	struct pml_areas list = { 0 };
	const struct pml_area *a;

	read_text("10000-20000 rw-p 00000000 00:00 0 \n"
		  "40000-48000 rw-p 00000000 00:00 0 \n"
		  "40000-50000 rw-p 00000000 00:00 0 \n"
		  "80000-90000 rw-p 00000000 00:00 0 \n", &list);
	cr_assert_eq(list.n, 3);
	a = pml_areas_at(&list) + 1;
	cr_assert(a->start == 0x40000 && a->end == 0x50000);
	cr_assert(a->around_start == 0x20000 && a->around_end == 0x80000);
	pml_buf_free(&list.buf);
}

Test(maps, what_shrinks_while_the_file_is_read_keeps_the_space_around)
{
	struct pml_areas list = { 0 };
	const struct pml_area *a;

	read_text("40000-50000 rw-p 00000000 00:00 0 \n"
		  "40000-48000 rw-p 00000000 00:00 0 \n"
		  "80000-90000 rw-p 00000000 00:00 0 \n", &list);
	cr_assert_eq(list.n, 2);
	a = pml_areas_at(&list);
	cr_assert(a->start == 0x40000 && a->end == 0x50000 && a->around_end == 0x80000);
	pml_buf_free(&list.buf);
}

Test(maps, the_space_around_ends_where_the_kernels_addresses_begin)
{
	struct pml_areas list = { 0 };
	const struct pml_area *a;

	read_text("7ffdf5aa6000-7ffdf5ac7000 rw-p 00000000 00:00 0                [stack]\n"
		  "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0        [vsyscall]\n",
		  &list);
	cr_assert_eq(list.n, 1);
	a = pml_areas_at(&list);
	cr_assert_eq(a->around_end, 0x7ffdf5ac7000);
	pml_buf_free(&list.buf);
}

Test(maps, the_space_between_two_is_around_both)
{
	struct pml_areas list = { 0 };
	const struct pml_area *a;

	read_text("10000-20000 rw-p 00000000 00:00 0 \n"
		  "23000-24000 rw-p 00000000 00:00 0 \n"
		  "24000-25000 r--p 00000000 fe:01 5 /lib/x\n", &list);
	cr_assert_eq(list.n, 3);
	a = pml_areas_at(&list);
	cr_assert(a[0].around_start == 0x10000 && a[0].around_end == 0x23000);
	cr_assert(a[1].around_start == 0x20000 && a[1].around_end == 0x24000);
	cr_assert(a[2].around_start == 0x24000 && a[2].around_end == 0x25000);
	pml_buf_free(&list.buf);
}

Test(maps, something_else_in_the_place_of_what_was_read_is_an_area_of_its_own)
{
	struct pml_areas list = { 0 };
	const struct pml_area *a;

	read_text("40000-48000 rw-p 00000000 00:00 0 \n"
		  "40000-50000 rw-s 00003000 00:01 7 /memfd:x (deleted)\n", &list);
	cr_assert_eq(list.n, 2);
	a = pml_areas_at(&list) + 1;
	cr_assert(a->start == 0x48000 && a->end == 0x50000 && a->offset == 0xb000);
	cr_assert_eq(a->kind, PML_AREA_SHARED);
	pml_buf_free(&list.buf);
}

static void fill(struct pml_areas *list, const uint64_t (*spans)[2], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct pml_area a = { .start = spans[i][0], .end = spans[i][1] };

		cr_assert_eq(pml_areas_push(&pool, list, &a), 0);
	}
}

/* Watch and leave lists: each page is where it should be, random against plain. */
Test(maps, filter_keeps_what_it_should)
{
	unsigned int seed = 11;

	for (int round = 0; round < 300; round++) {
		uint64_t spans[8][2];
		struct pml_span filter[6];
		struct pml_areas scratch = { 0 }, list = { 0 };
		uint8_t in_list[256] = { 0 }, in_filter[256] = { 0 }, got[256] = { 0 };
		bool keep = round & 1;
		size_t n = 0, nf = 0;

		for (uint64_t at = 0; n < 8; n++) {
			at += (uint64_t)rand_r(&seed) % 16;
			spans[n][0] = at << 12;
			at += 1 + (uint64_t)rand_r(&seed) % 15;
			spans[n][1] = at << 12;
			memset(in_list + (spans[n][0] >> 12), 1, (spans[n][1] - spans[n][0]) >> 12);
		}
		for (uint64_t at = 0; nf < 6; nf++) {
			at += (uint64_t)rand_r(&seed) % 20;
			filter[nf].start = at << 12;
			at += 1 + (uint64_t)rand_r(&seed) % 20;
			filter[nf].end = at << 12;
			memset(in_filter + (filter[nf].start >> 12), 1,
			       (filter[nf].end - filter[nf].start) >> 12);
		}
		fill(&list, spans, n);
		cr_assert_eq(pml_areas_filter(&pool, &list, filter, nf, keep, &scratch), 0);
		for (size_t i = 0; i < list.n; i++) {
			const struct pml_area *a = pml_areas_at(&list) + i;

			memset(got + (a->start >> 12), 1, (a->end - a->start) >> 12);
		}
		for (int i = 0; i < 256; i++)
			cr_assert_eq(got[i], in_list[i] && in_filter[i] == keep, "page %d", i);
		pml_buf_free(&scratch.buf);
		pml_buf_free(&list.buf);
	}
}
