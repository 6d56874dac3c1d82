// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may track whom (section 6 of pml_uapi.h).  No rule of our own: either it
 * is the caller itself, or the kernel has already let somebody look into the
 * process (a descriptor of its pagemap), or the caller has CAP_SYS_PTRACE over
 * it.  Called by session.c.
 */
#include <linux/cgroup.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include "compat.h"
#include "session.h"

/* Processes of one cgroup that one call looks at. */
#define MAX_LISTED 65536

struct mm_struct *pml_permit_self(void)
{
	struct mm_struct *mm = current->mm;

	if (!mm || !mmget_not_zero(mm))
		return ERR_PTR(-ESRCH);
	return mm;
}

/* The check is of the memory that is returned: no exec may come between. */
static struct mm_struct *permit_task(struct task_struct *task)
{
	struct rw_semaphore *exec = &task->signal->exec_update_lock;
	struct mm_struct *mm;

	if (down_read_killable(exec))
		return ERR_PTR(-EINTR);
	mm = get_task_mm(task);
	if (!mm) {
		mm = ERR_PTR(-ESRCH);
	} else if (mm != current->mm && !pml_may_ptrace(task, mm)) {
		mmput(mm);
		mm = ERR_PTR(-EPERM);
	}
	up_read(exec);
	return mm;
}

struct mm_struct *pml_permit_pid(s64 nr)
{
	struct mm_struct *mm = ERR_PTR(-ESRCH);
	struct task_struct *task = NULL;
	struct pid *pid;

	if (nr <= 0 || nr > INT_MAX)
		return ERR_PTR(-EINVAL);
	pid = find_get_pid((pid_t)nr);
	if (pid)
		task = get_pid_task(pid, PIDTYPE_TGID);
	put_pid(pid);
	if (task) {
		mm = permit_task(task);
		put_task_struct(task);
	}
	return mm;
}

static bool is_number(const struct qstr *name)
{
	for (unsigned int i = 0; i < name->len; i++)
		if (name->name[i] < '0' || name->name[i] > '9')
			return false;
	return name->len;
}

/* Is it /proc/PID/pagemap, or /proc/PID/task/TID/pagemap, of procfs itself? */
static bool is_pagemap(const struct file *file)
{
	struct dentry *d = file->f_path.dentry;
	struct name_snapshot own, above;
	bool is;

	if (d->d_sb->s_magic != PROC_SUPER_MAGIC || !S_ISREG(file_inode(file)->i_mode))
		return false;
	take_dentry_name_snapshot(&own, d);
	d = dget_parent(d);
	take_dentry_name_snapshot(&above, d);
	dput(d);
	is = own.name.len == 7 && !memcmp(own.name.name, "pagemap", 7) && is_number(&above.name);
	release_dentry_name_snapshot(&own);
	release_dentry_name_snapshot(&above);
	return is;
}

/*
 * What procfs keeps with a pagemap's descriptor is its own affair: the memory,
 * in all kernels so far.  Tried on one that the caller opens of itself, whose
 * memory is known, before it is relied on.
 */
static int know_pagemap(const struct file *file)
{
	static const struct file_operations *known;
	struct file *own;
	int err = -EOPNOTSUPP;

	if (READ_ONCE(known) == file->f_op)
		return 0;
	own = filp_open("/proc/self/pagemap", O_RDONLY, 0);
	if (IS_ERR(own))
		return err;
	if (is_pagemap(own) && own->private_data == current->mm) {
		WRITE_ONCE(known, own->f_op);
		err = own->f_op == file->f_op ? 0 : -EBADF;
	}
	filp_close(own, NULL);
	return err;
}

struct mm_struct *pml_permit_proof(s64 nr)
{
	struct mm_struct *mm = ERR_PTR(-EBADF);
	struct file *file;
	int err;

	if (nr < 0 || nr > INT_MAX)
		return mm;
	file = fget((unsigned int)nr);
	if (!file)
		return mm;
	if (is_pagemap(file)) {
		err = know_pagemap(file);
		mm = err ? ERR_PTR(err) : file->private_data;
		if (!mm)
			mm = ERR_PTR(-ESRCH);
		if (!IS_ERR(mm) && !mmget_not_zero(mm))
			mm = ERR_PTR(-ESRCH);
	}
	fput(file);
	return mm;
}

static unsigned int list_cgroup(struct cgroup *cgrp, struct task_struct **tasks)
{
	struct task_struct *p;
	unsigned int n = 0;

	rcu_read_lock();
	for_each_process(p) {
		if (n == MAX_LISTED)
			break;
		if (!(p->flags & PF_KTHREAD) && task_under_cgroup_hierarchy(p, cgrp)) {
			get_task_struct(p);
			tasks[n++] = p;
		}
	}
	rcu_read_unlock();
	return n;
}

int pml_permit_cgroup(s64 fd, int (*add)(void *arg, struct mm_struct *mm, u32 pid), void *arg,
		      u32 *refused)
{
	struct task_struct **tasks;
	struct cgroup *cgrp;
	unsigned int n;
	int err = 0;

	*refused = 0;
	if (fd < 0 || fd > INT_MAX)
		return -EBADF;
	cgrp = cgroup_get_from_fd((int)fd);
	if (IS_ERR(cgrp))
		return -EBADF;
	tasks = kvmalloc_array(MAX_LISTED, sizeof(*tasks), GFP_KERNEL_ACCOUNT);
	if (!tasks) {
		cgroup_put(cgrp);
		return -ENOMEM;
	}
	n = list_cgroup(cgrp, tasks);
	if (n == MAX_LISTED)
		++*refused;
	cgroup_put(cgrp);
	for (unsigned int i = 0; i < n; i++) {
		struct mm_struct *mm = err ? ERR_PTR(-ESRCH) : permit_task(tasks[i]);

		if (!IS_ERR(mm)) {
			err = add(arg, mm, task_pid_vnr(tasks[i]));
			mmput(mm);
		} else if (PTR_ERR(mm) == -EPERM) {
			++*refused;
		}
		put_task_struct(tasks[i]);
	}
	kvfree(tasks);
	return err;
}
