#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares what the estimators said with what the load did; called by bench/wss/run.

    judge.py OUTPUT [--plots DIR]

An epoch is judged if a whole pass of the load lies in it.  The truth is then the
most that one pass touched; where a step of the load falls into the epoch, anything
between the passes wholly and partly within it is true.  An estimate over a window of
epochs is judged by what was touched in the window; "of before" are those epochs of
which it still tells more than was touched in the last one.  Exit status 1: the
estimator "pml" was off by more than 1 % in some window.

The load's truth is of its region alone, and so is what is measured.  Only the sums in
smaps are of the process as a whole: there up to OWN_PAGES more, its stack, its library's
data and its log, are no error.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
from bisect import bisect_left

PAGE = 4096
TOLERANCE = 0.01
OWN_PAGES = 96
MIB = 1 << 20


def read_truth(path):
    """(begin, end, pages, written) of each pass."""
    rows = []
    for line in path.read_text(encoding="ascii").splitlines():
        begin, end, pages, written = line.split()
        rows.append((float(begin), float(end), int(pages), int(written)))
    return rows


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def truth_of(passes, lines, at, window=1):
    """The least and the most that was touched in a window; None: no whole pass."""
    first, end = max(at - window + 1, 0), lines[at]["t"]
    begin = lines[first]["t"] - lines[first]["interval"]
    # While the collect before goes on, some pages are armed for this epoch already.
    early = begin - (lines[first - 1]["cost"]["collect_s"] if first else 1) - 0.001
    ends = [p[1] for p in passes]
    whole, partly = [], []
    for one in passes[bisect_left(ends, early):]:
        if one[0] > end:
            break
        partly.append(one[2])
        if one[0] >= begin and one[1] <= end - lines[at]["cost"]["collect_s"]:
            whole.append(one[2])
    if not whole:
        return None
    return max(whole) * PAGE, max(partly) * PAGE


def error_of(wss, truth, own_pages):
    low, high = truth
    return max(0, low - wss, wss - high - own_pages * PAGE) / high


class Score:
    def __init__(self, name):
        self.name, self.off, self.before, self.errors = name, 0, 0, []
        self.points = []
        self.own_pages = OWN_PAGES if name == "smaps" else 0

    def judge(self, passes, lines):
        for at, line in enumerate(lines):
            last = truth_of(passes, lines, at)
            truth = truth_of(passes, lines, at, line.get("window", 1))
            if last is None or truth is None:
                continue
            wss = line["wss_bytes"]
            self.errors.append(error_of(wss, truth, self.own_pages))
            self.off += self.errors[-1] > TOLERANCE
            self.before += wss > last[1] and error_of(wss, last, self.own_pages) > TOLERANCE
            self.points.append((line["t"] - passes[0][0], wss / MIB))

    def median(self):
        return sorted(self.errors)[len(self.errors) // 2]

    def row(self):
        if not self.errors:
            return f"  {self.name:12} no epoch to judge"
        return (f"  {self.name:12} {len(self.errors):4} epochs, {self.off:4} off by more than "
                f"1 %; error: median {100 * self.median():6.2f} %, most "
                f"{100 * max(self.errors):6.2f} %; of before: {self.before}")


def judge_forecast(lines, passes):
    """Sums of the errors of the forecasts and of the last value, over whole epochs, from
    when a period is known; and of how many epochs."""
    ours = last = epochs = 0
    for at in range(1, len(lines)):
        before, line = lines[at - 1], lines[at]
        if not before["period"] or truth_of(passes, lines, at) is None:
            continue
        ours += abs(before["forecast_bytes"] - line["last_bytes"])
        last += abs(before["last_bytes"] - line["last_bytes"])
        epochs += 1
    return ours, last, epochs


def judge_load(folder):
    passes = read_truth(folder / "truth")
    scores = []
    print(folder.name)
    for path in sorted(folder.iterdir()):
        if path.name in ("truth", "truth.region", "go", "messages", "committed"):
            continue
        score = Score(path.name)
        lines = read_lines(path)
        score.judge(passes, lines)
        scores.append(score)
        print(score.row())
        if path.name == "pml" and folder.name.startswith("periodic"):
            ours, last, epochs = judge_forecast(lines, passes)
            print(f"    forecast in the {epochs} epochs with a period: sum of errors "
                  f"{ours / MIB:.0f} MiB; by the last value {last / MIB:.0f} MiB")
    committed = max(line["wss_bytes"] for line in read_lines(folder / "committed"))
    most = max(p[2] for p in passes) * PAGE
    print(f"  {'committed':12} {committed / MIB:.0f} MiB of the whole system; the load touched "
          f"{most / MIB:.0f} MiB at most")
    return passes, scores


def plot(folder, passes, scores, directory):
    data = directory / f"wss-{folder.name}.dat"
    picture = directory / f"wss-{folder.name}.svg"
    start = passes[0][0]
    blocks = ["\n".join(f"{p[0] - start:.3f} {p[2] * PAGE / MIB:.2f}" for p in passes)]
    names = ["truth"]
    for score in scores:
        names.append(score.name)
        blocks.append("\n".join(f"{t:.3f} {wss:.2f}" for t, wss in score.points))
    data.write_text("\n\n\n".join(blocks) + "\n", encoding="ascii")
    kinds = {"truth": "with steps lw 4 lc rgb '#bbbbbb'",
             "pml": "with linespoints lw 2 pt 7 ps 0.5 lc 7",
             "written": "with linespoints pt 4 ps 0.5 lc 6",
             "sampling": "with linespoints pt 2 ps 0.6 lc 2",
             "smaps": "with linespoints pt 6 ps 0.7 lc 4"}
    curves = ", ".join(f"'{data}' index {i} {kinds.get(n, 'with lines')} title '{n}'"
                       for i, n in enumerate(names))
    script = (f"set terminal svg size 760,340 font 'sans,12' background rgb 'white'\n"
              f"set output '{picture}'\nset key outside right\nset yrange [-5:*]\n"
              f"set xlabel 'seconds'\nset ylabel 'MiB'\nset title '{folder.name}'\n"
              f"plot {curves}\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    data.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--plots", type=pathlib.Path)
    args = parser.parse_args()
    failed, judged = [], 0
    kernel = (args.output / "kernel").read_text(encoding="ascii").strip()
    print(f"Linux {kernel}")
    if args.plots:
        args.plots.mkdir(parents=True, exist_ok=True)
        if not shutil.which("gnuplot"):
            sys.exit("judge: --plots: gnuplot is not installed; apt-get install gnuplot-nox")
    for folder in sorted(p for p in args.output.iterdir() if p.is_dir()):
        if not (folder / "go").exists():
            sys.exit(f"judge: {folder}: the load has not begun; see {folder / 'messages'}")
        passes, scores = judge_load(folder)
        for score in scores:
            if score.name == "pml":
                judged += len(score.errors)
                if score.off:
                    failed.append(folder.name)
        if args.plots:
            plot(folder, passes, scores, args.plots)
    if failed:
        sys.exit(f"judge: pml: off by more than 1 % in {', '.join(failed)}; "
                 "keep the output with --keep and look at the lines")
    if not judged:
        print("the estimator pml was not among them: this kernel does not tell references")


main()
