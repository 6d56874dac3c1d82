# SPDX-License-Identifier: MIT
"""What the published cost model (Out of Hypervisor, SC'22) takes for each event, in
seconds, and what follows for so many pages: how a processor with such a log would do.
Used by the measurements, for their estimates; nothing here was measured on one.

Of a log by guest-physical addresses (SPML) the model's tracked program also pays an exit
to the hypervisor for each full buffer, for which no cost is published by itself: it is
left out, in SPML's favour.
"""
PAGES_A_GB = 262144
ENTRIES = 512                       # in a full buffer
ACCESSES = 0.94e-6 + 0.80e-6        # vmread and vmwrite, for one full buffer
RING = 0.67e-3 / PAGES_A_GB         # copying one entry from the ring
REVERSE = 15.7 / PAGES_A_GB         # SPML: the address of one page, when first seen
CLEAR_REFS = 2.2e-3 / PAGES_A_GB    # soft-dirty: for one mapped page
WALK = 594e-3 / PAGES_A_GB          # soft-dirty: reading the page table in user space, likewise
FAULT = 1.0e-6                      # a write fault of wp-async; ours, measured


def tracked(dirty):
    """What the program itself pays for the log of so many pages."""
    return dirty * ACCESSES / ENTRIES


def epml(dirty):
    """What its tracker pays for them."""
    return dirty * RING


def spml(dirty, new):
    """Likewise; `new` of them are seen for the first time."""
    return dirty * RING + new * REVERSE


def soft_dirty(mapped):
    """What the tracker pays for a round, however little is dirty."""
    return mapped * (CLEAR_REFS + WALK)
