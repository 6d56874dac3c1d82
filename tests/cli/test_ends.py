# SPDX-License-Identifier: MIT
"""How a tracking session ends, and what it leaves behind."""
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile

from harness import (PATIENCE, PML, Process, Tracker, Writer, check, check_message, main,
                     need_tracking, pages_of, run, wait_until)


def test_count():
    """-n ends after so many epochs with status 0; the process lives on and works."""
    need_tracking()
    with Writer() as writer:
        result = run("dirty", "-p", writer.pid, "-i", 0.03, "-n", 4, "--json")
        check(result.returncode == 0, result.stderr)
        check(len(result.stdout.splitlines()) == 4, result.stdout)
        writer.write(range(64))


def test_interrupt():
    """Ctrl-C and a termination signal end it cleanly: status 0, a summary, and the
    epoch that was under way."""
    need_tracking()
    for number in (signal.SIGINT, signal.SIGTERM):
        with Writer() as writer, Tracker("-p", writer.pid, "-i", 0.2, "--ranges") as tracker:
            tracker.epoch()
            writer.write([7])
            tracker.popen.send_signal(number)
            last = [json.loads(line) for line in tracker.popen.stdout]
            status, err = tracker.end()
            check(status == 0, status, err)
            check("interrupted" in err, err)
            found = set()
            for epoch in last:
                found |= pages_of(epoch, writer.start, writer.pages)
            check(found == {7}, found)
            writer.write(range(64))


def test_left_as_found():
    """After tracking the process has the descriptors that it had before."""
    need_tracking()

    def descriptors(pid):
        return {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}

    with Writer() as writer:
        before = descriptors(writer.pid)
        with Tracker("-p", writer.pid, "-i", 0.05) as tracker:
            tracker.epoch()
            check(descriptors(writer.pid) == before, "while it is tracked",
                  descriptors(writer.pid))
            tracker.interrupt()
        check(descriptors(writer.pid) == before, "afterwards", descriptors(writer.pid))


def test_stopped_stays_stopped():
    """A process that stands still is tracked and goes on standing still."""
    need_tracking()

    def state(pid):
        return read(f"/proc/{pid}/status").partition("State:")[2].split()[0]

    with Writer() as writer:
        os.kill(writer.pid, signal.SIGSTOP)
        wait_until(lambda: state(writer.pid) == "T", "the stop")
        with Tracker("-p", writer.pid, "-i", 0.05) as tracker:
            tracker.epoch()
            # On its way back into the stop it is shown as running, until it gets a
            # processor; one that has left it would never be shown as stopped again.
            wait_until(lambda: state(writer.pid) == "T", "the stop, while it is tracked")
            tracker.interrupt()
        wait_until(lambda: state(writer.pid) == "T", "the stop, afterwards")
        os.kill(writer.pid, signal.SIGCONT)
        writer.write([1])


def test_killed_tracker():
    """When the tracker is killed, the process lives on and can be tracked again."""
    need_tracking()
    with Writer() as writer:
        for _ in range(3):
            with Tracker("-p", writer.pid, "-i", 0.02) as tracker:
                tracker.epoch()
                tracker.popen.kill()
            writer.write(range(64))
        result = run("dirty", "-p", writer.pid, "-i", 0.03, "-n", 1)
        check(result.returncode == 0, result.stderr)


def test_target_exits():
    """When the process exits, status is 1, the reason is told, and so is a summary."""
    need_tracking()
    with Writer() as writer, Tracker("-p", writer.pid, "-i", 0.05) as tracker:
        tracker.epoch()
        writer.popen.stdin.close()
        writer.popen.stdin = None
        writer.popen.wait()
        status, err = tracker.end()
        check(status == 1, status, err)
        check_message(err, str(writer.pid), "exited")
        check("epochs: " in err, err)


def test_exit_is_seen_at_once():
    """The exit of the process ends the wait for a long epoch."""
    need_tracking()
    with Writer() as writer, Tracker("-p", writer.pid, "-i", 3600) as tracker:
        stopped_once = f"/proc/{tracker.popen.pid}/fdinfo"
        wait_until(lambda: any("Pid:\t%d\n" % writer.pid in read(f"{stopped_once}/{fd}")
                               for fd in os.listdir(stopped_once)), "the tracker")
        writer.popen.kill()
        writer.popen.wait()
        status, err = tracker.end()
        check(status == 1, status, err)


def read(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def test_exec():
    """An exec is a lost epoch; after it the new program's writes are exact again."""
    need_tracking()
    with Writer() as writer, Tracker("-p", writer.pid, "-i", 0.05, "--ranges") as tracker:
        check(not tracker.epoch()["lost"], "lost from the beginning")
        writer.execute()
        for _ in range(5):
            if tracker.epoch()["lost"]:
                break
        else:
            raise AssertionError("no epoch was lost")
        # What the new program wrote while it began.
        for _ in tracker.epochs_until_now():
            pass
        writer.write([3, 5])
        found = set()
        for epoch in tracker.epochs_until_now():
            check(not epoch["lost"], epoch)
            found |= pages_of(epoch, writer.start, writer.pages)
        check(found == {3, 5}, found)
        tracker.interrupt()


def interrupted(args, meanwhile):
    """What pml prints that is interrupted in its first epoch, after this has happened."""
    with Process([PML, "dirty", "-i", 3600, *args], stdout=subprocess.PIPE,
                 stderr=subprocess.PIPE) as tracker:
        # the header comes when it tracks
        check("EPOCH" in tracker.line(), "no header")
        meanwhile()
        tracker.popen.send_signal(signal.SIGTERM)
        lines = tracker.popen.stdout.read()
        return lines, *tracker.end()


def test_exec_then_interrupt():
    """The epoch that is interrupted is told when there was an exec in it, as a lost one."""
    need_tracking()
    with Writer() as writer:
        lines, status, err = interrupted(["-p", writer.pid], writer.execute)
        check(status == 0, status, err)
        check("LOST TRACK" in lines and "lost: 1" in lines, lines)


def test_signal_with_a_full_disk():
    """A signal is passed on to the command also when results cannot be written any more."""
    need_tracking()
    for command in (("dirty",), ("wss", "--estimator", "geiger")):
        with tempfile.TemporaryDirectory() as folder, \
             open("/dev/full", "w", encoding="ascii") as full:
            begun = os.path.join(folder, "begun")
            with Tracker(*command[1:], "-i", 3600, "--", "sh", "-c",
                         f": >{begun}; exec sleep 1000", command=command[0],
                         stdout=full) as tracker:
                wait_until(lambda: os.path.exists(begun), "the command")
                child, = children(tracker.popen.pid)
                try:
                    status, err = tracker.interrupt(signal.SIGTERM)
                finally:
                    tracker.popen.kill()
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                check(status == 1, command, status)
                check_message(err, "standard output")


def summary_of(*args):
    result = run("dirty", "-i", 0.05, "--json", "--summary", *args)
    return result, json.loads(result.stdout.splitlines()[-1])


def test_command_ends():
    """When the command ends, status is 0 and the summary tells its own status."""
    need_tracking()
    result, summary = summary_of("--", "sh", "-c", "sleep 0.2; exit 7")
    check(result.returncode == 0, result.stderr)
    check(summary["end"] == "command" and summary["command"]["status"] == 7, summary)
    result, summary = summary_of("--", "sh", "-c", "kill -SEGV $$")
    check(result.returncode == 0, result.stderr)
    check(summary["command"]["signal"] == signal.SIGSEGV, summary)
    result = run("dirty", "--", "true")
    check(result.returncode == 0, result.stderr)
    check("exit status 0" in result.stdout, result.stdout)


def test_command_is_waited_for():
    """After -n epochs the command is waited for, not killed."""
    need_tracking()
    with tempfile.NamedTemporaryFile() as file:
        # until that epoch is there, but not for ever
        script = (f"i=0; while [ ! -s {file.name} ] && [ $i -lt 400 ]; "
                  "do i=$((i + 1)); sleep 0.05; done; exit 3")
        result = run("dirty", "-i", 0.05, "--json", "--summary", "-n", 1, "-o", file.name,
                     "--", "sh", "-c", script)
        check(result.returncode == 0, result.stderr)
        summary = json.loads(file.read().splitlines()[-1])
    check(summary["end"] == "count" and summary["command"]["status"] == 3, summary)


def test_standard_descriptors_closed():
    """With standard descriptors closed the results are what they are with them open, and
    the command gets what it would have had."""
    need_tracking()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "results")
        seen = os.path.join(folder, "seen")
        for numbers in ((2,), (1, 2), (0, 1, 2)):
            def close(these=numbers):
                for number in these:
                    os.close(number)

            run_closed(close, "dirty", "-i", 0.05, "--json", "-o", path, "--", "sh", "-c",
                       f"ls /proc/$$/fd >{seen}; sleep 0.2")
            with open(path, encoding="ascii") as file:
                for line in file:
                    check(json.loads(line)["type"] == "epoch", numbers, line)
            with open(seen, encoding="ascii") as file:
                check(not {str(n) for n in numbers if n != 1} & set(file.read().split()), numbers)
        result = run_closed(lambda: os.close(1), "dirty", "-i", 0.05, "--", "sleep", 0.2)
        check(result == 1, "closed standard output", result)
        for command in (("info",), ("--version",)):
            check(run_closed(lambda: os.close(1), *command) == 1, "closed", command)


def run_closed(close, *args):
    return subprocess.run([PML, *map(str, args)], preexec_fn=close, check=False,
                          timeout=PATIENCE).returncode


def children(pid):
    return [int(n) for n in read(f"/proc/{pid}/task/{pid}/children").split()]


def fill(pipe):
    """Whoever writes to it now waits."""
    os.set_blocking(pipe, False)
    try:
        while True:
            os.write(pipe, bytes(4096))
    except BlockingIOError:
        os.set_blocking(pipe, True)


def waits_for_a_reader(pid):
    """In write(1) or in poll."""
    return read(f"/proc/{pid}/syscall").startswith(("1 0x1 ", "7 "))


@contextlib.contextmanager
def nobody_reads(command, *args, full=True):
    """A pml whose results go to a pipe that is full, or will be: it, and the pipe's ends."""
    reader, writer = os.pipe()
    try:
        if full:
            fill(writer)
        with Process([PML, *command, *args], stdout=writer, stderr=subprocess.PIPE) as tracker:
            if full:
                wait_until(lambda: waits_for_a_reader(tracker.popen.pid), "a write")
            yield tracker, reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def check_interrupted(tracker, number, what):
    tracker.popen.send_signal(number)
    status, err = tracker.end()
    check(status == 1, what, status, err)
    check_message(err, "standard output", "interrupted")


def test_signal_while_nobody_reads():
    """A signal ends it while it waits for the reader of its results, and the process goes on
    as it was."""
    need_tracking()
    for command in (("dirty",), ("wss",), ("wss", "--estimator", "geiger")):
        for number in (signal.SIGINT, signal.SIGTERM):
            with Writer() as writer:
                with nobody_reads(command, "-p", writer.pid, "--json", "-i", 0.01) as (tracker, *_):
                    check_interrupted(tracker, number, command)
                check("TracerPid:\t0\n" in read(f"/proc/{writer.pid}/status"), "traced")
                writer.write(range(64))


def test_signal_before_nobody_reads():
    """Nor does it wait without end for the reader of what it tells when it is interrupted."""
    need_tracking()
    for command in (("dirty",), ("wss",), ("wss", "--estimator", "geiger")):
        with Writer() as writer:
            with nobody_reads(command, "-p", writer.pid, "-i", 3600,
                              full=False) as (tracker, reader, pipe):
                # the header comes when it tracks
                check(os.read(reader, 1), "no header")
                fill(pipe)
                check_interrupted(tracker, signal.SIGTERM, command)
            writer.write(range(64))


def test_command_gets_the_signal_while_nobody_reads():
    """The command gets it then too."""
    need_tracking()
    for command in (("dirty",), ("wss", "--estimator", "geiger")):
        with nobody_reads(command, "--json", "-i", 0.01, "--", "sleep", 1000) as (tracker, *_):
            child, = children(tracker.popen.pid)
            try:
                check_interrupted(tracker, signal.SIGTERM, command)
                check(not os.path.exists(f"/proc/{child}"), "the command runs on")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


def test_command_is_not_killed_in_the_middle():
    """When not even the header can be written, the command does not run; one that has begun
    is not killed for it."""
    need_tracking()
    for command in (("dirty",), ("wss",), ("wss", "--estimator", "geiger")):
        with tempfile.TemporaryDirectory() as folder:
            begun, done = os.path.join(folder, "begun"), os.path.join(folder, "done")
            reader, writer = os.pipe()
            # who writes waits until its reader has gone
            fill(writer)
            with Process([PML, *command, "--", "sh", "-c", f": >{begun}; sleep 0.5; : >{done}"],
                         stdout=writer, stderr=subprocess.PIPE) as tracker:
                os.close(writer)
                pid = tracker.popen.pid
                wait_until(lambda: waits_for_a_reader(pid), "a write")
                child, = children(pid)
                # on its way back into the stop it is shown as running, as one that runs is
                wait_until(lambda: "State:\tT" in read(f"/proc/{child}/status") or
                           os.path.exists(begun), "the command, stopped or at work")
                os.close(reader)
                status, err = tracker.end()
                check(status == 1, command, status)
                check_message(err, "standard output")
            check(os.path.exists(done) or not os.path.exists(begun), command,
                  "it was killed in the middle")


def test_command_gets_the_signal():
    """A signal that the terminal did not send to the command is passed on to it."""
    need_tracking()
    with Tracker("-i", 0.05, "--summary", "--", "sleep", 1000) as tracker:
        tracker.epoch()
        tracker.popen.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in tracker.popen.stdout]
        status, err = tracker.end()
    check(status == 0, status, err)
    check(lines[-1]["type"] == "summary" and lines[-1]["end"] == "signal", lines[-1])
    check(lines[-1]["command"]["signal"] == signal.SIGTERM, lines[-1])


def test_background_job():
    """In a background job, where the interrupt is ignored, it ends pml and the command."""
    need_tracking()
    with Tracker("-i", 0.05, "--summary", "--", "sleep", 1000,
                 preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as tracker:
        tracker.epoch()
        tracker.popen.send_signal(signal.SIGINT)
        lines = [json.loads(line) for line in tracker.popen.stdout]
        status, err = tracker.end()
    check(status == 0, status, err)
    check(lines[-1]["command"]["signal"] == signal.SIGTERM, lines[-1])


def test_command_keeps_its_signals():
    """The command runs with the signal mask and the SIGPIPE that it would have had."""
    need_tracking()
    result = run("dirty", "--json", "--", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    plain = os.popen("grep -E '^Sig(Blk|Ign)' /proc/self/status").read()
    masks = {line.split()[0]: int(line.split()[1], 16) for line in plain.splitlines()}
    seen = {line.split()[0]: int(line.split()[1], 16)
            for line in result.stdout.splitlines() if line.startswith("Sig")}
    sigpipe = 1 << (signal.SIGPIPE - 1)
    check(seen["SigBlk:"] == masks["SigBlk:"], result.stdout, plain)
    check(seen["SigIgn:"] & ~sigpipe == masks["SigIgn:"] & ~sigpipe, result.stdout, plain)
    check(not seen["SigIgn:"] & sigpipe, result.stdout)


main(sys.modules[__name__])
