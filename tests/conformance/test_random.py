"""Random graphs against an oracle of a few lines, and random damage to real files."""
import math
import os
import random

import pytest

import builder
import harness
from builder import Builder, Linear
from harness import MODELS
from paths import (average_pool, border, concat, factor, flatten, gap, max_pool, nchw, nhwc, pad, reshape, resize, shuffle, split,
                   transpose)

SEEDS = int(os.environ.get("NORMFOLD_SEEDS", "120"))
SIZE = 5  # height and width of the input


class Random:
    """A random graph of layers, norms, factors and what stands between them."""

    def __init__(self, seed, length=25):
        self.pick = random.Random(seed)
        self.b = Builder(f"random{seed}", opset=self.pick.choice((9, 13, 17, 22)))
        self.shape, self.made = {}, {}  # by value: its extents; (op, data operands) of what makes it
        self.weights, self.params = {}, {}
        self.add(self.b.input("x", [2, 4, SIZE, SIZE]), (2, 4, SIZE, SIZE))
        for _ in range(length):
            # Mostly the newest value, so that chains get long; an older one makes a second reader.
            unread = [v for v in list(self.shape)[-4:] if not any(v in n.input for n in self.b.nodes)]
            x = self.pick.choice(unread if unread and self.pick.random() < 0.85 else list(self.shape))
            step = self.pick.choice([self.conv] * 4 + [self.norm] * 5 + [self.plain, self.sum, self.sum, self.affine, self.affine,
                                    self.window, self.window, self.move, self.join, self.part, self.beside, self.head])
            if len(self.shape[x]) == 4 or step in (self.norm, self.plain, self.sum, self.affine, self.head):
                step(x)
        read = {i for n in self.b.nodes for i in n.input}
        self.outputs = {v for v in self.shape if v not in read} | {self.pick.choice(list(self.shape))} - {"x"}
        for v in sorted(self.outputs):
            self.b.output(v, shape=self.shape[v])

    def add(self, value, shape, op=None, *sources):
        self.shape[value] = tuple(shape)
        self.made[value] = (op, sources)
        return value

    def conv(self, x):
        n, cin, h, w = self.shape[x]
        k, cout = self.pick.choice([k for k in (1, 2, 3) if k <= min(h, w)]), self.pick.choice((2, 4, 6))
        transposed = h < 8 and self.pick.random() < 0.3
        group = self.pick.choice([g for g in (1, 2, cin) if cin % g == 0 and cout % g == 0])
        shape = (cin, cout // group, k, k) if transposed else (cout, cin // group, k, k)
        attrs, by = (dict(pads=[k // 2] * 4), 2 * (k // 2) - k + 1) if self.pick.random() < 0.6 else ({}, 1 - k)
        lin = Linear("ConvTranspose" if transposed else "Conv", (), shape, cout, dict(group=group, **attrs))
        known = self.weights.setdefault((shape, transposed), [])
        if not known or self.pick.random() < 0.7:
            known.append(self.b.weight(lin))
        y = self.b.linear(lin, x, self.pick.random() < 0.5, w=self.pick.choice(known))
        by = -by if transposed else by
        return self.add(y, (n, cout, h + by, w + by), "linear", x)

    def norm(self, x):
        c = self.shape[x][1]
        known = self.params.setdefault(c, [])
        if not known or self.pick.random() < 0.7:
            scale = self.b.rng.uniform(0.5, 1.5, c)
            positive = self.b.params(c, scale=scale) if self.pick.random() < 0.4 else self.b.params(c)
            known.append(positive)
        return self.add(self.b.norm(x, c, self.pick.choice(known)), self.shape[x], "norm", x)

    def plain(self, x):
        op = self.pick.choice(("Relu", "Identity", "Dropout", "Sigmoid", "Identity", "Neg"))
        return self.add(self.b.node(op, [x]), self.shape[x], "through" if op in ("Identity", "Dropout") else op, x)

    def sum(self, x):
        like = [v for v, s in self.shape.items() if s == self.shape[x]]
        other = self.pick.choice(like[-2:] if self.pick.random() < 0.7 else like)
        y = self.b.node(self.pick.choice(("Add", "Add", "Sub")), [x, other])
        return self.add(y, self.shape[x], "sum", x, other)

    def affine(self, x):
        shape = self.shape[x]
        axis = self.pick.choice((1, 1, 1, len(shape) - 1))
        k = factor(self.b, shape[axis], [shape[axis]] + [1] * (len(shape) - axis - 1))
        op = self.pick.choice(("Mul", "Add", "Sub", "Div"))
        ins = [k, x] if op != "Div" and self.pick.random() < 0.3 else [x, k]
        return self.add(self.b.node(op, ins), shape, "affine", x)

    def window(self, x):
        n, c, h, w = self.shape[x]
        kind = self.pick.choice(("average", "max", "pad", "resize", "global"))
        if kind == "pad" and min(h, w) > 1 and h < 9:
            mode = self.pick.choice(("constant", "edge", "reflect"))
            return self.add(pad(self.b, x, border(), mode), (n, c, h + 2, w + 2), kind, x)
        if kind == "resize" and self.b.opset >= 11 and h < 6:
            mode = self.pick.choice(("nearest", "linear"))
            return self.add(resize(self.b, x, [1, 1, 2, 2], mode), (n, c, 2 * h, 2 * w), kind, x)
        if kind in ("average", "max") and min(h, w) > 1:
            edge = self.pick.choice((0, 1))
            attrs = dict(pads=[edge, 0, edge, 0])
            if kind == "average":
                attrs["count_include_pad"] = self.pick.choice((0, 1))
            y = (average_pool if kind == "average" else max_pool)(self.b, x, **attrs)
            return self.add(y, (n, c, h - 1 + 2 * edge, w - 1), kind, x)
        if self.pick.random() < 0.3:
            return self.add(gap(self.b, x), (n, c, 1, 1), "global", x)
        return x

    def move(self, x):
        n, c, h, w = self.shape[x]
        kind = self.pick.choice(("nhwc and back", "shuffle", "swap", "to rows"))
        if kind == "nhwc and back":
            y = self.affine(self.add(nhwc(self.b, x), (n, h, w, c), kind, x))
            return self.add(nchw(self.b, y), (n, c, h, w), kind, y)
        if kind == "shuffle" and c % 2 == 0:
            return self.add(shuffle(self.b, x, c, 2, h, w, n), (n, c, h, w), kind, x)
        if kind == "swap":
            return self.add(transpose(self.b, x, 0, 1, 3, 2), (n, c, w, h), kind, x)
        return self.add(reshape(self.b, x, [n, c, h * w]), (n, c, h * w), kind, x)

    def join(self, x):
        axis = self.pick.choice((1, 1, 2, 0))
        rest = lambda s: s[:axis] + s[axis + 1:]  # noqa: E731
        other = self.pick.choice([v for v, s in self.shape.items() if len(s) == 4 and rest(s) == rest(self.shape[x])])
        shape = list(self.shape[x])
        shape[axis] += self.shape[other][axis]
        if shape[axis] > 12:
            return x
        return self.add(concat(self.b, x, other, axis=axis), shape, "concat", x, other)

    def part(self, x):
        axis = self.pick.choice((1, 1, 2))
        shape = list(self.shape[x])
        if shape[axis] < 2:
            return x
        at = self.pick.randrange(1, shape[axis])
        first, second = split(self.b, x, axis, [at, shape[axis] - at])
        self.add(second, [*shape[:axis], shape[axis] - at, *shape[axis + 1:]], "split", x)
        return self.add(first, [*shape[:axis], at, *shape[axis + 1:]], "split", x)

    def beside(self, x):
        """A norm beside a convolution of the same input."""
        c, k = self.shape[x][1], self.pick.choice((1, 2, 3))
        before = self.pick.randrange(k), self.pick.randrange(k)
        attrs = dict(pads=[*before, k - 1 - before[0], k - 1 - before[1]], group=self.pick.choice((1, c)))
        y = self.b.linear(Linear("Conv", (), (c, c // attrs["group"], k, k), c, attrs), x)
        n = self.norm(x)
        ins = [self.add(y, self.shape[x], "linear", x), n]
        self.pick.shuffle(ins)
        return self.add(self.b.node(self.pick.choice(("Add", "Sub")), ins), self.shape[x], "sum", *ins)

    def head(self, x):
        """To features, and a matrix product."""
        n, *rest = self.shape[x]
        if len(rest) > 1:
            k = math.prod(rest)
            x = self.add(flatten(self.b, x), (n, k), "flatten", x)
        k = self.shape[x][1]
        if k > 200:
            return x
        w = self.b.tensor(self.b.rng.normal(0, 1 / math.sqrt(k), (k, 6)))
        if self.pick.random() < 0.5:
            y = self.b.node("MatMul", [x, w])
        else:
            y = self.b.node("Gemm", [x, w, self.b.tensor(self.b.rng.normal(0, 0.3, 6))])
        return self.add(y, (n, 6), "linear", x)

    def foldable(self):
        """How many norms fold at least: those from which every value up to linear layers has one reader."""
        readers = {}
        for n in self.b.nodes:
            for i in n.input:
                readers[i] = readers.get(i, 0) + 1

        def reaches(v):
            op, sources = self.made[v]
            alone = readers.get(v, 0) == 1 and v not in self.outputs
            return alone and (op == "linear" or op in ("norm", "through", "sum", "global") and all(map(reaches, sources)))
        return sum(op == "norm" and reaches(*sources) for op, sources in self.made.values())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_graph(seed, tmp_path):
    graph = Random(seed)
    src, dst, again, same = (tmp_path / f"{n}.onnx" for n in ("in", "out", "again", "same"))
    builder.save(graph.b.model(), src)
    assert not harness.check(src)
    report = harness.opt(src, dst)
    assert report.folded >= graph.foldable()
    assert not harness.check(dst)
    worst, engine = harness.compare(src, dst)
    assert engine == "onnxruntime" and worst <= 2e-5, f"{worst:.1e}"  # up to 25 layers without a spread to hold on to
    second = harness.opt(dst, again)
    assert second.folded + second.chains["folded"] == 0 and again.read_bytes() == dst.read_bytes()
    harness.copy(src, same)
    assert same.read_bytes() == src.read_bytes()


def damaged(data, rng):
    """A few bytes changed, a stretch cut out, doubled or overwritten."""
    data, kind, at = bytearray(data), rng.randrange(4), rng.randrange(len(data))
    length = rng.choice((1, 2, 8, 64))
    if kind == 0:
        for _ in range(rng.choice((1, 1, 3, 10))):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 1:
        del data[at:at + length]
    elif kind == 2:
        data[at:at] = data[at:at + length]
    else:
        data[at:at + length] = bytes(rng.randrange(256) for _ in range(length))
    return bytes(data)


@pytest.mark.parametrize("name", ["annotated", "awkward", "external", "if_captures", "local_function", "typed_fields", "unknown_fields"])
def test_damaged_file(name, tmp_path):
    """Whatever happens to a file, the answer is a result or one error: no panic, no hang, nothing left behind."""
    rng, data = random.Random(name), (MODELS / f"{name}.onnx").read_bytes()
    for p in MODELS.glob("external*.bin"):
        (tmp_path / p.name).write_bytes(p.read_bytes())
    src, dst = tmp_path / "in.onnx", tmp_path / "out" / "out.onnx"
    for i in range(60):
        src.write_bytes(damaged(data, rng))
        dst.parent.mkdir()
        done = harness.run("opt", src, "-o", dst, timeout=20)
        where = f"damage {i} of {name}: exit {done.returncode}\n{done.stderr}"
        assert done.returncode in (0, 4) and "panicked" not in done.stderr, where
        left = list(dst.parent.iterdir())
        assert dst in left if done.returncode == 0 else not left, where
        for p in left:
            p.unlink()
        dst.parent.rmdir()


@pytest.mark.parametrize("name", ["nested", "separable.k2"])
def test_damaged_architecture(name, tmp_path):
    rng, data = random.Random(name), (MODELS / "keras" / f"{name}.json").read_bytes()
    src = tmp_path / "in.json"
    for i in range(40):
        src.write_bytes(damaged(data, rng))
        done = harness.run("explain", src, timeout=20)
        assert done.returncode in (0, 4) and "panicked" not in done.stderr, f"damage {i}: exit {done.returncode}\n{done.stderr}"


def test_oracle_and_damage_are_not_idle():
    """The generators do make what they are there for."""
    graphs = [Random(seed) for seed in range(60)]
    folds = [g.foldable() for g in graphs]
    norms = [sum(n.op_type == "BatchNormalization" for n in g.b.nodes) for g in graphs]
    assert sum(folds) > 40 and sum(norms) - sum(folds) > 80
    assert len(set(folds)) > 3
    made = {op for g in graphs for op, _ in g.made.values()}
    assert made >= {"linear", "norm", "sum", "affine", "average", "max", "pad", "resize", "global", "concat", "split", "flatten", "shuffle"}
