#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the estimators made of a working set that is a half, once and twice the memory
given; called by bench/wss/given.

    given.py OUTPUT [--plot FILE.svg]

Of each estimator the median of its last eight lines, as a share of the truth, and the
time that it took for an epoch.  An estimator that says it knows nothing has no share.
"""
import argparse
import json
import pathlib
import statistics
import subprocess

MIB = 1 << 20
GIVEN = 64
SIZES = (32, 64, 128)
NAMES = ("pml", "smaps", "written", "sampling", "sampling-present", "damon", "zballoond", "geiger",
         "exclusive-cache", "mpa", "committed")


def read(path):
    """The median estimate in MiB, None if there is none, and the median cost in s."""
    lines = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()][-8:]
    known = [line["wss_bytes"] / MIB for line in lines if line["wss_bytes"] is not None]
    cost = statistics.median(line["cost"]["collect_s"] for line in lines)
    return statistics.median(known) if 2 * len(known) > len(lines) else None, cost


def row(name, found):
    cells = []
    for size in SIZES:
        if size not in found:
            cells.append(f"{'-':>18}")
        elif found[size][0] is None:
            cells.append(f"{'no number':>18}")
        else:
            cells.append(f"{found[size][0]:8.1f} = {found[size][0] / size:5.2f} x")
    costs = " ".join(f"{1000 * found[s][1]:7.1f}" for s in SIZES if s in found)
    return f"{name:16} {' '.join(cells)}   {costs}"


def plot(results, path, kernel):
    lines = []
    for name, found in results:
        shares = [found[s][0] / s if s in found and found[s][0] else float("nan") for s in SIZES]
        lines.append(f'"{name}" ' + " ".join(f"{share:.4f}" for share in shares))
    data = "\n".join(lines)
    titles = [f"a working set of {size / GIVEN:g} x the memory given" for size in SIZES]
    curves = ", ".join(f"$data using {i + 2}:xtic(1) title '{title}' lc {i + 1}"
                       for i, title in enumerate(titles))
    script = (f"set terminal svg size 860,400 font 'sans,12' background rgb 'white'\n"
              f"set output '{path}'\n$data << EOD\n{data}\nEOD\n"
              f"set style data histogram\nset style histogram clustered gap 1\n"
              f"set style fill solid 0.8\nset logscale y\nset yrange [0.02:100]\n"
              f"set grid y\nset key top left\nset xtics rotate by -30\n"
              f"set ylabel 'estimate / truth'\n"
              f"set title 'Estimates with too little, just enough and enough memory ({kernel})'\n"
              f"plot {curves}, 1 with lines lw 2 lc rgb 'black' title 'the truth'\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    args = parser.parse_args()
    kernel = (args.output / "kernel").read_text(encoding="ascii").strip()
    results = []
    print(f"Linux {kernel}, {GIVEN} MiB given; MiB and share of the truth; ms an epoch")
    print(f"{'':16} " + " ".join(f"{f'{size} MiB':>18}" for size in SIZES))
    for name in NAMES:
        found = {size: read(args.output / str(size) / name) for size in SIZES
                 if (args.output / str(size) / name).exists()}
        if found:
            results.append((name, found))
            print(row(name, found))
    if args.plot:
        plot(results, args.plot, kernel)


main()
