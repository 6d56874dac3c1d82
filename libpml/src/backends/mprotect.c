/* SPDX-License-Identifier: MIT */
/*
 * mprotect: memory is made read-only, and a handler of SIGSEGV lets each first
 * write go on.  The calling process only, ranges that are named only, and only
 * when asked for by name: it is there to be compared with.  Called through struct
 * pml_backend.
 *
 * What decides its correctness:
 *
 * - The mappings' rights are the account: what may be written to was written, or
 *   is new.  So a fault that is let go for any reason, and a mapping that could
 *   not be protected (vm.max_map_count), is reported.  The handler's own notes, a
 *   bit a page, only tell OBSERVED from ASSUMED.
 * - What the program moves (mremap) stays read-only at an address that no table
 *   knows.  So every mapping that is protected is marked, by MADV_RANDOM, which
 *   goes with it and which smaps shows: a write fault in a marked mapping is ours,
 *   wherever it is.  Every other fault is the program's, and its handler is called.
 * - The kernel puts a signal's frame onto the stack, and writes to thread-local
 *   storage (rseq) unasked: were those protected, the process would end.  So only
 *   named ranges are protected, and never those with the caller's stack.
 * - The handler may be interrupted by another fault: it leaves SIGSEGV unblocked,
 *   writes to tables of the tracker's alone, and waits for nobody.
 * - A thread may have faulted before the tracker goes, and come to the handler after
 *   that.  So the handler goes when no thread can be on its way (passers.h), or else it
 *   stays, and passes on what is not ours, until the next tracker goes.
 * - A forked child has the protection and the handler, and both work there.
 * - Memory may be moved onto memory that is protected, too, and then looks as before.
 *   So when something that was protected is not there any more, or was replaced, or a
 *   protected page has content that had none, all that is protected is ASSUMED.  Not
 *   seen: two ranges, or more, that change places within an epoch; and what mremap
 *   leaves behind with MREMAP_DONTUNMAP, as far as its target is concerned.
 * - System calls that write to protected memory fail with EFAULT.  /proc/PID/mem and
 *   ptrace write past the protection: UNCOVERED, FORCED.
 * - Pages dropped: as in uffd_sync.c.
 */
#define _GNU_SOURCE
#include "../backend.h"
#include "../broken.h"
#include "../look.h"
#include "../message.h"
#include "../passers.h"
#include "../vmas.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* A range that is protected, or was until it was written. */
struct seg {
	uint64_t start;
	uint64_t end;
	uint64_t first_page;	/* its number in the bits */
	uint64_t inode;
	enum pml_area_kind kind;
};

/* What the handler looks into; replaced as a whole. */
struct table {
	struct pml_buf segs;
	struct pml_buf bits;	/* atomic_ulong: pages that the handler let go */
	size_t n;
};

struct guard {
	struct pml_proc *p;
	int smaps;
	struct pml_look look;
	struct table tables[2];
	struct table *_Atomic table;
	struct pml_set known;	/* pages that had content at the last look */
	struct pml_set missing;	/* while looking */
	struct pml_set unsure;	/* protected, but ASSUMED: not told yet */
	struct pml_set fresh;	/* had no content at the last look */
	struct sigaction before;
	atomic_uint_fast64_t faults;
	uint64_t told_faults;
	atomic_bool overflow;	/* as many mappings as we may make were made */
	atomic_long maps;	/* how many the handler has made, about */
	long max_maps;
	enum pml_area_kind kind;	/* while looking */
	bool no_rearm;		/* negative control, only with PML_TEST_HOOKS */
};

/* The handler is the process's: so is what it finds. */
static struct guard *_Atomic active;
static atomic_uint in_handler;
/* Who had the signal before; stays when the tracker has gone, for a handler that
 * was installed later may still call ours. */
static struct sigaction before;
/* One that was installed later, and was there when the last tracker went. */
static struct sigaction later;

static const struct seg *segs_of(const struct table *t)
{
	return t->segs.p;
}

/* In a forked child the descriptor shows the parent. */
static int vmas(const struct guard *g, uint64_t from, pml_vma_fn fn, void *arg)
{
	return pml_vmas(g && g->p->pid == getpid() ? g->smaps : -1, from, fn, arg);
}

/* The last range that begins at or before an address, if it holds it. */
static const struct seg *find_seg(const struct table *t, uint64_t addr)
{
	const struct seg *s = segs_of(t);
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s[mid].start <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low && addr < s[low - 1].end ? s + low - 1 : NULL;
}

static atomic_ulong *word_of(const struct guard *g, const struct table *t, const struct seg *s,
			     uint64_t addr, unsigned long *bit)
{
	uint64_t page = s->first_page + ((addr - s->start) >> g->p->page_shift);

	*bit = 1ul << (page % 64);
	return (atomic_ulong *)t->bits.p + page / 64;
}

static bool is_noted(const struct guard *g, const struct table *t, const struct seg *s,
		     uint64_t addr)
{
	unsigned long bit;
	atomic_ulong *word = word_of(g, t, s, addr, &bit);

	return atomic_load(word) & bit;
}

static void note(const struct guard *g, const struct table *t, const struct seg *s, uint64_t addr)
{
	unsigned long bit;
	atomic_ulong *word = word_of(g, t, s, addr, &bit);

	atomic_fetch_or(word, bit);
}

static void forget(const struct guard *g, const struct table *t, const struct seg *s,
		   uint64_t addr)
{
	unsigned long bit;
	atomic_ulong *word = word_of(g, t, s, addr, &bit);

	atomic_fetch_and(word, ~bit);
}

/* ---- the handler ---- */

/* The program may have taken the right to read, too: then the fault is its own. */
static bool readable(uint64_t addr)
{
	char byte;
	struct iovec to = { &byte, 1 }, from = { (void *)addr, 1 };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1 || errno != EFAULT;
}

/* Which mappings may be written to again: neighbours at once, or else each call would
 * make one mapping larger, and the next would be looked at with all before it. */
struct release {
	const struct guard *g;
	uint64_t start;
	uint64_t end;
	bool unmark;		/* tracking of them ends */
	bool wherever;		/* ours elsewhere too: they were moved there */
	bool failed;
	uint64_t found;		/* bytes that are still ours */
	uint64_t run_start;
	uint64_t run_end;
	uint64_t done;		/* what was joined with what is behind comes again */
};

static void release_run(struct release *r)
{
	if (r->run_start < r->run_end) {
		void *start = (void *)r->run_start;
		size_t len = r->run_end - r->run_start;

		r->failed |= mprotect(start, len, PROT_READ | PROT_WRITE) != 0;
		if (r->unmark)
			madvise(start, len, MADV_NORMAL);
	}
	r->run_start = r->run_end = 0;
}

/* MADV_RANDOM means nothing to memory without a file; of a file, it must be one of
 * those that are watched. */
static bool may_be_ours(const struct guard *g, const struct pml_vma *v)
{
	const struct table *t = atomic_load(&g->table);

	for (size_t i = 0; v->inode && i < t->n; i++)
		if (segs_of(t)[i].inode == v->inode)
			return true;
	return !v->inode;
}

static bool release_vma(void *arg, const struct pml_vma *v)
{
	struct release *r = arg;
	bool inside = v->start < r->end && v->end > r->start;
	uint64_t start = inside && v->start < r->start ? r->start : v->start;
	uint64_t end = inside && v->end > r->end ? r->end : v->end;
	bool ours = v->random && v->read && !v->exec &&
		    (inside || (r->wherever && may_be_ours(r->g, v)));

	if (!r->wherever && v->start >= r->end)
		return false;
	if (start < r->done)
		start = r->done;
	if (start >= end)
		return true;
	r->done = end;
	r->found += ours && inside ? end - start : 0;
	/* what may be written to already does not end a run */
	if (!ours && !(inside && v->write && v->read && !v->exec)) {
		release_run(r);
		return true;
	}
	if (start != r->run_end)
		release_run(r);
	if (r->run_start == r->run_end)
		r->run_start = start;
	r->run_end = end;
	return true;
}

/* 0, or -errno.  All of it is done, as far as it goes. */
static int release(struct release *r)
{
	int err = vmas(r->g, r->wherever ? 0 : r->start, release_vma, r);

	release_run(r);
	return err ? err : r->failed ? -ENOMEM : 0;
}

/* Too many mappings: all of the range may be written to, which makes one of many, and
 * all of it is reported. */
static bool release_all(struct guard *g, uint64_t start, uint64_t end)
{
	struct release r = { .g = g, .start = start, .end = end };

	atomic_store(&g->overflow, true);
	return release(&r) == 0;
}

struct search {
	const struct guard *g;
	uint64_t addr;
	struct pml_vma found;
};

static bool find_vma(void *arg, const struct pml_vma *v)
{
	struct search *s = arg;

	if (v->start <= s->addr)
		s->found = *v;
	return false;
}

static bool is_ours(const struct guard *g, const struct pml_vma *v)
{
	return v->random && v->read && !v->write && !v->exec && may_be_ours(g, v);
}

/* An address in no range: moved there, or released by another thread meanwhile, or
 * none of ours. */
static bool let_unknown_go(struct guard *g, uint64_t addr)
{
	struct search s = { .g = g, .addr = addr };

	if (vmas(g, addr, find_vma, &s) || s.found.end <= addr)
		return false;
	if (s.found.write)
		return true;
	return g && is_ours(g, &s.found) &&
	       !mprotect((void *)s.found.start, s.found.end - s.found.start, PROT_READ | PROT_WRITE);
}

/* A page that may be written to between two that may not makes two mappings more;
 * one beside another that may, none; one that closes a gap, two less. */
static long new_maps(const struct guard *g, const struct table *t, const struct seg *s,
		     uint64_t addr)
{
	const uint64_t page = g->p->page_size;
	long n = 2;

	if (addr > s->start && is_noted(g, t, s, addr - page))
		n -= 2;
	if (addr + page < s->end && is_noted(g, t, s, addr + page))
		n -= 2;
	return n;
}

static bool let_go(struct guard *g, uint64_t addr)
{
	const struct table *t = atomic_load(&g->table);
	uint64_t page = addr & ~((uint64_t)g->p->page_size - 1);
	const struct seg *s = find_seg(t, page);

	if (!s)
		return let_unknown_go(g, page);
	if (!readable(page))
		return false;
	note(g, t, s, page);
	/* half of all is left to the program */
	if (atomic_fetch_add(&g->maps, new_maps(g, t, s, page)) > g->max_maps / 2)
		return release_all(g, s->start, s->end);
	if (!mprotect((void *)page, g->p->page_size, PROT_READ | PROT_WRITE))
		return true;
	return errno == ENOMEM && release_all(g, s->start, s->end);
}

static bool is_write(const void *context)
{
#ifdef __x86_64__
	return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
#else
	(void)context;
	return true;
#endif
}

/* The fault is the program's. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	struct sigaction *old = &before;
	struct sigaction none = { .sa_handler = SIG_DFL };
	sigset_t mask = old->sa_mask;

	if (!(old->sa_flags & SA_SIGINFO) &&
	    (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN)) {
		if (old->sa_handler == SIG_IGN && info->si_code <= 0)
			return;
		sigaction(sig, &none, NULL);
		/* a fault happens again as soon as we return; a signal sent does not */
		if (info->si_code <= 0)
			raise(sig);
		return;
	}
	/* not SIGSEGV itself: the program's handler may write to protected memory */
	sigdelset(&mask, sig);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	if (old->sa_flags & SA_SIGINFO)
		old->sa_sigaction(sig, info, context);
	else
		old->sa_handler(sig);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	bool ours = false;

	atomic_fetch_add(&in_handler, 1);
	if (info->si_code == SEGV_ACCERR && is_write(context)) {
		struct guard *g = atomic_load(&active);
		uint64_t addr = (uintptr_t)info->si_addr;

		ours = g ? let_go(g, addr) : let_unknown_go(NULL, addr);
		if (ours && g)
			atomic_fetch_add(&g->faults, 1);
	}
	atomic_fetch_sub(&in_handler, 1);
	if (!ours)
		pass_on(sig, info, context);
	if (errno != saved)
		errno = saved;
}

/* ---- what is watched ---- */

/* Where the kernel writes unasked, as far as it can be known here. */
static bool holds_a_stack(const struct pml_area *a)
{
	const uint64_t points[] = {
		(uintptr_t)__builtin_frame_address(0), (uintptr_t)__builtin_thread_pointer(),
		getauxval(AT_RANDOM),
	};

	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		if (a->start <= points[i] && points[i] < a->end)
			return true;
	return false;
}

/* Decides about what is new here.  True: it cannot be decided without its mark. */
static bool classify(struct pml_area *a)
{
	if ((a->flags & (PML_AREA_HUGETLB | PML_AREA_UNSUPPORTED)) || holds_a_stack(a) ||
	    ((a->flags & PML_AREA_WRITE) && a->odd_rights)) {
		a->flags |= PML_AREA_UNSUPPORTED;
		return false;
	}
	if ((a->flags & PML_AREA_WRITE) || !(a->flags & (PML_AREA_FRESH | PML_AREA_UNWRITABLE)))
		return false;
	/* the program's own, or moved here as it was */
	a->flags |= PML_AREA_UNWRITABLE;
	return !a->odd_rights;
}

/* What is marked in a mapping that may not be written to was moved there. */
static bool find_moved(void *arg, const struct pml_vma *v)
{
	const struct guard *g = arg;
	struct pml_area *a = pml_areas_at(&g->p->pieces);

	for (size_t i = 0; is_ours(g, v) && i < g->p->pieces.n; i++)
		if ((a[i].flags & PML_AREA_UNWRITABLE) && a[i].start < v->end && a[i].end > v->start) {
			a[i].flags &= (uint8_t)~PML_AREA_UNWRITABLE;
			a[i].flags |= PML_AREA_FRESH | PML_AREA_REPLACED;
		}
	return true;
}

static bool is_watched(const struct pml_area *a)
{
	return !(a->flags & (PML_AREA_UNWRITABLE | PML_AREA_UNSUPPORTED));
}

/* Makes the ranges of a table of the pieces that are watched. */
static int list_segs(const struct guard *g, struct table *t)
{
	const struct pml_area *a = pml_areas_at(&g->p->pieces);
	uint64_t pages = 0;
	struct seg *s = NULL;

	t->n = 0;
	for (size_t i = 0; i < g->p->pieces.n; i++) {
		int err;

		if (!is_watched(a + i))
			continue;
		if (t->n && s->end == a[i].start && s->inode == a[i].inode &&
		    s->kind == (enum pml_area_kind)a[i].kind) {
			s->end = a[i].end;
		} else {
			err = pml_buf_reserve(g->p->pool, &t->segs, (t->n + 1) * sizeof(*s));
			if (err)
				return err;
			s = (struct seg *)t->segs.p + t->n++;
			*s = (struct seg){ a[i].start, a[i].end, pages, a[i].inode, a[i].kind };
		}
		pages += (a[i].end - a[i].start) >> g->p->page_shift;
	}
	return pml_buf_reserve(g->p->pool, &t->bits, (pages / 64 + 1) * sizeof(unsigned long));
}

static bool same_segs(const struct table *a, const struct table *b)
{
	return a->n == b->n && (!a->n || !memcmp(a->segs.p, b->segs.p, a->n * sizeof(struct seg)));
}

/* Takes over what the handler noted. */
static void copy_notes(const struct guard *g, const struct table *from, const struct table *to)
{
	memset(to->bits.p, 0, to->bits.len);
	for (size_t i = 0; i < to->n; i++) {
		const struct seg *s = segs_of(to) + i, *was = NULL;

		for (uint64_t at = s->start; at < s->end; at += g->p->page_size) {
			if (!was || at >= was->end)
				was = find_seg(from, at);
			if (was && is_noted(g, from, was, at))
				note(g, to, s, at);
		}
	}
}

/* What is not watched any more is as it was before.  True: some of it is not there any
 * more. */
static bool release_left(struct guard *g, const struct table *from, const struct table *to)
{
	bool vanished = false;

	for (size_t i = 0; i < from->n; i++) {
		uint64_t at = segs_of(from)[i].start, end = segs_of(from)[i].end;

		while (at < end) {
			const struct seg *s = find_seg(to, at);
			struct release r = { .g = g, .start = at, .end = end, .unmark = true };

			if (s) {
				at = s->end;
				continue;
			}
			for (size_t k = 0; k < to->n; k++)
				if (segs_of(to)[k].start > at && segs_of(to)[k].start < r.end)
					r.end = segs_of(to)[k].start;
			release(&r);
			vanished |= r.found < r.end - at;
			at = r.end;
		}
	}
	return vanished;
}

/* The table follows the mappings.  A handler under way may still look into the
 * other one: then it stays, and what it does not know is found by its mark. */
static int renew_table(struct guard *g, bool *vanished)
{
	struct table *now = atomic_load(&g->table);
	struct table *next = now == &g->tables[0] ? &g->tables[1] : &g->tables[0];
	int err;

	if (atomic_load(&in_handler))
		return 0;
	err = list_segs(g, next);
	if (err || same_segs(now, next))
		return err;
	copy_notes(g, now, next);
	atomic_store(&g->table, next);
	*vanished |= release_left(g, now, next);
	return 0;
}

/* ---- pages that are gone ---- */

static void add(struct pml_set *set, uint64_t start, uint64_t end, enum pml_reason reason)
{
	struct pml_range r = {
		.start = start, .end = end, .events = PML_DIRTY,
		.known = reason ? PML_ASSUMED : PML_OBSERVED, .reason = (uint8_t)reason,
	};

	/* a set that cannot grow is full, and is looked at when it is told */
	(void)pml_set_add(set, &r);
}

static int see(void *arg, uint64_t start, uint64_t end, unsigned int seen)
{
	struct guard *g = arg;
	struct pml_range r;
	uint64_t pos = start, at = start;

	if (!pml_seen_content(g->kind, seen))
		return 0;
	pml_set_remove(&g->missing, start, end, PML_DIRTY);
	/* shared pages come by reading, too, and huge ones bring their neighbours */
	while (g->kind != PML_AREA_SHARED && !(seen & (PML_SEEN_HUGE | PML_SEEN_UNSURE)) &&
	       at < end) {
		bool more = pml_set_next(&g->known, &pos, end, &r);

		if (!more || r.start > at)
			add(&g->fresh, at, more ? r.start : end, PML_REASON_NONE);
		at = more ? r.end : end;
	}
	add(&g->known, start, end, PML_REASON_NONE);
	return 0;
}

static int look_for_gone(struct guard *g, const struct seg *s)
{
	struct pml_range r;
	uint64_t pos = s->start;
	int err;

	g->kind = s->kind;
	pml_set_clear(&g->missing);
	while (!g->known.full && pml_set_next(&g->known, &pos, s->end, &r))
		add(&g->missing, r.start, r.end, PML_REASON_NONE);
	err = pml_look(&g->look, g->p, s->start, s->end, see, g);
	/* unmapped meanwhile: the next collect's news */
	if (err)
		return err == -ESRCH ? err : 0;
	if (g->known.full || g->missing.full)
		g->unsure.full = true;
	pos = s->start;
	while (!g->unsure.full && pml_set_next(&g->missing, &pos, s->end, &r)) {
		add(&g->unsure, r.start, r.end, PML_REASON_DROPPED);
		pml_set_remove(&g->known, r.start, r.end, PML_DIRTY);
	}
	return 0;
}

/* Whether a range has a page that the handler did not note. */
static bool has_unnoted(const struct guard *g, uint64_t start, uint64_t end)
{
	const struct table *t = atomic_load(&g->table);
	const struct seg *s = find_seg(t, start);

	for (; s && start < end && start < s->end; start += g->p->page_size)
		if (!is_noted(g, t, s, start))
			return true;
	return start < end;
}

/* Whether something was moved, or may have been: a piece that the program made
 * writable, or put there, itself; content in a protected one that had none. */
static bool looks_moved(struct guard *g)
{
	const struct pml_area *a = pml_areas_at(&g->p->pieces);
	struct pml_range r;

	for (size_t i = 0; i < g->p->pieces.n; i++) {
		uint64_t pos = a[i].start;

		if (!is_watched(a + i))
			continue;
		if (a[i].flags & PML_AREA_REPLACED)
			return true;
		if (a[i].flags & PML_AREA_FRESH)
			continue;
		if ((a[i].flags & PML_AREA_WRITE) && !atomic_load(&g->overflow) &&
		    has_unnoted(g, a[i].start, a[i].end))
			return true;
		while (!(a[i].flags & PML_AREA_WRITE) && pml_set_next(&g->fresh, &pos, a[i].end, &r))
			if (has_unnoted(g, r.start, r.end))
				return true;
	}
	return g->fresh.full;
}

/* All that is protected and has content may be something else. */
static void doubt_all(struct guard *g)
{
	const struct pml_area *a = pml_areas_at(&g->p->pieces);
	struct pml_range r;

	for (size_t i = 0; i < g->p->pieces.n; i++) {
		uint64_t pos = a[i].start;

		if (is_watched(a + i) && !(a[i].flags & (PML_AREA_WRITE | PML_AREA_FRESH)))
			while (pml_set_next(&g->known, &pos, a[i].end, &r))
				add(&g->unsure, r.start, r.end, PML_REASON_FIRST_SIGHT);
	}
}

static int guard_begin(struct pml_proc *p)
{
	struct guard *g = p->state;
	struct pml_area *a = pml_areas_at(&p->pieces);
	bool ask = false, vanished = false;
	const struct table *t;
	int err;

	for (size_t i = 0; i < p->pieces.n; i++)
		ask |= classify(a + i);
	if (ask)
		vmas(g, a[0].start, find_moved, g);
	err = renew_table(g, &vanished);
	t = atomic_load(&g->table);
	pml_set_clear(&g->fresh);
	for (size_t i = 0; i < t->n && !err; i++)
		err = look_for_gone(g, segs_of(t) + i);
	if (!err && (vanished || looks_moved(g)))
		doubt_all(g);
	return err;
}

/* ---- telling ---- */

struct walk {
	struct guard *g;
	struct pml_sink *sink;
	const struct pml_area *area;
	uint64_t end;		/* so far is told */
};

/* How far one may report within room and budget. */
static uint64_t within(const struct walk *w, uint64_t start, uint64_t end)
{
	const struct pml_proc *p = w->g->p;
	uint64_t pages;

	if (!w->sink)
		return end;
	pages = pml_sink_room(w->sink) ? pml_sink_pages(w->sink) : 0;
	return pages < (end - start) >> p->page_shift ? start + (pages << p->page_shift) : end;
}

/* Reports as much of a run as may be; false if that is not all. */
static bool tell(struct walk *w, uint64_t start, uint64_t end, enum pml_reason reason)
{
	uint64_t stop = within(w, start, end);

	if (w->sink && stop > start)
		pml_sink_emit(w->sink, start, stop, w->g->p->page_size, PML_DIRTY,
			      reason ? PML_ASSUMED : PML_OBSERVED, reason);
	w->end = stop;
	return stop == end;
}

/* What cannot be protected stays as it is, and so is told each time. */
static void protect(struct guard *g, uint64_t start, uint64_t end, bool mark)
{
	const struct table *t = atomic_load(&g->table);
	const struct seg *s = find_seg(t, start);

	if (start >= end)
		return;
	for (uint64_t at = start; s && at < end && at < s->end; at += g->p->page_size)
		if (is_noted(g, t, s, at))
			forget(g, t, s, at);
	if (g->no_rearm)
		return;
	if (mark)
		madvise((void *)start, end - start, MADV_RANDOM);
	mprotect((void *)start, end - start, PROT_READ);
}

/* The pages of a set, in [start, end), for the reason they are in it, or this one. */
static bool tell_set(struct walk *w, struct pml_set *set, uint64_t start, uint64_t end,
		     enum pml_reason reason)
{
	struct pml_range r;
	uint64_t pos = start;

	if (set->full)
		return tell(w, start, end, PML_REASON_OVERFLOW);
	while (pml_set_next(set, &pos, end, &r))
		if (!tell(w, r.start, r.end, reason ? reason : (enum pml_reason)r.reason))
			return false;
	w->end = end;
	return true;
}

/* Memory that may be written to, and was watched before: by what the handler noted. */
static void tell_written(struct walk *w, uint64_t start, uint64_t end)
{
	struct guard *g = w->g;
	const struct table *t = atomic_load(&g->table);
	enum pml_reason reason = atomic_load(&g->overflow) ? PML_REASON_OVERFLOW
							  : PML_REASON_FIRST_SIGHT;
	const uint64_t page = g->p->page_size;
	uint64_t at = start;
	bool more = true;

	while (at < end && more) {
		const struct seg *s = find_seg(t, at);
		uint64_t stop = !s || s->end > end ? end : s->end, from = at;
		bool noted = s && is_noted(g, t, s, at);

		for (at += page; s && at < stop && is_noted(g, t, s, at) == noted; at += page)
			;
		if (!s)
			at = end;
		more = tell(w, from, at, noted ? PML_REASON_NONE : reason);
		protect(g, from, w->end, !noted);
	}
}

/* Private memory that is new here.  Protected before it is looked at: what is written
 * after the look is the next one's news. */
static int tell_new(struct walk *w, uint64_t start, uint64_t end)
{
	struct guard *g = w->g;
	struct seg here = { .start = start, .end = end, .kind = PML_AREA_ANON };
	int err;

	if (w->area->flags & PML_AREA_WRITE)
		protect(g, start, end, true);
	err = look_for_gone(g, &here);
	if (!err)
		tell_set(w, &g->known, start, end, PML_REASON_FIRST_SIGHT);
	return err;
}

static int tell_area(struct walk *w, uint64_t start, uint64_t end)
{
	const struct pml_area *a = w->area;
	struct guard *g = w->g;
	bool is_new = a->flags & PML_AREA_FRESH;
	int err = 0;

	w->end = start;
	if (!w->sink) {
		w->end = end;
		if (a->flags & PML_AREA_WRITE)
			protect(g, start, end, true);
	} else if (is_new && (a->kind != PML_AREA_ANON || (a->flags & PML_AREA_REPLACED))) {
		tell(w, start, end, PML_REASON_FIRST_SIGHT);
		if (a->flags & PML_AREA_WRITE)
			protect(g, start, w->end, true);
	} else if (is_new) {
		err = tell_new(w, start, end);
	} else if (a->flags & PML_AREA_WRITE) {
		tell_written(w, start, end);
	} else {
		tell_set(w, &g->unsure, start, end, PML_REASON_NONE);
	}
	if (w->end > start && !g->unsure.full)
		pml_set_remove(&g->unsure, start, w->end, PML_DIRTY);
	return err;
}

static void tell_uncovered(struct pml_proc *p)
{
	const struct pml_area *a = pml_areas_at(&p->pieces);

	for (size_t i = 0; i < p->pieces.n; i++)
		if (a[i].flags & PML_AREA_UNSUPPORTED)
			pml_proc_uncovered(p, a[i].start, a[i].end, PML_REASON_UNSUPPORTED);
	if (p->pieces.n) {
		pml_proc_uncovered(p, a[0].start, a[p->pieces.n - 1].end, PML_REASON_DROPS);
		pml_proc_uncovered(p, a[0].start, a[p->pieces.n - 1].end, PML_REASON_FORCED);
	}
}

static int guard_drain(struct pml_proc *p, uint64_t start, uint64_t end, uint32_t events,
		       struct pml_sink *sink, uint64_t *walk_end)
{
	struct guard *g = p->state;
	const struct pml_area *a = pml_areas_at(&p->pieces);
	struct walk w = { .g = g, .sink = sink };
	uint64_t faults = atomic_load(&g->faults);

	(void)events;
	p->cost.faults += faults - g->told_faults;
	g->told_faults = faults;
	tell_uncovered(p);
	for (size_t i = 0; i < p->pieces.n; i++) {
		uint64_t from = a[i].start > start ? a[i].start : start;
		uint64_t to = a[i].end < end ? a[i].end : end;
		int err;

		if (from >= to || !is_watched(a + i))
			continue;
		w.area = a + i;
		err = tell_area(&w, from, to);
		*walk_end = w.end;
		if (err || w.end < to)
			return err;
	}
	/* to the end: all of it is protected again, or was in the steps before */
	if (end > UINT64_MAX >> 1) {
		atomic_store(&g->overflow, false);
		atomic_store(&g->maps, 0);
	}
	/* what is left is of mappings that are gone */
	if (!start && end > UINT64_MAX >> 1)
		pml_set_clear(&g->unsure);
	*walk_end = end;
	return 0;
}

/* ---- coming and going ---- */

/* Everything may be written to again, wherever it is. */
static void release_everything(struct guard *g)
{
	const struct table *t = atomic_load(&g->table);
	struct release r = { .g = g, .unmark = true, .wherever = true };

	for (size_t i = 0; i < t->n; i++) {
		struct release one = { .g = g, .start = segs_of(t)[i].start,
				       .end = segs_of(t)[i].end, .unmark = true };

		release(&one);
	}
	release(&r);
}

static bool is_mine(const struct sigaction *a)
{
	return (a->sa_flags & SA_SIGINFO) && a->sa_sigaction == on_fault;
}

/* A handler that was installed later stays. */
static void give_signal_back(void)
{
	struct sigaction now;

	if (sigaction(SIGSEGV, NULL, &now))
		return;
	if (is_mine(&now))
		sigaction(SIGSEGV, &before, NULL);
	else
		later = now;
}

static void free_guard(struct guard *g)
{
	pml_look_close(&g->look);
	for (size_t i = 0; i < 2; i++) {
		pml_buf_free(&g->tables[i].segs);
		pml_buf_free(&g->tables[i].bits);
	}
	pml_set_free(&g->known);
	pml_set_free(&g->missing);
	pml_set_free(&g->unsure);
	pml_set_free(&g->fresh);
	if (g->smaps >= 0)
		close(g->smaps);
	munmap(g, sizeof(*g));
}

static void guard_detach(struct pml_proc *p)
{
	const struct timespec pause = { 0, 2000000 };
	struct guard *g = p->state;

	if (!g)
		return;
	p->state = NULL;
	if (atomic_load(&active) == g) {
		release_everything(g);
		if (pml_passers_gone(p->pool))
			give_signal_back();
		atomic_store(&active, NULL);
		for (int i = 0; i < 500 && atomic_load(&in_handler); i++)
			nanosleep(&pause, NULL);
	}
	free_guard(g);
}

/* A forked child begins with its parent's protection and handler, but without the
 * threads that were in it. */
static void forget_parent(void)
{
	struct guard *g = atomic_load(&active);

	if (!g || g->p->pid == getpid())
		return;
	release_everything(g);
	atomic_store(&in_handler, 0);
	atomic_store(&active, NULL);
}

static int take_signal(struct guard *g)
{
	struct sigaction mine = {
		.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};
	struct guard *none = NULL;
	struct sigaction now;

	if (!atomic_compare_exchange_strong(&active, &none, g))
		return -EBUSY;
	if (sigaction(SIGSEGV, NULL, &now))
		return -errno;
	/* ours is there, or is called by one that was installed later, and would call
	 * itself */
	if (is_mine(&now) || (later.sa_sigaction && now.sa_sigaction == later.sa_sigaction))
		return 0;
	before = now;
	return sigaction(SIGSEGV, &mine, NULL) ? -errno : 0;
}

static long max_map_count(void)
{
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char text[24] = "";

	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) <= 0)
			text[0] = '\0';
		close(fd);
	}
	return text[0] ? strtol(text, NULL, 10) : 65530;
}

static int guard_attach(struct pml_proc *p)
{
	struct guard *g = mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (g == MAP_FAILED)
		return pml_proc_fail(p, -ENOMEM, "mprotect: out of memory");
	g->p = p;
	g->look.pagemap = -1;
	g->max_maps = max_map_count();
	g->no_rearm = pml_broken("no-rearm");
	atomic_init(&g->table, &g->tables[0]);
	pml_set_init(&g->known, p->pool, p->page_shift);
	pml_set_init(&g->missing, p->pool, p->page_shift);
	pml_set_init(&g->unsure, p->pool, p->page_shift);
	pml_set_init(&g->fresh, p->pool, p->page_shift);
	p->state = g;
	forget_parent();
	g->smaps = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	err = g->smaps < 0 ? -errno : pml_look_open(&g->look, p);
	if (!err)
		err = take_signal(g);
	if (!err)
		return 0;
	guard_detach(p);
	switch (err) {
	case -EBUSY:
		return pml_proc_fail(p, -EBUSY, "mprotect: another tracker of this process has the signal; end that one, or choose another back-end");
	case -EMFILE:
	case -ENFILE:
		return pml_proc_fail(p, -EMFILE, "mprotect: out of file descriptors; raise the limit (ulimit -n)");
	case -ENOMEM:
		return pml_proc_fail(p, -ENOMEM, "mprotect: out of memory; raise max_memory");
	default:
		return pml_proc_fail(p, -EPERM, "mprotect: pagemap or SIGSEGV cannot be had; is /proc mounted?");
	}
}

/* ---- is it here? ---- */

/* Whether smaps shows the mark, where it is after a move. */
static int guard_probe(char *why, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *m = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct search s = { 0 };
	const char *reason = "";

	if (m == MAP_FAILED) {
		pml_words(why, size, "out of memory");
		return -ENOTSUP;
	}
	m[0] = 1;
	if (madvise(m, page, MADV_RANDOM) || mprotect(m, page, PROT_READ) ||
	    mremap(m, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, m + page) != m + page)
		reason = "memory cannot be protected, marked and moved";
	s.addr = (uintptr_t)m + page;
	if (!*reason && (pml_vmas(-1, s.addr, find_vma, &s) || !s.found.random || s.found.write))
		reason = "smaps does not show memory that was protected and moved";
	munmap(m, 2 * page);
	pml_words(why, size, reason);
	return *reason ? -ENOTSUP : 0;
}

const struct pml_backend pml_backend_mprotect = {
	.name = "mprotect",
	.source = "mprotect, and a handler of SIGSEGV that lets writes go on",
	.events = PML_DIRTY,
	.caps = PML_CAP_SELF | PML_CAP_ATOMIC_REARM | PML_CAP_MAPS | PML_CAP_PARTIAL |
		PML_CAP_BY_NAME | PML_CAP_PROTECTS,
	.granularity = 1,
	.self_only = "its signal handler must be in the process",
	.probe = guard_probe,
	.attach = guard_attach,
	.detach = guard_detach,
	.begin = guard_begin,
	.drain = guard_drain,
};
