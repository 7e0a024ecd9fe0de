"""The same net through Keras's files and through tf2onnx: what is folded has the same weights, within 2 units of the last place."""
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import zoo
from conftest import load, module, opt, run, save
from test_models import made

ULPS = 2


def to_onnx(model, path):
    """tf2onnx with its own fold of batch norms off."""
    import tensorflow as tf
    import tf2onnx
    from tf2onnx import optimizer
    specs = [tf.TensorSpec([1, *t.shape[1:]], tf.float32) for t in model.inputs]
    kept = optimizer._optimizers.copy()
    optimizer._optimizers.pop("remove_back_to_back")
    try:
        function = tf.function(lambda *a: model(a[0] if len(a) == 1 else list(a), training=False), input_signature=specs)
        tf2onnx.convert.from_function(function, input_signature=specs, opset=17, output_path=str(path))
    finally:
        optimizer._optimizers.clear()
        optimizer._optimizers.update(kept)


def ulps(a, b):
    """The largest distance of two arrays in units of the last place of the larger one."""
    largest = np.maximum(np.abs(a), np.abs(b))
    return float((np.abs(a.astype("f8") - b) / np.spacing(np.maximum(largest, np.finfo("f4").tiny))).max(initial=0))


def forms(name, array):
    """How ONNX may have the weight of a Keras layer."""
    space = tuple(range(array.ndim - 2))
    if array.ndim < 2:
        yield array
    elif "depthwise" in name:
        moved = array.transpose(array.ndim - 2, array.ndim - 1, *space)
        yield moved.reshape(-1, 1, *moved.shape[2:])
    else:
        yield array.transpose(array.ndim - 1, array.ndim - 2, *space)
        yield array.transpose(array.ndim - 2, array.ndim - 1, *space)
        yield array


def compare(before, after, initializers):
    """Every weight of a layer that changed is an initializer of the folded ONNX model; gives how many were compared."""
    old = {w.name: w.numpy() for w in before.weights}
    compared = 0
    for variable in after.weights:
        value = variable.numpy()
        if variable.name in old and np.array_equal(old[variable.name], value):
            continue
        shapes = [f for f in forms(variable.name, value)]
        near = [ulps(f, i.reshape(f.shape)) for f in shapes for i in initializers if i.squeeze().shape == f.squeeze().shape]
        assert near and min(near) <= ULPS, (variable.name, min(near, default=None))
        compared += 1
    return compared


# Norms behind dense layers are no twins: tf2onnx writes them as products and sums of constants that TensorFlow rounds.
CASES = [c for c in zoo.CASES if c.name in ("conv_transpose", "bare", "branches", "swaps", "frozen", "nested")]
CASES.append(zoo.Case("mobilenet_v2", zoo.small.mobilenet_v2, 52))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_twins(case, tmp_path):
    model = made(case, 2)
    files = save(model, "keras", 2, tmp_path)
    (tmp_path / "out").mkdir()
    out = files.at(tmp_path / "out")
    opt(files, out)
    folded = load(out, case, module(2))
    to_onnx(model, tmp_path / "model.onnx")
    done = run("opt", tmp_path / "model.onnx", "-o", tmp_path / "folded.onnx")
    assert done.returncode == 0, done.stderr
    graph = onnx.load(tmp_path / "folded.onnx").graph
    assert not any(n.op_type == "BatchNormalization" for n in graph.node)
    initializers = [numpy_helper.to_array(i) for i in graph.initializer]
    assert compare(model, folded, [i for i in initializers if i.dtype == np.float32]) >= case.folded
