"""The examples of the package, each in the environment that has its framework."""
import importlib
import importlib.util

import pytest
from conftest import ROOT

EXAMPLES = ROOT / "crates" / "python" / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def test_torch(example):
    pytest.importorskip("torchvision")
    pairs, difference = example("torch_mobilenet").main()
    assert pairs == 52 and difference < 1e-5


def test_keras(example):
    pytest.importorskip("keras")
    pytest.importorskip("tensorflow", reason="once is enough")
    pairs, difference = example("keras_mobilenet").main()
    assert pairs == 52 and difference < 1e-5


def test_quantized(example, models):
    pytest.importorskip("onnxruntime")
    if any(importlib.util.find_spec(name) for name in ("keras", "torch")):
        pytest.skip("once is enough")
    found = example("onnx_quantize").main(str(models / "mobilenet_v2_x025.onnx"))
    (before, norms, _), (after, none, _) = found["as it is"], found["folded first"]
    assert norms == 52 and none == 0
    assert after > before
