# SPDX-License-Identifier: MIT
"""`pml-host wss --apply`, against a front-end and a QMP monitor that are played here: what
the machine is given, and that it gets all of it back.  Run by CTest with the path of
pml-host.
"""
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import front_end  # noqa: E402  # pylint: disable=wrong-import-position
import lease  # noqa: E402  # pylint: disable=wrong-import-position
import tap  # noqa: E402  # pylint: disable=wrong-import-position

HOST = sys.argv[1]
MIB = 1 << 20
ALL = 1024 * MIB
DEVICE = "/machine/peripheral-anon/device[3]"


class Machine:
    """A machine's monitor, and the little of the machine that it tells of."""

    def __init__(self, folder, available=900 * MIB, faults=(), balloon=True, greets=True,
                 slow=0.0, refuses=False, late=False):
        self.path = os.path.join(folder, "qmp")
        self.available, self.faults, self.balloon, self.greets = available, faults, balloon, greets
        self.slow, self.refuses, self.late, self.keeps = slow, refuses, late, late
        self.looks, self.all_faults, self.actual, self.given = 0, 0, ALL, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            # to close the stream of one that was killed in between fails too
            with contextlib.suppress(OSError):
                with connection, connection.makefile("rw", encoding="ascii") as stream:
                    self.talk(stream)

    def talk(self, stream):
        def tell(what):
            stream.write(json.dumps(what) + "\n")
            stream.flush()

        tell({"QMP": {"version": {}, "capabilities": []}} if self.greets else {"hello": 1})
        held = None
        for line in stream:
            command = json.loads(line)
            tell({"event": "RTC_CHANGE", "data": {}, "timestamp": {}})
            answer = self.answer(command["execute"], command.get("arguments", {}))
            if "id" in command:
                answer["id"] = command["id"]
            if self.late and self.given and not held:
                held = answer
                continue
            if held and self.late:
                tell(held)
                self.late = False
            tell(answer)

    def answer(self, command, arguments):
        if command == "balloon":
            if not self.balloon:
                return {"error": {"class": "DeviceNotActive", "desc": "No balloon"}}
            self.actual = arguments["value"]
            self.given.append(arguments["value"])
            time.sleep(self.slow)
            if (self.refuses and self.actual < ALL) or (self.keeps and self.actual == ALL):
                return {"error": {"class": "GenericError", "desc": "Not now"}}
        if command == "query-balloon":
            return {"return": {"actual": self.actual}}
        if command == "qom-list":
            found = arguments["path"] == "/machine/peripheral-anon" and self.balloon
            return {"return": [{"name": "device[1]", "type": "child<virtio-rng-pci>"}] +
                    [{"name": "device[3]", "type": "child<virtio-balloon-pci>"}] * found}
        if command == "qom-get":
            assert arguments["path"] == DEVICE, arguments
            if self.looks < len(self.faults):
                self.all_faults += self.faults[self.looks]
            self.looks += 1
            taken = ALL - self.actual
            return {"return": {"last-update": 1, "stats": {
                "stat-total-memory": self.actual, "stat-major-faults": self.all_faults,
                "stat-free-memory": max(self.available - taken, 0) // 2,
                "stat-available-memory": max(self.available - taken, 0),
                "stat-swap-in": (1 << 64) - 1}}}
        return {"return": {}}


@contextlib.contextmanager
def playing(**machine):
    """A folder and a machine in it."""
    with tempfile.TemporaryDirectory() as folder:
        played = Machine(folder, **machine)
        try:
            yield folder, played
        finally:
            played.listener.close()


def start(folder, machine, intervals, *options, wait=None):
    """pml-host on a machine that works with 25,600 frames, 100 MiB; its process."""
    front = front_end.serve_for_ever(folder, range(25600), 1 << 18, wait)
    return subprocess.Popen([HOST, "-s", front, "-j", "wss", "-w", "4", "-i", "0.2", "-n",
                             str(intervals), "--apply", machine.path, "--active", *options],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PML_BALLOONS_DIR": folder + "/notes"})


def run(intervals, *options, **machine):
    with playing(**machine) as (folder, played):
        process = start(folder, played, intervals, *options)
        out, err = process.communicate(timeout=120)
        notes = os.listdir(folder + "/notes") if os.path.isdir(folder + "/notes") else []
    assert notes == [], notes
    return process.returncode, [json.loads(line) for line in out.splitlines()], err, played


def test_given():
    """It is given less after some intervals, and all of it back at the end."""
    status, lines, err, machine = run(14)
    assert status == 0, err
    assert [line["balloon_bytes"] for line in lines[:8]] == [None] * 8, lines
    given = [line["balloon_bytes"] for line in lines[8:]]
    assert all(low <= high < ALL for high, low in zip(given, given[1:])), given
    assert given[-1] >= 110 * MIB and machine.given[-1] == ALL, (given, machine.given)


def test_spare():
    """A guest is not asked for more than it can spare, unless it has swap."""
    for options, low in (((), True), (("--swap",), False)):
        status, _, err, machine = run(16, *options, available=80 * MIB)
        assert status == 0, err
        # a twentieth of what it has is left to it
        least = ALL - 80 * MIB + ALL // 25
        assert machine.given and machine.given[-1] == ALL, machine.given
        assert (min(machine.given) >= least) == low, machine.given


def test_floor():
    """Nor for what is below the floor."""
    status, lines, err, _ = run(14, "--floor", "900")
    assert status == 0 and lines[-1]["balloon_bytes"] >= 900 * MIB, err


def test_released():
    """Where much has to be fetched again it gets all back in that interval."""
    status, lines, err, machine = run(13, faults=[0] * 12 + [50000])
    assert status == 0, err
    freed = [line for line in lines if line["released"]]
    assert len(freed) == 1 and freed[0]["balloon_bytes"] is None, lines
    assert freed[0]["refaults"] == 50000 and machine.actual == ALL, freed


def test_rebooted():
    """A guest whose count of faults begins anew, as after a reboot, has had none."""
    status, lines, err, _ = run(14, faults=[5000] + [0] * 11 + [-4000])
    assert status == 0, err
    assert {line["refaults"] for line in lines} == {0}, lines
    assert not any(line["released"] for line in lines), lines


def test_grown():
    """A guest that has next to nothing to spare any more gets all back."""
    with playing() as (folder, machine):
        process = start(folder, machine, 1000)
        until_given(machine)
        machine.available = 0
        end = time.monotonic() + 60
        while machine.actual != ALL:
            assert time.monotonic() < end, machine.given
            time.sleep(0.05)
        process.terminate()
        out, _ = process.communicate(timeout=60)
        assert '"released":true' in out, out


def until_given(machine):
    end = time.monotonic() + 60
    while not machine.given:
        assert time.monotonic() < end, "nothing was taken"
        time.sleep(0.05)


def terminate(number, **how):
    """A run that limits such a machine gets this signal."""
    with playing(**how) as (folder, machine):
        process = start(folder, machine, 1000)
        until_given(machine)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == 0 and machine.actual == ALL, machine.given


def test_terminated():
    """Terminated, it gives all back."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        terminate(number)


def test_terminated_meanwhile():
    """Terminated before the monitor has answered, it gives all back too."""
    for number in (signal.SIGTERM, signal.SIGINT):
        terminate(number, slow=0.5)


def test_terminated_in_vain():
    """Terminated while the front-end answers nothing, it gives all back and ends too."""
    stuck, hold = threading.Event(), threading.Event()
    with playing() as (folder, machine):
        def wait():
            if machine.given:
                stuck.set()
                hold.wait()

        process = start(folder, machine, 1000, wait=wait)
        assert stuck.wait(60), "nothing was taken"
        process.terminate()
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
            hold.set()
        assert process.returncode == 1 and "does not answer" in err, (process.returncode, err)
        assert machine.actual == ALL, machine.given


def test_reader_gone():
    """When nobody reads what it says any more, it ends in words and gives all back."""
    with playing() as (folder, machine):
        process = start(folder, machine, 1000)
        until_given(machine)
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=60)
        assert machine.actual == ALL, machine.given
        assert process.returncode == 1 and "standard output" in err, (process.returncode, err)


def test_failed():
    """What it was refused may have been done all the same, and is given back."""
    status, _, err, machine = run(14, refuses=True)
    assert status == 1 and len(machine.given) == 2 and machine.actual == ALL, (err, machine.given)


def test_not_given_back():
    """What could not be given back is no success, and the next start does it."""
    with playing() as (folder, machine):
        process = start(folder, machine, 1000)
        until_given(machine)
        machine.keeps = True
        process.terminate()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1 and "could not be given back" in err, (process, err)
        machine.keeps = False
        machine.actual = ALL // 2
        process = start(folder, machine, 1)
        _, err = process.communicate(timeout=60)
        assert "1024 MiB again" in err and machine.actual == ALL, err


def test_late():
    """An answer that comes too late is not taken for that to what was asked afterwards."""
    with playing(late=True) as (folder, machine):
        process = start(folder, machine, 1000)
        _, err = process.communicate(timeout=120)
        # the first command that takes memory is answered after the one that gives it back,
        # and that one is refused
        assert len(machine.given) == 2 and machine.given[1] == ALL, machine.given
        assert process.returncode == 1 and "could not be given back" in err, err
        assert os.listdir(folder + "/notes"), "what is to be given back is forgotten"


def kill_one(folder, machine):
    """A run that is killed while it limits the machine."""
    process = start(folder, machine, 1000)
    until_given(machine)
    process.kill()
    process.communicate(timeout=60)


def test_killed():
    """Killed, the next start gives it back, and says so."""
    with playing() as (folder, machine):
        kill_one(folder, machine)
        assert machine.actual < ALL
        process = start(folder, machine, 1)
        _, err = process.communicate(timeout=60)
        assert "1024 MiB again" in err and machine.actual == ALL, err


def test_killed_and_refused():
    """A start that is refused in between leaves it to the next one."""
    with playing() as (folder, machine):
        kill_one(folder, machine)
        machine.greets = False
        process = start(folder, machine, 1)
        process.communicate(timeout=60)
        assert process.returncode == 1 and machine.actual < ALL, machine.given
        machine.greets = True
        process = start(folder, machine, 1)
        _, err = process.communicate(timeout=60)
        assert "1024 MiB again" in err and machine.actual == ALL, err


def test_begun_at_an_end():
    """Begun in the moment that another run ended and killed later, all is given back too."""
    with playing() as (folder, machine):
        monitor = os.stat(machine.path)
        note = f"{folder}/notes/{monitor.st_dev:x}-{monitor.st_ino:x}"
        os.mkdir(folder + "/notes")
        with lease.held_up(note, f"{ALL}\n") as opening:
            process = start(folder, machine, 1000)
            assert opening.wait(60), "it has not opened the other's note"
            os.unlink(note)
        until_given(machine)
        process.kill()
        process.communicate(timeout=60)
        assert machine.actual < ALL
        process = start(folder, machine, 1)
        _, err = process.communicate(timeout=60)
        assert "1024 MiB again" in err and machine.actual == ALL, (err, machine.given)


def test_two():
    """Two at once do not limit one machine."""
    with playing() as (folder, machine):
        first = start(folder, machine, 1000)
        until_given(machine)
        second = start(folder, machine, 1)
        _, err = second.communicate(timeout=60)
        first.terminate()
        first.communicate(timeout=60)
        assert second.returncode == 1 and "limits the machine" in err, err
        assert machine.actual == ALL


def test_cannot():
    """A machine without a balloon, and what is no monitor, are refused in words."""
    status, lines, err, _ = run(1, balloon=False)
    assert status == 1 and not lines and "no balloon" in err, err
    status, lines, err, _ = run(1, greets=False)
    assert status == 1 and not lines and "QMP" in err, err


def test_usage():
    """Without --active, or a window, nothing is limited."""
    with tempfile.TemporaryDirectory() as folder:
        for options in (("-w", "4", "--apply", "m"), ("--apply", "m", "--active"),
                        ("-w", "4", "--active"), ("-w", "4", "--floor", "3"),
                        ("-w", "4", "--apply", "m", "--active", "--floor", "0")):
            result = subprocess.run([HOST, "-s", folder + "/s", "wss", *options], check=False,
                                    capture_output=True, text=True, timeout=60)
            assert result.returncode == 2, options


sys.exit(tap.main(globals()))
