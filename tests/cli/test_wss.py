# SPDX-License-Identifier: MIT
"""`pml wss`: its keys, and numbers that can be known."""
import os
import shutil
import sys
import tempfile

from harness import PAGE, Skip, Tracker, Writer, check, main, need_tracking, run

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
