#!/usr/bin/env python3
"""Makes the Keras architecture files of this directory: `model.to_json()` of a few small models,
as Keras 3 writes it (NAME.json) and as Keras 2 does (NAME.k2.json). They hold no weights.

    python3 -m venv VENV
    VENV/bin/pip install keras tensorflow-cpu tf_keras
    VENV/bin/python tests/models/keras/make.py [DIR]

Made with keras 3.15 and tf_keras 2.21 on tensorflow 2.21. Names that Keras counts up are reset before
each model, so the text depends on the Keras version alone.
"""
import os
import sys
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


def mobilenet_v2(K):
    """MobileNetV2 as Keras ships it: 52 norms, each behind a convolution without a bias."""
    return K.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3), alpha=0.35, classes=10)


# name: (builder, generations)
MODELS = {
    "seq_conv2d": (seq_conv2d, (3, 2)),
    "separable": (separable, (3, 2)),
    "conv_transpose": (conv_transpose, (3, 2)),
    "nested": (nested, (3, 2)),
    "awkward": (awkward, (3, 2)),
    "mobilenet_v2": (mobilenet_v2, (2,)),
}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    import keras
    import tf_keras
    for name, (build, generations) in MODELS.items():
        for generation in generations:
            module = keras if generation == 3 else tf_keras
            module.backend.clear_session()
            path = out / f"{name}{'' if generation == 3 else '.k2'}.json"
            path.write_text(build(module).to_json() + "\n")
            print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
