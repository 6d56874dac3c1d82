/* SPDX-License-Identifier: MIT */
/*
 * permissions.c - who may track whom, as a table: each line is a test.  And what
 * becomes of a permission when the process is another by then.  Run as root in a
 * guest by tests/kmod/inside.
 */
#define _GNU_SOURCE
#include "session.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALICE 1001
#define BOB 1002

/* The tracker. */
enum who {
	ROOT,
	ROOT_NO_PTRACE,		/* uid 0 without CAP_SYS_PTRACE */
	USER,			/* Alice, with no capability at all */
	USER_PTRACE,		/* Alice with CAP_SYS_PTRACE */
	NAMESPACE,		/* Alice as root of a user namespace of hers */
};

/* The tracked. */
enum whom {
	ITSELF,
	ALICES,
	ALICES_HIDDEN,		/* Alice's, but not dumpable */
	ROOTS,
	BOBS,
	OWN_CHILD,		/* a child of the tracker, in the tracker's namespace */
	IN_NAMESPACE,		/* Alice's, in a user namespace of hers */
	KERNEL,			/* a kernel thread */
	DEAD,			/* a zombie */
	NOBODY,			/* a pid that nobody has */
};

enum how {
	BY_SELF,
	BY_PID,
	BY_PROOF,		/* opens /proc/PID/pagemap itself */
	BY_PASSED,		/* root has opened it and passed it on */
	BY_WRONG,		/* /proc/PID/maps instead */
};

enum { MAY = 0, ANY_OPEN_ERROR = -1000 };

static const struct cell {
	enum who who;
	enum whom whom;
	enum how how;
	int expect;
} cells[] = {
	{ ROOT, ITSELF, BY_SELF, MAY },
	{ ROOT, ITSELF, BY_PID, MAY },
	{ ROOT, ALICES, BY_PID, MAY },
	{ ROOT, ALICES_HIDDEN, BY_PID, MAY },
	{ ROOT, BOBS, BY_PID, MAY },
	{ ROOT, BOBS, BY_PROOF, MAY },
	{ ROOT, ALICES_HIDDEN, BY_PROOF, MAY },
	{ ROOT, IN_NAMESPACE, BY_PID, MAY },
	{ ROOT, KERNEL, BY_PID, -ESRCH },
	{ ROOT, DEAD, BY_PID, -ESRCH },
	{ ROOT, NOBODY, BY_PID, -ESRCH },
	{ ROOT, BOBS, BY_WRONG, -EBADF },
	{ ROOT_NO_PTRACE, ITSELF, BY_SELF, MAY },
	{ ROOT_NO_PTRACE, ITSELF, BY_PID, MAY },
	{ ROOT_NO_PTRACE, ALICES, BY_PID, -EPERM },
	{ ROOT_NO_PTRACE, ROOTS, BY_PID, -EPERM },
	{ USER, ITSELF, BY_SELF, MAY },
	{ USER, ITSELF, BY_PID, MAY },
	{ USER, ITSELF, BY_PROOF, MAY },
	{ USER, ALICES, BY_PID, -EPERM },
	{ USER, ALICES, BY_PROOF, MAY },
	{ USER, OWN_CHILD, BY_PID, -EPERM },
	{ USER, OWN_CHILD, BY_PROOF, MAY },
	{ USER, ALICES_HIDDEN, BY_PID, -EPERM },
	{ USER, ALICES_HIDDEN, BY_PROOF, ANY_OPEN_ERROR },
	{ USER, BOBS, BY_PID, -EPERM },
	{ USER, BOBS, BY_PROOF, ANY_OPEN_ERROR },
	{ USER, BOBS, BY_PASSED, MAY },
	{ USER, ROOTS, BY_PID, -EPERM },
	{ USER, ROOTS, BY_PROOF, ANY_OPEN_ERROR },
	{ USER, ROOTS, BY_PASSED, MAY },
	{ USER, ALICES, BY_WRONG, -EBADF },
	{ USER, KERNEL, BY_PID, -ESRCH },
	{ USER, NOBODY, BY_PID, -ESRCH },
	{ USER_PTRACE, BOBS, BY_PID, MAY },
	{ USER_PTRACE, ROOTS, BY_PID, MAY },
	{ USER_PTRACE, ALICES_HIDDEN, BY_PID, MAY },
	{ NAMESPACE, ITSELF, BY_SELF, MAY },
	{ NAMESPACE, OWN_CHILD, BY_PID, MAY },
	{ NAMESPACE, OWN_CHILD, BY_PROOF, MAY },
	{ NAMESPACE, ALICES, BY_PID, -EPERM },
	{ NAMESPACE, ALICES_HIDDEN, BY_PID, -EPERM },
	{ NAMESPACE, BOBS, BY_PID, -EPERM },
	{ NAMESPACE, ROOTS, BY_PID, -EPERM },
	{ NAMESPACE, ROOTS, BY_PROOF, ANY_OPEN_ERROR },
	/* another namespace, of the same owner, but not this one's child */
	{ NAMESPACE, IN_NAMESPACE, BY_PID, -EPERM },
};

static const char *const who_names[] = {
	"root", "root without CAP_SYS_PTRACE", "a user", "a user with CAP_SYS_PTRACE",
	"root of a user namespace",
};

static const char *const whom_names[] = {
	"itself", "the same user's process", "the same user's process that is not dumpable",
	"root's process", "another user's process", "its own child",
	"a process in another user namespace", "a kernel thread", "a zombie", "nobody",
};

static const char *const how_names[] = {
	"as SELF", "by pid", "by a proof of its own", "by a proof that was passed on",
	"by a wrong descriptor",
};

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		tap_note("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void become(unsigned int uid)
{
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		_exit(120);
	/* the change of user has made it not dumpable, and /proc root's */
	prctl(PR_SET_DUMPABLE, 1);
}

static void keep_only(unsigned long long caps)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)caps, (uint32_t)caps, 0 },
		{ (uint32_t)(caps >> 32), (uint32_t)(caps >> 32), 0 },
	};

	if (syscall(SYS_capset, &head, data))
		_exit(121);
	prctl(PR_SET_DUMPABLE, 1);
}

static void enter_namespace(void)
{
	char map[64];

	become(ALICE);
	if (unshare(CLONE_NEWUSER))
		_exit(122);
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %d 1", ALICE);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %d 1", ALICE);
	write_file("/proc/self/gid_map", map);
	if (geteuid() != 0)
		_exit(123);
	prctl(PR_SET_DUMPABLE, 1);
}

static void become_who(enum who who)
{
	switch (who) {
	case ROOT:
		break;
	case ROOT_NO_PTRACE:
		keep_only(~(1ull << CAP_SYS_PTRACE) & ((1ull << (CAP_LAST_CAP + 1)) - 1));
		break;
	case USER:
		become(ALICE);
		break;
	case USER_PTRACE:
		prctl(PR_SET_KEEPCAPS, 1);
		become(ALICE);
		keep_only(1ull << CAP_SYS_PTRACE);
		break;
	case NAMESPACE:
		enter_namespace();
		break;
	}
}

/* Memory is of the user namespace in which its program was begun. */
static void begin_anew(int ready)
{
	char text[16];

	fcntl(ready, F_SETFD, 0);
	snprintf(text, sizeof(text), "%d", ready);
	execl("/proc/self/exe", "permissions", "--wait", text, NULL);
	_exit(124);
}

static _Noreturn void wait_for_the_end(int ready)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* A process of that kind, which waits; or a number that stands for it. */
static pid_t make_whom(enum whom whom)
{
	int ready[2];
	char c;
	pid_t pid;

	if (whom == KERNEL)
		return 2;
	if (whom == NOBODY)
		return 3999999;
	if (pipe2(ready, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		if (whom == DEAD)
			_exit(0);
		if (whom == ALICES || whom == ALICES_HIDDEN)
			become(ALICE);
		if (whom == BOBS)
			become(BOB);
		if (whom == IN_NAMESPACE)
			enter_namespace();
		if (whom == ALICES_HIDDEN)
			prctl(PR_SET_DUMPABLE, 0);
		if (whom == IN_NAMESPACE || whom == OWN_CHILD)
			begin_anew(ready[1]);
		wait_for_the_end(ready[1]);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1 && whom != DEAD)
		pid = -1;
	if (whom == DEAD)
		waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	close(ready[0]);
	return pid;
}

static void end_whom(pid_t pid)
{
	if (pid <= 2 || pid == 3999999)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int open_file_of(pid_t pid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* In the tracker's own process: adds, and collects once if it may. */
static int try_cell(const struct cell *cell, pid_t pid, int passed)
{
	int fd = session_open(), target, file;

	if (fd < 0)
		return -999;
	switch (cell->how) {
	case BY_SELF:
		target = session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY);
		break;
	case BY_PID:
		target = session_add(fd, PML_TARGET_PID, pid, PML_EV_DIRTY);
		break;
	case BY_PASSED:
		target = session_add(fd, PML_TARGET_PROOF, passed, PML_EV_DIRTY);
		break;
	default:
		file = open_file_of(pid, cell->how == BY_WRONG ? "maps" : "pagemap");
		if (file < 0)
			return ANY_OPEN_ERROR;
		target = session_add(fd, PML_TARGET_PROOF, file, PML_EV_DIRTY);
	}
	if (target < 0)
		return target;
	return session_collect(fd, target, 0, 0, 1ull << 47, NULL);
}

static void test_cell(const struct cell *cell)
{
	bool inside = cell->whom == ITSELF || cell->whom == OWN_CHILD;
	pid_t pid = inside ? 0 : make_whom(cell->whom), tracker;
	int passed = cell->how == BY_PASSED ? open_file_of(pid, "pagemap") : -1;
	int answer[2], result = -998;

	if (pid < 0 || pipe2(answer, O_CLOEXEC)) {
		tap_ok(0, "%s: could not be made", whom_names[cell->whom]);
		return;
	}
	tracker = fork();
	if (!tracker) {
		become_who(cell->who);
		if (cell->whom == ITSELF)
			pid = getpid();
		if (cell->whom == OWN_CHILD)
			pid = make_whom(OWN_CHILD);
		result = try_cell(cell, pid, passed);
		if (write(answer[1], &result, sizeof(result)) != sizeof(result))
			_exit(1);
		_exit(0);
	}
	close(answer[1]);
	if (read(answer[0], &result, sizeof(result)) != sizeof(result))
		result = -998;
	close(answer[0]);
	waitpid(tracker, NULL, 0);
	tap_ok(result == cell->expect, "%s %s track %s %s", who_names[cell->who],
	       cell->expect ? "may not" : "may", whom_names[cell->whom], how_names[cell->how]);
	if (result != cell->expect)
		tap_note("%d (%s) instead of %d", result, strerror(-result), cell->expect);
	if (passed >= 0)
		close(passed);
	if (!inside)
		end_whom(pid);
}

/* Descriptors that look like a proof and are none. */
static void test_fakes(void)
{
	static const char *const fakes[] = { "/dev/null", "/proc/self/mem", "/proc/self/status",
					     "/tmp/pagemap", "/proc/self", "/proc/1/maps",
					     "/proc/kpageflags" };
	int fd = session_open(), made = open("/tmp/pagemap", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	int pair[2];

	for (size_t i = 0; i < sizeof(fakes) / sizeof(fakes[0]); i++) {
		int file = open(fakes[i], O_RDONLY | O_CLOEXEC);

		if (file < 0) {
			tap_skip(strerror(errno), "%s is no proof", fakes[i]);
			continue;
		}
		tap_ok(session_add(fd, PML_TARGET_PROOF, file, PML_EV_DIRTY) == -EBADF,
		       "%s is no proof", fakes[i]);
		close(file);
	}
	if (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		tap_ok(session_add(fd, PML_TARGET_PROOF, pair[0], PML_EV_DIRTY) == -EBADF,
		       "a socket is no proof");
		close(pair[0]);
		close(pair[1]);
	}
	tap_ok(session_add(fd, PML_TARGET_PROOF, -1, PML_EV_DIRTY) == -EBADF, "-1 is no proof");
	tap_ok(session_add(fd, PML_TARGET_PROOF, fd, PML_EV_DIRTY) == -EBADF,
	       "the session itself is no proof");
	close(made);
	unlink("/tmp/pagemap");
	close(fd);
}

static int receive_descriptor(int from)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static void send_descriptor(int to, int fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov = { &(char){ 'd' }, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(to, &m, 0) != 1)
		_exit(1);
}

/* Bob hands Alice a proof of himself over a socket: she needs nothing else. */
static void test_passed_over_a_socket(void)
{
	int pair[2], proof, fd = session_open(), status = 1;
	pid_t bob, alice;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return;
	bob = fork();
	if (!bob) {
		become(BOB);
		send_descriptor(pair[0], open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
		for (;;)
			pause();
	}
	alice = fork();
	if (!alice) {
		int target;

		become(ALICE);
		proof = receive_descriptor(pair[1]);
		target = session_add(fd, PML_TARGET_PROOF, proof, PML_EV_DIRTY);
		_exit(target > 0 &&
		      !session_collect(fd, target, 0, 0, 1ull << 47, NULL) ? 0 : 1);
	}
	waitpid(alice, &status, 0);
	tap_ok(!status, "a user tracks another one who has sent a proof of himself over a socket");
	end_whom(bob);
	close(pair[0]);
	close(pair[1]);
	close(fd);
}

/* Waits for a byte, then becomes a set-user-id program. */
static pid_t make_changeling(const char *program, int go[2])
{
	pid_t pid = fork();
	char c;

	if (pid)
		return pid;
	become(ALICE);
	if (read(go[0], &c, 1) != 1)
		_exit(1);
	execl(program, program, "--wait", "1", NULL);
	_exit(127);
}

static bool is_root_by_now(pid_t pid)
{
	char path[64], line[128];
	unsigned int real, effective = 1;
	FILE *f;

	for (int i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "Uid: %u %u", &real, &effective) == 2)
				break;
		if (f)
			fclose(f);
		if (!effective)
			return true;
		usleep(20000);
	}
	return false;
}

static void copy_self(const char *to)
{
	char bytes[65536];
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out = open(to, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);
	ssize_t n;

	while ((n = read(in, bytes, sizeof(bytes))) > 0)
		if (write(out, bytes, (size_t)n) != n)
			break;
	fchmod(out, 04755);
	close(in);
	close(out);
}

/* Who may track a user's process does not thereby track what it becomes. */
static void test_set_user_id(void)
{
	const char *program = "/tmp/pml-set-user-id";
	int go[2], status = 0, answer[2];
	pid_t pid, alice;
	struct {
		int before, after, again, by_old_proof;
	} r = { 0, 0, 0, 0 };

	copy_self(program);
	if (pipe2(go, O_CLOEXEC) || pipe2(answer, O_CLOEXEC))
		return;
	pid = make_changeling(program, go);
	alice = fork();
	if (!alice) {
		int fd = session_open(), target, proof;

		become(ALICE);
		usleep(200000);
		proof = open_file_of(pid, "pagemap");
		target = session_add(fd, PML_TARGET_PROOF, proof, PML_EV_DIRTY);
		r.before = target < 0 ? target : session_collect(fd, target, 0, 0, 1ull << 47, NULL);
		if (write(go[1], "g", 1) != 1)
			_exit(1);
		if (!is_root_by_now(pid))
			_exit(2);
		r.after = session_collect(fd, target, 0, 0, 1ull << 47, NULL);
		r.again = session_add_proof(fd, pid, PML_EV_DIRTY);
		session_remove(fd, target);
		r.by_old_proof = session_add(fd, PML_TARGET_PROOF, proof, PML_EV_DIRTY);
		_exit(write(answer[1], &r, sizeof(r)) != sizeof(r));
	}
	waitpid(alice, &status, 0);
	if (status || read(answer[0], &r, sizeof(r)) != sizeof(r)) {
		tap_ok(0, "set-user-id: the set-up works (%#x)", (unsigned int)status);
	} else {
		tap_ok(r.before == 0, "a user's process is tracked by that user");
		tap_ok(r.after == -ESRCH, "once it is a set-user-id program, no more (%d)", r.after);
		tap_ok(r.again < 0, "nor is there a new proof (%d)", r.again);
		tap_ok(r.by_old_proof == -ESRCH, "and the old one proves nothing (%d)",
		       r.by_old_proof);
	}
	end_whom(pid);
	unlink(program);
}

#define CGROUP "/sys/fs/cgroup/pml-permissions"

/* Of a cgroup, those are added for whom it would be allowed by pid. */
static void test_cgroup(void)
{
	pid_t one = make_whom(ALICES), two = make_whom(BOBS), alice;
	int fd, dir, status;
	char text[32];

	if (mkdir(CGROUP, 0755)) {
		tap_skip(strerror(errno), "processes of a cgroup");
		return;
	}
	snprintf(text, sizeof(text), "%d", one);
	write_file(CGROUP "/cgroup.procs", text);
	snprintf(text, sizeof(text), "%d", two);
	write_file(CGROUP "/cgroup.procs", text);
	for (int user = 0; user < 2; user++) {
		alice = fork();
		if (!alice) {
			struct pml_uapi_add add = {
				.size = sizeof(add), .kind = PML_TARGET_CGROUP,
				.mode = PML_MODE_PTSCAN, .events = PML_EV_DIRTY,
			};
			int error;

			dir = open(CGROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (user)
				become(ALICE);
			fd = session_open();
			add.id = dir;
			error = ioctl(fd, PML_IOC_ADD, &add) ? errno : 0;
			if (error)
				_exit(100 + error % 100);
			_exit((int)(add.added * 10 + add.refused));
		}
		waitpid(alice, &status, 0);
		status = WEXITSTATUS(status);
		if (user)
			tap_ok(status == 2 || status == 100 + EPERM,
			       "a user may add none of a cgroup without the right to each (%d)",
			       status);
		else
			tap_ok(status == 20, "root adds both processes of a cgroup (%d)", status);
	}
	end_whom(one);
	end_whom(two);
	rmdir(CGROUP);
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "--wait"))
		wait_for_the_end((int)strtol(argv[2], NULL, 10));
	need_module();
	if (geteuid()) {
		printf("1..0 # SKIP it changes users: run it as root\n");
		return TAP_SKIP_ALL;
	}
	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		test_cell(&cells[i]);
	test_fakes();
	test_passed_over_a_socket();
	test_set_user_id();
	test_cgroup();
	return tap_done();
}
