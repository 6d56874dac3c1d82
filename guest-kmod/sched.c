// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device logs for the context that its word `run` names.  One probe on
 * sched_switch keeps it, for all threads of a tracked memory and whoever else
 * runs in it; it is there only while a memory is tracked, and writes only when
 * what runs changes between tracked and untracked, or between two tracked ones.
 * Called by log.c.
 *
 * The probe runs with interrupts off, before the address space changes: between
 * the two the kernel stores to no user address.
 */
#include <linux/hashtable.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include "device.h"
#include "log.h"
#include "sched.h"
#include "track.h"

/* By memory; changed under pml_device_lock, read under RCU by the probe. */
static DEFINE_HASHTABLE(running, 6);
static unsigned int nrunning;

static struct tracepoint *on_switch_point, *on_exec_point;

static u32 context_of(const struct mm_struct *mm)
{
	struct pml_log *log;

	if (!mm || pml_broken(PML_BREAK_NO_RUN))
		return 0;
	hash_for_each_possible_rcu_notrace(running, log, in_running, (unsigned long)mm)
		if (log->mm == mm)
			return log->context;
	return 0;
}

/* By the processor itself, which cannot be taken away. */
static void tell(struct pml_device_cpu *c, u32 context)
{
	if (c->run == context)
		return;
	c->run = context;
	WRITE_ONCE(c->block->run, context);
	WRITE_ONCE(c->switches, c->switches + 1);
}

/* While a probe is registered, the device is bound: see pml_sched_remove(). */
static struct pml_device_cpu *this_processor(void)
{
	return &pml_device->cpu[smp_processor_id()];
}

static void on_switch(void *unused, bool preempt, struct task_struct *prev,
		      struct task_struct *next, unsigned int state)
{
	tell(this_processor(), context_of(next->mm));
}

/* A thread has left a memory that it shared, without a switch. */
static void on_exec(void *unused, struct task_struct *task, pid_t old, struct linux_binprm *bprm)
{
	unsigned long flags;

	local_irq_save(flags);
	tell(this_processor(), context_of(task->mm));
	local_irq_restore(flags);
}

void pml_sched_look(void *unused)
{
	unsigned long flags;

	local_irq_save(flags);
	rcu_read_lock();
	tell(this_processor(), context_of(current->mm));
	rcu_read_unlock();
	local_irq_restore(flags);
}

static void find_point(struct tracepoint *tp, void *unused)
{
	if (!strcmp(tp->name, "sched_switch"))
		on_switch_point = tp;
	else if (!strcmp(tp->name, "sched_process_exec"))
		on_exec_point = tp;
}

static int register_probes(void)
{
	int err;

	for_each_kernel_tracepoint(find_point, NULL);
	if (!on_switch_point || !on_exec_point)
		return -EOPNOTSUPP;
	err = tracepoint_probe_register(on_switch_point, on_switch, NULL);
	if (err)
		return err;
	err = tracepoint_probe_register(on_exec_point, on_exec, NULL);
	if (err)
		tracepoint_probe_unregister(on_switch_point, on_switch, NULL);
	return err;
}

static void unregister_probes(void)
{
	tracepoint_probe_unregister(on_switch_point, on_switch, NULL);
	tracepoint_probe_unregister(on_exec_point, on_exec, NULL);
	/* none of them runs any more: the device may go */
	tracepoint_synchronize_unregister();
}

int pml_sched_add(struct pml_log *log)
{
	int err = nrunning ? 0 : register_probes();

	if (err)
		return err;
	nrunning++;
	hash_add_rcu(running, &log->in_running, (unsigned long)log->mm);
	on_each_cpu(pml_sched_look, NULL, 1);
	return 0;
}

void pml_sched_remove(struct pml_log *log)
{
	hash_del_rcu(&log->in_running);
	if (!--nrunning)
		unregister_probes();
	/* after the last switch that was told of: none runs that is not tracked */
	on_each_cpu(pml_sched_look, NULL, 1);
}
