/* SPDX-License-Identifier: MIT */
/*
 * Words for people: the tracker's last message, error numbers, reasons.  Built
 * without stdio, because a collect may fail while the world is stopped.
 */
#include "internal.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static void words(char *out, size_t size, const char *first, va_list ap)
{
	size_t n = 0;

	for (const char *s = first; s; s = va_arg(ap, const char *)) {
		size_t len = strlen(s);

		if (len > size - 1 - n)
			len = size - 1 - n;
		memcpy(out + n, s, len);
		n += len;
	}
	out[n] = '\0';
}

void pml_words_until_null(char *out, size_t size, const char *first, ...)
{
	va_list ap;

	if (!size)
		return;
	va_start(ap, first);
	words(out, size, first, ap);
	va_end(ap);
}

int pml_fail_until_null(struct pml *t, int err, const char *first, ...)
{
	va_list ap;

	va_start(ap, first);
	words(t->message, sizeof(t->message), first, ap);
	va_end(ap);
	return err;
}

int pml_proc_fail(struct pml_proc *p, int err, const char *what)
{
	return pml_fail(p->t, err, what);
}

const char *pml_number(char buf[24], uint64_t n)
{
	char *p = buf + 23;

	*p = '\0';
	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	return p;
}

const char *pml_message(const struct pml *t)
{
	return t ? t->message : "";
}

const char *pml_strerror(int error)
{
	switch (error < 0 ? -error : error) {
	case 0:
		return "no error";
	case EPERM:
	case EACCES:
		return "not permitted: tracking another process needs the right to ptrace it";
	case ENOENT:
		return "no back-end of that name: `pml info` lists them";
	case ESRCH:
		return "the process does not exist, or has exited";
	case ENOMEM:
		return "out of memory, or over the tracker's own bound: raise max_memory";
	case EBUSY:
		return "another call on this tracker, or another tracer of the process, is under way: take everything as dirty, try again";
	case EINVAL:
		return "an argument is out of range: addresses are multiples of the page size, start before end";
	case ENODATA:
		return "the tracker has not been started: call pml_start";
	case ESTALE:
		return "the process has called exec: call pml_start to begin anew";
	case ECHILD:
		return "this process is a forked child: open a tracker of its own";
	case ENOTSUP:
		return "not available here: `pml info` says why";
	case EMFILE:
	case ENFILE:
		return "out of file descriptors: raise the limit (ulimit -n)";
	case EFAULT:
		return "a bad address";
	case ENOSYS:
		return "the kernel has no such call: `pml info` says what it has";
	case ENODEV:
		return "the PML device is gone, or does not answer: choose another back-end, or bind it again";
	case ETIMEDOUT:
		return "the process could not be stopped in time: try again";
	default:
		return "an error of the system: see errno(3)";
	}
}

static const struct {
	uint8_t reason;
	const char *name;
	const char *text;
} reasons[] = {
	{ PML_REASON_NONE, "none", "nothing to explain" },
	{ PML_REASON_FIRST_SIGHT, "first-sight",
	  "the mapping is new here, or was replaced: all that may differ is taken as dirty" },
	{ PML_REASON_UNARMED, "unarmed",
	  "adaptive arming left this block unarmed, because it is written all the time" },
	{ PML_REASON_PINNED, "pinned",
	  "a buffer registered for I/O: a device may write it at any time, so it is always dirty" },
	{ PML_REASON_OVERFLOW, "overflow", "a log, a reader's set or the list of mappings was full: all is taken as dirty" },
	{ PML_REASON_RESTART, "restart", "tracking began anew: all is taken as dirty" },
	{ PML_REASON_DROPPED, "dropped",
	  "a private page was there and is not: it was dropped, or swapped out" },
	{ PML_REASON_SHARED, "shared",
	  "shared memory: another mapping, another process or write(2) may change it unseen" },
	{ PML_REASON_OWNED, "owned",
	  "another userfaultfd owns the mapping: nothing of it is seen" },
	{ PML_REASON_UNKNOWN_PIN, "unknown-pin",
	  "pages are pinned for a device by an owner that cannot be named: its writes are not seen" },
	{ PML_REASON_IO, "io",
	  "direct or asynchronous I/O may be in flight: what it writes after the re-arm is not seen" },
	{ PML_REASON_UNSUPPORTED, "unsupported", "the back-end cannot watch such a mapping" },
	{ PML_REASON_CLEAN_BY_HASH, "clean-by-hash",
	  "the target ran meanwhile: pages are known unchanged by their hash only" },
	{ PML_REASON_UNSEEN_PROCESS, "unseen-process",
	  "a process that cannot be watched, or that lived and died between two polls" },
	{ PML_REASON_UNREADABLE, "unreadable",
	  "what could hide writes (pins, I/O) could not be read" },
	{ PML_REASON_NOT_CHECKED, "not-checked", "nobody looked for pins and direct I/O" },
	{ PML_REASON_RACE, "race", "threads ran between reading what was written and re-arming" },
	{ PML_REASON_DROPS, "drops",
	  "a page that the program wrote and dropped (MADV_DONTNEED) in one epoch is not seen" },
	{ PML_REASON_FORCED, "forced",
	  "what a debugger writes (ptrace, /proc/PID/mem) goes past the protection and is not seen" },
	{ PML_REASON_REMOTE, "remote",
	  "what another process writes through the kernel (process_vm_writev, /proc/PID/mem, ptrace) is not seen" },
	{ PML_REASON_MERGED, "merged",
	  "the kernel merges pages that are alike (KSM): of one written before that nothing is seen" },
	{ PML_REASON_UNGUARDED, "unguarded",
	  "no page of the process could show whether another program has cleared its soft-dirty bits" },
};

static int find_reason(int reason)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].reason == reason)
			return (int)i;
	return -1;
}

const char *pml_reason_name(int reason)
{
	int i = find_reason(reason);

	return i < 0 ? "unknown" : reasons[i].name;
}

const char *pml_reason_text(int reason)
{
	int i = find_reason(reason);

	return i < 0 ? "a reason that this version does not know" : reasons[i].text;
}

#define STR_(x) #x
#define STR(x) STR_(x)

const char *pml_version(void)
{
	return STR(PML_VERSION_MAJOR) "." STR(PML_VERSION_MINOR) "." STR(PML_VERSION_PATCH);
}
