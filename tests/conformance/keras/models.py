"""The models of these tests: a function for each, with how many batch norms fold and why the others stay.

`K` is the Keras of either generation. Where both write something else, a model asks `second(K)`.
"""
from dataclasses import dataclass, field
from typing import Callable

import numpy as np


@dataclass
class Case:
    """A model, and what has to become of its batch norms."""
    name: str
    build: Callable
    folds: int
    keeps: dict = field(default_factory=dict)
    generations: tuple = (3, 2)
    tolerance: float = 1e-5
    trained: bool = False
    # Generations and containers whose original Keras itself does not load: the run is looked at, not its result.
    unloadable: frozenset = frozenset()
    # Those that are not tried: Keras writes what neither it nor anybody else can tell from other bytes.
    without: frozenset = frozenset()
    # Those where nothing says the rank of what batch norms read.
    unseen: frozenset = frozenset()


CASES = {}


def case(folds, keeps=None, **options):
    """Registers a model under the name of its function."""
    def register(build):
        CASES[build.__name__] = Case(build.__name__, build, folds, keeps or {}, **options)
        return build
    return register


def second(K):
    """Whether this is Keras 2."""
    return K.__name__ == "tf_keras"


# --- layers ----------------------------------------------------------------------

@case(3)
def dense(K):
    L = K.layers
    return K.Sequential([
        L.Input((12,)), L.Dense(24), L.BatchNormalization(), L.ReLU(), L.Dense(16, use_bias=False), L.BatchNormalization(),
        L.Activation("relu"), L.Dense(16, activation="relu"), L.BatchNormalization(), L.Dense(4)])


@case(2)
def dense_of_sequences(K):
    """The last axis at rank 3 and 4."""
    L = K.layers
    i = L.Input((5, 6))
    x = L.ReLU()(L.BatchNormalization()(L.Dense(8)(i)))
    x = L.BatchNormalization()(L.Dense(4, use_bias=False)(L.Reshape((5, 2, 4))(x)))
    return K.Model(i, x)


@case(5)
def conv2d(K):
    L = K.layers
    return K.Sequential([
        L.Input((12, 12, 3)), L.Conv2D(8, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.Conv2D(8, 3, dilation_rate=2), L.BatchNormalization(scale=False), L.ReLU(),
        L.Conv2D(12, 3, groups=4), L.BatchNormalization(center=False), L.ReLU(),
        L.Conv2D(8, 1, strides=2), L.BatchNormalization(epsilon=0.05), L.ReLU(),
        L.Conv2D(8, (1, 2)), L.BatchNormalization(center=False, scale=False), L.Flatten(), L.Dense(5)])


@case(3)
def conv1d(K):
    L = K.layers
    return K.Sequential([
        L.Input((32, 5)), L.Conv1D(8, 5, padding="causal"), L.BatchNormalization(), L.ReLU(),
        L.Conv1D(8, 3, strides=2, use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.Conv1DTranspose(6, 3, strides=2), L.BatchNormalization(), L.ReLU(), L.GlobalMaxPooling1D(), L.Dense(3)])


@case(2)
def conv3d(K):
    L = K.layers
    return K.Sequential([
        L.Input((6, 8, 8, 2)), L.Conv3D(6, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.Conv3DTranspose(4, 2, strides=2), L.BatchNormalization(), L.ReLU(), L.GlobalAveragePooling3D(), L.Dense(3)])


@case(2)
def transposed(K):
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 6)), L.Conv2DTranspose(10, 3, strides=2, padding="same", use_bias=False), L.BatchNormalization(),
        L.ReLU(), L.Conv2DTranspose(4, 2, strides=2), L.BatchNormalization(), L.ReLU(), L.Conv2D(3, 1)])


@case(3)
def depthwise(K):
    L = K.layers
    i = L.Input((12, 12, 4))
    x = L.ReLU()(L.BatchNormalization()(L.DepthwiseConv2D(3, use_bias=False)(i)))
    x = L.ReLU()(L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=2)(x)))
    x = L.ReLU()(x)
    x = L.Reshape((64, 8))(x)
    return K.Model(i, L.BatchNormalization()(L.DepthwiseConv1D(3, depth_multiplier=2, padding="same")(x)))


@case(3)
def separable(K):
    L = K.layers
    i = L.Input((12, 12, 4))
    x = L.ReLU()(L.BatchNormalization()(L.SeparableConv2D(8, 3, padding="same", use_bias=False)(i)))
    x = L.ReLU()(L.BatchNormalization()(L.SeparableConv2D(6, 3, depth_multiplier=2)(x)))
    x = L.Reshape((100, 6))(x)
    return K.Model(i, L.BatchNormalization()(L.SeparableConv1D(5, 3)(x)))


@case(8)
def channels_first(K):
    """Channels before space: behind convolutions of every kind, before a flattened image and through pools."""
    L = K.layers
    first = dict(data_format="channels_first")
    i = L.Input((4, 10, 10))
    norm = lambda x: L.ReLU()(L.BatchNormalization(axis=1)(x))  # noqa: E731
    x = norm(L.Conv2D(6, 3, groups=2, **first)(i))
    x = norm(L.Conv2DTranspose(5, 2, strides=2, **first)(x))
    x = norm(L.AveragePooling2D(2, padding="same", **first)(L.DepthwiseConv2D(3, depth_multiplier=2, **first)(x)))
    x = norm(L.UpSampling2D(**first)(L.SeparableConv2D(4, 3, padding="same", use_bias=False, **first)(x)))
    x = L.ReLU()(L.BatchNormalization(axis=-3)(L.Concatenate(axis=1)([L.Conv2D(3, 1, **first)(x), L.Conv2D(2, 1, **first)(x)])))
    y = L.Dense(3)(L.Flatten(**first)(L.BatchNormalization(axis=1)(x)))
    z = L.Dense(3)(L.GlobalAveragePooling2D(**first)(L.BatchNormalization(axis=1)(L.ReLU()(i))))
    u = L.Conv1D(3, 2, **first)(L.BatchNormalization(axis=1)(L.Reshape((4, 100))(i)))
    return K.Model(i, [y, z, u])


# --- ways ------------------------------------------------------------------------

@case(3, {"padded-shift": 1, "activation-between": 1})
def forward(K):
    """Norms before their layers: without padding, through Flatten, before Dense; padded; between activations."""
    L = K.layers
    i = L.Input((10, 10, 6), name="image")
    x = L.ReLU()(L.Conv2D(8, 3)(L.BatchNormalization()(i)))
    x = L.ReLU()(L.Conv2D(8, 3, padding="same")(L.BatchNormalization()(x)))
    x = L.Conv2D(8, 1, activation="relu")(L.ReLU()(L.BatchNormalization()(x)))
    x = L.ReLU()(L.Dense(16)(L.Flatten()(L.BatchNormalization()(x))))
    return K.Model(i, L.Dense(4, use_bias=False)(L.BatchNormalization()(x)))


@case(2)
def forward_depthwise(K):
    """The depthwise half of a separable convolution has no bias that could take the shift: the other half has."""
    L = K.layers
    i = L.Input((8, 8, 4))
    x = L.ReLU()(L.DepthwiseConv2D(3, depth_multiplier=2)(L.BatchNormalization()(i)))
    return K.Model(i, L.SeparableConv2D(4, 1)(L.BatchNormalization()(x)))


@case(2)
def norm_after_norm(K):
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 3)), L.Conv2D(6, 3), L.BatchNormalization(), L.BatchNormalization(), L.ReLU(), L.Flatten(), L.Dense(3)])


@case(1)
def forward_into_two(K):
    """One norm whose two readers both take it in."""
    L = K.layers
    i = L.Input((8, 8, 3))
    x = L.BatchNormalization()(i)
    return K.Model(i, [L.Conv2D(4, 1)(x), L.Conv2D(5, 3, use_bias=False)(x)])


@case(5)
def through_pools(K):
    """Pads, pools, dropout and upsampling on the way; a pool of one cell takes no largest."""
    L = K.layers
    i = L.Input((12, 12, 3))
    x = L.ReLU()(L.BatchNormalization()(L.AveragePooling2D(2)(L.Conv2D(6, 3, padding="same")(i))))
    x = L.ReLU()(L.BatchNormalization()(L.Dropout(0.3)(L.Conv2D(6, 3, padding="same")(x))))
    x = L.ReLU()(L.BatchNormalization()(L.UpSampling2D(2)(L.Conv2D(5, 1)(x))))
    x = L.ReLU()(L.BatchNormalization()(L.MaxPooling2D(1, strides=2)(L.Conv2D(16, 1)(x))))
    x = L.BatchNormalization()(L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(L.ZeroPadding2D(1)(x))))
    return K.Model(i, L.Dense(3)(L.ReLU()(x)))


@case(2, {"padding-between": 1, "padded-shift": 1})
def pads(K):
    """A pad with zeros before a convolution is padding; a cropping is none."""
    L = K.layers
    i = L.Input((12, 12, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3)(L.ZeroPadding2D(((1, 0), (0, 1)))(i))))
    x = L.ReLU()(L.BatchNormalization()(L.ZeroPadding2D(1)(L.Conv2D(6, 3)(x))))
    x = L.ReLU()(L.BatchNormalization()(L.Cropping2D(1)(L.Conv2D(6, 3)(x))))
    x = L.Conv2D(4, 3)(L.ZeroPadding2D(1)(L.BatchNormalization()(x)))
    return K.Model(i, x)


@case(6)
def joins(K):
    """Residual sums, differences, concatenations: each branch takes its part."""
    L = K.layers
    i = L.Input((8, 8, 3))
    sum_of = L.Add()([L.Conv2D(6, 1)(i), L.Conv2D(6, 3, padding="same", use_bias=False)(i)])
    a = L.ReLU()(L.BatchNormalization()(sum_of))
    both = L.Concatenate()([L.Conv2D(3, 1)(a), L.Conv2D(4, 1)(a)])
    b = L.ReLU()(L.BatchNormalization()(both))
    minus = L.Subtract()([L.BatchNormalization()(L.Conv2D(4, 1)(b)), L.BatchNormalization()(L.Conv2D(4, 1)(b))])
    c = L.Multiply()([L.ReLU()(minus), L.BatchNormalization()(L.Conv2D(4, 1)(b))])
    mean = L.Average()([c, L.BatchNormalization()(L.Conv2D(4, 1)(a))])
    return K.Model(i, L.Maximum()([mean, c]))


@case(3, {"not-expressible": 2})
def beside(K):
    """Norms beside convolutions of the same input: a sum of two goes, one of three and a mean have no words for what is left."""
    L = K.layers
    i = L.Input((8, 8, 4))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 1)(i)))
    conv = lambda: L.Conv2D(4, 3, padding="same")  # noqa: E731
    two = L.ReLU()(L.Add()([conv()(x), L.BatchNormalization(name="goes")(x)]))
    three = L.ReLU()(L.Add()([conv()(two), L.BatchNormalization(name="of_three")(two), L.BatchNormalization()(conv()(two))]))
    return K.Model(i, L.Average()([conv()(three), L.BatchNormalization(name="of_mean")(three)]))


# --- what stays --------------------------------------------------------------------

@case(0, {"activation-between": 3})
def activation_inside(K):
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 3)), L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(), L.ReLU(),
        L.Conv2D(4, 3, activation="sigmoid"), L.BatchNormalization(), L.ReLU(), L.Flatten(),
        L.Dense(4, activation="tanh"), L.BatchNormalization(), L.Softmax()])


@case(0, {"shared-weight": 2})
def shared_layer(K):
    """A convolution that is called twice has one kernel."""
    L = K.layers
    i = L.Input((8, 8, 3))
    conv = L.Conv2D(3, 3, padding="same", name="twice")
    a = L.ReLU()(L.BatchNormalization()(conv(i)))
    b = L.ReLU()(L.BatchNormalization()(conv(a)))
    return K.Model(i, b)


@case(2)
def shared_norm(K):
    """A norm that is called twice, each time behind a convolution of its own, folds into both."""
    L = K.layers
    i = L.Input((8, 8, 3))
    norm = L.BatchNormalization(name="twice")
    a, b = norm(L.Conv2D(4, 1)(i)), norm(L.Conv2D(4, 3, padding="same")(i))
    return K.Model(i, L.Multiply()([a, L.ReLU()(b)]))


@case(1, {"multiple-consumers": 1})
def read_twice(K):
    L = K.layers
    i = L.Input((8, 8, 3))
    x = L.Conv2D(4, 3)(i)
    return K.Model(i, L.Concatenate()([L.ReLU()(L.BatchNormalization()(x)), L.BatchNormalization()(L.Conv2D(3, 1)(x)), x]))


@case(1, {"axis-mismatch": 1})
def other_axis(K):
    L = K.layers
    i = L.Input((8, 8, 8))
    x = L.ReLU()(L.BatchNormalization(axis=1)(L.Conv2D(8, 3, padding="same")(i)))
    x = L.ReLU()(L.BatchNormalization(axis=-1)(L.Conv2D(8, 3, padding="same")(x)))
    return K.Model(i, L.Dense(3)(L.Flatten()(x)))


@case(1, {"axis-mismatch": 1})
def axis_after_permute(K):
    L = K.layers
    i = L.Input((6, 5, 4))
    x = L.BatchNormalization(axis=2)(L.Permute((3, 1, 2))(L.Conv2D(6, 3, padding="same")(i)))
    y = L.BatchNormalization(axis=1)(L.Permute((3, 1, 2))(L.Conv2D(6, 3, padding="same")(i)))
    return K.Model(i, [L.ReLU()(x), L.ReLU()(y)])


@case(1, {"training-mode": 1})
def training_arguments(K):
    L = K.layers
    i = L.Input((8, 8, 3))
    x = L.ReLU()(L.BatchNormalization(name="asked_not_to")(L.Conv2D(4, 3)(i), training=False))
    return K.Model(i, L.BatchNormalization(name="asked_to")(L.Conv2D(4, 3)(x), training=True))


@case(0, {"custom-domain": 1}, generations=(3,), unloadable=frozenset({(3, "h5")}))
def lambda_layer(K):
    L = K.layers
    i = L.Input((8, 8, 3))
    x = L.Lambda(lambda t: t * 2.0 + 1.0, output_shape=(8, 8, 3))(L.Conv2D(3, 1)(i))
    return K.Model(i, L.ReLU()(L.BatchNormalization()(x)))


@case(0, {"custom-domain": 1, "unknown-rank": 1}, unseen=frozenset({(2, "h5")}))
def custom_layer(K):
    """A layer of the user's that shares its name with one of Keras; nothing says the rank of what comes behind it."""
    L = K.layers

    @K.saving.register_keras_serializable(package="tests")
    class Dense(L.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1],), name="kernel")

        def call(self, x):
            return x * self.kernel + 0.5 * x * x

        def compute_output_shape(self, shape):
            return shape
    i = L.Input((6,))
    x = L.ReLU()(L.BatchNormalization()(Dense()(L.Dense(6)(i))))
    return K.Model(i, L.BatchNormalization()(L.Dense(4)(x)))


@case(0, {"custom-domain": 2}, unseen=frozenset({(2, "h5")}))
def recurrent_and_wrapped(K):
    """Layers that normfold does not know, with layers inside."""
    L = K.layers
    i = L.Input((6, 4))
    x = L.BatchNormalization()(L.Bidirectional(L.LSTM(3, return_sequences=True))(i))
    x = L.BatchNormalization()(L.TimeDistributed(L.Dense(5))(L.ReLU()(x)))
    return K.Model(i, L.GlobalAveragePooling1D()(L.ReLU()(x)))


@case(1, {"quantized": 1}, generations=(3,), unseen=frozenset({(3, "h5")}))
def quantized(K):
    """A dense layer in 8 bits has weights of its own, which stay what they are."""
    L = K.layers
    model = K.Sequential([
        L.Input((6,)), L.Dense(8, name="in_int8"), L.BatchNormalization(), L.ReLU(), L.Reshape((8,)), L.Dense(4),
        L.BatchNormalization(), L.ReLU()])
    model.get_layer("in_int8").quantize("int8")
    return model


@case(1, {"activation-between": 1, "precision-narrowing": 1}, tolerance=5e-3)
def mixed_meets_wider(K):
    """Beside a layer that computes in f16 stands a norm that does not: its factors may be too large for f16."""
    L = K.layers
    half = dict(dtype="mixed_float16")
    x = L.BatchNormalization(dtype="float32")(L.Conv2D(4, 3, **half)(i := L.Input((8, 8, 3))))
    x = L.Conv2D(4, 1, **half)(L.BatchNormalization(dtype="float32")(L.ReLU()(x)))
    return K.Model(i, L.Activation("linear", dtype="float32")(L.BatchNormalization(**half)(x)))


# --- models in models, several inputs and outputs -------------------------------------

@case(2, {"region-boundary": 1})
def nested(K):
    """A Sequential, and a functional model that is called twice; a norm across the border."""
    L = K.layers
    encoder = K.Sequential([
        L.Input((10, 10, 3)), L.Conv2D(6, 3, padding="same"), L.BatchNormalization(), L.ReLU(),
        L.Conv2D(6, 3, strides=2, use_bias=False)], name="encoder")
    j = L.Input((None, None, 6), name="inner")
    block = K.Model(j, L.Add()([L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 1)(j))), j]), name="block")
    i = L.Input((10, 10, 3))
    x = L.ReLU()(L.BatchNormalization(name="across")(encoder(i)))
    return K.Model(i, L.Dense(4)(L.Flatten()(block(block(x)))))


@case(2)
def behind_a_model(K):
    """Dense layers behind a model that is called: what the call gives has a certain rank. One output is named twice."""
    L = K.layers
    j = L.Input((6,), name="inner")
    a = L.Dense(5)(j)
    base = K.Model(j, [L.ReLU()(a), L.Activation("tanh")(a)], name="base")
    i = L.Input((6,))
    p, q = base(i)
    x = L.BatchNormalization()(L.Dense(4)(p))
    y = L.Dense(3)(L.BatchNormalization()(q))
    return K.Model(i, [x, y, x])


@case(4)
def nested_deeply(K):
    """A model in a model in a model; a norm that is the output of one, frozen layers, the same classes at each depth."""
    L = K.layers

    def level(inner, name):
        i = L.Input((8, 8, 4), name=f"{name}_in")
        x = L.BatchNormalization(name=f"{name}_norm")(L.Conv2D(4, 3, padding="same", name=f"{name}_conv")(i))
        x = inner(L.ReLU()(x)) if inner else L.ReLU()(x)
        return K.Model(i, L.Conv2D(4, 1, name=f"{name}_last")(x), name=name)
    inner = level(level(None, "c"), "b")
    inner.layers[1].trainable = False
    i = L.Input((8, 8, 4))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(i)))
    tail = K.Sequential([L.Input((8, 8, 4)), L.Conv2D(3, 1), L.BatchNormalization()], name="tail")
    return K.Model(i, tail(inner(x)))


@case(4)
def inputs_and_outputs(K):
    L = K.layers
    a, b = L.Input((12, 12, 3), name="image"), L.Input((10,), name="meta")
    x = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(8, 3, strides=2, use_bias=False)(L.ZeroPadding2D(1)(a))))
    y = L.ReLU()(L.BatchNormalization()(L.Dense(8)(b)))
    x = L.Multiply()([x, L.Reshape((1, 1, 8))(y)])
    p = L.BatchNormalization(name="head_a")(L.Conv2D(4, 1)(x))
    q = L.Activation("softmax", name="head_b")(L.BatchNormalization()(L.Dense(6)(L.GlobalAveragePooling2D()(x))))
    return K.Model([a, b], [p, q])


@case(2)
def outputs_by_name(K):
    """Outputs in a dictionary."""
    L = K.layers
    i = L.Input((6,), name="x")
    a = L.BatchNormalization(name="norm_a")(L.Dense(4)(i))
    b = L.BatchNormalization(name="norm_b")(L.Dense(5)(L.ReLU()(a)))
    return K.Model(i, {"first": L.ReLU()(a), "second": b})


@case(1, {"multiple-consumers": 1})
def inner_output(K):
    """A value that is an output and is read."""
    L = K.layers
    i = L.Input((6, 6, 3))
    x = L.Conv2D(4, 3)(i)
    y = L.BatchNormalization()(L.Conv2D(4, 1)(L.ReLU()(L.BatchNormalization()(x))))
    return K.Model(i, [x, y])


# --- functions in place of layers ---------------------------------------------------

@case(3, unloadable=frozenset({(3, "h5")}))
def functions(K):
    """Sums as functions, with tensors among their keyword arguments, and lists of tensors."""
    L = K.layers
    i = L.Input((8, 8, 3))
    a, b, c = (L.BatchNormalization()(L.Conv2D(4, 1)(i)) for _ in range(3))
    if second(K):
        import tensorflow as tf
        x = tf.nn.relu(tf.math.add(a, y=b))
        x = tf.concat([x, tf.nn.relu(c)], axis=-1)
        x = 1.0 - x * 2.0
        x = tf.transpose(x, perm=[0, 3, 1, 2])
    else:
        x = K.ops.relu(K.ops.add(a, x2=b))
        x = K.ops.concatenate([x, K.ops.relu(c)], axis=-1)
        x = 1.0 - x * 2.0
        x = K.ops.transpose(x, axes=[0, 3, 1, 2])
    return K.Model(i, x)


@case(1, unloadable=frozenset({(3, "h5")}))
def slices(K):
    """Indexing behind a norm."""
    L = K.layers
    i = L.Input((8, 8, 3))
    x = L.BatchNormalization()(L.Conv2D(4, 3)(i))
    return K.Model(i, L.ReLU()(x[:, 1:4, ::2, :] + 1.0))


@case(1, unloadable=frozenset({(3, "h5")}))
def masks(K):
    """A layer that sets a mask is not known, but what rank its result has; the mask goes through the norm."""
    L = K.layers
    i = L.Input((7, 4))
    x = L.BatchNormalization()(L.Dense(5)(L.Masking(0.0)(i)))
    return K.Model(i, L.LSTM(3)(L.ReLU()(x)))


# --- parameters ----------------------------------------------------------------------

@case(2, generations=(3, 2))
def renorm(K):
    """Batch renormalisation has more variables and the same inference."""
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 3)), L.Conv2D(4, 3), L.BatchNormalization(renorm=True), L.ReLU(), L.Conv2D(5, 3, use_bias=False),
        L.BatchNormalization(scale=False), L.ReLU(), L.Flatten(), L.Dense(2)])


@case(3, trained=True)
def trained(K):
    """Compiled and trained for a step: there is the state of an optimizer."""
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 3)), L.Conv2D(4, 3, use_bias=False), L.BatchNormalization(), L.ReLU(), L.Conv2D(5, 3),
        L.BatchNormalization(), L.ReLU(), L.Flatten(), L.Dense(4), L.BatchNormalization(), L.Dense(2)])


@case(2)
def frozen(K):
    """Weights of frozen layers stand last in files by position."""
    L = K.layers
    i = L.Input((8, 8, 3))
    x = L.ReLU()(L.BatchNormalization(name="n1", trainable=False)(L.Conv2D(4, 3, use_bias=False, name="c1")(i)))
    x = L.ReLU()(L.BatchNormalization(name="n2")(L.Conv2D(5, 3, use_bias=False, name="c2", trainable=False)(x)))
    return K.Model(i, L.Dense(2)(L.Flatten()(x)))


@case(1, generations=(3, 2))
def unfused(K):
    L = K.layers
    options = dict(fused=False) if second(K) else dict(synchronized=True)
    return K.Sequential([L.Input((8, 8, 3)), L.Conv2D(4, 3), L.BatchNormalization(**options), L.ReLU()])


@case(1)
def decorated(K):
    """Initializers, regularizers and constraints are carried."""
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 3)),
        L.Conv2D(4, 3, kernel_regularizer=K.regularizers.L2(0.25), kernel_constraint=K.constraints.MaxNorm(3),
                 kernel_initializer="he_normal", use_bias=False, name="conv"),
        L.BatchNormalization(gamma_regularizer="l2", momentum=0.1234567890123456), L.ReLU()])


@case(30)
def counters(K):
    """Many layers of one class: places in the file are counted anew when one goes."""
    L = K.layers
    i = x = L.Input((6, 6, 4))
    branches = []
    for n in range(15):
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 1, use_bias=n % 2 == 0)(x)))
        branches.append(L.BatchNormalization()(L.Dense(3)(x)))
    return K.Model(i, L.Maximum()(branches))


@case(1)
def long_names(K):
    """More names of layers than one attribute holds."""
    L = K.layers
    i = L.Input((4,))
    x = L.ReLU()(L.BatchNormalization(name="norm" + "x" * 100)(L.Dense(3, use_bias=False)(i)))
    for n in range(160):
        x = L.Activation("linear", name=f"nothing_{n}_" + "y" * 450)(x)
    return K.Model(i, x)


@case(1)
def mixed_bfloat16(K):
    """Variables in f32, computation in bf16."""
    return mixed(K, "mixed_bfloat16")


@case(1)
def float64(K):
    return mixed(K, "float64")


@case(1, generations=(3,), without=frozenset({(3, "h5")}))
def bfloat16(K):
    return mixed(K, "bfloat16")


@case(1, generations=(3,))
def float16(K):
    return mixed(K, "float16")


def mixed(K, policy):
    L = K.layers
    i = L.Input((6, 6, 3), dtype="float32")
    x = L.Conv2D(4, 3, dtype=policy)(i)
    x = L.ReLU(dtype=policy)(L.BatchNormalization(dtype=policy)(x))
    return K.Model(i, L.Dense(2, dtype="float32")(L.Flatten(dtype="float32")(x)))


for name, tolerance in [("mixed_bfloat16", 3e-2), ("bfloat16", 3e-2), ("float16", 4e-3)]:
    CASES[name].tolerance = tolerance


# --- values ----------------------------------------------------------------------

def made(K, name):
    """The model of a case with its weights: the same in every run."""
    K.backend.clear_session()
    case = CASES[name]
    model = case.build(K)
    seed = int.from_bytes(name.encode()[-4:], "little")
    return model, weighted(K, model, seed, case.trained)


def weighted(K, model, seed, trained=False):
    """Gives a model weights, and a step of training if asked; inputs for it."""
    import containers
    K.utils.set_random_seed(seed % (1 << 31))
    random = np.random.default_rng(seed)
    for v in model.weights:
        kind, shape = containers.base_name(v), tuple(v.shape)
        if "float" not in str(v.dtype) or "renorm" in kind or "stddev" in kind:
            continue
        if kind == "moving_variance":
            value = random.uniform(0.3, 2, shape)
        elif kind == "gamma":
            value = random.uniform(0.5, 1.5, shape) * np.where(random.random(shape) < 0.15, -1, 1)
        elif len(shape) < 2:
            value = random.normal(0, 0.4, shape)
        else:
            value = random.normal(0, 1, shape) / np.sqrt(np.prod(shape[:-1]))
        v.assign(cast(K, value, v))
    if trained:
        model.compile("adam", K.losses.MeanSquaredError())
        x, y = (random.normal(size=(2, *t.shape[1:])).astype("f4") for t in (model.inputs[0], model.outputs[0]))
        model.fit(x, y, epochs=1, verbose=0)
    return [random.normal(size=(2, *(d or 5 for d in t.shape[1:]))).astype("f4") for t in model.inputs]


def cast(K, value, variable):
    import tensorflow as tf
    kind = getattr(variable.dtype, "name", variable.dtype)
    return tf.cast(tf.constant(value), kind)


def without_norms(K, model, inputs):
    """What the model computes with every norm the identity; its weights are as before afterwards."""
    import containers
    neutral = {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1}
    kept = []
    for layer in containers.layers_of(model):
        if type(layer).__name__ == "BatchNormalization":
            for v in layer.weights:
                kind = containers.base_name(v)
                if kind in neutral:
                    kept.append((v, np.array(v.numpy())))
                    v.assign(cast(K, np.full(tuple(v.shape), neutral[kind]), v))
    out = containers.predict(model, inputs)
    for v, value in kept:
        v.assign(value)
    return out
