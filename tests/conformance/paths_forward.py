"""Norms that no layer stands before, and layers behind them."""
import numpy as np
from onnx import TensorProto, helper

from builder import Linear
from paths import (PASSIVE, average_pool, border, concat, conv, cut, factor, finish, flatten, gap, matmul, max_pool, negative, nhwc, no_shift,
                   pad, path, positive, reduce_mean, relu_input, reshape, resize, shared_input, shuffle, split, squeeze, transpose, unsqueeze)

OPSETS = dict(opsets=(7, 9, 13, 17, 22))
TYPED = dict(dtypes=("f16", "f64", "bf16"), opsets=(22,))
SHIFTED = "padded-shift|graph-input|activation-between"
RESIDUAL = ("--passes=fold-bn{residual-shift=add},dce",)


def normed(b, c=4, size=6, params=None, source=None, batch=2):
    """A norm of an activation: nothing behind it takes its factors."""
    return b.norm(source or relu_input(b, [batch, c, size, size]), c, params)


def layer(b, x, c, w_shape, bias=True, op="Conv", w=None, **attrs):
    return b.output(b.linear(Linear(op, (), w_shape, c, attrs), x, bias, w=w))


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


@path(folded=None, kept=None)
def transposed_tiling_with_even_taps(b):
    """Kernel = stride: every result reads one tap, and all taps sum up to the same."""
    layer(b, normed(b), 5, (4, 5, 2, 2), op="ConvTranspose", w=even_taps(b, 2), strides=[2, 2])


for label, k, attrs in (("overlapping", 3, {}), ("apart", 2, dict(strides=[3, 3])),
                        ("with_output_padding", 2, dict(strides=[2, 2], output_padding=[1, 1])), ("dilated", 2, dict(strides=[2, 2], dilations=[2, 2]))):
    @path(folded=0, kept=SHIFTED, name=f"transposed_with_even_taps_{label}")
    def transposed_uneven(b, k=k, attrs=attrs):
        """Equal taps, but not every result reads as many of them."""
        layer(b, normed(b), 5, (4, 5, k, k), op="ConvTranspose", w=even_taps(b, k), **attrs)


# Matrix products.

GEMM_C = {"absent": None, "scalar": (), "1": (1,), "n": (6,), "1n": (1, 6), "m1": (5, 1), "mn": (5, 6)}


def features(b, k=7, m=5):
    return b.norm(b.node("Relu", [b.input("x", [m, k])]), k)


def gemm(b, x, k=7, n=6, c="n", **attrs):
    shape = GEMM_C[c]
    lin = Linear("Gemm", (), (n, k) if attrs.get("transB") else (k, n), n, attrs, c=shape)
    return b.linear(lin, x, shape is not None)


for c in GEMM_C:
    for trans in (0, 1):
        for alpha, beta in ((1.0, 1.0), (0.5, 2.0), (1.5, 0.0)):
            @path(name=f"gemm_c_{c}_trans_{trans}_alpha_{alpha}_beta_{beta}", opsets=(13,))
            def gemm_behind(b, c=c, trans=trans, alpha=alpha, beta=beta):
                b.output(gemm(b, features(b), c=c, alpha=alpha, beta=beta, transB=trans))


@path(**TYPED)
def gemm_typed(b):
    b.output(gemm(b, features(b)))


@path(opsets=(7, 9, 11, 22))
def gemm_by_opset(b):
    b.output(gemm(b, features(b)))


@path(folded=0, kept="axis-mismatch|activation-between|not-constant")
def gemm_of_transposed_data(b):
    """The product sums over axis 0, the norm's channels are axis 1."""
    x = b.norm(b.node("Relu", [b.input("x", [7, 7])]), 7)
    lin = Linear("Gemm", (), (7, 6), 6, dict(transA=1))
    b.output(b.linear(lin, x))


@path(folded=0, kept="not-constant|activation-between")
def gemm_of_a_given_c(b):
    b.output(b.node("Gemm", [features(b), b.tensor(b.rng.normal(0, 0.3, (7, 6))), b.input("c", [6])]))


@path(folded=None, kept=None)
def gemm_of_a_given_c_without_shift(b):
    x = b.norm(b.node("Relu", [b.input("x", [5, 7])]), 7, no_shift(b, 7))
    b.output(b.node("Gemm", [x, b.tensor(b.rng.normal(0, 0.3, (7, 6))), b.input("c", [6])]))


@path(folded=0, kept="not-constant|activation-between")
def gemm_of_given_weights(b):
    b.output(b.node("Gemm", [features(b), b.input("w", [7, 6]), b.tensor(b.rng.normal(0, 0.3, 6))]))


@path(folded=0, kept="not-constant|axis-mismatch|activation-between")
def norm_as_the_weights_of_a_gemm(b):
    y = b.norm(b.node("Relu", [b.input("x", [7, 6])]), 6)
    b.output(b.node("Gemm", [b.tensor(b.rng.normal(0, 0.3, (5, 7))), y]))


@path(folded=0, kept="not-constant|axis-mismatch|activation-between|no-linear-producer|multiple-consumers")
def norm_as_the_c_of_a_gemm(b):
    y = features(b, 6)
    b.output(b.node("Gemm", [b.input("a", [5, 7]), b.tensor(b.rng.normal(0, 0.3, (7, 6))), y]))


@path(folded=0, kept="not-constant|axis-mismatch|activation-between|no-linear-producer|multiple-consumers")
def norm_as_data_and_c_of_a_gemm(b):
    y = features(b, 6, 5)
    b.output(b.node("Gemm", [y, b.tensor(b.rng.normal(0, 0.3, (6, 6))), y]))


@path(opsets=(7, 13, 22))
def matmul_behind(b):
    b.output(matmul(b, features(b), 7, 6))


@path(dtypes=("f16", "f64"))
def matmul_typed(b):
    b.output(matmul(b, features(b), 7, 6))


@path()
def matmul_and_bias(b):
    b.output(b.node("Add", [matmul(b, features(b), 7, 6), b.tensor(b.rng.normal(0, 1, 6))]))


@path(folded=0, kept="axis-mismatch|activation-between")
def matmul_of_rank_3(b):
    """The product sums over the last axis, the norm's channels are axis 1."""
    y = b.norm(b.node("Relu", [b.input("x", [2, 7, 7])]), 7)
    b.output(matmul(b, y, 7, 6))


@path()
def matmul_of_rank_3_transposed(b):
    y = b.norm(b.node("Relu", [b.input("x", [2, 7, 3])]), 7)
    b.output(matmul(b, transpose(b, y, 0, 2, 1), 7, 6))


@path()
def matmul_from_the_left(b):
    """[6, 7] times [2, 7, 3]: the product sums over the norm's channels."""
    y = b.norm(b.node("Relu", [b.input("x", [2, 7, 3])]), 7)
    b.output(b.node("MatMul", [b.tensor(b.rng.normal(0, 0.3, (6, 7))), y]))


@path(folded=0, kept="axis-mismatch|activation-between|not-constant")
def matmul_from_the_left_of_rank_2(b):
    y = b.norm(b.node("Relu", [b.input("x", [7, 7])]), 7)
    b.output(b.node("MatMul", [b.tensor(b.rng.normal(0, 0.3, (6, 7))), y]))


@path(folded=0, kept="not-constant|multiple-consumers|activation-between")
def matmul_with_itself(b):
    y = b.norm(b.node("Relu", [b.input("x", [6, 6])]), 6)
    b.output(b.node("MatMul", [y, y]))


# From images to features: the factors are repeated.

def head(b, x, k, **kw):
    b.output(gemm(b, x, k, **kw))


@path(opsets=(9, 13, 17))
def flatten_repeats(b):
    head(b, flatten(b, normed(b, 4, 3)), 36)


@path(dtypes=("f16", "f64"))
def flatten_repeats_typed(b):
    head(b, flatten(b, normed(b, 4, 3)), 36, transB=1)


@path()
def reshape_repeats(b):
    head(b, reshape(b, normed(b, 4, 3), [0, -1]), 36)


@path()
def reshape_of_a_named_batch_repeats(b):
    y = b.norm(b.node("Relu", [b.input("x", ["N", 4, 3, 3])]), 4)
    head(b, reshape(b, y, [-1, 36]), 36)


@path()
def channels_last_tiles(b):
    head(b, reshape(b, nhwc(b, normed(b, 4, 3)), [-1, 36]), 36)


@path(opsets=(9, 17))
def channels_in_the_middle(b):
    """c = (i / 3) mod 4."""
    head(b, flatten(b, transpose(b, normed(b, 4, 3), 0, 2, 1, 3)), 36)


@path()
def flatten_into_matmul(b):
    b.output(matmul(b, flatten(b, normed(b, 4, 3)), 36, 6))


@path(opsets=(9, 13, 22))
def pooled_features(b):
    head(b, flatten(b, gap(b, normed(b))), 4)


@path()
def mean_of_images(b):
    head(b, reduce_mean(b, normed(b), [2, 3], keepdims=0), 4)


@path()
def squeezed_features(b):
    head(b, squeeze(b, gap(b, normed(b)), [2, 3]), 4)


@path(folded=0, kept="axis-mismatch|activation-between")
def channels_become_rows(b):
    """[8, 9] of images: the product sums over positions."""
    head(b, reshape(b, normed(b, 4, 3), [-1, 9]), 9)


@path(folded=0, kept="axis-mismatch|activation-between")
def channels_and_images_mixed(b):
    """[2·4, 3, 3] as [3, 24]."""
    head(b, reshape(b, normed(b, 4, 3), [3, 24]), 24)


@path(opsets=(7, 17, 22))
def average_pool_then_conv(b):
    layer(b, average_pool(b, normed(b)), 5, (5, 4, 3, 3))


@path(folded=0, kept="padding-between|" + SHIFTED)
def average_pool_that_counts_padding_then_conv(b):
    layer(b, average_pool(b, normed(b), 3, pads=[1, 1, 1, 1], count_include_pad=1), 5, (5, 4, 3, 3))


@path()
def max_pool_then_conv(b):
    layer(b, max_pool(b, normed(b, params=positive(b, 4))), 5, (5, 4, 3, 3))


@path(folded=0, kept="sign|activation-between")
def max_pool_of_negative_factors_then_conv(b):
    layer(b, max_pool(b, normed(b, params=negative(b, 4))), 5, (5, 4, 3, 3))


@path(folded=0, kept="activation-between")
def relu_then_conv(b):
    layer(b, b.node("Relu", [normed(b)]), 5, (5, 4, 3, 3))


@path()
def identity_and_dropout_then_conv(b):
    layer(b, b.node("Dropout", [b.node("Identity", [normed(b)])]), 5, (5, 4, 3, 3))


@path()
def transpose_pair_then_conv(b):
    y = transpose(b, nhwc(b, normed(b)), 0, 3, 1, 2)
    layer(b, y, 5, (5, 4, 3, 3))


@path(folded=0, kept="axis-mismatch|activation-between")
def transpose_then_conv(b):
    layer(b, transpose(b, normed(b, 4, 4), 0, 2, 1, 3), 5, (5, 4, 3, 3))


@path(opsets=(11, 17))
def resize_then_conv(b):
    layer(b, resize(b, normed(b), [1, 1, 2, 2], "linear"), 5, (5, 4, 3, 3))


@path()
def shuffle_then_conv(b):
    layer(b, shuffle(b, normed(b), 4, 2, 6, 6), 6, (6, 2, 3, 3), group=2)


@path(folded=None, kept=None)
def depth_to_space_then_conv(b):
    """Four channels of the norm in each of the layer's: one factor per position, but all four are the same."""
    p = b.params(4, scale=np.full(4, -1.5), bias=np.full(4, 0.5), mean=np.zeros(4), var=np.ones(4))
    layer(b, b.node("DepthToSpace", [normed(b, params=p)], blocksize=2), 5, (5, 1, 3, 3))


@path(folded=0, kept="axis-mismatch|activation-between")
def depth_to_space_of_different_factors_then_conv(b):
    layer(b, b.node("DepthToSpace", [normed(b)], blocksize=2), 5, (5, 1, 3, 3))


@path()
def space_to_depth_then_conv(b):
    layer(b, b.node("SpaceToDepth", [normed(b)], blocksize=2), 5, (5, 16, 3, 3))


@path(folded=0, kept="padding-between|" + SHIFTED)
def pad_with_zeros_then_conv(b):
    layer(b, pad(b, normed(b), border()), 5, (5, 4, 3, 3))


@path(opsets=(9, 17))
def pad_with_zeros_then_conv_without_shift(b):
    layer(b, pad(b, normed(b, params=no_shift(b, 4)), border()), 5, (5, 4, 3, 3))


@path()
def pad_reflect_then_conv(b):
    layer(b, pad(b, normed(b), border(), "reflect"), 5, (5, 4, 3, 3))


@path(folded=None, kept=None)
def pad_with_what_the_norm_gives_for_one_value(b):
    """The norm takes 0.5 to 1.25 in every channel, and 1.25 is the padding: 0.5 before the norm."""
    scale = np.array([1, -2, 0.5, 4])
    p = [b.tensor(v) for v in (scale, 1.25 - scale * 0.5, np.zeros(4), np.ones(4))]
    y = b.norm(relu_input(b, [2, 4, 6, 6]), 4, p, epsilon=0.0)
    layer(b, pad(b, y, border(), value=1.25), 5, (5, 4, 3, 3))


@path()
def unsqueeze_then_conv(b):
    y = unsqueeze(b, b.norm(relu_input(b, [2, 4, 9]), 4), [2])
    layer(b, y, 5, (5, 4, 1, 3))


@path(folded=None, kept=None)
def split_then_convs(b):
    first, second = split(b, normed(b), 1, [1, 3])
    layer(b, first, 5, (5, 1, 3, 3))
    layer(b, second, 5, (5, 3, 3, 3))


@path(folded=None, kept=None)
def slice_then_conv(b):
    layer(b, cut(b, normed(b), 1, 1, 4), 5, (5, 3, 3, 3))


@path(folded=None, kept=None)
def concat_then_conv(b):
    layer(b, concat(b, normed(b), b.input("z", [2, 3, 6, 6])), 5, (5, 7, 3, 3))


@path(folded=0, kept=PASSIVE + "|multiple-consumers")
def sum_then_conv(b):
    layer(b, b.node("Add", [normed(b), b.input("z", [2, 4, 6, 6])]), 5, (5, 4, 3, 3))


@path(dtypes=("f16",))
def cast_up_then_conv(b):
    """Nothing is lost, and the layer is wider than the norm."""
    y = b.node("Cast", [normed(b)], to=TensorProto.FLOAT)
    w = b.tensor(b.rng.normal(0, 0.2, (5, 4, 3, 3)), dtype=np.float32)
    b.output(b.node("Conv", [y, w]), TensorProto.FLOAT)


@path(folded=0, kept="precision-narrowing|activation-between")
def cast_down_then_conv(b):
    y = b.node("Cast", [normed(b)], to=TensorProto.FLOAT16)
    w = b.tensor(b.rng.normal(0, 0.2, (5, 4, 3, 3)), dtype=np.float16)
    b.output(b.node("Conv", [y, w]), TensorProto.FLOAT16)


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
