/* SPDX-License-Identifier: MIT */
/*
 * A page that the kernel empties in every forked child (MADV_WIPEONFORK, Linux 4.14)
 * holds the process's mark; see process.h.  Called by tracker.c and enable.c.
 */
#define _GNU_SOURCE
#include "process.h"

#include <sys/mman.h>
#include <unistd.h>

/* In the page a child has 0, and here its parent's: its own is the next one. */
static volatile uint64_t *page;
static uint64_t last;

static void map_page(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	if (madvise(p, size, MADV_WIPEONFORK))
		munmap(p, size);
	else
		page = p;
}

struct pml_gc_process pml_gc_process_now(void)
{
	if (!page)
		map_page();
	if (page && !*page)
		*page = ++last;
	return (struct pml_gc_process){ .pid = getpid(), .mark = page ? *page : 0 };
}

bool pml_gc_process_is(const struct pml_gc_process *p)
{
	return p->pid == getpid() && (!p->mark || *page == p->mark);
}
