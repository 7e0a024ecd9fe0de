"""`normfold verify` and `opt --verify`: what passes in rten and in ONNX Runtime, what does not, and what cannot be told."""
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import harness
from harness import MODELS

NAMES = sorted(p.stem for p in MODELS.glob("*.onnx"))
# What an engine does not run. rten knows neither old operators, training, functions nor 3-D transposed convolutions.
CANNOT = {
    "rten": {"custom_domain", "dcgan_groups", "local_function", "opset14_training", "opset6_is_test", "opset6_training",
             "opset7_spatial0", "opset9_training", "small_train"},
    "ort": {"custom_domain", "opset14_training", "opset6_is_test", "opset6_training", "small_fp64"},
}
CASES = [(engine, name) for engine in CANNOT for name in NAMES]


def library():
    """ONNX Runtime's own shared library, as its package has it."""
    capi = Path(onnxruntime.__file__).parent / "capi"
    found = sorted(p for pattern in ("libonnxruntime.so*", "libonnxruntime.*dylib", "onnxruntime.dll") for p in capi.glob(pattern))
    assert found, f"no library in {capi}"
    return found[0]


def arguments(engine):
    return ["--engine=rten"] if engine == "rten" else ["--engine=ort", f"--ort-lib={library()}"]


def verify(a, b, engine, *args):
    done = harness.run("verify", a, b, "--json", *arguments(engine), *args)
    report = json.loads(done.stdout)["verification"] if done.stdout else None
    return done.returncode, report, done.stderr


def built_with(engine):
    path = MODELS / "resnet_tiny.onnx"
    return verify(path, path, engine)


def test_the_binary_has_both_engines():
    for engine in CANNOT:
        code, _, said = built_with(engine)
        assert code == 0, f"{said}\nbuild with `cargo build --release --features verify,ort`"


@pytest.fixture(autouse=True, scope="module")
def engines():
    """Without an engine the one test above fails, and the others have nothing to say."""
    return {engine for engine in CANNOT if "was built without" not in built_with(engine)[2]}


@pytest.fixture(autouse=True)
def engine_is_there(request, engines):
    engine = getattr(request.node, "callspec", None)
    engine = engine.params.get("engine") if engine else None
    if engine and engine not in engines:
        pytest.skip(f"the binary was built without {engine}")


def damage(src, dst):
    """Another number in every float tensor."""
    model = onnx.load(src)
    tensors = [t for g in harness.bodies(model.graph) for t in g.initializer]
    tensors += [a.t for n in harness.all_nodes(model) for a in n.attribute if a.type == onnx.AttributeProto.TENSOR]
    touched = 0
    for t in tensors:
        values = numpy_helper.to_array(t).copy()
        if values.dtype in (np.float16, np.float32, np.float64) and values.size:
            values.flat[0] = 0.75 - values.flat[0]
            t.CopyFrom(numpy_helper.from_array(values, t.name))
            touched += 1
    assert touched
    onnx.save(model, dst)


@pytest.mark.parametrize("engine,name", CASES)
def test_folded_passes_and_damaged_fails(engine, name, tmp_path):
    src, dst, broken = MODELS / f"{name}.onnx", tmp_path / "out.onnx", tmp_path / "broken.onnx"
    harness.opt(src, dst)
    code, found, said = verify(src, dst, engine)
    if name in CANNOT[engine]:
        assert (code, found) == (7, None), said
        assert "cannot verify" in said
        done = harness.run("opt", src, "-o", tmp_path / "none.onnx", "--verify", *arguments(engine))
        assert done.returncode == 7, done.stderr
        assert sorted(p.name for p in tmp_path.glob("*.onnx")) == ["out.onnx"]
        return
    assert code == 0, said
    assert found["equal"] and all(o["relative"] <= o["tolerance"] for o in found["outputs"])
    declared = onnx.load(src, load_external_data=False).graph.output
    assert [o["name"] for o in found["outputs"]] == [o.name for o in declared]
    damage(dst, broken)
    code, found, said = verify(src, broken, engine)
    assert code == 6 and not found["equal"], said


@pytest.mark.parametrize("engine,name", [(e, n) for e, n in CASES if n not in CANNOT[e]])
def test_opt_writes_what_passes_and_nothing_else(engine, name, tmp_path):
    src, plain, dst = MODELS / f"{name}.onnx", tmp_path / "plain.onnx", tmp_path / "out.onnx"
    harness.opt(src, plain)
    report = harness.opt(src, dst, "--verify", *arguments(engine)).raw
    assert report["verification"]["equal"]
    if name != "external":  # its data file is called as the document is
        assert dst.read_bytes() == plain.read_bytes()
    worst = max(o["relative"] for o in report["verification"]["outputs"])
    if worst > 0:
        before = sorted(tmp_path.iterdir())
        done = harness.run("opt", src, "-o", tmp_path / "strict.onnx", "--verify", "--tolerance=0", *arguments(engine))
        assert done.returncode == 6, done.stderr
        assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("engine", CANNOT)
def test_figures_are_those_of_numpy(engine, tmp_path):
    """An engine of our own choice on inputs of our own gives what the report says."""
    src, dst, inputs = MODELS / "resnet_tiny.onnx", tmp_path / "out.onnx", tmp_path / "x.npz"
    harness.opt(src, dst)
    damage(dst, dst)
    x = np.random.default_rng(0).normal(size=(2, 3, 48, 48)).astype(np.float32)
    np.savez(inputs, input=x)
    code, found, said = verify(src, dst, engine, f"--inputs={inputs}")
    assert code == 6, said
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    a, b = (onnxruntime.InferenceSession(str(p), options).run(None, {"input": x})[0].astype(np.float64) for p in (src, dst))
    (got,) = found["outputs"]
    assert found["samples"] == 1 and got["compared"] == a.size
    largest, absolute = np.abs(a).max(), np.abs(a - b).max()
    assert got["largest"] == pytest.approx(largest, rel=1e-4)
    assert got["absolute"] == pytest.approx(absolute, rel=1e-4)
    assert got["relative"] == pytest.approx(absolute / largest, rel=1e-4)
    assert got["psnr"] == pytest.approx(20 * np.log10(largest / np.sqrt(np.mean((a - b) ** 2))), abs=1e-2)
    np.savez_compressed(inputs, input=x)
    code, _, said = verify(src, dst, engine, f"--inputs={inputs}")
    assert code == 3 and "numpy.savez" in said


def small(path, dtype, nodes, initializers=()):
    """A model x → y of 2×3 with these nodes."""
    x, y = (helper.make_tensor_value_info(n, dtype, [2, 3]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(v, n) for n, v in initializers])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("engine", CANNOT)
def test_what_is_not_finite_has_to_be_the_same(engine, tmp_path):
    a, b = tmp_path / "a.onnx", tmp_path / "b.onnx"
    inf = np.array([[np.inf, 1, -np.inf], [1, np.nan, 1]], np.float32)
    for path, values in ((a, inf), (b, -inf)):
        small(path, TensorProto.FLOAT, [helper.make_node("Mul", ["x", "c"], ["t"], "m"), helper.make_node("Add", ["t", "c"], ["y"], "s")],
              [("c", values)])
    code, found, said = verify(a, a, engine)
    assert code == 0, said
    assert found["outputs"][0]["non_finite"] > 0
    code, found, said = verify(a, b, engine)
    assert code == 6 and found["outputs"][0]["mismatched"] > 0, said


@pytest.mark.parametrize("engine", CANNOT)
def test_an_operator_that_is_not_there_is_named(engine, tmp_path):
    path = tmp_path / "a.onnx"
    small(path, TensorProto.FLOAT, [helper.make_node("Conjure", ["x"], ["y"], "trick")])
    code, _, said = verify(path, path, engine)
    assert code == 7 and "Conjure" in said, said


@pytest.mark.parametrize("engine", ["rten"])
def test_a_type_that_is_not_there_is_named(engine, tmp_path):
    path = tmp_path / "a.onnx"
    small(path, TensorProto.BFLOAT16, [helper.make_node("Add", ["x", "x"], ["y"], "twice")])
    code, _, said = verify(path, path, engine)
    assert code == 7 and "bf16" in said, said
