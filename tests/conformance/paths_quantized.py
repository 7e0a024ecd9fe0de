"""Weights that are stored as integers and dequantized."""
import numpy as np
from onnx import TensorProto

from builder import Linear
from paths import conv, finish, image, negative, no_shift, path, positive, shared_input

KEPT = dict(folded=0, kept="quantized")


def quantized(b, shape, dtype=np.int8, low=-127, high=128, scales=1, axis=0, zero=None, scale_type=None):
    """DequantizeLinear of random integers; `scales` > 1 is one scale per channel."""
    q = b.tensor(b.rng.integers(low, high, shape), dtype=dtype)
    s = b.rng.uniform(0.005, 0.02, scales) if scales > 1 else np.array(0.01)
    ins = [q, b.tensor(s, dtype=scale_type)]
    if zero is not None:
        ins.append(b.tensor(np.full(np.shape(s), zero), dtype=dtype))
    return b.node("DequantizeLinear", ins, **(dict(axis=axis) if scales > 1 else {}))


def weights(b, **kw):
    return conv(b, 5, w=quantized(b, (5, 3, 3, 3), **kw))


for opset in (13, 17, 22):
    @path(name=f"per_tensor_opset{opset}", opsets=(opset,))
    def per_tensor(b):
        finish(b, weights(b), params=positive(b))

    @path(name=f"per_channel_opset{opset}", opsets=(opset,))
    def per_channel(b):
        finish(b, weights(b, scales=5), params=positive(b))


@path(**KEPT, opsets=(10,))
def per_tensor_before_axes(b):
    """Opset 10 has one scale only."""
    finish(b, weights(b), params=positive(b))


@path(name="negative_factors")
def negated_integers(b):
    finish(b, weights(b, scales=5), params=negative(b))


@path(name="mixed_factors")
def some_negated(b):
    finish(b, weights(b))


@path()
def zero_point_0(b):
    finish(b, weights(b, scales=5, zero=0))


@path()
def zero_point_and_positive_factors(b):
    finish(b, weights(b, scales=5, zero=3), params=positive(b))


@path()
def unsigned_and_positive_factors(b):
    finish(b, weights(b, dtype=np.uint8, low=0, high=256, zero=128), params=positive(b))


@path(**KEPT)
def zero_point_and_negative_factors(b):
    finish(b, weights(b, scales=5, zero=3))


@path(**KEPT)
def unsigned_and_negative_factors(b):
    finish(b, weights(b, dtype=np.uint8, low=0, high=256, zero=128))


@path(**KEPT)
def lowest_integer_and_negative_factors(b):
    """−(−128) is no i8."""
    q = b.rng.integers(-127, 128, (5, 3, 3, 3))
    q[3, 0, 0, 0] = -128
    w = b.node("DequantizeLinear", [b.tensor(q, dtype=np.int8), b.tensor(np.array(0.01))])
    finish(b, conv(b, 5, w=w))


@path()
def lowest_integer_and_positive_factors(b):
    q = np.full((5, 3, 3, 3), -128)
    w = b.node("DequantizeLinear", [b.tensor(q, dtype=np.int8), b.tensor(np.array(0.001))])
    finish(b, conv(b, 5, w=w), params=positive(b))


@path(**KEPT)
def factor_of_0(b):
    finish(b, weights(b), params=b.params(5, scale=np.array([1, 2, 0, 1, 0.5])))


@path(folded=0, kept="quantized|axis-mismatch")
def scales_of_the_inputs(b):
    """One scale per input channel."""
    finish(b, weights(b, scales=3, axis=1), params=positive(b))


@path(folded=0, kept="quantized|axis-mismatch")
def scales_of_the_inputs_of_a_square_kernel(b):
    w = quantized(b, (3, 3, 3, 3), scales=3, axis=1)
    finish(b, conv(b, 3, w=w), 3, positive(b, 3))


@path()
def no_bias(b):
    finish(b, conv(b, 5, w=quantized(b, (5, 3, 3, 3)), bias=False), params=positive(b))


@path()
def no_shift_needed(b):
    finish(b, conv(b, 5, w=quantized(b, (5, 3, 3, 3)), bias=False), params=no_shift(b))


def integer_bias(b, params=None):
    """The usual form: an i32 bias of the data's scale times the weight's."""
    x = shared_input(b, [2, 3, 6, 6])
    w = quantized(b, (5, 3, 3, 3), scales=5)
    c = b.node("DequantizeLinear", [b.tensor(b.rng.integers(-900, 900, 5), dtype=np.int32), b.tensor(b.rng.uniform(1e-4, 1e-3, 5))], axis=0)
    finish(b, b.node("Conv", [x, w, c]), params=params or positive(b))


@path(**KEPT)
def bias_of_integers(b):
    integer_bias(b)


@path(**KEPT)
def bias_of_integers_and_negative_factors(b):
    integer_bias(b, negative(b))


@path(folded=0, kept="quantized")
def bias_of_integers_without_shift(b):
    integer_bias(b, b.params(5, scale=b.rng.uniform(0.5, 1.5, 5), bias=np.zeros(5), mean=np.zeros(5)))


@path()
def gemm(b):
    w = quantized(b, (7, 6), scales=6, axis=1)
    finish(b, b.node("Gemm", [b.input("x", [5, 7]), w, b.tensor(b.rng.normal(0, 0.3, 6))]), 6)


@path()
def gemm_trans_b(b):
    w = quantized(b, (6, 7), scales=6, axis=-2)
    finish(b, b.node("Gemm", [b.input("x", [5, 7]), w, b.tensor(b.rng.normal(0, 0.3, 6))], transB=1), 6)


@path(folded=0, kept="quantized|axis-mismatch")
def gemm_scales_of_the_inputs(b):
    w = quantized(b, (6, 6), scales=6, axis=0)
    finish(b, b.node("Gemm", [b.input("x", [5, 6]), w]), 6, positive(b, 6))


@path()
def matmul(b):
    finish(b, b.node("MatMul", [b.input("x", [5, 7]), quantized(b, (7, 6))]), 6, positive(b, 6))


@path()
def depthwise(b):
    w = quantized(b, (5, 1, 3, 3), scales=5)
    finish(b, conv(b, 5, w=w, cin=5, group=5))


@path(opsets=(13, 22))
def conv_transpose(b):
    w = quantized(b, (3, 5, 2, 2), scales=5, axis=1)
    y = b.linear(Linear("ConvTranspose", (), (3, 5, 2, 2), 5), shared_input(b, [2, 3, 3, 3]), w=w)
    finish(b, y)


@path(dtypes=("f16",), opsets=(19, 22))
def half_scales(b):
    finish(b, weights(b, scales=5), params=positive(b))


@path(opsets=(21, 22))
def blocks_of_inputs(b):
    """Blocks along the input channels: one scale per output channel and block."""
    q = b.tensor(b.rng.integers(-127, 128, (5, 4, 3, 3)), dtype=np.int8)
    s = b.tensor(b.rng.uniform(0.005, 0.02, (5, 2, 3, 3)))
    w = b.node("DequantizeLinear", [q, s], axis=1, block_size=2)
    finish(b, conv(b, 5, w=w, cin=4), params=positive(b))


@path(folded=2)
def weight_read_by_two_layers(b):
    w = quantized(b, (5, 3, 3, 3), scales=5)
    for x in ("x", "x2"):
        y = b.linear(Linear("Conv", (), (5, 3, 3, 3), 5), b.input(x, [2, 3, 6, 6]), w=w)
        finish(b, y, params=positive(b))


@path(folded=2)
def two_norms(b):
    finish(b, b.norm(weights(b), 5, positive(b)), params=positive(b))


@path(**KEPT)
def quantized_on_the_way(b):
    scale, zero = b.tensor(np.array(0.05)), b.tensor(0, dtype=np.int8)
    q = b.node("QuantizeLinear", [image(b), scale, zero])
    finish(b, b.node("DequantizeLinear", [q, scale, zero]))


@path(folded=0, kept="quantized|no-linear-producer|activation-between|precision-narrowing")
def integer_convolution(b):
    q = b.input("q", [2, 3, 6, 6], TensorProto.UINT8)
    y = b.node("ConvInteger", [q, b.tensor(b.rng.integers(0, 255, (5, 3, 3, 3)), dtype=np.uint8)])
    finish(b, b.node("Cast", [y], to=b.onnx))


@path()
def forward_per_channel_of_the_inputs(b):
    """A norm before the layer: its factors go onto scales of the input channels."""
    x = b.norm(b.node("Relu", [shared_input(b, [2, 3, 6, 6])]), 3, no_shift(b, 3, var=np.ones(3)))
    b.output(conv(b, 5, x, w=quantized(b, (5, 3, 3, 3), scales=3, axis=1)))
