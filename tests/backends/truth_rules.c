/* SPDX-License-Identifier: MIT */
/*
 * truth_rules.c - what happens to a process while it is tracked: the rules of
 * docs/rules.md, one truth each.
 */
#define _GNU_SOURCE
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static struct oracle_spec plain(const struct context *c, enum oracle_kind kind)
{
	return (struct oracle_spec){ .kind = kind, .threads = 1, .pages = 1024, .seed = c->seed };
}

/* The command again and again, with writes before and after it. */
static enum verdict repeat(struct trial *tr, const char *command)
{
	TRY(trial_collect(tr));
	for (int i = 0; i < 6; i++) {
		TRY(trial_step(tr, command));
		TRY(trial_step(tr, "write 50"));
		TRY(trial_do(tr, "write 30"));
		TRY(trial_step(tr, command));
		TRY(trial_step(tr, "none"));
	}
	return PASS;
}

static enum verdict rule(const struct context *c, enum oracle_kind kind, int thp, unsigned int needs,
			 const char *command)
{
	struct oracle_spec spec = plain(c, kind);
	struct trial tr;

	spec.thp = thp;
	TRY(trial_begin(&tr, c, &spec, 0, 0));
	tr.told_is_enough = (c->sees & needs) != needs ||
			    (is_file(kind) && !(c->sees & SEES_FILES));
	tr.relaxed = ((needs == SEES_MOVES || thp) && (c->sees & RENEWS)) ||
		     (thp && (c->sees & RENEWS_HUGE));
	/* who goes by rights takes what is made writable again for new */
	if (c->sees & SPOILS_CALLS)
		tr.relaxed |= !strncmp(command, "protect", 7);
	TRY(repeat(&tr, command));
	trial_end(&tr);
	return PASS;
}

#define RULE(fn, kind, thp, needs, command)                    \
	static enum verdict fn(const struct context *c)        \
	{                                                      \
		return rule(c, kind, thp, needs, command);     \
	}

RULE(fork_parent, ORACLE_ANON, 0, 0, "fork 40")
RULE(fork_parent_thp, ORACLE_ANON, 1, 0, "fork 40")
RULE(fork_private_file, ORACLE_FILE_PRIVATE, 0, 0, "fork 40")
RULE(unmap, ORACLE_ANON, 0, SEES_MOVES, "remap 100")
RULE(unmap_file, ORACLE_FILE_PRIVATE, 0, SEES_MOVES, "remap 100")
RULE(unmap_memfd, ORACLE_MEMFD, 0, SEES_MOVES, "remap 100")
RULE(move, ORACLE_ANON, 0, SEES_MOVES, "move")
RULE(move_thp, ORACLE_ANON, 1, SEES_MOVES, "move")
RULE(dontneed, ORACLE_ANON, 0, SEES_DROPS, "dontneed 100")
RULE(dontneed_thp, ORACLE_ANON, 1, SEES_DROPS, "dontneed 700")
RULE(dontneed_file, ORACLE_FILE_PRIVATE, 0, SEES_DROPS, "dontneed 100")
RULE(dontneed_memfd, ORACLE_MEMFD, 0, SEES_DROPS, "dontneed 100")
RULE(lazy_free, ORACLE_ANON, 0, 0, "free 64")
RULE(lazy_freed, ORACLE_ANON, 0, SEES_DROPS, "discard 64")
RULE(written_back, ORACLE_FILE_SHARED, 0, 0, "sync")
RULE(split, ORACLE_ANON, 1, 0, "protect 7")
RULE(protect, ORACLE_ANON, 0, 0, "protect 100")
RULE(collapse, ORACLE_ANON, 1, 0, "collapse")
RULE(collapse_small, ORACLE_ANON, 0, 0, "collapse")
RULE(kernel_writes, ORACLE_ANON, 0, SEES_KERNEL, "kread 40")
RULE(kernel_writes_memfd, ORACLE_MEMFD, 0, SEES_KERNEL, "kread 40")
RULE(hugetlb_mix, ORACLE_HUGETLB, 0, SEES_HUGETLB, "write 3")

#define HUGE_PAGES "/proc/sys/vm/nr_hugepages"

/* Memory of hugetlb: exact within 2 MiB, or named as not covered. */
static enum verdict hugetlb(const struct context *c)
{
	enum verdict verdict;
	long before = 0;

	if (set_number(HUGE_PAGES, 8, &before))
		return skip(c, "vm.nr_hugepages cannot be set");
	verdict = in_child(c, hugetlb_mix);
	set_number(HUGE_PAGES, before, NULL);
	return verdict;
}

static enum verdict swap_steps(const struct context *c)
{
	struct oracle_spec spec = plain(c, ORACLE_ANON);
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	tr.relaxed = c->sees & REFILLS;
	TRY(trial_collect(&tr));
	for (int i = 0; i < 4; i++) {
		/* Clean and swapped out: not a change. */
		TRY(trial_step(&tr, "pageout 200"));
		TRY(trial_step(&tr, "read 300"));
		/* Written, then swapped out before anybody looked. */
		TRY(trial_step(&tr, "swapwrite 100"));
		TRY(trial_step(&tr, "read 300"));
		TRY(trial_step(&tr, "write 100"));
		/* Swapped out, then written. */
		TRY(trial_do(&tr, "pageout 200"));
		TRY(trial_step(&tr, "write 300"));
	}
	trial_end(&tr);
	return PASS;
}

static int swap_file(char *path)
{
	unsigned char block[4096] = { 0 };
	int fd = mkostemp(path, O_CLOEXEC);
	char command[128];

	if (fd < 0)
		return -errno;
	fchmod(fd, 0600);
	for (int i = 0; i < 8192; i++)
		if (write(fd, block, sizeof(block)) != sizeof(block))
			break;
	close(fd);
	snprintf(command, sizeof(command), "mkswap %s >/dev/null 2>&1", path);
	/* A path of our own making, without anything a shell would read. */
	if (system(command) || swapon(path, 0)) /* NOLINT(cert-env33-c) */
		return -ENOTSUP;
	return 0;
}

static enum verdict swap(const struct context *c)
{
	char path[] = "/var/tmp/pml-swap-XXXXXX";
	enum verdict verdict;

	if (swap_file(path)) {
		unlink(path);
		return skip(c, "no swap file can be used here");
	}
	verdict = in_child(c, swap_steps);
	swapoff(path);
	unlink(path);
	return verdict;
}

/* A tracker's new beginning after exec; what was before is said to be lost. */
static enum verdict exec_stale(const struct context *c)
{
	struct oracle_spec spec = plain(c, ORACLE_ANON);
	const struct pml_result *r;
	struct trial tr;
	int error;

	TRY(trial_begin(&tr, c, &spec, 0, WATCH_ALL));
	TRY(trial_step(&tr, "write 10"));
	subject_tell(&tr.s, "exec");
	error = subject_reread(&tr.s);
	if (error)
		return fail("after exec: %s", strerror(-error));
	error = pml_collect(tr.t, NULL, &r);
	if (error != -ESTALE)
		return fail("collect after exec: %d, not -ESTALE", error);
	if (!strchr(pml_message(tr.t), ';'))
		return fail("the message does not say what to do: '%s'", pml_message(tr.t));
	error = pml_start(tr.t);
	if (error)
		return fail("pml_start after exec: %d, %s", error, pml_message(tr.t));
	error = pml_collect(tr.t, NULL, &r);
	if (error || !(r->flags & PML_RESULT_LOST))
		return fail("the first result after a new start does not say LOST (%d)", error);
	tr.v.epoch = r->epoch;
	for (int i = 0; i < 5; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

static enum verdict exits(const struct context *c)
{
	struct oracle_spec spec = plain(c, ORACLE_ANON);
	const struct pml_result *r;
	struct trial tr;
	siginfo_t info;
	int error;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_step(&tr, "write 10"));
	subject_tell(&tr.s, "exit");
	waitid(P_PID, (id_t)tr.s.pid, &info, WEXITED | WNOWAIT);
	error = pml_collect(tr.t, NULL, &r);
	if (error != -ESRCH)
		return fail("collect of a zombie: %d, not -ESRCH", error);
	waitid(P_PID, (id_t)tr.s.pid, &info, WEXITED);
	error = pml_collect(tr.t, NULL, &r);
	if (error != -ESRCH)
		return fail("collect after exit: %d, not -ESRCH", error);
	tr.s.pid = 0;
	trial_end(&tr);
	return PASS;
}

/* The forked child of a tracker's owner has no tracker. */
static enum verdict forked_owner(const struct context *c)
{
	struct oracle_spec spec = plain(c, ORACLE_ANON);
	const struct pml_result *r;
	struct trial tr;
	int status = 0;
	pid_t child;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_step(&tr, "write 10"));
	TRY(trial_do(&tr, "write 20"));
	child = fork();
	if (!child) {
		int error = pml_collect(tr.t, NULL, &r);

		if (error != -ECHILD)
			fail("collect in the child: %d, not -ECHILD", error);
		/* Its end of the tracker must not be the parent's. */
		pml_close(tr.t);
		_exit(error != -ECHILD);
	}
	waitpid(child, &status, 0);
	if (status)
		return FAIL;
	TRY(trial_collect(&tr));
	for (int i = 0; i < 5; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

static enum verdict remote_writes(const struct context *c)
{
	struct oracle_spec spec = plain(c, ORACLE_ANON);
	uint64_t value = 0x5eed;
	char path[64];
	struct trial tr;
	int fd;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	tr.told_is_enough = !(c->sees & SEES_REMOTE);
	tr.remote = true;
	TRY(trial_collect(&tr));
	snprintf(path, sizeof(path), "/proc/%d/mem", tr.s.pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (size_t page = 3; page < 600; page += 7) {
		struct iovec local = { &value, sizeof(value) };
		struct iovec remote = { tr.s.base + page * tr.s.page, sizeof(value) };
		off_t at = (off_t)(uintptr_t)remote.iov_base;

		value++;
		if (page & 1) {
			if (process_vm_writev(tr.s.pid, &local, 1, &remote, 1, 0) < 0) {
				if (errno == EFAULT && (c->sees & SPOILS_CALLS))
					continue;
				return fail("process_vm_writev: %s", strerror(errno));
			}
		} else if (pwrite(fd, &value, sizeof(value), at) < 0) {
			/* a write that fails changes nothing */
			if (errno == EIO && !(c->sees & SEES_REMOTE))
				continue;
			return fail("%s: %s", path, strerror(errno));
		}
		tr.v.changed[page] = 1;
	}
	close(fd);
	TRY(trial_collect(&tr));
	TRY(trial_step(&tr, "write 20"));
	trial_end(&tr);
	return PASS;
}

/* A stopped target is tracked like any other, and stays stopped. */
static enum verdict stopped(const struct context *c)
{
	struct oracle_spec spec = plain(c, ORACLE_ANON);
	struct trial tr;
	char path[64], state = 0;
	FILE *f;

	TRY(trial_begin(&tr, c, &spec, 0, NO_START));
	kill(tr.s.pid, SIGSTOP);
	waitpid(tr.s.pid, NULL, WUNTRACED);
	if (pml_start(tr.t))
		return fail("pml_start of a stopped target: %s", pml_message(tr.t));
	TRY(trial_collect(&tr));
	snprintf(path, sizeof(path), "/proc/%d/stat", tr.s.pid);
	/* on its way back into the stop it is shown as running */
	for (int i = 0; i < 200 && state != 'T'; i++) {
		f = fopen(path, "r");
		if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			return fail("%s cannot be read", path);
		fclose(f);
		if (state != 'T')
			usleep(10000);
	}
	if (state != 'T')
		return fail("the target was stopped, now it is '%c'", state);
	kill(tr.s.pid, SIGCONT);
	for (int i = 0; i < 5; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

static enum verdict starts_anew(const struct context *c)
{
	struct oracle_spec spec = plain(c, ORACLE_ANON);
	const struct pml_result *r;
	struct trial tr;

	TRY(trial_begin(&tr, c, &spec, 0, 0));
	TRY(trial_step(&tr, "write 10"));
	TRY(trial_do(&tr, "write 10"));
	if (pml_start(tr.t))
		return fail("pml_start again: %s", pml_message(tr.t));
	if (pml_collect(tr.t, NULL, &r) || !(r->flags & PML_RESULT_LOST))
		return fail("the first result after a new start does not say LOST");
	tr.v.epoch = r->epoch;
	view_clear(&tr.v, &tr.s);
	for (int i = 0; i < 5; i++)
		TRY(trial_step(&tr, "mix"));
	trial_end(&tr);
	return PASS;
}

const struct truth truths_rules[] = {
	{ "rules", "fork: the child's writes are not the parent's", fork_parent, BOTH, false },
	{ "rules", "fork, huge pages", fork_parent_thp, BOTH, false },
	{ "rules", "fork, private file", fork_private_file, BOTH, false },
	{ "rules", "fork: the tracker's own child has no tracker", forked_owner, BOTH, false },
	{ "rules", "exec: stale until started anew", exec_stale, OUTSIDE_ONLY, false },
	{ "rules", "exit: no such process", exits, OUTSIDE_ONLY, false },
	{ "rules", "started anew: what was before is lost, and said so", starts_anew, BOTH, false },
	{ "rules", "a stopped target stays stopped", stopped, OUTSIDE_ONLY, false },
	{ "rules", "munmap and mmap at the same place", unmap, BOTH, false },
	{ "rules", "munmap and mmap, private file", unmap_file, BOTH, false },
	{ "rules", "munmap and mmap, memfd", unmap_memfd, BOTH, false },
	{ "rules", "mremap", move, BOTH, false },
	{ "rules", "mremap, huge pages", move_thp, BOTH, false },
	{ "rules", "MADV_DONTNEED", dontneed, BOTH, false },
	{ "rules", "MADV_DONTNEED, huge pages", dontneed_thp, BOTH, false },
	{ "rules", "MADV_DONTNEED, private file", dontneed_file, BOTH, false },
	{ "rules", "MADV_DONTNEED, memfd", dontneed_memfd, BOTH, false },
	{ "rules", "MADV_FREE, written again", lazy_free, BOTH, false },
	{ "rules", "MADV_FREE, reclaimed", lazy_freed, BOTH, false },
	{ "rules", "written back, shared file", written_back, BOTH, false },
	{ "rules", "huge page split", split, BOTH, false },
	{ "rules", "huge page collapse", collapse, BOTH, false },
	{ "rules", "small pages collapsed", collapse_small, BOTH, false },
	{ "rules", "mprotect and back", protect, BOTH, false },
	{ "rules", "swap", swap, BOTH, true },
	{ "rules", "hugetlb", hugetlb, BOTH, true },
	{ "rules", "the kernel writes to a buffer", kernel_writes, BOTH, false },
	{ "rules", "the kernel writes to a buffer, memfd", kernel_writes_memfd, BOTH, false },
	{ "rules", "another process writes", remote_writes, BOTH, false },
	{ NULL, NULL, NULL, 0, false },
};
