/* SPDX-License-Identifier: MIT */
/*
 * inject_arch.h - the processor-dependent part of the injection: registers, the
 * system call instruction, system call numbers.  Used by inject_remote.c and
 * inject_target.c.
 *
 * x86-64 only.  On arm64 the kernel settles how an interrupted call restarts
 * before the stop and keeps that where ptrace cannot see it, so the same steps
 * would make a nanosleep start over: there PML_INJECT_ARCH is 0 and the
 * injection is refused in words.
 */
#ifndef PML_INJECT_ARCH_H
#define PML_INJECT_ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/user.h>
#include <sys/syscall.h>

#if defined(__x86_64__) && !defined(__ILP32__)
#define PML_INJECT_ARCH 1

typedef struct user_regs_struct pml_regs;

/* `syscall`, in memory order. */
static const unsigned char pml_syscall_insn[2] = { 0x0f, 0x05 };

static inline bool pml_word_is_syscall(long word)
{
	return (word & 0xffff) == 0x050f;
}

/* Only a 64-bit code segment runs our instruction as meant. */
static inline bool pml_regs_are_64bit(const pml_regs *regs)
{
	return (regs->cs & 0xffff) == 0x33;
}

static inline uint64_t pml_regs_ip(const pml_regs *regs)
{
	return regs->rip;
}

static inline long pml_regs_result(const pml_regs *regs)
{
	return (long)regs->rax;
}

/* The system call that the thread was in when it stopped, or -1. */
static inline long pml_regs_call(const pml_regs *regs)
{
	return (long)regs->orig_rax;
}

/* Makes the thread do call nr; orig_rax = -1 keeps the kernel from restarting another. */
static inline void pml_regs_set_call(pml_regs *regs, uint64_t insn, long nr, long arg)
{
	regs->rip = insn;
	regs->rax = (unsigned long)nr;
	regs->rdi = (unsigned long)arg;
	regs->orig_rax = ~0UL;
}

/* For tests alone: a change that a program must notice. */
static inline void pml_regs_spoil(pml_regs *regs)
{
	regs->r12 ^= 1;
}

/*
 * The kernel ends a few sleeping calls with EINTR at any stop, even though no
 * handler runs.  ERESTARTNOHAND in its place makes it decide anew when the
 * thread goes on: EINTR if a handler runs, else the call starts again.  Only
 * for calls that have done nothing yet when they return EINTR.
 */
#define PML_EINTR		(-4L)
#define PML_ERESTARTNOHAND	(-514L)

static inline bool pml_call_ends_at_stops(long nr)
{
	switch (nr) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_io_getevents:
		return true;
	default:
		return false;
	}
}

/* Whether a stop has ended the thread's call; the last one, too, if it has not run since. */
static inline bool pml_regs_stop_ended_call(const pml_regs *regs)
{
	return pml_call_ends_at_stops(pml_regs_call(regs)) &&
	       (pml_regs_result(regs) == PML_EINTR ||
		pml_regs_result(regs) == PML_ERESTARTNOHAND);
}

static inline void pml_regs_hide_stop(pml_regs *regs)
{
	if (pml_regs_stop_ended_call(regs))
		regs->rax = (unsigned long)PML_ERESTARTNOHAND;
}

static inline void pml_regs_show_stop(pml_regs *regs)
{
	if (pml_regs_stop_ended_call(regs))
		regs->rax = (unsigned long)PML_EINTR;
}

/* Whether the thread may be about to make such a call: its number is where it must be. */
static inline bool pml_regs_may_be_on_its_way(const pml_regs *regs)
{
	return pml_call_ends_at_stops((long)regs->rax);
}

/* Where the call is made that it is in, or about to make. */
static inline uint64_t pml_regs_insn(const pml_regs *regs)
{
	return pml_regs_may_be_on_its_way(regs) ? regs->rip :
	       regs->rip - sizeof(pml_syscall_insn);
}

/* How such a call says how long it may wait. */
enum pml_wait_kind {
	PML_WAIT_ENDLESS,	/* or it is none of them */
	PML_WAIT_MS,		/* *arg is a number of milliseconds */
	PML_WAIT_TIMESPEC,	/* *arg is the address of a struct timespec */
};

static inline enum pml_wait_kind pml_regs_wait(const pml_regs *regs, uint64_t *arg)
{
	switch ((long)regs->orig_rax) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		*arg = regs->r10 & 0xffffffff;
		return (int32_t)*arg < 0 ? PML_WAIT_ENDLESS : PML_WAIT_MS;
	case SYS_epoll_pwait2:
	case SYS_semtimedop:
		*arg = regs->r10;
		break;
	case SYS_rt_sigtimedwait:
		*arg = regs->rdx;
		break;
	case SYS_io_getevents:
		*arg = regs->r8;
		break;
	default:
		return PML_WAIT_ENDLESS;
	}
	return *arg ? PML_WAIT_TIMESPEC : PML_WAIT_ENDLESS;
}

static inline uint64_t pml_regs_stack(const pml_regs *regs)
{
	return regs->rsp;
}
#else
#define PML_INJECT_ARCH 0
#endif

#endif /* PML_INJECT_ARCH_H */
