"""Registering the cases of paths, and ops in the form that each opset has."""
from functools import partial

import numpy as np
from onnx import TensorProto, helper

from builder import Linear
from cases import OBSTACLES, Case

# What kept norms may be told when the rules name no single code.
PASSIVE = "no-linear-producer|activation-between"


def path(folded=1, kept=(), chains=0, kept_chains=(), opsets=(17,), dtypes=("f32",), layers=("conv",), args=(), name=None,
         judged=True, tolerance=None):
    """Registers a builder `f(b)` for each layer, opset and type; `b.layer` says which layer `image` makes.

    `kept` and `kept_chains` list one code per kept norm or chain, alternatives parted by `|`; None leaves them open.
    """
    def listed(codes):
        return (codes,) if isinstance(codes, str) else codes

    def wrap(f):
        for layer in layers:
            for dtype in dtypes:
                for opset in opsets:
                    label = "-".join(["path", f.__module__.removeprefix("paths_"), name or f.__name__])
                    label += "" if len(layers) == 1 else f"-{layer}"
                    label += "" if dtypes == ("f32",) else f"-{dtype}"
                    label += "" if len(opsets) == 1 else f"-opset{opset}"
                    build = partial(on_layer, f, layer)
                    case = Case(label, build, folded, listed(kept), tuple(args), judged, chains, listed(kept_chains), tolerance)
                    OBSTACLES.append((case, opset, dtype))
        return f
    return wrap


def on_layer(f, layer, b):
    b.layer = layer
    f(b)


# --- layers ------------------------------------------------------------------------

IMAGES = {  # data shape, layer; every result is [2, 5, 4, 4]
    "conv": Linear("Conv", (2, 3, 6, 6), (5, 3, 3, 3), 5),
    "depthwise": Linear("Conv", (2, 5, 6, 6), (5, 1, 3, 3), 5, dict(group=5)),
    "conv_transpose": Linear("ConvTranspose", (2, 3, 3, 3), (3, 5, 2, 2), 5),
}


def image(b, bias=True, **kw):
    """A layer's result of [2, 5, 4, 4]; layers of one case read one input."""
    lin = IMAGES[b.layer]
    return b.linear(lin, shared_input(b, list(lin.x)), bias, **kw)


def conv(b, c, x=None, cin=3, k=3, bias=True, shape=None, w=None, **attrs):
    """A convolution of square kernels with c output channels; of an input [2, cin, 6, 6] unless x is given."""
    shape = shape or (c, cin // attrs.get("group", 1), k, k)
    return b.linear(Linear("Conv", (), shape, c, attrs), x or shared_input(b, [2, cin, 6, 6]), bias, w=w)


def shared_input(b, shape):
    name = "x" + "_".join(map(str, shape))
    if not any(v.name == name for v in b.inputs):
        b.input(name, shape)
    return name


def matmul(b, x, k, n):
    return b.node("MatMul", [x, b.tensor(b.rng.normal(0, 1 / np.sqrt(k), (k, n)))])


def finish(b, x, c=5, params=None, **kw):
    """The norm at the end."""
    return b.output(b.norm(x, c, params, **kw))


def relu_input(b, shape):
    """A value that nothing can be folded into."""
    return b.node("Relu", [shared_input(b, shape)])


# --- parameters --------------------------------------------------------------------

def positive(b, c=5, **given):
    return b.params(c, scale=b.rng.uniform(0.5, 1.5, c), **given)


def negative(b, c=5, **given):
    return b.params(c, scale=-b.rng.uniform(0.5, 1.5, c), **given)


def no_shift(b, c=5, **given):
    return b.params(c, bias=np.zeros(c), mean=np.zeros(c), **given)


def repeated(b, c, times, inner=True):
    """Parameters of c·times channels that take c values: 000111… when `inner`, else 0101…"""
    spread = np.repeat if inner else np.tile
    sign = np.where(np.arange(c) % 2, -1, 1)
    r = b.rng
    return b.params(c * times, scale=spread(r.uniform(0.5, 1.5, c) * sign, times), bias=spread(r.normal(0, 0.3, c), times),
                    mean=spread(r.normal(0, 0.5, c), times), var=spread(r.uniform(0.3, 2, c), times))


def factor(b, c=5, shape=None, scale=None):
    """A per-channel constant, none of whose values is near 0; for [N, C, H, W] unless a shape is given."""
    v = b.rng.uniform(0.5, 1.5, c) * np.where(np.arange(c) % 3 == 1, -1, 1) if scale is None else np.full(c, scale)
    return b.tensor(v.reshape(shape or (c, 1, 1)))


# --- ops by opset ------------------------------------------------------------------

def ints(b, values):
    return b.tensor(np.array(values, np.int64), dtype=np.int64)


def floats(b, values):
    return b.tensor(np.array(values, np.float32), dtype=np.float32)


def by_axes(op, since):
    """An op whose axes are an attribute below opset `since`, and an operand from it on."""
    def make(b, x, axes=None, **attrs):
        if axes is None:
            return b.node(op, [x], **attrs)
        return b.node(op, [x], axes=axes, **attrs) if b.opset < since else b.node(op, [x, ints(b, axes)], **attrs)
    return make


squeeze, unsqueeze = by_axes("Squeeze", 13), by_axes("Unsqueeze", 13)
reduce_mean, reduce_max, reduce_sum = by_axes("ReduceMean", 18), by_axes("ReduceMax", 18), by_axes("ReduceSum", 13)


def reshape(b, x, shape):
    return b.node("Reshape", [x, ints(b, shape)])


def transpose(b, x, *perm):
    return b.node("Transpose", [x], perm=perm)


def nhwc(b, x):
    return transpose(b, x, 0, 2, 3, 1)


def nchw(b, x):
    return transpose(b, x, 0, 3, 1, 2)


def flatten(b, x, axis=1):
    return b.node("Flatten", [x], axis=axis)


def concat(b, *values, axis=1):
    return b.node("Concat", list(values), axis=axis)


def split(b, x, axis, sizes):
    if b.opset < 13:
        return b.node("Split", [x], len(sizes), axis=axis, split=sizes)
    return b.node("Split", [x, ints(b, sizes)], len(sizes), axis=axis)


def cut(b, x, axis, start, end, step=1):
    """Slice along one axis."""
    if b.opset < 10:
        return b.node("Slice", [x], axes=[axis], starts=[start], ends=[end])
    return b.node("Slice", [x, ints(b, [start]), ints(b, [end]), ints(b, [axis]), ints(b, [step])])


def pad(b, x, amounts, mode="constant", value=None):
    if b.opset < 11:
        return b.node("Pad", [x], pads=amounts, mode=mode, **({} if value is None else {"value": value}))
    more = [] if value is None else [value if isinstance(value, str) else b.tensor(value)]
    return b.node("Pad", [x, ints(b, amounts), *more], mode=mode)


def border(n=1):
    """Pad amounts of a border around images."""
    return [0, 0, n, n, 0, 0, n, n]


def resize(b, x, scales, mode="nearest", roi=None, **attrs):
    region = floats(b, roi or []) if roi or b.opset < 13 else ""
    return b.node("Resize", [x, region, floats(b, scales)], mode=mode, **attrs)


def gap(b, x):
    return b.node("GlobalAveragePool", [x])


def average_pool(b, x, kernel=2, **attrs):
    return b.node("AveragePool", [x], kernel_shape=[kernel] * 2, **attrs)


def max_pool(b, x, kernel=2, outputs=1, **attrs):
    return b.node("MaxPool", [x], outputs, kernel_shape=[kernel] * 2, **attrs)


def shuffle(b, x, c, groups, h=4, w=4, n=2):
    """Channel shuffle of [n, c, h, w]."""
    y = reshape(b, x, [n, groups, c // groups, h, w])
    return reshape(b, transpose(b, y, 0, 2, 1, 3, 4), [n, c, h, w])


def body_value(name, onnx_type, shape=None):
    return helper.make_tensor_value_info(name, onnx_type, shape)


def choice(b, then, orelse):
    """If of a flag, over bodies without results of their own names: lists of (nodes, result name, initializers)."""
    flag = b.input("flag", [], TensorProto.BOOL)
    graphs = [helper.make_graph(nodes, label, [], [body_value(out, b.onnx)], initializer=list(inits))
              for label, (nodes, out, inits) in (("then", then), ("else", orelse))]
    return b.node("If", [flag], then_branch=graphs[0], else_branch=graphs[1])
