# SPDX-License-Identifier: MIT
"""Holds a program up in the middle of an open(2), by a lease on the file.  For tests of what
happens between that and its next step.
"""
import contextlib
import fcntl
import signal
import threading


class Opening(threading.Event):
    """Whether somebody is held up."""

    def wait(self, timeout=None):
        # The handler runs between two steps of the interpreter: for a signal that comes just
        # before a wait, or to another thread, not until the wait has ended.  So, short ones.
        slices = round(timeout / 0.05)
        return any(super(Opening, self).wait(0.05) for _ in range(slices)) or self.is_set()


@contextlib.contextmanager
def held_up(path, text):
    """Makes a file of this text; whoever opens it is held up until the end, or until the
    kernel's patience does (/proc/sys/fs/lease-break-time).  Gives an Event: somebody is.
    """
    there = Opening()
    former = signal.signal(signal.SIGIO, lambda *_: there.set())
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        try:
            yield there
        finally:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            signal.signal(signal.SIGIO, former)
