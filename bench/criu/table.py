#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a page and its pictures of what bench/criu/inside has left: what ten pre-dumps and
a dump cost, by where CRIU has its dirty pages from.  Called by bench/criu/run.

    table.py OUTPUT PAGE          PAGE.md, PAGE-time.svg and more

Exit status 1 if a verdict at the end of the page is not met.
"""
import json
import pathlib
import re
import statistics
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import model  # noqa: E402  # pylint: disable=wrong-import-position

FIELDS = {2: "frozen", 3: "taking", 4: "writing", 7: "pages"}
DEVICE = ("epml", "spml")
METHODS = ("stock", "wp-async", "ptscan") + DEVICE
# of the time for which the program stands still
PARTS = ("stopping", "collect", "iov building", "taking", "the rest")


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
    """CRIU's image: two magic words, the size, a message; of it that of the dump.  Times
    in ms."""
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 8)[0]
    dump = fields(fields(data[12:12 + size])[1])
    return {name: dump.get(field, 0) / (1 if name == "pages" else 1000)
            for field, name in FIELDS.items()}


def read_log(path):
    """The frozen time by CRIU's log, in ms.  The first mapping is small: what CRIU does
    until it is done with that is asking the plugin's keeper, or opening the pagemap."""
    lines = re.findall(r"^\((\d+\.\d+)\) *(.*)", path.read_text(encoding="utf-8"), re.M)
    marks, mapped = {}, 0
    for when, words in lines:
        now = float(when) * 1000
        generated = re.match(r"Pagemap generated: (\d+) pages \(\d+ lazy\) (\d+) holes", words)
        if words.startswith("Seized task"):
            marks.setdefault("seized", now)
        elif words.startswith("Dumping pages (type"):
            marks["asked"] = now
        elif generated:
            marks.setdefault("known", now)
            marks["built"] = now
            mapped += int(generated[1]) + int(generated[2])
        elif "built" in marks and words.startswith("Reset "):
            marks["taken"] = now
        elif "taken" in marks and words == "... done":
            marks.setdefault("reset", now)
        elif words.startswith("Unfreezing tasks"):
            marks["freed"] = now
    return dict(zip(PARTS, (marks["asked"] - marks["seized"],
                            marks["known"] - marks["asked"] + marks["reset"] - marks["taken"],
                            marks["built"] - marks["known"], marks["taken"] - marks["built"],
                            marks["freed"] - marks["reset"])),
                mapped=mapped)


def read_rounds(folder):
    """Of each round its numbers; `keeper` is the time of all collects for it, of which most
    is before the program stands still."""
    rounds, before = [], 0
    for n in sorted(int(p.stem) for p in folder.glob("*.stats")):
        found = read_stats(folder / f"{n}.stats") | read_log(folder / f"{n}.log")
        kept = folder / f"{n}.keeper"
        if kept.exists():
            of_all = json.loads(kept.read_text(encoding="utf-8"))["processes"]
            now = sum(process["collect_ns"] for process in of_all) / 1e6
            # after the dump the process is gone
            if now >= before:
                found["keeper"] = now - before
            before = now
        rounds.append(found)
    return rounds


def read_batches(folder):
    """(ms of the processor, faults) of each time the writer wrote between rounds."""
    path = folder / "batches"
    if not path.exists():
        return []
    pairs = [line.split() for line in path.read_text(encoding="ascii").splitlines()[1:]]
    return [(float(seconds) * 1000, int(faults)) for seconds, faults in pairs]


class Load:
    """What was measured of one: by method the rounds, and the batches of the writer."""

    def __init__(self, name, output):
        written = re.fullmatch(r"writer-\d+-(\d+)", name)
        self.name, self.dirty = name, int(written[1]) if written else 0
        self.rounds, self.batches = {}, {"alone": read_batches(output / f"{name}.alone")}
        for method in METHODS:
            rounds = read_rounds(output / f"{name}.{method}")
            batches = read_batches(output / f"{name}.{method}")
            # not of a run that was cut short
            if len(rounds) > 2 and (batches or not written):
                self.rounds[method], self.batches[method] = rounds, batches

    def later(self, method):
        """Its pre-dumps after the first."""
        return self.rounds[method][1:-1]

    def middle(self, method, what):
        values = [r[what] for r in self.later(method) if what in r]
        return statistics.median(values) if values else None

    def alone(self):
        """ms and faults of a batch without CRIU."""
        return [statistics.median(column) for column in zip(*self.batches["alone"])]

    def on_top(self, method):
        """ms of all batches on top of those without CRIU."""
        return sum(ms for ms, _ in self.batches[method]) - \
            self.alone()[0] * len(self.batches[method])

    def faults(self, method):
        """Of a batch, on top of those without CRIU."""
        return statistics.median(f for _, f in self.batches[method]) - self.alone()[1]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def spread(values, form="{:.1f}"):
    return f"{form.format(statistics.median(values))} " \
           f"({form.format(min(values))}..{form.format(max(values))})"


def ms(value):
    # not "-0.0"
    return "-" if value is None else f"{round(value, 1) + 0:.1f}"


def counts_table(load):
    head = ["dirty pages from", "pages, first round", "later rounds", "dump"]
    if load.dirty:
        head += ["faults in the program", "ms on top, all rounds"]
    rows = []
    for method, rounds in load.rounds.items():
        row = [method, f"{rounds[0]['pages']:.0f}",
               spread([r["pages"] for r in load.later(method)], "{:.0f}"),
               f"{rounds[-1]['pages']:.0f}"]
        if load.dirty:
            row += [f"{load.faults(method):.0f}",
                    "-" if method in DEVICE else ms(load.on_top(method))]
        rows.append(row)
    return table(head, rows)


def times_table(load):
    head = ["ms", "frozen"] + list(PARTS) + \
        ["writing", "keeper's collects", "frozen, first round", "frozen, dump"]
    rows = []
    for method, rounds in load.rounds.items():
        if method in DEVICE:
            continue
        rows.append([method, spread([r["frozen"] for r in load.later(method)])] +
                    [ms(load.middle(method, what)) for what in PARTS + ("writing", "keeper")] +
                    [ms(rounds[0]["frozen"]), ms(rounds[-1]["frozen"])])
    return table(head, rows)


def model_of(load):
    """By the pages that CRIU alone mapped and wrote, in ms: {name: estimate}."""
    first, later = load.rounds["stock"][0]["pages"], load.middle("stock", "pages")
    estimates = {
        "soft-dirty": model.soft_dirty(load.middle("stock", "mapped")),
        "SPML, first round": model.spml(first, first),
        "SPML, later": model.spml(later, 0),
        "EPML": model.epml(later),
        "program, soft-dirty": later * model.FAULT,
        "program, EPML": model.tracked(later),
    }
    return {name: 1000 * seconds for name, seconds in estimates.items()}


def model_table(loads):
    return table(["load", "pages mapped", "written"] + list(model_of(loads[0])),
                 [[load.name, f"{load.middle('stock', 'mapped'):.0f}",
                   f"{load.middle('stock', 'pages'):.0f}"] +
                  [f"{value:.3g}" for value in model_of(load).values()] for load in loads])


def verdicts(loads):
    """[(met, words)]"""
    found = []
    for load in (load for load in loads if load.dirty >= 10000):
        for method in load.rounds:
            pages = [r["pages"] for r in load.later(method)]
            found.append((min(pages) >= load.dirty and max(pages) <= 1.02 * load.dirty,
                          f"{load.name}, {method}: {min(pages):.0f} to {max(pages):.0f} pages "
                          f"written, {load.dirty} dirty: at most 1.02 times, never fewer"))
        for method in load.rounds:
            faults = load.faults(method)
            if method == "stock":
                found.append((load.dirty <= faults <= 1.02 * load.dirty,
                              f"{load.name}, stock: {faults:.0f} faults a round, one for each "
                              "dirty page"))
            elif method != "wp-async":
                found.append((faults == 0, f"{load.name}, {method}: {faults:.0f} faults a round, "
                              "none"))
        if "stock" in load.rounds and "ptscan" in load.rounds:
            stock, ours = load.on_top("stock"), load.on_top("ptscan")
            found.append((stock >= 4 * ours,
                          f"{load.name}: on top of the program's own time {stock:.1f} ms with "
                          f"soft-dirty, {round(ours, 1) + 0:.1f} with ptscan: at least 4 times less"))
    return found


def draw(path, title, columns, rows, style="clustered gap 1", more="set yrange [*<0:*]"):
    """A histogram: columns by rows of (name, values); None is nothing there."""
    text = "\n".join(f'"{name}" ' + " ".join("?" if v is None else f"{v:.4f}" for v in values)
                     for name, values in rows)
    curves = ", ".join(f"$data using {i + 2}:xtic(1) title '{name}' lc {i + 1}"
                       for i, name in enumerate(columns))
    script = (f"set terminal svg size 940,500 font 'sans,12' background rgb 'white'\n"
              f"set output '{path}'\n$data << EOD\n{text}\nEOD\n"
              f"set datafile missing '?'\nset style data histogram\nset style histogram {style}\n"
              "set style fill solid 0.8\nset boxwidth 0.85\nset grid y\n"
              "set key outside top center horizontal\n"
              "set xtics rotate by 35 right font ',10' noenhanced\n"
              f"{more}\nset ylabel 'ms'\nset title '{title}'\nplot {curves}\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def pictures(loads, page):
    timed = [m for m in METHODS if m not in DEVICE]
    draw(f"{page}-time.svg", "A pre-dump after the first: the program stopped, and writing",
         timed, [(load.name, [load.middle(m, "frozen") + load.middle(m, "writing")
                              if m in load.rounds else None for m in timed]) for load in loads])
    draw(f"{page}-frozen.svg", "How long a pre-dump after the first stops the program, and why",
         PARTS, [(f"{load.name}, {m}", [load.middle(m, part) for part in PARTS])
                 for load in loads for m in timed if m in load.rounds], style="rowstacked")
    draw(f"{page}-program.svg", "What the program pays on top of its own time, all rounds together",
         timed, [(load.name, [load.on_top(m) if m in load.rounds else None for m in timed])
                 for load in loads if load.dirty])
    estimates = [(load.name, list(model_of(load).values())) for load in loads]
    draw(f"{page}-model.svg", "What a round takes on real hardware by the published model, not measured",
         model_of(loads[0]), estimates, more="set logscale y")


SETTING = """Made by `bench/criu/run`: {rounds} pre-dumps and a dump of each load, CRIU {criu}, Linux
{kernel} in emulated guests.  `stock` is CRIU with soft-dirty, the others have the plugin
([criu.md](criu.md)).  The clock of the guest counts instructions, a nanosecond each: times
compare methods on this page and mean nothing elsewhere, and what a processor does without
instructions, such as to walk page tables and to set their bits, takes none.  While the guest
waits for a disk that clock jumps: single rounds far off the others are that.  `epml` and
`spml` ran in another guest, whose instrumented processor says nothing of time: there it is
only counted.

`writer-MIB-PAGES` writes to so many random pages between two rounds; of `redis-KEYS` a
twentieth of the keys is set; `tkrzw-ENGINE` works on, and rounds are taken by the clock: how
much it has written by then depends on what the method costs it, and its pages are not to be
compared.  Medians of the pre-dumps after the first (least..most).  Where memory lies in huge
pages, as some of Redis's does, soft-dirty and ptscan know by 2 MiB what was written; wp-async,
which splits them, and the device's log by 4 KiB: that is why fewer pages are written there."""

SPLIT = """Of the time that the program stands still, by CRIU's log: `stopping` it and putting CRIU's
code into it; `collect`, asking for the dirty pages, and the reset of the bits; `iov building`,
the list of what is to be written; `taking` the pages out of the process; `the rest`.  CRIU
alone asks the kernel mapping by mapping while it builds that list, which cannot be told apart:
its `collect` is little more than the reset.  `writing` the images comes after it for a
pre-dump, and is within `taking` for a dump.  `keeper's collects` are all of libpml's for a
round; most is before the program is stopped."""

MODEL = """Not measured: what the published cost model (`bench/model.py`) takes on real hardware for the
pages that `stock` mapped and wrote, in ms a round.  SPML has to find the address of each page
when it first sees it; later rounds have it (pages that are new by then are left out).  What
the program pays for SPML is EPML's and an exit for every 512 pages, for which nothing is
published."""


def report(loads, output, page):
    log = next(output.glob("*/1.log")).read_text(encoding="utf-8")
    kernel = (output / "kernel").read_text(encoding="ascii").strip()
    name = page.name
    found = verdicts(loads)
    text = ["<!-- SPDX-License-Identifier: MIT -->", "# Checkpoints: figures\n",
            SETTING.format(rounds=max(len(r) for load in loads for r in load.rounds.values()) - 1,
                           kernel=kernel, criu=re.search(r"Version: (\S+)", log)[1]),
            f"\n![time]({name}-time.svg)\n", f"![on top]({name}-program.svg)\n",
            "## How long the program stands still\n", SPLIT, f"\n![frozen]({name}-frozen.svg)\n"]
    for load in loads:
        text += [f"## {load.name}\n", counts_table(load), times_table(load)]
    text += ["## The cost model's estimate\n", MODEL + "\n",
             model_table(loads), f"![model]({name}-model.svg)\n", "## Verdicts\n"]
    text += [f"- {'met' if met else '**not met**'}: {words}" for met, words in found]
    page.with_name(name + ".md").write_text("\n".join(text) + "\n", encoding="utf-8")
    return all(met for met, _ in found)


def size_of(name):
    return [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", name)]


def main():
    output, page = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    names = {p.name.rpartition(".")[0] for p in output.iterdir() if p.is_dir()}
    loads = [Load(name, output) for name in sorted(names, key=size_of)]
    loads = [load for load in loads if "stock" in load.rounds]
    good = report(loads, output, page)
    pictures(loads, page)
    print(f"{page}.md")
    return 0 if good else 1


sys.exit(main())
