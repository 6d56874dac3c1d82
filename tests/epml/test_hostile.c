/* SPDX-License-Identifier: MIT */
/*
 * test_hostile.c - a PML device that lies.  The device's memory is plain memory, and
 * root of a guest can write to it: so this program writes there what a broken or
 * hostile device would, while a process is tracked by epml.  The truth: what was
 * written is in the result all the same (the result says that track was lost, and
 * takes everything as dirty), after it epochs are exact again, and the kernel takes no
 * harm, which tests/vm/run finds out.  Run by CTest, which skips it, and in guests.
 *
 *   test-hostile [ROUNDS [lies]]	the lies alone
 */
#define _GNU_SOURCE
#include "device.h"
#include "memory.h"
#include "pml_uapi.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 512u
#define DRIVER "/sys/bus/pci/drivers/pml"

static struct device dev;
static char function[32];	/* the device's name on its bus */
static struct memory mem;
static int rounds = 4;

/* ---- the driver and its device ---- */

static bool say(const char *path, const char *words)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, words, strlen(words)) == (ssize_t)strlen(words);

	if (fd >= 0)
		close(fd);
	return good;
}

static bool find_function(void)
{
	DIR *dir = opendir(DRIVER);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (strchr(e->d_name, ':'))
			snprintf(function, sizeof(function), "%.31s", e->d_name);
	if (dir)
		closedir(dir);
	return function[0];
}

static bool unbind(void)
{
	return say(DRIVER "/unbind", function);
}

static bool bind_again(void)
{
	return say(DRIVER "/bind", function);
}

/* Does the module drive none, and what does it say of that? */
static bool is_refused(char *words, size_t size)
{
	struct pml_uapi_info info = { .size = sizeof(info) };
	int fd = open(PML_UAPI_DEVICE, O_RDWR | O_CLOEXEC);
	bool good = fd >= 0 && !ioctl(fd, PML_IOC_INFO, &info) && info.device == PML_DEVICE_NONE;

	snprintf(words, size, "%s", good ? (const char *)info.device_words : "");
	close(fd);
	return good && words[0];
}

/* ---- the truth ---- */

/* These epochs are exact, and nothing is lost. */
static bool is_exact(struct pml *t, int epochs)
{
	uint8_t dirty[PAGES], events[PAGES];
	struct told told = { .events = events };

	for (int i = 0; i < epochs; i++) {
		memory_write_some(&mem, dirty);
		if (!memory_collect(&mem, t, &told) || memory_differs(&mem, dirty, events)) {
			tap_note("epoch %d: %s%zu pages differ", i, told.lost ? "lost, " : "",
				 told.error ? mem.pages : memory_differs(&mem, dirty, events));
			return false;
		}
	}
	return true;
}

/* What a lie must come to. */
enum outcome {
	NOTICED,		/* the next result says that track was lost */
	HARMLESS,		/* sooner or later, or never: nothing is missed */
};

/* One lie, told in the middle of an epoch. */
static void lie(const char *what, void (*tell)(void), enum outcome outcome)
{
	uint8_t dirty[PAGES], events[PAGES];
	struct told told = { .events = events };
	struct pml *t = memory_track(&mem, "epml", PML_DIRTY);
	bool good = t && memory_collect(&mem, t, &told);
	size_t missed = 0;
	bool lost = false;

	for (int i = 0; good && i < rounds; i++) {
		memory_write_some(&mem, dirty);
		tell();
		memory_collect(&mem, t, &told);
		missed += memory_missed(&mem, dirty, events);
		good = !told.error && !missed && (told.lost || outcome != NOTICED);
		lost |= told.lost;
		if (!good)
			tap_note("round %d: error %d, %zu missed", i, told.error, missed);
		/* with what comes later a lie may be noticed only now */
		for (int k = 0; good && outcome == HARMLESS && k < 3; k++) {
			memory_write_some(&mem, dirty);
			memory_collect(&mem, t, &told);
			good = !told.error && !memory_missed(&mem, dirty, events);
			lost |= told.lost;
		}
		good = good && is_exact(t, 3);
	}
	tap_ok(good, "the device lies, %s: nothing is missed, %s, and then it is exact", what,
	       lost ? "track is lost" : "nothing is lost");
	pml_close(t);
}

/* ---- lies: rings ---- */

/* The processor that this process does not run on: its ring is quiet. */
static unsigned int other(void)
{
	return dev.info.vcpus - 1;
}

static volatile struct pml_dev_vcpu *block(unsigned int cpu)
{
	return device_vcpu(&dev, cpu);
}

static uint64_t next_batch[64];

/* Says that n words are there, of which `words` are the first. */
static void append(const uint64_t *words, size_t count, uint64_t n)
{
	volatile struct pml_dev_vcpu *v = block(other());
	uint32_t size = ((volatile struct pml_dev_info *)dev.bar)->ring_entries;
	uint64_t *ring = (uint64_t *)((char *)device_vcpu(&dev, other()) + dev.info.ring_offset);
	uint64_t head = v->head;

	for (size_t i = 0; i < count; i++)
		ring[(head + i) & (size - 1)] = words[i];
	__atomic_store_n(&device_vcpu(&dev, other())->head, head + n, __ATOMIC_RELEASE);
}

/* The batch that comes next in that ring, with these entries. */
static void batch(uint64_t first, uint64_t second)
{
	volatile struct pml_dev_vcpu *v = block(other());
	uint64_t words[5] = {
		2ull << PML_DEV_E_SHIFT | PML_DEV_E_BATCH,
		(uint64_t)other() << PML_DEV_BATCH_VCPU_SHIFT | (v->stats.batches + 1), 0, first,
		second,
	};

	append(words, 5, 5);
}

static uint64_t context_record(uint64_t context)
{
	return context << PML_DEV_E_SHIFT | PML_DEV_E_CONTEXT;
}

static void no_type(void) { batch(context_record(1), 0xf00); }
static void no_owner(void) { batch(0x1000 | PML_DEV_E_DIRTY, 0x2000 | PML_DEV_E_DIRTY); }
static void physical(void) { batch(context_record(1), 0x1000 | PML_DEV_E_DIRTY | PML_DEV_E_PHYS); }
static void stranger(void) { batch(context_record(1000000), 0x1000 | PML_DEV_E_DIRTY); }
static void nobody(void) { batch(context_record(0xfffffffffffffull), 0x1000 | PML_DEV_E_DIRTY); }
static void kernel_page(void) { batch(context_record(1), 0xffff888000000000ull | PML_DEV_E_DIRTY); }
static void no_page(void) { batch(context_record(1), 0x7ffffffff000ull | PML_DEV_E_DIRTY); }

static void longer_than_there_is(void)
{
	uint64_t words[3] = { ~0xfffull | PML_DEV_E_BATCH, 1, 0 };

	append(words, 3, 3);
}

static void other_processor(void)
{
	uint64_t words[3] = { PML_DEV_E_BATCH, 77ull << PML_DEV_BATCH_VCPU_SHIFT | 1, 0 };

	append(words, 3, 3);
}

static void out_of_order(void)
{
	uint64_t words[3] = {
		PML_DEV_E_BATCH, (uint64_t)other() << PML_DEV_BATCH_VCPU_SHIFT | 0xffffff, 0,
	};

	append(words, 3, 3);
}

static void beyond_the_ring(void) { append(next_batch, 0, 1ull << 40); }
static void backwards(void) { append(next_batch, 0, UINT64_MAX); }
static void half_a_batch(void) { append(next_batch, 1, 1); }

/* ---- lies: registers ---- */

static void reset(void)
{
	((volatile struct pml_dev_info *)dev.bar)->reset_count += 7;
}

/* As if the guest had taken what was never there: the device says that it is full. */
static void full_for_ever(void)
{
	for (unsigned int i = 0; i < dev.info.vcpus; i++)
		block(i)->tail = 1ull << 60;
}

static void other_sizes(void)
{
	volatile struct pml_dev_info *i = (volatile struct pml_dev_info *)dev.bar;

	i->ring_entries = 3;
	i->log_entries = 0xffffffff;
	i->vcpus = 0;
	i->contexts = 0;
	i->block_stride = 1;
	i->version = 99;
}

static void rings(void)
{
	static const struct {
		const char *what;
		void (*tell)(void);
		enum outcome outcome;
	} lies[] = {
		{ "an entry of a type that there is none of", no_type, NOTICED },
		{ "entries without an owner", no_owner, NOTICED },
		{ "an entry with a physical address", physical, NOTICED },
		{ "a batch longer than what there is", longer_than_there_is, NOTICED },
		{ "a batch of another processor", other_processor, NOTICED },
		{ "batches out of order", out_of_order, NOTICED },
		{ "half a batch", half_a_batch, NOTICED },
		{ "an index beyond its ring", beyond_the_ring, NOTICED },
		{ "an index that goes backwards", backwards, NOTICED },
		{ "entries of a context that nobody has", stranger, HARMLESS },
		{ "entries of a context beyond all", nobody, HARMLESS },
		{ "an address of the kernel's", kernel_page, HARMLESS },
		{ "an address where nothing is mapped", no_page, HARMLESS },
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		if (dev.info.vcpus < 2)
			tap_skip("one processor: the device's next batch would cover the lie",
				 "the device lies, %s", lies[i].what);
		else
			lie(lies[i].what, lies[i].tell, lies[i].outcome);
	}
	lie("it was reset", reset, NOTICED);
	lie("its ring is full for ever", full_for_ever, NOTICED);
	lie("of its own sizes and version, while it is in use", other_sizes, HARMLESS);
}

/* ---- a device that is not to be driven ---- */

#define FIELD(name, value) \
	{ #name, offsetof(struct pml_dev_info, name), sizeof(dev.info.name), value }

static const struct {
	const char *name;
	size_t at;
	size_t size;
	uint64_t value;
} false_info[] = {
	FIELD(magic, 1), FIELD(version, 0), FIELD(version_min, 2), FIELD(bar_size, 1ull << 50),
	FIELD(features, 0), FIELD(doorbell, 3), FIELD(page_shift, 16), FIELD(vcpus, 0),
	FIELD(vcpus, 0xffffffff), FIELD(vectors, 0), FIELD(vectors, 0xffffffff),
	FIELD(contexts, 0), FIELD(contexts, 0xffffffff), FIELD(log_max, 0),
	FIELD(log_max, 0xffffffff), FIELD(ring_max, 0), FIELD(ring_max, 0xffffffff),
	FIELD(list_max, 0xffffffff), FIELD(context_offset, 1ull << 63),
	FIELD(block_offset, UINT64_MAX & ~0xfffull), FIELD(block_offset, 1), FIELD(block_stride, 0),
	FIELD(block_stride, 1ull << 63), FIELD(list_offset, 8), FIELD(log_offset, UINT64_MAX - 7),
	FIELD(ring_offset, 1ull << 62),
};

static void refused(void)
{
	size_t n = sizeof(false_info) / sizeof(false_info[0]), good = 0;
	struct pml_dev_info as_it_is = *(volatile struct pml_dev_info *)dev.bar;
	char words[200];

	for (size_t i = 0; i < n; i++) {
		unbind();
		memcpy(dev.bar + false_info[i].at, &false_info[i].value, false_info[i].size);
		if (bind_again())
			tap_note("%s = %#llx is believed", false_info[i].name,
				 (unsigned long long)false_info[i].value);
		good += is_refused(words, sizeof(words));
		memcpy(dev.bar, &as_it_is, sizeof(as_it_is));
		if (!bind_again())
			tap_note("after %s it is not bound again", false_info[i].name);
	}
	tap_ok(good == n && !*why_not("epml"),
	       "a device whose description of itself is false is refused in words, and only while it "
	       "is: %zu of %zu", good, n);
}

/* Doorbells that nobody hears: ten seconds, which the module waits for an answer. */
static void mute(void)
{
	volatile struct pml_dev_info *i = (volatile struct pml_dev_info *)dev.bar;
	char words[200];
	bool good;

	if (rounds <= 4) {
		tap_skip("it takes ten seconds; the long tier has it",
			 "a device that does not answer is not used");
		return;
	}
	unbind();
	i->doorbell = PML_DEV_DOORBELL_MMIO;
	i->doorbell_offset = 0;
	good = !bind_again() && is_refused(words, sizeof(words)) && strstr(words, "does not answer");
	i->doorbell = PML_DEV_DOORBELL_HINT;
	tap_ok(good && bind_again() && !*why_not("epml"),
	       "a device that does not answer is not used: %s", words);
}

/* ---- a device that goes ---- */

static void gone(void)
{
	uint8_t dirty[PAGES], events[PAGES];
	struct told told = { .events = events };
	struct pml *t = memory_track(&mem, "epml", PML_DIRTY), *anew;
	bool good = t && memory_collect(&mem, t, &told);

	memory_write_some(&mem, dirty);
	good = unbind() && good;
	memory_collect(&mem, t, &told);
	tap_ok(good && told.error == -ENODEV && strstr(pml_message(t), "device is gone"),
	       "the device is taken away, and a collect fails: %s", t ? pml_message(t) : "");
	good = good && bind_again();
	anew = memory_track(&mem, "epml", PML_DIRTY);
	tap_ok(good && anew && memory_collect(&mem, anew, &told) && is_exact(anew, 3),
	       "... it comes again: a new tracker is exact");
	memory_collect(&mem, t, &told);
	tap_ok(good && !told.error && told.lost && !memory_missed(&mem, dirty, events) &&
		       is_exact(t, 3),
	       "... and the one from before has lost track, misses nothing, and is exact again");
	pml_close(t);
	pml_close(anew);
}

/* How far the tracker has come, for the other thread to keep pace with. */
static atomic_uint steps;
static atomic_bool going;

static void let_pass(unsigned int n)
{
	unsigned int since = steps;

	while (going && steps - since < n)
		sched_yield();
}

static void *come_and_go(void *unused)
{
	(void)unused;
	while (going) {
		let_pass(1 + (unsigned int)rand() % 8);
		unbind();
		let_pass((unsigned int)rand() % 3);
		bind_again();
	}
	return NULL;
}

/* The device comes and goes under trackers, some of which go when a collect fails. */
static void race(void)
{
	uint8_t some[PAGES], dirty[PAGES] = { 0 }, events[PAGES];
	struct told told = { .events = events };
	size_t missed = 0, collects = 0, failed = 0;
	struct pml *t = NULL;
	pthread_t thread;

	going = true;
	if (pthread_create(&thread, NULL, come_and_go, NULL)) {
		tap_ok(0, "a thread can be had");
		return;
	}
	for (int i = 0; i < 50 * rounds; i++, steps++) {
		bool fresh = !t;

		if (fresh)
			t = memory_try(&mem, "epml");
		if (!t)
			continue;
		memory_write_some(&mem, some);
		for (size_t p = 0; p < PAGES; p++)
			dirty[p] = (uint8_t)(some[p] | (fresh ? 0 : dirty[p]));
		memory_collect(&mem, t, &told);
		if (told.error) {
			failed++;
		} else {
			collects++;
			missed += memory_missed(&mem, dirty, events);
			memset(dirty, 0, sizeof(dirty));
		}
		if (told.error && rand() % 2) {
			pml_close(t);
			t = NULL;
		}
	}
	going = false;
	pthread_join(thread, NULL);
	pml_close(t);
	tap_ok(!missed && !*why_not("epml"),
	       "the device comes and goes meanwhile: %zu pages missed in %zu collects, %zu failed",
	       missed, collects, failed);
}

/* ---- more than the log holds ---- */

static void overflow(void)
{
	volatile struct pml_dev_info *i = (volatile struct pml_dev_info *)dev.bar;
	size_t pages = (i->ring_entries / (i->log_entries + 3) + 2) * i->log_entries;
	struct memory large = memory_make(pages);
	uint8_t *events = malloc(pages);
	struct told told = { .events = events };
	struct pml *t;
	bool good;

	if (!large.at || !events) {
		tap_skip("not so much memory", "more is written than ring and log hold");
		free(events);
		return;
	}
	t = memory_track(&large, "epml", PML_DIRTY);
	good = t && memory_collect(&large, t, &told);
	/* nobody empties the rings */
	for (unsigned int k = 0; k < dev.info.vcpus; k++)
		block(k)->irq_enable = 0;
	for (size_t p = 0; p < pages; p++)
		++large.at[p * large.page];
	memory_collect(&large, t, &told);
	good = good && !told.error && told.lost;
	for (size_t p = 0; good && p < pages; p++)
		good = events[p] & PML_DIRTY;
	tap_ok(good, "more is written (%zu pages) than ring and log hold: lost, all dirty", pages);
	for (unsigned int k = 0; k < dev.info.vcpus; k++)
		block(k)->irq_enable = 1;
	++large.at[0];
	good = good && memory_collect(&large, t, &told) && (events[0] & PML_DIRTY);
	for (size_t p = 1; good && p < pages; p++)
		good = !events[p];
	tap_ok(good, "... and the next epoch is exact");
	pml_close(t);
	memory_free(&large);
	free(events);
}

/* ---- other back-ends on the same memory ---- */

static void beside(const char *backend)
{
	uint8_t dirty[PAGES], events[PAGES];
	struct told told = { .events = events };
	struct pml *t[2];
	size_t missed[2] = { 0, 0 }, more[2] = { 0, 0 };
	bool good;

	if (*why_not(backend)) {
		tap_skip(why_not(backend), "epml and %s on one process", backend);
		return;
	}
	t[0] = memory_track(&mem, "epml", PML_DIRTY);
	t[1] = memory_track(&mem, backend, PML_DIRTY);
	good = t[0] && t[1] && memory_collect(&mem, t[0], &told) &&
	       memory_collect(&mem, t[1], &told);
	for (int i = 0; good && i < 5 * rounds; i++) {
		memory_write_some(&mem, dirty);
		for (int k = 0; good && k < 2; k++) {
			good = memory_collect(&mem, t[k], &told);
			missed[k] += memory_missed(&mem, dirty, events);
			more[k] += memory_differs(&mem, dirty, events);
		}
	}
	tap_ok(good && !missed[0] && !missed[1],
	       "epml and %s on one process: %zu and %zu missed, %zu and %zu differ", backend,
	       missed[0], missed[1], more[0], more[1]);
	pml_close(t[0]);
	pml_close(t[1]);
}

static bool prepare(void)
{
	mem = memory_make(PAGES);
	/* the device's memory is mapped while nobody drives it */
	if (!mem.at || !find_function() || !unbind() || !device_open(&dev) || !bind_again())
		return false;
	device_pin(&dev, 0);
	return true;
}

int main(int argc, char **argv)
{
	const char *why = why_not("epml");

	if (argc > 1)
		rounds = atoi(argv[1]);
	if (*why || geteuid()) {
		tap_skip(*why ? why : "not root", "a device that lies");
		return tap_done();
	}
	if (!prepare()) {
		tap_ok(0, "the device's memory can be written to");
		return tap_done();
	}
	rings();
	if (argc > 2)
		return tap_done();
	refused();
	mute();
	gone();
	race();
	overflow();
	beside("ptscan");
	beside("wp-async");
	beside("soft-dirty");
	return tap_done();
}
