#!/usr/bin/env python3
"""Counts the instructions of a run by its parts: the same from run to run, where times are too noisy to compare two builds.

    cargo build --release
    python3 benches/instructions.py [--normfold BINARY] [--blocks N] [--kind plain] [MODEL]

Needs valgrind, which runs the program some fifty times as slowly. Without MODEL a chain of 1,000 blocks (chain.py has the kinds). What the
kernel does is not counted, so this says little about reading and writing of large weights. The parts are functions by
name; one that the compiler has put into its caller shows as "–", and is counted there.
"""
import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import chain
import measure

# Parts, and the functions whose instructions, those they call included, are added up.
PARTS = [
    ("import", ["driver::Driver::open"]),
    ("passes", ["driver::Driver::run"]),
    ("… match", ["fold_bn::FoldBn::check"]),
    ("… certificate", ["fold_bn::certificate::before", "fold_bn::certificate::after"]),
    ("passes and write", ["driver::Driver::run_and_save"]),
]


def counted(binary, model, work):
    """Instructions in all, and by function with what it calls."""
    file = work / "callgrind.out"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}", binary, "opt", model, "-o", work / "out.onnx",
               "--threads=1", "--quiet"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {measure.last_line(done.stderr)}")
    lines = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", file], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    functions, total = {}, 0
    for line in lines:
        if m := re.match(r"\s*([\d,]+) \(.*?\)\s+(.*)", line):
            n = int(m[1].replace(",", ""))
            if "PROGRAM TOTALS" in m[2]:
                total = n
            else:
                # FILE:FUNCTION [OBJECT]
                name = re.sub(r" \[[^\]]*\]$", "", m[2]).split(":", 1)[-1]
                # One that has code of several files is listed under each of them, with all that it took.
                functions[name] = max(functions.get(name, 0), n)
    return total, functions


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--normfold", type=Path, default=measure.BINARY, metavar="BINARY")
    ap.add_argument("--blocks", type=int, default=1000)
    ap.add_argument("--kind", choices=chain.KINDS, default="plain")
    ap.add_argument("model", nargs="?", type=Path)
    args = ap.parse_args()
    if not args.normfold.exists():
        ap.error(f"{args.normfold} does not exist; run 'cargo build --release'")
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        model = args.model or work / "chain.onnx"
        if not args.model:
            chain.write(model, args.blocks, kind=args.kind)
        try:
            total, functions = counted(args.normfold, model, work)
        except FileNotFoundError as e:
            sys.exit(f"error: {e.filename} is not installed")
    rows = []
    for part, names in PARTS:
        n = sum(c for f, c in functions.items() if any(f.endswith(name) for name in names))
        rows.append((part, f"{n:,}" if n else "–", f"{100 * n / total:.1f} %" if n else ""))
    rows.append(("whole process", f"{total:,}", ""))
    print(measure.table(("part", "instructions", "share"), rows))


if __name__ == "__main__":
    main()
