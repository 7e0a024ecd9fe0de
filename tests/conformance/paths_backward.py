"""What may stand between a layer and its norm: casts, and ops that reorder elements."""
import numpy as np
from onnx import TensorProto

from builder import Linear
from cases import start
from paths import (PASSIVE, conv, factor, finish, flatten, gap, image, ints, matmul, nchw, nhwc, path, repeated, reshape, shuffle,
                   squeeze, transpose, unsqueeze)

OPSETS = dict(opsets=(9, 11, 13, 18, 22))
TYPED = dict(dtypes=("f32", "f16", "f64", "bf16"), opsets=(22,))
LAYERS = dict(layers=("conv", "conv_transpose", "depthwise"))
HALF, SINGLE, DOUBLE = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE


# Casts.

def cast(b, x, to):
    return b.node("Cast", [x], to=to)


@path()
def cast_to_the_same_type(b):
    finish(b, cast(b, image(b), b.onnx))


@path(folded=0, kept="precision-narrowing", dtypes=("f16",))
def cast_up_to_the_norm(b):
    """Nothing is lost, but the scaled weights would be narrower than the norm."""
    p = b.params(5, dtype=np.float32)
    b.output(b.norm(cast(b, image(b), SINGLE), 5, p), SINGLE)


@path(folded=0, kept="precision-narrowing", dtypes=("f16",))
def cast_up_with_a_large_factor(b):
    w = b.tensor(np.full((5, 3, 3, 3), 100.0))
    p = [b.tensor(np.full(5, v), dtype=np.float32) for v in (500.0, 0.0, 0.0, 1.0)]
    b.output(b.norm(cast(b, conv(b, 5, w=w), SINGLE), 5, p), SINGLE)


@path(folded=0, kept="precision-narrowing")
def cast_up_to_double(b):
    p = b.params(5, dtype=np.float64)
    b.output(b.norm(cast(b, image(b), DOUBLE), 5, p), DOUBLE)


@path(folded=0, kept="precision-narrowing")
def cast_down_to_the_norm(b):
    p = b.params(5, dtype=np.float16)
    b.output(b.norm(cast(b, image(b), HALF), 5, p), HALF)


@path(folded=0, kept="precision-narrowing|" + PASSIVE)
def cast_down_and_up(b):
    finish(b, cast(b, cast(b, image(b), HALF), SINGLE))


@path(folded=0, kept="precision-narrowing|" + PASSIVE)
def cast_through_integers(b):
    finish(b, cast(b, cast(b, image(b), TensorProto.INT32), SINGLE))


# Reordering.

@path(**LAYERS)
def reshape_spatial_axes(b):
    finish(b, reshape(b, image(b), [2, 5, 16]))


@path(**OPSETS)
def reshape_with_zero_and_minus_one(b):
    finish(b, reshape(b, image(b), [0, 5, -1]))


@path(**TYPED)
def reshape_back_and_forth(b):
    finish(b, reshape(b, reshape(b, image(b), [2, 5, 2, 8]), [-1, 5, 4, 4]))


@path()
def reshape_of_a_named_batch(b):
    y = b.linear(Linear("Conv", (), (5, 3, 3, 3), 5), b.input("x", ["N", 3, 6, 6]))
    finish(b, reshape(b, y, [-1, 5, 16]))


@path(opsets=(13, 17))
def reshape_by_the_shape_of_the_value(b):
    """y.view(y.shape[0], 5, -1) of an unknown batch."""
    y = b.linear(Linear("Conv", (), (5, 3, 3, 3), 5), b.input("x", ["N", 3, 6, 6]))
    n = unsqueeze(b, b.node("Gather", [b.node("Shape", [y]), b.tensor(np.int64(0), dtype=np.int64)]), [0])
    finish(b, b.node("Reshape", [y, b.node("Concat", [n, ints(b, [5]), ints(b, [-1])], axis=0)]))


@path()
def reshape_splits_the_channels(b):
    """6 channels as 2 × 3; the norm has one factor per three of them."""
    finish(b, reshape(b, conv(b, 6), [2, 2, 3, 4, 4]), 2)


@path()
def reshape_to_one_channel(b):
    """One factor for all."""
    finish(b, reshape(b, image(b), [2, 1, 5, 4, 4]), 1)


@path(folded=0, kept="axis-mismatch")
def reshape_merges_channels_and_rows(b):
    finish(b, reshape(b, image(b), [2, 20, 4]), 20)


@path()
def reshape_merges_channels_and_rows_of_one_factor(b):
    finish(b, reshape(b, image(b), [2, 20, 4]), 20, repeated(b, 5, 4))


@path(folded=0, kept="axis-mismatch")
def reshape_merges_batch_and_channels(b):
    finish(b, reshape(b, image(b), [1, 10, 4, 4]), 10)


@path(folded=0, kept="axis-mismatch")
def reshape_misread_as_transpose(b):
    """[2, 5, 4, 4] as [2, 4, 5, 4]: no axis keeps its meaning."""
    finish(b, reshape(b, image(b), [2, 4, 5, 4]), 4)


@path(folded=0, kept="axis-mismatch")
def reshape_that_shifts_by_one(b):
    """Five factors over 4 channels of 5 columns: the same numbers, another meaning."""
    y = conv(b, 4, shape=(4, 3, 3, 2))  # [2, 4, 4, 5]
    finish(b, reshape(b, y, [2, 5, 4, 4]), 5)


@path(folded=0, kept="axis-mismatch|unknown-rank|not-constant|no-linear-producer")
def reshape_to_a_given_shape(b):
    y = b.node("Reshape", [image(b), b.input("shape", [3], TensorProto.INT64, feed=[2, 5, 16])])
    y = b.norm(y, 5)
    b.output(b.node("Reshape", [y, ints(b, [-1])]))


@path()
def flatten_of_pooled_features(b):
    finish(b, flatten(b, gap(b, image(b))))


@path(opsets=(9, 13, 17))
def flatten_of_tokens(b):
    """LeViT: a rank-3 product, its rows put into the batch."""
    finish(b, flatten(b, matmul(b, b.input("x", [2, 3, 7]), 7, 6), 2), 6)


@path()
def flatten_of_tokens_from_the_end(b):
    finish(b, flatten(b, matmul(b, b.input("x", [2, 3, 7]), 7, 6), -1), 6)


@path(opsets=(9, 17))
def tokens_flattened_normalised_and_shaped_back(b):
    y = b.norm(flatten(b, matmul(b, b.input("x", [2, 3, 7]), 7, 6), 2), 6)
    b.output(reshape(b, y, [2, 3, 6]))


@path(folded=0, kept="axis-mismatch")
def flatten_of_images(b):
    finish(b, flatten(b, image(b)), 80)


@path(folded=0, kept="axis-mismatch")
def flatten_of_everything(b):
    finish(b, flatten(b, gap(b, image(b)), 0), 10)


@path(**OPSETS)
def squeeze_columns(b):
    finish(b, squeeze(b, conv(b, 5, shape=(5, 3, 3, 6)), [3]))


@path()
def squeeze_without_axes(b):
    finish(b, squeeze(b, conv(b, 5, shape=(5, 3, 3, 6))))


@path(**OPSETS)
def unsqueeze_behind_a_1d_layer(b):
    y = b.linear(Linear("Conv", (), (5, 3, 3), 5), b.input("x", [2, 3, 8]))
    finish(b, unsqueeze(b, y, [2]))


@path(folded=0, kept="axis-mismatch")
def unsqueeze_before_the_channels(b):
    """The batch becomes axis 1."""
    finish(b, unsqueeze(b, image(b), [0]), 2)


@path()
def one_dimension_as_two_and_back(b):
    """Keras: Conv1D as a two-dimensional convolution between Unsqueeze and Squeeze."""
    x = unsqueeze(b, b.input("x", [2, 3, 8]), [2])
    y = b.linear(Linear("Conv", (), (5, 3, 1, 3), 5), x)
    finish(b, squeeze(b, y, [2]))


@path(**TYPED)
def nhwc_and_back(b):
    finish(b, nchw(b, nhwc(b, image(b))))


@path(**LAYERS)
def rows_and_columns_swapped(b):
    finish(b, transpose(b, image(b), 0, 1, 3, 2))


@path()
def nhwc_reshaped_and_back(b):
    y = reshape(b, nhwc(b, image(b)), [2, 16, 5])
    finish(b, transpose(b, y, 0, 2, 1))


@path(folded=0, kept="axis-mismatch")
def norm_over_rows(b):
    finish(b, nhwc(b, conv(b, 4)), 4)


@path(folded=0, kept="axis-mismatch")
def norm_over_images(b):
    finish(b, transpose(b, image(b), 1, 0, 2, 3), 2)


@path(folded=0, kept="axis-mismatch")
def norm_over_columns(b):
    finish(b, transpose(b, conv(b, 4), 0, 3, 2, 1), 4)


@path(opsets=(11, 17))
def tokens_to_channels(b):
    """x·W + b, then channels first."""
    y = b.node("Add", [matmul(b, b.input("x", [2, 3, 7]), 7, 6), b.tensor(b.rng.normal(0, 1, 6))])
    finish(b, transpose(b, y, 0, 2, 1), 6)


@path()
def tokens_to_channels_without_bias(b):
    finish(b, transpose(b, matmul(b, b.input("x", [2, 6, 7]), 7, 6), 0, 2, 1), 6)


@path(folded=0, kept="axis-mismatch")
def gemm_transposed(b):
    finish(b, transpose(b, start(b, Linear("Gemm", (6, 7), (7, 6), 6)), 1, 0), 6)


@path()
def gemm_transposed_twice(b):
    finish(b, transpose(b, transpose(b, start(b, Linear("Gemm", (6, 7), (7, 6), 6)), 1, 0), 1, 0), 6)


@path()
def patches_of_an_image(b):
    """ViT: a strided convolution, its positions flattened, channels last, and back."""
    y = transpose(b, reshape(b, conv(b, 5, k=2, strides=[2, 2]), [2, 5, 9]), 0, 2, 1)
    finish(b, transpose(b, y, 0, 2, 1))


@path(opsets=(9, 13, 17))
def expand_pooled_features(b):
    finish(b, b.node("Expand", [gap(b, image(b)), ints(b, [2, 5, 3, 3])]))


@path(folded=0, kept="axis-mismatch")
def expand_one_channel(b):
    finish(b, b.node("Expand", [conv(b, 1), ints(b, [2, 5, 4, 4])]))


@path(folded=0, kept="axis-mismatch")
def expand_raises_the_rank(b):
    finish(b, b.node("Expand", [gap(b, image(b)), ints(b, [3, 2, 5, 2, 2])]), 2)


@path(opsets=(9, 13, 17))
def channel_shuffle(b):
    finish(b, shuffle(b, conv(b, 6), 6, 2), 6)


@path()
def channel_shuffle_of_three_groups(b):
    finish(b, shuffle(b, conv(b, 6, group=3), 6, 3), 6)


@path(folded=2)
def shuffle_between_norms(b):
    finish(b, shuffle(b, b.norm(conv(b, 6), 6), 6, 3), 6)


for mode in ("DCR", "CRD"):
    @path(name=f"depth_to_space_{mode.lower()}", opsets=(11, 13, 22))
    def depth_to_space(b, mode=mode):
        finish(b, b.node("DepthToSpace", [conv(b, 12)], blocksize=2, mode=mode), 3)

    @path(name=f"depth_to_space_{mode.lower()}_typed", **TYPED)
    def depth_to_space_typed(b, mode=mode):
        finish(b, b.node("DepthToSpace", [conv(b, 12)], blocksize=2, mode=mode), 3)


@path(folded=0, kept="axis-mismatch")
def space_to_depth(b):
    """Each channel becomes four, and each has a factor of its own."""
    finish(b, b.node("SpaceToDepth", [conv(b, 2)], blocksize=2), 8)


@path()
def space_to_depth_of_one_factor(b):
    finish(b, b.node("SpaceToDepth", [conv(b, 2)], blocksize=2), 8, repeated(b, 2, 4, inner=False))
