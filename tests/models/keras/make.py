#!/usr/bin/env python3
"""Makes the Keras files of this directory: `model.to_json()` of a few small models, as Keras 3 writes it (NAME.json) and as
Keras 2 does (NAME.k2.json), and for some of them the archive (.keras), the whole model (.h5) or the weights alone
(.weights.h5, in Keras 2 .weights_only.h5). Weights and statistics are random, from a seed that the name gives.

    python3 -m venv VENV
    VENV/bin/pip install keras tensorflow-cpu tf_keras
    VENV/bin/python tests/models/keras/make.py [DIR]

Made with keras 3.15 and tf_keras 2.21 on tensorflow 2.21. Names that Keras counts up are reset before
each model, so the text depends on the Keras version alone.
"""
import os
import sys
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def seq_conv2d(K):
    """Sequential: same and valid padding, groups, strides, norms without scale or centre, a large epsilon."""
    L = K.layers
    return K.Sequential([
        L.Input((16, 16, 3)),
        L.Conv2D(8, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.Conv2D(8, 3), L.BatchNormalization(scale=False), L.ReLU(),
        L.Conv2D(12, 3, groups=4), L.BatchNormalization(center=False), L.ReLU(),
        L.Conv2D(8, 1, strides=2, activation="relu"), L.BatchNormalization(epsilon=0.05),
        L.Flatten(), L.Dense(6), L.BatchNormalization(), L.Dense(5, activation="softmax"),
    ], name="seq_conv2d")


def separable(K):
    """Separable and depthwise convolutions with and without a depth multiplier."""
    L = K.layers
    return K.Sequential([
        L.Input((16, 16, 4)),
        L.SeparableConv2D(8, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.SeparableConv2D(8, 3, depth_multiplier=2), L.BatchNormalization(), L.ReLU(),
        L.DepthwiseConv2D(3, use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.DepthwiseConv2D(3, depth_multiplier=2), L.BatchNormalization(), L.ReLU(),
        L.GlobalAveragePooling2D(), L.Dense(3),
    ], name="separable")


def conv_transpose(K):
    """Transposed convolutions in 1-D and 2-D: kernel layout HWOI."""
    L = K.layers
    image, line = L.Input((8, 8, 6), name="image"), L.Input((10, 4), name="line")
    x = L.Conv2DTranspose(10, 3, strides=2, padding="same", use_bias=False)(image)
    x = L.ReLU()(L.BatchNormalization()(x))
    x = L.BatchNormalization()(L.Conv2DTranspose(4, 2, strides=2)(x))
    y = L.BatchNormalization()(L.Conv1DTranspose(5, 3, strides=2)(line))
    return K.Model([image, line], [x, y], name="conv_transpose")


def nested(K):
    """A Functional model holding a Sequential and a Functional one that is called twice; a norm across the border."""
    L = K.layers
    encoder = K.Sequential([
        L.Input((16, 16, 3)), L.Conv2D(8, 3, padding="same"), L.BatchNormalization(), L.ReLU(), L.Conv2D(8, 3, strides=2),
    ], name="encoder")
    j = L.Input((None, None, 8), name="block_input")
    h = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 1)(j)))
    block = K.Model(j, L.Add()([h, j]), name="block")
    i = L.Input((16, 16, 3), name="image")
    x = L.ReLU()(L.BatchNormalization(name="across_border")(encoder(i)))
    x = block(block(x))
    return K.Model(i, L.Dense(4)(L.Flatten()(x)), name="nested")


def awkward(K):
    """A norm on the height axis, a conv read twice, one conv called twice with a norm each, a norm behind a ReLU."""
    L = K.layers
    i = L.Input((8, 8, 8), name="image")
    x = L.ReLU()(L.BatchNormalization(axis=1, name="on_height")(L.Conv2D(8, 3, padding="same", name="before_height")(i)))
    shared = L.Conv2D(8, 3, padding="same", name="shared")
    a = L.ReLU()(L.BatchNormalization(name="first_call")(shared(x)))
    b = L.ReLU()(L.BatchNormalization(name="second_call")(shared(L.MaxPooling2D(3, 1, "same")(x))))
    y = L.Conv2D(8, 1, name="read_twice")(L.Add()([a, b]))
    z = L.Concatenate()([L.BatchNormalization(name="one_reader")(y), y])
    z = L.BatchNormalization(name="behind_relu")(L.ReLU()(z))
    return K.Model(i, L.Dense(4)(L.GlobalAveragePooling2D()(z)), name="awkward")


def branches(K):
    """Two convolutions of one shape whose order among the layers changes when the norm behind the first goes."""
    L = K.layers
    i = L.Input((6, 6, 2), name="image")
    a = L.BatchNormalization(name="norm")(L.Conv2D(2, 1, use_bias=False, name="first")(i))
    b = L.ReLU()(L.Conv2D(2, 1, use_bias=False, name="second")(i))
    return K.Model(i, L.Dense(2)(L.Add()([a, b])), name="branches")


def mobilenet_v2(K):
    """MobileNetV2 as Keras ships it: 52 norms, each behind a convolution without a bias."""
    return K.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3), alpha=0.35, classes=10)


# name: (builder, generations, containers)
def names(K):
    """Names that are not ASCII: h5py keeps the groups that have them in the newer form, those of more than eight in a heap."""
    L = K.layers
    i = L.Input((6, 6, 3), name="eingänge")
    x = L.Conv2D(4, 1, use_bias=False, name="größe")(i)
    x = L.ReLU(name="höhe")(L.BatchNormalization(name="größe_norm")(x))
    inner = K.Sequential([
        L.Input((6, 6, 4)), L.Conv2D(4, 3, name="卷积"), L.BatchNormalization(name="归一化"), L.ReLU(name="激活"),
        L.Conv2D(3, 1, name="plain")], name="内部")
    x = inner(x)
    x = L.BatchNormalization(name="ñorm")(L.Conv2D(3, 1, name="añadir")(L.ReLU(name="relü")(x)))
    return K.Model(i, L.Dense(2, name="données")(L.Flatten(name="aplatir_é")(x)), name="names")


MODELS = {
    "seq_conv2d": (seq_conv2d, (3, 2), ["keras", "h5"]),
    "separable": (separable, (3, 2), ["keras"]),
    "conv_transpose": (conv_transpose, (3, 2), ["keras", "h5"]),
    "nested": (nested, (3, 2), ["keras", "h5", "weights"]),
    "awkward": (awkward, (3, 2), ["keras"]),
    "branches": (branches, (3, 2), ["keras", "h5", "weights"]),
    "mobilenet_v2": (mobilenet_v2, (2,), []),
    "names": (names, (3,), ["h5"]),
}

# Compiled and trained for a step, so that there is the state of an optimizer.
TRAINED = {"seq_conv2d"}


def randomize(model, name):
    """Weights of some size; variances above 0."""
    import numpy as np
    random = np.random.default_rng(zlib.crc32(name.encode()))
    values = []
    for variable in model.weights:
        value = random.normal(0, 0.3, variable.shape)
        if "variance" in variable.name:
            value = random.uniform(0.3, 2, variable.shape)
        if "gamma" in variable.name:
            value = 1 + value
        values.append(value.astype("float32"))
    model.set_weights(values)


def train(model):
    import numpy as np
    random = np.random.default_rng(7)
    model.compile("adam", "mse")
    shape = lambda t: [2, *t.shape[1:]]
    x, y = random.normal(size=shape(model.inputs[0])), random.normal(size=shape(model.outputs[0]))
    model.fit(x, y, epochs=1, verbose=0)


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    import keras
    import tf_keras
    for name, (build, generations, containers) in MODELS.items():
        for generation in generations:
            module = keras if generation == 3 else tf_keras
            module.backend.clear_session()
            stem = f"{name}{'' if generation == 3 else '.k2'}"
            model = build(module)
            paths = [out / f"{stem}.json"]
            paths[0].write_text(model.to_json() + "\n")
            randomize(model, name)
            if name in TRAINED:
                train(model)
            for container in containers:
                weights = ".weights.h5" if generation == 3 else ".weights_only.h5"
                path = out / f"{stem}{weights if container == 'weights' else '.' + container}"
                model.save_weights(path) if container == "weights" else model.save(path)
                paths.append(path)
            for path in paths:
                print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
