"""What may stand between a layer and its norm: resampling, pooling, padding; and what may not."""
import numpy as np
from onnx import TensorProto

from paths import (PASSIVE, average_pool, border, conv, factor, finish, flatten, floats, gap, image, ints, max_pool, nchw, negative, nhwc,
                   no_shift, pad, path, positive, reduce_max, reduce_mean, reduce_sum, reshape, resize, shared_input, transpose)

OPSETS = dict(opsets=(9, 11, 13, 18, 22))
LATE = dict(opsets=(11, 13, 18, 22))
TYPED = dict(dtypes=("f32", "f16", "f64", "bf16"), opsets=(22,))
LAYERS = dict(layers=("conv", "conv_transpose", "depthwise"))


# Resampling.

for mode, attrs in (("nearest", {}), ("nearest", dict(coordinate_transformation_mode="asymmetric", nearest_mode="floor")), ("linear", {}),
                    ("linear", dict(coordinate_transformation_mode="align_corners")), ("cubic", {}), ("cubic", dict(exclude_outside=1)),
                    ("cubic", dict(cubic_coeff_a=-0.5, coordinate_transformation_mode="pytorch_half_pixel"))):
    @path(name="resize_" + "_".join([mode, *map(str, attrs.values())]).replace(".", ""), **LATE)
    def resized(b, mode=mode, attrs=attrs):
        finish(b, resize(b, image(b), [1, 1, 2, 1.5], mode, **attrs))


@path(folded=0, kept="uncertified", opsets=(18, 22))
def resize_antialias(b):
    """Its weights sum to 1, but the compiler's evaluator does not know them: nothing would prove the fold."""
    finish(b, resize(b, image(b), [1, 1, 0.5, 0.5], "linear", antialias=1))


@path(opsets=(13, 22))
def resize_to_sizes(b):
    finish(b, b.node("Resize", [image(b), "", "", ints(b, [2, 5, 7, 3])], mode="linear"))


@path(opsets=(18,))
def resize_by_axes(b):
    finish(b, b.node("Resize", [image(b), "", floats(b, [2, 2])], mode="nearest", axes=[2, 3]))


@path(folded=0, kept="axis-mismatch|no-linear-producer")
def resize_the_channels(b):
    finish(b, resize(b, image(b), [1, 2, 1, 1], coordinate_transformation_mode="asymmetric", nearest_mode="floor"), 10)


@path(folded=0, kept="extrapolation", opsets=(11, 17))
def resize_extrapolates(b):
    y = resize(b, image(b), [1, 1, 2, 2], "linear", roi=[0, 0, -0.5, -0.5, 1, 1, 1.5, 1.5],
               coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=3.0)
    finish(b, y)


@path(folded=0, kept="extrapolation")
def resize_crops_without_extrapolation(b):
    y = resize(b, image(b), [1, 1, 2, 2], "linear", roi=[0, 0, 0.25, 0.25, 1, 1, 0.75, 0.75],
               coordinate_transformation_mode="tf_crop_and_resize")
    finish(b, y)


@path(opsets=(7,))
def upsample_by_attribute(b):
    finish(b, b.node("Upsample", [image(b)], scales=[1.0, 1.0, 2.0, 2.0]))


@path(folded=0, kept="no-linear-producer", opsets=(9,))
def upsample_by_operand(b):
    finish(b, b.node("Upsample", [image(b), floats(b, [1, 1, 2, 2])]))


# Pooling.

@path(opsets=(7, 9, 11, 17, 19, 22))
def average_pool_unpadded(b):
    finish(b, average_pool(b, image(b)))


@path(**TYPED)
def average_pool_strided(b):
    finish(b, average_pool(b, image(b), strides=[2, 2]))


@path(opsets=(9, 11, 19, 22))
def average_pool_padded(b):
    finish(b, average_pool(b, image(b), 3, pads=[1, 1, 1, 1]))


@path(folded=0, kept="padding-between", opsets=(9, 11, 19, 22))
def average_pool_counts_padding(b):
    finish(b, average_pool(b, image(b), 3, pads=[1, 1, 1, 1], count_include_pad=1))


@path()
def average_pool_counts_padding_without_shift(b):
    finish(b, average_pool(b, image(b), 3, pads=[1, 1, 1, 1], count_include_pad=1), params=no_shift(b))


@path(opsets=(11, 19, 22))
def average_pool_has_no_padding_to_count(b):
    finish(b, average_pool(b, image(b), 2, count_include_pad=1))


@path()
def average_pool_same(b):
    finish(b, average_pool(b, image(b), 3, auto_pad="SAME_UPPER"))


@path(folded=0, kept="padding-between")
def average_pool_same_counts_padding(b):
    finish(b, average_pool(b, image(b), 3, auto_pad="SAME_UPPER", count_include_pad=1))


@path(opsets=(11, 17, 19, 22))
def average_pool_ceil(b):
    finish(b, average_pool(b, image(b), 3, strides=[2, 2], ceil_mode=1))


@path(folded=0, kept="padding-between", opsets=(17, 22))
def average_pool_ceil_counts_padding(b):
    finish(b, average_pool(b, image(b), 3, strides=[2, 2], ceil_mode=1, count_include_pad=1))


@path(opsets=(19, 22))
def average_pool_dilated(b):
    finish(b, average_pool(b, image(b), 2, dilations=[2, 2]))


@path(opsets=(9, 17, 22), **LAYERS)
def global_average_pool(b):
    finish(b, gap(b, image(b)))


for keep in (0, 1):
    @path(name=f"reduce_mean_keepdims_{keep}", **OPSETS)
    def mean_of_images(b, keep=keep):
        finish(b, reduce_mean(b, image(b), [2, 3], keepdims=keep))


@path()
def reduce_mean_of_rows(b):
    finish(b, reduce_mean(b, image(b), [-1], keepdims=0))


@path()
def reduce_mean_of_images_and_batch(b):
    finish(b, reduce_mean(b, image(b), [0, 2, 3], keepdims=1))


@path()
def reduce_mean_of_channels(b):
    finish(b, reduce_mean(b, image(b), [1], keepdims=1), 1)


@path(folded=0, kept="axis-mismatch|no-linear-producer")
def reduce_mean_moves_rows_to_axis_1(b):
    finish(b, reduce_mean(b, conv(b, 4), [1], keepdims=0), 4)


@path(folded=0, kept="no-linear-producer|padding-between")
def reduce_sum_multiplies_the_shift(b):
    finish(b, reduce_sum(b, image(b), [2, 3], keepdims=1))


@path(folded=0, kept="no-linear-producer|sign|activation-between")
def reduce_max_of_images(b):
    finish(b, reduce_max(b, image(b), [2, 3], keepdims=1))


@path(folded=0, kept="no-linear-producer|activation-between")
def lp_pool(b):
    finish(b, b.node("LpPool", [image(b)], kernel_shape=[2, 2]))


@path(opsets=(9, 11, 17, 22), layers=("conv", "conv_transpose"))
def max_pool_of_positive_factors(b):
    finish(b, max_pool(b, image(b)), params=positive(b))


@path(dtypes=("f16", "f64", "bf16"), opsets=(22,))
def max_pool_typed(b):
    finish(b, max_pool(b, image(b)), params=positive(b))


@path()
def max_pool_padded(b):
    finish(b, max_pool(b, image(b), 3, pads=[1, 1, 1, 1], strides=[2, 2]), params=positive(b))


@path()
def max_pool_same_and_ceil(b):
    y = max_pool(b, max_pool(b, image(b), 3, auto_pad="SAME_LOWER"), 3, strides=[2, 2], ceil_mode=1)
    finish(b, y, params=positive(b))


@path(folded=0, kept="sign", opsets=(9, 17))
def max_pool_of_negative_factors(b):
    finish(b, max_pool(b, image(b)), params=negative(b))


@path(folded=0, kept="sign")
def max_pool_of_one_negative_factor(b):
    finish(b, max_pool(b, image(b)))


@path(folded=0, kept="sign")
def max_pool_of_one_factor_of_zero(b):
    finish(b, max_pool(b, image(b)), params=b.params(5, scale=np.array([1, 2, 0, 1, 0.5])))


@path()
def max_pool_of_two_negations(b):
    """The factors that meet behind the pooling are positive together."""
    finish(b, b.node("Neg", [max_pool(b, image(b))]), params=negative(b))


@path(folded=0, kept="sign")
def max_pool_of_one_negation(b):
    finish(b, b.node("Neg", [max_pool(b, image(b))]), params=positive(b))


@path()
def max_pool_of_a_negation_before(b):
    finish(b, max_pool(b, b.node("Neg", [image(b)])), params=positive(b))


@path(chains=1)
def max_pool_of_negative_chain_and_norm(b):
    """The chain turns the signs of the norm's negative channel, and no others."""
    k = b.tensor(np.array([1, 1.5, 0.5, -1, 2]).reshape(5, 1, 1))
    finish(b, b.node("Mul", [max_pool(b, image(b)), k]))


@path(folded=0, kept="sign|multiple-consumers|no-linear-producer", opsets=(11, 17))
def max_pool_gives_indices(b):
    y, indices = max_pool(b, image(b), outputs=2)
    b.output(indices, TensorProto.INT64)
    finish(b, y, params=positive(b))


@path(folded=0, kept="sign|no-linear-producer")
def global_max_pool_of_negative_factors(b):
    finish(b, b.node("GlobalMaxPool", [image(b)]), params=negative(b))


@path()
def global_max_pool_of_positive_factors(b):
    finish(b, b.node("GlobalMaxPool", [image(b)]), params=positive(b))


# Padding.

for mode, opsets in (("reflect", (9, 11, 17)), ("edge", (9, 11, 17)), ("wrap", (19, 22))):
    @path(name=f"pad_{mode}", opsets=opsets)
    def pad_from_within(b, mode=mode):
        finish(b, pad(b, image(b), border(), mode))


@path(dtypes=("f16", "f64"))
def pad_reflect_typed(b):
    finish(b, pad(b, image(b), border(), "reflect"))


@path(folded=0, kept="padding-between", opsets=(9, 11, 13, 18, 22))
def pad_with_zeros(b):
    finish(b, pad(b, image(b), border()))


@path(folded=0, kept="padding-between")
def pad_with_a_value(b):
    finish(b, pad(b, image(b), border(), value=0.75))


def level(b, at, to, c=5):
    """Parameters whose norm takes `at` to `to` in every channel, exactly."""
    scale = np.array([1, -2, 0.5, 4, -0.25][:c])
    return [b.tensor(v) for v in (scale, to - scale * at, np.zeros(c), np.ones(c))]


@path(opsets=(9, 11, 17))
def pad_with_zeros_of_one_shift(b):
    """All channels shift by 1.5, which becomes the padding."""
    finish(b, pad(b, image(b), border()), params=level(b, 0.0, 1.5), epsilon=0.0)


@path(dtypes=("f16", "f64"), opsets=(17,))
def pad_with_zeros_of_one_shift_typed(b):
    finish(b, pad(b, image(b), border()), params=level(b, 0.0, 1.5), epsilon=0.0)


@path(opsets=(9, 11, 17))
def pad_with_a_value_that_all_channels_agree_on(b):
    finish(b, pad(b, image(b), border(), value=0.75), params=level(b, 0.75, -2.0), epsilon=0.0)


@path(opsets=(9, 17))
def pad_with_zeros_without_shift(b):
    finish(b, pad(b, image(b), border()), params=no_shift(b))


@path()
def pad_value_read_by_another_pad(b):
    value = b.tensor(0.75)
    b.output(pad(b, conv(b, 5), border(), value=value))
    finish(b, pad(b, image(b), border(), value=value), params=level(b, 0.75, -2.0), epsilon=0.0)


@path(folded=0, kept="padding-between|not-constant")
def pad_value_is_an_input(b):
    finish(b, pad(b, image(b), border(), value=b.input("v", [])))


@path(folded=0, kept="padding-between|not-constant")
def pad_amounts_are_an_input(b):
    amounts = b.input("amounts", [8], TensorProto.INT64, feed=border())
    finish(b, b.node("Pad", [image(b), amounts]))


@path(opsets=(9, 17))
def pad_of_nothing(b):
    finish(b, pad(b, image(b), border(0)))


@path(opsets=(11, 17))
def pad_that_crops(b):
    finish(b, pad(b, image(b), border(-1)))


@path(folded=0, kept="padding-between|axis-mismatch|channel-mismatch|no-linear-producer")
def pad_adds_channels(b):
    finish(b, pad(b, image(b), [0, 1, 0, 0, 0, 1, 0, 0]), 7)


@path(folded=0, kept="padding-between|axis-mismatch|channel-mismatch|no-linear-producer")
def pad_mirrors_channels(b):
    finish(b, pad(b, image(b), [0, 1, 0, 0, 0, 1, 0, 0], "reflect"), 7)


@path(opsets=(18, 22))
def pad_by_axes(b):
    y = b.node("Pad", [image(b), ints(b, [1, 1, 1, 1]), "", ints(b, [2, 3])], mode="edge")
    finish(b, y)


# Nonlinear ops.

for op, attrs, since in (("LeakyRelu", {}, 17), ("Elu", {}, 17), ("Selu", {}, 17), ("HardSigmoid", {}, 17), ("HardSwish", {}, 17),
                         ("Softplus", {}, 17), ("Gelu", {}, 20), ("Mish", {}, 18), ("Softmax", dict(axis=1), 17)):
    @path(folded=0, kept="activation-between", opsets=(since,), name=f"{op.lower()}_between")
    def activation(b, op=op, attrs=attrs):
        finish(b, b.node(op, [image(b)], **attrs))

for op in ("Abs", "Exp", "Erf", "Sign", "Floor", "Sin"):
    @path(folded=0, kept=PASSIVE, name=f"{op.lower()}_between")
    def nonlinear(b, op=op):
        finish(b, b.node(op, [image(b)]))


@path(folded=0, kept="activation-between|no-linear-producer", opsets=(9, 11, 17))
def clip_between(b):
    if b.opset < 11:
        finish(b, b.node("Clip", [image(b)], min=-1.0, max=1.0))
    else:
        finish(b, b.node("Clip", [image(b), b.tensor(-1.0), b.tensor(1.0)]))


@path(folded=0, kept="activation-between|no-linear-producer")
def prelu_between(b):
    finish(b, b.node("PRelu", [image(b), factor(b)]))


@path(folded=0, kept=PASSIVE)
def maximum_between(b):
    finish(b, b.node("Max", [image(b), factor(b)]))


@path(folded=0, kept=PASSIVE)
def power_between(b):
    finish(b, b.node("Pow", [image(b), b.tensor(np.array(2.0))]))


# Several in a row.

@path(layers=("conv", "conv_transpose"), opsets=(11, 17, 22))
def the_whole_way(b):
    y = nchw(b, b.node("Add", [nhwc(b, image(b)), b.tensor(b.rng.normal(0, 1, 5))]))
    y = max_pool(b, pad(b, y, border(), "edge"))
    finish(b, reshape(b, average_pool(b, y), [2, 5, -1]), params=positive(b))


@path(folded=3)
def norms_all_along(b):
    y = b.norm(image(b), 5)
    y = b.norm(transpose(b, average_pool(b, y), 0, 1, 3, 2), 5)
    finish(b, flatten(b, gap(b, y)))


@path(chains=1)
def chain_pool_norm(b):
    y = b.node("Mul", [image(b), factor(b)])
    finish(b, average_pool(b, b.node("Add", [y, factor(b)])))


@path(folded=1, kept="activation-between")
def relu_in_the_middle(b):
    y = b.node("Relu", [average_pool(b, b.norm(average_pool(b, image(b)), 5))])
    finish(b, y)


@path(folded=0, kept="multiple-consumers")
def pooled_value_read_twice(b):
    y = average_pool(b, image(b))
    b.output(y)
    finish(b, y)


@path(folded=0, kept="multiple-consumers")
def value_before_the_pool_read_twice(b):
    y = image(b)
    b.output(y)
    finish(b, average_pool(b, y))


@path(folded=0, kept="graph-input")
def pooled_input(b):
    finish(b, average_pool(b, shared_input(b, [2, 5, 6, 6])))
