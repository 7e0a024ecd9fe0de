"""infer-shapes: every type that it writes is what onnxruntime computes, at two extents of everything that is open."""
import json

import ml_dtypes  # noqa: F401  registers types with numpy
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import harness

MODELS = sorted(harness.MODELS.glob("*.onnx"))


def infer(src, dst):
    done = harness.run("opt", src, "-o", dst, "--passes=infer-shapes", "--remarks=all", "--format=json")
    assert done.returncode == 0, done.stderr
    return harness.Report(json.loads(done.stdout))


def observed(model, infos, inputs):
    """What onnxruntime computes for the values described."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    outputs = {o.name for o in probe.graph.output}
    wanted = [v for v in infos if v.name not in outputs]
    for v in wanted:
        # Element types only: a wrong shape shall not be what the engine goes by.
        probe.graph.output.append(helper.make_tensor_value_info(v.name, v.type.tensor_type.elem_type, None))
    del probe.graph.value_info[:]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    with np.errstate(all="ignore"):
        return session.run([v.name for v in wanted], inputs), wanted


def judge(model, inputs):
    """Compares every `value_info` with what is computed; gives how many extents were compared."""
    names = {}
    for v in model.graph.input:
        if v.name in inputs:
            for d, n in zip(v.type.tensor_type.shape.dim, inputs[v.name].shape):
                if d.dim_param:
                    assert names.setdefault(d.dim_param, n) == n, "the inputs of the test disagree"
    tensors, infos = observed(model, model.graph.value_info, inputs)
    compared = 0
    for v, t in zip(infos, tensors):
        said = v.type.tensor_type
        assert helper.tensor_dtype_to_np_dtype(said.elem_type) == t.dtype, v.name
        if not said.HasField("shape"):
            continue
        assert len(said.shape.dim) == t.ndim, f"{v.name}: rank {t.ndim}"
        for d, n in zip(said.shape.dim, t.shape):
            if d.HasField("dim_value"):
                assert d.dim_value == n, f"{v.name}: {said.shape} is {t.shape}"
                compared += 1
            elif d.dim_param in names:
                assert names[d.dim_param] == n, f"{v.name}: {said.shape} is {t.shape}"
                compared += 1
    return compared


def with_extent(model, n):
    """Inputs with `n` for whatever is open, and the same for equal names."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    sizes = {}
    for v in copy.graph.input:
        for d in v.type.tensor_type.shape.dim:
            if not d.HasField("dim_value"):
                size = sizes.setdefault(d.dim_param, n + len(sizes)) if d.dim_param else n
                d.Clear()
                d.dim_value = size
    return harness.feeds(copy, n)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_models(path, tmp_path):
    model = onnx.load(str(path))
    # No runtime minds these, and the judge below knows none of them.
    if any(n.domain for n in harness.all_nodes(model)):
        pytest.skip("a custom operator")
    bare, out, again = (tmp_path / f"{n}.onnx" for n in ("bare", "out", "again"))
    del model.graph.value_info[:]
    onnx.save(model, bare)
    infer(bare, out)
    infer(out, again)
    assert out.read_bytes() == again.read_bytes()
    assert harness.check(bare) or not harness.check(out), harness.check(out)
    typed = onnx.load(str(out))
    try:
        harness.session(bare)
    except Exception:
        pytest.skip("onnxruntime does not take the model")
    compared = sum(judge(typed, with_extent(typed, n)) for n in (1, 3))
    assert compared > 0 or not typed.graph.value_info


def zoo():
    """A graph in which most rules of extents occur, with a batch, a height and a width that are open."""
    node, i64 = helper.make_node, lambda name, v: numpy_helper.from_array(np.array(v, np.int64), name)
    rng = np.random.default_rng(0)
    f32 = lambda name, *d: numpy_helper.from_array(rng.normal(0, 1, d).astype(np.float32), name)  # noqa: E731
    consts = [f32("w", 6, 4, 3, 3), f32("v", 6, 2, 1, 1), f32("tw", 6, 3, 2, 2), f32("gw", 6, 5), f32("k", 6, 1, 1), f32("row", 1, 7),
              i64("flat", [0, -1]), i64("split_heads", [0, 2, 3, -1]), i64("lead", [0]), i64("six", [6]), i64("m1", [-1]), i64("zero", 0),
              i64("axes", [2, 3]), i64("first", [1]), i64("four", [4]), i64("most", [2 ** 63 - 1]), i64("pads", [0, 0, 1, 0, 0, 0, 1, 0]),
              i64("ch", [2, 4]), i64("rows", [[0, 2], [1, 1]]), i64("ones", [1, 1]), f32("cond", 1, 6, 1, 1)]
    nodes = [
        node("Conv", ["x", "w"], ["same"], pads=[1, 1, 1, 1]),
        node("Conv", ["x", "w"], ["auto"], auto_pad="SAME_UPPER", strides=[1, 1]),
        node("Conv", ["x", "w"], ["half"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["same", "v"], ["grouped"], group=3),
        node("Add", ["same", "grouped"], ["sum"]),
        node("Mul", ["k", "sum"], ["scaled"]),
        node("MaxPool", ["sum"], ["pool"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("AveragePool", ["sum"], ["pool2"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("ConvTranspose", ["half", "tw"], ["up"], strides=[2, 2]),
        node("GlobalAveragePool", ["half"], ["gap"]),
        node("Flatten", ["gap"], ["flat_gap"]),
        node("MatMul", ["flat_gap", "gw"], ["mm"]),
        node("Add", ["mm", "z"], ["mmz"]),
        node("Gemm", ["flat_gap", "gw"], ["gemm"]),
        node("Reshape", ["gap", "flat"], ["rs"]),
        node("Reshape", ["same", "split_heads"], ["heads"]),
        node("Shape", ["same"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Unsqueeze", ["n", "lead"], ["n1"]),
        node("Slice", ["shape", "axes_from", "axes_to"], ["hw"]),
        node("Concat", ["n1", "six", "m1"], ["target"], axis=0),
        node("Reshape", ["pool", "target"], ["tokens"]),
        node("Transpose", ["tokens"], ["seq"], perm=[0, 2, 1]),
        node("MatMul", ["seq", "gw"], ["proj"]),
        node("MatMul", ["seq", "tokens"], ["attention"]),
        node("Softmax", ["attention"], ["soft"], axis=-1),
        node("Concat", ["n1", "six", "hw"], ["back"], axis=0),
        node("Reshape", ["tokens", "back"], ["image"]),
        node("Add", ["image", "pool"], ["residual"]),
        node("Expand", ["k", "back"], ["expanded"]),
        node("ConstantOfShape", ["back"], ["zeros"]),
        node("Where", ["cond_b", "zeros", "residual"], ["chosen"]),
        node("Slice", ["chosen", "first", "most", "axes1"], ["tail"]),
        node("Slice", ["chosen", "lead", "most", "axes1"], ["whole"]),
        node("Pad", ["chosen", "pads"], ["padded"]),
        node("Split", ["chosen", "ch"], ["s0", "s1"], axis=1),
        node("Concat", ["s1", "s0"], ["cat"], axis=1),
        node("ReduceMean", ["cat"], ["mean"], axes=[2, 3], keepdims=0),
        node("ReduceMax", ["cat"], ["max"], axes=[-1]),
        node("Gather", ["cat", "rows"], ["picked"], axis=1),
        node("DepthToSpace", ["s1"], ["d2s"], blocksize=2),
        node("SpaceToDepth", ["d2s"], ["s2d"], blocksize=2),
        node("Squeeze", ["gap", "axes"], ["squeezed"]),
        node("Cast", ["squeezed"], ["cast"], to=TensorProto.FLOAT16),
        node("Greater", ["squeezed", "mean"], ["greater"]),
        node("Resize", ["s0", "", "scales"], ["resized"], mode="nearest"),
        node("Size", ["resized"], ["size"]),
        node("TopK", ["squeezed", "first"], ["top", "where_top"]),
        node("Identity", ["size"], ["y"]),
    ]
    consts += [i64("axes_from", [2]), i64("axes_to", [4]), i64("axes1", [2]),
               numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
               numpy_helper.from_array(np.ones((1, 6, 1, 1), bool), "cond_b")]
    consts = [c for c in consts if any(c.name in n.input for n in nodes)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, "H", "W"])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 5])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [])
    graph = helper.make_graph(nodes, "zoo", [x, z], [y], consts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_every_rule(tmp_path):
    src, out = tmp_path / "zoo.onnx", tmp_path / "out.onnx"
    onnx.save(zoo(), src)
    infer(src, out)
    assert not harness.check(out), harness.check(out)
    typed = onnx.load(str(out))
    for n in (4, 6, 7):
        compared = judge(typed, with_extent(typed, n))
    assert compared > 100, compared
    said = {v.name: [d.dim_param or d.dim_value or "?" for d in v.type.tensor_type.shape.dim] for v in typed.graph.value_info}
    assert said["image"] == said["expanded"] == ["N", 6, "H", "W"]
    assert said["resized"] == ["N", 2, "?", "?"]
    assert said["residual"] == ["N", 6, "H", "W"]
    assert said["chosen"] == ["N", 6, "H", "W"]
    assert said["heads"] == ["N", 2, 3, "?"]
    assert said["proj"] == ["N", "?", 5]
    assert said["mmz"] == ["N", 5]
    assert said["half"] == ["N", 6, "?", "?"]
    assert said["cat"] == ["N", 6, "H", "W"]
    assert said["picked"] == ["N", 2, 2, "H", "W"]


def test_stale_declarations_and_results(tmp_path):
    src, out = tmp_path / "stale.onnx", tmp_path / "out.onnx"
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Abs", ["b"], ["y"])]
    info = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)  # noqa: E731
    graph = helper.make_graph(nodes, "stale", [info("x", ["N", 3])], [info("y", ["M", 3])], value_info=[info("a", [8, 3]), info("b", ["N", 3])])
    graph.value_info[0].doc_string = "of an exporter"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), src)
    report = infer(src, out)
    assert [(r["code"], r["location"]) for r in report.remarks if r["pass"] == "infer-shapes"] == [("stale-type", "a")]
    typed = onnx.load(str(out))
    assert typed.graph.output == graph.output
    assert typed.graph.value_info[0].type == graph.input[0].type
    assert typed.graph.value_info[0].doc_string == "of an exporter"
    assert typed.graph.value_info[1] == graph.value_info[1]
