#!/usr/bin/env python3
"""Measures normfold beside something else: every figure is a ratio, never a time.

    cargo build --release
    python3 benches/run.py [--resnet50 FILE] [--mobilenet FILE] [--tools VENV] [--runs N] [--write]

Needs Linux (for /proc) and, to compare with other tools, a Python environment that has them:

    python3 -m venv VENV && VENV/bin/pip install onnxsim onnxslim

Without --resnet50 and --mobilenet torchvision's models are exported when the environment named by --tools has torch and
torchvision; else chains of the same size stand in for them, and the table says so. --write puts the table into
docs/benchmarks.md.

How it is measured: whole processes, page cache warm, output removed before each run; the two sides of a ratio run in
turn, N times each, and the minimum of each side counts. Memory is the largest RssAnon seen while polling
/proc/PID/status without pause in runs of their own: pages of the mapped input file are not counted, they are the
kernel's to drop.
"""
import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("chain", Path(__file__).with_name("chain.py"))
chain = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chain)

EXPORT = """
import sys, torch, torchvision
for name, path in zip(("resnet50", "mobilenet_v2"), sys.argv[1:]):
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.5); m.running_var.uniform_(0.3, 2)
    torch.onnx.export(model, (torch.randn(1, 3, 224, 224),), path, dynamo=False, opset_version=17,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
"""


def timed(command, output):
    """Seconds of one whole process; its output file is removed first."""
    Path(output).unlink(missing_ok=True)
    start = time.perf_counter()
    done = subprocess.run([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    seconds = time.perf_counter() - start
    if done.returncode or not Path(output).exists():
        sys.exit(f"error: {' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return seconds


def interleaved(runs, *sides):
    """The minimum of each (command, output), run in turn; one round before, uncounted, warms the cache."""
    best = [float("inf")] * len(sides)
    for i in range(runs + 1):
        for j, (command, output) in enumerate(sides):
            seconds = timed(command, output)
            if i:
                best[j] = min(best[j], seconds)
    return best


def anonymous_peak(command):
    """Largest RssAnon of the process, in MB."""
    peak = 0
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None:
            try:
                with open(f"/proc/{child.pid}/status", encoding="ascii") as f:
                    for line in f:
                        if line.startswith("RssAnon"):
                            peak = max(peak, int(line.split()[1]))
                            break
            except (FileNotFoundError, ProcessLookupError):
                break
    return peak * 1024 / 1e6


def tool(venv, *names):
    """The path of a tool in the environment, or None."""
    for name in names:
        path = shutil.which(name, path=str(venv / "bin") if venv else None)
        if path:
            return path
    return None


def export(venv, paths):
    """Exports torchvision's models; false when the environment cannot."""
    python = venv and venv / "bin" / "python"
    return bool(python) and subprocess.run([python, "-c", EXPORT, *paths], capture_output=True, check=False).returncode == 0


def models(args, work):
    """(path, label) of the large and the small model."""
    large, small = work / "resnet50.onnx", work / "mobilenet_v2.onnx"
    if args.resnet50 and args.mobilenet:
        return (args.resnet50, "resnet50"), (args.mobilenet, "mobilenet_v2")
    if export(args.tools, [large, small]):
        return (args.resnet50 or large, "resnet50"), (args.mobilenet or small, "mobilenet_v2")
    chain.write(large, 53, 230, 3)
    chain.write(small, 52, 84, 3)
    return ((args.resnet50 or large, "resnet50" if args.resnet50 else "53 blocks of 230 channels"),
            (args.mobilenet or small, "mobilenet_v2" if args.mobilenet else "52 blocks of 84 channels"))


def megabytes(path):
    return f"{os.path.getsize(path) / 1e6:.0f} MB"


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


def measure(args, work):
    """Rows of (what, beside what, figure, target)."""
    fold = lambda path, out, *more: ([args.normfold, "opt", path, "-o", out, *more], out)  # noqa: E731
    ours, theirs = work / "ours.onnx", work / "theirs.onnx"
    (large, large_name), (small, small_name) = models(args, work)

    a, b = interleaved(args.runs, fold(large, ours), (["cp", large, theirs], theirs))
    yield f"time, {large_name} ({megabytes(large)})", "`cp` of the file", f"{a / b:.2f} ×", "≤ 3 ×"

    rivals = [("onnxsim", ["onnxsim"]), ("OnnxSlim", ["onnxslim"])]
    for name, commands in rivals:
        path = tool(args.tools, *commands)
        if not path:
            print(f"{name}: not found, left out", file=sys.stderr)
            continue
        a, b = interleaved(max(2, args.runs // 3), fold(small, ours), ([path, small, theirs], theirs))
        yield f"time, {small_name} ({megabytes(small)})", f"{name}'s process", f"{b / a:.0f} × faster", "≥ 20 ×" if name == "onnxsim" else ""

    for path, name in ((large, large_name), (small, small_name)):
        peak = max(anonymous_peak(fold(path, ours)[0]) for _ in range(args.runs))
        yield f"peak anonymous memory, {name}", "64 MB", f"{peak:.0f} MB", "≤ 64 MB"

    for label, target, kw in CHAINS:
        short, long = work / "short.onnx", work / "long.onnx"
        chain.write(short, 10_000, **kw)
        chain.write(long, 100_000, **kw)
        more = [MERGE] if kw.get("kind") in ("parallel", "term") else []
        a, b = interleaved(max(3, args.runs // 2), fold(short, ours, *more), fold(long, theirs, *more))
        yield f"time per block, {label}", "100,000 against 10,000 blocks", f"{b / a / 10:.2f} ×", f"≤ {target} ×"


PAGE = """<!-- Written by benches/run.py --write; do not edit. -->

# Benchmarks

Ratios against something run beside it on the same machine, whole processes, minima of interleaved runs, page cache warm.
`python3 benches/run.py --help` says how to run them and how each figure is taken.

{table}

Taken with {versions}.
"""


def table(rows):
    head = ("what", "beside", "measured", "target")
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(4)]
    line = lambda r: "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |"  # noqa: E731
    return "\n".join([line(head), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)])


def versions(args):
    """Which tools the figures speak of."""
    out = [subprocess.run([args.normfold, "--version"], capture_output=True, text=True, check=False).stdout.strip()]
    if args.tools:
        code = "import importlib.metadata as m\nfor n in ('onnxsim', 'onnxslim'):\n try: print(n, m.version(n))\n except m.PackageNotFoundError: pass"
        done = subprocess.run([args.tools / "bin" / "python", "-c", code], capture_output=True, text=True, check=False)
        out += done.stdout.split("\n")[:-1]
    return ", ".join([*out, f"Linux on {platform.machine()}, {os.cpu_count()} cores"])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--normfold", type=Path, default=ROOT / "target" / "release" / "normfold", metavar="BINARY")
    ap.add_argument("--resnet50", type=Path, metavar="FILE")
    ap.add_argument("--mobilenet", type=Path, metavar="FILE")
    ap.add_argument("--tools", type=Path, metavar="VENV", help="a Python environment with onnxsim and onnxslim")
    ap.add_argument("--runs", type=int, default=10)
    ap.add_argument("--work", type=Path, help="where the files go; the same file system as the models (default: a temporary directory)")
    ap.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    args = ap.parse_args()
    if not args.normfold.exists():
        ap.error(f"{args.normfold} does not exist; run 'cargo build --release'")
    rows = []
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        for row in measure(args, Path(work)):
            print(*row, sep=" | ", flush=True)
            rows.append(row)
    print("\n" + table(rows))
    if args.write:
        (ROOT / "docs" / "benchmarks.md").write_text(PAGE.format(table=table(rows), versions=versions(args)))


if __name__ == "__main__":
    main()
