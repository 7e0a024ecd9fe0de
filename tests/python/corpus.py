"""Folds every live model of a corpus with the Python package, and judges it by what the framework computes.

    python corpus.py onnx DIR [--out FILE]                    every ModelProto of DIR
    python corpus.py keras DIR [--out FILE]                   every .keras of DIR, loaded by the Keras that wrote it
    python corpus.py torch DIR --builder MODULE [--out FILE]  every model that `build(name)` of a Python file makes

Each in an environment that has the package and the framework. What folds is compared with what the program folds in the file
(`DIR/NAME.onnx`, or the .keras): a live module keeps what its code would have to change for, so it may fold less where the
table says why. With --out the section of that kind in FILE is written anew. Exits with 1 if a model differs.
"""
import argparse
import importlib.util
import sys
import warnings
from pathlib import Path

import numpy as np

import normfold

HEAD = """<!-- Written by tests/python/corpus.py; do not edit. -->

# Live models

Models of the corpus folded in memory by the Python package: outputs are those of the framework before and after, relative to the
largest (`error`, at most 1e-5; 2e-3 in f16). `file` is what folds in the file of the same model.
"""
TITLES = {"torch": "PyTorch modules", "keras": "Keras models", "onnx": "ONNX protos"}


def difference(before, after):
    worst = 0.0
    for a, b in zip(before, after, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.size:
            worst = max(worst, np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
    return worst


def row(name, report, pairs, error, file=None, tolerance=1e-5):
    norms = report.batch_norms
    problems = [] if error <= tolerance else [f"outputs differ by {error:.1e}"]
    kept = ", ".join(f"{n} `{code}`" for code, n in norms.reasons.items()) or "–"
    cells = [name, norms.total, norms.folded, pairs, "" if file is None else file, kept, f"`{error:.1e}`"]
    print(*cells, *problems, sep="  ", flush=True)
    return cells, problems


def torch_rows(directory, builder):
    import torch

    from normfold.torch import fold_all_batch_norms

    spec = importlib.util.spec_from_file_location("models", builder)
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    for name, (_, _, options) in models.MODELS.items():
        if options.get("big") or name.endswith("_dynamo"):
            continue
        model, inputs, _ = models.build(name)
        if not any(isinstance(m, models.BN) for m in model.modules()):
            continue
        leaves = torch.utils._pytree.tree_leaves
        with torch.no_grad():
            before = [t.double().numpy() for t in leaves(model(*inputs)) if isinstance(t, torch.Tensor)]
            pairs = fold_all_batch_norms(model, None, dummy_input=inputs)
            after = [t.double().numpy() for t in leaves(model(*inputs)) if isinstance(t, torch.Tensor)]
        file = directory / f"{name}.onnx"
        # What trains while it is exported folds nowhere but here, where it is evaluated.
        of_file = normfold.Module(file).explain().batch_norms.folded if file.exists() and not options.get("train") else None
        half = any(t.dtype == torch.float16 for t in inputs)
        yield row(name, pairs.report, len(pairs), difference(before, after), of_file, 2e-3 if half else 1e-5)


def keras_rows(directory, _):
    import keras
    import tf_keras

    from normfold.keras import fold_all_batch_norms

    for file in sorted(directory.glob("*.keras")):
        generation = tf_keras if ".k2" in file.name else keras
        model = generation.models.load_model(file, safe_mode=False)
        rng = np.random.default_rng(0)
        x = [rng.normal(0, 1, (1, *(n or 16 for n in i.shape[1:]))).astype("float32") for i in model.inputs]
        before = model.predict(x if len(x) > 1 else x[0], verbose=0)
        pairs, folded = fold_all_batch_norms(model)
        after = folded.predict(x if len(x) > 1 else x[0], verbose=0)
        before, after = ([v] if not isinstance(v, list) else v for v in (before, after))
        of_file = normfold.Module(file).explain().batch_norms.folded
        yield row(file.stem, pairs.report, len(pairs), difference(before, after), of_file)


def onnx_rows(directory, _):
    import onnx
    import onnxruntime

    from normfold.onnx import fold_all_batch_norms_to_weight

    def session(model):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    for file in sorted(directory.glob("*.onnx")):
        if "training" in file.name or "_train" in file.name:
            continue
        model = onnx.load(file)
        try:
            original = session(model)
        except Exception:
            # onnxruntime refuses the model as it came.
            continue
        rng = np.random.default_rng(0)
        x = {i.name: rng.normal(0, 1, [n if isinstance(n, int) else 1 for n in i.shape]).astype(types[i.type]) for i in original.get_inputs()}
        before = original.run(None, x)
        conv_bns, bn_convs = result = fold_all_batch_norms_to_weight(model)
        half = any(v.dtype == np.float16 for v in x.values())
        after = session(model).run(None, x)
        yield row(file.stem, result.report, len(conv_bns) + len(bn_convs), difference(before, after), None, 2e-3 if half else 1e-5)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("kind", choices=list(TITLES))
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--builder", type=Path)
    arguments.add_argument("--out", type=Path)
    a = arguments.parse_args()
    warnings.simplefilter("ignore")
    rows = list({"torch": torch_rows, "keras": keras_rows, "onnx": onnx_rows}[a.kind](a.directory, a.builder))
    failed = [cells[0] for cells, problems in rows if problems]
    if a.out:
        columns = ["model", "batch norms", "folded", "pairs", "file", "kept", "error"]
        if a.kind == "onnx":
            columns.remove("file")
        table = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        for cells, _ in rows:
            table.append(f"| {' | '.join(str(c) for i, c in enumerate(cells) if a.kind != 'onnx' or i != 4)} |")
        begin, end = f"<!-- begin {a.kind} -->", f"<!-- end {a.kind} -->"
        text = a.out.read_text() if a.out.exists() else HEAD + "".join(f"\n<!-- begin {k} -->\n<!-- end {k} -->\n" for k in TITLES)
        before, after = text[: text.index(begin)], text[text.index(end) :]
        a.out.write_text(before + "\n".join([begin, "", f"## {TITLES[a.kind]}", "", *table, "", after]))
    print(f"{len(rows) - len(failed)} passed, {len(failed)} failed", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
