/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * pml_uapi.h - /dev/pml, the contract between the guest module pml.ko and
 * user space; this header is the protocol's own document.
 *
 * Who includes it: the module (guest-kmod/), libpml's back-ends, and programs
 * and tests that talk to the module directly.  It needs nothing else than the
 * kernel's fixed-size types.
 *
 *
 * 1. Sessions
 *
 * Each open("/dev/pml") is one SESSION: it begins empty and ends with the last
 * descriptor of it, however the tracker dies; nothing is left behind then.  A
 * session holds TARGETS: a target is the memory (not the pid) of one process,
 * watched for events by one mode.  Each target of each session has its own
 * epochs: several sessions may track one process, and none takes anything
 * from another.
 *
 * A session passed to, or inherited by, another process goes on tracking what
 * it did: whoever holds the descriptor may collect.  Nobody can be added to it
 * but by the rules of section 6, which are asked of the process that calls.
 * rmmod is refused (-EBUSY) as long as a session is open.
 *
 *
 * 2. Calls
 *
 *   PML_IOC_INFO     what the module speaks, can do, and its limits
 *   PML_IOC_ADD      add a target; its first epoch begins
 *   PML_IOC_REMOVE   end a target
 *   PML_IOC_LIST     the targets of the session
 *   PML_IOC_COLLECT  what happened, re-armed, in one step
 *   PML_IOC_STATS    what it has cost
 *   PML_IOC_SWAPS    what was swapped out and asked for again, in order
 *
 * Each takes a pointer to a struct that begins with its own size, set by the
 * caller, so that structs can grow at their end:
 *   - a smaller struct than the module knows (but at least the first
 *     version's, PML_*_SIZE0): what is missing counts as zero, and is not
 *     written back;
 *   - a larger one: what the module does not know must be zero, else -E2BIG;
 *   - smaller than SIZE0 or larger than 4,096: -EINVAL.
 * The size that is part of an ioctl's number is not looked at: a program that
 * is compiled against a longer struct makes the same call.
 * Reserved fields must be zero, and unknown flags, modes, events and kinds are
 * refused, with -EINVAL: nothing is ever silently not done.
 * An unknown call is -ENOTTY.  A pointer that cannot be read or written is
 * -EFAULT.  All calls of one session are serialised; one that finds another
 * under way waits for it, and a fatal signal ends the wait (-EINTR).
 * 32-bit programs use the same structs.
 *
 *
 * 3. Versions
 *
 * PML_IOC_INFO works in every version.  The module speaks [version_min,
 * version]; a program that was made for version v of this header can use it if
 * v is in that range.  Within a version, fields at the ends of structs, flags,
 * modes and feature bits are only added.
 *
 *
 * 4. Modes and events
 *
 *   PML_MODE_PTSCAN  the module harvests the dirty and accessed bits that the
 *                    processor sets in the process's own page tables.  No
 *                    fault, no device.  Exact within the granule of a record
 *                    for stores that go through the process's page tables:
 *                    its own, and the kernel's by the user address (read(2)).
 *                    Not seen: writes through the kernel's own mapping
 *                    (process_vm_writev, /proc/PID/mem, ptrace), devices
 *                    (DMA) except as far as their pins are seen (section 5),
 *                    other mappings of shared memory, other MMUs (KVM).
 *   PML_MODE_EPML    the PML device (pml_device.h) logs the virtual addresses
 *                    of what the process accesses.  No fault, and no page table
 *                    is looked at but where section 5 says so: a collect costs
 *                    what was written, not what is mapped.  Always exact within
 *                    a page, in a huge one too.  Not seen: as above.
 *   PML_MODE_SPML    the same device logs the guest-physical addresses of what is
 *                    accessed while the process runs, and the module finds the pages
 *                    of the process that they are: at every address at which it maps
 *                    them, and none of what it does not map.  What the kernel writes
 *                    to the process's pages by its own mapping while the process runs
 *                    (process_vm_writev to itself, pages that are zeroed, filled or
 *                    copied for it) is seen, too.  Costs what was written, or what is
 *                    mapped, whichever is less.  Of the zero page nothing is told.
 *                    Not seen: what other processes write by mappings of their own or
 *                    by the kernel's, devices, other MMUs.
 *
 *   PML_MODE_SWAPS   no page is harvested: which pages were swapped out, and which of
 *                    those the process asked for again, in this order (section 8).
 *
 * One process is in one context of the device: whoever adds it by EPML or SPML while
 * another session has it by the other, or by another trigger, gets -EBUSY.  PTSCAN goes beside.
 *
 *   PML_EV_DIRTY       written
 *   PML_EV_REFERENCED  read or written.  Others clear the accessed bit too
 *                      (reclaim, DAMON): a reference they saw may be missed.
 *   PML_EV_SWAPPED     of PML_MODE_SWAPS, and that alone.
 *
 *
 * 5. Collect
 *
 * PML_IOC_COLLECT walks [start, end) of one target upwards and writes records
 * to vec: sorted, disjoint, coalesced.  For every page that it walked,
 * whatever is written after the page was looked at is in a later collect; all
 * processors have been told (TLB flush) before the call returns, so that the
 * content may be copied from then on.  It stops early, with walk_end < end,
 * when vec is full or max_pages have been reported: what lies beyond walk_end
 * stays pending, so that nothing is lost or told twice; go on with start =
 * walk_end.
 * If it fails after it has begun (-EFAULT on vec, -ENOMEM, -EINTR), what it
 * took is not lost either: the target is then all dirty at its next collect.
 *
 * A record is struct pml_uapi_range.  `known` says how it is known:
 *
 *   PML_KNOWN_OBSERVED   the processor's bit was set.
 *   PML_KNOWN_ASSUMED    the bit may have been lost, so that the page is taken
 *                        as dirty (as referenced, where that is asked for);
 *                        see reason.
 *   PML_KNOWN_UNCOVERED  what happens here is not seen; told at every collect
 *                        if PML_COLLECT_UNCOVERED is set.  Mappings that are
 *                        shared are not told so: /proc/PID/maps names them.
 *
 * What takes a page's bits away without a store (reclaim, migration, KSM,
 * writeback, MADV_DONTNEED, MADV_FREE, munmap, mremap, truncation) comes by
 * the kernel's MMU notifier: the page is then reported, ASSUMED, at the next
 * collect; while the invalidation lasts, and once after its end.  An address
 * that was unmapped keeps this mark until something is mapped there.
 * A page that appears in the page tables without its dirty bit (first read,
 * mremap's new place, swapped out before it was ever seen) is ASSUMED once.
 * Newer kernels (6.17) change the protection of a large page's small parts
 * together, and then give each of them the dirty bit of any: such a part is
 * ASSUMED.  Its accessed bit, which spreads likewise, is told as it is found.
 * A pinned page (io_uring's registered buffers, RDMA) is ASSUMED at every
 * collect while it is pinned, and once after.  A pin that came and went
 * between two collects is not seen: state has PML_STATE_PINS as soon as the
 * process has ever had one.
 *
 * In the modes of the device a page that appears is not seen by itself, as page
 * tables are not looked at: what a process writes into it is in the log, and what
 * it had before is told where COLLECT_ALL is set (use it for a range that was not
 * mapped at the last collect) and where a userfaultfd brings pages.
 * What was in the log goes to the target's memory of what is pending at the first
 * step of a collect, for all addresses, and all of them are re-armed in that step:
 * that is when the epoch ends.  A collect made of several calls (one a range) sets
 * PML_COLLECT_MORE from its second call on: the log is not looked at again.
 * If entries were lost (the device says so, or lost its state in a reset) the
 * target is all dirty, as above.  -ENODEV: the device has been taken away, or has
 * stopped to answer; it is so for good: take all as dirty, and remove the target.
 *
 * granule is the size within which it is known: the page size, or that of a
 * huge page, whose only bit is for all of it.
 *
 * What is pending for a session's targets and has not been collected is kept
 * within max_memory, and what all sessions of one user keep within the module's
 * parameter max_user_memory: beyond that open(2) and ADD are -ENOMEM.  If
 * either is reached, or memory is short, the target is all dirty
 * (ASSUMED, OVERFLOW, all that is mapped) at its next collect and state has
 * PML_STATE_LOST: sticky, for each address, until a collect has told it.
 *
 * The memory of a target ends with its process's last thread, or with exec:
 * COLLECT is then -ESRCH for good, poll(2) says EPOLLPRI, and PML_IOC_LIST
 * tells which; the target keeps its number until it is removed.
 *
 *
 * 6. Permissions
 *
 * Opening /dev/pml is by its file mode.  Which process may be added:
 *
 *   PML_TARGET_SELF     the caller itself: always.
 *   PML_TARGET_PROOF    an open descriptor of /proc/PID/pagemap: procfs has
 *                       then done the checks (ptrace, LSM, user namespaces)
 *                       for whoever opened it; the descriptor may have been
 *                       passed on.
 *   PML_TARGET_PID      a pid, as the caller's pid namespace numbers it: the
 *                       caller's own process, or the caller has
 *                       CAP_SYS_PTRACE in the user namespace of its memory.
 *   PML_TARGET_CGROUP   an open directory of cgroup v2: every process of it
 *                       and below for which PML_TARGET_PID would be allowed.
 *
 * Otherwise -EPERM.  No record, statistic or message carries a frame number
 * or a physical address, and no call writes to a target's memory.
 *
 *
 * 7. Rings
 *
 * None without a features bit of their own, which this version has not: mmap(2)
 * is -ENODEV.  A ring will be mapped read-only, with the page that its reader
 * writes apart from it, and hold the records that COLLECT writes to vec.  poll(2)
 * reports EPOLLPRI when the memory of a target has ended; EPOLLIN is reserved for
 * rings.
 *
 *
 * 8. What was swapped
 *
 * Of the targets that were added in the mode SWAPS, PML_IOC_SWAPS gives events, in the
 * order in which they happened: the page at that address
 *   PML_SWAP_OUT  was taken out of the process's page tables, and is or will be on swap;
 *   PML_SWAP_IN   is asked for again, by a page fault that finds it out.
 * What was out before it was added has no event.  A page that is asked for by several
 * threads, or in vain (the fault is repeated), has several.  Not seen: pages that come back
 * because another process asks for them (ptrace, process_vm_readv), and neighbours that the
 * kernel maps along with one that was asked for: those have a second PML_SWAP_OUT when they
 * go again.  Of shared memory, what this process had mapped.
 *
 * 65,536 events are kept, in a MiB of the session's memory.  What does not fit is dropped
 * until those have been read; then the state has PML_STATE_LOST, once: what is behind the
 * events of that call is incomplete.  COLLECT on such a target is -EINVAL; of the end of its
 * memory poll(2) and PML_IOC_LIST tell.
 */
#ifndef PML_UAPI_H
#define PML_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define PML_UAPI_VERSION	1u
#define PML_UAPI_DEVICE		"/dev/pml"

/* Modes: a mask in INFO, one of them in ADD. */
#define PML_MODE_PTSCAN		1u
#define PML_MODE_SPML		2u
#define PML_MODE_EPML		4u
#define PML_MODE_SWAPS		8u

/* Events, a mask. */
#define PML_EV_DIRTY		1u
#define PML_EV_REFERENCED	2u
#define PML_EV_SWAPPED		4u	/* of PML_MODE_SWAPS */

/* Features, in INFO. */
#define PML_FEATURE_PROOF	1ull	/* PML_TARGET_PROOF */
#define PML_FEATURE_CGROUP	2ull	/* PML_TARGET_CGROUP */
#define PML_FEATURE_SPLIT	4ull	/* PML_ADD_SPLIT */
#define PML_FEATURE_PINS	8ull	/* pinned pages stay dirty */
#define PML_FEATURE_TEST_BUILD	(1ull << 63)	/* can be broken on purpose: for tests */

/* The PML device, in INFO. */
#define PML_DEVICE_NONE		0u	/* there is none, or it was refused: see device_words */
#define PML_DEVICE_READY	1u
#define PML_DEVICE_BROKEN	2u	/* it has stopped to answer */

/* struct pml_uapi_info - PML_IOC_INFO; all but size is written */
struct pml_uapi_info {
	__u32 size;
	__u32 version;		/* newest version of this contract spoken */
	__u32 version_min;	/* oldest */
	__u32 page_size;
	__u64 features;		/* PML_FEATURE_* */
	__u32 modes;		/* PML_MODE_* that work here */
	__u32 events;		/* PML_EV_* */
	__u32 max_targets;	/* in one session */
	__u32 max_vec;		/* records that one COLLECT takes at most */
	__u64 max_memory;	/* bytes that one session keeps at most */
	__u64 huge_size;	/* bytes of a huge page */
	__u8 module_version[32]; /* text, ends with 0 */
	__u32 device;		/* PML_DEVICE_* */
	__u32 device_version;	/* of its contract; this and what follows: 0 without it */
	__u32 device_features;	/* PML_DEV_F_*, in use */
	__u32 device_vcpus;
	__u32 device_log;	/* entries of a processor's log */
	__u32 device_ring;	/* words of a processor's ring */
	__u8 device_words[160];	/* text: what there is, or why it is not used */
};

#define PML_INFO_SIZE0 88u

/* Kinds of target. */
#define PML_TARGET_SELF		0u	/* the calling process; id is 0 */
#define PML_TARGET_PID		1u	/* id is a pid */
#define PML_TARGET_PROOF	2u	/* id is a descriptor of /proc/PID/pagemap */
#define PML_TARGET_CGROUP	3u	/* id is a descriptor of a cgroup v2 directory */

/* Flags of ADD. */
#define PML_ADD_SPLIT		1u	/* PTSCAN: split huge pages, for 4 KiB; they stay split */
#define PML_ADD_TRIGGER_EPT	2u	/* EPML, SPML: by the device's trigger EPT, which misses */

/*
 * struct pml_uapi_add - PML_IOC_ADD
 *
 * Adds one target, or, with PML_TARGET_CGROUP, every process of the cgroup
 * that the session does not have yet: call again to find those that joined.
 * When it returns the first epoch of what was added has begun.  Takes time in
 * proportion to the page tables.
 *
 * 0; -EINVAL; -EBADF the descriptor is not of this kind; -ESRCH no such
 * process, or it has no memory (a kernel thread, a zombie); -EPERM; -EEXIST
 * the session has this memory already (target is set to it); -EMFILE
 * max_targets; -EOPNOTSUPP the mode, or an event in it, is not available here, or
 * the process has memory that a device reads by the process's own addresses
 * (PASID); -EBUSY it is tracked by another mode or trigger of the device; -ENOSPC
 * the device has no context left; -ENODEV it does not answer; -ENOMEM; -EINTR.
 */
struct pml_uapi_add {
	__u32 size;
	__u32 kind;		/* PML_TARGET_* */
	__s64 id;
	__u32 mode;		/* one of PML_MODE_* */
	__u32 events;		/* PML_EV_*, at least one */
	__u32 flags;		/* PML_ADD_* */
	__u32 target;		/* out: its number in this session, from 1; CGROUP: 0 */
	__u32 added;		/* out: how many targets were added */
	__u32 refused;		/* out: CGROUP: processes that could not be added */
};

#define PML_ADD_SIZE0 40u

/*
 * struct pml_uapi_remove - PML_IOC_REMOVE
 *
 * 0; -ENOENT no such target.
 */
struct pml_uapi_remove {
	__u32 size;
	__u32 target;
};

#define PML_REMOVE_SIZE0 8u

/* How a record is known. */
#define PML_KNOWN_OBSERVED	0u
#define PML_KNOWN_ASSUMED	1u
#define PML_KNOWN_UNCOVERED	2u

/* Reasons. */
#define PML_WHY_NONE		0u	/* with OBSERVED */
/* with ASSUMED */
#define PML_WHY_APPEARED	1u	/* in the page tables, and was not before */
#define PML_WHY_INVALIDATED	2u	/* unmapped, dropped, moved, cleaned, swapped out */
#define PML_WHY_PINNED		3u	/* a device may write it */
#define PML_WHY_SPLIT		4u	/* was huge at the last collect */
#define PML_WHY_OVERFLOW	5u	/* what was pending did not fit */
#define PML_WHY_SPREAD		6u	/* dirty, but perhaps by a neighbour: see section 5 */
/* with UNCOVERED */
#define PML_WHY_HUGETLB		33u
#define PML_WHY_DEVICE		34u	/* frames of a device: VM_PFNMAP, VM_IO, VM_MIXEDMAP */
#define PML_WHY_SHADOW_STACK	35u

/* struct pml_uapi_range - one record of COLLECT, [start, end) in bytes */
struct pml_uapi_range {
	__u64 start;
	__u64 end;
	__u64 granule;		/* known within so many bytes; UNCOVERED: 0 */
	__u32 target;
	__u16 events;		/* PML_EV_* */
	__u8 known;		/* PML_KNOWN_* */
	__u8 reason;		/* PML_WHY_* */
};

/* Flags of COLLECT. */
#define PML_COLLECT_FORGET	1u	/* re-arm, report nothing: an epoch begins */
#define PML_COLLECT_UNCOVERED	2u	/* also say what is not covered */
#define PML_COLLECT_ALL		4u	/* also tell what else has content (APPEARED): when a
					 * range is looked at for the first time
					 */
#define PML_COLLECT_MORE	8u	/* goes on with a collect of several calls */

/* What COLLECT says of the target. */
#define PML_STATE_LOST		1u	/* OVERFLOW is among the records */
#define PML_STATE_PINS		2u	/* pages of it have been pinned at some time */

/*
 * struct pml_uapi_collect - PML_IOC_COLLECT
 *
 * 0; -ENOENT no such target; -ESRCH its memory has ended; -EINVAL the range is
 * not in whole pages or empty, vec_len is 0 (without FORGET) or above max_vec,
 * events that the target does not have; -EOPNOTSUPP the process has got a
 * PASID; -ENODEV the PML device is gone; -EFAULT; -ENOMEM; -EINTR.
 */
struct pml_uapi_collect {
	__u32 size;
	__u32 target;
	__u32 flags;		/* PML_COLLECT_* */
	__u32 events;		/* PML_EV_*: only these are told and re-armed; 0: all */
	__u64 start;
	__u64 end;		/* beyond the user's address space is taken as its end */
	__u64 max_pages;	/* at most so many pages, UNCOVERED not counted; 0: all */
	__u64 vec;		/* pointer to struct pml_uapi_range */
	__u32 vec_len;		/* how many fit */
	__u32 n;		/* out: how many were written */
	__u64 walk_end;		/* out: where it stopped; end, if all was walked */
	__u64 pages;		/* out: pages reported */
	__u32 state;		/* out: PML_STATE_* */
	__u32 reserved;
};

#define PML_COLLECT_SIZE0 80u

#define PML_SWAP_OUT		0u
#define PML_SWAP_IN		1u

/* struct pml_uapi_swap - one event */
struct pml_uapi_swap {
	__u64 address;		/* where the page begins */
	__u32 target;
	__u32 what;		/* PML_SWAP_* */
};

/*
 * struct pml_uapi_swaps - PML_IOC_SWAPS: takes what has happened since the call before,
 * to all targets of the session
 *
 * Fewer than vec_len: there were no more.
 *
 * 0; -ENOENT no target was ever added in the mode SWAPS; -EINVAL vec_len is 0 or above
 * max_vec; -EFAULT, and they are lost, which is told; -EINTR.
 */
struct pml_uapi_swaps {
	__u32 size;
	__u32 flags;		/* 0 */
	__u64 vec;		/* pointer to struct pml_uapi_swap */
	__u32 vec_len;		/* how many fit */
	__u32 n;		/* out: how many were written */
	__u32 state;		/* out: PML_STATE_LOST, or 0 */
	__u32 reserved;
};

#define PML_SWAPS_SIZE0 32u

/* Flags of a listed target. */
#define PML_LISTED_ENDED	1u	/* its memory has ended */

/* struct pml_uapi_listed - one target in LIST */
struct pml_uapi_listed {
	__u32 target;
	__u32 pid;		/* as seen by who added it; 0: not seen, or by PROOF */
	__u32 mode;
	__u32 events;
	__u32 flags;		/* PML_LISTED_* */
	__u32 reserved;
};

/* struct pml_uapi_list - PML_IOC_LIST; 0, -EFAULT, -EINVAL */
struct pml_uapi_list {
	__u32 size;
	__u32 vec_len;		/* how many fit; may be 0 */
	__u64 vec;		/* pointer to struct pml_uapi_listed */
	__u32 n;		/* out: how many were written, by rising number */
	__u32 total;		/* out: how many there are */
};

#define PML_LIST_SIZE0 24u

/*
 * struct pml_uapi_stats - PML_IOC_STATS: counters since the session was
 * opened, over its targets
 */
struct pml_uapi_stats {
	__u32 size;
	__u32 targets;		/* now */
	__u64 memory;		/* bytes kept now for what is pending */
	__u64 collects;
	__u64 tables;		/* page tables and huge entries looked at */
	__u64 dirty_bits;	/* dirty bits cleared */
	__u64 accessed_bits;	/* accessed bits cleared */
	__u64 flushes;		/* TLB flushes: at most one a table */
	__u64 ipis;		/* processors interrupted for them */
	__u64 invalidations;	/* MMU notifier events of its targets' memory */
	__u64 overflows;	/* times that a target became all dirty */
	__u64 splits;		/* huge pages split on request */
	/* of the modes of the PML device */
	__u64 log_drains;	/* commands that drained the logs and re-armed */
	__u64 log_rearmed;	/* page states that they cleared */
	__u64 log_entries;	/* pages that were taken from the log */
	/* of the device, for all sessions, since it was bound */
	__u64 device_commands;
	__u64 device_interrupts;
	__u64 device_switches;	/* times that a processor was told which memory runs */
	__u64 device_foreign;	/* entries of no memory that is tracked */
	__u64 device_resets;	/* times that it had lost its state, or told nonsense */
	/* of SPML */
	__u64 log_frames;	/* frames that were logged */
	__u64 log_mapped;	/* pages that they were found to be */
	__u64 log_joins;	/* times that all page tables were gone through for it */
	__u64 log_lookups;	/* times that each frame was looked up instead */
	__u64 log_map_ns;	/* nanoseconds spent on either */
};

#define PML_STATS_SIZE0 88u

#define PML_IOC_MAGIC	0xB8
#define PML_IOC_INFO	_IOWR(PML_IOC_MAGIC, 0x00, struct pml_uapi_info)
#define PML_IOC_ADD	_IOWR(PML_IOC_MAGIC, 0x01, struct pml_uapi_add)
#define PML_IOC_REMOVE	_IOWR(PML_IOC_MAGIC, 0x02, struct pml_uapi_remove)
#define PML_IOC_LIST	_IOWR(PML_IOC_MAGIC, 0x03, struct pml_uapi_list)
#define PML_IOC_COLLECT	_IOWR(PML_IOC_MAGIC, 0x04, struct pml_uapi_collect)
#define PML_IOC_STATS	_IOWR(PML_IOC_MAGIC, 0x05, struct pml_uapi_stats)
#define PML_IOC_SWAPS	_IOWR(PML_IOC_MAGIC, 0x06, struct pml_uapi_swaps)

#endif /* PML_UAPI_H */
