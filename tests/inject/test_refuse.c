/* SPDX-License-Identifier: MIT */
/*
 * test_refuse.c - processes that cannot be attached to: the right error, words
 * that name the reason, and the process lives on as it was.
 */
#include "attach.h"
#include "inject.h"
#include "tap.h"
#include "target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, NAME_SIZE = 64 };

/* The outcome of one attach, also when another process made it. */
struct outcome {
	int error;
	char words[512];
};

static struct outcome attach(pid_t pid)
{
	struct pml_injected injected;
	struct outcome outcome = { 0, "" };

	outcome.error = pml_inject_userfaultfd(pid, &injected, outcome.words,
					       sizeof(outcome.words));
	if (!outcome.error)
		close(injected.uffd);
	return outcome;
}

/* As attach(), by a process that `prepare` has changed first. */
static struct outcome attach_as(pid_t pid, void (*prepare)(void))
{
	struct outcome *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct outcome outcome;
	pid_t child;

	if (shared == MAP_FAILED)
		abort();
	shared->error = 1;
	child = fork();
	if (!child) {
		prepare();
		*shared = attach(pid);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	outcome = *shared;
	munmap(shared, sizeof(*shared));
	return outcome;
}

static void become_nobody(void)
{
	if (setgid(NOBODY) || setuid(NOBODY))
		abort();
}

static void use_up_descriptors(void)
{
	const struct rlimit limit = { 3, 3 };

	closefrom(3);
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void refused(const char *what, const struct outcome *outcome, int error, const char *word)
{
	tap_ok(outcome->error == error && strstr(outcome->words, word),
	       "%s: %s, and the words name %s", what, strerrorname_np(-error), word);
	tap_note("%d: %s", outcome->error, outcome->words);
}

/* A target that is refused once and then goes on and finds nothing wrong. */
static void refuse(const char *what, behaviour run, void (*prepare)(void), int error,
		   const char *word)
{
	char before[8192], after[8192];
	struct target target = target_start(run);
	struct outcome outcome;

	target_fds(&target, before, sizeof(before));
	outcome = prepare ? attach_as(target.pid, prepare) : attach(target.pid);
	target_fds(&target, after, sizeof(after));
	refused(what, &outcome, error, word);
	tap_ok(!strcmp(before, after) && target_end(&target, 0), "%s: lives on as it was", what);
}

/* --- seccomp --- */

static void spin_without_calls(struct shared *shared)
{
	target_ready(shared);
	while (!atomic_load(&shared->stop))
		atomic_fetch_add(&shared->rounds, 1);
	/* The only exit that strict mode lets through. */
	syscall(SYS_exit, 0);
}

static void run_strict(struct shared *shared)
{
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		target_error(shared, "no strict mode");
	spin_without_calls(shared);
}

static void run_filtered(struct shared *shared)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		target_error(shared, "no filter");
	spin_without_calls(shared);
}

static void become_nobodys_target(void)
{
	become_nobody();
	prctl(PR_SET_DUMPABLE, 1);
}

static void run_strict_as_nobody(struct shared *shared)
{
	become_nobodys_target();
	run_strict(shared);
}

static void run_filtered_as_nobody(struct shared *shared)
{
	become_nobodys_target();
	run_filtered(shared);
}

static void run_as_nobody(struct shared *shared)
{
	become_nobodys_target();
	run_registers(shared);
}

/* With the right to suspend seccomp, no filter is in the way. */
static void suspended(const char *what, behaviour run)
{
	struct target target = target_start(run);
	struct outcome outcome = attach(target.pid);

	if (outcome.error == -EPERM && strstr(outcome.words, "seccomp"))
		tap_skip("seccomp cannot be suspended here", "%s: attached to by root", what);
	else
		tap_ok(!outcome.error, "%s: attached to by root %s", what, outcome.words);
	tap_ok(target_end(&target, 0), "%s: lives on, its filter never fired", what);
}

static void permissions(void)
{
	struct target target = target_start(run_as_nobody);
	struct outcome outcome = attach_as(target.pid, become_nobody);

	if (outcome.error == -EPERM && strstr(outcome.words, "Yama"))
		tap_skip("Yama forbids it here", "an ordinary user's own process");
	else
		tap_ok(!outcome.error, "an ordinary user may attach to a process of his %s",
		       outcome.words);
	tap_ok(target_end(&target, 0), "that process lives on");
}

/* --- descriptors --- */

static void run_without_free_descriptors(struct shared *shared)
{
	const struct rlimit limit = { 3, 3 };

	closefrom(3);
	setrlimit(RLIMIT_NOFILE, &limit);
	run_registers(shared);
}

/* --- other tracers --- */

static void traced(void)
{
	struct target target = target_start(run_registers);
	struct outcome outcome;
	char tracer_words[NAME_SIZE];
	int told[2];
	char byte = 0;
	pid_t tracer;

	if (pipe(told))
		abort();
	tracer = fork();
	if (!tracer) {
		ptrace(PTRACE_SEIZE, target.pid, 0, 0);
		if (write(told[1], &byte, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	if (read(told[0], &byte, 1) != 1)
		abort();
	outcome = attach(target.pid);
	snprintf(tracer_words, sizeof(tracer_words), "process %d", tracer);
	refused("a process that another one traces", &outcome, -EBUSY, tracer_words);
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	close(told[0]);
	close(told[1]);
	tap_ok(target_end(&target, 0), "a process that another one traces: lives on as it was");
}

/* --- vfork --- */

static void count_until_stop(struct shared *shared)
{
	target_ready(shared);
	while (!atomic_load(&shared->stop)) {
		atomic_fetch_add(&shared->rounds, 1);
		usleep(1000);
	}
}

static void run_vfork(struct shared *shared)
{
	target_vfork(shared, count_until_stop);
}

/* One short-lived tracer after another, each leaving by its end. */
static pid_t start_passing_tracers(pid_t pid)
{
	pid_t parent = fork();

	if (parent)
		return parent;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		pid_t child = fork();

		if (!child) {
			ptrace(PTRACE_SEIZE, pid, NULL, NULL);
			usleep(100);
			_exit(0);
		}
		waitpid(child, NULL, 0);
		usleep(300);
	}
}

/*
 * As a leak checker does at a program's end: a tracer that is neither there
 * before nor after.  What it refuses is "busy", never "not permitted".
 */
static void traced_for_moments(void)
{
	struct target target = target_start(run_registers);
	pid_t tracers = start_passing_tracers(target.pid);
	unsigned int i, good = 0, wrong = 0;

	for (i = 0; i < 300; i++) {
		struct outcome outcome = attach(target.pid);

		good += !outcome.error;
		if (outcome.error && outcome.error != -EBUSY) {
			tap_note("%d: %s", outcome.error, outcome.words);
			wrong++;
		}
	}
	kill(tracers, SIGKILL);
	waitpid(tracers, NULL, 0);
	tap_ok(good && !wrong, "tracers that come and go: attached to, or busy");
	tap_ok(target_end(&target, 0), "tracers that come and go: it lives on");
}

static void vforked(void)
{
	struct target target = target_start(run_vfork);
	struct outcome child = attach((pid_t)atomic_load(&target.shared->helper));
	struct outcome parent = attach(target.pid);

	refused("a vfork child", &child, -EBUSY, "vfork");
	refused("a process that waits in vfork", &parent, -EBUSY, "vfork");
	tap_ok(target_end(&target, 0), "both live on as they were");
}

/* --- processes that are none, or no longer --- */

static void zombie(void)
{
	siginfo_t info;
	struct outcome outcome;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	outcome = attach(pid);
	refused("a zombie", &outcome, -ENOTSUP, "zombie");
	waitpid(pid, NULL, 0);
	outcome = attach(pid);
	refused("a process that is gone", &outcome, -ESRCH, "no such process");
}

static void kernel_thread(void)
{
	char name[NAME_SIZE] = "";
	FILE *file = fopen("/proc/2/comm", "re");
	struct outcome outcome;

	if (file) {
		if (!fgets(name, sizeof(name), file))
			name[0] = '\0';
		fclose(file);
	}
	if (strcmp(name, "kthreadd\n") != 0) {
		tap_skip("process 2 is no kernel thread here", "a kernel thread");
		return;
	}
	outcome = attach(2);
	refused("a kernel thread", &outcome, -ENOTSUP, "kernel thread");
}

static void *idle(void *arg)
{
	const struct shared *shared = arg;

	while (!atomic_load(&shared->stop))
		usleep(1000);
	return NULL;
}

static void *note_thread(void *arg)
{
	struct shared *shared = arg;

	atomic_store(&shared->helper, gettid());
	target_ready(shared);
	return idle(arg);
}

static void run_with_thread(struct shared *shared)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, note_thread, shared))
		return;
	run_registers(shared);
	pthread_join(thread, NULL);
}

static void thread_number(void)
{
	struct target target = target_start(run_with_thread);
	struct outcome outcome;

	while (!atomic_load(&target.shared->helper))
		usleep(1000);
	outcome = attach((pid_t)atomic_load(&target.shared->helper));
	refused("a thread's number", &outcome, -ESRCH, "thread of process");
	tap_ok(target_end(&target, 0), "a thread's number: lives on as it was");
}

/* A 32-bit program, whole: pause() for ever. */
static bool write_elf32(const char *path)
{
	static const unsigned char code[] = {
		0xb8, 0x1d, 0, 0, 0,	/* mov $29, %eax */
		0xcd, 0x80,		/* int $0x80 */
		0xeb, 0xf7,		/* jmp to the begin */
	};
	const Elf32_Addr base = 0x08048000;
	struct {
		Elf32_Ehdr head;
		Elf32_Phdr segment;
		unsigned char code[sizeof(code)];
	} image;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
	bool good;

	memset(&image, 0, sizeof(image));
	memcpy(image.head.e_ident, ELFMAG, SELFMAG);
	image.head.e_ident[EI_CLASS] = ELFCLASS32;
	image.head.e_ident[EI_DATA] = ELFDATA2LSB;
	image.head.e_ident[EI_VERSION] = EV_CURRENT;
	image.head.e_type = ET_EXEC;
	image.head.e_machine = EM_386;
	image.head.e_version = EV_CURRENT;
	image.head.e_entry = base + offsetof(typeof(image), code);
	image.head.e_phoff = offsetof(typeof(image), segment);
	image.head.e_ehsize = sizeof(image.head);
	image.head.e_phentsize = sizeof(image.segment);
	image.head.e_phnum = 1;
	image.segment.p_type = PT_LOAD;
	image.segment.p_vaddr = base;
	image.segment.p_filesz = sizeof(image);
	image.segment.p_memsz = sizeof(image);
	image.segment.p_flags = PF_R | PF_X;
	image.segment.p_align = 4096;
	memcpy(image.code, code, sizeof(code));
	if (fd < 0)
		return false;
	good = write(fd, &image, sizeof(image)) == (ssize_t)sizeof(image);
	close(fd);
	return good;
}

/* Until the process runs that program; false if it ends instead. */
static bool wait_for_program(pid_t pid, const char *path)
{
	char link[NAME_SIZE], to[NAME_SIZE];

	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	for (int i = 0; i < 60000; i++) {
		ssize_t n = readlink(link, to, sizeof(to) - 1);

		to[n < 0 ? 0 : n] = '\0';
		if (!strcmp(to, path))
			return true;
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return false;
		usleep(1000);
	}
	return false;
}

static void program_of_32_bits(void)
{
	char folder[] = "/tmp/pml-inject-XXXXXX", path[NAME_SIZE];
	struct outcome outcome;
	pid_t pid;

	if (!mkdtemp(folder))
		abort();
	snprintf(path, sizeof(path), "%s/pause32", folder);
	if (!write_elf32(path))
		abort();
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(path, path, NULL);
		_exit(1);
	}
	if (!wait_for_program(pid, path)) {
		tap_skip("this kernel runs no 32-bit programs", "a 32-bit program");
	} else {
		outcome = attach(pid);
		refused("a 32-bit program", &outcome, -ENOTSUP, "32-bit");
		tap_ok(waitpid(pid, NULL, WNOHANG) == 0, "a 32-bit program: lives on");
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	unlink(path);
	rmdir(folder);
}

/* A 64-bit program that has jumped into 32-bit code, as Wine does; it stays there. */
static void run_32_bit_code(struct shared *shared)
{
	/* In 32-bit mode: count at the address in ebx, for ever. */
	static const unsigned char code[] = {
		0xff, 0x03,		/* incl (%ebx) */
		0xeb, 0xfc,		/* jmp to the begin */
	};
	const int anywhere = MAP_ANONYMOUS | MAP_32BIT;
	unsigned char *low = mmap(NULL, 65536, PROT_READ | PROT_WRITE | PROT_EXEC,
				  MAP_PRIVATE | anywhere, -1, 0);
	struct shared *moved = mmap(NULL, 65536, PROT_READ, MAP_PRIVATE | anywhere, -1, 0);

	/* The counter may lie anywhere: move it to where 32 bits reach. */
	if (low == MAP_FAILED || moved == MAP_FAILED ||
	    mremap(shared, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == MAP_FAILED)
		return;
	memcpy(low, code, sizeof(code));
	target_ready(moved);
	asm volatile("mov %w[data], %%ds\n"
		     "mov %w[data], %%es\n"
		     "pushq $0x23\n"
		     "pushq %[entry]\n"
		     "lretq\n"
		     :
		     : [data] "r"(0x2b), [entry] "r"((uintptr_t)low),
		       "b"((uintptr_t)&moved->rounds)
		     : "memory");
}

static void code_of_32_bits(void)
{
	struct target target = target_start(run_32_bit_code);
	struct outcome outcome;

	target_goes_on(&target, 1);
	outcome = attach(target.pid);
	refused("a 64-bit program in 32-bit code", &outcome, -ENOTSUP, "32-bit code");
	tap_ok(target_goes_on(&target, 1), "a 64-bit program in 32-bit code: lives on");
	target_kill(&target);
}

/* --- a frozen cgroup --- */

static bool put_text(const char *folder, const char *name, const char *text)
{
	char path[256];
	int fd;
	bool good;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good;
}

/* The freezer stops one task after the other, each when it gets a processor. */
static void wait_for_frost(const char *folder)
{
	char path[NAME_SIZE * 3], text[256];

	snprintf(path, sizeof(path), "%s/cgroup.events", folder);
	for (int i = 0; i < 60000; i++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

		if (fd >= 0)
			close(fd);
		text[n < 0 ? 0 : n] = '\0';
		if (n < 0 || strstr(text, "frozen 1"))
			return;
		usleep(1000);
	}
}

static void frozen(void)
{
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	char folder[NAME_SIZE * 2] = "", number[NAME_SIZE];
	struct target target = target_start(run_registers);
	struct outcome outcome;
	size_t i;

	snprintf(number, sizeof(number), "%d", target.pid);
	for (i = 0; i < 2; i++) {
		snprintf(folder, sizeof(folder), "%s/pml-test-%d", roots[i], getpid());
		if (!mkdir(folder, 0700) && put_text(folder, "cgroup.procs", number) &&
		    put_text(folder, "cgroup.freeze", "1"))
			break;
		rmdir(folder);
	}
	if (i == 2) {
		tap_skip("no cgroup v2 that can be written", "a frozen process");
		target_kill(&target);
		return;
	}
	wait_for_frost(folder);
	outcome = attach(target.pid);
	refused("a frozen process", &outcome, -EBUSY, "frozen");
	put_text(folder, "cgroup.freeze", "0");
	tap_ok(target_end(&target, 0), "a frozen process: lives on when it is thawed");
	rmdir(folder);
}

int main(void)
{
	struct outcome outcome = attach(getpid());

	refused("the caller itself", &outcome, -EINVAL, "another process");
	refuse("a process without a free descriptor", run_without_free_descriptors, NULL, -EMFILE,
	       "RLIMIT_NOFILE");
	refuse("an attacher without a free descriptor", run_registers, use_up_descriptors, -EMFILE,
	       "here");
	traced();
	traced_for_moments();
	vforked();
	zombie();
	kernel_thread();
	thread_number();
	program_of_32_bits();
	code_of_32_bits();
	frozen();
	if (geteuid() != 0) {
		tap_skip("not root", "other users, seccomp");
		return tap_done();
	}
	refuse("root's process, for an ordinary user", run_registers, become_nobody, -EPERM,
	       "user 0");
	permissions();
	suspended("seccomp strict", run_strict);
	suspended("a seccomp filter that kills", run_filtered);
	refuse("seccomp strict, for an ordinary user", run_strict_as_nobody, become_nobody, -EPERM,
	       "seccomp");
	refuse("a seccomp filter, for an ordinary user", run_filtered_as_nobody, become_nobody,
	       -EPERM, "seccomp");
	return tap_done();
}
