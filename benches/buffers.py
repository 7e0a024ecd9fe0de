#!/usr/bin/env python3
"""What the size of a buffer, and where it begins within a page, do to the copy of a file: why outputs are written as they are.

    python3 benches/buffers.py [--bytes N] [--runs N] [--work DIR]

A file is copied by positioned reads and writes through one buffer; every way runs in turn with `cp --reflink=never`, N times, and
the minimum of each counts. Outputs are removed before each run, but for the last row: there `cp` runs beside the output of
another `cp`, which stays in the page cache. Ratios only; they depend on processor, kernel and file system.
"""
import argparse
import mmap
import os
import subprocess
import tempfile
import time
from pathlib import Path

from measure import machine, table

KIB = 1 << 10
# Bytes of a buffer, and how far behind the beginning of a page it begins. The first is how outputs are written.
WAYS = [(128 * KIB, 0), (128 * KIB, 16), (128 * KIB, 64), (128 * KIB, 2048), (256 * KIB, 0), (1024 * KIB, 0), (1024 * KIB, 16)]


def through(source, target, size, phase):
    """Copies a file through a buffer."""
    with mmap.mmap(-1, size + mmap.PAGESIZE) as pages, memoryview(pages) as whole, whole[phase:phase + size] as buffer:
        a, b = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        at, length = 0, os.fstat(a).st_size
        os.ftruncate(b, length)
        while at < length:
            with buffer[:os.preadv(a, [buffer], at)] as part:
                at += os.pwrite(b, part, at)
        os.close(a), os.close(b)


def cp(source, target):
    subprocess.run(["cp", "--reflink=never", source, target], check=True)


def timed(copy, source, target, *others):
    for path in (target, *others):
        path.unlink(missing_ok=True)
    start = time.perf_counter()
    copy(source, target)
    return time.perf_counter() - start


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bytes", type=int, default=4 << 30)
    ap.add_argument("--runs", type=int, default=5)
    ap.add_argument("--work", type=Path, help="where the files are made, three of that size")
    args = ap.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        source, a, b = (Path(work) / name for name in ("source", "a", "b"))
        with open(source, "wb") as f:
            for _ in range(0, args.bytes, 1 << 20):
                f.write(os.urandom(1 << 20))
        subprocess.run(["sync"], check=True)
        best = {way: float("inf") for way in [*WAYS, "cp", "beside"]}

        def note(way, seconds):
            best[way] = min(best[way], seconds)

        for _ in range(args.runs):
            for size, phase in WAYS:
                note("cp", timed(cp, source, b, a))
                note((size, phase), timed(lambda s, t: through(s, t, size, phase), source, a, b))
            timed(cp, source, b, a)
            note("beside", timed(cp, source, a))
    ratio = lambda way: f"{best[way] / best['cp']:.2f} ×"  # noqa: E731
    rows = [(f"{size // KIB} KiB", f"page + {phase}", ratio((size, phase))) for size, phase in WAYS]
    rows.append(("`cp`", "beside another output", ratio("beside")))
    print(table(("buffer", "begins at", "against `cp`"), rows))
    print(f"\n{machine()}; {args.bytes / 1e9:.1f} GB, {args.runs} runs.")


if __name__ == "__main__":
    main()
