# SPDX-License-Identifier: MIT
"""`pml wss`: its keys, and numbers that can be known."""
import json
import os
import shutil
import sys
import tempfile

from harness import (PAGE, Skip, Tracker, Writer, check, check_message, main,
                     need_tracking, run, wait_until)

KEYS = ("type", "t", "interval", "estimator", "backend", "pid", "wss_bytes", "rss_bytes",
        "dirty_bytes", "read_bytes", "lost", "uncovered", "cost", "nodes")


def test_keys():
    """Every line has the keys of the contract."""
    need_tracking()
    with Writer() as writer, Tracker("-p", writer.pid, "-i", 0.05, command="wss") as tracker:
        for _ in range(2):
            line = tracker.epoch()
            for key in KEYS:
                check(key in line, key, "is missing in", line)
            check(line["type"] == "wss" and line["pid"] == writer.pid, line)
            check(line["estimator"] in ("written", "referenced"), line)
            check(isinstance(line["nodes"], dict), line)


def test_written():
    """The estimator "written" counts what was written and does not claim to know reads."""
    need_tracking()
    with Writer(512) as writer, Tracker("-p", writer.pid, "-i", 0.05, "--estimator", "written",
                                        command="wss") as tracker:
        tracker.epoch()
        writer.write(range(300))
        total = 0
        for line in tracker.epochs_until_now():
            check(line["estimator"] == "written" and line["read_bytes"] is None, line)
            check(line["wss_bytes"] == line["dirty_bytes"], line)
            total += line["wss_bytes"]
        check(total >= 300 * PAGE, total)


def test_resident():
    """The resident size is at least that of the memory known to be resident."""
    need_tracking()
    with Writer(4096) as writer, Tracker("-p", writer.pid, "-i", 0.05, command="wss") as tracker:
        check(tracker.epoch()["rss_bytes"] >= 4096 * PAGE)


PML_KEYS = ("window", "change", "seen_bytes", "last_bytes", "assumed_bytes", "settled",
            "settled_bytes", "plateau", "plateau_bytes", "period", "forecast_bytes",
            "forecast_peak_bytes", "limit_bytes", "full")


def check_line(line, estimator):
    for key in KEYS:
        check(key in line, key, "is missing in", line)
    check(line["estimator"] == estimator, line)


def test_pml():
    """The estimator "pml" sees what is written and keeps the promises of its keys."""
    need_tracking()
    with Writer(512) as writer, Tracker("-p", writer.pid, "-i", 0.05, "--estimator", "pml",
                                        "--window", 64, command="wss") as tracker:
        tracker.epoch()
        writer.write(range(300))
        total = 0
        for line in tracker.epochs_until_now():
            check_line(line, "pml")
            for key in PML_KEYS:
                check(key in line, key, "is missing in", line)
            check(line["last_bytes"] <= line["seen_bytes"], line)
            check(line["wss_bytes"] <= line["limit_bytes"], line)
            check(1 <= line["window"] <= 64, line)
            total += line["last_bytes"]
        check(total >= 300 * PAGE, total)


def test_range():
    """With --range what is written elsewhere does not count, and what is written there does."""
    need_tracking()
    with Writer(512) as writer:
        bounds = f"{writer.start + 100 * PAGE:x}-{writer.start + 200 * PAGE:#x}"
        with Tracker("-p", writer.pid, "-i", 0.05, "--range", bounds, "--estimator", "written",
                     command="wss") as tracker:
            tracker.epoch()
            writer.write(range(512))
            total = 0
            for line in tracker.epochs_until_now():
                check(line["wss_bytes"] <= 100 * PAGE, line)
                total += line["wss_bytes"]
            check(total >= 100 * PAGE, total)


def test_threshold():
    """What is touched once is not in a working set of what is touched twice."""
    need_tracking()
    with Writer(512) as writer, Tracker("-p", writer.pid, "-i", 0.05, "--estimator", "pml",
                                        "--threshold", 2, "--window", 2,
                                        command="wss") as tracker:
        tracker.epoch()
        for _ in range(4):
            line = tracker.epoch()
            check(line["wss_bytes"] <= line["seen_bytes"], line)
            if line["window"] == 2:
                check(line["wss_bytes"] + line["last_bytes"] <= 2 * line["seen_bytes"], line)


def test_sampling():
    """The estimator "sampling" gives a share of the memory that there is to draw from."""
    need_tracking()
    with Writer(4096) as writer:
        result = run("wss", "-p", writer.pid, "-i", 0.05, "-n", 3, "--estimator", "sampling",
                     "--samples", 200, "--json")
        check(result.returncode == 0, result.stderr)
        for line in map(json.loads, result.stdout.splitlines()):
            check_line(line, "sampling")
            check(line["dirty_bytes"] is None and line["read_bytes"] is None, line)


def test_sampling_in_range():
    """With --range the pages are drawn from there: if all of it was written, it is all of it."""
    need_tracking()
    with Writer(4096) as writer:
        bounds = f"{writer.start + 100 * PAGE:x}-{writer.start + 200 * PAGE:x}"
        with Tracker("-p", writer.pid, "-i", 0.05, "--range", bounds, "--estimator", "sampling",
                     command="wss") as tracker:
            def seen():
                writer.write(range(4096))
                line = tracker.epoch()
                check(line["wss_bytes"] <= 100 * PAGE, line)
                return line["wss_bytes"] == 100 * PAGE

            wait_until(seen, "all of a range that is written again and again")


def test_smaps():
    """Without a back-end for pages, "referenced" is what smaps sums up, and it is seen."""
    backends = json.loads(run("info", "--json").stdout)["backends"]
    reasons = [b["reason"] for b in backends if b["name"] == "referenced" and not b["available"]]
    if reasons:
        raise Skip(reasons[0])
    with Writer(2048) as writer, Tracker("-p", writer.pid, "-i", 0.05, "--estimator",
                                         "referenced", "--backend", "referenced",
                                         command="wss") as tracker:
        def seen():
            writer.write(range(2048))
            line = tracker.epoch()
            check_line(line, "referenced")
            check(line["backend"] == "referenced" and line["dirty_bytes"] is None, line)
            return line["wss_bytes"] >= 2048 * PAGE

        wait_until(seen, "all that is written again and again")
        # The writer waits for its next command, and touches nothing.
        wait_until(lambda: tracker.epoch()["wss_bytes"] == 0, "a process that does nothing")
        status, err = tracker.interrupt()
        check(status == 0, status, err)


def test_committed():
    """Committed memory is the system's, of no process, and no less than what is promised."""
    result = run("wss", "--system", "--estimator", "committed", "-i", 0.02, "-n", 2, "--json")
    check(result.returncode == 0, result.stderr)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    check(len(lines) == 2, result.stdout)
    for line in lines:
        check_line(line, "committed")
        check(line["pid"] is None and line["wss_bytes"] > 0, line)


def check_no_pressure(line):
    check_line(line, "geiger")
    for key in ("wss_bytes", "more_bytes", "dirty_bytes", "read_bytes"):
        check(line[key] is None, line)
    check(line["came_pages"] == 0 and not line["at_least"], line)


def test_geiger():
    """Of a process that never swaps geiger says that it knows nothing, and no number."""
    with Writer(2048) as writer, Tracker("-p", writer.pid, "-i", 0.05, "--estimator", "geiger",
                                         command="wss") as tracker:
        for _ in range(3):
            writer.write(range(2048))
            line = tracker.epoch()
            check_no_pressure(line)
            check(line["pid"] == writer.pid and line["rss_bytes"] >= 2048 * PAGE, line)
        status, err = tracker.interrupt()
        check(status == 0, status, err)
    result = run("wss", "-i", 0.02, "--estimator", "geiger", "--json", "--", "sleep", 0.2)
    check(result.returncode == 0, result.stderr)
    for line in map(json.loads, result.stdout.splitlines()):
        check_no_pressure(line)
    with Writer(16) as writer, Tracker("-p", writer.pid, "-i", 0.05, "--estimator", "geiger",
                                       command="wss") as tracker:
        tracker.epoch()
        writer.popen.kill()
        writer.popen.wait()
        status, err = tracker.end()
        check(status == 1, status)
        check_message(err, "exited")


# The first thread ends, and with it what is known of the process; another goes on.
LINGERS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(0.5,)).start()
ctypes.CDLL(None).syscall(60, 0)
"""


def test_ending():
    """A command that is about to end, whose memory has gone already, is no failure"""
    result = run("wss", "-i", 0.05, "--estimator", "geiger", "--json", "--",
                 sys.executable, "-c", LINGERS)
    check(result.returncode == 0, result.returncode, result.stderr)
    check("exit status 0" in result.stderr, result.stderr)


def test_mpa_odd_counts():
    """The kernel's counts are not of one moment: a little more shared memory than file pages
    is no more than the memory that there is."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("memory.current", "8388608\n"), ("cgroup.procs", ""),
                           ("memory.stat", "anon 0\nfile 4194304\nkernel 0\nshmem 4198400\n"
                                           "inactive_file 0\nswapcached 0\n")):
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write(text)
        result = run("wss", "--cgroup", folder, "--estimator", "mpa", "-i", 0.02, "-n", 1,
                     "--memory", 1024, "--json")
        check(result.returncode == 0, result.stderr)
        line = json.loads(result.stdout)
        check(line["wss_bytes"] == 4198400 and line["pressure"] == "below", line)


def make_cgroups(*names):
    """Cgroups of v2 that are there for this test alone."""
    with open("/proc/self/mounts", encoding="ascii") as mounts:
        roots = [m.split()[1] for m in mounts if m.split()[2] == "cgroup2"]
    if not roots:
        raise Skip("no cgroup v2 is mounted")
    paths = [os.path.join(roots[0], f"pml-test-{os.getpid()}-{name}") for name in names]
    try:
        for path in paths:
            os.mkdir(path)
    except OSError as error:
        raise Skip(f"no cgroup can be made: {error}") from error
    return paths


def join(pid, path):
    with open(os.path.join(path, "cgroup.procs"), "w", encoding="ascii") as procs:
        procs.write(str(pid))


def remove(path):
    def gone():
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True

    wait_until(gone, path)


def test_cgroups():
    """Several cgroups are told apart; one that is removed ends alone, and is reported."""
    need_tracking()
    one, two = make_cgroups("one", "two")
    try:
        with Writer(400) as first, Writer(400) as second:
            join(first.pid, one)
            join(second.pid, two)
            with Tracker("--cgroup", one, "--cgroup", two, "-i", 0.05, "--estimator", "pml",
                         command="wss") as tracker:
                lines = [tracker.epoch() for _ in range(2)]
                check({line["cgroup"] for line in lines} == {one, two}, lines)
                first.write(range(400))
                total = {one: 0, two: 0}
                for line in tracker.epochs_until_now():
                    check_line(line, "pml")
                    check(line["pid"] is None and line["processes"] == 1, line)
                    total[line["cgroup"]] += line["last_bytes"]
                line = tracker.epoch()
                total[line["cgroup"]] += line["last_bytes"]
                check(total[one] >= 400 * PAGE and total[two] < 400 * PAGE, total)
                # Emptied: nothing is used there.  Removed: the other goes on.
                first.popen.kill()
                first.popen.wait()
                wait_until(lambda: (line := tracker.epoch())["cgroup"] == one and
                           line["processes"] == 0 and line["last_bytes"] == 0, "an empty cgroup")
                remove(one)
                wait_until(lambda: all(tracker.epoch()["cgroup"] == two for _ in range(3)),
                           "the other alone")
                status, err = tracker.interrupt()
                check(status == 1, status)
                check_message(err, "removed")
    finally:
        remove(one)
        remove(two)


def test_plot():
    """--plot leaves a picture."""
    need_tracking()
    if not shutil.which("gnuplot"):
        raise Skip("gnuplot is not installed")
    with Writer() as writer, tempfile.TemporaryDirectory() as folder:
        for end, magic in (("svg", b"<?xml"), ("png", b"\x89PNG")):
            path = os.path.join(folder, f"it's {end}.{end}")
            result = run("wss", "-p", writer.pid, "-i", 0.03, "-n", 4, "--plot", path)
            check(result.returncode == 0, result.stderr)
            with open(path, "rb") as file:
                check(file.read().startswith(magic), path)


main(sys.modules[__name__])
