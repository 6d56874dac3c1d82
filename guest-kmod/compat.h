/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernel versions, 6.1 and later, and what modules may not
 * call: all of it is here.  Included by the files of the module that need it.
 */
#ifndef PML_COMPAT_H
#define PML_COMPAT_H

#include <linux/capability.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/tracepoint.h>
#include <linux/version.h>
#ifdef PML_HAS_EXEC_STATE	/* see Kbuild */
#include <linux/sched/exec_state.h>
#endif
#include <asm/tlbflush.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "pml.ko needs Linux 6.1 or newer"
#endif
#ifndef CONFIG_X86_64
#error "pml.ko is for x86-64 only"
#endif
#ifndef CONFIG_MMU_NOTIFIER
#error "pml.ko needs CONFIG_MMU_NOTIFIER"
#endif
#ifndef CONFIG_PARAVIRT
#error "pml.ko needs CONFIG_PARAVIRT: modules cannot flush the TLB without it"
#endif

/* Since 6.6 the dirty bit of a page that cannot be written moves to another. */
#ifdef _PAGE_SAVED_DIRTY
#define PML_DIRTY_BITS (_PAGE_DIRTY | _PAGE_SAVED_DIRTY)
#define PML_BIT_SAVED_DIRTY _PAGE_BIT_SAVED_DIRTY
#else
#define PML_DIRTY_BITS _PAGE_DIRTY
#define PML_BIT_SAVED_DIRTY _PAGE_BIT_DIRTY
#endif

#ifndef VM_SHADOW_STACK
#define VM_SHADOW_STACK VM_NONE
#endif

/* Has anything of it ever been pinned? */
static inline bool pml_mm_has_pinned(const struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return mm_flags_test(MMF_HAS_PINNED, mm);
#else
	return test_bit(MMF_HAS_PINNED, &mm->flags);
#endif
}

/*
 * May the caller ptrace whoever holds this memory, by capability?  The task is
 * kept from exec by the caller of this.
 */
static inline bool pml_may_ptrace(struct task_struct *task, struct mm_struct *mm)
{
#ifdef PML_HAS_EXEC_STATE
	struct task_exec_state *state;
	bool may;

	rcu_read_lock();
	state = rcu_dereference(task->exec_state);
	may = state && ns_capable(state->user_ns, CAP_SYS_PTRACE);
	rcu_read_unlock();
	return may;
#else
	return ns_capable(mm->user_ns, CAP_SYS_PTRACE);
#endif
}

/* Does the caller hold mmap_lock for writing? */
static inline bool pml_is_changing(struct mm_struct *mm)
{
#ifdef CONFIG_PREEMPT_RT
	return false;
#else
	/* the lowest bits are flags; bit 0 is set while readers own it */
	return (atomic_long_read(&mm->mmap_lock.owner) & ~2l) == (long)current;
#endif
}

/*
 * Since 6.17 a change of protection takes the entries of a large page's parts
 * together, and gives each of them the dirty bit of any.
 */
static inline bool pml_protection_spreads(void)
{
	return LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0);
}

/* Is it the place on swap of a page, and not another entry of that kind (migration)? */
static inline bool pml_is_on_swap(pte_t pte)
{
	return !pte_none(pte) && !pte_present(pte) &&
	       __swp_type(__pte_to_swp_entry(pte)) < MAX_SWAPFILES;
}

struct pml_wanted_point {
	const char *name;
	struct tracepoint *found;
};

static inline void pml_look_at_point(struct tracepoint *tp, void *wanted)
{
	struct pml_wanted_point *w = wanted;

	if (!strcmp(tp->name, w->name))
		w->found = tp;
}

/* The kernel's tracepoint of that name, which is not exported itself; NULL: it has none. */
static inline struct tracepoint *pml_find_tracepoint(const char *name)
{
	struct pml_wanted_point w = { .name = name };

	for_each_kernel_tracepoint(pml_look_at_point, &w);
	return w.found;
}

/* Does a device walk its page tables? */
static inline bool pml_mm_has_pasid(struct mm_struct *mm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
	return mm_valid_pasid(mm);
#elif defined(CONFIG_IOMMU_SVA)
	return pasid_valid(mm->pasid);
#else
	return false;
#endif
}

static inline long pml_get_page(struct mm_struct *mm, unsigned long addr, unsigned int flags,
				struct page **page)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return get_user_pages_remote(mm, addr, 1, flags, page, NULL);
#else
	return get_user_pages_remote(mm, addr, 1, flags, page, NULL, NULL);
#endif
}

static inline void pml_flush_local(void *unused)
{
	__flush_tlb_local();
}

static inline void pml_flush_global(void *unused)
{
	__flush_tlb_global();
}

/*
 * Flushes what any processor's TLB holds of this memory.  The kernel's own
 * functions are not exported.  A processor that is not in the mask, or leaves
 * it now, compares the generation when it comes back; one that is in it flushes
 * what it has.  With AMD's broadcast invalidation there is no generation: then
 * all processors flush all.  Returns how many were interrupted.
 */
static inline unsigned int pml_flush_mm(struct mm_struct *mm)
{
	unsigned int n;

	atomic64_inc(&mm->context.tlb_gen);
	/* pairs with switch_mm_irqs_off(): first the mask, then the generation */
	smp_mb__after_atomic();
#ifdef CONFIG_BROADCAST_TLB_FLUSH
	if (READ_ONCE(mm->context.global_asid)) {
		on_each_cpu(pml_flush_global, NULL, 1);
		return num_online_cpus();
	}
#endif
	n = cpumask_weight(mm_cpumask(mm));
	on_each_cpu_mask(mm_cpumask(mm), pml_flush_local, NULL, true);
	return n;
}

#endif
