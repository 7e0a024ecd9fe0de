"""Parallel linear ops: `merge-parallel-linear` against an oracle that knows which positions each tap reads."""
import itertools
import random

import numpy as np
import onnx
import pytest
from onnx import helper

import harness
from builder import Builder, save

PASSES = "--passes=merge-parallel-linear,dce"


class Conv:
    """A convolution: extents of the kernel, strides, dilations, pads before and after each axis, groups."""

    def __init__(self, kernel, strides=None, dilations=None, before=None, after=None, groups=1, auto=None, bias=True):
        n = len(kernel)
        self.kernel, self.strides = tuple(kernel), tuple(strides or (1,) * n)
        self.dilations = tuple(dilations or (1,) * n)
        self.before, self.after = tuple(before or (0,) * n), tuple(after or (0,) * n)
        self.groups, self.auto, self.bias = groups, auto, bias

    def pads(self, extents):
        """Before and after each axis."""
        if self.auto in (None, "VALID"):
            return list(zip(self.before, self.after))
        out = []
        for n, k, s, d in zip(extents, self.kernel, self.strides, self.dilations):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            half = total // 2
            out.append((half, total - half) if self.auto == "SAME_UPPER" else (total - half, half))
        return out

    def reads(self, extents):
        """Per axis: for every output the positions that the taps read."""
        out = []
        for n, k, s, d, (before, after) in zip(extents, self.kernel, self.strides, self.dilations, self.pads(extents)):
            outputs = (n + before + after - d * (k - 1) - 1) // s + 1
            out.append([[p * s + t * d - before for t in range(k)] for p in range(outputs)])
        return out

    def add_to(self, b, x, channels, out):
        w = b.tensor(b.rng.normal(0, 0.4, (out, channels // self.groups, *self.kernel)))
        ins = [x, w] + ([b.tensor(b.rng.normal(0, 0.3, out))] if self.bias else [])
        attrs = dict(kernel_shape=self.kernel, strides=self.strides, dilations=self.dilations, group=self.groups)
        if self.auto:
            attrs["auto_pad"] = self.auto
        else:
            attrs["pads"] = self.before + self.after
        return b.node("Conv", ins, **attrs)


def within(small, large):
    """Whether the positions of `small` stand together within those of `large`, at one place for every output."""
    for a, b in zip(small, large):
        if len(a) != len(b) or not a:
            return False
        k = len(a[0])
        if not any(all(q[at:at + k] == p for p, q in zip(a, b)) for at in range(len(b[0]) - k + 1)):
            return False
    return True


def legal(a, b, extents):
    if a.strides != b.strides or a.groups != b.groups:
        return False
    small, large = sorted((a, b), key=lambda c: np.prod(c.kernel))
    return within(small.reads(extents), large.reads(extents))


def convs(model):
    return [n.op_type for n in model.graph.node].count("Conv")


def judge(b, tmp_path, merged, passes=PASSES, zeros=0):
    """Runs the pass; checks what it says it merged and that the outputs are the same."""
    src, dst = save(b.model(), tmp_path / "in.onnx"), tmp_path / "out.onnx"
    complaint = harness.check(src)
    report = harness.opt(src, dst, passes)
    codes = [r["code"] for r in report.remarks if r["pass"] == "merge-parallel-linear"]
    assert codes.count("merged") == merged + zeros, codes
    assert complaint is None and harness.check(dst) is None
    worst, engine = harness.compare(src, dst)
    assert worst <= harness.tolerance(src, engine), (worst, engine)
    again = tmp_path / "again.onnx"
    second = harness.opt(dst, again, passes)
    assert not any(r["code"] == "merged" for r in second.remarks)
    assert again.read_bytes() == dst.read_bytes()
    return onnx.load(str(dst)), codes


def pair(tmp_path, a, b, extents=(9, 8), channels=4, out=4, op="Add", swap=False, opset=17, dtype="f32"):
    m = Builder(f"{a.__dict__}{b.__dict__}", opset=opset, dtype=dtype)
    x = m.input("x", [2, channels, *extents])
    y, z = a.add_to(m, x, channels, out), b.add_to(m, x, channels, out)
    m.nodes.append(helper.make_node(op, [z, y] if swap else [y, z], ["y"], name="sum"))
    m.output("y")
    expected = legal(a, b, extents)
    model, codes = judge(m, tmp_path, int(expected))
    assert convs(model) == (1 if expected else 2)
    if not expected:
        assert codes in (["windows-differ"], ["attributes-differ"]), codes
    return expected


SAME3 = Conv((3, 3), before=(1, 1), after=(1, 1))
PAIRS = {
    "3x3 and 1x1": (SAME3, Conv((1, 1)), True),
    "1x1 and 3x3": (Conv((1, 1)), SAME3, True),
    "3x3 and 3x3": (SAME3, Conv((3, 3), before=(1, 1), after=(1, 1)), True),
    "5x5 and 3x3": (Conv((5, 5), before=(2, 2), after=(2, 2)), SAME3, True),
    "7x7 and 3x3, depthwise": (Conv((7, 7), before=(3, 3), after=(3, 3), groups=4), Conv((3, 3), before=(1, 1), after=(1, 1), groups=4), True),
    "3x3 and 1x3": (SAME3, Conv((1, 3), before=(0, 1), after=(0, 1)), True),
    "3x3 and 3x1": (SAME3, Conv((3, 1), before=(1, 0), after=(1, 0)), True),
    "1x3 and 3x1": (Conv((1, 3), before=(0, 1), after=(0, 1)), Conv((3, 1), before=(1, 0), after=(1, 0)), False),
    "stride 2": (Conv((3, 3), (2, 2), before=(1, 1), after=(1, 1)), Conv((1, 1), (2, 2)), True),
    "stride 2, even kernel": (Conv((4, 4), (2, 2), before=(1, 1), after=(1, 1)), Conv((2, 2), (2, 2)), True),
    "strides differ": (Conv((3, 3), (2, 2), before=(1, 1), after=(1, 1)), Conv((5, 5)), False),
    "dilated and a point": (Conv((3, 3), dilations=(2, 3), before=(2, 3), after=(2, 3)), Conv((1, 1)), True),
    "dilated and a dilated point": (SAME3, Conv((1, 1), dilations=(3, 2)), True),
    "dilated alike": (Conv((5, 5), dilations=(2, 2), before=(4, 4), after=(4, 4)), Conv((3, 3), dilations=(2, 2), before=(2, 2), after=(2, 2)), True),
    "dilations differ": (Conv((3, 3), dilations=(2, 2), before=(2, 2), after=(2, 2)), SAME3, False),
    "between the taps": (Conv((3, 3), dilations=(2, 2), before=(2, 2), after=(2, 2)), Conv((1, 1), before=(1, 1), after=(-1, -1)), None),
    "a corner of the window": (Conv((3, 3), before=(0, 0), after=(2, 2)), Conv((1, 1)), True),
    "the last corner of the window": (Conv((3, 3), before=(2, 2), after=(0, 0)), Conv((1, 1)), True),
    "a corner, cut": (SAME3, Conv((2, 2), before=(1, 1), after=(0, 0)), True),
    "the other corner": (SAME3, Conv((2, 2), before=(0, 0), after=(1, 1)), True),
    "beyond the window": (SAME3, Conv((2, 2), before=(2, 2), after=(-1, -1)), None),
    "padding moves": (SAME3, Conv((3, 3), before=(2, 0), after=(0, 2)), False),
    "groups": (Conv((3, 3), before=(1, 1), after=(1, 1), groups=2), Conv((1, 1), groups=2), True),
    "groups differ": (Conv((3, 3), before=(1, 1), after=(1, 1), groups=2), Conv((1, 1)), False),
    "same upper": (Conv((4, 4), auto="SAME_UPPER"), Conv((1, 1), auto="SAME_UPPER"), True),
    "same lower": (Conv((4, 4), auto="SAME_LOWER"), Conv((3, 3), auto="SAME_LOWER"), True),
    "upper and lower": (Conv((4, 4), auto="SAME_UPPER"), Conv((2, 2), auto="SAME_LOWER"), True),
    "two halves": (Conv((2, 2), auto="SAME_UPPER"), Conv((2, 2), auto="SAME_LOWER"), False),
    "same, stride 2": (Conv((3, 3), (2, 2), auto="SAME_UPPER"), Conv((1, 1), (2, 2)), None),
    "same and numbers": (Conv((3, 3), auto="SAME_UPPER"), SAME3, True),
    "valid": (Conv((3, 3), auto="VALID"), Conv((1, 1), before=(-1, -1), after=(-1, -1)), None),
    "valid and numbers": (Conv((3, 3), auto="VALID"), Conv((3, 3)), True),
}
PAIRS = {name: p for name, p in PAIRS.items() if not any(v < 0 for c in p[:2] for v in c.before + c.after)}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("op,swap", [("Add", False), ("Add", True), ("Sub", False), ("Sub", True)])
def test_pairs(name, op, swap, tmp_path):
    a, b, expected = PAIRS[name]
    found = pair(tmp_path, a, b, op=op, swap=swap)
    assert expected in (None, found), "the oracle"


@pytest.mark.parametrize("dtype", ["f64", "f16"])
@pytest.mark.parametrize("opset", [9, 22])
def test_types(dtype, opset, tmp_path):
    if dtype == "f64" or opset > 9:
        assert pair(tmp_path, SAME3, Conv((1, 1)), dtype=dtype, opset=opset)
    else:
        assert pair(tmp_path, SAME3, Conv((1, 1), bias=False), opset=opset)


def drawn(pick):
    """Two windows, half of them made to fit; None where their results cannot be added."""
    rank = pick.choice((1, 2, 2, 3))
    extents = tuple(pick.choice((7, 8, 9)) for _ in range(rank))
    strides = tuple(pick.choice((1, 1, 2)) for _ in range(rank))
    dilations = tuple(pick.choice((1, 1, 2)) for _ in range(rank))
    groups = pick.choice((1, 1, 2, 4))
    kernel = tuple(pick.choice((1, 2, 3)) for _ in range(rank))
    before, after = (tuple(pick.choice((0, 1, 2)) for _ in range(rank)) for _ in range(2))
    a = Conv(kernel, strides, dilations, before, after, groups, bias=pick.random() < 0.5)
    taps = [pick.randint(1, k) for k in kernel]
    at = [pick.randint(0, k - t) for k, t in zip(kernel, taps)]
    first = [p - o * d for p, o, d in zip(before, at, dilations)]
    last = [p - (k - t - o) * d for p, k, t, o, d in zip(after, kernel, taps, at, dilations)]
    if pick.random() < 0.3:
        i = pick.randrange(rank)
        first[i], last[i] = first[i] + 1, last[i] - 1
    first, last = [max(v, 0) for v in first], [max(v, 0) for v in last]
    b = Conv(taps, strides, dilations, first, last, groups, bias=pick.random() < 0.5)
    counts = [[len(axis) for axis in c.reads(extents)] for c in (a, b)]
    fits = counts[0] == counts[1] and min(counts[0]) > 0
    return (*((a, b) if pick.random() < 0.5 else (b, a)), extents) if fits else None


@pytest.mark.parametrize("seed", range(80))
def test_random_pairs(seed, tmp_path):
    pick = random.Random(seed)
    a, b, extents = next(filter(None, (drawn(pick) for _ in itertools.count())))
    pair(tmp_path, a, b, extents=extents, op=pick.choice(("Add", "Sub")))


def test_many_branches(tmp_path):
    """Four convolutions, a residual and an activation in one tree, with zeros as an unrolled loop adds them."""
    m = Builder("branches")
    x = m.input("x", [1, 4, 6, 6])
    zero = m.tensor(0.0)
    total = m.node("Add", [zero, SAME3.add_to(m, x, 4, 4)])
    total = m.node("Add", [total, Conv((1, 3), before=(0, 1), after=(0, 1)).add_to(m, x, 4, 4)])
    total = m.node("Add", [m.node("Relu", [x]), total])
    total = m.node("Sub", [total, Conv((1, 1)).add_to(m, x, 4, 4)])
    total = m.node("Add", [Conv((3, 1), before=(1, 0), after=(1, 0)).add_to(m, x, 4, 4), total])
    m.nodes.append(helper.make_node("Add", [total, x], ["y"], name="residual"))
    m.output("y")
    model, _ = judge(m, tmp_path, 3, zeros=1)
    assert [n.op_type for n in model.graph.node] == ["Conv", "Relu", "Add", "Add"] or convs(model) == 1


@pytest.mark.parametrize("shapes", list(itertools.permutations([(4, 1, 1), (6,), (1, 4, 6, 1)], 2)))
def test_partial_sums_change_shape(shapes, tmp_path):
    """Terms that broadcast: what is declared of a partial sum must not outlive its convolution."""
    m = Builder(f"broadcast{shapes}")
    x = m.input("x", [1, 4, 6, 6])
    p, q = (m.input(f"p{i}", list(s)) for i, s in enumerate(shapes))
    first = Conv((1, 1)).add_to(m, x, 4, 4)
    s = m.node("Add", [first, p])
    t = m.node("Add", [q, s])
    m.nodes.append(helper.make_node("Add", [t, SAME3.add_to(m, x, 4, 4)], ["y"], name="last"))
    m.value_info += [helper.make_tensor_value_info(v, m.onnx, [1, 4, 6, 6]) for v in (first, s, t)]
    m.output("y")
    model, _ = judge(m, tmp_path, 1)
    assert convs(model) == 1


def test_repvgg_blocks(tmp_path):
    """Three blocks of 3×3, 1×1 and identity, each with its batch norm: one convolution each."""
    m = Builder("repvgg")
    x = m.input("x", ["n", 8, 12, 12])
    for stride in (1, 2, 1):
        three = Conv((3, 3), (stride,) * 2, before=(1, 1), after=(1, 1), bias=False)
        terms = [m.norm(three.add_to(m, x, 8, 8), 8), m.norm(Conv((1, 1), (stride,) * 2, bias=False).add_to(m, x, 8, 8), 8)]
        if stride == 1:
            terms.append(m.norm(x, 8))
        x = m.node("Relu", [m.node("Add", [m.node("Add", terms[:2]), terms[2]]) if len(terms) > 2 else m.node("Add", terms)])
    m.nodes.append(helper.make_node("Identity", [x], ["y"], name="last"))
    m.output("y")
    model, _ = judge(m, tmp_path, 3, passes="--passes=fold-bn,merge-parallel-linear,dce")
    assert [n.op_type for n in model.graph.node] == ["Conv", "Relu"] * 3 + ["Identity"]


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("biases", [((5,), (5,)), ((1, 5), (3, 5)), ((3, 1), (5,)), (None, (5,)), ((), (1, 5))])
def test_gemm(trans, biases, tmp_path):
    m = Builder(f"gemm{trans}{biases}")
    x = m.input("x", [3, 4])
    terms = []
    for shape in biases:
        w = m.tensor(m.rng.normal(0, 0.5, (5, 4) if trans else (4, 5)))
        c = [] if shape is None else [m.tensor(m.rng.normal(0, 0.5, shape))]
        terms.append(m.node("Gemm", [x, w, *c], transB=trans, alpha=0.5))
    m.nodes.append(helper.make_node("Sub", terms, ["y"], name="difference"))
    m.output("y")
    # A column and a row have no common extents that one of them has.
    merges = biases != ((3, 1), (5,))
    model, codes = judge(m, tmp_path, int(merges))
    assert merges or codes == ["attributes-differ"]
    assert [n.op_type for n in model.graph.node] == (["Gemm"] if merges else ["Gemm", "Gemm", "Sub"])


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("rank", [2, 3])
def test_matmul(left, rank, tmp_path):
    m = Builder(f"matmul{left}{rank}")
    x = m.input("x", [2, 4, 4][-rank:])
    terms = []
    for _ in range(3):
        w = m.tensor(m.rng.normal(0, 0.5, (4, 4)))
        terms.append(m.node("MatMul", [w, x] if left else [x, w]))
    s = m.node("Add", [m.node("Add", [terms[0], m.tensor(np.ones(4))]), terms[1]])
    m.nodes.append(helper.make_node("Add", [s, terms[2]], ["y"], name="sum"))
    m.output("y")
    model, _ = judge(m, tmp_path, 2)
    assert [n.op_type for n in model.graph.node] == ["MatMul", "Add"]
