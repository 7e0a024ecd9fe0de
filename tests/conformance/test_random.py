"""Random graphs against an oracle of a few lines, and random damage to real files."""
import random

import pytest

import builder
import harness
from builder import Builder, Linear
from harness import MODELS

SIZE = 5  # height and width of every value


class Random:
    """A random graph of convolutions, norms and what stands between them; every value is [1, C, SIZE, SIZE]."""

    def __init__(self, seed, length=30):
        self.pick = random.Random(seed)
        self.b = Builder(f"random{seed}", opset=self.pick.choice((9, 13, 17, 22)))
        self.channels, self.made = {}, {}  # by value: its channels; (op, data operand) of what makes it
        self.weights, self.params = {}, {}
        self.add(self.b.input("x", [1, 4, SIZE, SIZE]), 4)
        for _ in range(length):
            # Mostly the newest value, so that chains get long; an older one makes a second reader.
            x = self.pick.choice(list(self.channels)[-2:] if self.pick.random() < 0.8 else list(self.channels))
            self.pick.choice([self.conv, self.conv, self.norm, self.norm, self.plain, self.sum])(x)
        read = {i for n in self.b.nodes for i in n.input}
        self.outputs = {v for v in self.channels if v not in read} | {self.pick.choice(list(self.channels))} - {"x"}
        for v in sorted(self.outputs):
            self.b.output(v, shape=[1, self.channels[v], SIZE, SIZE])

    def add(self, value, channels, op=None, source=None):
        self.channels[value] = channels
        self.made[value] = (op, source)

    def conv(self, x):
        cin, cout, k = self.channels[x], self.pick.choice((2, 4, 6)), self.pick.choice((1, 3))
        transposed = self.pick.random() < 0.3
        group = self.pick.choice([g for g in (1, 2, cin) if cin % g == 0 and cout % g == 0])
        shape = (cin, cout // group, k, k) if transposed else (cout, cin // group, k, k)
        lin = Linear("ConvTranspose" if transposed else "Conv", (), shape, cout, dict(group=group, pads=[k // 2] * 4))
        known = self.weights.setdefault((shape, transposed), [])
        if not known or self.pick.random() < 0.7:
            known.append(self.b.weight(lin))
        bias = self.pick.random() < 0.5
        self.add(self.b.linear(lin, x, bias, w=self.pick.choice(known)), cout, "linear", x)

    def norm(self, x):
        c = self.channels[x]
        known = self.params.setdefault(c, [])
        if not known or self.pick.random() < 0.7:
            known.append(self.b.params(c))
        self.add(self.b.norm(x, c, self.pick.choice(known)), c, "norm", x)

    def plain(self, x):
        op = self.pick.choice(("Relu", "Identity", "Dropout", "Sigmoid", "Identity"))
        self.add(self.b.node(op, [x]), self.channels[x], "through" if op in ("Identity", "Dropout") else op, x)

    def sum(self, x):
        other = self.pick.choice([v for v, c in self.channels.items() if c == self.channels[x]])
        self.add(self.b.node("Add", [x, other]), self.channels[x], "Add", x)

    def foldable(self):
        """How many norms fold: those from which every value up to a linear layer has one reader."""
        readers = {}
        for n in self.b.nodes:
            for i in n.input:
                readers[i] = readers.get(i, 0) + 1

        def reaches(v):
            op, source = self.made[v]
            alone = readers.get(v, 0) == 1 and v not in self.outputs
            return alone and (op == "linear" or op in ("norm", "through") and reaches(source))
        return sum(op == "norm" and reaches(source) for op, source in self.made.values())


@pytest.mark.parametrize("seed", range(60))
def test_random_graph(seed, tmp_path):
    graph = Random(seed)
    src, dst, again, same = (tmp_path / f"{n}.onnx" for n in ("in", "out", "again", "same"))
    builder.save(graph.b.model(), src)
    assert not harness.check(src)
    report = harness.opt(src, dst)
    assert report.folded >= graph.foldable()  # the generator counts the direct ones
    assert not harness.check(dst)
    worst, engine = harness.compare(src, dst)
    assert engine == "onnxruntime" and worst <= 2e-5, f"{worst:.1e}"  # up to 30 layers without a spread to hold on to
    assert harness.opt(dst, again).folded == 0 and again.read_bytes() == dst.read_bytes()
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
    assert sum(folds) > 80 and sum(norms) - sum(folds) > 80
    assert len(set(folds)) > 3
