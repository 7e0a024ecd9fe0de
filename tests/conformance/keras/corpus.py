#!/usr/bin/env python3
"""Folds a directory of Keras models in every container and judges what comes out by Keras of the same generation.

    tests/conformance/keras/run.sh --version        # makes the environment
    ~/.cache/normfold/conformance-keras/bin/python tests/conformance/keras/corpus.py DIR --normfold BINARY [--out docs/keras.md]

DIR holds NAME.keras, NAME.h5 and NAME.json with NAME.weights.h5 of Keras 3, and NAME.k2.keras, NAME.k2.h5 and
NAME.k2.json with NAME.k2.weights_only.h5 of Keras 2. Each is copied without a pass, which has to give the same bytes, and
folded; Keras loads both, and predictions may differ by 1e-5 of the largest output.
"""
import argparse
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import conftest
import zoo
from conftest import Files, difference, load, module, opt, predict

TOLERANCE = 1e-5
READER = zoo.Case("corpus", None, 0)


def found(directory):
    """Every model: its name, generation, container and files."""
    for path in sorted(directory.iterdir()):
        stem, ending = path.name.split(".", 1)
        generation = 2 if ending.startswith("k2.") else 3
        ending = ending.removeprefix("k2.")
        if ending in ("keras", "h5"):
            yield stem, generation, f".{ending}", Files(path)
        if ending == "json":
            weights = ".weights.h5" if generation == 3 else ".weights_only.h5"
            weights = path.with_name(path.name.removesuffix(".json") + weights)
            if weights.exists():
                yield stem, generation, "JSON, weights", Files(path, weights)


def inputs(model):
    """As the conformance tests have them, with extents that are open filled in."""
    import numpy as np
    random = np.random.default_rng(0)
    shape = lambda t: [2, *(8 if d is None else d for d in t.shape[1:])]  # noqa: E731
    return {t.name: random.normal(size=shape(t)) for t in model.inputs}


def judged(files, generation, folder):
    keras = module(generation)
    keras.backend.clear_session()
    same, out = (files.at(folder / name) for name in ("same", "out"))
    for files_there in (same, out):
        files_there.path.parent.mkdir()
    opt(files, same, "--passes=")
    assert files.bytes() == same.bytes(), "without a pass it is not what it was"
    report = opt(files, out)
    before, after = load(files, READER, keras), load(out, READER, keras)
    arrays = inputs(before)
    return report, difference(predict(before, arrays), predict(after, arrays))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--normfold", required=True, help="the binary")
    parser.add_argument("--out", type=Path, help="where the table goes")
    args = parser.parse_args()
    os.environ["NORMFOLD_BIN"] = args.normfold
    rows, failed = defaultdict(list), []
    for name, generation, container, files in found(args.directory):
        with tempfile.TemporaryDirectory() as folder:
            try:
                report, error = judged(files, generation, Path(folder))
                if not error <= TOLERANCE:
                    failed.append(f"{files.path.name}: {error}")
            except Exception as e:  # noqa: BLE001  (every failure is one of the table)
                failed.append(f"{files.path.name}: {e}")
                continue
        norms = report["batch_norms"]
        reasons = ", ".join(f"{n} `{code}`" for code, n in (norms.get("reasons") or {}).items()) or "–"
        rows[name, generation, norms["total"], norms["folded"], reasons].append((container, error))
        print(f"{files.path.name}: {norms['folded']} of {norms['total']}, {error:.1e}", flush=True)
    lines = [
        "<!-- Written by tests/conformance/keras/corpus.py; do not edit. -->", "",
        "# Keras models", "",
        "Each model in every container, as Keras 3 and Keras 2 write it: copied without a pass it is the same, byte for byte;",
        "folded, Keras of the same generation loads it, and its predictions differ by at most what stands under *error*, relative to",
        "the largest. Weights are random, statistics randomised.", "",
        "| model | Keras | batch norms | folded | kept | containers | error |", "|---|---|---|---|---|---|---|",
    ]
    for (name, generation, total, folded, reasons), seen in sorted(rows.items()):
        containers = ", ".join(c for c, _ in seen)
        worst = max(e for _, e in seen)
        lines.append(f"| {name} | {generation} | {total} | {folded} | {reasons} | {containers} | `{worst:.1e}` |")
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")
    for failure in failed:
        print(f"FAILED {failure}", file=sys.stderr)
    print(f"{sum(map(len, rows.values()))} files, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
