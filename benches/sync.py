#!/usr/bin/env python3
"""What `--sync` costs: the same run with and without, beside a copy of the same files with and without `sync`. Ratios only.

    cargo build --release
    python3 benches/sync.py [--runs N] [--work DIR] [--write]

Everything depends on the disk below DIR. Before each run the outputs are removed and the system is synced, so that no run waits
for what an earlier one has written; the four sides run in turn, N times each, and the minimum of each counts. --write
puts the table into docs/files.md.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
import models
from measure import copy, emptied, fold, table

PAGE = measure.ROOT / "docs" / "files.md"
MODELS = [
    ("one file", 11, 512, None),
    ("one file", 40, 1024, None),
    ("with external data", 40, 1024, "weights.bin"),
]


def seconds(commands, output):
    """Seconds of the commands one after the other, from an empty directory and a disk that has nothing to do."""
    emptied(output)
    os.sync()
    start = time.perf_counter()
    for command in commands:
        done = subprocess.run([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            sys.exit(f"error: {' '.join(map(str, command))}\n{done.stderr.decode(errors='replace')}")
    return time.perf_counter() - start


def row(args, model, work):
    output = work / "out"
    plain, _ = fold(args.normfold, model, output)
    copied, _ = copy(model, output)
    flushed = ["sync", *(output / f.name for f in model.files), output]
    sides = [[plain], [[*plain, "--sync"]], [copied], [copied, flushed]]
    best = [float("inf")] * len(sides)
    for i in range(args.runs + 1):
        for j, commands in enumerate(sides):
            took = seconds(commands, output)
            if i:
                best[j] = min(best[j], took)
    emptied(output)
    plain, synced, copied, flushed = best
    return [model.label(), *(f"{a / b:.1f} ×" for a, b in [(synced, plain), (flushed, copied), (synced, flushed)])]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--normfold", type=Path, default=measure.BINARY)
    ap.add_argument("--runs", type=int, default=5)
    ap.add_argument("--work", type=Path, help="where models and outputs go; the disk that is measured")
    ap.add_argument("--write", action="store_true", help="write docs/files.md")
    args = ap.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        for name, blocks, channels, data in MODELS:
            with models.model(Path(work), name, models.large, blocks, channels, data=data) as model:
                rows.append(row(args, model, Path(work)))
    head = ["model, every weight folded", "`--sync` / without", "`cp` and `sync` / `cp`", "`--sync` / `cp` and `sync`"]
    text = f"{table(head, rows)}\n\nTaken by benches/sync.py with {measure.version(args.normfold)}, {measure.machine()}; {args.runs} runs."
    print(text)
    if args.write:
        begin, end = "<!-- begin sync.py -->\n", "<!-- end sync.py -->"
        page, n = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n\n{end}", PAGE.read_text(), flags=re.DOTALL)
        if n != 1:
            sys.exit(f"error: {PAGE} has no place for the table")
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
