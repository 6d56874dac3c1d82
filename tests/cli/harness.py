# SPDX-License-Identifier: MIT
"""What the tests of the command share: TAP, running pml, the page writer."""
import json
import os
import select
import signal
import subprocess
import sys
import time

PML = os.environ["PML"]
WRITER = os.environ["WRITER"]
PAGE = os.sysconf("SC_PAGESIZE")
# Far more than any wait here needs: only a hang gets so far.
PATIENCE = 60


class Skip(Exception):
    """This cannot be tested here, and why."""


def run(*args, **kwargs):
    """pml with these arguments, to its end."""
    kwargs.setdefault("timeout", PATIENCE)
    return subprocess.run([PML, *map(str, args)], capture_output=True, text=True,
                          check=False, **kwargs)


def need_tracking():
    """Skips where no back-end can track another process."""
    backends = json.loads(run("info", "--json").stdout)["backends"]
    if not any(b["available"] and b["external"] and "dirty" in b["events"] for b in backends):
        raise Skip("; ".join(f"{b['name']}: {b['reason']}" for b in backends))


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


def check_usage(result, *words):
    """It refused in the form of all messages, with these words in it."""
    check(result.returncode == 2, "status", result.returncode, result.stderr)
    check(result.stdout == "", "stdout", result.stdout)
    check_message(result.stderr, *words)


def check_message(text, *words):
    lines = [line for line in text.splitlines() if line.startswith("pml: ")]
    check(lines, "no message in", repr(text))
    for word in words:
        check(word in text, repr(word), "is not in", repr(text))


class Process:
    """A child whose lines are read with patience and which never outlives us."""

    def __init__(self, args, **kwargs):
        self.popen = subprocess.Popen(list(map(str, args)), text=True, bufsize=1, **kwargs)

    def line(self):
        ready, _, _ = select.select([self.popen.stdout], [], [], PATIENCE)
        check(ready, "no line within", PATIENCE, "s")
        return self.popen.stdout.readline()

    def end(self):
        """Waits for the end; returns the status and what stderr held."""
        _, err = self.popen.communicate(timeout=PATIENCE)
        return self.popen.returncode, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.kill()
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream:
                stream.close()
        self.popen.wait()


class Writer(Process):
    """The program whose writes are known."""

    def __init__(self, pages=64, kind="anon", threads=1):
        super().__init__([WRITER, pages, kind, threads], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
        self.read_head()

    def read_head(self):
        pid, start, pages = self.line().split()
        self.pid, self.start, self.pages = int(pid), int(start, 16), int(pages)

    def send(self, command):
        self.popen.stdin.write(command + "\n")
        self.popen.stdin.flush()

    def write(self, pages):
        self.send("w " + " ".join(map(str, sorted(pages))))
        check(self.line() == "ok\n", "the writer did not answer")

    def execute(self):
        self.send("x")
        self.read_head()


class Tracker(Process):
    """pml dirty --json, read line by line."""

    def __init__(self, *args, command="dirty", **kwargs):
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        super().__init__([PML, command, "--json", *args], **kwargs)

    def epoch(self):
        line = self.line()
        if not line:
            _, err = self.end()
            raise AssertionError(f"no more epochs: {err}")
        return json.loads(line)

    def epochs_until_now(self):
        """The epochs up to the one that holds what has just been written.

        A collect that was under way meanwhile may have passed a page before it was
        written: the one that holds all of them began later.
        """
        now = time.monotonic()
        epoch = self.epoch()
        while epoch["t"] - epoch["cost"]["collect_s"] < now:
            yield epoch
            epoch = self.epoch()
        yield epoch

    def interrupt(self, number=signal.SIGINT):
        self.popen.send_signal(number)
        return self.end()


def pages_of(epoch, start, pages, pid=None, known=None):
    """The numbers of the region's pages that an epoch reports."""
    found = set()
    for r in epoch["ranges"]:
        if (pid and r["pid"] != pid) or (known and r["known"] != known):
            continue
        low = max(int(r["start"], 16), start)
        high = min(int(r["end"], 16), start + pages * PAGE)
        found.update((a - start) // PAGE for a in range(low, high, PAGE))
    return found


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        check(time.monotonic() < end, "waited in vain for", what)
        time.sleep(0.01)


def main(module):
    """Runs every test_* function of a module; its docstring is the truth it states."""
    tests = [f for name, f in vars(module).items() if name.startswith("test_")]
    failed = skipped = 0
    print(f"1..{len(tests)}", flush=True)
    for number, test in enumerate(tests, 1):
        name = " ".join((test.__doc__ or test.__name__).split()).rstrip(".")
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Skip as reason:
            skipped += 1
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        # Whatever goes wrong in a test is that test's failure.
        except Exception as error:
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            for line in f"{type(error).__name__}: {error}".splitlines():
                print(f"# {line}", flush=True)
    if failed:
        sys.exit(1)
    sys.exit(77 if skipped == len(tests) else 0)
