"""Models as Keras makes them, each with what has to become of its batch norms. A builder gets the keras module: that of
Keras 3 or of Keras 2."""
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BOTH = (3, 2)

_spec = importlib.util.spec_from_file_location("keras_models", ROOT / "tests/models/keras/make.py")
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)


@dataclass
class Case:
    name: str
    build: object
    folded: int
    kept: dict = field(default_factory=dict)
    generations: tuple = BOTH
    tolerance: float = 1e-5
    compiled: bool = False
    # What cannot be loaded or predicted here, and is only looked at.
    predicts: bool = True
    # Keras has to be told to run code that is in the file.
    unsafe: bool = False
    # What becomes of the norms in containers that say less of shapes, by generation and container.
    otherwise: dict = field(default_factory=dict)
    # What Keras writes and does not read, by generation and container.
    unreadable: tuple = ()

    def expected(self, generation, container):
        return self.otherwise.get((generation, container), (self.folded, self.kept))


CASES = [
    Case("seq_conv2d", small.seq_conv2d, 5, compiled=True),
    Case("separable", small.separable, 4),
    Case("conv_transpose", small.conv_transpose, 3),
    Case("nested", small.nested, 2, {"region-boundary": 1}),
    Case("awkward", small.awkward, 1, {"axis-mismatch": 1, "multiple-consumers": 1, "shared-weight": 2}),
    Case("branches", small.branches, 1),
]


def case(folded, kept=None, **options):
    def add(build):
        CASES.append(Case(build.__name__, build, folded, kept or {}, **options))
        return build
    return add


@case(5)
def merges(K):
    """Norms before and behind merges of every kind."""
    L = K.layers
    i = L.Input((8, 8, 4), name="image")
    a = L.BatchNormalization()(L.Conv2D(6, 3, padding="same")(i))
    b = L.BatchNormalization()(L.Conv2D(6, 1)(i))
    c = L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(i))
    x = L.Add()([a, b])
    x = L.Concatenate()([L.ReLU()(x), c, L.Subtract()([a, b])])
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(5, 1)(x)))
    x = L.Multiply()([x, L.Maximum()([x, x])])
    x = L.BatchNormalization()(L.Dense(4)(L.GlobalAveragePooling2D()(x)))
    return K.Model(i, L.Average()([x, L.Dense(4)(x)]), name="merges")


@case(3)
def swaps(K):
    """Many layers of one class and shape whose order is another without the norms: what stands where may not be mixed up."""
    L = K.layers
    i = L.Input((5, 5, 3), name="image")
    a = L.BatchNormalization(name="na1")(L.Conv2D(3, 1, name="a1")(i))
    a = L.BatchNormalization(name="na2")(L.Conv2D(3, 1, name="a2")(a))
    b = L.ReLU()(L.Conv2D(3, 1, name="b1")(i))
    b = L.ReLU()(L.Conv2D(3, 1, name="b2")(b))
    b = L.ReLU()(L.Conv2D(3, 1, name="b3")(b))
    c = L.BatchNormalization(name="nc")(L.Conv2D(3, 1, name="c1")(b))
    return K.Model([i], [L.Add()([a, b]), L.Conv2D(3, 1, name="d1")(L.Add()([c, i]))], name="swaps")


@case(4)
def frozen(K):
    """Layers that are not trained, in a nested model: the older form lists their weights behind all others."""
    L = K.layers
    inner = K.Sequential([
        L.Input((6, 6, 3)),
        L.Conv2D(4, 1, use_bias=False, name="c1"), L.BatchNormalization(name="n1"), L.ReLU(),
        L.Conv2D(4, 1, use_bias=False, name="c2"), L.BatchNormalization(name="n2"), L.ReLU(),
        L.Conv2D(4, 1, name="c3"), L.BatchNormalization(name="n3"),
    ], name="inner")
    inner.get_layer("c1").trainable = False
    inner.get_layer("n2").trainable = False
    outer = K.Sequential([L.Input((6, 6, 3)), inner, L.ReLU(), L.Conv2D(2, 1), L.BatchNormalization()], name="frozen")
    outer.layers[-2].trainable = False
    return outer


@case(4)
def deep(K):
    """Models in models in models, one of them called twice."""
    L = K.layers
    i = L.Input((6, 6, 4), name="block_input")
    first = L.Conv2D(4, 1, use_bias=False, name="first")
    second = L.Conv2D(4, 1, use_bias=False, name="second")
    block = K.Model(i, L.Add()([L.BatchNormalization()(first(i)), L.ReLU()(second(i))]), name="block")
    j = L.Input((6, 6, 4), name="stage_input")
    x = L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(block(j)))
    stage = K.Model(j, L.ReLU()(block(x)), name="stage")
    k = L.Input((6, 6, 4), name="image")
    x = stage(L.BatchNormalization()(L.Conv2D(4, 1)(k)))
    return K.Model(k, L.BatchNormalization()(L.Conv2D(2, 1)(x)), name="deep")


@case(2)
def many_inputs(K):
    """Several inputs and outputs, one a norm's result."""
    L = K.layers
    a, b = L.Input((6, 6, 3), name="a"), L.Input((5,), name="b")
    x = L.BatchNormalization(name="the_output")(L.Conv2D(4, 3, name="behind")(a))
    y = L.BatchNormalization()(L.Dense(4, name="of_b")(b))
    z = L.Add()([L.GlobalAveragePooling2D()(x), y])
    return K.Model([a, b], [x, L.Dense(2)(z)], name="many_inputs")


@case(2, generations=(3,))
def dictionaries(K):
    """Inputs and outputs by name."""
    L = K.layers
    a, b = L.Input((6,), name="a"), L.Input((6,), name="b")
    x = L.BatchNormalization(name="n1")(L.Dense(4, use_bias=False)(a))
    y = L.BatchNormalization(name="n2")(L.Dense(4)(b))
    return K.Model({"a": a, "b": b}, {"sum": L.Add()([x, y]), "first": x}, name="dictionaries")


@case(3, {"unknown-rank": 1}, generations=(3,), unreadable=((3, "h5"),))
def operations(K):
    """Functions that Keras 3 records as entries that are no layers."""
    L, ops = K.layers, K.ops
    i = L.Input((6, 6, 3), name="image")
    x = ops.relu(L.BatchNormalization()(L.Conv2D(4, 1)(i)))
    y = L.BatchNormalization()(L.Conv2D(4, 1)(x))
    x = ops.add(y * 2.0, x)
    x = ops.concatenate([x, L.BatchNormalization()(L.Conv2D(2, 1, use_bias=False)(x))], axis=-1)
    x = ops.mean(x, axis=(1, 2))
    return K.Model(i, L.BatchNormalization()(L.Dense(3)(ops.sigmoid(x))) - 1.0, name="operations")


@case(3, {"unknown-rank": 1}, generations=(2,), otherwise={(2, "h5"): (3, {"unknown-channels": 1})})
def op_lambdas(K):
    """Functions of TensorFlow that Keras 2 records, with tensors among their arguments by name."""
    import tensorflow as tf
    L = K.layers
    i = L.Input((6, 6, 3), name="image")
    x = tf.nn.relu(L.BatchNormalization()(L.Conv2D(4, 1)(i)))
    y = L.BatchNormalization()(L.Conv2D(4, 1)(x))
    x = tf.add(x, y=y)
    x = tf.concat([x * 2.0, L.BatchNormalization()(L.Conv2D(2, 1, use_bias=False)(x))], axis=-1)
    x = tf.reduce_mean(x, axis=[1, 2])
    return K.Model(i, 1.0 - L.BatchNormalization()(L.Dense(3)(x)), name="op_lambdas")


@case(2, {"padded-shift": 1})
def inside(K):
    """Activations inside layers: they block a norm behind them, not one before."""
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 3)), L.BatchNormalization(), L.Conv2D(4, 3, activation="relu"),
        L.BatchNormalization(), L.Conv2D(4, 1, activation="tanh"),
        L.BatchNormalization(), L.ZeroPadding2D(1), L.Conv2D(4, 3, activation="linear"), L.ReLU(),
        L.Flatten(), L.Dense(3, activation="softmax"),
    ], name="inside")


@case(2, {"training-mode": 1})
def arguments(K):
    """`training` in a call."""
    L = K.layers
    i = L.Input((6,), name="x")
    x = L.BatchNormalization()(L.Dense(4)(i), training=False)
    x = L.BatchNormalization(name="trains")(L.Dense(4, name="before")(L.ReLU()(x)), training=True)
    x = L.BatchNormalization()(L.Dense(4)(L.ReLU()(x)), training=None)
    return K.Model(i, x, name="arguments")


arguments_case = CASES[-1]
arguments_case.predicts = False  # A norm in training mode does not compute the same with one thread or two.


@case(1, unreadable=((3, "h5"),))
def masks(K):
    """A mask goes through a norm."""
    L = K.layers
    i = L.Input((7, 4), name="sequence")
    x = L.Masking()(i)
    x = L.BatchNormalization()(L.Dense(5)(x))
    x = L.Conv1D(3, 3, padding="valid")(L.ReLU()(x))
    return K.Model(i, L.GlobalMaxPooling1D()(x), name="masks")


@case(2, generations=(2,))
def renorm(K):
    """Renormalisation adds variables that inference does not read."""
    L = K.layers
    return K.Sequential([
        L.Input((6, 6, 3)), L.Conv2D(4, 1), L.BatchNormalization(renorm=True), L.ReLU(), L.Conv2D(4, 1),
        L.BatchNormalization(), L.Flatten(), L.Dense(2),
    ], name="renorm")


@case(2)
def bare(K):
    """Norms without scale or centre."""
    L = K.layers
    return K.Sequential([
        L.Input((6, 6, 3)), L.Conv2D(4, 1), L.BatchNormalization(scale=False, center=False), L.ReLU(),
        L.Conv2D(4, 1, use_bias=False), L.BatchNormalization(center=False, epsilon=1e-2), L.Flatten(), L.Dense(2),
    ], name="bare")


@case(3)
def one_dimension(K):
    """1-D layers, causal and dilated."""
    L = K.layers
    return K.Sequential([
        L.Input((20, 4)), L.Conv1D(6, 3, padding="causal", dilation_rate=2, use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.SeparableConv1D(5, 3), L.BatchNormalization(), L.ReLU(),
        L.Conv1DTranspose(4, 3, strides=2, padding="same"), L.BatchNormalization(), L.GlobalAveragePooling1D(), L.Dense(2),
    ], name="one_dimension")


@case(2)
def three_dimensions(K):
    L = K.layers
    return K.Sequential([
        L.Input((5, 6, 6, 2)), L.Conv3D(4, 2, use_bias=False), L.BatchNormalization(), L.ReLU(),
        L.Conv3DTranspose(3, 2, strides=2), L.BatchNormalization(), L.GlobalAveragePooling3D(), L.Dense(2),
    ], name="three_dimensions")


@case(4)
def forward(K):
    """Norms before what takes them in: a dense layer at rank 4, grouped and pointwise convolutions, a flattened image."""
    L = K.layers
    i = L.Input((8, 8, 4), name="image")
    x = L.Dense(6)(L.BatchNormalization()(L.ReLU()(i)))
    x = L.Conv2D(8, 3, groups=2)(L.BatchNormalization()(L.ReLU()(x)))
    x = L.Conv2D(4, 1, strides=2, padding="same", activation="relu")(L.BatchNormalization()(L.ReLU()(x)))
    x = L.Dense(3)(L.Flatten()(L.BatchNormalization()(x)))
    return K.Model(i, x, name="forward")


@case(3)
def before_separable(K):
    """A norm before a separable convolution: its shift goes through the depthwise half into the bias of the other."""
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 3)), L.ReLU(), L.BatchNormalization(), L.SeparableConv2D(5, 3, depth_multiplier=2), L.ReLU(),
        L.BatchNormalization(), L.SeparableConv2D(4, 2, use_bias=False), L.ReLU(), L.BatchNormalization(), L.DepthwiseConv2D(2),
        L.GlobalAveragePooling2D(), L.Dense(2),
    ], name="before_separable")


@case(1, {"custom-domain": 1}, unsafe=True, generations=(3,), otherwise={(3, "h5"): (1, {"unknown-channels": 1})})
def code(K):
    """A Lambda is carried, never run."""
    L = K.layers
    return K.Sequential([
        L.Input((6,)), L.Dense(4, use_bias=False), L.BatchNormalization(), L.Lambda(lambda x: x * 3), L.BatchNormalization(),
    ], name="code")


@case(2)
def regularized(K):
    """Initializers, regularizers and constraints are objects in the configuration; a seed is a number."""
    L = K.layers
    return K.Sequential([
        L.Input((6, 6, 3)),
        L.Conv2D(4, 3, kernel_regularizer="l2", kernel_constraint="max_norm", kernel_initializer=K.initializers.HeNormal(seed=3)),
        L.BatchNormalization(gamma_regularizer=K.regularizers.L2(1e-4)), L.Dropout(0.5, seed=1), L.ReLU(),
        L.Conv2D(4, 1, use_bias=False, bias_initializer="ones"), L.BatchNormalization(momentum=0.9), L.Flatten(), L.Dense(1),
    ], name="regularized")


@case(0, {"custom-domain": 1, "unknown-rank": 1}, otherwise={(2, "h5"): (0, {"unknown-channels": 2})})
def wrapped(K):
    """Layers that are not known have weights that stay where they are."""
    L = K.layers
    i = L.Input((4, 6, 6, 3), name="frames")
    x = L.TimeDistributed(L.Conv2D(4, 3))(i)
    x = L.BatchNormalization()(x)
    x = L.GlobalAveragePooling3D()(L.ReLU()(x))
    x = L.BatchNormalization()(L.Dense(4, use_bias=False)(x))
    return K.Model(i, x, name="wrapped")


@case(2)
def attention(K):
    """A nested model with layers whose number of weights is not known: the older form tells them by their names."""
    L = K.layers
    i = L.Input((5, 8), name="inner_input")
    x = L.LayerNormalization(name="ln")(i)
    x = L.Add(name="plus")([L.MultiHeadAttention(2, 4, name="mha")(x, x), i])
    x = L.BatchNormalization(name="norm")(L.Dense(8, use_bias=False, name="feed")(x))
    inner = K.Model(i, x, name="inner")
    j = L.Input((5, 8), name="tokens")
    x = L.BatchNormalization()(L.Dense(4)(L.Flatten()(L.ReLU()(inner(j)))))
    return K.Model(j, x, name="attention")


@case(2, tolerance=5e-3)
def mixed(K):
    """Mixed precision: arithmetic in f16, variables in f32."""
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 3)), L.Conv2D(4, 3, use_bias=False, dtype="mixed_float16"), L.BatchNormalization(dtype="mixed_float16"), L.ReLU(),
        L.Conv2D(4, 1), L.BatchNormalization(), L.Flatten(), L.Dense(2),
    ], name="mixed")


@case(2, tolerance=1e-12)
def double(K):
    L = K.layers
    return K.Sequential([
        L.Input((8, 8, 3), dtype="float64"), L.Conv2D(4, 3, use_bias=False, dtype="float64"), L.BatchNormalization(dtype="float64"),
        L.ReLU(dtype="float64"), L.Dense(4, dtype="float64"), L.BatchNormalization(dtype="float64"), L.Flatten(dtype="float64"),
    ], name="double")


@case(1, tolerance=3e-2, generations=(3,), unreadable=((3, "h5"),))
def brain(K):
    """bfloat16 variables, which HDF5 has no type for."""
    L = K.layers
    return K.Sequential([
        L.Input((6,), dtype="bfloat16"), L.Dense(8, use_bias=False, dtype="bfloat16"), L.BatchNormalization(dtype="bfloat16"),
        L.ReLU(dtype="bfloat16"), L.Dense(2, dtype="bfloat16"),
    ], name="brain")


@case(2, tolerance=5e-3)
def half(K):
    """Variables in f16; those of a norm of Keras 2 are f32 all the same."""
    L = K.layers
    return K.Sequential([
        L.Input((6, 6, 3), dtype="float16"), L.Conv2D(4, 1, use_bias=False, dtype="float16"), L.BatchNormalization(dtype="float16"),
        L.ReLU(dtype="float16"), L.Dense(4, dtype="float16"), L.BatchNormalization(dtype="float16"),
    ], name="half")


@case(120)
def long_names(K):
    """Names that do not go into one attribute, in the list of layers and in that of a nested model's weights."""
    L = K.layers
    long = lambda kind, i: f"{kind}_{i:03}_" + "x" * 200  # noqa: E731
    pairs = lambda start: [layer for i in range(start, start + 60) for layer in (  # noqa: E731
        L.Dense(2, use_bias=False, name=long("dense", i)), L.BatchNormalization(name=long("norm", i)),
        L.Activation("tanh", name=long("act", i)))]
    inner = K.Sequential([L.Input((2,)), *pairs(100)], name="inner")
    return K.Sequential([L.Input((2,)), *pairs(0), inner], name="long_names")


@case(2)
def channels_first(K):
    """Channels before space."""
    L = K.layers
    return K.Sequential([
        L.Input((3, 8, 8)), L.Conv2D(4, 3, data_format="channels_first"), L.BatchNormalization(axis=1), L.ReLU(),
        L.Conv2D(4, 1, use_bias=False, data_format="channels_first"), L.BatchNormalization(axis=1),
    ], name="channels_first")


@case(0, {"multi-axis": 1})
def several_axes(K):
    """Statistics over several axes together."""
    L = K.layers
    return K.Sequential([L.Input((4, 3)), L.Dense(3), L.BatchNormalization(axis=[1, 2])], name="several_axes")


CASES[-1].generations = (2,)
