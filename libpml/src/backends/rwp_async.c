/* SPDX-License-Identifier: MIT */
/*
 * rwp-async: references by userfaultfd's asynchronous read-write protection, read
 * by PAGEMAP_SCAN.  Announced for Linux, but in no kernel that it could be tried
 * on: so this is the probe alone, which asks the kernel for both halves and says
 * which is missing.  Called by backends.c.
 */
#define _GNU_SOURCE
#include "../backend.h"
#include "../kernel_abi.h"
#include "../message.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has_feature(void)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_RWP | UFFD_FEATURE_RWP_ASYNC,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	bool has = fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0;

	if (fd >= 0)
		close(fd);
	return has;
}

static bool has_category(void)
{
	struct pml_page_region v;
	struct pml_scan_arg a = {
		.size = sizeof(a), .vec = (uintptr_t)&v, .vec_len = 1,
		.return_mask = PML_PAGE_ACCESSED,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool has = fd >= 0 && ioctl(fd, PML_PAGEMAP_SCAN, &a) >= 0;

	if (fd >= 0)
		close(fd);
	return has;
}

void pml_rwp_async_why_not(char *why, size_t size)
{
	bool feature = has_feature(), category = has_category();

	pml_words(why, size, "not in this version: ",
		  feature && category ? "this kernel has what it takes, but nobody could try it yet" :
		  feature ? "the kernel's PAGEMAP_SCAN has no PAGE_IS_ACCESSED" :
		  category ? "the kernel's userfaultfd has no RWP_ASYNC" :
		  "the kernel's userfaultfd has no RWP_ASYNC, and its PAGEMAP_SCAN no PAGE_IS_ACCESSED");
}
