# SPDX-License-Identifier: MIT
"""Known random sets of pages against what `pml dirty --ranges --json` reports.

ROUNDS in the environment says how many sets there are for each kind of memory
(the long tier has 1,000).
"""
import os
import random
import sys

from harness import PAGE, Tracker, Writer, check, main, need_tracking

ROUNDS = int(os.environ.get("ROUNDS", "8"))
PAGES = 1024


def reported(epoch, start):
    """The pages of the region, and the granules that are not single pages."""
    pages, granules = set(), []
    for r in epoch["ranges"]:
        low = max(int(r["start"], 16), start)
        high = min(int(r["end"], 16), start + PAGES * PAGE)
        if low >= high:
            continue
        pages.update(range((low - start) // PAGE, (high - start) // PAGE))
        if r["granule"] > PAGE:
            granules += [((at - start) // PAGE, (at + r["granule"] - start) // PAGE)
                         for at in range(low - low % r["granule"], high, r["granule"])]
    return pages, granules


def check_round(tracker, writer, chosen, threads):
    written = set(chosen.sample(range(PAGES), chosen.choice((1, 10, 100, PAGES))))
    writer.write(written)
    found, granules = set(), []
    for epoch in tracker.epochs_until_now():
        check(not epoch["lost"], "track was lost", epoch["epoch"])
        pages, coarse = reported(epoch, writer.start)
        # A collect can come between a write's page fault and the write itself, which
        # then faults again: that is one page for each thread, and no more.
        again = pages & found
        check(len(again) <= threads or coarse, "reported twice:", sorted(again)[:5])
        found |= pages
        granules += coarse
    check(written <= found, "missed:", sorted(written - found)[:5], "of", len(written))
    # Exact within the granule: beside the written pages only their granules.
    allowed = set(written)
    for low, high in granules:
        if written & set(range(low, high)):
            allowed |= set(range(low, high))
    check(found <= allowed, "not written:", sorted(found - allowed)[:5], "of", len(found))


def check_kind(kind, threads):
    need_tracking()
    chosen = random.Random(f"{kind} {threads}")
    with Writer(PAGES, kind, threads) as writer, \
            Tracker("-p", writer.pid, "-i", 0.01, "--ranges") as tracker:
        tracker.epoch()
        for _ in range(ROUNDS):
            check_round(tracker, writer, chosen, threads)
        tracker.interrupt()


def add_tests():
    """One test for each kind of memory, with one thread and with four."""
    for kind, words in (("small", "anonymous memory"), ("thp", "huge pages"),
                        ("memfd", "a memfd"), ("shared", "a shared file"),
                        ("private", "a private file")):
        for threads in (1, 4):
            def test(kind=kind, threads=threads):
                check_kind(kind, threads)
            test.__doc__ = (f"{ROUNDS} random sets of pages in {words}, written by {threads} "
                            "threads, are reported exactly")
            globals()[f"test_{kind}_{threads}"] = test


add_tests()
main(sys.modules[__name__])
