#!/usr/bin/env python3
"""Runs normfold on a directory of full-size models and writes what came of it as a Markdown table.

    tests/conformance/run.sh --version        makes the environment
    VENV/bin/python tests/conformance/corpus.py DIR --normfold BINARY [--expect] [--out docs/corpus.md] [--only GLOB]...

DIR holds .onnx files, optionally with NAME.ref.npz beside them (arrays `in:<input>` are used as inputs), and Keras
architectures (.json). For each .onnx file: a run without passes has to give the same bytes; the default pipeline has
to succeed and to give the same bytes with one thread and with two; where onnx's checker accepts the original it has
to accept the output; where an engine runs the original, outputs have to agree within 1e-5 of the largest (2e-3 for
f16), and a second run must change nothing. Files whose original no checker accepts get a round trip and remarks only.
With --expect every verdict has to be the one of foldability.json beside this script: batch norms and affine chains that
fold, the reason of each that is kept, which way the norms go. Any failure: exit code 1.
"""
import argparse
import collections
import fnmatch
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import onnx

import harness

sys.path.insert(0, str(harness.ROOT / "benches"))

import judge

HERE = Path(__file__).resolve().parent


def unexpected(report, expected):
    """How a report differs from what has to come out: {norms, chains, folded, kept, ways}, the first two being how many
    there are, `folded` and `kept` counting both; alternative reasons are parted by `|`."""
    norms, chains = report.norms, report.chains
    if (norms["total"], chains["total"]) != (expected["norms"], expected["chains"]):
        yield f"expected {expected['norms']} norms and {expected['chains']} chains, not {norms['total']} and {chains['total']}"
    folded = norms["folded"] + chains["folded"]
    if folded != expected["folded"]:
        yield f"expected {expected['folded']} folds, not {folded}"
    told = collections.Counter(norms["reasons"]) + collections.Counter(chains["reasons"])
    if not harness.agree(told, [codes for codes, n in expected["kept"].items() for _ in range(n)]):
        yield f"expected the reasons {expected['kept']}, not {dict(told)}"
    if "ways" in expected and ways(report) not in ({}, expected["ways"]):
        yield f"expected the ways {expected['ways']}, not {ways(report)}"


def ways(report):
    """How many norms went which way."""
    directions = [r["args"].get("direction") for r in report.remarks if r["kind"] == "passed" and r["op"] == "batch_norm"]
    return dict(collections.Counter(filter(None, directions)))


def directions(report):
    """How many norms and chains went which way, in words."""
    passed = [r for r in report.remarks if r["pass"] == "fold-bn" and r["kind"] == "passed"]
    count = collections.Counter(r["args"]["direction"] for r in passed)
    return ", ".join(f"{count[d]} {d}" for d in ("backward", "forward", "sideways") if count[d]) or "–"


def inputs_of(path, model):
    """Inputs recorded beside the model, else random ones."""
    recorded = path.with_name(path.stem + ".ref.npz")
    random = harness.feeds(model, 0)
    if recorded.exists():
        with np.load(recorded) as z:
            given = {k[3:]: z[k] for k in z.files if k.startswith("in:")}
        if set(random) <= set(given):
            return {k: given[k] for k in random}
    return random


def one(path, scratch, expected):
    """A table row and the list of what failed."""
    failures = []
    same, out, other = (scratch / f"{n}.onnx" for n in ("same", "out", "other"))
    harness.copy(path, same)
    if not identical(path, same):
        failures.append("a run without passes changed the file")
    report = harness.opt(path, out, "--threads=1")
    harness.opt(path, other, "--threads=2")
    if not identical(out, other):
        failures.append("one thread and two gave different bytes")
    if expected is not None:
        failures += unexpected(report, expected)
    told = scratch / "report.json"
    told.write_text(json.dumps(report.raw))
    computed = judge.weights(path, out, told)
    if computed["beyond"]:
        failures.append(f"{computed['beyond']} folds are off by more than their bounds")
    if computed["checked"] and not computed["holds"]:
        failures.append(f"stored weights are off by {computed['observed']:.1e}, stated is {computed['stated']}")
    again = harness.opt(out, same)
    if again.folded + again.chains["folded"] or not identical(out, same):
        failures.append("a second run changed something")

    judged = "original refused by the checker"
    if not harness.check(path):
        complaint = harness.check(out)
        if complaint:
            failures.append(f"the output is invalid: {complaint[:200]}")
        judged = "no engine runs the original"
        try:
            model = onnx.load(str(path), load_external_data=False)
            inputs = inputs_of(path, model)
            engine, make = harness.engine_for(path, inputs)
            a = make(path).run(None, inputs)
            b = make(out).run(None, inputs)
            worst = max(harness.difference(x, y) for x, y in zip(a, b))
            allowed = harness.tolerance(path, engine)
            judged = f"`{worst:.0e}`".replace("e-0", "e-") if worst else "`0`"
            judged += "" if engine == "onnxruntime" else f" ({engine})"
            if worst > allowed:
                failures.append(f"outputs differ by {worst:.1e}, allowed {allowed:.0e}")
        except harness.NoEngine:
            pass
    for p in (same, out, other):
        p.unlink(missing_ok=True)
    kept = collections.Counter(report.reasons) + collections.Counter(report.chains["reasons"])
    norms, chains = ([c["total"], c["kept"]] for c in (report.norms, report.chains))
    figures = [f"`{report.raw[k]:.1e}`" if report.raw[k] is not None else "–" for k in ("largest_error", "largest_bound")]
    row = [path.stem, *norms, *chains, directions(report), reasons(kept), *figures, computed["checked"] or "–", judged]
    return row, failures


def identical(a, b):
    return os.path.getsize(a) == os.path.getsize(b) and a.read_bytes() == b.read_bytes()


def reasons(counts):
    return ", ".join(f"{n} `{code}`" for code, n in sorted(counts.items(), key=lambda r: (-r[1], r[0]))) or "–"


def table(head, rows):
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]
    line = lambda r: "| " + " | ".join(str(c).ljust(w) for c, w in zip(r, widths)) + " |"  # noqa: E731
    return "\n".join([line(head), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)])


def page(models, architectures):
    norms, left, chains, chains_left = (sum(r[i] for r in models) for i in (1, 2, 3, 4))
    return f"""<!-- Written by tests/conformance/corpus.py; do not edit. -->

# The corpus

{len(models)} ONNX files of full size, random weights, as PyTorch (TorchScript and dynamo exporters), Keras and tf2onnx write
them. Of their {norms} batch norms {left} are left by the default pipeline, of their {chains} affine chains {chains_left}.
An affine chain is a run of Mul, Add, Sub, Div and Neg by constants of which one multiplies each channel by a factor of its
own: what a batch norm becomes in a framework that has none. "which way" counts both: into the op behind, ahead or beside. What has
to come out is in `tests/conformance/foldability.json`, and a test compares it with this page.

Every file came back byte for byte from a run without passes, and gave the same bytes with one thread and with two. Every
output is valid by `onnx.checker`'s full check where the original is. "difference" is the largest difference between the
outputs before and after, over the largest output, in onnxruntime with its own optimizations off (or in the engine named):
at most `1e-5` is allowed, `2e-3` for f16 (`small_fp16`).

"error" is the largest that a fold's certificate measured, "bound" the largest that one allows, both relative to the
magnitudes that are added up. No fold's error is beyond its own bound. For as many folds as "recomputed" says — a norm right
behind a convolution that nothing else is folded into — every weight and bias was computed again in extended precision, and none
differs from what is stored by more than the fold's bound, relative to itself: so the bound holds for all data, not only for
what the certificate looked at.

`tests/conformance/corpus.py` makes this page from a directory of models; its head says how to run it.

{table(["model", "norms", "left", "chains", "left", "which way", "why left", "error", "bound", "recomputed", "difference"], models)}

## Keras architectures

`explain` on the architecture JSON alone: which norms would fold once the weights are there.

{table(["model", "norms", "would fold", "kept, why"], architectures)}
"""


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("corpus", type=Path)
    ap.add_argument("--normfold", type=Path, required=True, metavar="BINARY")
    ap.add_argument("--expect", action="store_true", help="verdicts have to be those of foldability.json")
    ap.add_argument("--out", type=Path, default=harness.ROOT / "docs" / "corpus.md")
    ap.add_argument("--only", action="append", metavar="GLOB", help="these models only; writes no page")
    args = ap.parse_args()
    os.environ["NORMFOLD_BIN"] = str(args.normfold.resolve())
    wanted = lambda p: not args.only or any(fnmatch.fnmatch(p.stem, g) for g in args.only)  # noqa: E731

    expected = json.loads((HERE / "foldability.json").read_text()) if args.expect else {}

    models, architectures, bad = [], [], 0
    with tempfile.TemporaryDirectory() as scratch:
        for path in sorted(filter(wanted, args.corpus.glob("*.onnx"))):
            try:
                row, failures = one(path, Path(scratch), expected.get(path.stem))
                models.append(row)
                if args.expect and path.stem not in expected:
                    failures.append("foldability.json does not know it")
            except Exception as e:  # one broken file must not hide what the others give
                row, failures = [path.stem], [f"{type(e).__name__}: {str(e)[:500]}"]
            print(*row, *(f"FAILED: {f}" for f in failures), sep=" | ", flush=True)
            bad += bool(failures)
        for path in sorted(filter(wanted, args.corpus.glob("*.json"))):
            try:
                report = harness.explain(path)
                would = report.reasons.get("weights-absent", 0)
                rest = {k: v for k, v in report.reasons.items() if k != "weights-absent"}
                architectures.append([path.stem, report.total, would, reasons(rest)])
                print(*architectures[-1], sep=" | ", flush=True)
            except Exception as e:
                print(path.stem, f"FAILED: {str(e)[:500]}", sep=" | ", flush=True)
                bad += 1
    if not args.only and not bad:
        args.out.write_text(page(models, architectures))
        print(f"wrote {args.out.name}")
    print(f"{len(models)} models, {len(architectures)} architectures, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
