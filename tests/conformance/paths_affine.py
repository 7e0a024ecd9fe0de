"""Chains of Mul, Add, Sub, Div, Neg by constants: as roots of their own, and between a layer and a norm."""
import numpy as np

from cases import end, start
from builder import Linear
from paths import (PASSIVE, conv, factor, finish, flatten, gap, image, matmul, nchw, nhwc, path, relu_input, reshape, shared_input,
                   transpose)

GEMM = Linear("Gemm", (5, 7), (7, 6), 6)
SQUARE = Linear("Gemm", (6, 7), (7, 6), 6)
WIDE = dict(opsets=(9, 13, 17, 22))
TYPED = dict(dtypes=("f32", "f16", "f64", "bf16"), opsets=(22,))


def shift(b, c=5, shape=None):
    return b.tensor(b.rng.normal(0, 0.5, c).reshape(shape or (c, 1, 1)))


def apply(b, op, x, k, left):
    return b.node(op, [k, x] if left else [x, k])


# Between a layer and a norm: they compose.

for op, left in (("Mul", 0), ("Mul", 1), ("Add", 0), ("Add", 1), ("Sub", 0), ("Sub", 1), ("Div", 0)):
    side = "left" if left else "right"

    @path(chains=int(op in ("Mul", "Div")), name=f"{op.lower()}_{side}_between", layers=("conv", "conv_transpose", "depthwise"))
    def between(b, op=op, left=left):
        finish(b, apply(b, op, image(b), factor(b), left))

    for label, shape in (("scalar", ()), ("one", (1,)), ("ones", (1, 1, 1, 1))):
        @path(name=f"{op.lower()}_{side}_{label}_between")
        def scalar_between(b, op=op, left=left, shape=shape):
            finish(b, apply(b, op, image(b), b.tensor(np.full(shape, 0.75)), left))

    @path(chains=int(op in ("Mul", "Div")), name=f"{op.lower()}_{side}_after_gemm")
    def after_gemm(b, op=op, left=left):
        y = apply(b, op, start(b, GEMM), factor(b, 6, (6,)), left)
        end(b, GEMM, y)

    @path(folded=0, chains=int(op in ("Mul", "Div")), name=f"{op.lower()}_{side}_alone")
    def alone(b, op=op, left=left):
        b.output(apply(b, op, image(b), factor(b), left))


@path(**WIDE)
def neg_between(b):
    finish(b, b.node("Neg", [image(b)]))


@path(chains=1, **TYPED)
def mul_add_between(b):
    finish(b, b.node("Add", [b.node("Mul", [image(b), factor(b)]), shift(b)]))


@path(folded=2, chains=1)
def norm_mul_add_norm(b):
    y = b.norm(image(b), 5)
    finish(b, b.node("Add", [b.node("Mul", [y, factor(b)]), shift(b)]))


@path(folded=0, kept=PASSIVE)
def div_of_a_constant_between(b):
    """c / y is no affine function of y."""
    y = b.node("Add", [b.node("Abs", [image(b)]), b.tensor(np.array(1.0))])
    finish(b, b.node("Div", [factor(b), y]))


@path(folded=0, kept=PASSIVE + "|multiple-consumers")
def square_between(b):
    y = image(b)
    finish(b, b.node("Mul", [y, y]))


@path(folded=0, kept=PASSIVE + "|not-constant|graph-input|multiple-consumers")
def mul_by_an_input_between(b):
    finish(b, b.node("Mul", [image(b), b.input("k", [5, 1, 1])]))


@path(folded=0, kept=PASSIVE + "|not-constant|graph-input|multiple-consumers")
def gate_between(b):
    """Squeeze and excitation: a factor per channel that no constant holds."""
    y = image(b)
    finish(b, b.node("Mul", [y, b.node("Sigmoid", [gap(b, y)])]))


@path(folded=0, kept="axis-mismatch|no-linear-producer")
def factor_of_two_axes_between(b):
    finish(b, b.node("Mul", [image(b), b.tensor(b.rng.uniform(0.5, 1.5, (5, 1, 4)))]))


@path(folded=0, kept="axis-mismatch|no-linear-producer", kept_chains="axis-mismatch")
def factor_per_column_between(b):
    """[4] beside a width of 4, with 4 channels: the constant is not per channel."""
    finish(b, b.node("Mul", [conv(b, 4), factor(b, 4, (4,))]), 4)


@path(folded=0, kept="axis-mismatch|no-linear-producer", kept_chains="axis-mismatch")
def factor_per_row_between(b):
    finish(b, b.node("Mul", [conv(b, 4), factor(b, 4, (4, 1))]), 4)


@path(folded=0, kept="axis-mismatch|no-linear-producer", kept_chains="axis-mismatch")
def factor_per_image_between(b):
    finish(b, b.node("Mul", [image(b), factor(b, 2, (2, 1, 1, 1))]))


@path(folded=0, kept=None, kept_chains=None, chains=None)
def factor_that_raises_the_rank(b):
    """The channels are axis 2 of the product; axis 1, the norm's, is the batch."""
    finish(b, b.node("Mul", [image(b), factor(b, 5, (1, 1, 5, 1, 1))]), 2)


@path(folded=0, kept="axis-mismatch")
def shift_per_column_between(b):
    finish(b, b.node("Add", [conv(b, 4), shift(b, 4, (4,))]), 4)


@path()
def shift_per_element_between(b):
    """A constant of all channels is a branch of the sum: the scale goes onto it as well."""
    finish(b, b.node("Add", [image(b), b.tensor(b.rng.normal(0, 1, (1, 5, 4, 4)))]))


@path()
def factor_per_channel_spelled_out(b):
    """Every element is there, and those of a channel are the same: by value per channel, not by shape."""
    k = np.broadcast_to(b.rng.uniform(0.5, 1.5, (1, 5, 1, 1)), (1, 5, 4, 4))
    finish(b, b.node("Mul", [image(b), b.tensor(k)]))


# Chains as roots.

@path(folded=0, chains=1, layers=("conv", "conv_transpose", "depthwise"))
def mul_add(b):
    b.output(b.node("Add", [b.node("Mul", [image(b), factor(b)]), shift(b)]))


@path(folded=0, chains=1, **TYPED)
def mul_add_typed(b):
    b.output(b.node("Add", [b.node("Mul", [image(b), factor(b)]), shift(b)]))


@path(folded=0, chains=1, opsets=(7, 9, 13, 17, 22))
def sub_mul(b):
    b.output(b.node("Mul", [b.node("Sub", [image(b), shift(b)]), factor(b)]))


@path(folded=0, chains=1)
def sub_div_from_the_left(b):
    b.output(b.node("Div", [b.node("Sub", [shift(b), image(b)]), factor(b)]))


@path(folded=0, chains=1)
def neg_mul_neg_add(b):
    y = b.node("Neg", [b.node("Mul", [b.node("Neg", [image(b)]), factor(b)])])
    b.output(b.node("Add", [y, shift(b)]))


@path(folded=0, chains=1)
def six_ops(b):
    y = image(b)
    for op in ("Add", "Mul", "Sub", "Div", "Add", "Mul"):
        y = b.node(op, [y, factor(b)])
    b.output(y)


@path(folded=0, chains=1, opsets=(9, 13, 17))
def spelled_out(b):
    """(x − μ) / √(σ² + ε) · γ + β with every constant computed in the model."""
    gamma, beta, mean = factor(b), shift(b), shift(b)
    var = b.tensor(b.rng.uniform(0.3, 2, (5, 1, 1)))
    deviation = b.node("Sqrt", [b.node("Add", [var, b.tensor(np.array(1e-3))])])
    y = b.node("Div", [b.node("Sub", [image(b), mean]), deviation])
    b.output(b.node("Add", [b.node("Mul", [y, gamma]), beta]))


@path(folded=0, chains=1)
def spelled_out_as_keras_does(b):
    """y = x·(rsqrt(σ² + ε)·γ) + (β − μ·rsqrt(σ² + ε)·γ)."""
    gamma, beta, mean = factor(b), shift(b), shift(b)
    var = b.tensor(b.rng.uniform(0.3, 2, (5, 1, 1)))
    r = b.node("Reciprocal", [b.node("Sqrt", [b.node("Add", [var, b.tensor(np.array(1e-3))])])])
    s = b.node("Mul", [r, gamma])
    y = b.node("Mul", [image(b), s])
    b.output(b.node("Add", [y, b.node("Sub", [beta, b.node("Mul", [mean, s])])]))


@path(folded=0, chains=1)
def nhwc_chain(b):
    """tf2onnx: the chain stands behind the transpose, its channels are the last axis."""
    y = nhwc(b, image(b))
    b.output(b.node("Add", [b.node("Mul", [y, factor(b, 5, (5,))]), shift(b, 5, (5,))]))


@path(folded=0, chains=1)
def nhwc_sandwich_chain(b):
    y = b.node("Mul", [nhwc(b, image(b)), factor(b, 5, (1, 1, 1, 5))])
    b.output(nchw(b, b.node("Add", [y, shift(b, 5, (5,))])))


@path(folded=0, kept_chains="axis-mismatch")
def nhwc_chain_of_channels_first(b):
    """Behind the transpose [4, 1] is the columns' axis, though the layer has 4 channels."""
    b.output(b.node("Mul", [nhwc(b, conv(b, 4)), factor(b, 4, (4, 1))]))


@path(folded=0, chains=1)
def two_chains_in_a_row_are_one(b):
    y = b.node("Mul", [b.node("Mul", [image(b), factor(b)]), factor(b)])
    b.output(b.node("Add", [y, shift(b)]))


@path(folded=0, chains=1, kept_chains="activation-between")
def chain_relu_chain(b):
    y = b.node("Relu", [b.node("Mul", [image(b), factor(b)])])
    b.output(b.node("Mul", [y, factor(b)]))


@path(folded=0, chains=1)
def chain_read_halfway(b):
    """The Mul is read twice, so the chain ends there; the Add behind it is no root."""
    y = b.node("Mul", [image(b), factor(b)])
    b.output(y)
    b.output(b.node("Add", [y, shift(b)]))


@path(folded=0, kept_chains="multiple-consumers")
def chain_of_a_value_read_twice(b):
    y = image(b)
    b.output(y)
    b.output(b.node("Mul", [y, factor(b)]))


@path(folded=0)
def lone_adds_are_no_roots(b):
    b.output(b.node("Sub", [b.node("Add", [image(b), shift(b)]), shift(b)]))


@path(folded=0)
def scalar_mul_is_no_root(b):
    b.output(b.node("Mul", [image(b), b.tensor(np.array([0.5]))]))


@path(folded=0)
def hard_swish_by_hand_is_no_root(b):
    y = image(b)
    gate = b.node("Clip", [b.node("Add", [y, b.tensor(np.array(3.0))]), b.tensor(np.array(0.0)), b.tensor(np.array(6.0))])
    b.output(b.node("Div", [b.node("Mul", [y, gate]), b.tensor(np.array(6.0))]))


@path(folded=0, kept_chains="graph-input")
def chain_of_an_input(b):
    b.output(b.node("Mul", [shared_input(b, [2, 5, 4, 4]), factor(b)]))


@path(folded=0, kept_chains="activation-between")
def chain_of_a_relu(b):
    b.output(b.node("Add", [b.node("Mul", [relu_input(b, [2, 5, 4, 4]), factor(b)]), shift(b)]))


@path(folded=0, kept_chains="axis-mismatch")
def rows_of_a_gemm(b):
    """[6, 1] beside a square [6, 6]: one factor per row."""
    b.output(b.node("Mul", [start(b, SQUARE), factor(b, 6, (6, 1))]))


@path(folded=0, chains=1)
def columns_of_a_square_gemm(b):
    b.output(b.node("Mul", [start(b, SQUARE), factor(b, 6, (1, 6))]))


@path(folded=0, chains=1, dtypes=("f32", "f16", "f64"))
def matmul_bias_mul_add(b):
    y = b.node("Add", [matmul(b, b.input("x", [5, 7]), 7, 6), shift(b, 6, (6,))])
    b.output(b.node("Add", [b.node("Mul", [y, factor(b, 6, (6,))]), shift(b, 6, (6,))]))


@path(folded=0, chains=1)
def matmul_rank3_mul(b):
    b.output(b.node("Mul", [matmul(b, b.input("x", [2, 6, 7]), 7, 6), factor(b, 6, (6,))]))


@path(folded=0, chains=1, opsets=(11, 17))
def matmul_rank3_mul_add(b):
    """The product has no bias: what is left is an Add, which is no root."""
    y = b.node("Mul", [matmul(b, b.input("x", [2, 6, 7]), 7, 6), factor(b, 6, (6,))])
    b.output(b.node("Add", [y, shift(b, 6, (6,))]))


@path(folded=0, chains=1)
def matmul_rank3_bias_mul_add(b):
    y = b.node("Add", [matmul(b, b.input("x", [2, 6, 7]), 7, 6), shift(b, 6, (6,))])
    b.output(b.node("Add", [b.node("Mul", [y, factor(b, 6, (6,))]), shift(b, 6, (6,))]))


@path(folded=0, kept_chains="axis-mismatch")
def matmul_rank3_rows(b):
    b.output(b.node("Mul", [matmul(b, b.input("x", [2, 6, 7]), 7, 6), factor(b, 6, (6, 1))]))


@path()
def matmul_with_bias_and_norm(b):
    y = b.node("Add", [b.tensor(b.rng.normal(0, 1, 6)), matmul(b, b.input("x", [5, 7]), 7, 6)])
    end(b, GEMM, y)


@path(folded=0, chains=1)
def chain_of_pooled_features(b):
    y = flatten(b, gap(b, image(b)))
    b.output(b.node("Mul", [y, factor(b, 5, (5,))]))


@path(folded=0, chains=1)
def chain_with_a_dead_channel(b):
    k = b.tensor(np.array([1.5, 0.0, -1.0, 2.0, 0.5]).reshape(5, 1, 1))
    b.output(b.node("Add", [b.node("Mul", [image(b), k]), shift(b)]))


@path(folded=0, kept_chains=None, judged=False)
def chain_divides_by_zero(b):
    k = b.tensor(np.array([1.5, 0.0, -1.0, 2.0, 0.5]).reshape(5, 1, 1))
    b.output(b.node("Div", [image(b), k]))


@path(folded=0, kept_chains=None)
def chain_with_nan(b):
    k = b.tensor(np.array([1.5, np.nan, -1.0, 2.0, 0.5]).reshape(5, 1, 1))
    b.output(b.node("Mul", [image(b), k]))


@path(folded=0, kept_chains="overflow", dtypes=("f16",))
def chain_overflows(b):
    w = b.tensor(b.rng.normal(0, 1, (5, 3, 3, 3)) * 300)
    b.output(b.node("Mul", [conv(b, 5, w=w), factor(b, scale=900.0)]))


@path(folded=0, chains=None, kept_chains=None)
def integers_are_left_alone(b):
    x = b.input("n", [2, 5], 7)
    k = b.tensor(np.arange(1, 6), dtype=np.int64)
    b.output(b.node("Mul", [x, k]), 7)


@path(folded=0)
def chain_by_an_overridable_constant(b):
    from builder import overridable
    k = factor(b)
    b.output(b.node("Mul", [image(b), k]))
    overridable(b, k)


# Norms and chains.

@path(folded=1, chains=1)
def norm_then_chain(b):
    b.output(b.node("Add", [b.node("Mul", [b.norm(image(b), 5), factor(b)]), shift(b)]))


@path(folded=0, kept="activation-between", chains=1)
def kept_norm_takes_the_chain_behind_it(b):
    y = b.norm(relu_input(b, [2, 5, 4, 4]), 5)
    b.output(b.node("Add", [b.node("Mul", [y, factor(b)]), shift(b)]))


@path(folded=1, kept="graph-input")
def kept_norm_takes_the_norm_behind_it(b):
    finish(b, b.norm(shared_input(b, [2, 5, 4, 4]), 5))


@path(folded=2, kept="activation-between")
def kept_norm_takes_two(b):
    finish(b, b.norm(b.norm(relu_input(b, [2, 5, 4, 4]), 5), 5))


@path(folded=1, kept="graph-input")
def kept_norm_takes_one_behind_a_transpose_pair(b):
    y = nchw(b, nhwc(b, b.norm(shared_input(b, [2, 5, 4, 4]), 5)))
    finish(b, y)


@path(folded=0, kept=("graph-input", "axis-mismatch|no-linear-producer|graph-input"))
def norms_of_other_axes_do_not_merge(b):
    y = b.norm(shared_input(b, [2, 4, 4, 4]), 4)
    finish(b, transpose(b, y, 0, 2, 1, 3), 4)


@path(folded=0, kept="graph-input", kept_chains="graph-input")
def chain_then_norm_of_an_input(b):
    finish(b, b.node("Mul", [shared_input(b, [2, 5, 4, 4]), factor(b)]))


@path(folded=0, kept=("multiple-consumers", "graph-input"))
def norm_read_twice_takes_nothing(b):
    y = b.norm(shared_input(b, [2, 5, 4, 4]), 5)
    b.output(y)
    finish(b, y)


@path(folded=0, chains=1)
def chain_behind_reshape(b):
    y = reshape(b, image(b), [2, 5, 16])
    b.output(b.node("Mul", [y, factor(b, 5, (5, 1))]))


# Constants that broadcast the value.

def of_named_batch(b, c=5):
    """A layer's result of a batch that is not known; the tests run it with one image."""
    x = b.input("x", ["N", 3, 6, 6])
    b.edit.append(lambda model: model.metadata_props.add(key="extent:N", value="1"))
    return b.linear(Linear("Conv", (), (c, 3, 3, 3), c), x)


@path(folded=0, kept="no-linear-producer")
def factor_that_repeats_the_batch(b):
    """[2, 1, 1, 1] of equal numbers makes two images of one."""
    finish(b, b.node("Mul", [of_named_batch(b), factor(b, 2, (2, 1, 1, 1), 0.75)]))


@path(folded=0, kept="axis-mismatch")
def shift_that_repeats_the_batch(b):
    finish(b, b.node("Add", [of_named_batch(b), factor(b, 2, (2, 1, 1, 1), 0.75)]))


@path(folded=0, chains=1)
def chain_that_repeats_the_batch(b):
    y = b.node("Mul", [of_named_batch(b), factor(b)])
    b.output(b.node("Add", [y, b.tensor(np.full((2, 1, 1, 1), 0.5))]))


@path()
def shift_that_spreads_pooled_features(b):
    """[2, 5, 1, 1] + [1, 5, 4, 4]."""
    finish(b, b.node("Add", [gap(b, image(b)), b.tensor(b.rng.normal(0, 1, (1, 5, 4, 4)))]))


@path(folded=0, kept="no-linear-producer")
def factor_that_spreads_pooled_features(b):
    finish(b, b.node("Mul", [gap(b, image(b)), b.tensor(np.full((1, 1, 4, 4), 0.5))]))


@path(folded=0, kept="no-linear-producer")
def factors_for_one_channel(b):
    """One channel times five factors."""
    finish(b, b.node("Mul", [conv(b, 1), factor(b)]))


@path(folded=0)
def chain_of_one_channel(b):
    b.output(b.node("Add", [b.node("Mul", [conv(b, 1), factor(b)]), shift(b)]))


@path(folded=0, kept="no-linear-producer")
def splat_factors_for_one_channel(b):
    finish(b, b.node("Mul", [conv(b, 1), factor(b, 5, scale=0.5)]))


@path(folded=0, kept="no-linear-producer")
def scalar_that_raises_the_rank(b):
    """[1, 1, 1, 1, 1] times [2, 5, 4, 4]: the norm's channels are the batch."""
    finish(b, b.node("Mul", [image(b), b.tensor(np.full((1, 1, 1, 1, 1), 0.5))]), 2)


@path(folded=0, kept="no-linear-producer")
def scalar_that_raises_the_rank_of_features(b):
    y = b.node("Mul", [start(b, SQUARE), b.tensor(np.full((1, 1, 1), 0.5))])
    finish(b, y, 6)


@path(folded=0, chains=1)
def chain_of_a_row(b):
    """A Gemm of one row, times [6, 1] equal numbers: six rows."""
    y = b.linear(Linear("Gemm", (), (7, 6), 6), b.input("x", [1, 7]))
    b.output(b.node("Mul", [b.node("Mul", [y, factor(b, 6, (6,))]), b.tensor(np.full((6, 1), 0.5))]))
