"""Norms before matrix products, and what may stand between a norm and the layer behind it."""
import numpy as np
from onnx import TensorProto

from builder import Linear
from paths import (PASSIVE, average_pool, border, concat, cut, flatten, gap, matmul, max_pool, negative, nhwc, no_shift, pad, path,
                   positive, reduce_mean, relu_input, reshape, resize, shuffle, split, squeeze, transpose, unsqueeze)
from paths_forward import GEMM_C, SHIFTED, TYPED, features, gemm, head, layer, normed


# Matrix products.

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


@path()
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


@path(folded=0, kept="axis-mismatch|activation-between|not-constant")
def matmul_from_the_left_of_rank_2(b):
    y = b.norm(b.node("Relu", [b.input("x", [7, 7])]), 7)
    b.output(b.node("MatMul", [b.tensor(b.rng.normal(0, 0.3, (6, 7))), y]))


@path(folded=0, kept="not-constant|multiple-consumers|activation-between")
def matmul_with_itself(b):
    y = b.norm(b.node("Relu", [b.input("x", [6, 6])]), 6)
    b.output(b.node("MatMul", [y, y]))


# From images to features: the factors are repeated.

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


@path()
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


@path()
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


@path()
def split_then_convs(b):
    first, second = split(b, normed(b), 1, [1, 3])
    layer(b, first, 5, (5, 1, 3, 3))
    layer(b, second, 5, (5, 3, 3, 3))


@path()
def slice_then_conv(b):
    layer(b, cut(b, normed(b), 1, 1, 4), 5, (5, 3, 3, 3))


@path()
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
