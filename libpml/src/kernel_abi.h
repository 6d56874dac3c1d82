/* SPDX-License-Identifier: MIT */
/*
 * The kernel interfaces that libpml uses and that the oldest supported build
 * machine's headers (Linux 6.1) lack: PAGEMAP_SCAN (6.7), PROCMAP_QUERY (6.11)
 * and userfaultfd's WP_ASYNC (6.7).  Layouts and numbers are those of the
 * kernel's own user-space headers; see Documentation/admin-guide/mm/pagemap.rst
 * and userfaultfd.rst.  Included by the back-ends and by maps.c.
 */
#ifndef PML_KERNEL_ABI_H
#define PML_KERNEL_ABI_H

#include <stdint.h>
#include <sys/ioctl.h>
#include <linux/userfaultfd.h>

/* Categories of a page in PAGEMAP_SCAN. */
#define PML_PAGE_WPALLOWED	(1u << 0)
#define PML_PAGE_WRITTEN	(1u << 1)
#define PML_PAGE_FILE		(1u << 2)
#define PML_PAGE_PRESENT	(1u << 3)
#define PML_PAGE_SWAPPED	(1u << 4)
#define PML_PAGE_PFNZERO	(1u << 5)
#define PML_PAGE_HUGE		(1u << 6)
#define PML_PAGE_SOFT_DIRTY	(1u << 7)
#define PML_PAGE_ACCESSED	(1u << 9)	/* announced */

#define PML_SCAN_WP_MATCHING	(1u << 0)
#define PML_SCAN_CHECK_WPASYNC	(1u << 1)

struct pml_page_region {
	uint64_t start;
	uint64_t end;
	uint64_t categories;
};

struct pml_scan_arg {
	uint64_t size;
	uint64_t flags;
	uint64_t start;
	uint64_t end;
	uint64_t walk_end;
	uint64_t vec;
	uint64_t vec_len;
	uint64_t max_pages;
	uint64_t category_inverted;
	uint64_t category_mask;
	uint64_t category_anyof_mask;
	uint64_t return_mask;
};

#define PML_PAGEMAP_SCAN	_IOWR('f', 16, struct pml_scan_arg)

struct pml_procmap_query {
	uint64_t size;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t vma_start;
	uint64_t vma_end;
	uint64_t vma_flags;
	uint64_t vma_page_size;
	uint64_t vma_offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_name_size;
	uint32_t build_id_size;
	uint64_t vma_name_addr;
	uint64_t build_id_addr;
};

#define PML_PROCMAP_QUERY	_IOWR('f', 17, struct pml_procmap_query)

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM	(1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC	(1 << 15)
#endif
#ifndef UFFD_FEATURE_RWP
#define UFFD_FEATURE_RWP	(1 << 17)	/* announced, as the next */
#endif
#ifndef UFFD_FEATURE_RWP_ASYNC
#define UFFD_FEATURE_RWP_ASYNC	(1 << 18)
#endif

#endif /* PML_KERNEL_ABI_H */
