"""What the Keras conformance tests need: the binary, models on disk in every container, predictions."""
import json
import os
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from containers import inference  # noqa: E402  (by the path above)


def run(*args):
    """Runs normfold; the result has returncode, stdout and stderr as text."""
    binary = os.environ.get("NORMFOLD_BIN")
    assert binary, "NORMFOLD_BIN names no binary; run tests/conformance/keras/run.sh"
    return subprocess.run([binary, *map(str, args)], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def module(generation):
    if generation == 3:
        import keras
    else:
        import tf_keras as keras
    return keras


@dataclass
class Files:
    """A model on disk."""
    path: Path
    weights: Path | None = None

    def at(self, folder):
        return Files(folder / self.path.name, self.weights and folder / self.weights.name)

    def bytes(self):
        return [p.read_bytes() for p in (self.path, self.weights) if p]


def opt(files, out, *args):
    """Runs `opt`; gives its report."""
    weights = ["--weights-in", files.weights, "--weights-out", out.weights] if files.weights else []
    done = run("opt", files.path, *weights, "-o", out.path, "--format=json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def randomize(model, name):
    """Weights of some size, variances above 0, from a seed that the name gives."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    values = []
    for old, variable in zip(model.get_weights(), model.weights):
        value = random.normal(0, 0.5, old.shape)
        if "variance" in variable.name or "stddev" in variable.name:
            value = random.uniform(0.3, 2, old.shape)
        if "gamma" in variable.name:
            value = 1 + value
        values.append(value.astype(old.dtype))
    model.set_weights(values)


def save(model, container, generation, folder):
    """A model in a container: an archive, an HDF5 file, or JSON with the weights alone."""
    path = folder / f"model.{container}"
    if container in ("keras", "h5"):
        model.save(path)
        return Files(path)
    path = folder / "model.json"
    path.write_text(model.to_json())
    weights = folder / "model.weights.h5"
    model.save_weights(weights, **({} if generation == 3 else {"save_format": "h5"}))
    return Files(path, weights)


def load(files, case, keras):
    options = {"safe_mode": False} if case.unsafe else {}
    if files.weights:
        if case.unsafe:
            keras.config.enable_unsafe_deserialization()
        model = keras.models.model_from_json(files.path.read_text())
        model.load_weights(files.weights)
        return model
    # What Keras 3 writes of a compiled model into an HDF5 file it does not always read again.
    return keras.models.load_model(files.path, compile=not str(files.path).endswith(".h5"), **options)


def inputs(model, seed=0):
    random = np.random.default_rng(seed)
    arrays = {}
    for tensor in model.inputs:
        shape = [2, *tensor.shape[1:]]
        arrays[tensor.name.split(":")[0]] = random.normal(size=shape)
    return arrays


def predict(model, arrays):
    import tensorflow as tf
    given = [tf.cast(tf.constant(a), t.dtype) for a, t in zip(arrays.values(), model.inputs)]
    given = {name: value for name, value in zip(arrays, given)} if isinstance(getattr(model, "_inputs_struct", None), dict) else given
    out = inference(model)(given[0] if isinstance(given, list) and len(given) == 1 else given)
    return [np.asarray(tf.cast(v, "float64")) for v in tf.nest.flatten(out)]


def difference(before, after):
    """The largest difference, relative to the largest output."""
    assert [a.shape for a in before] == [b.shape for b in after]
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) for a, b in zip(before, after))


@pytest.fixture(scope="session", autouse=True)
def engine_under_test():
    """Fails at once, with one message, when the binary is missing."""
    done = run("--version")
    assert done.returncode == 0, done.stderr
