"""The small models of tests/models: verdicts, validity, equality, and what has to survive a fold."""
import json

import onnx
import pytest

import harness
from harness import MODELS

# name: (folded, reasons of the kept ones). Every .onnx file of tests/models is here.
EXPECTED = {
    "mobilenet_v2_x025": (52, {}),
    "resnet_tiny": (8, {}),
    "dcgan_groups": (7, {}),
    "conv1d_linear": (4, {}),
    "awkward": (9, {"activation-between": 1, "multiple-consumers": 2, "padded-shift": 2}),
    "small_fp16": (5, {}),
    "small_fp64": (5, {}),
    "small_train": (0, {"training-mode": 5}),
    "small_dynamo": (5, {}),
    "ir3_inputs": (2, {}),
    "opset6_is_test": (2, {}),
    "opset6_training": (0, {"training-mode": 2}),
    "opset7": (2, {}),
    "opset7_spatial0": (1, {"per-element": 1}),
    "opset9_training": (1, {"training-mode": 1}),
    "opset14": (2, {}),
    "opset14_training": (0, {"training-mode": 2}),
    "overridable": (1, {"overridable-input": 2}),
    "typed_fields": (2, {}),
    "constant_nodes": (2, {}),
    "external": (2, {}),
    "if_captures": (2, {"region-boundary": 1}),
    "loop_body": (1, {}),
    "local_function": (2, {"not-constant": 1}),
    "custom_domain": (1, {"custom-domain": 2}),
    "annotated": (3, {}),
    "unknown_fields": (1, {}),
}

# Models that no engine at hand can run; none of their norms folds.
UNJUDGED = {"opset6_training"}


def folded(name, tmp_path, *args):
    src, dst = MODELS / f"{name}.onnx", tmp_path / f"{name}.onnx"
    return src, dst, harness.opt(src, dst, *args)


def test_every_model_is_listed():
    assert {p.stem for p in MODELS.glob("*.onnx")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_fold(name, tmp_path):
    src, dst, report = folded(name, tmp_path)
    assert (report.folded, report.reasons) == EXPECTED[name]

    complaint = harness.check(src)
    assert complaint or not harness.check(dst), harness.check(dst)
    before, after = onnx.load(src), onnx.load(dst)
    assert not harness.untouched(before, after)
    norms = [sum(n.op_type == "BatchNormalization" for n in harness.all_nodes(m)) for m in (before, after)]
    assert norms == [report.total, report.kept]
    if name not in UNJUDGED:
        worst, engine = harness.compare(src, dst)
        assert worst <= harness.tolerance(src, engine), f"{worst:.1e} by {engine}"
    if report.folded == 0:
        assert dst.read_bytes() == src.read_bytes()


@pytest.mark.parametrize("name", EXPECTED)
def test_round_trip_and_second_run(name, tmp_path):
    src, dst, _ = folded(name, tmp_path)
    again, same = tmp_path / "again.onnx", tmp_path / "same.onnx"
    assert harness.opt(dst, again).folded == 0
    assert again.read_bytes() == dst.read_bytes(), "a second run changed something"
    harness.copy(src, same)
    assert same.read_bytes() == src.read_bytes(), "a run without passes changed something"


@pytest.mark.parametrize("name", EXPECTED)
def test_deterministic(name, tmp_path):
    written = []
    for i, threads in enumerate((1, 1, 2)):
        home = tmp_path / str(i)
        home.mkdir()
        harness.opt(MODELS / f"{name}.onnx", home / "out.onnx", f"--threads={threads}")
        written.append({p.name: p.read_bytes() for p in home.iterdir()})
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize("name", EXPECTED)
def test_explain_agrees_with_opt(name, tmp_path):
    src, _, report = folded(name, tmp_path)
    before = sorted(tmp_path.iterdir())
    assert harness.explain(src).norms == report.norms
    assert sorted(tmp_path.iterdir()) == before


def test_added_bias_is_an_input_below_ir_4(tmp_path):
    src, dst, _ = folded("ir3_inputs", tmp_path)
    before, after = onnx.load(src).graph, onnx.load(dst).graph
    real = [v.name for v in before.input if v.name not in {t.name for t in before.initializer}]
    given = [v.name for v in after.input]
    assert given[:len(real)] == real, "a caller's inputs moved"
    assert set(given) == set(real) | {t.name for t in after.initializer}


def test_interface_is_kept(tmp_path):
    for name in EXPECTED:
        src, dst, _ = folded(name, tmp_path)
        before, after = onnx.load(src).graph, onnx.load(dst).graph
        assert list(before.output) == list(after.output), name
        weights = {t.name for t in [*before.initializer, *after.initializer]}
        assert [v for v in before.input if v.name not in weights] == [v for v in after.input if v.name not in weights], name


def test_unknown_fields_survive(tmp_path):
    src, dst, _ = folded("unknown_fields", tmp_path)
    mark = b"from the future"
    before, after = onnx.load(src).graph, onnx.load(dst).graph
    gone = {t.name for t in before.initializer} - {t.name for t in after.initializer}
    assert src.read_bytes().count(mark) - dst.read_bytes().count(mark) == len(gone) + 1, "only removed records may lose theirs"


def test_annotations_of_removed_values_go_and_others_stay(tmp_path):
    src, dst, _ = folded("annotated", tmp_path)
    before, after = onnx.load(src), onnx.load(dst)
    named = {o for n in after.graph.node for o in n.output} | {t.name for t in after.graph.initializer}
    assert {v.name for v in after.graph.value_info} <= named
    kept = [v for v in before.graph.value_info if v.name in named]
    assert list(after.graph.value_info) == kept
    assert list(after.graph.quantization_annotation) == list(before.graph.quantization_annotation)
    for keep in ("metadata_props", "opset_import", "doc_string", "model_version", "domain", "producer_name", "producer_version"):
        assert getattr(before, keep) == getattr(after, keep), keep
    assert list(before.graph.metadata_props) == list(after.graph.metadata_props)
    assert before.graph.doc_string == after.graph.doc_string


def test_external_data(tmp_path):
    data = {p: p.read_bytes() for p in MODELS.glob("external*.bin")}
    src, dst, _ = folded("external", tmp_path)
    assert all(p.read_bytes() == was for p, was in data.items()), "the input's data was touched"
    after = onnx.load(dst, load_external_data=False)
    locations = {e.value for t in after.graph.initializer for e in t.external_data if e.key == "location"}
    assert locations and all((tmp_path / where).is_file() for where in locations)
    assert not {t.name for t in after.graph.initializer} - {i for n in after.graph.node for i in n.input}


def test_output_may_be_the_input(tmp_path):
    path, other = tmp_path / "model.onnx", tmp_path / "other.onnx"
    path.write_bytes((MODELS / "resnet_tiny.onnx").read_bytes())
    harness.opt(path, other)
    harness.opt(path, path)
    assert path.read_bytes() == other.read_bytes()
    assert sorted(tmp_path.iterdir()) == [path, other]


# Keras architectures: why each norm is kept. `weights-absent` are those that fold once the weights are there.
KERAS = {
    "awkward": {"shared-weight": 2, "weights-absent": 1, "axis-mismatch": 1, "multiple-consumers": 1},
    "branches": {"weights-absent": 1},
    "conv_transpose": {"weights-absent": 3},
    "mobilenet_v2": {"weights-absent": 52},
    "names": {"weights-absent": 3},
    "nested": {"weights-absent": 2, "region-boundary": 1},
    "separable": {"weights-absent": 4},
    "seq_conv2d": {"weights-absent": 5},
}
ARCHITECTURES = sorted(p.stem for p in (MODELS / "keras").glob("*.json"))


def test_every_keras_model_is_listed():
    assert {a.removesuffix(".k2") for a in ARCHITECTURES} == set(KERAS)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_keras_architecture(name):
    """Both generations of Keras say the same about the same model."""
    path = MODELS / "keras" / f"{name}.json"
    report = harness.explain(path)
    assert report.total == path.read_text().count('"class_name": "BatchNormalization"')
    assert report.reasons == KERAS[name.removesuffix(".k2")]


def test_report_is_one_json_object(tmp_path):
    done = harness.run("opt", MODELS / "resnet_tiny.onnx", "-o", tmp_path / "out.onnx", "--format=json")
    assert done.returncode == 0
    assert isinstance(json.loads(done.stdout), dict)


@pytest.mark.parametrize("name", ["external", "mobilenet_v2_x025"])
@pytest.mark.parametrize("which", ["keep", "single", "inline", "above=4KiB"])
def test_external_data_where_asked_for(name, which, tmp_path):
    src, dst = MODELS / f"{name}.onnx", tmp_path / "out.onnx"
    assert harness.opt(src, dst, f"--external={which}").folded > 0
    onnx.checker.check_model(str(dst))
    tensors = onnx.load(dst, load_external_data=False).graph.initializer
    outside = {t.name for t in tensors if t.data_location == onnx.TensorProto.EXTERNAL}
    where = {e.value for t in tensors for e in t.external_data if e.key == "location"}
    sizes = {t.name: onnx.numpy_helper.to_array(t).nbytes for t in onnx.load(dst).graph.initializer}
    if which != "keep":
        least = {"single": 1 << 10, "above=4KiB": 4 << 10, "inline": 1 << 62}[which]
        assert outside == {t for t, size in sizes.items() if size >= least}
        assert len(where) == (which != "inline")
    worst, engine = harness.compare(src, dst)
    assert worst <= harness.tolerance(src, engine), f"{worst:.1e} by {engine}"
