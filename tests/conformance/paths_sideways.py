"""Norms beside a convolution of the same input, their results added."""
import numpy as np

from builder import Linear
from paths import conv, factor, finish, path, relu_input, shared_input

KEPT = "graph-input|activation-between|no-linear-producer|multiple-consumers|axis-mismatch|channel-mismatch"


def beside(b, c=4, size=6, k=3, shape=None, bias=True, x=None, w=None, **attrs):
    """A convolution that keeps the shape of its input; the value and the input."""
    x = x or relu_input(b, [2, c, size, size])
    shape = shape or (c, c // attrs.get("group", 1), k, k)
    return b.linear(Linear("Conv", (), shape, c, attrs), x, bias, w=w), x


def join(b, c=4, op="Add", swap=False, params=None, **kw):
    y, x = beside(b, c, **kw)
    n = b.norm(x, c, params)
    b.output(b.node(op, [n, y] if swap else [y, n]))


@path(opsets=(7, 9, 13, 17, 22))
def identity_branch(b):
    join(b, pads=[1, 1, 1, 1])


@path(dtypes=("f16", "f64", "bf16"), opsets=(22,))
def identity_branch_typed(b):
    join(b, pads=[1, 1, 1, 1])


for op in ("Add", "Sub"):
    for swap in (False, True):
        for bias in (False, True):
            @path(name=f"{op.lower()}_norm_{'first' if swap else 'second'}_{'bias' if bias else 'no_bias'}")
            def either_side(b, op=op, swap=swap, bias=bias):
                join(b, op=op, swap=swap, bias=bias, pads=[1, 1, 1, 1])

for label, kw in (("1x1", dict(k=1)), ("5x5", dict(k=5, pads=[2] * 4)), ("7x3", dict(shape=(4, 4, 7, 3), pads=[3, 1, 3, 1])),
                  ("2x2_at_the_start", dict(k=2, pads=[0, 0, 1, 1])), ("2x2_at_the_end", dict(k=2, pads=[1, 1, 0, 0])),
                  ("2x2_mixed", dict(k=2, pads=[0, 1, 1, 0])), ("4x4", dict(k=4, pads=[1, 1, 2, 2])), ("4x4_other", dict(k=4, pads=[2, 1, 1, 2])),
                  ("3x3_pads_at_the_end", dict(pads=[0, 0, 2, 2])), ("3x3_pads_at_the_start", dict(pads=[2, 2, 0, 0])),
                  ("3x3_pads_mixed", dict(pads=[0, 2, 2, 0])), ("dilated", dict(pads=[2] * 4, dilations=[2, 2])),
                  ("dilated_unevenly", dict(pads=[1, 2, 1, 2], dilations=[1, 2])), ("dilated_tap_0", dict(pads=[0, 2, 4, 2], dilations=[2, 2])),
                  ("dilated_3", dict(pads=[3] * 4, dilations=[3, 3])), ("same_upper", dict(auto_pad="SAME_UPPER")),
                  ("same_lower", dict(auto_pad="SAME_LOWER")), ("2x2_same_upper", dict(k=2, auto_pad="SAME_UPPER")),
                  ("2x2_same_lower", dict(k=2, auto_pad="SAME_LOWER")), ("grouped", dict(pads=[1] * 4, group=2)),
                  ("depthwise", dict(pads=[1] * 4, group=4)), ("depthwise_1x1", dict(k=1, group=4)),
                  ("explicit_strides", dict(pads=[1] * 4, strides=[1, 1])), ("grouped_2x2", dict(k=2, pads=[1, 0, 0, 1], group=2))):
    @path(name=f"conv_{label}")
    def of_kind(b, kw=kw):
        join(b, **kw)


@path(name="conv_1d")
def one_dimension(b):
    x = relu_input(b, [2, 4, 9])
    y = b.linear(Linear("Conv", (), (4, 4, 3), 4, dict(pads=[1, 1])), x)
    b.output(b.node("Add", [y, b.norm(x, 4)]))


@path(name="conv_3d")
def three_dimensions(b):
    x = relu_input(b, [1, 4, 3, 3, 3])
    y = b.linear(Linear("Conv", (), (4, 2, 3, 3, 3), 4, dict(pads=[1] * 6, group=2)), x)
    b.output(b.node("Add", [y, b.norm(x, 4)]))


@path()
def of_the_input(b):
    x = shared_input(b, [2, 4, 6, 6])
    y, _ = beside(b, x=x, pads=[1] * 4)
    b.output(b.node("Relu", [b.node("Add", [y, b.norm(x, 4)])]))


@path()
def of_a_layer(b):
    """The layer's result is read twice, so nothing folds back into it."""
    y = conv(b, 4)
    z, _ = beside(b, x=y, pads=[1] * 4)
    b.output(b.node("Add", [b.norm(y, 4), z]))


@path()
def dead_and_negative_channels(b):
    join(b, pads=[1] * 4, params=b.params(4, scale=np.array([0, -1, 2, 0])))


# Trees.

@path(folded=3, opsets=(9, 17))
def repvgg(b):
    y, x = beside(b, pads=[1] * 4, bias=False)
    z, _ = beside(b, x=x, k=1, bias=False)
    s = b.node("Add", [b.norm(y, 4), b.norm(z, 4)])
    b.output(b.node("Relu", [b.node("Add", [s, b.norm(x, 4)])]))


@path(folded=4)
def mobileone(b):
    """Three depthwise branches with norms of their own, and the norm alone."""
    x = relu_input(b, [2, 4, 6, 6])
    s = b.norm(x, 4)
    for k in (3, 3, 1):
        y, _ = beside(b, x=x, k=k, pads=[k // 2] * 4, group=4, bias=False)
        s = b.node("Add", [s, b.norm(y, 4)])
    b.output(s)


@path(folded=2, chains=None, kept_chains=None)
def repmixer(b):
    """FastViT: x + layer_scale · (mixer(x) − norm(x))."""
    y, x = beside(b, pads=[1] * 4, group=4, bias=False)
    d = b.node("Sub", [b.norm(y, 4), b.norm(x, 4)])
    b.output(b.node("Add", [x, b.node("Mul", [b.node("Identity", [factor(b, 4)]), d])]))


@path()
def with_other_terms(b):
    """Terms that fold nowhere do not hinder."""
    y, x = beside(b, pads=[1] * 4)
    s = b.node("Add", [b.node("Sub", [b.input("z", [2, 4, 6, 6]), y]), b.node("Sigmoid", [x])])
    b.output(b.node("Sub", [s, b.norm(x, 4)]))


@path(folded=2)
def two_norms_of_one_input(b):
    y, x = beside(b, pads=[1] * 4)
    b.output(b.node("Add", [b.node("Sub", [y, b.norm(x, 4)]), b.norm(x, 4)]))


@path()
def two_layers_to_choose_from(b):
    y, x = beside(b, pads=[1] * 4)
    z, _ = beside(b, x=x, k=1)
    b.output(b.node("Add", [b.node("Add", [z, y]), b.norm(x, 4)]))


@path()
def one_of_two_layers_will_do(b):
    """The first layer has no tap at the result's own position."""
    y, x = beside(b, pads=[1, 1, 3, 3], dilations=[2, 2])
    z, _ = beside(b, x=x, k=1)
    b.output(b.node("Add", [b.node("Add", [y, z]), b.norm(x, 4)]))


@path()
def scaled_norm(b):
    y, x = beside(b, pads=[1] * 4)
    b.output(b.node("Add", [y, b.node("Mul", [b.norm(x, 4), b.tensor(np.array(0.5))])]))


@path(chains=None, kept_chains=None)
def negated_norm(b):
    y, x = beside(b, pads=[1] * 4)
    b.output(b.node("Sub", [y, b.node("Neg", [b.norm(x, 4)])]))


@path(folded=1, chains=1)
def norm_and_layer_scale(b):
    """The layer's own chain goes into it first."""
    y, x = beside(b, pads=[1] * 4)
    b.output(b.node("Add", [b.node("Mul", [y, factor(b, 4)]), b.norm(x, 4)]))


@path(folded=1)
def layer_shifted_on_the_way(b):
    y, x = beside(b, pads=[1] * 4)
    b.output(b.node("Add", [b.node("Add", [y, factor(b, 4)]), b.norm(x, 4)]))


@path(folded=0, chains=1, opsets=(9, 17))
def chain_sideways(b):
    y, x = beside(b, pads=[1] * 4)
    n = b.node("Add", [b.node("Mul", [x, factor(b, 4)]), factor(b, 4)])
    b.output(b.node("Sub", [n, y]))


@path()
def same_input_through_identities(b):
    y, x = beside(b, pads=[1] * 4)
    b.output(b.node("Add", [y, b.norm(b.node("Identity", [x]), 4)]))


@path(folded=2)
def norm_behind_the_sum(b):
    """First the norm of the sum into the layer and the norm beside it, then that norm into the layer."""
    y, x = beside(b, pads=[1] * 4)
    finish(b, b.node("Add", [y, b.norm(x, 4)]), 4)


# Obstacles.

for label, kw in (("dilated_between_taps", dict(pads=[1, 1, 3, 3], dilations=[2, 2])), ("strided", dict(pads=[3] * 4, strides=[2, 2], size=5)),
                  ("strided_same", dict(k=1, strides=[2, 2], pads=[2, 2, 3, 3]))):
    @path(folded=0, kept=KEPT + "|padded-shift", name=label)
    def no_such_tap(b, kw=kw):
        join(b, **kw)


@path(folded=0, kept="activation-between")
def strided_over_one_position(b):
    join(b, size=1, k=1, strides=[2, 2])


@path(folded=0, kept=KEPT)
def another_input(b):
    y, _ = beside(b, pads=[1] * 4)
    x = b.node("Relu", [b.input("x2", [2, 4, 6, 6])])
    b.output(b.node("Add", [y, b.norm(x, 4)]))


@path(folded=0, kept=KEPT)
def input_behind_another_relu(b):
    """Equal values, but not the same value."""
    x = b.input("x", [2, 4, 6, 6])
    y, _ = beside(b, x=b.node("Sigmoid", [x]), pads=[1] * 4)
    b.output(b.node("Add", [y, b.norm(b.node("Tanh", [x]), 4)]))


@path(folded=0, kept=KEPT)
def one_channel_broadcast(b):
    """One output channel added to four."""
    x = relu_input(b, [2, 4, 6, 6])
    y = b.linear(Linear("Conv", (), (1, 4, 3, 3), 1, dict(pads=[1] * 4)), x)
    b.output(b.node("Add", [y, b.norm(x, 4)]))


@path(folded=0, kept=KEPT)
def one_input_channel_broadcast(b):
    x = relu_input(b, [2, 1, 6, 6])
    y = b.linear(Linear("Conv", (), (4, 1, 3, 3), 4, dict(pads=[1] * 4)), x)
    b.output(b.node("Add", [y, b.norm(x, 1)]))


@path(folded=0, kept=KEPT + "|padded-shift")
def one_position_broadcast(b):
    """[2, 4, 1, 1] and a layer that makes it [2, 4, 3, 3]."""
    join(b, size=1, k=1, pads=[1] * 4)


@path(folded=0, kept=KEPT)
def one_row_broadcast(b):
    """The layer's result is one pixel, the norm's are nine."""
    join(b, size=3, k=3)


@path(folded=0, kept=KEPT)
def activation_behind_the_layer(b):
    y, x = beside(b, pads=[1] * 4)
    b.output(b.node("Add", [b.node("Relu", [y]), b.norm(x, 4)]))


@path(folded=0, kept=KEPT)
def activation_behind_the_norm(b):
    y, x = beside(b, pads=[1] * 4)
    b.output(b.node("Add", [y, b.node("Relu", [b.norm(x, 4)])]))


@path(folded=0, kept=KEPT)
def layer_read_twice(b):
    y, x = beside(b, pads=[1] * 4)
    b.output(y)
    b.output(b.node("Add", [y, b.norm(x, 4)]))


@path(folded=0, kept=KEPT)
def norm_read_twice(b):
    y, x = beside(b, pads=[1] * 4)
    n = b.norm(x, 4)
    b.output(n)
    b.output(b.node("Add", [y, n]))


@path(folded=0, kept=KEPT)
def sum_in_between_read_twice(b):
    y, x = beside(b, pads=[1] * 4)
    s = b.node("Add", [y, b.input("z", [2, 4, 6, 6])])
    b.output(s)
    b.output(b.node("Add", [s, b.norm(x, 4)]))


@path(folded=0, kept=KEPT)
def multiplied(b):
    join(b, op="Mul", pads=[1] * 4)


@path(folded=0, kept=KEPT)
def weights_are_an_input(b):
    x = relu_input(b, [2, 4, 6, 6])
    y = b.node("Conv", [x, b.input("w", [4, 4, 3, 3])], pads=[1] * 4)
    b.output(b.node("Add", [y, b.norm(x, 4)]))


@path(folded=0, kept=("training-mode", KEPT + "|training-mode"))
def norm_behind_the_layer_trains(b):
    y, x = beside(b, pads=[1] * 4)
    y = b.norm(y, 4, outputs=3, training_mode=1)[0]
    b.output(b.node("Add", [y, b.norm(x, 4)]))


@path(opsets=(17,))
def weight_shared_with_another_layer(b):
    w = b.tensor(b.rng.normal(0, 0.2, (4, 4, 3, 3)))
    b.output(b.linear(Linear("Conv", (), (4, 4, 3, 3), 4), b.input("z", [2, 4, 6, 6]), w=w))
    join(b, w=w, pads=[1] * 4)


@path(folded=0, kept="shared-weight|" + KEPT, args=("--passes=fold-bn{shared=refuse},dce",))
def weight_shared_with_another_layer_refused(b):
    weight_shared_with_another_layer(b)


@path()
def transposed_weight(b):
    w = b.node("Transpose", [b.tensor(b.rng.normal(0, 0.2, (3, 3, 4, 4)))], perm=[3, 2, 0, 1])
    join(b, w=w, pads=[1] * 4)


@path(folded=0, kept="activation-between")
def gemm_beside(b):
    x = b.node("Relu", [b.input("x", [5, 6])])
    y = b.linear(Linear("Gemm", (), (6, 6), 6), x)
    b.output(b.node("Add", [y, b.norm(x, 6)]))


@path(folded=0, kept="activation-between")
def transposed_conv_beside(b):
    x = relu_input(b, [2, 4, 6, 6])
    y = b.linear(Linear("ConvTranspose", (), (4, 4, 3, 3), 4, dict(pads=[1] * 4)), x)
    b.output(b.node("Add", [y, b.norm(x, 4)]))
