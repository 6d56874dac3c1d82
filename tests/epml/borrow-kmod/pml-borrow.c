// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A kernel thread that borrows the memory of a process and writes to it, as drivers
 * do that work for a process.  For tests/epml/test_borrow.c alone; loaded in guests by
 * tests/kmod/inside.  /dev/pml-borrow takes one struct of four words a write().
 */
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/uaccess.h>

/* As test_borrow.c has it. */
struct borrow {
	u64 pid;		/* whose memory */
	u64 start;		/* one byte of each page from here on is written */
	u64 pages;
	u64 cpu;		/* where the thread runs */
};

struct work {
	struct borrow what;
	struct mm_struct *mm;
	struct completion done;
	int err;
};

static int lend(void *arg)
{
	struct work *w = arg;

	kthread_use_mm(w->mm);
	for (u64 i = 0; i < w->what.pages && !w->err; i++)
		w->err = put_user((u8)i, (u8 __user *)(w->what.start + i * PAGE_SIZE));
	kthread_unuse_mm(w->mm);
	/* the caller's stack may end with this, and the module */
	kthread_complete_and_exit(&w->done, 0);
}

static int run(struct work *w)
{
	struct task_struct *thread = kthread_create(lend, w, "pml-borrow");

	if (IS_ERR(thread))
		return PTR_ERR(thread);
	kthread_bind(thread, w->what.cpu);
	wake_up_process(thread);
	wait_for_completion(&w->done);
	return w->err;
}

static ssize_t borrow_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	struct work w = { .err = 0 };
	struct task_struct *task;
	struct pid *pid;
	int err;

	if (size != sizeof(w.what))
		return -EINVAL;
	if (copy_from_user(&w.what, from, size))
		return -EFAULT;
	if (w.what.cpu >= nr_cpu_ids || !cpu_online(w.what.cpu))
		return -EINVAL;
	pid = find_get_pid(w.what.pid);
	task = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	if (!task)
		return -ESRCH;
	w.mm = get_task_mm(task);
	put_task_struct(task);
	if (!w.mm)
		return -ESRCH;
	init_completion(&w.done);
	err = run(&w);
	mmput(w.mm);
	return err ? err : size;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.write = borrow_write,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pml-borrow",
	.fops = &operations,
};

module_misc_device(device);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("libpml: a kernel thread that borrows a memory, for tests");
