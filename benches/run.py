#!/usr/bin/env python3
"""Measures normfold beside a copy of the file and against itself: every figure is a ratio, a share or a size, never a time.

    cargo build --release
    python3 benches/run.py [--resnet50 FILE] [--mobilenet FILE] [--runs N] [--only copy,keras,scale,blocks,parts] [--write]

Needs Linux (for /proc), 10 GB of disk, page cache for twice the largest model (4 GB), and cargo for the parts of a run. compare.py
measures other tools. Without --resnet50 and --mobilenet torchvision's models are exported in the environment of
aimet-onnx, which has it (see environments.py); else chains of the same size stand in for them, and the table says so.
--write puts the tables into docs/benchmarks.md; with --only those of these groups, and the others stay as they are.

How it is measured: whole processes, page cache warm, the outputs of both sides removed before each run; the two sides of a
ratio run in turn, N times each, every other time in reverse, and the minimum of each side counts. A copy is
`cp --reflink=never` of the model and its data files.
Memory is the largest RssAnon seen while polling /proc/PID/status without pause in runs of their own: pages of the
mapped input file are not counted, they are the kernel's to drop. The parts of a run come from `cargo bench`
(crates/driver/benches/parts.rs): the spans that normfold traces, added up within the fastest of several runs.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import chain
import keras_files
import measure
import models
from measure import Model, copy, emptied, fold, interleaved, peak, table

CHAINS = [
    ("chain, constants of its own per block", 1.5, {}),
    ("chain, constants read by every block", 1.5, dict(shared=True)),
    ("sums, concatenations, norms before and beside", 1.6, dict(kind="joins")),
    ("the same without activations", 1.6, dict(kind="open")),
    ("factors that reach back to one activation", 1.6, dict(kind="barred")),
    ("one sum of all blocks", 1.6, dict(kind="sum")),
    ("factors that reach back through sums", 1.6, dict(kind="barred-sums")),
    ("one concatenation of all blocks", 1.6, dict(kind="concat")),
    ("one sum of norms of one value", 1.6, dict(kind="beside")),
    ("one convolution that all norms read", 1.6, dict(kind="fan")),
    ("one activation that all norms read", 1.6, dict(kind="fan-out")),
    ("parallel convolutions and norms, merged", 1.6, dict(kind="parallel", kernel=3)),
    ("one convolution in all sums", 1.6, dict(kind="term")),
]

# What the last two run instead of the default pipeline.
MERGE = "--passes=fold-bn,merge-parallel-linear,dce"

# Blocks that give a million ops, constants counted; a tenth of them for the comparison.
MILLION = [
    ("a chain", 111_112, lambda path, n: chain.write(path, n)),
    ("one value with 100,000 users", 100_000, lambda path, n: chain.write(path, n, kind="fan-out")),
    ("If, 64 graphs deep", 111_112, lambda path, n: models.nested(path, n)),
]


def within(figure, limit):
    """How a figure stands to what is aimed at."""
    return "" if limit is None else "yes" if figure <= limit else "**no**"


def ops(args, model):
    """How many ops the module of a model has, constants counted."""
    done = subprocess.run([args.normfold, "explain", model.path, "--json"], capture_output=True, check=True)
    return json.loads(done.stdout)["ops"]["before"]


def parts(args, model, runs):
    """What the parts of a run take, as `cargo bench` says; None where there is no cargo."""
    command = ["cargo", "bench", "--quiet", "-p", "normfold-driver", "--bench", "parts", "--", "--json", f"--runs={runs}",
               model.path.resolve()]
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, cwd=measure.ROOT)
    except FileNotFoundError:
        print("cargo: not found, the parts of runs are left out", file=sys.stderr)
        return None
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))}\n{done.stderr}")
    return json.loads(done.stdout)


def percent(x):
    return f"{100 * x:.1f} %"


def known(args, work):
    """Models of torchvision, and what a run over them may take at most, in copies."""
    yield models.known(work, "mobilenet_v2", args.mobilenet), None
    yield models.known(work, "resnet50", args.resnet50), 1.5


def large(work):
    """Models of gigabytes, likewise; how much disk each needs at once, itself and two copies."""
    yield models.model(work, "1.5 GB, every weight folded", models.large, **models.ALL), 1.2, 5
    yield models.model(work, "1.5 GB, one weight in a hundred folded", models.large, **models.SOME), 1.0, 5
    yield models.model(work, "4 GB in a file beside it", models.large, **models.EXTERNAL), 1.2, 13


def against_copies(args, work):
    """The table of time and memory against a copy."""
    a, b, rows = work / "a", work / "b", []

    def row(model, target):
        ours, copied = interleaved(args.runs, fold(args.normfold, model, a), copy(model, b))
        n = ops(args, model)
        memory, limit = peak(*fold(args.normfold, model, a), min(args.runs, 3)), 64 + n * 1024 / 1e6
        rows.append((model.label(), f"{ours / copied:.2f} ×", f"≤ {target} ×" if target else "", within(ours / copied, target),
                     f"{memory:.0f} MB", f"≤ {limit:.1f} MB", within(memory, limit)))
        print(*rows[-1], sep=" | ", flush=True)

    for made, target in known(args, work):
        with made as model:
            row(model, target)
    for made, target, disk in large(work):
        models.room(work, disk)
        with made as model:
            row(model, target)
    return "\n\n".join([
        "## Against a copy of the file",
        "Whole process against `cp --reflink=never` of the same files, and the largest anonymous memory: at most 64 MB and 1 KB per op.",
        table(("model", "against `cp`", "aim", "met", "anonymous memory", "aim", "met"), rows)])


def keras(args, work):
    """The table of Keras models against a copy."""
    a, b, rows = work / "a", work / "b", []
    models.room(work, 2)
    for suffix in ("keras", "h5"):
        file = f"model.{suffix}"
        with models.model(work, f".{suffix}, every weight folded", keras_files.dense, file=file, **models.KERAS) as model:
            ours, copied = interleaved(args.runs, fold(args.normfold, model, a), copy(model, b))
            memory, limit = peak(*fold(args.normfold, model, a), min(args.runs, 3)), 64 + ops(args, model) * 1024 / 1e6
            rows.append((model.label(), f"{ours / copied:.2f} ×", "≤ 3 ×", within(ours / copied, 3),
                         f"{memory:.0f} MB", f"≤ {limit:.1f} MB", within(memory, limit)))
            print(*rows[-1], sep=" | ", flush=True)
    return "\n\n".join([
        "## Keras models against a copy of the file",
        "Likewise, of the archive and the whole-model HDF5 file that Keras 3 writes.",
        table(("model", "against `cp`", "aim", "met", "anonymous memory", "aim", "met"), rows)])


def pair(args, work, write, small, large, *more, runs):
    """The large model against the small one: time per block, and the large one while it is used."""
    short, long = (Model(n, emptied(work / n) / "model.onnx") for n in ("short", "long"))
    write(short.path, small)
    write(long.path, large)
    few, many = interleaved(runs, fold(args.normfold, short, work / "a", *more), fold(args.normfold, long, work / "b", *more))
    return long, many / few * small / large


def at_scale(args, work):
    """The table of models of a million ops."""
    rows = []
    for name, blocks, write in MILLION:
        model, ratio = pair(args, work, write, blocks // 10, blocks, runs=max(2, args.runs // 3))
        memory, found = peak(*fold(args.normfold, model, work / "a"), 1), parts(args, model, 1)
        n = found["ops"] if found else ops(args, model)
        shares = [percent(found[p] / found["whole"]) for p in PARTS] if found else ["–"] * len(PARTS)
        each = memory * 1e6 / n
        rows.append((name, f"{n:,}", f"{ratio:.2f} ×", within(ratio, 1.5), f"{each:.0f} B", within(each, 1024), *shares))
        print(*rows[-1], sep=" | ", flush=True)
    return "\n\n".join([
        "## A million ops",
        "Constants are ops. Time per block is against a tenth of the model (1 would be linear; aimed at is at most 1.5), memory the largest "
        "anonymous memory by ops, all of it (at most 1 KB); the parts are shares of one run.",
        table(("graph", "ops", "time per block", "met", "memory per op", "met", *PARTS), rows)])


def per_block(args, work):
    """The table of chains, ten times as long."""
    rows = []
    for label, target, kw in CHAINS:
        more = [MERGE] if kw.get("kind") in ("parallel", "term") else []
        write = lambda path, n: chain.write(path, n, **kw)  # noqa: E731, B023
        model, ratio = pair(args, work, write, args.blocks // 10, args.blocks, *more, runs=max(2, args.runs // 3))
        n = ops(args, model)
        memory, limit = peak(*fold(args.normfold, model, work / "a", *more), 1), 64 + n * 1024 / 1e6
        rows.append((label, f"{ratio:.2f} ×", f"≤ {target} ×", within(ratio, target), f"{memory * 1e6 / n:.0f} B", f"{memory:.0f} MB",
                     f"≤ {limit:.0f} MB", within(memory, limit)))
        print(*rows[-1], sep=" | ", flush=True)
    return "\n\n".join([
        "## Time per block",
        f"{args.blocks:,} blocks against {args.blocks // 10:,}; 1 would be linear. Memory is the largest anonymous memory of the long one, by ops "
        "and in all: at most 64 MB and 1 KB per op.",
        table(("graph", "time per block", "aim", "met", "memory per op", "anonymous memory", "aim", "met"), rows)])


PARTS = ("import", "match", "certificate", "passes", "write")


def shares(args, work):
    """The table of the parts of a run. Short ones are repeated more often: what disturbs them is a larger part of them."""
    rows = []

    def row(model, runs):
        found = parts(args, model, runs)
        if found:
            certificate = found["certificate"] / found["whole"]
            rows.append((model.label(), *(percent(found[p] / found["whole"]) for p in PARTS), within(certificate, 0.1)))
            print(*rows[-1], sep=" | ", flush=True)

    for made, _ in known(args, work):
        with made as model:
            row(model, 3 * args.runs)
    with models.model(work, "chain of 10,000 blocks of 4 channels", chain.write, 10_000) as model:
        row(model, 3 * args.runs)
    for label, disk, kw in (("1.5 GB, every weight folded", 5, models.ALL), ("4 GB in a file beside it", 13, models.EXTERNAL)):
        models.room(work, disk)
        with models.model(work, label, models.large, **kw) as model:
            row(model, max(2, args.runs // 3))
    return "\n\n".join([
        "## Where the time goes",
        "Shares of one run, the fastest of several. `match` is the search for what may fold, `certificate` the comparison of each fold "
        "with what was before (aimed at is at most a tenth), `passes` all else that passes do.",
        table(("model", *PARTS, "certificate ≤ 10 %"), rows)])


GROUPS = {"copy": against_copies, "keras": keras, "scale": at_scale, "blocks": per_block, "parts": shares}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--normfold", type=Path, default=measure.BINARY, metavar="BINARY")
    ap.add_argument("--resnet50", type=Path, metavar="FILE")
    ap.add_argument("--mobilenet", type=Path, metavar="FILE")
    ap.add_argument("--runs", type=int, default=7, help="of each side (default: 7; a third of it for the long chains)")
    ap.add_argument("--blocks", type=int, default=100_000, help="of the long chains (default: 100,000)")
    ap.add_argument("--only", default=",".join(GROUPS), metavar="GROUPS", help=f"some of {', '.join(GROUPS)}")
    ap.add_argument("--work", type=Path, help="where the files go; the same file system as the models (default: a temporary directory)")
    ap.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    args = ap.parse_args()
    if not args.normfold.exists():
        ap.error(f"{args.normfold} does not exist; run 'cargo build --release'")
    groups = args.only.split(",")
    if not set(groups) <= GROUPS.keys():
        ap.error(f"--only is some of {', '.join(GROUPS)}")
    args.normfold = args.normfold.resolve()
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        sections = [GROUPS[group](args, Path(work)) for group in groups]
    sections.append(f"Taken with {measure.version(args.normfold)}, {measure.machine()}; {args.runs} runs.")
    text = "\n\n".join(sections)
    print("\n" + text)
    if args.write:
        measure.write_section("run.py", text, part=set(groups) != GROUPS.keys())


if __name__ == "__main__":
    main()
