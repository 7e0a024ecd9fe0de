"""Passes beside the fold, on the small models: what they compute stays what it was, and a second run changes nothing."""
import pytest

import harness

MODELS = sorted(harness.MODELS.glob("*.onnx"))
PIPELINES = ["default", "cse", "const-fold", "const-fold{growth=0},dce", "lower-bn", "lower-bn{form=unit}", "fold-bn,lower-bn,dce", "infer-shapes", "simplify",
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
