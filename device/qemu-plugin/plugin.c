/* SPDX-License-Identifier: MIT */
/*
 * plugin.c - the PML device in a stock qemu-system-x86_64: one TCG plugin that
 * reports stores (and loads) to the model, hears the hint instruction, and
 * plays the server of QEMU's ivshmem-doorbell device.  Started by pml-qemu.
 *
 * Options (key=value):
 *   fd=N           the socket to ivshmem's chardev; required
 *   ram=BYTES      guest RAM, which are the frames that can be logged
 *   control=PATH   listen there for pml-host
 *   memory=BYTES   cap for page states (256 MiB)
 *   offload=on     the hypervisor's full logs are drained by a thread
 *   user=on        hear the hint in user mode too: for tests without a module
 *   faults=MASK    break the device on purpose (builds with PML_TEST_HOOKS)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ivshmem.h"
#include "model.h"
#include "number.h"
#include "pml_device.h"
#include "qemu_api.h"
#include "server.h"
#include "softtlb.h"

#define SETTLE_SECONDS 30

int qemu_plugin_version = PML_QEMU_API;

struct options {
	int fd;
	uint64_t ram;
	const char *control;
	size_t memory;
	bool offload;
	unsigned int faults;
};

static struct {
	qemu_plugin_id_t id;
	struct pml_model *m;
	struct pml_done *done;	/* the model's */
	struct ivshmem transport;
	uint64_t ram;
	bool user_hints;
	atomic_bool nested;	/* a guest of the guest: translations change unseen */
	void (*flushed)(void);	/* tells keep_callbacks.c, if it is loaded */
	unsigned int vcpus;
	/* What is instrumented, and what should be. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int wanted, installed;
	atomic_bool kick;	/* a vCPU should bring installed to wanted */
	/* Logs set aside, one bit a vCPU. */
	_Atomic uint64_t aside;
	pthread_mutex_t aside_lock;
	pthread_cond_t aside_some;
} p = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
	.aside_lock = PTHREAD_MUTEX_INITIALIZER,
	.aside_some = PTHREAD_COND_INITIALIZER,
};

/* This thread is a vCPU in a callback. */
static _Thread_local bool in_vcpu;
/* The access that each vCPU's thread reports now. */
static struct {
	_Alignas(64) qemu_plugin_meminfo_t info;
	struct softtlb tlb;
} reported[PML_MODEL_MAX_VCPUS];

static void say(const char *what, const char *why, const char *todo)
{
	fprintf(stderr, "pml: %s: %s; %s\n", what, why, todo);
}

/* --- the model's operations ------------------------------------------------ */

static int translate(void *opaque, unsigned int vcpu, uint64_t gva, struct pml_where *where)
{
	struct qemu_plugin_hwaddr *h;
	uint64_t gpa;

	(void)opaque;
	where->leaf = 0;
	where->lasting = !atomic_load_explicit(&p.nested, memory_order_relaxed);
	if (where->lasting && softtlb_find(&reported[vcpu].tlb, gva, &where->gpa))
		return 1;
	h = qemu_plugin_get_hwaddr(reported[vcpu].info, gva);
	if (!h)
		return -1;
	if (qemu_plugin_hwaddr_is_io(h))
		return 0;
	gpa = qemu_plugin_hwaddr_phys_addr(h);
	if (gpa >= p.ram)
		return 0;
	where->gpa = gpa;
	softtlb_keep(&reported[vcpu].tlb, gva, gpa);
	return 1;
}

static void interrupt(void *opaque, unsigned int vector)
{
	(void)opaque;
	ivshmem_interrupt(&p.transport, vector);
}

static void offload(void *opaque, unsigned int vcpu)
{
	(void)opaque;
	pthread_mutex_lock(&p.aside_lock);
	p.aside |= 1ull << vcpu;
	pthread_cond_signal(&p.aside_some);
	pthread_mutex_unlock(&p.aside_lock);
}

static void barrier(void *opaque)
{
	(void)opaque;
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)) {
		say("membarrier", strerror(errno), "the device cannot keep its promise");
		abort();
	}
}

static uint64_t now(void *opaque)
{
	struct timespec t;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void reset_done(qemu_plugin_id_t id);

static bool watch(void *opaque, unsigned int what)
{
	bool same;

	(void)opaque;
	pthread_mutex_lock(&p.lock);
	p.wanted = what;
	same = p.wanted == p.installed;
	pthread_mutex_unlock(&p.lock);
	if (same)
		return true;
	if (in_vcpu)
		qemu_plugin_reset(p.id, reset_done);
	else
		atomic_store(&p.kick, true);
	return false;
}

/* --- instrumentation ------------------------------------------------------- */

/* An access that may be the first to its page, or near the end of one. */
static __attribute__((noinline)) void look(unsigned int vcpu, qemu_plugin_meminfo_t info,
					   uint64_t vaddr, bool store)
{
	reported[vcpu].info = info;
	pml_model_report(p.m, p.done, vcpu, vaddr, 1ul << qemu_plugin_mem_size_shift(info),
			 store ? PML_ACCESS_WRITE : PML_ACCESS_READ);
}

static void on_store(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *unused)
{
	(void)unused;
	if (!pml_done(&p.done[vcpu], p.done[vcpu].write, vaddr, PML_DONE_WIDEST) &&
	    qemu_plugin_mem_is_store(info))
		look(vcpu, info, vaddr, true);
}

/* Where a page was written it was read too: only if not, loads and stores differ. */
static void on_access(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t vaddr, void *unused)
{
	(void)unused;
	if (!pml_done(&p.done[vcpu], p.done[vcpu].write, vaddr, PML_DONE_WIDEST))
		look(vcpu, info, vaddr, qemu_plugin_mem_is_store(info));
}

static void on_hint(unsigned int vcpu, void *unused)
{
	(void)unused;
	if (vcpu >= p.vcpus)
		return;
	in_vcpu = true;
	pml_model_doorbell(p.m, vcpu);
	in_vcpu = false;
}

/* A moment at which a vCPU can change the instrumentation for pml-host. */
static void safe_point(void)
{
	if (atomic_load_explicit(&p.kick, memory_order_relaxed) && atomic_exchange(&p.kick, false))
		qemu_plugin_reset(p.id, reset_done);
}

static void on_interrupt_return(unsigned int vcpu, void *unused)
{
	(void)vcpu;
	(void)unused;
	safe_point();
}

static void on_resume(qemu_plugin_id_t id, unsigned int vcpu)
{
	(void)id;
	(void)vcpu;
	safe_point();
}

static void on_translation_change(unsigned int vcpu, void *unused)
{
	(void)unused;
	softtlb_flush(&reported[vcpu].tlb);
	pml_model_remapped(p.m, vcpu);
}

/* An instruction's bytes; 0 if it is longer than x86 allows. */
static size_t insn_bytes(const struct qemu_plugin_insn *insn, unsigned char bytes[16])
{
	size_t n = qemu_plugin_insn_size(insn);

	if (n > 15)
		return 0;
#if PML_QEMU_API >= 3
	return qemu_plugin_insn_data(insn, bytes, n) == n ? n : 0;
#else
	memcpy(bytes, qemu_plugin_insn_data(insn), n);
	return n;
#endif
}

static void on_insn(struct qemu_plugin_insn *insn, unsigned int watched)
{
	static const unsigned char hint[] = { PML_DEV_HINT_BYTES };
	static const unsigned char iretq[] = { 0x48, 0xcf };
	static const unsigned char vmrun[] = { 0x0f, 0x01, 0xd8 };
	bool kernel = (int64_t)qemu_plugin_insn_vaddr(insn) < 0;
	unsigned char bytes[16];
	size_t n = insn_bytes(insn, bytes);
	qemu_exec_cb exec = NULL;

	if (n == sizeof(vmrun) && !memcmp(bytes, vmrun, n))
		atomic_store(&p.nested, true);
	if ((kernel || p.user_hints) && n == sizeof(hint) && !memcmp(bytes, hint, n))
		exec = on_hint;
	else if (kernel && n == sizeof(iretq) && !memcmp(bytes, iretq, n))
		exec = on_interrupt_return;
	else if (watched && softtlb_flushes(bytes, n))
		exec = on_translation_change;
	if (exec)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, exec, QEMU_PLUGIN_CB_NO_REGS, NULL);
	if (watched & PML_WATCH_READS)
		qemu_plugin_register_vcpu_mem_cb(insn, on_access, QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_RW, NULL);
	else if (watched)
		qemu_plugin_register_vcpu_mem_cb(insn, on_store, QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_W, NULL);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (i = 0; i < n; i++)
		on_insn(qemu_plugin_tb_get_insn(tb, i), p.installed);
}

static void on_flush(qemu_plugin_id_t id)
{
	(void)id;
	if (p.flushed)
		p.flushed();
}

static void instrument(void)
{
	qemu_plugin_register_vcpu_tb_trans_cb(p.id, on_translate);
	qemu_plugin_register_vcpu_resume_cb(p.id, on_resume);
	qemu_plugin_register_flush_cb(p.id, on_flush);
}

/* All vCPUs stand still, and no translated code is left. */
static void reset_done(qemu_plugin_id_t id)
{
	unsigned int i;

	(void)id;
	for (i = 0; i < p.vcpus; i++) {
		softtlb_flush(&reported[i].tlb);
		pml_model_remapped(p.m, i);
	}
	pthread_mutex_lock(&p.lock);
	p.installed = p.wanted;
	pthread_cond_broadcast(&p.changed);
	pthread_mutex_unlock(&p.lock);
	instrument();
	pml_model_watching(p.m);
}

/* For pml-host's thread: what it asked for is in force. */
static int settled(void)
{
	struct timespec until;
	unsigned int i;
	int err = 0;

	for (i = 0; i < p.transport.vectors; i++)
		ivshmem_interrupt(&p.transport, i); /* wakes an idle guest that listens */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += SETTLE_SECONDS;
	pthread_mutex_lock(&p.lock);
	while (p.wanted != p.installed && !err)
		err = pthread_cond_timedwait(&p.changed, &p.lock, &until);
	pthread_mutex_unlock(&p.lock);
	return -err;
}

/* The host's thread that drains logs which were set aside. */
static void *drainer(void *unused)
{
	uint64_t todo;
	unsigned int i;

	(void)unused;
	for (;;) {
		pthread_mutex_lock(&p.aside_lock);
		while (!p.aside)
			pthread_cond_wait(&p.aside_some, &p.aside_lock);
		todo = p.aside;
		p.aside = 0;
		pthread_mutex_unlock(&p.aside_lock);
		for (i = 0; i < p.vcpus; i++)
			if (todo >> i & 1)
				pml_model_offload(p.m, i);
	}
	return NULL;
}

/* --- start ----------------------------------------------------------------- */

/* NULL, or what to do about one that is none. */
static const char *option(const char *arg, struct options *o)
{
	const char *value = strchr(arg, '=');
	size_t n = value ? (size_t)(value++ - arg) : 0;
	uint64_t bytes = 0;

	if ((n == 3 && !strncmp(arg, "ram", n)) || (n == 6 && !strncmp(arg, "memory", n))) {
		/* 1G would be one byte to strtoull() */
		if (option_number(value, INT64_MAX, &bytes))
			return "give a number of bytes, such as 268435456";
		if (n == 3)
			o->ram = bytes;
		else
			o->memory = bytes;
	} else if (n == 2 && !strncmp(arg, "fd", n)) {
		o->fd = (int)strtol(value, NULL, 10);
	} else if (n == 7 && !strncmp(arg, "control", n)) {
		o->control = value;
	} else if (n == 7 && !strncmp(arg, "offload", n)) {
		o->offload = !strcmp(value, "on");
	} else if (n == 4 && !strncmp(arg, "user", n)) {
		p.user_hints = !strcmp(value, "on");
	} else if (n == 6 && !strncmp(arg, "faults", n)) {
		o->faults = (unsigned int)strtoul(value, NULL, 0);
	} else {
		return "see the list at the head of plugin.c";
	}
	return NULL;
}

static int start(const struct options *o)
{
	struct pml_model_config config = {
		.vcpus = p.vcpus,
		.vectors = p.vcpus,
		.doorbell = PML_DEV_DOORBELL_HINT,
		.features_off = PML_DEV_F_LEAF | PML_DEV_F_FETCH,
		.frames = o->ram >> 12,
		.max_memory = o->memory,
		.host_offload = o->offload,
		.faults = o->faults,
	};
	const struct pml_model_ops ops = {
		.translate = translate,
		.interrupt = interrupt,
		.offload = offload,
		.barrier = barrier,
		.clock = now,
		.watch = watch,
	};
	size_t size = pml_model_bar_size(&config);
	pthread_t thread;
	int err;

	err = size ? ivshmem_open(&p.transport, o->fd, size, config.vectors) : -EINVAL;
	if (!err)
		err = pml_model_create(&p.m, &config, &ops, p.transport.bar);
	if (!err)
		p.done = pml_model_done(p.m);
	if (!err)
		err = -pthread_create(&thread, NULL, drainer, NULL);
	if (!err && o->control)
		err = server_start(o->control, p.m, settled);
	return err;
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	struct options o = { .fd = -1, .ram = 1ull << 30 };
	const char *todo;
	int i, err;

	for (i = 0; i < argc; i++) {
		todo = option(argv[i], &o);
		if (todo) {
			say("option", argv[i], todo);
			return -1;
		}
	}
	if (!info->system_emulation || strcmp(info->target_name, "x86_64") != 0) {
		say("target", info->target_name, "the device is for qemu-system-x86_64");
		return -1;
	}
	if (o.fd < 0) {
		say("start", "no socket to ivshmem's chardev", "start QEMU with pml-qemu");
		return -1;
	}
	if (info->system.max_vcpus > PML_MODEL_MAX_VCPUS) {
		say("start", "more than 64 vCPUs", "give -smp at most 64");
		return -1;
	}
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0)) {
		say("membarrier", strerror(errno), "a host kernel from 4.14 on is needed");
		return -1;
	}
	*(void **)&p.flushed = dlsym(RTLD_DEFAULT, "pml_callbacks_flushed");
	if (PML_QEMU_API < 2 && !p.flushed) {
		say("start", "this QEMU needs keep_callbacks.so preloaded",
		    "start QEMU with pml-qemu");
		return -1;
	}
	p.id = id;
	p.ram = o.ram;
	p.vcpus = (unsigned int)info->system.max_vcpus;
	err = start(&o);
	if (err) {
		say("start", strerror(-err), "check the options");
		return -1;
	}
	instrument();
	return 0;
}
