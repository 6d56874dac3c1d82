/* SPDX-License-Identifier: MIT */
/*
 * criu-stand-in: loads the plugin as criu does, and calls the pagemap as criu does, on
 * a process that writes to known pages.  So the plugin and the keeper are tried without
 * criu, on any machine, and under the sanitizers.  It exports functions
 * of the same names as criu's, and images in its folders are only named, not written.
 *
 *   criu-stand-in PLUGIN FOLDER PLAN
 *
 * PLAN is one of those at the end of this file.  For control the keeper keeps pages back (PML_TEST_CRIU_DROP).  Run by stand-in.sh,
 * which starts the keeper; prints TAP.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../criu_abi.h"
#include "../keeper.h"
#include "tap.h"

#define PAGE 4096u
#define PAGES 2000u
#define SHARED 1100u

/* What criu exports and the plugin looks for. */
struct cache {
	int fd;
	bool scans;
	struct page_region regions[64];
	long n;
	uint64_t entries[512];
	uint64_t end;
};

int pmc_init(struct cache *c, int pid, const void *list, size_t size);
int pmc_fill(struct cache *c, uint64_t start, uint64_t end);
void pmc_fini(struct cache *c);
int do_task_reset_dirty_track(int pid);
int criu_get_image_dir(void);
void print_on_level(unsigned int level, const char *format, ...);

static int image_dir = -1;
static bool use_pread;
static bool no_reset;		/* a dump without --track-mem */
static char *said;		/* into criu's log: shared with the process that is criu */
#define SAID 4096u

static int open_proc(int pid, const char *name, int flags)
{
	char path[40];
	int dir, fd;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	dir = open(path, O_PATH | O_CLOEXEC);
	if (dir < 0)
		return -1;
	fd = openat(dir, name, flags | O_CLOEXEC);
	close(dir);
	return fd;
}

int pmc_init(struct cache *c, int pid, const void *list, size_t size)
{
	(void)list;
	(void)size;
	c->fd = open_proc(pid, "pagemap", O_RDONLY);
	c->scans = !use_pread;
	return c->fd < 0 ? -1 : 0;
}

static int read_entries(struct cache *c, uint64_t start)
{
	size_t n = sizeof(c->entries);

	if (c->end - start < 512 * PAGE)
		n = (c->end - start) / PAGE * sizeof(c->entries[0]);
	if (pread(c->fd, c->entries, n, (off_t)(start / PAGE * sizeof(uint64_t))) != (ssize_t)n)
		return -1;
	c->end = start + n / sizeof(c->entries[0]) * PAGE;
	return 0;
}

int pmc_fill(struct cache *c, uint64_t start, uint64_t end)
{
	struct scan_arg a = {
		.size = sizeof(a),
		.start = start,
		.end = end,
		.vec = (uintptr_t)c->regions,
		.vec_len = sizeof(c->regions) / sizeof(c->regions[0]),
		.category_anyof_mask = PAGE_PRESENT | PAGE_SWAPPED,
		.return_mask = PAGE_PRESENT | PAGE_SWAPPED | PAGE_SOFT_DIRTY,
	};

	c->end = end;
	if (!c->scans)
		return read_entries(c, start);
	c->n = ioctl(c->fd, PAGEMAP_SCAN_CALL, &a);
	c->end = a.walk_end;
	return c->n < 0 ? -1 : 0;
}

void pmc_fini(struct cache *c)
{
	close(c->fd);
}

int do_task_reset_dirty_track(int pid)
{
	int fd = open_proc(pid, "clear_refs", O_RDWR);
	ssize_t n;

	if (fd < 0)
		return -1;
#ifdef OTHER_WAY
	/* a criu that does this as nobody foresaw */
	n = syscall(SYS_write, fd, "4", 2);
#else
	n = write(fd, "4", 2);
#endif
	close(fd);
	return n == 2 ? 0 : -1;
}

int criu_get_image_dir(void)
{
	return image_dir;
}

void print_on_level(unsigned int level, const char *format, ...)
{
	size_t at = strlen(said);
	va_list ap;

	(void)level;
	va_start(ap, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	vsnprintf(said + at, SAID - at, format, ap);
	va_end(ap);
}

/* The process that is dumped: it writes to the pages it is told to. */
struct target {
	pid_t pid;
	int to;
	int from;
	uint64_t start;
};

/* A byte of command: 'w' writes to the pages that are marked, 'm' replaces the first
 * half by new memory, 'z' by pages that were only read, a file's and such of zeros, 'a'
 * watches all for itself, of the first half every other page not being there, 's' has
 * more shared mappings than a result can name, 'u' has them no more, 'x' becomes another
 * program. */
static unsigned char *marks;

static void map_there(unsigned char *at, size_t pages, int fd)
{
	if (mmap(at, pages * PAGE, PROT_READ | PROT_WRITE,
		 MAP_FIXED | MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0) != at)
		_exit(1);
	madvise(at, pages * PAGE, MADV_NOHUGEPAGE);
}

static void only_read(unsigned char *memory)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, PAGES / 4 * PAGE))
		_exit(1);
	map_there(memory, PAGES / 4, fd);
	map_there(memory + PAGES / 4 * PAGE, PAGES / 4, -1);
	for (size_t i = 0; i < PAGES / 2; i++)
		(void)*(volatile unsigned char *)(memory + i * PAGE);
	close(fd);
}

/* As wp-async does; the descriptor stays open. */
static void watch(unsigned char *memory)
{
	struct uffdio_range all = { .start = (uintptr_t)memory, .len = PAGES * PAGE };
	struct uffdio_api api = { .api = UFFD_API, .features = 1u << 13 }; /* WP_UNPOPULATED */
	struct uffdio_register reg = { .range = all, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect arm = { .range = all, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	for (size_t i = 0; i < PAGES / 2; i += 2)
		madvise(memory + i * PAGE, PAGE, MADV_DONTNEED);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ||
	    ioctl(fd, UFFDIO_WRITEPROTECT, &arm))
		_exit(1);
}

/* Apart from each other. */
static void share(bool more)
{
	static unsigned char *all;

	if (more)
		all = mmap(NULL, 2 * SHARED * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < SHARED && more; i++)
		if (mmap(all + 2 * i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			 MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			_exit(1);
	if (!more)
		munmap(all, 2 * SHARED * PAGE);
}

static void live(int from, int to, unsigned char *memory)
{
	char command;

	while (read(from, &command, 1) == 1) {
		if (command == 'x')
			execl("/bin/sleep", "sleep", "1000", NULL);
		for (size_t i = 0; i < PAGES && command == 'w'; i++)
			if (marks[i])
				memory[i * PAGE] += 1;
		if (command == 'm')
			map_there(memory, PAGES / 2, -1);
		if (command == 'z')
			only_read(memory);
		if (command == 'a')
			watch(memory);
		if (command == 's' || command == 'u')
			share(command == 's');
		for (size_t i = 0; i < PAGES / 2 && command == 'm'; i++)
			memory[i * PAGE] = 1;
		if (write(to, "d", 1) != 1)
			break;
	}
	_exit(0);
}

static struct target begin_target(void)
{
	unsigned char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct target t = { .start = (uintptr_t)memory };
	int there[2], back[2];

	if (memory == MAP_FAILED || pipe2(there, O_CLOEXEC) || pipe2(back, O_CLOEXEC))
		abort();
	madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < PAGES; i++)
		memory[i * PAGE] = 1;
	t.pid = fork();
	if (t.pid < 0)
		abort();
	if (t.pid == 0) {
		close(there[1]);
		close(back[0]);
		live(there[0], back[1], memory);
	}
	close(there[0]);
	close(back[1]);
	t.to = there[1];
	t.from = back[0];
	return t;
}

static void end_target(struct target *t)
{
	close(t->to);
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
	close(t->from);
}

static void tell(const struct target *t, char command)
{
	char done;

	if (write(t->to, &command, 1) != 1 || read(t->from, &done, 1) != 1)
		abort();
}

/* One run of criu, in a process of its own, which is what it is.  What it says of each
 * page comes back: 0 nothing, 1 in the parent, 2 written. */
static unsigned char *told;

static void note(uint64_t start, uint64_t from, uint64_t to, bool dirty)
{
	for (uint64_t p = from; p < to; p += PAGE)
		told[(p - start) / PAGE] = dirty ? 2 : 1;
}

#ifdef HOOKED
/* A criu with hooks: it has them under other numbers than CRIU 4.2 with our patches,
 * for there may be others before them some day. */
enum { HOOK_SCAN = 21, HOOK_RESET = 20 };

int criu_plugin_hook(const char *name);

int criu_plugin_hook(const char *name)
{
	return !strcmp(name, "DIRTY_TRACK_SCAN") ? HOOK_SCAN :
	       !strcmp(name, "DIRTY_TRACK_RESET") ? HOOK_RESET : -1;
}

/* In pieces that are not of whole words. */
static void read_pagemap(const struct target *t, const struct criu_plugin_desc *d)
{
	enum { PIECE = 500 };
	int (*scan)(int pid, uint64_t start, uint64_t end, unsigned long *present,
		    unsigned long *dirty);
	int (*reset)(int pid);
	unsigned long present[PIECE / 64 + 1], dirty[PIECE / 64 + 1];
	uint64_t entries[PIECE];
	int fd = open_proc(t->pid, "pagemap", O_RDONLY);

	if (d->max_hooks != HOOK_SCAN + 1)
		_exit(23);
	*(void **)&scan = d->hooks[HOOK_SCAN];
	*(void **)&reset = d->hooks[HOOK_RESET];
	for (size_t at = 0; at < PAGES; at += PIECE) {
		uint64_t start = t->start + at * PAGE;

		if (pread(fd, entries, sizeof(entries), (off_t)(start / PAGE * 8)) !=
		    sizeof(entries))
			_exit(20);
		memset(present, 0, sizeof(present));
		for (size_t i = 0; i < PIECE; i++)
			if (entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED))
				present[i / 64] |= 1ul << (i % 64);
		memcpy(dirty, present, sizeof(dirty));
		if (scan(t->pid, start, start + PIECE * PAGE, present, dirty))
			_exit(21);
		for (size_t i = 0; i < PIECE; i++)
			if (present[i / 64] & (1ul << (i % 64)))
				note(t->start, start + i * PAGE, start + (i + 1) * PAGE,
				     dirty[i / 64] & (1ul << (i % 64)));
	}
	if (!no_reset && reset(t->pid))
		_exit(22);
	close(fd);
}
#else
static void read_pagemap(const struct target *t, const struct criu_plugin_desc *d)
{
	static struct cache c;
	uint64_t end = t->start + PAGES * PAGE;

	(void)d;
	if (pmc_init(&c, t->pid, NULL, 0))
		_exit(20);
	for (uint64_t at = t->start; at < end; at = c.end) {
		if (pmc_fill(&c, at, end) || c.end <= at)
			_exit(21);
		for (long i = 0; c.scans && i < c.n; i++)
			note(t->start, c.regions[i].start, c.regions[i].end,
			     c.regions[i].categories & PAGE_SOFT_DIRTY);
		for (uint64_t p = at; !c.scans && p < c.end; p += PAGE)
			if (c.entries[(p - at) / PAGE] & (ENTRY_PRESENT | ENTRY_SWAPPED))
				note(t->start, p, p + PAGE,
				     c.entries[(p - at) / PAGE] & ENTRY_SOFT_DIRTY);
	}
	if (!no_reset && do_task_reset_dirty_track(t->pid))
		_exit(22);
	pmc_fini(&c);
}
#endif

static const char *plugin_path;
static const char *folder;

static int open_images(int n, int parent)
{
	char path[300], to[40];

	snprintf(path, sizeof(path), "%s/%d", folder, n);
	mkdir(path, 0700);
	image_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (image_dir < 0)
		abort();
	snprintf(to, sizeof(to), "../%d", parent);
	return parent ? symlinkat(to, image_dir, "parent") : 0;
}

static void criu_run(const struct target *t, int n, int parent, bool fails)
{
	void *handle = dlopen(plugin_path, RTLD_LAZY);
	struct criu_plugin_desc *d = handle ? dlsym(handle, "CR_PLUGIN_DESC") : NULL;
	int (*before_freeze)(int);

	if (!d || open_images(n, parent))
		_exit(10);
	if (d->init(CRIU_STAGE_PRE_DUMP))
		_exit(11);
	*(void **)&before_freeze = d->hooks[CRIU_HOOK_PAUSE_DEVICES];
	if (before_freeze(t->pid) != -ENOTSUP)
		_exit(12);
	/* the target waits for its next command: it need not be frozen */
	read_pagemap(t, d);
	exit(fails ? 1 : 0);
}

/* Round n on the images of round `parent`; what criu exited with, 0 if it went well. */
static int one_round(const struct target *t, int n, int parent, bool fails)
{
	pid_t pid;
	int status;

	memset(told, 0, PAGES);
	said[0] = '\0';
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		abort();
	if (pid == 0)
		criu_run(t, n, parent, fails);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Marks some pages anew; `some` keeps what was marked before. */
static void mark(bool more)
{
	for (size_t i = 0; i < PAGES; i++)
		marks[i] = (more && marks[i]) || random() % 3 == 0;
}

/* The pages that are marked were told to be written, and no others. */
static unsigned int wrong(bool missing)
{
	unsigned int n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += missing ? marks[i] && told[i] != 2 : !marks[i] && told[i] != 1;
	return n;
}

static void judge(const char *name, int status)
{
	unsigned int missing = wrong(true), extra = wrong(false);

	tap_ok(status == 0 && !missing && !extra, "%s", name);
	if (status || missing || extra)
		tap_note("status %d, %u pages missing, %u too many: %s", status, missing, extra,
			 said);
}

static void judge_full(const char *name, int status, const char *words)
{
	unsigned int written = 0;

	for (size_t i = 0; i < PAGES; i++)
		written += told[i] == 2;
	tap_ok(status == 0 && written == PAGES && strstr(said, words), "%s", name);
	if (status || written != PAGES || !strstr(said, words))
		tap_note("status %d, %u pages written: %s", status, written, said);
}

static void remove_note(int n)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%d/pml-criu.note", folder, n);
	if (unlink(path))
		abort();
}

static void rounds(const struct target *t)
{
	judge_full("the first round is a full one", one_round(t, 1, 0, false),
		   "no parent directory");
	mark(false);
	tell(t, 'w');
	judge("the next writes what was written, and no more", one_round(t, 2, 1, false));
	mark(false);
	tell(t, 'w');
	tap_ok(one_round(t, 3, 2, true) == 1, "a round fails");
	mark(true);
	tell(t, 'w');
	judge("the one after it loses nothing", one_round(t, 4, 2, false));
	tell(t, 'm');
	memset(marks, 1, PAGES / 2);
	memset(marks + PAGES / 2, 0, PAGES / 2);
	judge("memory that was replaced is written", one_round(t, 5, 4, false));
	mark(false);
	tell(t, 'w');
	use_pread = true;
	judge("by entries instead of regions, the same", one_round(t, 6, 5, false));
	use_pread = false;
	judge_full("a parent from before the last parent: full", one_round(t, 7, 1, false),
		   "not of a round that the keeper holds");
	remove_note(7);
	judge_full("a parent without a note: full", one_round(t, 8, 7, false), "ended well");
	memset(marks, 0, PAGES);
	judge("nothing was written: nothing is", one_round(t, 9, 8, false));
}

/* The parent has left pages to images that are another process's by now. */
static void reused(const struct target *t)
{
	struct target other = begin_target();

	memset(marks, 0, PAGES);
	one_round(t, 1, 0, false);
	one_round(t, 2, 1, false);
	judge("three rounds, one upon the other", one_round(t, 3, 2, false));
	one_round(&other, 1, 0, false);
	end_target(&other);
	judge_full("the oldest images were written anew: full", one_round(t, 4, 3, false),
		   "older images");
	judge("and the chain goes on from there", one_round(t, 5, 4, false));
	one_round(t, 6, 5, false);
	tap_ok(one_round(t, 4, 0, true) == 1, "a round fails in the place of older images");
	judge_full("they are nobody's any more: full", one_round(t, 7, 6, false), "older images");
}

/* Its pipes are closed by that, which tells that it is done. */
static void become_another(const struct target *t)
{
	char none;

	if (write(t->to, "x", 1) != 1 || read(t->from, &none, 1) != 0)
		abort();
}

static void after_exec(const struct target *t)
{
	int status;

	one_round(t, 1, 0, false);
	become_another(t);
	status = one_round(t, 2, 1, false);
	tap_ok(status == 0 && strstr(said, "exec"),
	       "after an exec all is written, and why is said");
	if (status || !strstr(said, "exec"))
		tap_note("status %d: %s", status, said);
	status = one_round(t, 3, 2, false);
	tap_ok(status == 0 && !*said, "and the chain goes on from there");
	if (status || *said)
		tap_note("status %d: %s", status, said);
}

/* criu takes neither of them into its images, so they are not in the parent either. */
static void read_only_pages(const struct target *t)
{
	int status;

	use_pread = true;
	tell(t, 'z');
	one_round(t, 1, 0, false);
	status = one_round(t, 2, 1, false);
	memset(marks, 0, PAGES);
	memset(marks, 1, PAGES / 2);
	judge("a file's pages and those of zeros are in no base", status);
}

/* Pages that are not there and are watched look like swapped ones. */
static void markers(const struct target *t)
{
	tell(t, 'a');
	for (int i = 0; i < 2; i++) {
		unsigned int extra = 0, missing = 0;
		int status;

		use_pread = i;
		status = one_round(t, 1 + i, 0, false);
		for (size_t k = 0; k < PAGES; k++) {
			bool marker = k < PAGES / 2 && k % 2 == 0;

			extra += marker && told[k];
			missing += !marker && told[k] != 2;
		}
		tap_ok(status == 0 && !extra && !missing, "markers are no pages, by %s",
		       i ? "entries" : "regions");
		if (status || extra || missing)
			tap_note("status %d, %u markers told, %u pages missing: %s", status,
				 extra, missing, said);
	}
}

/* What is not covered may be written at any time: as long as it is not known where that
 * is, nothing is clean. */
static void uncovered_cut(const struct target *t)
{
	tell(t, 's');
	judge_full("more that is not covered than can be told: said", one_round(t, 1, 0, false),
		   "not covered than can be told: its next round is a full one");
	tell(t, 'u');
	judge_full("nor is it the parent's base later", one_round(t, 2, 1, false),
		   "ended well");
	memset(marks, 0, PAGES);
	judge("and the chain goes on from there", one_round(t, 3, 2, false));
}

static long long clean_bytes(void)
{
	char line[300] = "", command[400];
	FILE *status;
	char *at;

	snprintf(command, sizeof(command), "%s status --json", getenv("PML_TEST_KEEPER"));
	status = popen(command, "r"); // NOLINT
	at = status && fgets(line, sizeof(line), status) ? strstr(line, "\"clean_bytes\":") : NULL;
	if (status)
		pclose(status);
	return at ? strtoll(strchr(at, ':') + 1, NULL, 10) : -1;
}

/* Two rounds are held, that of the parent and the last. */
static void status(const struct target *t)
{
	one_round(t, 1, 0, false);
	one_round(t, 2, 1, false);
	tap_ok(clean_bytes() == PAGES * PAGE, "what is clean is told of the last round");
}

static void untracked(const struct target *t)
{
	no_reset = true;
	judge_full("a dump without --track-mem", one_round(t, 1, 0, false), "");
	tap_ok(clean_bytes() == -1, "the process is watched no longer");
}

static void control(const struct target *t)
{
	one_round(t, 1, 0, false);
	mark(false);
	tell(t, 'w');
	one_round(t, 2, 1, false);
	tap_ok(wrong(true) > 0, "pages that the keeper keeps back are found missing");
}

/* What the back-end may not see is all of it.  By entries, as on an old kernel. */
static void strict(const struct target *t)
{
	use_pread = true;
	one_round(t, 1, 0, false);
	judge_full("strict: every round is a full one", one_round(t, 2, 1, false), "");
}

static void without_keeper(const struct target *t)
{
	judge_full("without a keeper: full", one_round(t, 1, 0, false), "no keeper");
}

static int socket_at(struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path, sizeof(address->sun_path), "%s", getenv(KEEPER_SOCKET_ENV));
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* Answers one message, and with another magic. */
static void newer_keeper(const struct target *t)
{
	struct keeper_message m;
	struct sockaddr_un address;
	int fd = socket_at(&address);
	pid_t keeper;

	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
		abort();
	keeper = fork();
	if (keeper == 0) {
		fd = accept(fd, NULL, NULL);
		if (recv(fd, &m, sizeof(m), MSG_WAITALL) != sizeof(m))
			_exit(1);
		m.magic++;
		send(fd, &m, sizeof(m), MSG_NOSIGNAL);
		_exit(0);
	}
	judge_full("a keeper of another version: full, said", one_round(t, 1, 0, false),
		   "the plugin and the keeper are of different versions");
	waitpid(keeper, NULL, 0);
	close(fd);
}

static void newer_plugin(const struct target *t)
{
	struct keeper_message m = { .magic = KEEPER_MAGIC + 1, .type = KEEPER_HELLO };
	struct sockaddr_un address;
	int fd = socket_at(&address);

	(void)t;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    send(fd, &m, sizeof(m), 0) != sizeof(m))
		abort();
	tap_ok(recv(fd, &m, sizeof(m), MSG_WAITALL) == sizeof(m) && m.magic == KEEPER_MAGIC,
	       "a plugin of another version can see what the keeper is");
	close(fd);
}

static void refused(const struct target *t)
{
	tap_ok(one_round(t, 1, 0, false) == 11, "a criu that is not as known is refused");
	tap_note("%s", said);	/* or on standard error: a stranger has no log */
}

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(const struct target *t);
	} plans[] = {
		{ "rounds", rounds },
		{ "exec", after_exec },
		{ "entries", read_only_pages },
		{ "markers", markers },
		{ "cut", uncovered_cut },
		{ "reused", reused },
		{ "control", control },
		{ "status", status },
		{ "untracked", untracked },
		{ "strict", strict },
		{ "without-keeper", without_keeper },
		{ "newer-keeper", newer_keeper },
		{ "newer-plugin", newer_plugin },
		{ "refused", refused },
	};
	struct target t;

	if (argc != 4)
		return 2;
	plugin_path = argv[1];
	folder = argv[2];
	marks = shared(PAGES);
	told = shared(PAGES);
	said = shared(SAID);
	t = begin_target();
	for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++)
		if (!strcmp(plans[i].name, argv[3]))
			plans[i].run(&t);
	end_target(&t);
	return tap_done();
}
