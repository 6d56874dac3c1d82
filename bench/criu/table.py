#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What ten pre-dumps and a dump cost, by where CRIU has its dirty pages from; called by
bench/criu/run.

    table.py OUTPUT [--plot FILE.svg]

Of each load and method: pages written by a round after the first, pages that the writer
wrote to, its page faults and the time of its processor for that, beside the same without
CRIU (medians, least and most in brackets); how long the program stood still, of that how
long until its pages were known and taken, and how long writing them took (CRIU's own
statistics).
"""
import argparse
import pathlib
import re
import statistics
import struct
import subprocess

FIELDS = {2: "frozen", 3: "taking", 4: "writing", 7: "pages"}
METHODS = ("alone", "stock", "wp-async", "ptscan", "epml", "spml")
DEVICE = ("epml", "spml")


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def fields(data):
    """The numbers and the messages of a protobuf message, by field."""
    at, found = 0, {}
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            found[key >> 3], at = varint(data, at)
        elif key & 7 == 2:
            size, at = varint(data, at)
            found[key >> 3], at = data[at:at + size], at + size
        else:
            raise ValueError(f"field {key >> 3} of kind {key & 7}")
    return found


def read_stats(path):
    """CRIU's image: two magic words, the size, a message; of it that of the dump."""
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 8)[0]
    dump = fields(fields(data[12:12 + size])[1])
    return {name: dump.get(field, 0) for field, name in FIELDS.items()}


def read(folder):
    numbers = sorted(int(p.stem) for p in folder.glob("*.stats"))
    rounds = [read_stats(folder / f"{n}.stats") for n in numbers]
    batches = []
    if (folder / "batches").exists():
        batches = [tuple(map(float, line.split()))
                   for line in (folder / "batches").read_text(encoding="ascii").splitlines()]
    return rounds, batches


def middle(values, scale=1.0, form="{:.1f}"):
    values = [v * scale for v in values]
    if not values:
        return "-"
    return (form.format(statistics.median(values)) +
            f" ({form.format(min(values))}..{form.format(max(values))})")


def rows_of(load, output):
    found = {m: read(output / f"{load}.{m}") for m in METHODS if (output / f"{load}.{m}").exists()}
    rows = []
    for method, (rounds, batches) in found.items():
        if method == "alone":
            continue
        later = rounds[1:-1]
        row = [method, middle([r["pages"] for r in later], form="{:.0f}")]
        if batches:
            alone = [t for t, _ in found["alone"][1][1:]] if "alone" in found else []
            extra = [t - statistics.median(alone) for t, _ in batches[1:]] if alone else []
            row += [middle([f for _, f in batches[1:]], form="{:.0f}"),
                    "(another guest)" if method in DEVICE else middle(extra, 1000)]
        row += [middle([r["frozen"] for r in later], 1e-3),
                middle([r["taking"] for r in later], 1e-3),
                middle([r["writing"] for r in later], 1e-3),
                f"{rounds[0]['frozen'] / 1000:.1f}", f"{rounds[-1]['frozen'] / 1000:.1f}"]
        rows.append(row)
    return rows, found


def print_load(load, rows, found):
    head = ["dirty pages from", "pages written"]
    if any(batches for _, batches in found.values()):
        head += ["faults", "ms on top"]
    head += ["frozen, ms", "taking", "writing", "frozen, first", "frozen, dump"]
    print(f"\n### {load}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    if "alone" in found and "stock" in found and "ptscan" in found:
        base = statistics.median(t for t, _ in found["alone"][1][1:])
        over = {m: sum(t for t, _ in found[m][1][1:]) - base * len(found[m][1][1:])
                for m in ("stock", "wp-async", "ptscan") if m in found}
        words = ", ".join(f"{m} {1000 * t:.1f} ms" for m, t in over.items())
        print(f"\nWhat all rounds together cost the program on top of "
              f"{1000 * base * len(found['stock'][1][1:]):.1f} ms: {words}.")


def plot(output, loads, path, kernel):
    methods = [m for m in METHODS[1:] if m not in DEVICE]
    lines = []
    for load in loads:
        values = []
        for method in methods:
            folder = output / f"{load}.{method}"
            rounds = read(folder)[0][1:-1] if folder.exists() else []
            values.append(statistics.median(r["frozen"] for r in rounds) / 1000 if rounds
                          else float("nan"))
        lines.append(f'"{load}" ' + " ".join(f"{v:.2f}" for v in values))
    data = "\n".join(lines)
    curves = ", ".join(f"$data using {i + 2}:xtic(1) title '{m}' lc {i + 1}"
                       for i, m in enumerate(methods))
    script = (f"set terminal svg size 860,420 font 'sans,12' background rgb 'white'\n"
              f"set output '{path}'\n$data << EOD\n{data}\nEOD\n"
              "set style data histogram\nset style histogram clustered gap 1\n"
              "set style fill solid 0.8\nset grid y\nset key top left\n"
              "set xtics rotate by -30\nset yrange [0:*]\nset ylabel 'ms'\n"
              f"set title 'How long a pre-dump after the first stops the program ({kernel})'\n"
              f"plot {curves}\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def size_of(load):
    return [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", load)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    args = parser.parse_args()
    kernel = (args.output / "kernel").read_text(encoding="ascii").strip()
    loads = sorted({p.name.rpartition(".")[0] for p in args.output.iterdir() if p.is_dir()},
                   key=size_of)
    print(f"Linux {kernel}, in emulated guests; medians (least..most)")
    for load in loads:
        rows, found = rows_of(load, args.output)
        if rows:
            print_load(load, rows, found)
    if args.plot:
        plot(args.output, loads, args.plot, kernel)


main()
