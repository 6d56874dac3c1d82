# SPDX-License-Identifier: MIT
"""What `pml dirty` tells about a program whose writes are known."""
import json
import subprocess
import sys
import tempfile

from harness import (PML, Tracker, Writer, check, main, need_tracking, pages_of, run,
                     wait_until)

EPOCH_KEYS = {
    "type": str, "epoch": int, "t": float, "interval": float, "backend": str, "pages": int,
    "bytes": int, "assumed_pages": int, "lost": bool, "uncovered": list, "cost": dict,
}
RANGE_KEYS = {"pid": int, "start": str, "end": str, "granule": int, "known": str}


def check_keys(value, keys):
    for key, kind in keys.items():
        check(key in value, key, "is missing in", value)
        check(isinstance(value[key], kind) or (kind is float and isinstance(value[key], int)),
              key, "is", value[key])


def test_epoch_keys():
    """An epoch line has every key of the contract, with its type."""
    need_tracking()
    with Writer() as writer, Tracker("-p", writer.pid, "-i", 0.05) as tracker:
        for number in (1, 2, 3):
            epoch = tracker.epoch()
            check_keys(epoch, EPOCH_KEYS)
            check(epoch["type"] == "epoch" and epoch["epoch"] == number, epoch)
            check(epoch["bytes"] == epoch["pages"] * epoch["page_size"], epoch)
            check(0 <= epoch["cost"]["collect_s"] < epoch["interval"] + 60, epoch)
            check("ranges" not in epoch and "mappings" not in epoch, epoch)


def test_times():
    """Epochs follow one another without a gap on the monotonic clock."""
    need_tracking()
    with Writer() as writer, Tracker("-p", writer.pid, "-i", 0.05) as tracker:
        before = tracker.epoch()
        for _ in range(5):
            epoch = tracker.epoch()
            check(abs(epoch["t"] - epoch["interval"] - before["t"]) < 1e-4, before, epoch)
            before = epoch


def test_range_keys():
    """Ranges have their keys, are sorted, do not overlap, and add up to the pages."""
    need_tracking()
    with Writer() as writer, Tracker("-p", writer.pid, "-i", 0.05, "--ranges") as tracker:
        writer.write(range(0, 64, 3))
        for epoch in tracker.epochs_until_now():
            end = total = 0
            for r in epoch["ranges"]:
                check_keys(r, RANGE_KEYS)
                check(r["known"] in ("observed", "assumed"), r)
                check(r["pid"] == writer.pid, r)
                check(int(r["start"], 16) >= end, epoch["ranges"])
                check(r["start"].startswith("0x") and r["end"].startswith("0x"), r)
                end = int(r["end"], 16)
                total += end - int(r["start"], 16)
            check(total == epoch["bytes"], total, epoch["bytes"])
            for u in epoch["uncovered"]:
                check({"pid", "start", "end", "reason"} <= set(u), u)


def test_adaptive():
    """With --adaptive what is written all the time is assumed, and nothing is missed;
    with verify only what changed is reported."""
    need_tracking()
    for option in ("--adaptive", "--adaptive=verify"):
        with Writer(256) as writer, Tracker("-p", writer.pid, "-i", 0.03, "--ranges",
                                            option) as tracker:
            tracker.epoch()
            assumed = rounds = 0
            # It must be dirty in epochs running: written faster than they come, and on
            # a busy machine it takes more than one try.
            while rounds < 8 or (not assumed and rounds < 200):
                rounds += 1
                for _ in range(30):
                    writer.write(range(256))
                found = set()
                for epoch in tracker.epochs_until_now():
                    found |= pages_of(epoch, writer.start, writer.pages)
                    assumed += len(pages_of(epoch, writer.start, writer.pages, known="assumed"))
                check(found == set(range(256)), "missed", set(range(256)) - found)
            check(assumed, "no page was assumed with", option)
            if option.endswith("verify"):
                wait_until(lambda: not pages_of(tracker.epoch(), writer.start, writer.pages),
                           "an epoch in which what is unchanged is not reported")
            tracker.interrupt()


def test_by_mapping():
    """--by-mapping counts the pages in the mapping that they lie in."""
    need_tracking()
    with Writer() as writer, Tracker("-p", writer.pid, "-i", 0.05, "--by-mapping") as tracker:
        tracker.epoch()
        writer.write(range(10))
        counted = 0
        for epoch in tracker.epochs_until_now():
            check(sum(m["pages"] for m in epoch["mappings"]) == epoch["pages"], epoch)
            for m in epoch["mappings"]:
                check({"pid", "start", "end", "perms", "name", "bytes"} <= set(m), m)
                if int(m["start"], 16) <= writer.start < int(m["end"], 16):
                    counted += m["pages"]
        # A collect between a write's page fault and the write itself: that page twice.
        check(counted in (10, 11), counted)


def test_text():
    """The text output has a line an epoch and ends with a summary."""
    need_tracking()
    with Writer() as writer:
        result = run("dirty", "-p", writer.pid, "-i", 0.05, "-n", 3, "--ranges", "--by-mapping")
    check(result.returncode == 0, result.stderr)
    lines = result.stdout.splitlines()
    check(lines[0].split()[:3] == ["EPOCH", "TIME", "INTERVAL"], lines[0])
    numbers = [line.split()[0] for line in lines[1:] if line[:8].strip().isdigit()]
    check(numbers == ["1", "2", "3"], result.stdout)
    check("epochs: 3 in" in result.stdout, result.stdout)


def test_json_only():
    """With --json standard output holds epoch lines alone; --summary adds one line."""
    need_tracking()
    with Writer() as writer:
        plain = run("dirty", "-p", writer.pid, "-i", 0.05, "-n", 2, "--json")
        more = run("dirty", "-p", writer.pid, "-i", 0.05, "-n", 2, "--json", "--summary")
    check(len(plain.stdout.splitlines()) == 2, plain.stdout)
    check("epochs: 2 in" in plain.stderr, plain.stderr)
    check(len(more.stdout.splitlines()) == 3, more.stdout)
    check('"type":"summary"' in more.stdout.splitlines()[-1], more.stdout)


def test_output_file():
    """-o keeps the results apart from what the command prints."""
    need_tracking()
    with tempfile.NamedTemporaryFile() as file:
        # Until there is an epoch, but not for ever.
        script = (f"echo words; i=0; while [ ! -s {file.name} ] && [ $i -lt 400 ]; "
                  "do i=$((i + 1)); sleep 0.05; done")
        result = run("dirty", "-i", 0.05, "--json", "-o", file.name, "--", "sh", "-c", script)
        check(result.returncode == 0, result.stderr)
        check(result.stdout == "words\n", result.stdout)
        lines = file.read().decode().splitlines()
    check(lines, "no epochs")
    for line in lines:
        check_keys(json.loads(line), EPOCH_KEYS)


def test_first_writes():
    """A command is tracked from its first instruction: all that it ever writes is
    in its epochs."""
    need_tracking()
    size = 64 << 20
    with Tracker("-i", 0.3, "--ranges", "--", sys.executable, "-c",
                 f"import time; b = bytearray({size}); time.sleep(1000)") as tracker:
        # On a busy machine it may get to its writes only after some epochs.
        written = 0
        for _ in range(200):
            written += tracker.epoch()["bytes"]
            if written >= size:
                break
        else:
            raise AssertionError(f"of {size} bytes only {written} were seen")
        tracker.interrupt(15)


def test_children():
    """The descendants of a command are followed."""
    need_tracking()
    # The child ends when its parent, which gets the signal, is no more.
    child = ("import os, sys, time\n"
             "b = bytearray(4 << 20)\n"
             "while os.getppid() == int(sys.argv[1]):\n"
             "  b[::4096] = bytes(len(b[::4096])); time.sleep(0.01)")
    with Tracker("-i", 0.05, "--ranges", "--", "sh", "-c",
                 f"{sys.executable} -c '{child}' $$; true") as tracker:
        for _ in range(500):
            epoch = tracker.epoch()
            # The child's buffer: no other memory is written so, again and again.
            if any(r["known"] == "observed" and
                   int(r["end"], 16) - int(r["start"], 16) >= 3 << 20 for r in epoch["ranges"]):
                break
        else:
            raise AssertionError("the child's writes were not seen")
        check(epoch["processes"] >= 2, epoch["processes"], "processes")
        tracker.interrupt(15)


def test_short_lived():
    """Descendants that begin and end while they are looked for do not end the tracking."""
    need_tracking()
    result = run("dirty", "-i", 0.003, "--json", "--summary", "--", "sh", "-c",
                 "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i + 1)); done")
    check(result.returncode == 0, result.stderr)
    summary = json.loads(result.stdout.splitlines()[-1])
    check(summary["end"] == "command" and summary["command"]["status"] == 0, summary)


def test_broken_pipe():
    """When its reader goes away, pml ends with status 1 and says so."""
    need_tracking()
    with Writer() as writer, Tracker("-p", writer.pid, "-i", 0.02) as tracker:
        tracker.epoch()
        tracker.popen.stdout.close()
        tracker.popen.stdout = None
        status, err = tracker.end()
        check(status == 1 and "Broken pipe" in err, status, err)
        writer.write([1])


def test_full_disk():
    """When the results cannot be written, pml ends with status 1 and says so."""
    need_tracking()
    with Writer() as writer, open("/dev/full", "w", encoding="ascii") as full:
        result = subprocess.run([PML, "dirty", "-p", str(writer.pid), "-i", "0.02", "-n", "5"],
                                stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                                timeout=60)
        check(result.returncode == 1 and "No space" in result.stderr, result)


main(sys.modules[__name__])
