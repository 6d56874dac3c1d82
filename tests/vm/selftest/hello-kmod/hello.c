// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* The smallest module: tests/vm/selftest builds it for each guest's kernel and loads it there. */
#include <linux/module.h>

static int __init hello_init(void)
{
	pr_info("pml-hello: loaded\n");
	return 0;
}

static void __exit hello_exit(void)
{
	pr_info("pml-hello: gone\n");
}

module_init(hello_init);
module_exit(hello_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("libpml: the guest harness's own test");
