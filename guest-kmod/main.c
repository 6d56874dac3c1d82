// SPDX-License-Identifier: GPL-2.0-only
/*
 * pml.ko: tells user space which pages of a process were written or referenced,
 * through /dev/pml.  The protocol is abi/pml_uapi.h.  Here: the device, its
 * calls' structs in and out, the parameters.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include "device.h"
#include "session.h"
#include "swaps.h"
#include "track.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

#define PML_MODULE_VERSION "0.1.0"
/* Larger structs are refused. */
#define MAX_STRUCT 4096u

unsigned long pml_max_memory = 64ul << 20;
module_param_named(max_memory, pml_max_memory, ulong, 0644);
MODULE_PARM_DESC(max_memory,
		 "Bytes that one session may keep of what is pending (64 MiB); sessions opened later");

unsigned long pml_max_user_memory = 256ul << 20;
module_param_named(max_user_memory, pml_max_user_memory, ulong, 0644);
MODULE_PARM_DESC(max_user_memory, "Bytes that all sessions of one user may keep (256 MiB)");

unsigned int pml_max_targets = 1024;
module_param_named(max_targets, pml_max_targets, uint, 0644);
MODULE_PARM_DESC(max_targets, "Processes that one session may track (1024)");

#ifdef PML_TEST_HOOKS
unsigned int pml_test_break;
module_param_named(test_break, pml_test_break, uint, 0644);
MODULE_PARM_DESC(test_break,
		 "For tests, which must then fail: 1 no TLB flush, 2 no notifier, 4 no fan-out, 8 no flush later, 16 logged pages dropped, 32 the device is not told who runs, 64 logs not drained, 128 borrowers overlooked, 256 logged frames found once only, 2048 not found, 4096 marks overlooked, 8192 marks used up early, 32768 used up without a flush; 512, 1024: the way of finding them; 16384: slow writeback and reclaim");
#endif

static int get_info(struct pml_uapi_info *info)
{
	info->version = PML_UAPI_VERSION;
	info->version_min = PML_UAPI_VERSION;
	info->page_size = PAGE_SIZE;
	info->features = PML_FEATURE_PROOF | PML_FEATURE_CGROUP | PML_FEATURE_SPLIT |
			 PML_FEATURE_PINS;
	if (pml_has_test_hooks())
		info->features |= PML_FEATURE_TEST_BUILD;
	info->modes = pml_ptscan_works() ? PML_MODE_PTSCAN | pml_device_modes() : 0;
	info->events = PML_EV_DIRTY | PML_EV_REFERENCED;
	if (pml_swaps_work()) {
		info->modes |= PML_MODE_SWAPS;
		info->events |= PML_EV_SWAPPED;
	}
	info->max_targets = pml_max_targets;
	info->max_vec = PML_MAX_VEC;
	info->max_memory = pml_max_memory;
	info->huge_size = PMD_SIZE;
	strscpy(info->module_version, PML_MODULE_VERSION, sizeof(info->module_version));
	pml_device_info(info);
	return 0;
}

/* Reads a struct of size *size, which is its first field. */
static long get_struct(void *to, size_t ksize, size_t size0, const void __user *from, u32 *size)
{
	if (get_user(*size, (const u32 __user *)from))
		return -EFAULT;
	if (*size < size0 || *size > MAX_STRUCT)
		return -EINVAL;
	return copy_struct_from_user(to, ksize, from, *size);
}

union any_struct {
	struct pml_uapi_info info;
	struct pml_uapi_add add;
	struct pml_uapi_remove remove;
	struct pml_uapi_list list;
	struct pml_uapi_collect collect;
	struct pml_uapi_stats stats;
	struct pml_uapi_swaps swaps;
};

static int call_info(struct pml_session *s, union any_struct *k)
{
	return get_info(&k->info);
}

static int call_add(struct pml_session *s, union any_struct *k)
{
	return pml_session_add(s, &k->add);
}

static int call_remove(struct pml_session *s, union any_struct *k)
{
	return pml_session_remove(s, &k->remove);
}

static int call_list(struct pml_session *s, union any_struct *k)
{
	return pml_session_list(s, &k->list);
}

static int call_collect(struct pml_session *s, union any_struct *k)
{
	if (k->collect.reserved)
		return -EINVAL;
	return pml_session_collect(s, &k->collect);
}

static int call_stats(struct pml_session *s, union any_struct *k)
{
	return pml_session_stats(s, &k->stats);
}

static int call_swaps(struct pml_session *s, union any_struct *k)
{
	if (k->swaps.flags || k->swaps.reserved)
		return -EINVAL;
	return pml_session_swaps(s, &k->swaps);
}

/* What each call takes, and who does it. */
static const struct call {
	u32 ksize;
	u32 size0;
	int (*function)(struct pml_session *s, union any_struct *k);
} calls[] = {
	[_IOC_NR(PML_IOC_INFO)] = { sizeof(struct pml_uapi_info), PML_INFO_SIZE0, call_info },
	[_IOC_NR(PML_IOC_ADD)] = { sizeof(struct pml_uapi_add), PML_ADD_SIZE0, call_add },
	[_IOC_NR(PML_IOC_REMOVE)] = { sizeof(struct pml_uapi_remove), PML_REMOVE_SIZE0,
				      call_remove },
	[_IOC_NR(PML_IOC_LIST)] = { sizeof(struct pml_uapi_list), PML_LIST_SIZE0, call_list },
	[_IOC_NR(PML_IOC_COLLECT)] = { sizeof(struct pml_uapi_collect), PML_COLLECT_SIZE0,
				       call_collect },
	[_IOC_NR(PML_IOC_STATS)] = { sizeof(struct pml_uapi_stats), PML_STATS_SIZE0, call_stats },
	[_IOC_NR(PML_IOC_SWAPS)] = { sizeof(struct pml_uapi_swaps), PML_SWAPS_SIZE0, call_swaps },
};

static long pml_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct pml_session *s = file->private_data;
	void __user *p = (void __user *)arg;
	union any_struct k = { 0 };
	const struct call *c;
	u32 size;
	long err;

	if (_IOC_TYPE(cmd) != PML_IOC_MAGIC || _IOC_DIR(cmd) != (_IOC_READ | _IOC_WRITE) ||
	    _IOC_NR(cmd) >= ARRAY_SIZE(calls))
		return -ENOTTY;
	c = &calls[_IOC_NR(cmd)];
	err = get_struct(&k, c->ksize, c->size0, p, &size);
	if (!err)
		err = c->function(s, &k);
	/* EEXIST comes with the target that is there already */
	if (err && err != -EEXIST)
		return err;
	if (!copy_to_user(p, &k, min_t(size_t, c->ksize, size)))
		return err;
	/* what was collected must not be lost on the way out */
	if (c->function == call_collect)
		pml_session_collect_failed(s, k.collect.target);
	if (c->function == call_swaps)
		pml_session_swaps_untold(s);
	return -EFAULT;
}

static int pml_open(struct inode *inode, struct file *file)
{
	file->private_data = pml_session_open();
	return file->private_data ? 0 : -ENOMEM;
}

static int pml_release(struct inode *inode, struct file *file)
{
	pml_session_close(file->private_data);
	return 0;
}

static __poll_t pml_poll(struct file *file, poll_table *wait)
{
	return pml_session_poll(file->private_data, file, wait);
}

static const struct file_operations pml_fops = {
	.owner = THIS_MODULE,
	.open = pml_open,
	.release = pml_release,
	.unlocked_ioctl = pml_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = pml_poll,
	.llseek = noop_llseek,
};

static struct miscdevice pml_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pml",
	.fops = &pml_fops,
	.mode = 0600,
};

static int __init pml_init(void)
{
	int err = pml_pageset_setup();

	if (err)
		return err;
	err = pml_notifier_setup();
	if (err)
		goto out_pageset;
	pml_swaps_setup();
	err = pml_device_setup();
	if (err)
		goto out_notifier;
	err = misc_register(&pml_misc);
	if (err)
		goto out_device;
	return 0;

out_device:
	pml_device_teardown();
out_notifier:
	pml_notifier_teardown();
out_pageset:
	pml_pageset_teardown();
	return err;
}

static void __exit pml_exit(void)
{
	misc_deregister(&pml_misc);
	pml_device_teardown();
	pml_notifier_teardown();
	pml_pageset_teardown();
}

module_init(pml_init);
module_exit(pml_exit);
MODULE_DESCRIPTION("Page modification tracking of processes");
MODULE_LICENSE("GPL");
MODULE_VERSION(PML_MODULE_VERSION);
