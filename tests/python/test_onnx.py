"""`normfold.onnx`: in place on protos, on paths, pairs as AIMET gives them, judged by onnxruntime."""
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

import normfold  # noqa: E402
from normfold.onnx import BNLayer, fold_all_batch_norms_to_weight  # noqa: E402

SMALL = ["mobilenet_v2_x025", "resnet_tiny", "awkward", "dcgan_groups", "conv1d_linear", "if_captures", "local_function", "ir3_inputs",
         "small_fp16", "small_dynamo", "constant_nodes", "custom_domain", "overridable", "small_train"]


def outputs(model, seed=0):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(bool)": bool, "tensor(int64)": np.int64}
    feeds = {}
    for i in session.get_inputs():
        shape = [n if isinstance(n, int) else 2 for n in i.shape]
        feeds[i.name] = np.asarray(rng.random(shape) * 2 - 1, dtype=types[i.type])
    return session.run(None, feeds)


def assert_same(before, after, tolerance=1e-5):
    for a, b in zip(outputs(before), outputs(after), strict=True):
        if a.dtype == np.float16:
            tolerance = 2e-3
        largest = np.abs(a.astype(np.float64)).max()
        assert np.abs(a.astype(np.float64) - b.astype(np.float64)).max() <= tolerance * largest


@pytest.mark.parametrize("name", SMALL)
def test_protos_are_folded_in_place(models, name):
    path = models / f"{name}.onnx"
    model = onnx.load(path)
    before = onnx.ModelProto()
    before.CopyFrom(model)
    result = fold_all_batch_norms_to_weight(model)
    conv_bns, bn_convs = result
    onnx.checker.check_model(model, full_check=name != "custom_domain")
    expected = normfold.Module(path).run()
    assert result.report.batch_norms.reasons == expected.batch_norms.reasons
    assert model.SerializeToString() != before.SerializeToString() or not result.report.folded
    if name not in ("custom_domain", "small_train"):
        assert_same(before, model)
    nodes = [n for n in model.graph.node]
    for layer, norm in [*conv_bns, *bn_convs]:
        assert isinstance(norm, BNLayer) and norm.bn_layer.op_type == "BatchNormalization"
        assert norm.gamma.dtype == np.float64 and norm.gamma.shape == norm.beta.shape
        assert layer.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
        if name == "mobilenet_v2_x025":
            # The node is that of the model, not a copy.
            assert any(layer is n or layer == n for n in nodes)
            stored = {i.name: onnx.numpy_helper.to_array(i) for i in before.graph.initializer}
            assert np.array_equal(norm.gamma, stored[norm.bn_layer.input[1]].astype(np.float64))


def test_there_are_52_pairs(models):
    conv_bns, bn_convs = fold_all_batch_norms_to_weight(onnx.load(models / "mobilenet_v2_x025.onnx"))
    assert (len(conv_bns), len(bn_convs)) == (52, 0)
    assert conv_bns.report.batch_norms.folded == 52


def test_forward_pairs_are_apart():
    helper, of = onnx.helper, onnx.numpy_helper.from_array
    rng = np.random.default_rng(0)
    weights = {"ga": 3, "be": 3, "mu": 3, "va": 3, "w1": (4, 3, 1, 1), "w2": (4, 3, 1, 1), "w3": (4, 4, 1, 1), "g2": 4, "b2": 4, "m2": 4, "v2": 4}
    nodes = [
        helper.make_node("BatchNormalization", ["x", "ga", "be", "mu", "va"], ["n"], "norm"),
        helper.make_node("Conv", ["n", "w1"], ["a"], "one"),
        helper.make_node("Conv", ["n", "w2"], ["b"], "two"),
        # Without a name: it is called after its result, which becomes that of the norm.
        helper.make_node("Conv", ["a", "w3"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "g2", "b2", "m2", "v2"], ["d"], "behind"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, [1, 3, 4, 4])], [value(n, 1, [1, 4, 4, 4]) for n in "db"],
                              [of(rng.random(s, dtype=np.float32) + 0.5, n) for n, s in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = onnx.ModelProto()
    before.CopyFrom(model)
    conv_bns, bn_convs = fold_all_batch_norms_to_weight(model)
    assert_same(before, model)
    # One norm, two layers that take it in.
    assert [layer.name for layer, _ in bn_convs] == ["one", "two"] and bn_convs[0][1] is bn_convs[1][1]
    assert [(layer.output[0], norm.bn_layer.name) for layer, norm in conv_bns] == [("d", "behind")]


def test_a_path_is_rewritten(models, tmp_path):
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    path.write_bytes((models / "mobilenet_v2_x025.onnx").read_bytes())
    conv_bns, _ = fold_all_batch_norms_to_weight(path, output=out)
    assert len(conv_bns) == 52 and conv_bns[0][0].op_type == "Conv"
    assert path.read_bytes() == (models / "mobilenet_v2_x025.onnx").read_bytes()
    fold_all_batch_norms_to_weight(str(path))
    assert path.read_bytes() == out.read_bytes()


def test_external_data_goes_along(models, tmp_path):
    for name in ("external.onnx", "external.bin", "external.n2.bin"):
        (tmp_path / name).write_bytes((models / name).read_bytes())
    before = onnx.load(tmp_path / "external.onnx")
    fold_all_batch_norms_to_weight(tmp_path / "external.onnx")
    after = onnx.load(tmp_path / "external.onnx")
    assert_same(before, after)
    loaded = onnx.load(models / "external.onnx")
    assert fold_all_batch_norms_to_weight(loaded).report.batch_norms.folded == 2
    assert_same(before, loaded)


def test_models_beyond_one_message_go_through_files(models, monkeypatch):
    import normfold.onnx

    monkeypatch.setattr(normfold.onnx, "_LARGEST", 1000)
    model = onnx.load(models / "mobilenet_v2_x025.onnx")
    before = onnx.ModelProto()
    before.CopyFrom(model)
    conv_bns, _ = fold_all_batch_norms_to_weight(model)
    assert len(conv_bns) == 52
    assert all(not i.HasField("data_location") or i.data_location == onnx.TensorProto.DEFAULT for i in model.graph.initializer)
    assert_same(before, model)


def test_wrappers_of_protos_are_taken(models):
    class ONNXModel:
        model = onnx.load(models / "opset14.onnx")

    assert fold_all_batch_norms_to_weight(ONNXModel()).report.folded
    with pytest.raises(TypeError, match="ModelProto"):
        fold_all_batch_norms_to_weight(3)
    with pytest.raises(normfold.InputError):
        fold_all_batch_norms_to_weight(onnx.ModelProto())
