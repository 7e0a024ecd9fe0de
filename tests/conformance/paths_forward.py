"""Norms that no layer stands before, and layers behind them; several layers, and several norms."""
import numpy as np
from onnx import TensorProto, helper

from builder import Linear
from paths import (average_pool, conv, factor, finish, flatten, gap, no_shift, path, reduce_mean, relu_input, reshape, shared_input,
                   transpose)

OPSETS = dict(opsets=(7, 9, 13, 17, 22))
TYPED = dict(dtypes=("f16", "f64", "bf16"), opsets=(22,))
SHIFTED = "padded-shift|graph-input|activation-between"
RESIDUAL = ("--passes=fold-bn{residual-shift=add},dce",)


def normed(b, c=4, size=6, params=None, source=None, batch=2):
    """A norm of an activation: nothing behind it takes its factors."""
    return b.norm(source or relu_input(b, [batch, c, size, size]), c, params)


def layer(b, x, c, w_shape, bias=True, op="Conv", w=None, **attrs):
    return b.output(b.linear(Linear(op, (), w_shape, c, attrs), x, bias, w=w))


GEMM_C = {"absent": None, "scalar": (), "1": (1,), "n": (6,), "1n": (1, 6), "m1": (5, 1), "mn": (5, 6)}


def features(b, k=7, m=5):
    return b.norm(b.node("Relu", [b.input("x", [m, k])]), k)


def gemm(b, x, k=7, n=6, c="n", **attrs):
    shape = GEMM_C[c]
    lin = Linear("Gemm", (), (n, k) if attrs.get("transB") else (k, n), n, attrs, c=shape)
    return b.linear(lin, x, shape is not None)


def head(b, x, k, **kw):
    b.output(gemm(b, x, k, **kw))


# Convolutions.

@path(**OPSETS)
def conv_unpadded(b):
    layer(b, normed(b), 5, (5, 4, 3, 3))


@path(**TYPED)
def conv_unpadded_typed(b):
    layer(b, normed(b), 5, (5, 4, 3, 3))


@path()
def conv_without_bias(b):
    layer(b, normed(b), 5, (5, 4, 3, 3), bias=False)


for label, shape, c, attrs in (("pointwise", (5, 4, 1, 1), 5, {}), ("grouped", (6, 2, 3, 3), 6, dict(group=2)),
                               ("grouped_pointwise", (4, 1, 1, 1), 4, dict(group=4)), ("depthwise", (4, 1, 3, 3), 4, dict(group=4)),
                               ("multiplier", (8, 1, 3, 3), 8, dict(group=4)), ("strided", (5, 4, 3, 3), 5, dict(strides=[2, 1])),
                               ("dilated", (5, 4, 2, 3), 5, dict(dilations=[2, 1])), ("valid", (5, 4, 3, 3), 5, dict(auto_pad="VALID")),
                               ("same_pointwise", (5, 4, 1, 1), 5, dict(auto_pad="SAME_UPPER")),
                               ("same_pointwise_strided", (5, 4, 1, 1), 5, dict(auto_pad="SAME_LOWER", strides=[2, 2]))):
    @path(name=f"conv_{label}")
    def conv_of_kind(b, shape=shape, c=c, attrs=attrs):
        layer(b, normed(b), c, shape, **attrs)

    @path(name=f"conv_{label}_without_bias")
    def conv_of_kind_without_bias(b, shape=shape, c=c, attrs=attrs):
        layer(b, normed(b), c, shape, bias=False, **attrs)


@path()
def conv_1d(b):
    layer(b, b.norm(relu_input(b, [2, 4, 9]), 4), 5, (5, 4, 3))


@path()
def conv_3d(b):
    layer(b, b.norm(relu_input(b, [1, 4, 4, 4, 4]), 4), 5, (5, 4, 2, 2, 2))


@path()
def conv_of_the_input(b):
    layer(b, b.norm(shared_input(b, [2, 4, 6, 6]), 4), 5, (5, 4, 3, 3))


for label, attrs, shape in (("padded", dict(pads=[1, 1, 1, 1]), (5, 4, 3, 3)), ("padded_at_one_end", dict(pads=[0, 0, 0, 1]), (5, 4, 3, 3)),
                            ("same", dict(auto_pad="SAME_UPPER"), (5, 4, 3, 3)), ("same_lower", dict(auto_pad="SAME_LOWER"), (5, 4, 2, 2)),
                            ("pointwise_padded", dict(pads=[1, 1, 1, 1]), (5, 4, 1, 1)),
                            ("depthwise_padded", dict(pads=[1, 1, 1, 1], group=4), (4, 1, 3, 3))):
    @path(folded=0, kept=SHIFTED, name=f"conv_{label}", opsets=(11, 17))
    def conv_padded(b, attrs=attrs, shape=shape):
        layer(b, normed(b), shape[0], shape, **attrs)

    @path(name=f"conv_{label}_without_shift")
    def conv_padded_without_shift(b, attrs=attrs, shape=shape):
        layer(b, normed(b, params=no_shift(b, 4)), shape[0], shape, **attrs)

    @path(name=f"conv_{label}_residual", args=RESIDUAL, opsets=(11, 17))
    def conv_padded_residual(b, attrs=attrs, shape=shape):
        """t/s is added before the layer, and the norm's factor goes into it."""
        layer(b, normed(b), shape[0], shape, **attrs)


@path(folded=0, kept=SHIFTED)
def conv_padded_of_the_input(b):
    layer(b, b.norm(shared_input(b, [2, 4, 6, 6]), 4), 5, (5, 4, 3, 3), pads=[1, 1, 1, 1])


@path(folded=0, kept=SHIFTED, args=RESIDUAL)
def residual_shift_of_a_dead_channel(b):
    p = b.params(4, scale=np.array([1, 0, -1, 0.5]))
    layer(b, normed(b, params=p), 5, (5, 4, 3, 3), pads=[1, 1, 1, 1])


@path(args=RESIDUAL)
def residual_shift_of_a_channel_that_is_zero(b):
    """A channel without factor and shift needs no t/s."""
    p = b.params(4, scale=np.array([1, 0, -1, 0.5]), bias=np.array([0.5, 0, 1, -0.5]))
    layer(b, normed(b, params=p), 5, (5, 4, 3, 3), pads=[1, 1, 1, 1])


@path(folded=0, kept=SHIFTED + "|overflow|non-finite", args=RESIDUAL)
def residual_shift_that_is_not_finite(b):
    p = b.params(4, scale=np.array([1, 1e-38, -1, 0.5]), bias=np.array([0.5, 1e5, 1, -0.5]))
    layer(b, normed(b, params=p), 5, (5, 4, 3, 3), pads=[1, 1, 1, 1])


@path(args=RESIDUAL, dtypes=("f16", "f64"))
def residual_shift_typed(b):
    layer(b, normed(b), 5, (5, 4, 3, 3), pads=[1, 1, 1, 1])


@path(args=RESIDUAL, folded=2)
def residual_shift_between_norms(b):
    y = b.linear(Linear("Conv", (), (5, 4, 3, 3), 5, dict(pads=[1, 1, 1, 1])), normed(b))
    finish(b, y)


# Transposed convolutions.

@path(opsets=(7, 11, 22))
def transposed_pointwise(b):
    layer(b, normed(b), 5, (4, 5, 1, 1), op="ConvTranspose")


@path()
def transposed_pointwise_grouped(b):
    layer(b, normed(b), 6, (4, 3, 1, 1), op="ConvTranspose", group=2)


@path(opsets=(11, 17))
def transposed_without_shift(b):
    layer(b, normed(b, params=no_shift(b, 4)), 6, (4, 3, 3, 3), op="ConvTranspose", group=2, strides=[2, 2], pads=[1, 1, 1, 1])


for label, k, attrs in (("3x3", 3, {}), ("2x2_strided", 2, dict(strides=[2, 2])), ("3x3_padded", 3, dict(pads=[1, 1, 1, 1])),
                        ("1x1_strided", 1, dict(strides=[2, 2]))):
    @path(folded=0, kept=SHIFTED, name=f"transposed_{label}")
    def transposed(b, k=k, attrs=attrs):
        layer(b, normed(b), 5, (4, 5, k, k), op="ConvTranspose", **attrs)


def even_taps(b, k):
    """Weights that are the same at every tap."""
    return b.tensor(np.broadcast_to(np.round(b.rng.normal(0, 1, (4, 5, 1, 1)) * 8) / 8, (4, 5, k, k)).copy())


@path()
def transposed_tiling_with_even_taps(b):
    """Kernel = stride: every result reads one tap, and all taps sum up to the same."""
    layer(b, normed(b), 5, (4, 5, 2, 2), op="ConvTranspose", w=even_taps(b, 2), strides=[2, 2])


for label, k, attrs in (("overlapping", 3, {}), ("apart", 2, dict(strides=[3, 3])),
                        ("with_output_padding", 2, dict(strides=[2, 2], output_padding=[1, 1])),
                        ("dilated", 2, dict(strides=[2, 2], dilations=[2, 2]))):
    @path(folded=0, kept=SHIFTED, name=f"transposed_with_even_taps_{label}")
    def transposed_uneven(b, k=k, attrs=attrs):
        """Equal taps, but not every result reads as many of them."""
        layer(b, normed(b), 5, (4, 5, k, k), op="ConvTranspose", w=even_taps(b, k), **attrs)


# Several readers.

@path(opsets=(9, 17))
def two_layers(b):
    y = normed(b)
    layer(b, y, 5, (5, 4, 1, 1))
    layer(b, y, 6, (6, 4, 3, 3))


@path()
def three_ways(b):
    y = normed(b, 4, 3)
    layer(b, y, 6, (6, 2, 1, 1), group=2)
    head(b, flatten(b, y), 36)
    layer(b, average_pool(b, y), 5, (5, 4, 1, 1), bias=False)


@path()
def two_layers_of_one_weight(b):
    y, w = normed(b), b.tensor(b.rng.normal(0, 0.3, (5, 4, 1, 1)))
    layer(b, y, 5, (5, 4, 1, 1), w=w)
    layer(b, y, 5, (5, 4, 1, 1), w=w, strides=[2, 2])


@path()
def one_weight_with_another_layer(b):
    y, w = normed(b), b.tensor(b.rng.normal(0, 0.3, (5, 4, 1, 1)))
    layer(b, y, 5, (5, 4, 1, 1), w=w)
    layer(b, b.input("z", [2, 4, 6, 6]), 5, (5, 4, 1, 1), w=w)


@path(folded=0, kept="shared-weight|activation-between", args=("--passes=fold-bn{shared=refuse},dce",))
def one_weight_with_another_layer_refused(b):
    one_weight_with_another_layer(b)


MANY = "multiple-consumers|activation-between|padded-shift"


@path(folded=0, kept=MANY)
def a_layer_and_a_relu(b):
    y = normed(b)
    layer(b, y, 5, (5, 4, 1, 1))
    b.output(b.node("Relu", [y]))


@path(folded=0, kept=MANY)
def a_layer_and_the_caller(b):
    y = normed(b)
    layer(b, y, 5, (5, 4, 1, 1))
    b.output(y)


@path(folded=0, kept=MANY)
def a_layer_and_a_padded_one(b):
    y = normed(b)
    layer(b, y, 5, (5, 4, 1, 1))
    layer(b, y, 5, (5, 4, 3, 3), pads=[1, 1, 1, 1])


@path(folded=0, kept=MANY)
def a_layer_and_a_sum(b):
    y = normed(b)
    layer(b, y, 5, (5, 4, 1, 1))
    b.output(b.node("Add", [y, b.input("z", [2, 4, 6, 6])]))


@path()
def a_layer_and_a_shape(b):
    y = normed(b)
    layer(b, y, 5, (5, 4, 1, 1))
    b.output(b.node("Shape", [y]), TensorProto.INT64)


@path(folded=0, kept="region-boundary|" + MANY)
def a_layer_and_a_body(b):
    y = normed(b)
    layer(b, y, 5, (5, 4, 1, 1))
    value = helper.make_tensor_value_info
    flag = b.input("flag", [], TensorProto.BOOL)
    bodies = [helper.make_graph([helper.make_node(op, [y], [f"{label}_y"])], label, [], [value(f"{label}_y", b.onnx, None)])
              for label, op in (("then", "Abs"), ("else", "Neg"))]
    b.output(b.node("If", [flag], then_branch=bodies[0], else_branch=bodies[1]))


@path(folded=2)
def two_heads(b):
    """LeViT: a mean read by two norms, each with a layer of its own."""
    y = reduce_mean(b, relu_input(b, [5, 7, 3]), [2], keepdims=0)
    for _ in range(2):
        head(b, b.norm(y, 7), 7)


# Before, behind, and both.

@path(folded=1)
def backward_is_preferred(b):
    layer(b, b.norm(conv(b, 4), 4), 5, (5, 4, 3, 3), pads=[1, 1, 1, 1])


@path(folded=1)
def forward_where_backward_is_barred(b):
    y = conv(b, 4)
    b.output(y)
    layer(b, b.norm(y, 4), 5, (5, 4, 3, 3))


@path(folded=2, opsets=(9, 17))
def both_ways_into_one_layer(b):
    """The factors behind the layer and those before it compose; from the same old weights they would not."""
    y = b.linear(Linear("Conv", (), (5, 4, 3, 3), 5), normed(b))
    finish(b, y)


@path(folded=2)
def both_ways_into_one_gemm(b):
    b.output(b.norm(gemm(b, features(b), c="mn", alpha=0.5, beta=2.0), 6))


@path(folded=2)
def two_norms_forward(b):
    layer(b, b.norm(normed(b), 4), 5, (5, 4, 3, 3))


@path(folded=4)
def layers_and_norms_in_turn(b):
    y = b.linear(Linear("Conv", (), (5, 4, 3, 3), 5), normed(b))
    y = b.linear(Linear("Conv", (), (6, 5, 1, 1), 6), b.norm(y, 5))
    head(b, flatten(b, b.norm(gap(b, b.norm(y, 6)), 6)), 6)


@path(folded=0, chains=1, opsets=(9, 17))
def chain_forward(b):
    y = b.node("Mul", [relu_input(b, [2, 4, 6, 6]), factor(b, 4)])
    layer(b, b.node("Add", [y, factor(b, 4)]), 5, (5, 4, 3, 3))


@path(folded=0, kept_chains=SHIFTED)
def chain_forward_padded(b):
    y = b.node("Mul", [relu_input(b, [2, 4, 6, 6]), factor(b, 4)])
    layer(b, b.node("Add", [y, factor(b, 4)]), 5, (5, 4, 3, 3), pads=[1, 1, 1, 1])


@path(folded=0, chains=1)
def chain_without_shift_forward_padded(b):
    y = b.node("Div", [relu_input(b, [2, 4, 6, 6]), factor(b, 4)])
    layer(b, y, 5, (5, 4, 3, 3), pads=[1, 1, 1, 1])


@path(folded=1, chains=1)
def norm_and_chain_forward(b):
    layer(b, b.node("Mul", [normed(b), factor(b, 4)]), 5, (5, 4, 3, 3))


@path(folded=0, kept="not-constant|activation-between")
def weights_are_an_input(b):
    b.output(b.node("Conv", [normed(b), b.input("w", [5, 4, 3, 3])]))


@path(folded=0, kept="custom-domain|activation-between|no-linear-producer")
def layer_of_another_domain(b):
    b.output(b.node("Swirl", [normed(b)], domain="org.example", turns=1, label="x"), shape=[2, 4, 6, 6])


@path(folded=0, kept="overflow|activation-between", dtypes=("f16",))
def overflow_forward(b):
    p = b.params(4, scale=np.full(4, 900.0), var=np.ones(4))
    w = b.tensor(b.rng.normal(0, 1, (5, 4, 3, 3)) * 300)
    layer(b, normed(b, params=p), 5, (5, 4, 3, 3), w=w)


# Weights behind constant ops.

@path(opsets=(9, 17))
def matmul_weight_transposed(b):
    w = transpose(b, b.tensor(b.rng.normal(0, 0.3, (6, 7))), 1, 0)
    b.output(b.node("MatMul", [features(b), w]))


@path()
def gemm_weight_transposed(b):
    w = transpose(b, b.tensor(b.rng.normal(0, 0.3, (6, 7))), 1, 0)
    b.output(b.node("Gemm", [features(b), w, b.tensor(b.rng.normal(0, 0.3, 6))]))


@path()
def conv_weight_transposed(b):
    """tf2onnx: HWIO."""
    w = transpose(b, b.tensor(b.rng.normal(0, 0.3, (3, 3, 4, 5))), 3, 2, 0, 1)
    b.output(b.node("Conv", [normed(b), w]))


@path()
def conv_weight_reshaped(b):
    w = reshape(b, b.tensor(b.rng.normal(0, 0.3, (5, 36))), [5, 4, 3, 3])
    b.output(b.node("Conv", [normed(b), w]))
