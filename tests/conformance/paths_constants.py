"""Where constants come from, and who else reads them: what the constant analysis resolves, and shared weights."""
import numpy as np
from onnx import TensorProto, helper

from builder import Linear, overridable
from paths import conv, finish, ints, path, reshape, shared_input, split, squeeze, transpose, unsqueeze

REFUSE = ("--passes=fold-bn{shared=refuse},dce",)


# Forms that a constant may take. Each makes the array in the model; those that compute give it up to rounding.

def constant_node(b, v, **form):
    out = b.fresh("k")
    b.nodes.append(helper.make_node("Constant", [], [out], name=b.fresh("n_"), **form))
    return out


def scalar(b, v):
    return b.tensor(np.array(v))


def by_where(b, v):
    mask = np.arange(v.size).reshape(v.shape) % 2 == 0
    return b.node("Where", [b.tensor(mask, dtype=bool), b.tensor(np.where(mask, v, 7)), b.tensor(np.where(mask, 9, v))])


def by_comparison(b, v):
    """Where the condition is computed, too."""
    return b.node("Where", [b.node("Less", [b.tensor(v), scalar(b, 100.0)]), b.tensor(v), scalar(b, 0.0)])


MOVED = {
    "identity": lambda b, v: b.node("Identity", [b.tensor(v)]),
    "identities": lambda b, v: b.node("Identity", [b.node("Identity", [b.tensor(v)])]),
    "constant_node": lambda b, v: constant_node(b, v, value=helper.make_tensor("v", b.onnx, v.shape, v.ravel())),
    "reshape": lambda b, v: reshape(b, b.tensor(v.ravel()[None]), v.shape),
    "reshape_inferred": lambda b, v: reshape(b, b.tensor(v[None]), [-1, *v.shape[1:]]),
    "transpose": lambda b, v: transpose(b, b.tensor(v.T.copy()), *reversed(range(v.ndim))),
    "squeeze": lambda b, v: squeeze(b, b.tensor(v[None, ..., None]), [0, v.ndim + 1]),
    "unsqueeze_squeeze": lambda b, v: squeeze(b, unsqueeze(b, b.tensor(v), [0]), [0]),
    "expand": lambda b, v: b.node("Expand", [b.tensor(v), ints(b, v.shape)]),
    "concat": lambda b, v: b.node("Concat", [b.tensor(v[:2]), b.tensor(v[2:])], axis=0),
    "slice": lambda b, v: b.node("Slice", [b.tensor(np.concatenate([v, v[:2] + 1])), ints(b, [0]), ints(b, [len(v)]), ints(b, [0])]),
    "slice_backwards": lambda b, v: b.node("Slice", [b.tensor(v[::-1].copy()), ints(b, [-1]), ints(b, [-100]), ints(b, [0]), ints(b, [-1])]),
    "gather": lambda b, v: b.node("Gather", [b.tensor(v[::-1].copy()), ints(b, np.arange(len(v))[::-1])], axis=0),
    "split": lambda b, v: split(b, b.tensor(np.concatenate([v + 1, v])), 0, [len(v), len(v)])[1],
    "cast": lambda b, v: b.node("Cast", [b.tensor(v.astype(np.float32), dtype=np.float64)], to=b.onnx),
    "cast_from_half": lambda b, v: b.node("Cast", [b.tensor(v, dtype=np.float16)], to=b.onnx),
}
COMPUTED = {
    "add": lambda b, v: b.node("Add", [b.tensor(v - 1), scalar(b, 1.0)]),
    "sub": lambda b, v: b.node("Sub", [b.tensor(v + 0.5), scalar(b, 0.5)]),
    "mul": lambda b, v: b.node("Mul", [scalar(b, 0.5), b.tensor(v * 2)]),
    "div": lambda b, v: b.node("Div", [b.tensor(v * 3), scalar(b, 3.0)]),
    "neg": lambda b, v: b.node("Neg", [b.tensor(-v)]),
    "sqrt": lambda b, v: b.node("Sqrt", [b.tensor(v * v)]),
    "pow": lambda b, v: b.node("Pow", [b.tensor(np.sqrt(v)), scalar(b, 2.0)]),
    "reciprocal": lambda b, v: b.node("Reciprocal", [b.tensor(1 / v)]),
    "exp": lambda b, v: b.node("Exp", [b.tensor(np.log(v))]),
    "log": lambda b, v: b.node("Log", [b.tensor(np.exp(v))]),
    "abs": lambda b, v: b.node("Abs", [b.tensor(-v)]),
    "min": lambda b, v: b.node("Min", [b.tensor(v), scalar(b, 100.0)]),
    "max": lambda b, v: b.node("Max", [b.tensor(v), scalar(b, -100.0)]),
    "where": by_where,
    "comparison": by_comparison,
}
SPLAT = {  # constants of one value
    "constant_of_shape": lambda b, shape, x: b.node("ConstantOfShape", [ints(b, shape)], value=helper.make_tensor("v", b.onnx, [1], [x])),
    "expanded_scalar": lambda b, shape, x: b.node("Expand", [scalar(b, x), ints(b, shape)]),
    "expanded_to_a_shape": lambda b, shape, x: b.node("Expand", [scalar(b, x), b.node("Shape", [b.tensor(np.zeros(shape))])]),
}


@path(opsets=(12, 17), name="norm_parameters_value_floats")
def value_floats(b):
    v = [1.5, -0.5, 2.0, 0.25, 1.0]
    finish(b, conv(b, 5), params=b.params(5, scale=constant_node(b, v, value_floats=v)))


def every(b, form, c=5):
    """All four parameters of a norm in that form; positive, as roots and logarithms have it."""
    return [form(b, b.rng.uniform(0.5, 2, c)) for _ in range(4)]


for label, form in {**MOVED, **COMPUTED}.items():
    @path(name=f"norm_parameters_{label}", opsets=(13,))
    def parameters(b, form=form):
        finish(b, conv(b, 5), params=every(b, form))

    @path(name=f"bias_{label}")
    def bias(b, form=form):
        lin = Linear("Conv", (), (5, 3, 3, 3), 5)
        x = shared_input(b, [2, 3, 6, 6])
        finish(b, b.linear(lin, x, c=form(b, b.rng.uniform(0.5, 2, 5))))

for label, form in MOVED.items():
    # Half is what the weight comes from, not what the layer computes in.
    @path(name=f"weight_{label}", tolerance=1e-5)
    def moved_weight(b, form=form):
        finish(b, conv(b, 5, w=form(b, b.rng.normal(0, 0.2, (5, 3, 3, 3)))))

for label, form in COMPUTED.items():
    @path(name=f"weight_{label}")
    def computed_weight(b, form=form):
        finish(b, conv(b, 5, w=form(b, b.rng.uniform(0.05, 0.5, (5, 3, 3, 3)))))

for label, form in SPLAT.items():
    @path(name=f"norm_parameters_{label}")
    def splat_parameters(b, form=form):
        finish(b, conv(b, 5), params=[form(b, [5], x) for x in (1.5, 0.5, -0.25, 2.0)])

    # Of a shape that is looked up the declared rank of the result would be unknown.
    if label != "expanded_to_a_shape":
        @path(name=f"weight_{label}")
        def splat_weight(b, form=form):
            finish(b, conv(b, 5, w=form(b, [5, 3, 3, 3], 0.125)))


@path(opsets=(9, 13, 17))
def weight_transposed_as_keras_has_it(b):
    finish(b, conv(b, 5, w=transpose(b, b.tensor(b.rng.normal(0, 0.2, (3, 3, 3, 5))), 3, 2, 0, 1)))


@path(opsets=(9, 17))
def gemm_weight_transposed(b):
    w = transpose(b, b.tensor(b.rng.normal(0, 0.3, (6, 7))), 1, 0)
    finish(b, b.node("MatMul", [b.input("x", [5, 7]), w]), 6)


@path(opsets=(17, 22))
def zero_bias_as_dynamo_writes_it(b):
    """Shape(W) → first extent → zeros of the bias's type."""
    w = b.tensor(b.rng.normal(0, 0.2, (5, 3, 3, 3)))
    n = b.node("Shape", [w], start=0, end=1)
    zero = b.node("CastLike", [b.node("Expand", [b.tensor(np.array(0.0), dtype=np.float64), n]), w])
    y = b.node("Conv", [shared_input(b, [2, 3, 6, 6]), w, zero])
    finish(b, y)


@path()
def zero_bias_by_constant_of_shape(b):
    w = b.tensor(b.rng.normal(0, 0.2, (5, 3, 3, 3)))
    n = b.node("Slice", [b.node("Shape", [w]), ints(b, [0]), ints(b, [1])])
    finish(b, b.node("Conv", [shared_input(b, [2, 3, 6, 6]), w, b.node("ConstantOfShape", [n])]))


@path()
def variance_equal_to_gamma_by_identity(b):
    """TorchScript keeps one of several equal tensors."""
    p = b.params(5, scale=np.ones(5))
    p[3] = b.node("Identity", [p[0]])
    p[2] = b.node("Identity", [p[1]])
    finish(b, conv(b, 5), params=p)


@path()
def range_as_mean(b):
    k = b.node("Range", [b.tensor(np.array(0.0)), b.tensor(np.array(5.0)), b.tensor(np.array(1.0))])
    finish(b, conv(b, 5), params=b.params(5, mean=k))


@path()
def shape_of_a_value_as_an_extent(b):
    """Five zeros, because the layer's result has five channels, whatever its batch."""
    y = b.linear(Linear("Conv", (), (5, 3, 3, 3), 5), b.input("x", ["N", 3, 6, 6]))
    n = b.node("Slice", [b.node("Shape", [y]), ints(b, [1]), ints(b, [2])])
    finish(b, y, params=b.params(5, mean=b.node("ConstantOfShape", [n])))


@path(folded=0, kept="overridable-input")
def computed_from_an_overridable_constant(b):
    k = b.tensor(b.rng.uniform(0.5, 1.5, 5))
    finish(b, conv(b, 5), params=b.params(5, scale=b.node("Mul", [k, b.tensor(np.array(2.0))])))
    overridable(b, k)


@path(folded=0, kept="not-constant")
def computed_from_an_input(b):
    k = b.input("k", [5])
    finish(b, conv(b, 5), params=b.params(5, scale=b.node("Mul", [k, b.tensor(np.array(2.0))])))


@path(folded=0, kept="not-constant")
def random_weight(b):
    """A node without inputs is not a constant for all that."""
    w = b.node("RandomNormal", [], shape=[5, 3, 3, 3])
    y = b.norm(conv(b, 5, w=w), 5)
    b.output(b.node("Shape", [y]), TensorProto.INT64)


@path(folded=0, kept="non-finite")
def computed_to_nan(b):
    p = b.params(5, var=b.node("Sqrt", [b.tensor(np.array([1, 1, -1, 1, 1]))]))
    finish(b, conv(b, 5), params=p)


# Weights with other readers.

def pair(b, w=None, c=None, x2="x2", norm_second=True, params=None, **attrs):
    """Two convolutions of one weight or bias; norms behind the first and, unless told otherwise, the second."""
    lin = Linear("Conv", (), (5, 3, 3, 3), 5, attrs)
    w1 = w or b.tensor(b.rng.normal(0, 0.2, lin.w))
    w2 = w or b.tensor(b.rng.normal(0, 0.2, lin.w))
    x = shared_input(b, [2, 3, 6, 6])
    other = x if x2 == x else b.input(x2, [2, 3, 6, 6])
    finish(b, b.linear(lin, x, w=w1, c=c), params=params)
    y = b.linear(lin, other, w=w2, c=c)
    if norm_second:
        finish(b, y, params=params)
    else:
        b.output(y)


def weight(b):
    return b.tensor(b.rng.normal(0, 0.2, (5, 3, 3, 3)))


@path(folded=2, dtypes=("f32", "f16", "f64"), opsets=(9, 17))
def weight_of_two_norms(b):
    pair(b, weight(b))


@path(folded=2)
def weight_of_two_norms_of_one_set_of_parameters(b):
    pair(b, weight(b), params=b.params(5))


@path(folded=0, kept=("shared-weight", "shared-weight"), args=REFUSE)
def weight_of_two_norms_refused(b):
    pair(b, weight(b))


@path(folded=1)
def weight_of_a_norm_and_none(b):
    pair(b, weight(b), norm_second=False)


@path(folded=0, kept="shared-weight", args=REFUSE)
def weight_of_a_norm_and_none_refused(b):
    pair(b, weight(b), norm_second=False)


@path(folded=0, kept="shared-weight", args=("--passes=fold-bn{copy-limit=100},dce",))
def weight_too_large_to_copy(b):
    pair(b, weight(b), norm_second=False)


@path(folded=2)
def bias_of_two_norms(b):
    pair(b, c=b.tensor(b.rng.normal(0, 0.3, 5)))


@path(folded=2)
def weight_and_bias_of_two_norms(b):
    pair(b, weight(b), b.tensor(b.rng.normal(0, 0.3, 5)))


@path(folded=0, kept=("shared-weight", "shared-weight"), args=REFUSE)
def bias_of_two_norms_refused(b):
    pair(b, c=b.tensor(b.rng.normal(0, 0.3, 5)))


@path(folded=2)
def one_layer_twice(b):
    """The same weights, one after the other."""
    lin = Linear("Conv", (), (5, 5, 3, 3), 5, dict(pads=[1] * 4))
    w, c = b.tensor(b.rng.normal(0, 0.2, lin.w)), b.bias(lin)
    y = b.norm(b.linear(lin, b.input("x", [2, 5, 6, 6]), w=w, c=c), 5)
    finish(b, b.linear(lin, b.node("Relu", [y]), w=w, c=c))


@path(folded=1)
def one_layer_twice_with_one_norm(b):
    lin = Linear("Conv", (), (5, 5, 3, 3), 5, dict(pads=[1] * 4))
    w, c = b.tensor(b.rng.normal(0, 0.2, lin.w)), b.bias(lin)
    y = b.linear(lin, b.input("x", [2, 5, 6, 6]), w=w, c=c)
    finish(b, b.linear(lin, b.node("Relu", [y]), w=w, c=c))


@path(folded=1)
def weight_tied_to_its_own_bias(b):
    """A square matrix is the weight and the C of one Gemm."""
    w = b.tensor(b.rng.normal(0, 0.3, (6, 6)))
    finish(b, b.node("Gemm", [b.input("x", [6, 6]), w, w]), 6)


@path(folded=0, kept="shared-weight", args=REFUSE)
def weight_tied_to_its_own_bias_refused(b):
    weight_tied_to_its_own_bias(b)


@path(folded=1)
def weight_tied_transposed(b):
    """An autoencoder: the second layer has the first's weight, transposed."""
    w = b.tensor(b.rng.normal(0, 0.3, (7, 6)))
    y = b.norm(b.node("MatMul", [b.input("x", [5, 7]), w]), 6)
    b.output(b.node("Gemm", [b.node("Relu", [y]), w], transB=1))


@path(folded=2)
def beta_of_one_is_the_bias_of_another(b):
    k = b.tensor(b.rng.normal(0, 0.3, 5))
    lin = Linear("Conv", (), (5, 5, 1, 1), 5)
    y = b.node("Relu", [b.norm(b.linear(lin, b.input("x", [2, 5, 6, 6]), c=k), 5)])
    finish(b, b.linear(lin, y), params=b.params(5, bias=k))


@path(folded=1, kept="multiple-consumers")
def beta_of_a_kept_norm_is_a_bias(b):
    k = b.tensor(b.rng.normal(0, 0.3, 5))
    y = b.linear(Linear("Conv", (), (5, 3, 3, 3), 5), shared_input(b, [2, 3, 6, 6]))
    b.output(y)
    finish(b, y, params=b.params(5, bias=k))
    finish(b, b.linear(Linear("Conv", (), (5, 3, 3, 3), 5), shared_input(b, [2, 3, 6, 6]), c=k))


@path(folded=1)
def weight_is_an_operand_elsewhere(b):
    w = weight(b)
    b.output(b.node("Abs", [w]))
    finish(b, conv(b, 5, w=w))


@path(folded=1)
def weight_behind_a_transpose_read_twice(b):
    """The transposed weight has another reader, so the factor cannot go through it in place."""
    w = transpose(b, b.tensor(b.rng.normal(0, 0.3, (6, 7))), 1, 0)
    x = b.input("x", [5, 7])
    b.output(b.node("MatMul", [x, w]))
    finish(b, b.node("MatMul", [x, w]), 6)


@path(folded=1)
def base_of_a_transposed_weight_read_twice(b):
    base = b.tensor(b.rng.normal(0, 0.3, (6, 7)))
    b.output(b.node("MatMul", [b.input("z", [5, 6]), base]))
    finish(b, b.node("MatMul", [b.input("x", [5, 7]), transpose(b, base, 1, 0)]), 6)


@path(folded=0, kept="shared-weight", args=REFUSE)
def base_of_a_transposed_weight_refused(b):
    base_of_a_transposed_weight_read_twice(b)


@path(folded=0, kept="overridable-input")
def overridable_weight_behind_a_transpose(b):
    base = b.tensor(b.rng.normal(0, 0.3, (6, 7)))
    finish(b, b.node("MatMul", [b.input("x", [5, 7]), transpose(b, base, 1, 0)]), 6)
    overridable(b, base)


@path(folded=1, args=("--passes=fold-bn{freeze-inputs},dce",))
def overridable_weight_frozen(b):
    w = weight(b)
    finish(b, conv(b, 5, w=w))
    overridable(b, w)
