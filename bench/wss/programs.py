#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds curves of real programs to what these were told to do; called by bench/wss/programs.

    programs.py OUTPUT [--plot FILE.svg]

Of each phase the most that one epoch wholly within it touched, less what the program
touched of its own, which is what it touched in the first, in which it had nothing to do.
It agrees if that is what it was told to, less a twentieth, to a tenth and 4 MiB on top, for
what belongs to the records.  An engine of tkrzw touches as much again for its own; it
agrees if at some time all of its records were in the window.
"""
import argparse
import json
import pathlib
import subprocess
import sys

MIB = 1 << 20


def read(folder, name):
    lines = [json.loads(line)
             for line in (folder / f"{name}.lines").read_text(encoding="ascii").splitlines()]
    phases = [tuple(map(float, line.split()))
              for line in (folder / f"{name}.phases").read_text(encoding="ascii").splitlines()]
    return lines, phases


def judge_phases(lines, phases):
    """Rows of (told, seen), and whether they agree."""
    rows, good, own = [], True, None
    ends = [begin for begin, _ in phases[1:]] + [lines[-1]["t"]]
    for (begin, size), end in zip(phases, ends):
        # half a second: the clock of the phases, and a collect that goes on
        inside = [line["last_bytes"] / MIB for line in lines
                  if line["t"] - line["interval"] > begin + 0.5 and line["t"] < end - 0.5]
        if not inside:
            rows.append((size, None))
            continue
        if own is None:
            own = max(inside) - size
        seen = max(inside) - own
        rows.append((size, seen))
        good = good and 0.95 * size <= seen <= 1.1 * size + 4
    return rows, good and sum(seen is not None for _, seen in rows) > 1


def judge_engine(lines, phases):
    told = phases[0][1]
    seen = max(line["seen_bytes"] for line in lines) / MIB
    return [(told, seen)], seen >= 0.9 * told


def plot(curves, path, kernel):
    blocks, parts = [], []
    for i, (name, lines, phases) in enumerate(curves):
        start = lines[0]["t"] - lines[0]["interval"]
        last = max(lines[-1]["t"], phases[-1][0]) - start
        steps = [(begin - start, size) for begin, size in phases] + [(last, phases[-1][1])]
        blocks.append(f"$told{i} << EOD\n" + "\n".join(f"{t:.2f} {s:.1f}" for t, s in steps) +
                      "\nEOD")
        blocks.append(f"$seen{i} << EOD\n" + "\n".join(
            f"{line['t'] - start:.2f} {line['last_bytes'] / MIB:.2f} "
            f"{line['rss_bytes'] / MIB:.2f}" for line in lines) + "\nEOD")
        parts.append(f"set title '{name}'\nplot $told{i} using 1:2 with steps lw 4 lc rgb "
                     f"'#bbbbbb' title 'told to', $seen{i} using 1:2 with linespoints pt 7 ps 0.4 "
                     f"lw 2 lc 7 title 'touched', $seen{i} using 1:3 with lines lc 6 "
                     f"title 'resident'")
    rows = (len(curves) + 1) // 2
    script = (f"set terminal svg size 860,{220 * rows + 30} font 'sans,11' "
              f"background rgb 'white'\nset output '{path}'\n" + "\n".join(blocks) +
              f"\nset multiplot layout {rows},2 title 'What programs touch in an epoch (MiB over "
              f"seconds; {kernel})'\nset yrange [0:*]\nset xrange [0:*]\n"
              "set key below horizontal samplen 2\n" + "\n".join(parts) +
              "\nunset multiplot\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    args = parser.parse_args()
    kernel = (args.output / "kernel").read_text(encoding="ascii").strip()
    failed, curves = [], []
    print(f"Linux {kernel}; MiB told to work with, and seen")
    for name in sorted(p.stem for p in args.output.glob("*.phases")):
        lines, phases = read(args.output, name)
        rows, good = (judge_phases if len(phases) > 1 else judge_engine)(lines, phases)
        told = ", ".join(f"{size:.0f}: " + ("no epoch" if seen is None else f"{seen:.1f}")
                         for size, seen in rows)
        print(f"  {name:8} {told}{'' if good else '   DOES NOT AGREE'}")
        curves.append((name, lines, phases))
        if not good:
            failed.append(name)
    if args.plot:
        plot(curves, args.plot, kernel)
    if failed:
        sys.exit(f"programs: {', '.join(failed)}: the curve does not agree with what was told; "
                 "keep the output with --keep and look at the lines")


main()
