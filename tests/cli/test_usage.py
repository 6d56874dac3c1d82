# SPDX-License-Identifier: MIT
"""What pml refuses, and in which words."""
import os
import sys

from harness import check, check_message, check_usage, main, run

TRACKING = ("dirty", "wss")


def test_no_command():
    """Without a command, with an unknown one or an unknown option: status 2."""
    check_usage(run(), "no command")
    check_usage(run("frobnicate"), "frobnicate", "no such command")
    check_usage(run("--frobnicate"), "--frobnicate", "no such option")


def test_unknown_options():
    """Every command refuses options that it does not have, and names them."""
    for command in ("info", "dirty", "wss", "detach"):
        check_usage(run(command, "--frobnicate"), command, "--frobnicate")
        check_usage(run(command, "-Z"), command, "-Z")
        check_usage(run(command, "--help=x"), command, "--help=x")


def test_missing_argument():
    """An option without its argument is refused."""
    for command in TRACKING:
        for option in ("-p", "-i", "-n", "-o", "--backend"):
            check_usage(run(command, option), option, "missing")


def test_bad_pid():
    """A process number that is none is refused with status 2."""
    for text in ("0", "-1", "x", "1x", "", " 1", "1.5", "99999999999", "0x10"):
        for command in (*TRACKING, "detach"):
            check_usage(run(command, "-p", text), "-p")


def test_bad_interval():
    """An interval that is no time is refused; so is one that is out of range."""
    for text in ("0", "-1", "x", "1s", "", "nan", "inf", "0x1p3", "1e9", "0.00000001", " 1"):
        for command in TRACKING:
            check_usage(run(command, "-i", text, "-p", os.getpid()), "-i")


def test_bad_count():
    """A number of epochs that is none is refused."""
    for text in ("0", "-1", "x", "1.5", "", "99999999999999999999999"):
        for command in TRACKING:
            check_usage(run(command, "-n", text, "-p", os.getpid()), "-n")


def test_targets():
    """There is exactly one target, and a command to run goes after --."""
    for command in TRACKING:
        check_usage(run(command), "no target")
        check_usage(run(command, "--"), "no target")
        check_usage(run(command, "-p", os.getpid(), "--", "true"), "two targets")
        check_usage(run(command, "true"), "--")
    check_usage(run("detach"), "-p")
    check_usage(run("detach", "-p", os.getpid(), "x"), "unexpected")
    check_usage(run("info", "x"), "unexpected")


def test_not_yet():
    """What does not exist yet is refused in words, not ignored."""
    check_usage(run("wss", "--listen", "127.0.0.1:1"), "--listen")
    check_usage(run("wss", "--estimator", "magic", "-p", os.getpid()), "magic")
    check_usage(run("wss", "--plot", "x.gif", "-p", os.getpid()), ".svg")
    check_usage(run("dirty", "--adaptive=magic", "-p", os.getpid()), "magic")


def test_wss_targets():
    """wss has one kind of target, and estimators say which they are for."""
    own = ("-p", os.getpid())
    check_usage(run("wss", "--cgroup"), "--cgroup", "missing")
    check_usage(run("wss", "--cgroup", "/x", *own), "two targets")
    check_usage(run("wss", "--system", *own), "two targets")
    check_usage(run("wss", "--system", "--cgroup", "/x"), "two targets")
    check_usage(run("wss", "--cgroup", "/x", "--", "true"), "two targets")
    check_usage(run("wss", "--estimator", "committed", *own), "--system")
    check_usage(run("wss", "--cgroup", "/x", "--estimator", "zballoond"), "--active")
    check_usage(run("wss", "--active", "--estimator", "zballoond", *own), "--cgroup")
    check_usage(run("wss", "--active", *own), "zballoond")
    check_usage(run("wss", "--estimator", "sampling-present", *own), "--active")
    check_usage(run("wss", "--cgroup", "/x", "--active", "--estimator", "sampling-present"),
                "-p PID")
    check_usage(run("wss", "--apply", "--cgroup", "/x"), "--active")
    check_usage(run("wss", "--apply", "--active", *own), "--cgroup")
    check_usage(run("wss", "--apply", "--active", "--cgroup", "/x", "--estimator", "written"),
                "--apply", "pml")
    check_usage(run("wss", *(["--cgroup", "/x"] * 65)), "too many")
    for name in ("mpa", "exclusive-cache"):
        check_usage(run("wss", "--estimator", name, *own), name, "--cgroup")
        check_usage(run("wss", "--estimator", name, "--active", "--cgroup", "/x"), "--active")
    check_usage(run("wss", "--estimator", "geiger", "--range", "1000-2000", *own), "--range")


def test_wss_numbers():
    """Windows, thresholds and samples that are none are refused."""
    own = ("--estimator", "pml", "-p", os.getpid())
    for option, texts in (("--window", ("0", "65", "-1", "x", "")),
                          ("--threshold", ("0", "9", "65", "x")),
                          ("--floor", ("0", "-1", "x")),
                          ("--memory", ("0", "-1", "x", "1073741825")),
                          ("--samples", ("0", "1000001", "x"))):
        for text in texts:
            check_usage(run("wss", option, text, *own), option)
    for text in ("", "1000", "1000-", "-1000", "2000-1000", "1001-2000", "1000-2001", "1000-2000-",
                 "x-y", " 1000-2000", "1000-fffffffffffffffff"):
        check_usage(run("wss", "--range", text, *own), "--range")
    check_usage(run("wss", "--range", "1000-2000", "--", "true"), "-p PID")
    check_usage(run("wss", "--window", "4", "--threshold", "5", *own), "--threshold 5")
    check_usage(run("wss", "--window", "4", "-p", os.getpid()), "--estimator pml")
    check_usage(run("wss", "--threshold", "4", "-p", os.getpid()), "--estimator pml")
    check_usage(run("wss", "--memory", "4", *own), "--estimator mpa")


def test_no_cgroup():
    """What is no cgroup v2: status 1, and what would be one."""
    for path in ("/nowhere", "/tmp", ""):
        result = run("wss", "--cgroup", path, "-n", 1)
        check(result.returncode == 1, path, result.returncode)
        check_message(result.stderr, "cgroup v2")
        for name in ("mpa", "exclusive-cache", "geiger"):
            result = run("wss", "--cgroup", path, "--estimator", name, "-n", 1)
            check(result.returncode == 1, name, path, result.returncode)
            check_message(result.stderr, "cgroup v2")


def test_no_process():
    """A process that does not exist: status 1, and the number in the message."""
    for command in (*TRACKING, "detach"):
        result = run(command, "-p", 2147483646)
        check(result.returncode == 1, command, result.returncode)
        check_message(result.stderr, "2147483646")


def test_no_backend():
    """A back-end that does not exist: status 1, and its name in the message."""
    for command in TRACKING:
        result = run(command, "--backend", "frobnicate", "-n", 1, "--", "true")
        check(result.returncode == 1, command, result.returncode)
        check_message(result.stderr, "frobnicate")


def test_no_command_to_run():
    """A command that cannot be run: status 1, its name and why."""
    for command in TRACKING:
        result = run(command, "--", "/nonexistent/command")
        check(result.returncode == 1, command, result.returncode)
        check_message(result.stderr, "/nonexistent/command", "No such file")
        result = run(command, "--", "/etc")
        check(result.returncode == 1, command, result.returncode)
        check_message(result.stderr, "/etc", "Permission denied")


def test_output_file():
    """A file that cannot be written is told before anything is run."""
    result = run("dirty", "-o", "/nonexistent/file", "--", "touch", "/nonexistent/ran")
    check(result.returncode == 1, result.returncode)
    check_message(result.stderr, "/nonexistent/file")
    check("touch" not in result.stderr, result.stderr)


main(sys.modules[__name__])
