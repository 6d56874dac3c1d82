// SPDX-License-Identifier: GPL-2.0-only
/*
 * How the tables of a memory are walked, by the kernel's own rules, whose functions
 * are not exported; see walk.h.  Called by ptscan.c, reverse_map.c and swaps.c.
 */
#include <linux/mm.h>
#include "walk.h"

pmd_t *pml_find_pmd(struct mm_struct *mm, unsigned long addr, unsigned long end,
		    unsigned long *next)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	*next = pgd_addr_end(addr, end);
	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	*next = p4d_addr_end(addr, end);
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	*next = pud_addr_end(addr, end);
	/* a gigantic page is bad, too */
	if (pud_none(*pud) || pud_bad(*pud))
		return NULL;
	*next = pmd_addr_end(addr, end);
	return pmd_offset(pud, addr);
}

bool pml_with_table(struct mm_struct *mm, pmd_t *pmd, bool (*fn)(pte_t *table, void *arg),
		    void *arg)
{
	spinlock_t *ptl; /* of the table */
	pmd_t value;
	bool said;

	rcu_read_lock();
	value = READ_ONCE(*pmd);
	if (pmd_none(value) || pmd_bad(value)) {
		rcu_read_unlock();
		return pmd_none(value);
	}
	ptl = pte_lockptr(mm, &value);
	spin_lock(ptl);
	said = pmd_same(value, READ_ONCE(*pmd)) && fn((pte_t *)pmd_page_vaddr(value), arg);
	spin_unlock(ptl);
	rcu_read_unlock();
	return said;
}
