/* SPDX-License-Identifier: MIT */
/*
 * fuzz.c - calls of /dev/pml with random sizes, flags, numbers and pointers, from
 * several threads that share their sessions.  Each answer must be one that
 * abi/pml_uapi.h allows, and nothing may be written where nothing was asked for.
 * The rest is the kernel's own checks: run it under the debug kernel.
 *
 *   fuzz [--seconds N] [--seed S] [--threads N]
 */
#define _GNU_SOURCE
#include "failing.h"
#include "fuzz.h"
#include "session.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS 6
#define MAX_THREADS 8
#define PAGE 4096u
#define VEC_PAGES 16u
#define CANARY 0xa5

static _Atomic int sessions[SESSIONS];
static atomic_bool stop;
static atomic_ulong wrong;
static atomic_ulong calls, good;
static bool fails_on_demand;	/* the kernel can be told to be out of memory */

enum call { INFO, ADD, REMOVE, LIST, COLLECT, STATS, SWAPS, CALLS };

static const unsigned long numbers[CALLS] = {
	PML_IOC_INFO, PML_IOC_ADD, PML_IOC_REMOVE, PML_IOC_LIST, PML_IOC_COLLECT, PML_IOC_STATS,
	PML_IOC_SWAPS,
};

static const uint32_t sizes[CALLS] = {
	sizeof(struct pml_uapi_info), sizeof(struct pml_uapi_add), sizeof(struct pml_uapi_remove),
	sizeof(struct pml_uapi_list), sizeof(struct pml_uapi_collect),
	sizeof(struct pml_uapi_stats), sizeof(struct pml_uapi_swaps),
};

static const char *const names[CALLS] = {
	"INFO", "ADD", "REMOVE", "LIST", "COLLECT", "STATS", "SWAPS",
};

union argument {
	uint32_t size;
	struct pml_uapi_info info;
	struct pml_uapi_add add;
	struct pml_uapi_remove remove;
	struct pml_uapi_list list;
	struct pml_uapi_collect collect;
	struct pml_uapi_stats stats;
	struct pml_uapi_swaps swaps;
	unsigned char bytes[PAGE];
};

struct fuzzer {
	pthread_t thread;
	uint64_t random;
	unsigned char *edge;	/* two pages: then comes a hole */
	unsigned char *readonly;
	unsigned char *vec;	/* VEC_PAGES, then a hole */
	bool failing;		/* this call may run out of memory */
};

static uint64_t below(struct fuzzer *f, uint64_t n)
{
	return fuzz_random(&f->random) % n;
}

static bool one_in(struct fuzzer *f, uint64_t n)
{
	return below(f, n) == 0;
}

#define PICK(f, table) ((table)[below((f), sizeof(table) / sizeof((table)[0]))])

static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void complain(const char *fmt, ...)
{
	va_list ap;

	atomic_fetch_add(&wrong, 1);
	if (atomic_load(&wrong) > 20)
		return;
	va_start(ap, fmt);
	tap_vnote(fmt, ap);
	va_end(ap);
}

static uint64_t odd_pointer(struct fuzzer *f)
{
	const uint64_t odd[] = {
		0, 1, 8, 0x1000, 0x7ffffffff000, 0x7ffffffffff8, 0x800000000000,
		0xffff800000000000, 0xffff888000000000, 0xffff888000100000, 0xffffc90000000000,
		0xffffffff81000000, 0xffffffffff600000, 0xfffffffffffff000, 0xffffffffffffffff,
		(uintptr_t)f->readonly, (uintptr_t)f->edge + 2 * PAGE,
		(uintptr_t)f->edge + 2 * PAGE - 8, (uintptr_t)f->vec + VEC_PAGES * PAGE - 20,
		LIFE_BASE,
	};

	return PICK(f, odd);
}

static uint64_t odd_number(struct fuzzer *f)
{
	const uint64_t odd[] = {
		0, 1, 2, 3, 4, 7, 8, 31, 32, 255, 256, 4095, 4096, 4097, 65535, 65536, 1u << 20,
		INT32_MAX, 1u + INT32_MAX, UINT32_MAX, 1ull << 32, INT64_MAX, 1ull << 63,
		UINT64_MAX, UINT64_MAX - 4095, (uint64_t)-1 << 12,
	};

	return one_in(f, 3) ? fuzz_random(&f->random) : PICK(f, odd);
}

static pid_t some_life(struct fuzzer *f)
{
	return lives[below(f, LIVES)];
}

/* A descriptor that is a proof, or one that is none. */
static int some_descriptor(struct fuzzer *f)
{
	static const char *const paths[] = {
		"/proc/%d/pagemap", "/proc/%d/pagemap", "/proc/%d/pagemap", "/proc/%d/pagemap",
		"/proc/%d/maps", "/proc/%d/mem", "/proc/%d", "/dev/null", "/sys/fs/cgroup",
	};
	const char *path = PICK(f, paths);
	char name[64];

	if (strstr(path, "%d"))
		snprintf(name, sizeof(name), "/proc/%d/%s", some_life(f),
			 strlen(path) > 9 ? path + 9 : "");
	else
		snprintf(name, sizeof(name), "%s", path);
	return open(name, O_RDONLY | O_CLOEXEC);
}

static uint64_t some_address(struct fuzzer *f)
{
	const uint64_t places[] = {
		0, LIFE_BASE, LIFE_BASE + below(f, LIFE_PAGES) * PAGE,
		LIFE_BASE + (uint64_t)LIFE_PAGES * PAGE, 0x7ffffffff000, 1ull << 47, 0x400000,
		(uintptr_t)f->vec, UINT64_MAX & ~4095ull,
	};

	return one_in(f, 20) ? odd_number(f) : PICK(f, places);
}

static void fill_add(struct fuzzer *f, struct pml_uapi_add *a, int *descriptor)
{
	a->kind = (uint32_t)below(f, 4);
	a->mode = PML_MODE_PTSCAN;
	a->events = 1 + (uint32_t)below(f, 3);
	a->flags = one_in(f, 4) ? PML_ADD_SPLIT : 0;
	if (one_in(f, 4)) {
		a->mode = PML_MODE_SWAPS;
		a->events = PML_EV_SWAPPED;
		a->flags = 0;
	}
	if (a->kind == PML_TARGET_PID) {
		a->id = one_in(f, 8) ? (int64_t)below(f, 400) : some_life(f);
	} else if (a->kind == PML_TARGET_PROOF || a->kind == PML_TARGET_CGROUP) {
		/* every process of this guest is rare: it takes long */
		*descriptor = a->kind == PML_TARGET_CGROUP && !one_in(f, 200)
				      ? open("/dev/null", O_RDONLY | O_CLOEXEC)
				      : some_descriptor(f);
		a->id = *descriptor;
	}
}

static void fill_collect(struct fuzzer *f, struct pml_uapi_collect *c)
{
	c->target = 1 + (uint32_t)below(f, 8);
	c->flags = (uint32_t)below(f, 4);
	c->events = (uint32_t)below(f, 4);
	c->start = one_in(f, 2) ? 0 : some_address(f);
	c->end = one_in(f, 2) ? 1ull << 47 : some_address(f);
	c->max_pages = one_in(f, 3) ? below(f, 1000) : 0;
	c->vec_len = 1 + (uint32_t)below(f, VEC_PAGES * PAGE / sizeof(struct pml_uapi_range));
	c->vec = (uintptr_t)f->vec;
	if (one_in(f, 12))
		c->vec = odd_pointer(f);
	if (one_in(f, 30))
		c->vec_len = (uint32_t)odd_number(f);
}

static void fill_swaps(struct fuzzer *f, struct pml_uapi_swaps *s)
{
	s->vec_len = 1 + (uint32_t)below(f, VEC_PAGES * PAGE / sizeof(struct pml_uapi_swap));
	s->vec = one_in(f, 12) ? odd_pointer(f) : (uintptr_t)f->vec;
	if (one_in(f, 30))
		s->vec_len = (uint32_t)odd_number(f);
}

static void fill(struct fuzzer *f, enum call call, union argument *a, int *descriptor)
{
	memset(a, 0, sizeof(*a));
	if (call == ADD)
		fill_add(f, &a->add, descriptor);
	else if (call == COLLECT)
		fill_collect(f, &a->collect);
	else if (call == SWAPS)
		fill_swaps(f, &a->swaps);
	else if (call == REMOVE)
		a->remove.target = (uint32_t)below(f, 10);
	if (call == LIST) {
		a->list.vec = one_in(f, 8) ? odd_pointer(f) : (uintptr_t)f->vec;
		a->list.vec_len = (uint32_t)below(f, 64);
		if (one_in(f, 20))
			a->list.vec_len = (uint32_t)odd_number(f);
	}
	a->size = sizes[call];
}

/* Spoils a little, now and then. */
static void spoil(struct fuzzer *f, union argument *a)
{
	const uint32_t odd[] = {
		0, 4, 8, 24, 40, 41, 79, 80, 81, 88, 89, 96, 97, 128, 4095, 4096, 4097,
		UINT32_MAX, 1u << 31,
	};

	if (one_in(f, 10))
		a->size = PICK(f, odd);
	while (one_in(f, 6)) {
		size_t at = 4 + 4 * below(f, 24);
		uint64_t value = odd_number(f);

		memcpy(a->bytes + at, &value, one_in(f, 2) ? 4 : 8);
	}
	if (one_in(f, 40))
		for (size_t i = 4; i < 128; i++)
			a->bytes[i] = (unsigned char)fuzz_random(&f->random);
	if (one_in(f, 40))
		a->bytes[below(f, PAGE)] ^= 1;
}

/* Everything that the contract names, and what a signal or a dying one gives. */
static bool allowed(enum call call, int error, const struct fuzzer *f)
{
	switch (error) {
	case 0:
	case EINVAL:
	case E2BIG:
	case EFAULT:
	case EINTR:
		return true;
	case ENOMEM:
		/* so much is never needed: but for who asks for it */
		return f->failing || call == ADD || call == COLLECT;
	case ESRCH:
	case EOPNOTSUPP:
		return call == ADD || call == COLLECT;
	case EBADF:
	case EPERM:
	case EEXIST:
	case EMFILE:
		return call == ADD;
	case ENOENT:
		return call == REMOVE || call == COLLECT || call == SWAPS;
	default:
		return false;
	}
}

static void check_records(const struct pml_uapi_collect *c)
{
	const struct pml_uapi_range *r = (const struct pml_uapi_range *)(uintptr_t)c->vec;
	uint64_t before = c->start;

	if (c->n > c->vec_len) {
		complain("COLLECT wrote %u records where %u fit", c->n, c->vec_len);
		return;
	}
	if (c->walk_end < c->start || (c->walk_end > c->end && c->end))
		complain("COLLECT of %#llx-%#llx stops at %#llx", c->start, c->end, c->walk_end);
	for (uint32_t i = 0; i < c->n; i++) {
		if (r[i].start < before || r[i].start >= r[i].end || r[i].end > c->walk_end ||
		    r[i].start % PAGE || r[i].end % PAGE)
			complain("COLLECT of %#llx-%#llx, record %u of %u: %#llx-%#llx after %#" PRIx64,
				 c->start, c->walk_end, i, c->n, r[i].start, r[i].end, before);
		if (r[i].known > PML_KNOWN_UNCOVERED || r[i].target != c->target)
			complain("record %u: known %u, target %u of %u", i, r[i].known,
				 r[i].target, c->target);
		if (r[i].known == PML_KNOWN_UNCOVERED && !(c->flags & PML_COLLECT_UNCOVERED))
			complain("record %u: UNCOVERED was not asked for", i);
		if (r[i].known != PML_KNOWN_UNCOVERED &&
		    (!r[i].events || (c->events && (r[i].events & ~c->events))))
			complain("record %u: events %u of %u", i, r[i].events, c->events);
		before = r[i].end;
	}
}

/* Behind what was asked for nothing is written. */
static void check_canary(const struct fuzzer *f, size_t used, const char *what)
{
	for (size_t i = used; i < VEC_PAGES * PAGE; i++) {
		if (f->vec[i] == CANARY)
			continue;
		complain("%s wrote byte %zu of the vector, beyond %zu", what, i, used);
		return;
	}
}

static void check_swaps(const struct fuzzer *f, const struct pml_uapi_swaps *s)
{
	const struct pml_uapi_swap *at = (const struct pml_uapi_swap *)f->vec;

	if (s->n > s->vec_len) {
		complain("SWAPS wrote %u events where %u fit", s->n, s->vec_len);
		return;
	}
	for (uint32_t i = 0; i < s->n; i++)
		if (at[i].address % PAGE || at[i].address >= 1ull << 47 || !at[i].target ||
		    at[i].what > PML_SWAP_IN)
			complain("event %u of %u: target %u, address %#llx, what %u", i, s->n,
				 at[i].target, at[i].address, at[i].what);
	check_canary(f, s->n * sizeof(*at), "SWAPS");
}

static void check_answer(struct fuzzer *f, enum call call, const union argument *before,
			 const union argument *a, int error)
{
	if (!allowed(call, error, f))
		complain("%s: error %d (%s) is none of its own", names[call], error,
			 strerror(error));
	if (a->size != before->size)
		complain("%s changed the size %u to %u", names[call], before->size, a->size);
	if (call == COLLECT && before->collect.vec == (uintptr_t)f->vec) {
		uint64_t room = before->collect.vec_len;

		if (!error && before->size >= sizeof(before->collect) &&
		    !(before->collect.flags & PML_COLLECT_FORGET))
			check_records(&a->collect);
		check_canary(f, room < VEC_PAGES * PAGE / sizeof(struct pml_uapi_range)
				? room * sizeof(struct pml_uapi_range) : VEC_PAGES * PAGE,
			     "COLLECT");
	}
	if (call == SWAPS && !error && before->size >= sizeof(before->swaps) &&
	    before->swaps.vec == (uintptr_t)f->vec)
		check_swaps(f, &a->swaps);
	if (call == LIST && !error && before->size >= sizeof(before->list) &&
	    a->list.n > before->list.vec_len)
		complain("LIST wrote %u where %u fit", a->list.n, before->list.vec_len);
}

/* The argument at the end of a page, or at a place where none can be. */
static void call_once(struct fuzzer *f, int fd)
{
	enum call call = (enum call)below(f, CALLS + 6);
	union argument before, *a = (union argument *)(f->edge + PAGE);
	uint64_t pointer = (uintptr_t)a;
	unsigned long number;
	int descriptor = -1, error;

	/* collects and adds are most of it */
	if (call >= CALLS)
		call = call < CALLS + 4 ? COLLECT : ADD;
	number = numbers[call];
	fill(f, call, &before, &descriptor);
	if (one_in(f, 3))
		spoil(f, &before);
	if (one_in(f, 40))
		pointer = odd_pointer(f);
	else if (one_in(f, 20))
		pointer += PAGE - sizes[call] + (one_in(f, 2) ? 4 : 0);
	if (one_in(f, 100))
		number ^= 1ul << below(f, 32);
	if (pointer - (uintptr_t)a <= PAGE)
		memcpy((void *)pointer, &before, PAGE - (pointer - (uintptr_t)a));
	memset(f->vec, CANARY, VEC_PAGES * PAGE);
	f->failing = fails_on_demand && one_in(f, 12);
	if (f->failing)
		failing_nth(1 + (unsigned int)below(f, 24));
	error = ioctl(fd, number, pointer) ? errno : 0;
	if (f->failing)
		failing_nth(0);
	atomic_fetch_add(&calls, 1);
	atomic_fetch_add(&good, !error);
	if (pointer == (uintptr_t)a && number == numbers[call])
		check_answer(f, call, &before, a, error);
	if (descriptor >= 0)
		close(descriptor);
}

/* What else can be done to a session's descriptor. */
static void other_once(struct fuzzer *f, int fd)
{
	struct pollfd p = { .fd = fd, .events = (short)fuzz_random(&f->random) };
	void *map;

	switch (below(f, 4)) {
	case 0:
		if (poll(&p, 1, 0) > 0 && (p.revents & POLLNVAL))
			complain("poll says POLLNVAL");
		break;
	case 1:
		map = mmap(NULL, PAGE << below(f, 4), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   (off_t)(below(f, 8) * PAGE));
		if (map != MAP_FAILED)
			complain("mmap works, where there are no rings");
		break;
	case 2:
		if (read(fd, f->vec, PAGE) >= 0)
			complain("read works");
		break;
	default:
		if (write(fd, f->vec, PAGE) >= 0)
			complain("write works");
	}
}

/* Another session takes the place of one of them. */
static void replace_session(struct fuzzer *f)
{
	int fd = session_open();
	int old = atomic_exchange(&sessions[below(f, SESSIONS)], fd < 0 ? -1 : fd);

	if (old >= 0)
		close(old);
}

static void *fuzz_on(void *arg)
{
	struct fuzzer *f = arg;

	while (!atomic_load(&stop)) {
		int fd = dup(sessions[below(f, SESSIONS)]);
		pid_t victim;

		/* another thread may be replacing it */
		if (fd >= 0) {
			if (one_in(f, 20))
				other_once(f, fd);
			else
				call_once(f, fd);
			close(fd);
		}
		if (one_in(f, 60))
			replace_session(f);
		victim = some_life(f);
		if (one_in(f, 200) && victim > 0)
			kill(victim, SIGKILL);
	}
	return NULL;
}

static bool begin(struct fuzzer *f, uint64_t seed)
{
	unsigned char *map = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *vec = mmap(NULL, (VEC_PAGES + 1) * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	f->random = seed;
	f->readonly = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || vec == MAP_FAILED || f->readonly == MAP_FAILED)
		return false;
	munmap(map + 2 * PAGE, PAGE);
	munmap(vec + VEC_PAGES * PAGE, PAGE);
	f->edge = map;
	f->vec = vec;
	return !pthread_create(&f->thread, NULL, fuzz_on, f);
}

/* A session works still, after all of this. */
static void check_sound(void)
{
	int fd = session_open();
	int target = fd < 0 ? fd : session_add(fd, PML_TARGET_SELF, 0, PML_EV_DIRTY);
	unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct harvest h = { NULL, 0, 0, 0 };
	int error = target < 0 ? target : session_collect(fd, target, 0, 0, 1ull << 47, NULL);

	*(volatile unsigned char *)page = 1;
	if (!error)
		error = session_collect(fd, target, 0, 0, 1ull << 47, &h);
	tap_ok(!error && harvest_has(&h, (uintptr_t)page, (uintptr_t)page + PAGE),
	       "a session works as ever afterwards (%d)", error);
	harvest_free(&h);
	if (fd >= 0)
		close(fd);
}

static int fuzz(unsigned long seconds, uint64_t seed, unsigned int threads)
{
	static struct fuzzer fuzzers[MAX_THREADS];
	struct timespec pause = { 0, 20000000 };
	uint64_t random = seed;
	time_t end = time(NULL) + (time_t)seconds;
	unsigned int n = 0;

	need_module();
	fails_on_demand = failing_prepare();
	tap_note("seed %" PRIu64 ", %u threads, %lu s; out of memory on demand: %s", seed, threads,
		 seconds, fails_on_demand ? "yes" : "this kernel cannot");
	for (int i = 0; i < SESSIONS; i++)
		sessions[i] = session_open();
	lives_renew("/proc/self/exe", &random);
	while (n < threads && begin(&fuzzers[n], fuzz_random(&random)))
		n++;
	while (time(NULL) < end) {
		nanosleep(&pause, NULL);
		lives_renew("/proc/self/exe", &random);
	}
	atomic_store(&stop, true);
	while (n)
		pthread_join(fuzzers[--n].thread, NULL);
	lives_end();
	for (int i = 0; i < SESSIONS; i++)
		close(sessions[i]);
	tap_note("%lu calls, of which %lu were good", atomic_load(&calls), atomic_load(&good));
	tap_ok(!atomic_load(&wrong), "no answer is outside the contract (%lu are)",
	       atomic_load(&wrong));
	tap_ok(atomic_load(&good) > atomic_load(&calls) / 20 && atomic_load(&calls) > 100,
	       "the calls were not all nonsense");
	check_sound();
	return tap_done();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 't' },
		{ "seed", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 'n' },
		{ "life", required_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long seconds = 20, threads = 3;
	uint64_t seed = (uint64_t)time(NULL);
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			seconds = strtoul(optarg, NULL, 10);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			threads = strtoul(optarg, NULL, 10);
			break;
		case 'l':
			life(strtoull(optarg, NULL, 10));
		default:
			fputs("usage: fuzz [--seconds N] [--seed S] [--threads N]\n", stderr);
			return 2;
		}
	}
	return fuzz(seconds, seed, threads < MAX_THREADS ? (unsigned int)threads : MAX_THREADS);
}
