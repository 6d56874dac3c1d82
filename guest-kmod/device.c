// SPDX-License-Identifier: GPL-2.0-only
/*
 * Binds the PML device: a PCI function whose memory holds, for each vCPU, a
 * page of registers, a log and a ring; the contract is abi/pml_device.h.  Here:
 * is it one that we can drive, commands, interrupts.  What is in the rings is
 * log.c's.
 *
 * Nothing that the device wrote is trusted beyond its own memory: the info page
 * is copied once and checked, and every index and entry is checked where it is
 * used.
 */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/vmalloc.h>
#include "device.h"
#include "log.h"

/* A command that takes longer has no answer. */
#define PATIENCE_NS (10 * NSEC_PER_SEC)
#define TRIGGERS (PML_DEV_F_TRIGGER_EPT | PML_DEV_F_TRIGGER_GUEST)
#define MODES (PML_DEV_F_SPML | PML_DEV_F_EPML)
#define FEATURES (MODES | PML_DEV_F_PRL | TRIGGERS)

struct pml_device *pml_device;
/* which device there is, its commands: see device.h */
DEFINE_MUTEX(pml_device_lock);
/* its rings */
DEFINE_MUTEX(pml_take_lock);

/* Why the function that was looked at last is not driven; under pml_device_lock. */
static char refusal[160];

__printf(2, 3)
static int refuse(struct pci_dev *pci, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	mutex_lock(&pml_device_lock);
	vscnprintf(refusal, sizeof(refusal), fmt, args);
	dev_info(&pci->dev, "not used: %s\n", refusal);
	mutex_unlock(&pml_device_lock);
	va_end(args);
	return -ENODEV;
}

/* ---- commands ---- */

static void ring_doorbell(const struct pml_device *d, unsigned int cpu)
{
	if (d->doorbell)
		iowrite32(cpu, d->doorbell);
	else
		asm volatile(".byte 0x0f, 0x1f, 0x80, 0x50, 0x4d, 0x4c, 0x31" : : : "memory");
}

static bool wait_done(const struct pml_dev_vcpu *v, u32 seq)
{
	u64 until = ktime_get_mono_fast_ns() + PATIENCE_NS;

	/* before the status and what the command did: the device's release */
	while (smp_load_acquire(&v->done_seq) != seq) {
		if (ktime_get_mono_fast_ns() > until)
			return false;
		cpu_relax();
	}
	return true;
}

/*
 * Under pml_device_lock: so nobody else commands by this vCPU's block while the
 * processor is ours.
 */
int pml_device_command(struct pml_device *d, struct pml_command *c)
{
	struct pml_device_cpu *mine;
	struct pml_dev_vcpu *v;
	unsigned int cpu;
	int status = -EIO;

	lockdep_assert_held(&pml_device_lock);
	if (d->dead)
		return -EIO;
	cpu = get_cpu();
	mine = &d->cpu[cpu];
	v = mine->block;
	WRITE_ONCE(v->cmd, c->code);
	WRITE_ONCE(v->cmd_flags, c->flags);
	WRITE_ONCE(v->context, c->context);
	WRITE_ONCE(v->events, c->events);
	for (unsigned int i = 0; i < ARRAY_SIZE(c->arg); i++)
		WRITE_ONCE(v->arg[i], c->arg[i]);
	/* after all that it says */
	smp_store_release(&v->cmd_seq, ++mine->seq);
	ring_doorbell(d, cpu);
	if (wait_done(v, mine->seq)) {
		status = READ_ONCE(v->status) & S32_MAX;
		c->result[0] = READ_ONCE(v->result[0]);
		c->result[1] = READ_ONCE(v->result[1]);
	}
	put_cpu();
	atomic64_inc(&d->commands);
	if (status < 0) {
		d->dead = true;
		dev_err(&d->pci->dev, "the device does not answer: it is not used any more\n");
	}
	return status;
}

static u32 read_resets(const struct pml_device *d)
{
	return READ_ONCE(((const struct pml_dev_info *)d->bar)->reset_count);
}

bool pml_device_is_stale(const struct pml_device *d)
{
	return READ_ONCE(d->stale) || read_resets(d) != d->resets;
}

/* Nobody runs that the device knows of, while it begins. */
int pml_device_begin(struct pml_device *d)
{
	struct pml_command c = {
		.code = PML_DEV_CMD_INIT, .arg = { PML_DEV_VERSION, d->features, 0, 0 },
	};
	const struct pml_dev_info *now = d->bar;
	u32 log, ring;
	int status;

	mutex_lock(&pml_take_lock);
	for (unsigned int i = 0; i < d->info.vcpus; i++) {
		d->cpu[i].tail = 0;
		d->cpu[i].batch = 0;
		WRITE_ONCE(d->cpu[i].block->tail, 0);
	}
	status = pml_device_command(d, &c);
	log = READ_ONCE(now->log_entries);
	ring = READ_ONCE(now->ring_entries);
	if (!status && log && is_power_of_2(log) && log <= d->info.log_max && is_power_of_2(ring) &&
	    ring >= 2 * log && ring <= d->info.ring_max) {
		d->info.log_entries = log;
		d->info.ring_entries = ring;
		d->resets = read_resets(d);
		WRITE_ONCE(d->stale, false);
	} else {
		/* its INIT is refused, or says what cannot be */
		d->dead = true;
	}
	mutex_unlock(&pml_take_lock);
	return d->dead ? -EIO : 0;
}

/* ---- what there is, told ---- */

void pml_device_info(struct pml_uapi_info *info)
{
	struct pml_device *d;

	mutex_lock(&pml_device_lock);
	d = pml_device;
	info->device = !d ? PML_DEVICE_NONE : d->dead ? PML_DEVICE_BROKEN : PML_DEVICE_READY;
	if (d) {
		info->device_version = PML_DEV_VERSION;
		info->device_features = d->features;
		info->device_vcpus = d->info.vcpus;
		info->device_log = d->info.log_entries;
		info->device_ring = d->info.ring_entries;
	}
	strscpy(info->device_words, !d ? refusal : d->dead ? "it has stopped to answer" :
		"ready", sizeof(info->device_words));
	mutex_unlock(&pml_device_lock);
}

void pml_device_stats(struct pml_uapi_stats *stats)
{
	struct pml_device *d;

	stats->device_switches = 0;
	mutex_lock(&pml_device_lock);
	d = pml_device;
	if (d) {
		stats->device_commands = atomic64_read(&d->commands);
		stats->device_interrupts = atomic64_read(&d->interrupts);
		stats->device_foreign = atomic64_read(&d->foreign);
		stats->device_resets = atomic64_read(&d->begun);
		for (unsigned int i = 0; i < d->info.vcpus; i++)
			stats->device_switches += READ_ONCE(d->cpu[i].switches);
	}
	mutex_unlock(&pml_device_lock);
}

u32 pml_device_modes(void)
{
	u32 modes = 0;

	mutex_lock(&pml_device_lock);
	if (pml_device && !pml_device->dead) {
		if (pml_device->features & PML_DEV_F_EPML)
			modes |= PML_MODE_EPML;
		if (pml_device->features & PML_DEV_F_SPML)
			modes |= PML_MODE_SPML;
	}
	mutex_unlock(&pml_device_lock);
	return modes;
}

/*
 * ---- interrupts ----
 *
 * Processors that come and go need nothing: a block is there for each that is
 * possible; who leaves has last run its idle thread, which is nobody's; its ring
 * is taken by whoever collects.
 */

static irqreturn_t on_interrupt(int irq, void *arg)
{
	struct pml_device *d = arg;

	atomic64_inc(&d->interrupts);
	return IRQ_WAKE_THREAD;
}

/* A full log is in the ring: taken at once, so that the ring has room. */
static irqreturn_t on_interrupt_thread(int irq, void *arg)
{
	struct pml_device *d = arg;

	mutex_lock(&pml_take_lock);
	if (d == pml_device)
		pml_log_take_rings(d);
	mutex_unlock(&pml_take_lock);
	return IRQ_HANDLED;
}

static int request_interrupts(struct pml_device *d)
{
	unsigned int vectors = d->info.vectors;
	int err = pci_alloc_irq_vectors(d->pci, vectors, vectors, PCI_IRQ_MSIX);

	if (err < 0)
		return err;
	for (unsigned int i = 0; i < vectors; i++) {
		int irq = pci_irq_vector(d->pci, i);

		err = request_threaded_irq(irq, on_interrupt, on_interrupt_thread, 0, "pml", d);
		if (err) {
			while (i--)
				free_irq(pci_irq_vector(d->pci, i), d);
			pci_free_irq_vectors(d->pci);
			return err;
		}
		/* a hint: where it is taken is a matter of cost alone */
		if (i < nr_cpu_ids && cpu_possible(i))
			irq_set_affinity_and_hint(irq, cpumask_of(i));
	}
	return 0;
}

static void free_interrupts(struct pml_device *d)
{
	for (unsigned int i = 0; i < d->info.vectors; i++) {
		irq_set_affinity_and_hint(pci_irq_vector(d->pci, i), NULL);
		free_irq(pci_irq_vector(d->pci, i), d);
	}
	pci_free_irq_vectors(d->pci);
}

/* ---- binding ---- */

/* Does [offset, offset + n * size) lie within limit? */
static bool fits(u64 offset, u64 n, u64 size, u64 limit)
{
	return offset <= limit && n <= (limit - offset) / size;
}

static bool layout_is_sound(const struct pml_dev_info *i, u64 bar)
{
	u64 stride = i->block_stride;

	return i->bar_size == bar && i->vcpus && i->vectors && i->vectors <= i->vcpus &&
	       i->contexts && i->contexts < 1u << 20 &&
	       !(i->block_offset & ~PAGE_MASK) && stride && !(stride & ~PAGE_MASK) &&
	       !(i->context_offset & 3) &&
	       !((i->list_offset | i->log_offset | i->ring_offset) & 7) &&
	       fits(i->context_offset, (u64)i->contexts + 1, 4, bar) &&
	       fits(i->block_offset, i->vcpus, stride, bar) &&
	       i->list_offset >= sizeof(struct pml_dev_vcpu) &&
	       fits(i->list_offset, i->list_max, 8, stride) &&
	       fits(i->log_offset, i->log_max, 16, stride) &&
	       fits(i->ring_offset, i->ring_max, 8, stride) && i->log_max && i->ring_max;
}

/* Can we drive it?  0, or -ENODEV, said in words. */
static int check(struct pci_dev *pci, const struct pml_dev_info *i, u64 bar)
{
	if (i->magic != PML_DEV_MAGIC)
		return refuse(pci, "a PCI function 1af4:1110 is here, but it is no PML device");
	if (i->version < PML_DEV_VERSION || i->version_min > PML_DEV_VERSION)
		return refuse(pci, "the device speaks %u to %u, this module %u", i->version_min,
			      i->version, PML_DEV_VERSION);
	if (!layout_is_sound(i, bar))
		return refuse(pci, "the device's description of itself does not fit its memory");
	if (i->page_shift != PAGE_SHIFT)
		return refuse(pci, "the device has pages of another size");
	if (!(i->features & MODES) || !(i->features & PML_DEV_F_TRIGGER_GUEST))
		return refuse(pci, "the device offers no log for a guest (EPML or SPML, GUEST)");
	if (i->vcpus < nr_cpu_ids)
		return refuse(pci, "the device has %u vCPUs, this machine may have %u processors",
			      i->vcpus, nr_cpu_ids);
	if (i->doorbell == PML_DEV_DOORBELL_MMIO &&
	    ((i->doorbell_offset & 3) || !fits(i->doorbell_offset, 1, 4, pci_resource_len(pci, 0))))
		return refuse(pci, "the device's doorbell is outside its registers");
	if (i->doorbell != PML_DEV_DOORBELL_MMIO && i->doorbell != PML_DEV_DOORBELL_HINT)
		return refuse(pci, "the device's doorbell is of a kind not known here (%u)",
			      i->doorbell);
	return 0;
}

static int map(struct pml_device *d, struct pci_dev *pci)
{
	resource_size_t at = pci_resource_start(pci, PML_DEV_BAR);

	d->bar_size = pci_resource_len(pci, PML_DEV_BAR);
	if (!(pci_resource_flags(pci, PML_DEV_BAR) & IORESOURCE_MEM) ||
	    d->bar_size < sizeof(struct pml_dev_info))
		return refuse(pci, "a PCI function 1af4:1110 is here, but without memory");
	d->bar = devm_memremap(&pci->dev, at, d->bar_size, MEMREMAP_WB);
	if (IS_ERR(d->bar))
		return PTR_ERR(d->bar);
	memcpy(&d->info, d->bar, sizeof(d->info));
	return check(pci, &d->info, d->bar_size);
}

static int prepare(struct pml_device *d, struct pci_dev *pci)
{
	d->cpu = devm_kcalloc(&pci->dev, d->info.vcpus, sizeof(*d->cpu), GFP_KERNEL);
	if (!d->cpu)
		return -ENOMEM;
	for (unsigned int i = 0; i < d->info.vcpus; i++) {
		void *block = d->bar + d->info.block_offset + i * d->info.block_stride;

		d->cpu[i].block = block;
		d->cpu[i].ring = block + d->info.ring_offset;
		d->cpu[i].seq = READ_ONCE(d->cpu[i].block->cmd_seq);
		WRITE_ONCE(d->cpu[i].block->run, 0);
		WRITE_ONCE(d->cpu[i].block->irq_enable, 1);
	}
	if (d->info.doorbell == PML_DEV_DOORBELL_MMIO) {
		void __iomem *registers = pcim_iomap(pci, 0, 0);

		if (!registers)
			return -ENOMEM;
		d->doorbell = registers + d->info.doorbell_offset;
	}
	d->features = d->info.features & FEATURES;
	return 0;
}

static int start(struct pml_device *d, struct pci_dev *pci)
{
	int err = request_interrupts(d);

	if (err)
		return refuse(pci, "the device's interrupts (MSI-X, %u) cannot be had: error %d",
			      d->info.vectors, err);
	mutex_lock(&pml_device_lock);
	err = pml_device ? -EBUSY : pml_device_begin(d);
	if (!err) {
		mutex_lock(&pml_take_lock);
		pml_device = d;
		mutex_unlock(&pml_take_lock);
	}
	mutex_unlock(&pml_device_lock);
	if (!err)
		return 0;
	free_interrupts(d);
	return refuse(pci, err == -EBUSY ? "another PML device is in use already" :
		      "the device refuses to begin, or does not answer");
}

static int bind(struct pci_dev *pci, const struct pci_device_id *id)
{
	struct pml_device *d = devm_kzalloc(&pci->dev, sizeof(*d), GFP_KERNEL);
	int err;

	if (!d)
		return -ENOMEM;
	d->pci = pci;
	err = pcim_enable_device(pci);
	if (!err)
		err = map(d, pci);
	if (!err)
		err = prepare(d, pci);
	if (!err) {
		pci_set_master(pci);
		err = start(d, pci);
	}
	if (err)
		return err;
	pci_set_drvdata(pci, d);
	dev_info(&pci->dev, "PML device: %u vCPUs, features %#x, logs of %u, rings of %u\n",
		 d->info.vcpus, d->features, d->info.log_entries, d->info.ring_entries);
	return 0;
}

/* Whoever uses it learns that it is gone, and then it is. */
static void unbind(struct pci_dev *pci)
{
	struct pml_device *d = pci_get_drvdata(pci);

	mutex_lock(&pml_device_lock);
	pml_log_abandon(d);
	mutex_lock(&pml_take_lock);
	pml_device = NULL;
	mutex_unlock(&pml_take_lock);
	strscpy(refusal, "the device was taken away", sizeof(refusal));
	mutex_unlock(&pml_device_lock);
	free_interrupts(d);
}

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(PML_DEV_PCI_VENDOR, PML_DEV_PCI_DEVICE) },
	{ }
};

MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver driver = {
	.name = "pml",
	.id_table = ids,
	.probe = bind,
	.remove = unbind,
};

int pml_device_setup(void)
{
	strscpy(refusal, "no PML device is here (no PCI function 1af4:1110)", sizeof(refusal));
	return pci_register_driver(&driver);
}

void pml_device_teardown(void)
{
	pci_unregister_driver(&driver);
}
