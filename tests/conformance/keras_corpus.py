#!/usr/bin/env python3
"""Runs normfold on a directory of full-size Keras models: verdicts as expected, the same bytes, time and size; a table with --out.

    tests/conformance/keras/run.sh --version        makes the environment
    VENV/bin/python tests/conformance/keras_corpus.py DIR --normfold BINARY [--out FILE] [--only GLOB]...

DIR holds NAME.keras, NAME.h5 and NAME.json with NAME.weights.h5, as Keras 3 writes them, or NAME.k2.keras and so on with
NAME.k2.weights_only.h5, as Keras 2 does, and NAME.ref.npz with inputs (`in:…`) and outputs (`out:N`). For each container:
a run without passes has to give the same bytes; the default pipeline has to succeed, to fold and keep what is expected
(EXPECTED), and to give the same bytes with one thread and with two; a second run must fold nothing and change nothing; the
same generation of Keras has to load the result, and to compute what the original computes within 1e-5 of its largest
output. Any failure: exit code 1.
"""
import argparse
import fnmatch
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "keras"))

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import containers
import numpy as np

# How many norms fold, and why the others stay.
EXPECTED = {
    "k_mobilenet": (27, {}),
    "k_mobilenet_v2": (52, {}),
    "k_resnet50": (53, {}),
    "k_densenet121": (59, {"multiple-consumers": 62}),
    "k_efficientnet_b0": (49, {}),
    "k_inception_v3": (94, {}),
    "k_seq_dense": (3, {}),
    "k_seq_conv2d": (4, {}),
    "k_conv_transpose": (2, {}),
    "k_conv1d": (4, {}),
    "k_conv3d": (2, {}),
    "k_forward_fold": (3, {"padded-shift": 1, "activation-between": 1}),
    "k_multi_io": (4, {}),
    "k_channel_axis": (2, {"axis-mismatch": 1}),
}


def files(corpus):
    """(name, generation, container, document, weights) of every model."""
    for path in sorted(corpus.glob("*.keras")):
        name = path.name.removesuffix(".keras")
        generation = 2 if name.endswith(".k2") else 3
        beside = path.with_name(f"{name}.{'weights_only' if generation == 2 else 'weights'}.h5")
        found = [("keras", path, None), ("h5", path.with_name(f"{name}.h5"), None),
                 ("weights", path.with_name(f"{name}.json"), beside)]
        for container, document, weights in found:
            if document.exists() and (weights is None or weights.exists()):
                yield name, generation, container, document, weights


def same(a, b):
    return all(x is None or x.stat().st_size == y.stat().st_size and x.read_bytes() == y.read_bytes() for x, y in zip(a, b))


def folder(scratch, name):
    made = Path(scratch) / name
    made.mkdir()
    return made


def one(name, generation, document, weights, inputs, scratch):
    """What the report says, the difference, seconds and bytes before and after; and the list of what failed."""
    failures = []
    given = document, weights
    copy, _ = containers.opt(*given, folder(scratch, "copy"), "--passes=")
    if not same(given, copy):
        failures.append("a run without passes changed the files")
    begun = time.monotonic()
    out, report = containers.opt(*given, folder(scratch, "out"))
    seconds = time.monotonic() - begun
    other, _ = containers.opt(*given, folder(scratch, "other"), "--threads=1")
    if not same(out, other):
        failures.append("one thread and two gave different bytes")
    again, second = containers.opt(*out, folder(scratch, "again"))
    if second["batch_norms"]["folded"] or not same(out, again):
        failures.append("a second run changed something")
    norms = report["batch_norms"]
    expected = EXPECTED.get(name.removesuffix(".k2"))
    if expected and (norms["folded"], norms["reasons"]) != expected:
        failures.append(f"expected {expected}, not {(norms['folded'], norms['reasons'])}")
    computed = [containers.predict(containers.load(generation, *paths), inputs) for paths in (given, out)]
    difference = containers.difference(*computed)
    if difference > 1e-5:
        failures.append(f"outputs differ by {difference:.1e}")
    sizes = [sum(p.stat().st_size for p in paths if p) for paths in (given, out)]
    return norms, difference, seconds, sizes, failures


def inputs_of(path):
    with np.load(path) as z:
        return [z[k] for k in z.files if k.startswith("in:")]


def table(head, rows):
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]
    line = lambda r: "| " + " | ".join(str(c).ljust(w) for c, w in zip(r, widths)) + " |"  # noqa: E731
    return "\n".join([line(head), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)])


CONTAINERS = {"keras": "`.keras`", "h5": "`.h5`", "weights": "JSON and weights"}
HEAD = ["model", "container", "Keras", "norms", "folded", "kept, why", "difference", "seconds", "MB before", "MB after"]


def page(rows):
    norms, folded = (sum(r[i] for r in rows) for i in (3, 4))
    return f"""<!-- Written by tests/conformance/keras_corpus.py; do not edit. -->

# Keras models of full size

{len(rows)} files, random weights, as Keras 3 and Keras 2 (tf_keras) write them: the archive, the whole model in HDF5, and the
architecture in JSON with the weights beside it. Of their {norms} batch norms {folded} fold.

Every file came back byte for byte from a run without passes; the default pipeline gave the same bytes with one thread and
with two; a second run changed nothing. Every result was loaded by the generation of Keras that wrote the original;
"difference" is the largest difference between their outputs over the largest output: at most `1e-5` is allowed. "seconds"
is the whole run of `normfold opt` with the writing, on two cores.

`tests/conformance/keras_corpus.py` makes this page from a directory of models; its head says how to run it.

{table(HEAD, rows)}
"""


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("corpus", type=Path)
    ap.add_argument("--normfold", type=Path, required=True, metavar="BINARY")
    ap.add_argument("--out", type=Path, help="a Markdown table of what came of it")
    ap.add_argument("--only", action="append", metavar="GLOB", help="these models only; writes no page")
    args = ap.parse_args()
    os.environ["NORMFOLD_BIN"] = str(args.normfold.resolve())

    rows, bad = [], 0
    for name, generation, container, document, weights in files(args.corpus):
        if args.only and not any(fnmatch.fnmatch(name, g) for g in args.only):
            continue
        shown = [name.removesuffix(".k2"), CONTAINERS[container], generation]
        try:
            inputs = inputs_of(args.corpus / f"{name}.ref.npz")
            with tempfile.TemporaryDirectory() as scratch:
                norms, difference, seconds, sizes, failures = one(name, generation, document, weights, inputs, scratch)
            why = ", ".join(f"{n} `{code}`" for code, n in sorted(norms["reasons"].items())) or "–"
            told = f"`{difference:.0e}`".replace("e-0", "e-") if difference else "`0`"
            rows.append([*shown, norms["total"], norms["folded"], why, told, f"{seconds:.2f}",
                         *(f"{size / 1e6:.2f}" for size in sizes)])
            print(*rows[-1], *(f"FAILED: {f}" for f in failures), sep=" | ", flush=True)
        except Exception as e:  # one broken file must not hide what the others give
            failures = [f"{type(e).__name__}: {str(e)[:500]}"]
            print(*shown, f"FAILED: {failures[0]}", sep=" | ", flush=True)
        containers.module(generation).backend.clear_session()
        bad += bool(failures)
    if args.out and not args.only and not bad:
        args.out.write_text(page(rows))
        print(f"wrote {args.out.name}")
    print(f"{len(rows)} files, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
