"""Passes beside the fold, on the small models: what they compute stays what it was, and a second run changes nothing."""
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import harness

MODELS = sorted(harness.MODELS.glob("*.onnx"))
PIPELINES = ["default", "cse", "const-fold", "const-fold{growth=0},dce", "const-fold{freeze-inputs},dce", "lower-bn",
             "lower-bn{form=unit}", "fold-bn,lower-bn,dce", "infer-shapes", "simplify",
             "infer-shapes,simplify", "lower-bn,infer-shapes"]


# No engine knows it.
UNJUDGED = {"opset6_training"}


def opt(src, dst, pipeline):
    done = harness.run("opt", src, "-o", dst, f"--passes={pipeline}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_same_results(path, pipeline, tmp_path):
    out, again = tmp_path / "out.onnx", tmp_path / "again.onnx"
    opt(path, out, pipeline)
    assert harness.check(path) or not harness.check(out), harness.check(out)
    if path.stem not in UNJUDGED:
        worst, engine = harness.compare(path, out)
        assert worst <= harness.tolerance(path, engine), f"{worst:.1e} by {engine}"
    opt(out, again, pipeline)
    assert again.read_bytes() == out.read_bytes(), "a second run changed something"


def test_targets_of_reshapes(tmp_path):
    """Exporters spell extents out; what a target then is must hold for every batch, an empty one included."""
    node, i64 = helper.make_node, lambda name, v: numpy_helper.from_array(np.array(v, np.int64), name)
    nodes = [
        node("Shape", ["x"], ["s"]), node("Cast", ["s"], ["s32"], to=TensorProto.INT32),
        node("Slice", ["s32", "zero", "one"], ["n32"]), node("Squeeze", ["n32", "zero"], ["n0"]),
        node("Unsqueeze", ["n0", "zero"], ["n1"]), node("Cast", ["n1"], ["n"], to=TensorProto.INT64),
        node("Slice", ["s", "one", "two"], ["h"]),
        node("Concat", ["n", "h", "twelve"], ["t0"], axis=0), node("Reshape", ["x", "t0"], ["y0"]),
        node("Concat", ["n", "minus"], ["t1"], axis=0), node("Reshape", ["x", "t1"], ["y1"]),
        node("Transpose", ["x"], ["xt"], perm=[2, 3, 0, 1]), node("ReduceMax", ["xt"], ["m"], axes=[3], keepdims=0),
        node("Concat", ["twelve", "n"], ["t2"], axis=0), node("Reshape", ["m", "t2"], ["y2"]),
        node("Concat", ["h", "n", "twelve"], ["t3"], axis=0), node("Reshape", ["x", "t3"], ["y3"]),
    ]
    lists = [i64(n, [v]) for n, v in (("zero", 0), ("one", 1), ("two", 2), ("twelve", 12), ("minus", -1))]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "H", 4, 3])
    outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None) for i in range(4)]
    model = helper.make_model(helper.make_graph(nodes, "targets", [x], outputs, lists),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(model, before)
    opt(before, after, "const-fold,dce")
    targets = {n.output[0]: n.input[1] for n in onnx.load(str(after)).graph.node if n.op_type == "Reshape"}
    constants = {t.name for t in onnx.load(str(after)).graph.initializer}
    assert [targets[f"y{i}"] in constants for i in range(4)] == [True, True, True, False]
    first, second = harness.session(before), harness.session(after)
    for n, h in ((2, 5), (1, 1), (3, 1)):
        inputs = {"x": np.arange(n * h * 12, dtype=np.float32).reshape(n, h, 4, 3)}
        for a, b in zip(first.run(None, inputs), second.run(None, inputs)):
            assert a.shape == b.shape and np.array_equal(a, b)
    # The only one that runs on an empty batch.
    del model.graph.node[9:], model.graph.output[1:]
    onnx.save(model, before)
    opt(before, after, "const-fold,dce")
    inputs = {"x": np.zeros((0, 5, 4, 3), np.float32)}
    shapes = [harness.session(p).run(None, inputs)[0].shape for p in (before, after)]
    assert shapes == [(0, 5, 12)] * 2
