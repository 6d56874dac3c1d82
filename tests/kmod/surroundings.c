/* SPDX-License-Identifier: MIT */
/*
 * surroundings.c - what the kernel does to a process's pages on its own account,
 * and whether it has; see precopy.h.  Swap and KSM are switched on by
 * tests/kmod/pressure.sh beforehand.
 */
#define _GNU_SOURCE
#include "precopy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KSM "/sys/kernel/mm/ksm/"
#define NODES "/sys/devices/system/node/"

/* The number in a file, or 0. */
static uint64_t number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	uint64_t value = 0;

	if (f && fscanf(f, "%" SCNu64, &value) != 1)
		value = 0;
	if (f)
		fclose(f);
	return value;
}

static bool there_is_swap(void)
{
	char line[256];
	FILE *f = fopen("/proc/swaps", "re");
	int lines = 0;

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines > 1;
}

/* Huge pages are given to those who ask for them. */
static bool there_are_huge_pages(void)
{
	char line[64] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");

	if (f && !fgets(line, sizeof(line), f))
		line[0] = '\0';
	if (f)
		fclose(f);
	return line[0] && !strstr(line, "[never]");
}

static void read_vmstat(struct happened *h)
{
	FILE *f = fopen("/proc/vmstat", "re");
	char name[64];
	uint64_t value;

	while (f && fscanf(f, "%63s %" SCNu64, name, &value) == 2) {
		if (!strcmp(name, "pswpout"))
			h->swapped_out = value;
		else if (!strcmp(name, "pswpin"))
			h->swapped_in = value;
		else if (!strcmp(name, "thp_fault_alloc") || !strcmp(name, "thp_collapse_alloc"))
			h->huge_made += value;
		else if (!strcmp(name, "thp_split_pmd") || !strcmp(name, "thp_split_page"))
			h->huge_split += value;
		else if (!strcmp(name, "pgmigrate_success"))
			h->migrated = value;
	}
	if (f)
		fclose(f);
}

void happened_read(struct happened *h)
{
	memset(h, 0, sizeof(*h));
	read_vmstat(h);
	h->merged = number_in(KSM "pages_sharing");
	h->can_swap = there_is_swap();
	h->can_huge = there_are_huge_pages();
	h->can_merge = number_in(KSM "run") == 1;
	h->can_migrate = access("/proc/sys/vm/compact_memory", W_OK) == 0;
}

static void compact(void)
{
	int fd = open("/proc/sys/vm/compact_memory", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	/* what cannot be compacted now will be another time */
	if (write(fd, "1", 1) != 1)
		errno = 0;
	close(fd);
}

/* Some pages go to the other node, if there is one; then back. */
static void migrate(pid_t target, const struct layout *l, uint64_t *random, int node)
{
	void *pages[64];
	int nodes[64], status[64];

	for (int i = 0; i < 64; i++) {
		pages[i] = l->base + precopy_random(random) % l->from[PART_MOVED] * l->page;
		nodes[i] = node;
	}
	syscall(SYS_move_pages, target, 64, pages, nodes, status, 2 /* MPOL_MF_MOVE */);
}

pid_t mover_start(pid_t target, const struct layout *l)
{
	bool two_nodes = access(NODES "node1", F_OK) == 0;
	struct timespec pause = { 0, 20000000 };
	uint64_t random = (uint64_t)target;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpriority(PRIO_PROCESS, 0, 10);
	for (unsigned int round = 0;; round++) {
		if (round % 64 == 0)
			compact();
		if (two_nodes)
			migrate(target, l, &random, (int)(round % 2));
		nanosleep(&pause, NULL);
	}
}
