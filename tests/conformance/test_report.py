"""The ranges of the report against numpy on the files before and after."""
import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import harness
from harness import MODELS

# Every .onnx file there into whose layers at least one norm folds: grouped and transposed convolutions, matrices, f16.
NAMES = ["mobilenet_v2_x025", "resnet_tiny", "dcgan_groups", "conv1d_linear", "awkward", "small_fp16", "small_fp64", "small_dynamo",
         "opset7", "constant_nodes", "typed_fields", "local_function", "if_captures"]


def constants(model):
    """Constants by name, as float64; Constant nodes and what stands between a constant and its reader included."""
    out = {}
    for g in [*harness.bodies(model.graph), *model.functions]:
        out.update({t.name: numpy_helper.to_array(t) for t in getattr(g, "initializer", [])})
        for n in g.node:
            if n.op_type == "Constant" and n.attribute and n.attribute[0].HasField("t"):
                out[n.output[0]] = numpy_helper.to_array(n.attribute[0].t)
            elif n.op_type == "Transpose" and n.input[0] in out:
                perm = next((list(a.ints) for a in n.attribute if a.name == "perm"), None)
                out[n.output[0]] = np.transpose(out[n.input[0]], perm)
            elif n.op_type in ("Identity", "Cast") and n.input[0] in out:
                out[n.output[0]] = out[n.input[0]]
    return {name: v.astype(np.float64) for name, v in out.items() if np.issubdtype(v.dtype, np.number)}


def layer_of(model, name):
    """|W| with its output channels first, and b, of the node of that name; None for what a case does not know."""
    known = constants(model)
    nodes = list(harness.all_nodes(model))
    node = next(n for n in nodes if n.name == name)
    a = {x.name: x for x in node.attribute}
    if len(node.input) < 2 or node.input[1] not in known:
        return None
    w = np.abs(known[node.input[1]])
    c = known.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if node.op_type == "ConvTranspose":
        groups = a["group"].i if "group" in a else 1
        w = np.concatenate([np.moveaxis(part, 1, 0) for part in np.split(w, groups, axis=0)])
    elif node.op_type == "Gemm":
        w = w if "transB" in a and a["transB"].i else w.T
        if c is not None:
            c = c * (a["beta"].f if "beta" in a else 1.0)
    elif node.op_type == "MatMul":
        w = np.moveaxis(w, -1, 0)
        readers = [n for n in nodes if node.output[0] in n.input]
        if len(readers) == 1 and readers[0].op_type == "Add":
            c = next((known[i] for i in readers[0].input if i in known), None)
    elif node.op_type != "Conv":
        return None
    w = w.reshape(w.shape[0], -1)
    return w, np.broadcast_to(np.zeros(()) if c is None else c.reshape(-1), w.shape[:1])


@pytest.mark.parametrize("name", NAMES)
def test_ranges(name, tmp_path):
    src, dst, path = MODELS / f"{name}.onnx", tmp_path / "out.onnx", tmp_path / "report.json"
    told = harness.opt(src, dst, f"--report={path}")
    report = json.loads(path.read_text())
    assert report == told.raw
    assert "layers" not in harness.opt(src, dst).raw
    folds = [r["location"] for r in report["remarks"] if r["pass"] == "fold-bn" and r["kind"] == "passed"]
    layers = report["layers"]
    assert set(folds) == {f for layer in layers for f in layer["folds"]}
    before, after = onnx.load(src), onnx.load(dst)
    compared = 0
    for layer in layers:
        for model, side in ((before, "before"), (after, "after")):
            expected = layer_of(model, layer["location"])
            if expected is None:
                continue
            (w, b), got = expected, layer[side]
            assert layer["channels"] == len(w)
            np.testing.assert_array_equal(got["w_min"], w.min(axis=1))
            np.testing.assert_array_equal(got["w_max"], w.max(axis=1))
            np.testing.assert_array_equal(got["b"], b)
            assert got["dead"] == np.flatnonzero(w.max(axis=1) == 0).tolist()
            compared += 1
    assert compared > 0


def test_a_dead_channel_is_named(tmp_path):
    """Scale 0: what comes out of the channel is the shift, whatever comes in."""
    src, path = tmp_path / "in.onnx", tmp_path / "report.json"
    model = onnx.load(MODELS / "opset14.onnx")
    norm = next(n for n in model.graph.node if n.op_type == "BatchNormalization")
    scale = next(t for t in model.graph.initializer if t.name == norm.input[1])
    values = numpy_helper.to_array(scale).copy()
    values[1] = 0
    scale.CopyFrom(numpy_helper.from_array(values, scale.name))
    onnx.save(model, src)
    harness.opt(src, tmp_path / "out.onnx", f"--report={path}")
    layer = next(x for x in json.loads(path.read_text())["layers"] if norm.name in x["folds"])
    assert (layer["before"]["dead"], layer["after"]["dead"]) == ([], [1])
    shift = next(t for t in model.graph.initializer if t.name == norm.input[2])
    assert layer["after"]["b"][1] == numpy_helper.to_array(shift)[1]


def test_given_pairs(tmp_path):
    """Only the pairs fold, each into the op it names, and the model stays equal."""
    src, dst = MODELS / "resnet_tiny.onnx", tmp_path / "out.onnx"
    folds = [r for r in harness.opt(src, dst).remarks if r["pass"] == "fold-bn" and r["kind"] == "passed"]
    given = [(f["args"]["into"], f["location"]) for f in folds[:3]]
    wrong = (folds[0]["args"]["into"], folds[3]["location"])
    pairs = "|".join(f"{a}:{b}".replace("\\", "\\\\") for a, b in [*given, wrong, ("nowhere", "nothing")])
    report = harness.opt(src, dst, f'--passes=fold-bn{{pairs="{pairs}"}},dce')
    verdicts = {r["location"]: r for r in report.remarks if r["pass"] == "fold-bn" and r["kind"] != "analysis"}
    assert {n for n, r in verdicts.items() if r["kind"] == "passed"} == {n for _, n in given}
    assert verdicts[wrong[1]]["code"] == "pair-mismatch"
    assert {r["code"] for n, r in verdicts.items() if n not in {wrong[1], *(n for _, n in given)}} == {"not-selected"}
    assert [r["location"] for r in report.remarks if r["code"] == "pair-not-found"] == ["nowhere:nothing"]
    worst, engine = harness.compare(src, dst)
    assert worst <= harness.tolerance(src, engine)
