#!/usr/bin/env python3
"""Folds a directory of PyTorch programs and judges what comes out by torch.export.

    tests/conformance/torch/run.sh --version        # makes the environment
    ~/.cache/normfold/conformance-torch/bin/python tests/conformance/torch/corpus.py DIR --normfold BINARY
        [--make NAME]... [--expect] [--out docs/torch.md]

DIR holds NAME.pt2. With --make, models of torchvision (or of timm, where torchvision has none of that name) are exported into it
first, with random weights and statistics; `--make all` makes those of the page. Each program is copied without a pass, which has to
give the same bytes, and folded: a second run changes nothing, torch.export loads it, and outputs may differ by 1e-5 of the largest.
With --expect verdicts have to be those of `tests/conformance/foldability.json`, which has the models as ONNX files.
"""
import argparse
import collections
import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch

import harness
import programs

# What is made when all are: names of torchvision and timm, and the size of an image where it is not 224.
MODELS = {
    "mobilenet_v2": 224, "mobilenet_v3_large": 224, "resnet18": 224, "resnet50": 224, "resnext50_32x4d": 224, "densenet121": 224,
    "efficientnet_b0": 224, "inception_v3": 299, "googlenet": 224, "shufflenet_v2_x1_0": 224, "mnasnet1_0": 224, "squeezenet1_1": 224,
    "convnext_tiny": 224, "repvgg_a0": 224, "mobileone_s0": 224, "ghostnet_100": 224, "hrnet_w18_small": 224, "levit_128s": 224,
    "fastvit_t8": 256,
}


def made(name, directory):
    """Exports a model under its name."""
    import timm
    import torchvision
    torch.manual_seed(programs.seed_of(name))
    known = torchvision.models.list_models()
    more = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    build = torchvision.models.get_model if name in known else timm.create_model
    model = tamed(build(name, **({"weights": None} if name in known else {"pretrained": False}), **more), name).eval()
    size = MODELS.get(name, 224)
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    torch.export.save(torch.export.export(model, (image,)), directory / f"{name}.pt2")


def tamed(model, name):
    """Weights by fan-in and norms that are none, with statistics of what they see, so that numbers stay of one size."""
    random = torch.Generator().manual_seed(programs.seed_of(name))
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for m in norms:
            m.running_mean.copy_(torch.randn(m.num_features, generator=random) * 0.3)
            m.running_var.copy_(torch.rand(m.num_features, generator=random) + 0.5)
            m.weight.copy_(torch.rand(m.num_features, generator=random) + 0.5)
            m.bias.copy_(torch.randn(m.num_features, generator=random) * 0.2)
        # Statistics move to those of noise, half of the way, in one pass of a few images.
        size = MODELS.get(name, 224)
        image = torch.randn(2, 3, size, size, generator=random)
        for m in norms:
            m.momentum = 0.5
        model.train()(image)
    return model


def identical(a, b):
    return os.path.getsize(a) == os.path.getsize(b) and programs.same_bytes(a, b)


def one(path, folder):
    """The report of a program, and the largest difference of outputs."""
    same, out, second = (folder / f"{n}.pt2" for n in ("same", "out", "second"))
    harness.copy(path, same)
    assert identical(path, same), "a run without passes changed the file"
    report = harness.opt(path, out)
    harness.opt(out, second)
    assert identical(out, second), "a second run changed something"
    before, after = programs.load(path), programs.load(out)
    args, kwargs = before.example_inputs
    programs.state(before, after, report)
    error = programs.difference(programs.outputs(before.module(), args, kwargs), programs.outputs(after.module(), args, kwargs))
    assert error <= programs.tolerance(before), f"outputs differ by {error:.1e}"
    for p in (same, out, second):
        p.unlink()
    return report, error


def unexpected(name, report):
    """What is not as it has to be, by what is expected of the same model as an ONNX file."""
    expected = json.loads((HERE.parent / "foldability.json").read_text()).get(name)
    if expected is None:
        return
    folded = report.folded + report.chains["folded"]
    kept = collections.Counter(report.reasons) + collections.Counter(report.chains["reasons"])
    if report.total != expected["norms"] or folded != expected["folded"]:
        yield f"expected {expected['folded']} folds and {expected['norms']} norms, not {folded} and {report.total}"
    if not harness.agree(kept, [codes for codes, n in expected["kept"].items() for _ in range(n)]):
        yield f"expected the reasons {expected['kept']}, not {dict(kept)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--normfold", required=True, type=Path, help="the binary")
    parser.add_argument("--make", action="append", default=[], metavar="NAME", help="export this model first")
    parser.add_argument("--expect", action="store_true", help="verdicts have to be those of foldability.json")
    parser.add_argument("--out", type=Path, help="where the table goes")
    args = parser.parse_args()
    os.environ["NORMFOLD_BIN"] = str(args.normfold.resolve())
    torch.set_num_threads(2)
    names = [n for name in args.make for n in (MODELS if name == "all" else [name])]
    for name in names:
        if not (args.directory / f"{name}.pt2").exists():
            made(name, args.directory)
    rows, failed = [], []
    for path in sorted(args.directory.glob("*.pt2")):
        with tempfile.TemporaryDirectory() as folder:
            try:
                report, error = one(path, Path(folder))
                failed += [f"{path.stem}: {what}" for what in unexpected(path.stem, report) if args.expect]
            except Exception as e:  # noqa: BLE001  (every failure is one of the table)
                failed.append(f"{path.stem}: {str(e)[:500]}")
                print(f"FAILED {failed[-1]}", flush=True)
                continue
        norms, chains = report.norms, report.chains
        kept = collections.Counter(norms["reasons"]) + collections.Counter(chains["reasons"])
        reasons = ", ".join(f"{n} `{code}`" for code, n in sorted(kept.items())) or "–"
        rows.append((path.stem, norms["total"], norms["folded"], f"{chains['folded']} of {chains['total']}" if chains["total"] else "–", reasons, error))
        print(*rows[-1][:5], f"{error:.1e}", sep=" | ", flush=True)
    lines = [
        "<!-- Written by tests/conformance/torch/corpus.py; do not edit. -->", "",
        "# PyTorch programs", "",
        f"Archives of `torch.export.save`, as PyTorch {torch.__version__.split('+')[0]} writes them: copied without a pass each is the same, byte",
        "for byte; folded, `torch.export.load` accepts it, a second run changes nothing, and outputs differ by at most what stands under",
        "*error*, relative to the largest. Weights and statistics are random. *chains* are affine chains that fold: products with a factor per",
        "channel that are no batch norms.", "",
        "| model | batch norms | folded | chains | kept | error |", "|---|---|---|---|---|---|",
        *(f"| {name} | {total} | {folded} | {chains} | {reasons} | `{error:.1e}` |" for name, total, folded, chains, reasons, error in rows),
    ]
    if args.out and not failed:
        args.out.write_text("\n".join(lines) + "\n")
    for failure in failed:
        print(f"FAILED {failure}", file=sys.stderr)
    print(f"{len(rows)} programs, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
