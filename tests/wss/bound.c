/* SPDX-License-Identifier: MIT */
/*
 * bound.c - writes the same pages of one memory node over and over, until it is
 * ended.  Run by nodes-test.sh in a guest of two nodes.
 *   bound NODE PAGES
 */
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	unsigned long node = argc > 1 ? strtoul(argv[1], NULL, 10) : 0, mask = 1ul << node;
	size_t pages = argc > 2 ? strtoul(argv[2], NULL, 10) : 4096, page = 4096;
	char *memory = mmap(NULL, pages * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || madvise(memory, pages * page, MADV_NOHUGEPAGE) ||
	    syscall(SYS_mbind, memory, pages * page, MPOL_BIND, &mask, 8 * sizeof(mask), 0)) {
		perror("bound");
		return 1;
	}
	for (char round = 1;; round++) {
		for (size_t i = 0; i < pages; i++)
			memory[i * page] = round;
		usleep(20000);
	}
}
