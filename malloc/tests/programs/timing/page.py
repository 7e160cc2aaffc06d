"""The file of samples, and the page that is written from it."""

import csv
import os
import platform
import statistics
import subprocess

HEAD = ["load", "round", "allocator", "wall_s", "cpu_s", "peak_kib", "after_kib"]
QUANTITIES = [("wall_s", "wall", "s"), ("cpu_s", "CPU", "s"), ("peak_kib", "peak memory", "MiB"), ("after_kib", "memory 10 s after", "MiB")]

VERSIONS = [
    ("redis-server", "--version"),
    ("psql", "--version"),
    ("/usr/bin/python3", "--version"),
    ("g++", "--version"),
    ("/usr/bin/rustc", "--version"),
    ("sqlite3", "--version"),
]

CAVEATS = """\
* Every allocator is preloaded, glibc's too, so that a program that is linked with another one (Debian's redis, with jemalloc) is on it.
* wall is the time of the load. CPU is user and system time of the program and all its children; of a server from its start to its end,
  without that of its clients, which run without a preloaded library.
* Peak memory is the resident set of the largest process of a command; of a server the most that all its processes had (Pss, looked at
  twice a second). Memory 10 s after is the same ten seconds after the load, when the server is idle: redis after two of three keys were
  deleted, postgres with four sessions open.
* postgres, python and cargo's rustc have allocators of their own above malloc, for most small objects; python with PYTHONMALLOC=malloc
  has not. cargo and rustc are the distribution's: the rustc of rust-lang.org brings jemalloc as its own malloc, which nothing replaces.
* Figures are medians; the spread is the largest less the smallest of kmem's samples and those of the best peer, the larger of the two, as
  a part of the median. A difference inside the spread is no difference, and one round tells none: level.
"""


def machine(preloads):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(file.readline().split()[1]) / (1 << 20)
    yield "machine", "%d x %s, %.0f GiB, Linux %s" % (os.cpu_count(), model, memory, platform.release())
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="utf-8") as file:
            yield "transparent huge pages", file.read().split("[")[1].split("]")[0]
    except (OSError, IndexError):
        pass
    for name, allocator in preloads.items():
        yield name, allocator.version
    for program, flag in VERSIONS:
        try:
            output = subprocess.run([program, flag], capture_output=True, text=True, check=True).stdout
            yield os.path.basename(program), output.splitlines()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            pass


def begin(samples, preloads):
    """Writes the head of a new file; one that is there is gone on with."""
    if not os.path.exists(samples):
        with open(samples, "w", encoding="utf-8") as file:
            for name, fact in machine(preloads):
                file.write("# %s: %s\n" % (name, fact))
            file.write("\t".join(HEAD) + "\n")


def append(samples, load, number, allocator, cost):
    row = [load, number, allocator, "%.3f" % cost.wall, "%.3f" % cost.cpu, cost.peak, "" if cost.after is None else cost.after]
    with open(samples, "a", encoding="utf-8") as file:
        file.write("\t".join(map(str, row)) + "\n")


def read(samples):
    """The facts of the head, and the rows."""
    with open(samples, encoding="utf-8") as file:
        lines = file.read().splitlines()
    facts = [line[2:].partition(": ")[::2] for line in lines if line.startswith("# ")]
    return facts, list(csv.DictReader((line for line in lines if not line.startswith("# ")), delimiter="\t"))


def rounds_in(samples):
    """Load to the number of rounds begun."""
    if not os.path.exists(samples):
        return {}
    rounds = {}
    for row in read(samples)[1]:
        rounds[row["load"]] = max(rounds.get(row["load"], 0), int(row["round"]) + 1)
    return rounds


def table(head, rows):
    texts = ("load", "quantity", "fact", "", "best other", "kmem is")
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join("---" if name in texts else "---:" for name in head) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


class Row:
    """One quantity of one load: the samples of each allocator."""

    def __init__(self, load, quantity, unit, samples):
        self.load, self.quantity, self.unit = load, quantity, unit
        self.rounds = min(map(len, samples.values()))
        self.samples = samples
        self.median = {name: statistics.median(values) for name, values in samples.items()}
        self.best = min((name for name in self.median if name != "kmem"), key=self.median.get)
        self.ratio = self.median["kmem"] / self.median[self.best]
        self.spread = max((max(samples[name]) - min(samples[name])) / self.median[name] for name in ("kmem", self.best))

    def cells(self, names):
        shown = [shape(self.median[name], self.unit) if name in self.median else "-" for name in names]
        if abs(self.ratio - 1) <= self.spread or self.rounds < 2:
            verdict = "level"
        else:
            verdict = "behind" if self.ratio > 1 else "ahead"
        return [self.load, "%s, %s" % (self.quantity, self.unit), *shown, "%.2f" % self.ratio, self.best, "%.0f %%" % (100 * self.spread), verdict]


def shape(value, unit):
    return "%.2f" % value if unit == "s" else "%.1f" % value


def rows_of(samples):
    loads = list(dict.fromkeys(row["load"] for row in samples))
    for load in loads:
        for column, quantity, unit in QUANTITIES:
            values = {}
            for row in samples:
                if row["load"] == load and row[column]:
                    values.setdefault(row["allocator"], []).append(float(row[column]) / (1 if unit == "s" else 1024))
            if "kmem" in values and len(values) > 1:
                yield Row(load, quantity, unit, values)


def totals(rows, names):
    """Sums of medians, of the loads that every allocator has."""
    for quantity in (quantity for _, quantity, _ in QUANTITIES):
        chosen = [row for row in rows if row.quantity == quantity and set(names) <= set(row.median)]
        if chosen:
            unit = chosen[0].unit
            sums = {name: sum(row.median[name] for row in chosen) for name in names}
            best = min((name for name in names if name != "kmem"), key=sums.get)
            yield ["%s, %s" % (quantity, unit), *(shape(sums[name], unit) for name in names), "%.3f" % (sums["kmem"] / sums[best]), best]


def geometric(rows, names):
    """Each load counts the same: the geometric mean of the ratios to glibc."""
    for quantity in (quantity for _, quantity, _ in QUANTITIES):
        chosen = [row for row in rows if row.quantity == quantity and set(names) <= set(row.median)]
        if chosen and "glibc" in names:
            means = [statistics.geometric_mean(row.median[name] / row.median["glibc"] for row in chosen) for name in names]
            yield [quantity, *("%.3f" % mean for mean in means)]


def render(samples):
    facts, all_of_them = read(samples)
    rows = sorted(rows_of(all_of_them), key=lambda row: -row.ratio)
    names = list(dict.fromkeys(row["allocator"] for row in all_of_them))
    names.sort(key=["kmem", "glibc", "mimalloc", "jemalloc", "tcmalloc", *sorted(names)].index)
    rounds = [len(values) for row in rows for values in row.samples.values()]
    out = ["# Real programs on libkmem.so", ""]
    out.append("Written by `malloc/tests/programs/time` ([testing](testing.md)) from its samples; %s rounds in turns. That the same" % span(rounds))
    out += ["programs run right is the business of `malloc/tests/programs/run`.", ""]
    out += list(table(["fact", ""], facts))
    out += [CAVEATS]
    out += ["## Rows, losses first", "", "Less is better in every row; `ratio` is kmem to the best of the others.", ""]
    out += list(table(["load", "quantity", *names, "ratio", "best other", "spread", "kmem is"], [row.cells(names) for row in rows]))
    out += ["## Totals", "", "Sums of the medians over all loads; memory after over the servers.", ""]
    out += list(table(["quantity", *names, "ratio", "best other"], totals(rows, names)))
    out += ["Geometric means of the ratios to glibc, so that each load counts the same:", ""]
    out += list(table(["quantity", *names], geometric(rows, names)))
    return "\n".join(out)


def span(numbers):
    low, high = (min(numbers), max(numbers)) if numbers else (0, 0)
    return str(low) if low == high else "%d to %d" % (low, high)
