"""Keras models in files: writing them as Keras does, loading what normfold wrote, running both.

A generation is 3 (Keras 3) or 2 (tf_keras). A container is `keras` (the archive), `h5` (the whole model in one HDF5 file),
`weights` (the architecture in JSON and the weights beside it) and, in Keras 2, `checkpoint`: the same with weights in the
layout that Keras 2 calls v3.
"""
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np

CONTAINERS = {3: ("keras", "h5", "weights"), 2: ("keras", "h5", "weights", "checkpoint")}


def module(generation):
    """The Keras of that generation."""
    if generation == 2:
        import tf_keras
        return tf_keras
    import keras
    return keras


def save(model, generation, container, stem):
    """Writes a model; the paths of the document and of the weights beside it, if they are a file of their own."""
    if container in ("keras", "h5"):
        path = Path(f"{stem}.{container}")
        model.save(path)
        return path, None
    path = Path(f"{stem}.{container}.json")
    path.write_text(model.to_json())
    # The name tells Keras 2 which layout it is to write.
    legacy = generation == 2 and container == "weights"
    weights = Path(f"{stem}.{container}.{'legacy' if legacy else 'weights'}.h5")
    model.save_weights(weights)
    return path, weights


def load(generation, path, weights=None):
    """A model from its files, as a user loads it."""
    K = module(generation)
    if generation == 3:
        K.config.enable_unsafe_deserialization()  # of the lambda that a case has
    if weights is None:
        return K.models.load_model(path, compile=False)
    model = K.models.model_from_json(path.read_text())
    model.load_weights(weights)
    return model


def arguments(path, weights):
    """How the files are named on the command line."""
    return [path] if weights is None else [path, f"--weights-in={weights}"]


def outputs_at(folder, path, weights):
    """Where the same files go in another folder, and how that is said."""
    to = Path(folder) / path.name
    if weights is None:
        return (to, None), ["-o", to]
    beside = Path(folder) / weights.name
    return (to, beside), ["-o", to, f"--weights-out={beside}"]


def run(*args):
    """Runs normfold; what it says has to be no panic."""
    binary = os.environ.get("NORMFOLD_BIN")
    assert binary, "NORMFOLD_BIN names no binary; run tests/conformance/keras/run.sh"
    done = subprocess.run([binary, *map(str, args)], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
    assert "panicked" not in done.stderr, done.stderr
    return done


def opt(path, weights, folder, *args):
    """`normfold opt`: the files that were written and the report."""
    to, told = outputs_at(folder, path, weights)
    report = Path(folder) / "report.json"
    done = run("opt", *arguments(path, weights), *told, f"--report={report}", *args)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr}"
    return to, json.loads(report.read_text())


# --- values ------------------------------------------------------------------------

def flat(values):
    """The arrays of whatever a model returns, in f64."""
    if isinstance(values, dict):
        return [a for key in values for a in flat(values[key])]
    if isinstance(values, (list, tuple)):
        return [a for v in values for a in flat(v)]
    return [np.asarray(values).astype(np.float64)]


def inference(model):
    """A model as a function in inference. Channels before space need XLA: not every CPU has other kernels for them."""
    import tensorflow as tf
    call = lambda given: model(given, training=False)  # noqa: E731
    first = any(getattr(layer, "data_format", None) == "channels_first" for layer in layers_of(model))
    return tf.function(call, jit_compile=True) if first else call


def predict(model, inputs):
    """What a model computes in inference; inputs in the order of its inputs."""
    return flat(inference(model)(inputs[0] if len(inputs) == 1 else list(inputs)))


def difference(before, after):
    """The largest difference between outputs over the largest magnitude of one, each compared by itself."""
    assert len(before) == len(after), f"{len(before)} outputs became {len(after)}"
    worst = 0.0
    for a, b in zip(before, after):
        assert a.shape == b.shape, f"{a.shape} became {b.shape}"
        assert np.isfinite(a).all() and np.isfinite(b).all(), "an output is not finite"
        worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) if a.size else 0.0)
    return worst


def base_name(variable):
    """`gamma` of `block/bn/gamma:0`."""
    return re.sub(r":\d+$", "", variable.name).rsplit("/", 1)[-1]


def layers_of(model):
    """Every layer of a model and of the models in it, each once."""
    found = {}

    def walk(model):
        for layer in model.layers:
            if id(layer) not in found:
                found[id(layer)] = layer
                if hasattr(layer, "layers"):
                    walk(layer)
    walk(model)
    return [layer for layer in found.values() if not hasattr(layer, "layers")]
