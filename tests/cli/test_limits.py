# SPDX-License-Identifier: MIT
"""What limits a cgroup, on a folder with the files of one: when it lets go, and that it
leaves what it found, however it ends.  What the kernel makes of it is tests/wss/limits."""
import contextlib
import os
import shutil
import signal
import sys
import tempfile

from harness import PAGE, PATIENCE, Tracker, check, check_message, main, run

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import lease  # noqa: E402  # pylint: disable=wrong-import-position

MIB = 1 << 20
CURRENT = 200 * MIB


class Group:
    """Its files are replaced as a whole, so that nobody reads half of one."""

    def __init__(self):
        self.path = tempfile.mkdtemp()
        self.put("cgroup.procs", "")
        self.put("memory.high", "max\n")
        self.put("memory.current", f"{CURRENT}\n")
        self.put("memory.stat", "kernel 0\nworkingset_refault_anon 7\n")
        self.put("memory.events", "low 0\nhigh 3\n")
        self.put("memory.pressure", "some avg10=0 total=0\nfull avg10=0 total=0\n")

    def put(self, name, text):
        path = os.path.join(self.path, name)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.replace(path + ".new", path)

    def high(self):
        with open(os.path.join(self.path, "memory.high"), encoding="ascii") as file:
            return file.read().strip()

    def options(self, *more):
        return ("--cgroup", self.path, "--estimator", "zballoond", "--active", "-i", 0.05, *more)


@contextlib.contextmanager
def group():
    it = Group()
    try:
        yield it
    finally:
        shutil.rmtree(it.path, ignore_errors=True)


def until(tracker, good):
    """The first line that is; there are no waits but for lines."""
    while not good(line := tracker.epoch()):
        pass
    return line


def limited(line):
    return line["high_bytes"] is not None


def test_descent():
    """It gives less and less, never less than the floor, and all back at the end."""
    with group() as it:
        with Tracker(*it.options("--floor", 197), command="wss") as tracker:
            last = CURRENT
            while last != 197 * MIB:
                high = tracker.epoch()["high_bytes"]
                check(197 * MIB <= high <= last, high, last)
                last = high
            check(tracker.epoch()["wss_bytes"] == 197 * MIB)
            status, err = tracker.interrupt()
            check(status == 0, status, err)
        check(it.high() == "max", it.high())


def check_release(name, text):
    """Once it is limited, this is written; then an epoch comes without a limit."""
    with group() as it, Tracker(*it.options(), command="wss") as tracker:
        check(not until(tracker, limited)["released"])
        it.put(name, text)
        line = until(tracker, lambda line: line["released"])
        check(line["high_bytes"] is None, line)


def test_release_by_refaults():
    """A twentieth of the memory fetched again: the limit is taken away in that epoch."""
    check_release("memory.stat", f"workingset_refault_anon {7 + CURRENT // 20 // PAGE + 1}\n")


def test_release_by_a_stand():
    """The same when it stood still for want of memory."""
    check_release("memory.pressure", "some avg10=0 total=0\nfull avg10=0 total=900000000\n")


def test_release_when_held_up():
    """The same when it is held up above its limit."""
    with group() as it, Tracker(*it.options(), command="wss") as tracker:
        until(tracker, limited)
        it.put("memory.current", f"{2 * CURRENT}\n")
        it.put("memory.events", "low 0\nhigh 4\n")
        line = until(tracker, lambda line: line["released"])
        check(line["high_bytes"] is None, line)


def test_few_refaults():
    """The negative control: some refaults are answered by a little more, not by a release."""
    with group() as it, Tracker(*it.options(), command="wss") as tracker:
        last = until(tracker, limited)["high_bytes"]
        it.put("memory.stat", "workingset_refault_anon 107\n")
        while not (line := tracker.epoch())["refaults"]:
            last = line["high_bytes"]
        check(line["refaults"] == 100 and not line["released"], line)
        check(line["high_bytes"] > last, line, last)


def test_terminated():
    """TERM and HUP are ends like any other."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        with group() as it:
            it.put("memory.high", f"{300 * MIB}\n")
            with Tracker(*it.options(), command="wss") as tracker:
                until(tracker, limited)
                tracker.popen.send_signal(number)
                tracker.end()
            check(it.high() == str(300 * MIB), it.high())


def leave_limited(it):
    """As a run that was killed does, where there had been 300 MiB."""
    it.put("memory.high", f"{300 * MIB}\n")
    with Tracker(*it.options(), command="wss") as tracker:
        until(tracker, limited)
        tracker.popen.kill()
        tracker.popen.wait()


def test_killed():
    """After a kill the next start puts back what was there, and says so."""
    with group() as it, group() as other:
        leave_limited(it)
        check(it.high() != str(300 * MIB), "it was not left limited: this proves nothing")
        result = run("wss", *other.options("-n", 1))
        check(result.returncode == 0, result.stderr)
        check(f"{it.path}: memory.high is {300 * MIB} again" in result.stderr, result.stderr)
        check(it.high() == str(300 * MIB), it.high())


def test_not_put_back():
    """What could not be put back is told, and the next start puts it back."""
    with group() as it, group() as other:
        it.put("memory.high", f"{300 * MIB}\n")
        with Tracker(*it.options(), command="wss") as tracker:
            until(tracker, limited)
            path = os.path.join(it.path, "memory.high")
            os.rename(path, path + ".away")
            os.symlink("memory.high", path)
            tracker.popen.send_signal(signal.SIGTERM)
            status, err = tracker.end()
            check(status == 1, status, err)
            check_message(err, it.path, "could not be put back", str(300 * MIB))
        os.rename(path + ".away", path)
        check(it.high() != str(300 * MIB), "it was put back: this proves nothing")
        result = run("wss", *other.options("-n", 1))
        check(result.returncode == 0, result.stderr)
        check(it.high() == str(300 * MIB), it.high())


def test_still_not_put_back():
    """A start that cannot put it back either does not forget what it was."""
    with group() as it, group() as other:
        leave_limited(it)
        path = os.path.join(it.path, "memory.high")
        os.rename(path, path + ".away")
        os.mkdir(path)
        result = run("wss", *it.options("-n", 1))
        check(result.returncode == 1, result.returncode)
        check_message(result.stderr, it.path, "could not be put back")
        os.rmdir(path)
        os.rename(path + ".away", path)
        check(it.high() != str(300 * MIB), "it was put back: this proves nothing")
        result = run("wss", *other.options("-n", 1))
        check(result.returncode == 0, result.stderr)
        check(it.high() == str(300 * MIB), it.high())


def test_ended_meanwhile():
    """A start beside the end of a run and the begin of the next leaves that one's limit alone."""
    with group() as it, group() as other:
        it.put("memory.high", f"{300 * MIB}\n")
        st = os.stat(it.path)
        note = os.path.join(os.environ["PML_LIMITS_DIR"], f"{st.st_dev:x}-{st.st_ino:x}")
        with contextlib.ExitStack() as stack:
            with lease.held_up(note, f"{300 * MIB:<31}\n{it.path}\n") as opening:
                beside = stack.enter_context(Tracker(*other.options("-n", 1), command="wss"))
                check(opening.wait(PATIENCE), "it has not opened the note")
                # that run ends
                os.unlink(note)
                tracker = stack.enter_context(Tracker(*it.options(), command="wss"))
                until(tracker, limited)
            _, err = beside.end()
            check("killed" not in err, err)
            tracker.popen.kill()
            tracker.popen.wait()
        check(it.high() != str(300 * MIB), "it was not left limited")
        result = run("wss", *other.options("-n", 1))
        check(result.returncode == 0, result.stderr)
        check(it.high() == str(300 * MIB), it.high())


def test_two():
    """Two runs do not limit one cgroup."""
    with group() as it, Tracker(*it.options(), command="wss") as tracker:
        tracker.epoch()
        result = run("wss", *it.options("-n", 1))
        check(result.returncode == 1, result.returncode)
        check_message(result.stderr, "another run")


def test_removed():
    """A cgroup that is removed: status 1, and said so."""
    with group() as it, Tracker(*it.options(), command="wss") as tracker:
        until(tracker, limited)
        shutil.rmtree(it.path)
        status, err = tracker.end()
        check(status == 1, status)
        check_message(err, "removed")


# Of this run alone: others on this machine would put back what it has been killed over.
with tempfile.TemporaryDirectory() as notes:
    os.environ["PML_LIMITS_DIR"] = notes
    main(sys.modules[__name__])
