// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is swapped out of a memory and asked for again, in order; see swaps.h.
 *
 * A page goes by reclaim, of which the MMU notifier is told; when that has ended, the
 * page table says whether the page went to swap.  It comes back by a page fault, and the
 * tracepoint is passed before the kernel has done anything about it: the page table still
 * says that it is out.  What comes back without one is not seen: pages that another
 * process asks for (ptrace), or that the kernel maps beside the one that was asked for.
 *
 * Page tables are read with interrupts off and without locks: they are not freed
 * meanwhile, as whoever frees one waits for this processor or for RCU.
 */
#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include "compat.h"
#include "swaps.h"
#include "track.h"
#include "walk.h"

/* Events that a session keeps until they are read. */
#define KEPT 65536u

struct pml_swaps {
	struct pml_budget *budget;
	raw_spinlock_t lock;		/* interrupts off */
	u32 first;
	u32 n;
	bool lost;			/* some did not fit behind these */
	struct pml_uapi_swap *at;	/* KEPT of them, in a ring */
};

struct pml_follower {
	struct hlist_node in_followed;
	struct pml_mm *mm;
	struct pml_swaps *swaps;
	u32 number;			/* of the target */
	wait_queue_head_t *wait;	/* woken when the memory ends */
};

/* By memory; changed under followed_lock, read under RCU. */
static DEFINE_HASHTABLE(followed, 6);
static unsigned int nfollowed;
static DEFINE_MUTEX(followed_lock);

/* Faults of programs, and of the kernel on their behalf. */
static struct tracepoint *points[2];

void pml_swaps_setup(void)
{
	points[0] = pml_find_tracepoint("page_fault_user");
	points[1] = pml_find_tracepoint("page_fault_kernel");
}

bool pml_swaps_work(void)
{
	return points[0] && points[1];
}

static void keep(struct pml_swaps *s, const struct pml_uapi_swap *event)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&s->lock, flags);
	if (s->n < KEPT && !s->lost)
		s->at[(s->first + s->n++) % KEPT] = *event;
	else
		s->lost = true;
	raw_spin_unlock_irqrestore(&s->lock, flags);
}

/* Under RCU. */
static bool is_followed(const struct mm_struct *mm)
{
	struct pml_follower *f;

	hash_for_each_possible_rcu(followed, f, in_followed, (unsigned long)mm)
		if (f->mm->notifier.mm == mm)
			return true;
	return false;
}

/* Under RCU. */
static void tell(const struct mm_struct *mm, unsigned long addr, u32 what)
{
	struct pml_uapi_swap event = { .address = addr & PAGE_MASK, .what = what };
	struct pml_follower *f;

	hash_for_each_possible_rcu(followed, f, in_followed, (unsigned long)mm) {
		if (f->mm->notifier.mm != mm)
			continue;
		event.target = f->number;
		keep(f->swaps, &event);
	}
}

static bool is_swapped(struct mm_struct *mm, unsigned long addr)
{
	unsigned long flags, next;
	bool swapped = false;
	pmd_t value = { 0 };
	pmd_t *pmd;

	local_irq_save(flags);
	pmd = pml_find_pmd(mm, addr, addr + PAGE_SIZE, &next);
	if (pmd)
		value = READ_ONCE(*pmd);
	/* a huge page is bad, too */
	if (pmd && !pmd_none(value) && !pmd_bad(value)) {
		pte_t *table = (pte_t *)pmd_page_vaddr(value);

		swapped = pml_is_on_swap(READ_ONCE(table[pte_index(addr)]));
	}
	local_irq_restore(flags);
	return swapped;
}

static void on_fault(void *unused, unsigned long address, struct pt_regs *regs,
		     unsigned long error_code)
{
	struct mm_struct *mm = current->mm;

	if (!mm || address >= TASK_SIZE_MAX)
		return;
	rcu_read_lock();
	if (is_followed(mm) && is_swapped(mm, address))
		tell(mm, address, PML_SWAP_IN);
	rcu_read_unlock();
}

void pml_swaps_invalidated(const struct mmu_notifier_range *range)
{
	unsigned long addr = range->start & PAGE_MASK;

	if (!READ_ONCE(nfollowed) || range->event != MMU_NOTIFY_CLEAR ||
	    !(current->flags & PF_MEMALLOC) || range->end - addr > PMD_SIZE ||
	    pml_broken(PML_BREAK_NO_NOTIFIER))
		return;
	rcu_read_lock();
	if (is_followed(range->mm))
		for (; addr < range->end; addr += PAGE_SIZE)
			if (is_swapped(range->mm, addr))
				tell(range->mm, addr, PML_SWAP_OUT);
	rcu_read_unlock();
}

void pml_swaps_end(struct mm_struct *mm)
{
	struct pml_follower *f;

	rcu_read_lock();
	hash_for_each_possible_rcu(followed, f, in_followed, (unsigned long)mm)
		if (f->mm->notifier.mm == mm)
			wake_up_all(f->wait);
	rcu_read_unlock();
}

static void unregister_probes(unsigned int n)
{
	while (n--)
		tracepoint_probe_unregister(points[n], on_fault, NULL);
	tracepoint_synchronize_unregister();
}

static int register_probes(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(points); i++) {
		int err = tracepoint_probe_register(points[i], on_fault, NULL);

		if (err) {
			unregister_probes(i);
			return err;
		}
	}
	return 0;
}

static int follow(struct pml_follower *f)
{
	int err;

	mutex_lock(&followed_lock);
	err = nfollowed ? 0 : register_probes();
	if (!err) {
		WRITE_ONCE(nfollowed, nfollowed + 1);
		hash_add_rcu(followed, &f->in_followed, (unsigned long)f->mm->notifier.mm);
	}
	mutex_unlock(&followed_lock);
	return err;
}

static void unfollow(struct pml_follower *f)
{
	mutex_lock(&followed_lock);
	hash_del_rcu(&f->in_followed);
	WRITE_ONCE(nfollowed, nfollowed - 1);
	if (!nfollowed)
		unregister_probes(ARRAY_SIZE(points));
	mutex_unlock(&followed_lock);
	synchronize_rcu();
}

static long size_of(void)
{
	return sizeof(struct pml_swaps) + KEPT * sizeof(struct pml_uapi_swap);
}

struct pml_swaps *pml_swaps_open(struct pml_budget *budget)
{
	struct pml_swaps *s;

	if (!pml_charge(budget, size_of()))
		return NULL;
	s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);
	if (s)
		s->at = kvmalloc_array(KEPT, sizeof(*s->at), GFP_KERNEL_ACCOUNT);
	if (!s || !s->at) {
		kfree(s);
		pml_uncharge(budget, size_of());
		return NULL;
	}
	raw_spin_lock_init(&s->lock);
	s->budget = budget;
	return s;
}

void pml_swaps_close(struct pml_swaps *s)
{
	if (!s)
		return;
	pml_uncharge(s->budget, size_of());
	kvfree(s->at);
	kfree(s);
}

struct pml_follower *pml_follower_open(struct mm_struct *mm, struct pml_swaps *s, u32 number,
				       wait_queue_head_t *wait)
{
	struct pml_follower *f;
	struct mmu_notifier *n;
	int err;

	if (!pml_swaps_work())
		return ERR_PTR(-EOPNOTSUPP);
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return ERR_PTR(-ENOMEM);
	n = mmu_notifier_get(&pml_notifier_ops, mm);
	if (IS_ERR(n)) {
		kfree(f);
		return ERR_CAST(n);
	}
	f->mm = container_of(n, struct pml_mm, notifier);
	f->swaps = s;
	f->number = number;
	f->wait = wait;
	err = follow(f);
	if (err) {
		mmu_notifier_put(n);
		kfree(f);
		return ERR_PTR(err);
	}
	return f;
}

void pml_follower_close(struct pml_follower *f)
{
	unfollow(f);
	mmu_notifier_put(&f->mm->notifier);
	kfree(f);
}

struct pml_mm *pml_follower_mm(const struct pml_follower *f)
{
	return f->mm;
}

u32 pml_swaps_take(struct pml_swaps *s, struct pml_uapi_swap *to, u32 max, bool *lost)
{
	unsigned long flags;
	u32 n;

	raw_spin_lock_irqsave(&s->lock, flags);
	max = min(max, s->n);
	for (n = 0; n < max; n++)
		to[n] = s->at[(s->first + n) % KEPT];
	s->first = (s->first + n) % KEPT;
	s->n -= n;
	*lost = !s->n && s->lost;
	if (*lost)
		s->lost = false;
	raw_spin_unlock_irqrestore(&s->lock, flags);
	return n;
}

void pml_swaps_lose(struct pml_swaps *s)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&s->lock, flags);
	s->n = 0;
	s->lost = true;
	raw_spin_unlock_irqrestore(&s->lock, flags);
}
