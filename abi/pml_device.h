/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * pml_device.h - the contract between a PML device and its guest; this header
 * is the protocol's own document.
 *
 * Who includes it: the device's model and its front-ends (device/), the guest
 * module (guest-kmod/), and test programs that drive the device from user
 * space through a mapping of its BAR.  All numbers are little-endian.
 *
 *
 * 1. What the device does
 *
 * It tells a guest which pages a context (a process, as the guest numbers it)
 * wrote or referenced, each page once per epoch:
 *
 *   SPML  the hypervisor logs guest-PHYSICAL page addresses in a log of its
 *         own; when that is full it takes a VM exit and copies the log into a
 *         ring that the guest reads.
 *   EPML  the processor logs guest-VIRTUAL page addresses into a log in the
 *         guest's sight; when that is full it is moved to the same ring and
 *         an interrupt says so; no VM exit.
 *   PRL   either of them may log references (reads as well as writes), as
 *         events of their own.  A page's dirty and referenced states are
 *         separate: a logged read never hides the next write.
 *
 * Two triggers decide what "the first access of the epoch" is:
 *
 *   GUEST one state per context and page as it is logged (virtual for EPML,
 *         physical for SPML): a processor that logs when it sets the guest's
 *         own dirty bit.  Logging off leaves a page armed.  The default.
 *   EPT   one state per guest-physical frame for the whole machine, as
 *         published: ANY write of the machine uses the frame's state up, and
 *         is logged only if logging is on for the vCPU and the context.  So a
 *         frame that was dirtied through another mapping, or while logging
 *         was off, is not logged until it is re-armed.  Known to miss.
 *
 *
 * 2. Discovery and versions
 *
 * A PCI function with one shared-memory BAR (BAR2) and MSI-X.  Enable the
 * function before touching the BAR.  The BAR begins with struct pml_dev_info.
 * The vendor and device id may be generic (1af4:1110): a guest drives the
 * device only if magic matches and the version ranges meet:
 *
 *   the device speaks every version in [version_min, version];
 *   a guest that can speak v in that range sends v with INIT and both use v;
 *   a guest older than version_min, or one that needs more than version,
 *   stays away and says so ("the device speaks 2 to 3, this module 1");
 *   INIT with any other v is refused with PML_DEV_ST_VERSION, and changes
 *   nothing.
 *
 * Within a version, fields and feature bits are only added; what is reserved
 * is zero and is not looked at.
 *
 *
 * 3. What lies where
 *
 * Everything is found by the offsets in the info page, never by a constant:
 *
 *   0                       struct pml_dev_info       device writes
 *   context_offset          __u32 flags[contexts + 1] device writes
 *   block_offset + i*stride the block of vCPU i:
 *     + 0                     struct pml_dev_vcpu     both, see there
 *     + list_offset           __u64 list[list_max]    guest writes
 *     + log_offset            __u64 log[2][log_max]   device writes
 *     + ring_offset           __u64 ring[ring_max]    device writes
 *
 * All of it is plain memory that the guest CAN write.  The device keeps its
 * own copy of everything it relies on and never reads back what it published;
 * what the guest is meant to write it reads once and checks.  A guest that
 * writes elsewhere harms only itself.  The guest must check, before use, every
 * offset and count against the BAR's size, and every record against section 4;
 * it must not trust an address in an entry beyond "a page to look at".
 *
 *
 * 4. Entries
 *
 * An entry is 64 bits: a page address in bits 63..12, meaning in bits 11..0.
 * Zero is never an entry.  Type PML_DEV_E_PAGE is a page of the context named
 * by the latest CONTEXT record before it; the other types are records:
 *
 *   PAGE     bits 63..12 the page's address, PML_DEV_E_PHYS if it is a
 *            guest-physical one, PML_DEV_E_DIRTY and/or PML_DEV_E_REFERENCED
 *   CONTEXT  bits 63..12 the context that owns the PAGE entries that follow
 *   LEAF     bits 63..12 the guest-physical page of the page-table leaf that
 *            maps the PAGE entry just before it (only with F_LEAF)
 *   SYNC     bits 63..12 the key of the SYNC command
 *   BATCH    begins a batch in a ring; two more words follow it, and then as
 *            many entries as bits 63..12 say:
 *              word 1  bits 63..48 vCPU, bits 47..0 sequence number, from 1,
 *                      one more for each batch of this vCPU since INIT
 *              word 2  the device's clock in nanoseconds when the batch was
 *                      made, monotonic over all vCPUs
 *
 * The context rule: whenever the context changes between two entries of a
 * log, a CONTEXT record stands between them, and every batch begins with one
 * (or with SYNC): so an entry's owner is never in doubt.
 *
 *
 * 5. Logs and rings
 *
 * Each vCPU has a log of log_entries (INIT; a power of two, 512 by default)
 * and a ring of ring_entries words.  Only the device appends; only the device
 * empties a log, into the ring of the same vCPU, as one batch:
 *
 *   - when it is full (counted in full; with SPML a VM exit, with EPML an
 *     interrupt), never later, so that no full log stands in the way;
 *   - on DRAIN, SYNC, DISABLE, and REARM with PML_DEV_WITH_DRAIN.
 *
 * A guest reads rings.  It may also look into an EPML log: entries below
 * log_index of log[log_active] are complete; a command moves them to the ring.
 * With SPML the log is the hypervisor's and log_index stays 0.
 *
 * head and tail run freely; a position is taken modulo ring_entries.  The
 * device stores a whole batch, then head (release).  The guest reads head
 * (acquire), reads words, then stores tail (release).  A tail for which
 * head - tail exceeds ring_entries is the guest's fault: the device counts it
 * (bad_tail) and takes the ring as full.
 *
 * A ring needs at most log_entries + 3 words per log moved.  A guest that
 * empties each ring before it has taken N full logs, N = ring_entries /
 * (log_entries + 3), never overflows; at the default sizes N is 127.
 *
 *
 * 6. Overflow
 *
 * When a full log finds no room in its ring, or the device has no memory left
 * for page states (its cap is the host's to choose), or an address is outside
 * what it can keep (the lower 2^47 bytes), entries are lost.  Never silently:
 * flags[context] gets PML_DEV_CTX_DIRTY_LOST and/or PML_DEV_CTX_REFERENCED_LOST
 * and keeps it: everything of that context is dirty (referenced).  A REARM of
 * all or of that context, whose event mask covers it, ends it, and returns the
 * flags as they were in result[1].  A REARM list never ends it.
 *
 *
 * 7. Commands
 *
 * vCPU i commands through block i only.  With preemption off (so that the
 * vCPU stays the same) the guest writes cmd, cmd_flags, context, events and
 * arg[], then cmd_seq = cmd_seq + 1, then rings the doorbell, and waits until
 * done_seq == cmd_seq (acquire); then status and result[] are valid.  With
 * both doorbell kinds the device normally has finished before the next
 * instruction; only a command that changes what the device watches (INIT,
 * ENABLE) may take longer, and the wait must let the vCPU run.
 *
 * Doorbell kinds (info.doorbell):
 *   HINT  an instruction that does nothing elsewhere, 0f 1f 80 50 4d 4c 31 (a
 *         long NOP with "PML1" as its displacement), run in kernel mode at a
 *         kernel address.  For emulated processors.
 *   MMIO  a 32-bit write of i to doorbell_offset in BAR0.  For real
 *         hypervisors, which take an exit for it.
 *
 * Memory ordering of commands: what a vCPU stored before its doorbell is seen
 * by the command.  When REARM, DISABLE or DRAIN has completed, no vCPU can
 * still finish a store under the old state: each store by any vCPU is either
 * visible to whoever reads memory after completion AND recorded before it, or
 * it will be logged after it.
 *
 * Which context runs: run holds the context that runs on the vCPU, 0 for none.
 * The guest stores it from the same vCPU at schedule in and out; no doorbell.
 *
 *   INIT     arg[0] version, arg[1] features to use (a subset of those
 *            offered), arg[2] log entries (0: 512), arg[3] ring words (0: all).
 *            Ends all contexts, empties logs, rings and flags, sets every
 *            head and the device's idea of tail to 0 (the guest sets tail
 *            to 0 first), and adds one to reset_count.  The first command.
 *     On real hardware: reading capability MSRs, allocating the log page and
 *     setting its address and index (Intel PML: VMCS fields; AMD PML: VMCB
 *     fields; Arm HDBSS: HDBSSBR_EL2 and HDBSSPROD_EL2).
 *
 *   ENABLE   context 1..contexts, events, cmd_flags = one of MODE_SPML or
 *            MODE_EPML, and TRIGGER_EPT or TRIGGER_GUEST.  The context begins
 *            with every page armed (EPT: with the frames' states as they
 *            are).  Completes only when stores of all vCPUs are seen.
 *     On real hardware: a bit in the execution controls of every vCPU; before
 *     it all dirty bits of the second-level tables are cleared and flushed.
 *
 *   DISABLE  context.  Drains all logs, then forgets the context, its page
 *            states and its flags.  After ST_RING_FULL it is still enabled.
 *     On real hardware: the same bit; the log that is not full is read out at
 *     the VM exit that the command takes.
 *
 *   REARM    scope ALL, CONTEXT (context) or LIST (context, arg[0] items in
 *            list[]), for the events in events.  An item is a page address in
 *            bits 63..12 (as logged; a guest-physical one with TRIGGER_EPT)
 *            and a number of pages less one in bits 11..0.  The next access
 *            to a page so re-armed is logged again.  With WITH_DRAIN logs
 *            are drained and pages re-armed in one step, in which no access
 *            falls; if that gives ST_RING_FULL, nothing was re-armed.  result[0]: how many states were cleared; result[1]:
 *            overflow flags before.  With TRIGGER_EPT scope CONTEXT re-arms
 *            every frame, as a frame's state belongs to nobody.
 *     On real hardware: clearing dirty (accessed) bits and a flush on every
 *     vCPU: with Intel PML and AMD PML the second-level entries one by one and
 *     INVEPT / a TLB control flush; with Arm HDBSS making entries
 *     writable-clean again, which HACDBS can do from a list, and a TLBI.  So
 *     its cost is result[0] clearings plus one flush, whatever it costs here.
 *
 *   DRAIN    moves this vCPU's log to its ring; with ALL_VCPUS every vCPU's.
 *            PML_DEV_ST_RING_FULL: some log stayed where it was, nothing is
 *            lost; take the rings' words and drain again.
 *     On real hardware: kicking the vCPU out of the guest and reading its log
 *     from the index (Intel and AMD: downwards from 511; Arm: upwards to
 *     HDBSSPROD_EL2).
 *
 *   SYNC     arg[0] key.  As DRAIN with ALL_VCPUS; then a SYNC record with the
 *            key in every ring: what was logged before is before it.
 *     On real hardware: as DRAIN; the record is the hypervisor's.
 *
 *
 * 8. Interrupts
 *
 * MSI-X vector i % vectors belongs to vCPU i.  It is raised after a full log
 * was moved to the ring, if irq_enable is not 0; so never more often than
 * full says.  It is an edge and says only "look at head".
 *
 *
 * 9. Reset
 *
 * reset_count changes when the device lost its state (INIT, a reset, suspend
 * or restore of the machine by its host): a guest that did not cause it takes
 * everything as dirty, forgets its contexts and starts with INIT.
 *
 *
 * 10. The thesis's modes (features, chosen with INIT)
 *
 *   F_DOUBLE_LOG  a full log that finds no room in its ring is set aside, and
 *                 the other one takes over; only when both are full is the
 *                 older one lost.
 *   F_OFFLOAD     (with F_DOUBLE_LOG) the set-aside log is moved to the ring
 *                 by a thread of the host, not by the vCPU.  If both are full
 *                 the vCPU moves the older one itself.
 *   F_LEAF        each PAGE entry is followed by a LEAF record.
 *   F_NO_WALK     dirty and accessed bits that the page walker sets are not
 *                 taken as writes of the page-table page.
 *
 * Counts of how often a page was logged over many re-arms are kept for the
 * host's side (pml-host).
 */
#ifndef PML_DEVICE_H
#define PML_DEVICE_H

#include <linux/types.h>

#define PML_DEV_PCI_VENDOR	0x1af4
#define PML_DEV_PCI_DEVICE	0x1110
#define PML_DEV_BAR		2

#define PML_DEV_MAGIC		0x3145434956454450ull	/* "PDEVICE1" in memory */
#define PML_DEV_VERSION		1
#define PML_DEV_VERSION_MIN	1

/* Features offered, and chosen with INIT. */
#define PML_DEV_F_SPML		(1u << 0)
#define PML_DEV_F_EPML		(1u << 1)
#define PML_DEV_F_PRL		(1u << 2)	/* referenced events */
#define PML_DEV_F_TRIGGER_EPT	(1u << 3)
#define PML_DEV_F_TRIGGER_GUEST	(1u << 4)
#define PML_DEV_F_DOUBLE_LOG	(1u << 5)
#define PML_DEV_F_OFFLOAD	(1u << 6)
#define PML_DEV_F_LEAF		(1u << 7)
#define PML_DEV_F_NO_WALK	(1u << 8)
#define PML_DEV_F_FETCH		(1u << 9)	/* instruction fetches are references too */

/* Doorbell kinds. */
#define PML_DEV_DOORBELL_HINT	1
#define PML_DEV_DOORBELL_MMIO	2

/* The bytes of the hint instruction, for .byte directives and for scanners. */
#define PML_DEV_HINT_BYTES	0x0f, 0x1f, 0x80, 0x50, 0x4d, 0x4c, 0x31
#define PML_DEV_HINT_LENGTH	7

/* Events. */
#define PML_DEV_DIRTY		(1u << 0)
#define PML_DEV_REFERENCED	(1u << 1)

/* Entries. */
#define PML_DEV_E_ADDRESS	(~0xfffull)
#define PML_DEV_E_DIRTY		0x001ull
#define PML_DEV_E_REFERENCED	0x002ull
#define PML_DEV_E_PHYS		0x004ull
#define PML_DEV_E_TYPE		0xf00ull
#define PML_DEV_E_PAGE		0x000ull
#define PML_DEV_E_CONTEXT	0x100ull
#define PML_DEV_E_LEAF		0x200ull
#define PML_DEV_E_SYNC		0x300ull
#define PML_DEV_E_BATCH		0x400ull
#define PML_DEV_E_SHIFT		12

#define PML_DEV_BATCH_WORDS	3	/* a batch's words before its entries */
#define PML_DEV_BATCH_VCPU_SHIFT 48
#define PML_DEV_BATCH_SEQ_MASK	((1ull << PML_DEV_BATCH_VCPU_SHIFT) - 1)

/* Commands. */
#define PML_DEV_CMD_INIT	1
#define PML_DEV_CMD_ENABLE	2
#define PML_DEV_CMD_DISABLE	3
#define PML_DEV_CMD_REARM	4
#define PML_DEV_CMD_DRAIN	5
#define PML_DEV_CMD_SYNC	6

/* cmd_flags.  ENABLE: */
#define PML_DEV_MODE_SPML	(1u << 0)
#define PML_DEV_MODE_EPML	(1u << 1)
#define PML_DEV_TRIGGER_EPT	(1u << 2)
#define PML_DEV_TRIGGER_GUEST	(1u << 3)
/* REARM, one of: */
#define PML_DEV_SCOPE_ALL	(1u << 8)
#define PML_DEV_SCOPE_CONTEXT	(1u << 9)
#define PML_DEV_SCOPE_LIST	(1u << 10)
/* REARM: drain first, in the same step */
#define PML_DEV_WITH_DRAIN	(1u << 11)
/* DRAIN: every vCPU's log */
#define PML_DEV_ALL_VCPUS		(1u << 12)

/* status of a command */
#define PML_DEV_ST_OK		0
#define PML_DEV_ST_BAD_COMMAND	1	/* no such command */
#define PML_DEV_ST_VERSION	2	/* the device does not speak it */
#define PML_DEV_ST_BAD_FEATURE	3	/* not offered, or not so together */
#define PML_DEV_ST_BAD_SIZE	4	/* log or ring: not a power of two, or out of range */
#define PML_DEV_ST_NOT_READY	5	/* INIT first */
#define PML_DEV_ST_BAD_CONTEXT	6	/* 0 or above contexts */
#define PML_DEV_ST_EXISTS	7	/* ENABLE: the context is enabled */
#define PML_DEV_ST_NO_CONTEXT	8	/* the context is not enabled */
#define PML_DEV_ST_BAD_FLAGS	9	/* flags or events that do not fit the command */
#define PML_DEV_ST_BAD_LIST	10	/* longer than list_max, or an address out of range */
#define PML_DEV_ST_RING_FULL	11	/* a log stayed undrained: take the ring's words */
#define PML_DEV_ST_NO_MEMORY	12	/* the device's cap is reached */

/* flags[context] */
#define PML_DEV_CTX_ENABLED		(1u << 0)
#define PML_DEV_CTX_DIRTY_LOST		(1u << 1)	/* all dirty */
#define PML_DEV_CTX_REFERENCED_LOST	(1u << 2)	/* all referenced */

/* The start of the BAR.  The device writes it, the guest reads it. */
struct pml_dev_info {
	__u64 magic;
	__u32 version;
	__u32 version_min;
	__u64 bar_size;
	__u32 features;		/* offered */
	__u32 features_used;	/* since INIT */
	__u32 doorbell;
	__u32 doorbell_offset;
	__u32 page_shift;
	__u32 vcpus;
	__u32 vectors;
	__u32 contexts;		/* context numbers are 1..contexts */
	__u32 log_max;
	__u32 ring_max;
	__u32 list_max;
	__u32 log_entries;	/* since INIT */
	__u32 ring_entries;	/* since INIT */
	__u32 reset_count;
	__u64 context_offset;
	__u64 block_offset;
	__u64 block_stride;
	__u64 list_offset;	/* within a block */
	__u64 log_offset;	/* within a block */
	__u64 ring_offset;	/* within a block */
	__u32 enabled_by_guest;	/* contexts that are enabled now */
	__u32 reserved;
};

/*
 * Statistics of one vCPU since INIT.  Published at each batch, at each
 * command of this vCPU, and by DRAIN, SYNC and DISABLE for all.
 */
struct pml_dev_stats {
	__u64 entries;		/* PAGE entries logged */
	__u64 dirty;		/* of them, with the dirty event */
	__u64 referenced;	/* of them, with the referenced event */
	__u64 contexts;		/* CONTEXT records written */
	__u64 full;		/* times a log was full */
	__u64 vm_exits;		/* full SPML logs and commands: exits on real hardware */
	__u64 interrupts;	/* interrupts raised */
	__u64 commands;		/* doorbells with a command, refused ones too */
	__u64 rearmed;		/* states cleared by REARM */
	__u64 flushes;		/* REARMs: flushes on real hardware */
	__u64 batches;		/* batches put into the ring */
	__u64 offloaded;	/* of them, by a thread of the host */
	__u64 drops;		/* PAGE entries lost: their contexts are flagged */
	__u64 unlogged;		/* EPT: states used up by an access not logged */
	__u64 bad_context;	/* accesses while run named no enabled context */
	__u64 bad_tail;		/* times tail was out of range */
};

/* The block of one vCPU begins with this page. */
struct pml_dev_vcpu {
	/* The guest writes these. */
	__u32 run;		/* the context that runs here; 0 none */
	__u32 irq_enable;
	__u64 tail;
	__u32 cmd;
	__u32 cmd_flags;
	__u32 context;
	__u32 events;
	__u64 arg[4];
	__u32 cmd_seq;
	__u32 guest_reserved[47];
	/* The device writes these, from byte 256 on. */
	__u64 head;
	__u32 log_index;
	__u32 log_active;
	__u32 done_seq;
	__u32 status;
	__u64 result[2];
	__u64 dev_reserved[27];
	struct pml_dev_stats stats;	/* from byte 512 on */
};

#endif /* PML_DEVICE_H */
