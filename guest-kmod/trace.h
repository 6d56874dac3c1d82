/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Trace events: /sys/kernel/tracing/events/pml.  Defined in main.c.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM pml

#if !defined(PML_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define PML_TRACE_H

#include <linux/tracepoint.h>

/* The kernel takes bits of these pages away; event is MMU_NOTIFY_*. */
TRACE_EVENT(pml_invalidate,
	TP_PROTO(unsigned long start, unsigned long end, int event),
	TP_ARGS(start, end, event),
	TP_STRUCT__entry(
		__field(unsigned long, start)
		__field(unsigned long, end)
		__field(int, event)
	),
	TP_fast_assign(
		__entry->start = start;
		__entry->end = end;
		__entry->event = event;
	),
	TP_printk("start=%#lx end=%#lx event=%d", __entry->start, __entry->end, __entry->event)
);

/* One page table, or one huge page, was harvested. */
TRACE_EVENT(pml_harvest,
	TP_PROTO(unsigned long addr, unsigned int dirty, unsigned int accessed, bool huge),
	TP_ARGS(addr, dirty, accessed, huge),
	TP_STRUCT__entry(
		__field(unsigned long, addr)
		__field(unsigned int, dirty)
		__field(unsigned int, accessed)
		__field(bool, huge)
	),
	TP_fast_assign(
		__entry->addr = addr;
		__entry->dirty = dirty;
		__entry->accessed = accessed;
		__entry->huge = huge;
	),
	TP_printk("addr=%#lx dirty=%u accessed=%u huge=%d", __entry->addr, __entry->dirty,
		  __entry->accessed, __entry->huge)
);

/* One call of PML_IOC_COLLECT. */
TRACE_EVENT(pml_collect,
	TP_PROTO(u32 target, u64 start, u64 walk_end, u64 pages, int err),
	TP_ARGS(target, start, walk_end, pages, err),
	TP_STRUCT__entry(
		__field(u32, target)
		__field(u64, start)
		__field(u64, walk_end)
		__field(u64, pages)
		__field(int, err)
	),
	TP_fast_assign(
		__entry->target = target;
		__entry->start = start;
		__entry->walk_end = walk_end;
		__entry->pages = pages;
		__entry->err = err;
	),
	TP_printk("target=%u start=%#llx walk_end=%#llx pages=%llu err=%d", __entry->target,
		  __entry->start, __entry->walk_end, __entry->pages, __entry->err)
);

/* What was pending did not fit: a target has become all dirty. */
TRACE_EVENT(pml_overflow,
	TP_PROTO(long used, long limit),
	TP_ARGS(used, limit),
	TP_STRUCT__entry(
		__field(long, used)
		__field(long, limit)
	),
	TP_fast_assign(
		__entry->used = used;
		__entry->limit = limit;
	),
	TP_printk("used=%ld limit=%ld", __entry->used, __entry->limit)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
