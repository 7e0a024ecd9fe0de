#!/usr/bin/env python3
"""Judges what a tool wrote, in an environment with onnx, onnxruntime and numpy: compare.py starts it.

    python judge.py outputs ORIGINAL OUTPUT KEPT.npz
    python judge.py weights ORIGINAL OUTPUT REPORT.json

`outputs` runs both models in onnxruntime, its own optimizations off, on the same made-up inputs, and prints a JSON object: the batch norms
of both, the largest difference of an output relative to the largest magnitude of that output, and what is wrong. What
the original gives is kept in KEPT.npz for the next tool.

`weights` computes every weight that a batch norm right behind a convolution was folded into again, in extended
precision, and prints the largest difference to what is stored, relative to the largest weight of its channel: at most what
normfold's report states as `largest_rounding`, which is that of f64 to the stored type, and what f64 itself loses on the way (`holds`
says whether). `beyond` counts folds of which an element is off by more than the `bound` of the fold, relative to
itself, and folds whose certificate measured more than that.
"""
import collections
import json
import os
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Differences that pass, by the narrowest type of the weights.
TOLERANCE = {np.dtype(np.float16): 2e-3}
OTHERWISE = 1e-5
# What the few operations in f64 that a weight goes through lose, relative to it.
ARITHMETIC = 2.0 ** -50
TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
         "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


def graphs(model):
    """All lists of nodes: of the graph, of bodies within, of functions."""
    lists = [model.graph.node, *(f.node for f in model.functions)]
    while lists:
        nodes = lists.pop()
        yield nodes
        for n in nodes:
            for a in n.attribute:
                lists += [g.node for g in ([a.g] if a.HasField("g") else []) + list(a.graphs)]


def norms(model):
    return sum(n.op_type == "BatchNormalization" for nodes in graphs(model) for n in nodes)


def session(path):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def inputs(model, sample):
    """The same for every tool; what is false in the first sample is true in the second."""
    rng, feed = np.random.default_rng(17 + sample), {}
    for i in model.get_inputs():
        shape, dtype = [d if isinstance(d, int) and d > 0 else 2 for d in i.shape], TYPES[i.type]
        if np.issubdtype(dtype, np.floating):
            feed[i.name] = rng.uniform(-1, 1, shape).astype(dtype)
        else:
            feed[i.name] = np.full(shape, sample, dtype)
    return feed


def reference(original, kept):
    """Batch norms, tolerance, inputs and outputs of the original; computed once."""
    if not os.path.exists(kept):
        model = onnx.load(original, load_external_data=False)
        half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
        arrays = {"norms": norms(model), "half": half}
        del model
        run = session(original)
        for sample in range(2):
            feed = inputs(run, sample)
            arrays |= {f"in{sample}:{n}": a for n, a in feed.items()}
            arrays |= {f"out{sample}:{o.name}": a for o, a in zip(run.get_outputs(), run.run(None, feed))}
        np.savez(kept, **arrays)
    with np.load(kept) as arrays:
        return dict(arrays)


def difference(a, b):
    """The largest difference relative to the largest magnitude of a, or what is wrong."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{b.dtype}{list(b.shape)} instead of {a.dtype}{list(a.shape)}"
    if not np.issubdtype(a.dtype, np.floating):
        return 0.0 if np.array_equal(a, b) else "other values"
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return "NaN or infinity elsewhere"
    if not finite.any():
        return "nowhere finite"
    if not a[finite].any():
        return "all zero, which proves nothing"
    return float(np.abs(a - b)[finite].max() / np.abs(a[finite]).max())


def outputs(original, output, kept):
    known = reference(original, kept)
    left = norms(onnx.load(output, load_external_data=False))
    found = {"before": int(known["norms"]), "left": left, "error": 0.0, "wrong": ""}
    tolerance = TOLERANCE[np.dtype(np.float16)] if known["half"] else OTHERWISE
    try:
        run = session(output)
        names = {o.name for o in run.get_outputs()}
        for sample in range(2):
            feed = {k.split(":", 1)[1]: a for k, a in known.items() if k.startswith(f"in{sample}:")}
            wanted = {k.split(":", 1)[1]: a for k, a in known.items() if k.startswith(f"out{sample}:")}
            if names != set(wanted):
                found["wrong"] = "other outputs"
                break
            got = dict(zip(wanted, run.run(list(wanted), feed)))
            for name, a in wanted.items():
                d = difference(a, got[name])
                if isinstance(d, str):
                    found["wrong"] = f"{name}: {d}"
                else:
                    found["error"] = max(found["error"], d)
        if not found["wrong"] and found["error"] > tolerance:
            found["wrong"] = f"differs by more than {tolerance:g}"
    except Exception as e:  # noqa: BLE001: whatever onnxruntime raises, the model does not run
        found |= {"error": None, "wrong": f"does not run: {str(e).splitlines()[0]}"}
    return found


def off_by_more(stored, exact, bound, least):
    """1 where an element differs from the exact one by more than `bound` of itself and `least`."""
    return int((np.abs(stored - exact) > bound * np.abs(stored) + least).any())


def weights(original, output, report):
    with open(report, encoding="utf-8") as f:
        stated = json.load(f)
    # What a fold is called: the node's name, or its first result where it has none.
    label = lambda n: n.name or n.output[0]  # noqa: E731
    old, new = onnx.load(original, load_external_data=False), onnx.load(output, load_external_data=False)
    places = [os.path.dirname(os.path.abspath(p)) for p in (original, output)]
    tensors = [{t.name: t for t in m.graph.initializer} for m in (old, new)]
    nodes = [{label(n): n for n in m.graph.node} for m in (old, new)]
    array = lambda side, name: numpy_helper.to_array(tensors[side][name], places[side]).astype(np.longdouble)  # noqa: E731
    checked, worst, beyond = 0, 0.0, 0
    folds = [r for r in stated["remarks"] if r["code"] == "folded"]
    taken = collections.Counter(name for r in folds for name in r["args"].get("absorbers", [r["args"]["into"]]))
    for remark in folds:
        args = remark["args"]
        if remark["op"] != "batch_norm" or args["direction"] != "backward" or taken[args["into"]] != 1:
            continue
        if args["through"] or args["composed"] or len(args["absorbers"]) != 1 or "with" in args:
            continue
        bn, into, now = nodes[0].get(remark["location"]), nodes[0].get(args["into"]), nodes[1].get(args["into"])
        if bn is None or into is None or now is None or into.op_type != "Conv" or bn.input[0] != into.output[0]:
            continue
        if not {into.input[1], *bn.input[1:5]} <= tensors[0].keys() or now.input[1] not in tensors[1]:
            continue
        epsilon = next((a.f for a in bn.attribute if a.name == "epsilon"), np.float32(1e-5))
        gamma, beta, mean, variance = (array(0, i) for i in bn.input[1:5])
        w = array(0, into.input[1])
        scale = gamma / np.sqrt(variance + np.longdouble(epsilon))
        exact = w * scale.reshape(-1, *[1] * (w.ndim - 1))
        off = np.abs(array(1, now.input[1]) - exact).reshape(len(w), -1).max(axis=1)
        largest = np.abs(exact).reshape(len(w), -1).max(axis=1)
        stored = helper.tensor_dtype_to_np_dtype(tensors[1][now.input[1]].data_type)
        least = np.longdouble(np.finfo(stored).smallest_subnormal)
        # What every element is off by, relative to itself, bounds what any result is off by, relative to the sum of the
        # magnitudes that were added: whatever the data, not only that of the certificate's sample.
        beyond += off_by_more(array(1, now.input[1]), exact, args["bound"], least)
        worst = max(worst, float((off[largest > 0] / largest[largest > 0]).max(initial=0)))
        if len(now.input) > 2 and now.input[2] in tensors[1]:
            b = array(0, into.input[2]) if len(into.input) > 2 and into.input[2] in tensors[0] else np.longdouble(0)
            lost = np.longdouble(ARITHMETIC) * (np.abs(b * scale) + np.abs(beta) + np.abs(mean * scale))
            beyond += off_by_more(array(1, now.input[2]), b * scale + beta - mean * scale, args["bound"], least + lost)
        checked += 1
    holds = worst <= (stated["largest_rounding"] or 0) * (1 + 1e-6) + ARITHMETIC
    return {"checked": checked, "observed": worst, "stated": stated["largest_rounding"], "holds": bool(holds),
            "certified": stated["largest_error"],
            "beyond": beyond + sum(r["args"]["error"] > r["args"]["bound"] for r in folds if "error" in r["args"]),
            "folded": stated["batch_norms"]["folded"]}


def main():
    what, *args = sys.argv[1:]
    print(json.dumps({"outputs": outputs, "weights": weights}[what](*args)))


if __name__ == "__main__":
    main()
