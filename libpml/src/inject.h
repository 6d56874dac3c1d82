/* SPDX-License-Identifier: MIT */
/*
 * inject.h - a userfaultfd for another process's memory, made from outside.
 *
 * A userfaultfd always belongs to the memory of whoever calls userfaultfd(),
 * so another process has to be made to call it.  wp_async.c calls this when
 * its target is another process; strays.c removes what a killed injector may
 * have left behind.
 */
#ifndef PML_INJECT_H
#define PML_INJECT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pml_injected {
	int uffd;		/* close-on-exec, non-blocking, no API handshake yet */
	uint64_t stop_ns;	/* the target's thread stood still at most so long */
	uint64_t window_ns;	/* of it, with altered registers or signal mask */
};

/**
 * pml_inject_userfaultfd - make a userfaultfd inside a process and bring it here
 * @pid: the process; not the caller's own
 * @out: filled if 0 is returned
 * @msg: words on failure: what: why; what to do
 * @msg_size: its size
 *
 * The work is done by a short-lived process of its own, so that the target is
 * put right even if the caller is killed in the middle.  The target keeps
 * nothing: no descriptor, no changed byte, register, mask or pending signal.
 *
 * Return: 0; -EPERM not permitted (ptrace, Yama, seccomp, userfaultfd);
 * -ESRCH no such process, or it ended; -ENOTSUP it cannot be done to this
 * process (32-bit, a zombie, a kernel thread) or on this machine; -EBUSY not
 * now (another tracer, uninterruptible sleep, vfork, exec); -EMFILE no free
 * descriptor, there or here; -ENOMEM; -EINVAL.
 */
int pml_inject_userfaultfd(pid_t pid, struct pml_injected *out, char *msg, size_t msg_size);

#endif /* PML_INJECT_H */
