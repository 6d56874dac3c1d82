// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device logs for the context that its word `run` names: the memory whose page
 * tables the processor uses.  One probe keeps it, on the tracepoint tlb_flush, which
 * the kernel passes after each change of CR3: at a switch between processes, in exec,
 * when a kernel thread borrows a memory (kthread_use_mm) and when the kernel uses one
 * of its own for a moment (to patch its text).  CR3 itself is asked, not whose turn it
 * is: a kernel thread that runs on with the tables of the process before it may borrow
 * that very memory, and no switch tells.
 *
 * The probe is there only while a memory is tracked, and writes only when what is
 * loaded changes between tracked and untracked, or between two tracked ones.  It runs
 * with interrupts off: between CR3 and `run` the kernel stores to no user address.
 * Called by log.c.
 */
#include <linux/hashtable.h>
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <asm/processor.h>
#include "compat.h"
#include "device.h"
#include "log.h"
#include "sched.h"
#include "track.h"

/* By page tables; changed under pml_device_lock, read under RCU by the probe. */
static DEFINE_HASHTABLE(running, 6);
static unsigned int nrunning;

static struct tracepoint *on_load_point;

static u32 context_of(unsigned long root)
{
	struct pml_log *log;

	if (pml_broken(PML_BREAK_NO_RUN))
		return 0;
	hash_for_each_possible_rcu_notrace(running, log, in_running, root)
		if (log->root == root)
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

/* For the tests: a kernel thread that has borrowed a memory is overlooked. */
static bool is_overlooked(void)
{
	return pml_broken(PML_BREAK_NO_BORROW) && current->flags & PF_KTHREAD && current->mm;
}

static void on_load(void *unused, int reason, unsigned long pages)
{
	if (reason == TLB_FLUSH_ON_TASK_SWITCH && !is_overlooked())
		tell(this_processor(), context_of(read_cr3_pa()));
}

void pml_sched_look(void *unused)
{
	unsigned long flags;

	local_irq_save(flags);
	rcu_read_lock();
	tell(this_processor(), context_of(read_cr3_pa()));
	rcu_read_unlock();
	local_irq_restore(flags);
}

static int register_probe(void)
{
	on_load_point = pml_find_tracepoint("tlb_flush");
	if (!on_load_point)
		return -EOPNOTSUPP;
	return tracepoint_probe_register(on_load_point, on_load, NULL);
}

static void unregister_probe(void)
{
	tracepoint_probe_unregister(on_load_point, on_load, NULL);
	/* it runs nowhere any more: the device may go */
	tracepoint_synchronize_unregister();
}

int pml_sched_add(struct pml_log *log)
{
	int err = nrunning ? 0 : register_probe();

	if (err)
		return err;
	nrunning++;
	log->root = __pa(log->mm->pgd);
	hash_add_rcu(running, &log->in_running, log->root);
	on_each_cpu(pml_sched_look, NULL, 1);
	return 0;
}

void pml_sched_remove(struct pml_log *log)
{
	hash_del_rcu(&log->in_running);
	if (!--nrunning)
		unregister_probe();
	/* after the last change that was told of: none is told that is not tracked */
	on_each_cpu(pml_sched_look, NULL, 1);
}
