# SPDX-License-Identifier: MIT
"""`pml dirty --ranges --json` against a program that knows what it wrote.

For each epoch that the command prints, the writer is told to change a random
set of pages.  Both sides give times of the same clock, so that each change
falls into one epoch (or, rarely, across the boundary of two, which are then
taken together): what the command printed must be what was changed, no page
less, and none more within the granule.

Run by CTest and by tests/long/command; PML and WRITER name the programs.
"""
import argparse
import json
import os
import subprocess
import sys

PML = os.environ["PML"]
WRITER = os.environ["WRITER"]


class Writer:
    """The oracle on the other end of two pipes."""

    def __init__(self, kind, thp, threads, pages, seed):
        args = [WRITER, "--kind", kind, "--threads", threads, "--pages", pages, "--seed", seed]
        self.popen = subprocess.Popen([str(a) for a in args + (["--thp"] if thp else [])],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True, bufsize=1)
        words = self.popen.stdout.readline().split()
        if len(words) != 4 or words[0] != "region":
            raise RuntimeError(f"the writer says {words}")
        self.start, self.end, self.page = int(words[1], 16), int(words[2], 16), int(words[3])

    def do(self, command):
        """Runs a command: its sets of pages, and when it began and ended."""
        self.popen.stdin.write(command + "\n")
        sets = {"c": set(), "s": set(), "d": set()}
        for line in self.popen.stdout:
            words = line.split()
            if words[0] == "done":
                return Step(sets, int(words[1]) / 1e9, int(words[2]) / 1e9)
            if words[0] == "error":
                raise RuntimeError(line)
            sets[words[0]].update(range(int(words[1], 16), int(words[2], 16), self.page))
        raise RuntimeError("the writer died")

    def close(self):
        self.popen.kill()
        self.popen.communicate()


class Step:
    """What the writer did, and when."""

    def __init__(self, sets, begin, end):
        self.changed, self.soft, self.dropped = sets["c"], sets["s"], sets["d"]
        self.begin, self.end = begin, end


class Epoch:
    """What the command printed."""

    def __init__(self, line, writer):
        self.end = line["t"]
        # Somewhere in here each page was read and armed again.
        self.rearm = line["t"] - line["cost"]["collect_s"] - 1e-4
        self.lost = line["lost"]
        self.observed, self.assumed = {}, set()
        for r in line["ranges"]:
            a, b = max(int(r["start"], 16), writer.start), min(int(r["end"], 16), writer.end)
            if r["pid"] != writer.popen.pid:
                continue
            for page in range(a, b, writer.page):
                if r["known"] == "observed":
                    self.observed[page] = r["granule"]
                else:
                    self.assumed.add(page)


def groups(epochs, steps):
    """Epochs with the steps that fell into them, joined where a step straddles."""
    at = 0
    joined, own = [], []
    for n, epoch in enumerate(epochs):
        joined.append(epoch)
        while at < len(steps) and steps[at].begin <= epoch.end:
            own.append(steps[at])
            at += 1
        straddles = own and own[-1].end >= epoch.rearm
        if not straddles or n == len(epochs) - 1:
            yield joined, own, straddles
            joined, own = [], []


def compare(joined, own, before):
    """Complaints about one group; `before` are pages dropped in the group before."""
    changed = set().union(*(s.changed for s in own)) if own else set()
    soft = set().union(*(s.soft | s.dropped for s in own)) if own else set()
    dropped = set().union(*(s.dropped for s in own)) if own else set()
    observed, assumed = {}, set()
    for epoch in joined:
        observed.update(epoch.observed)
        assumed |= epoch.assumed
    missed = changed - observed.keys() - assumed
    true = changed | dropped
    extra = [p for p, granule in observed.items() if p not in true and not
             any(q in true for q in range(p - p % granule, p - p % granule + granule, 4096))]
    excuse = assumed - soft - before
    out = []
    if any(e.lost for e in joined):
        out.append("track was lost")
    if missed:
        out.append(f"missed {len(missed)} of {len(changed)} pages, as {min(missed):#x}")
    if extra:
        out.append(f"{len(extra)} pages that did not change, as {min(extra):#x}")
    if excuse:
        out.append(f"{len(excuse)} pages assumed without excuse, as {min(excuse):#x}")
    return out, dropped, len(changed)


def run(kind, thp, threads, interval, args):
    """One kind of memory; the complaints, how many epochs stand alone, pages."""
    writer = Writer(kind, thp, threads, args.pages, args.seed)
    command = [PML, "dirty", "-p", str(writer.popen.pid), "--ranges", "--json", "-i",
               str(interval), "-n", str(args.epochs)]
    epochs, steps, complaints = [], [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as pml:
        for text in pml.stdout:
            line = json.loads(text)
            if line["type"] != "epoch":
                continue
            epochs.append(Epoch(line, writer))
            if len(epochs) < args.epochs:
                steps.append(writer.do("mix"))
        words = pml.stderr.read()
        if pml.wait() != 0:
            complaints.append(f"pml ended with {pml.returncode}: {words}")
    writer.close()
    if len(epochs) != args.epochs:
        complaints.append(f"{len(epochs)} epochs of {args.epochs}")
    before, alone, pages = set(), 0, 0
    for n, (joined, own, straddles) in enumerate(groups(epochs, steps)):
        # A step that was still under way when the command ended has no epoch after it.
        if straddles:
            continue
        found, before, count = compare(joined, own, before)
        complaints += [f"group {n}: {c}" for c in found]
        alone += len(joined) == 1 and bool(own)
        pages += count
    return complaints, alone, pages


def cell(kind, thp, threads, args):
    """One kind of memory; the complaints and a line of figures."""
    interval = args.interval
    while True:
        complaints, alone, pages = run(kind, thp, threads, interval, args)
        figures = f"{args.epochs} epochs, {alone} with changes of their own, {pages} pages"
        if complaints or (alone and pages):
            return complaints, figures
        # On a busy machine each step straddles epochs that are so short.
        if interval > 1:
            return [f"no epoch of {interval} s stands alone"], figures
        interval *= 4


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--interval", type=float, default=0.02)
    parser.add_argument("--pages", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=os.getpid())
    args = parser.parse_args()
    info = json.loads(subprocess.run([PML, "info", "--json"], capture_output=True, check=True,
                                     text=True).stdout)
    if not any(b["available"] and b["external"] for b in info["backends"]):
        print("1..0 # SKIP no back-end can track another process here")
        return 77
    n = failed = 0
    print(f"# seed {args.seed}")
    for kind in "anon", "memfd", "file-private", "file-shared":
        for thp in (False, True) if kind in ("anon", "memfd") else (False,):
            for threads in 1, 4:
                n += 1
                complaints, figures = cell(kind, thp, threads, args)
                name = f"pml dirty is exact: {kind}{', huge pages' if thp else ''}, {threads} threads"
                print(f"{'not ' if complaints else ''}ok {n} - {name}", flush=True)
                print(f"# {figures}", *complaints[:8], sep="\n# ", flush=True)
                failed += bool(complaints)
    print(f"1..{n}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
