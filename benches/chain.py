#!/usr/bin/env python3
"""Writes ONNX files of chains of blocks, any length, with nothing but the standard library.

    python3 benches/chain.py OUT.onnx [--blocks 10000] [--channels 4] [--kernel 1] [--shared] [--kind plain]

Kinds of chain:

    plain        conv-bn-relu
    tapped       the same; every ten blocks the value goes into a sum, which is the result, and the input comes in again. The
                 result of a plain chain forgets after some dozens of blocks what was before, a wrong weight, too
    joins        a norm behind a sum of two convolutions, behind a concatenation, on a residual branch, before a convolution and
                 beside one, in turn, each with an activation behind
    open         the same without activations, so that walks may go on
    barred       factors that all reach back to one activation: each walk fails as far away as can be
    barred-sums  the same through sums, each with a convolution of its own
    norms        norms through sums that reach back to one activation
    sum          one sum of as many convolutions as there are blocks, and a norm
    concat       one concatenation of them, and a norm
    beside       one sum of as many norms of one value
    fan          one convolution that as many norms read
    fan-out      one activation that as many norms read, each before a convolution
    parallel     blocks of RepVGG: a convolution, another of one tap and a norm beside each other
    term         one convolution that as many sums read, each with another one of the same value

With --shared all norms read the same four parameter tensors and all convolutions the same bias, so that one constant
has as many readers as there are blocks. The protobuf is encoded by hand: a hundred thousand blocks take seconds.
"""
import argparse
import random
import struct

FLOAT, OPSET, IR = 1, 17, 8


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def msg(number, payload):
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def text(number, s):
    return msg(number, s.encode())


def num(number, n):
    return varint(number << 3) + varint(n)


def tensor(name, dims, values):
    """GraphProto.initializer with raw_data."""
    body = b"".join(num(1, d) for d in dims) + num(2, FLOAT) + text(8, name) + msg(9, values)
    return msg(5, body)


def ints(name, values):
    """NodeProto.attribute of type INTS."""
    return msg(5, text(1, name) + b"".join(num(8, v) for v in values) + num(20, 7))


def integer(name, value):
    """NodeProto.attribute of type INT."""
    return msg(5, text(1, name) + num(3, value) + num(20, 2))


def node(op, name, inputs, output, attributes=b""):
    """GraphProto.node."""
    body = b"".join(text(1, i) for i in inputs) + text(2, output) + text(3, name) + text(4, op) + attributes
    return msg(1, body)


def value(number, name, dims):
    """GraphProto.input or .output: a float tensor."""
    shape = b"".join(msg(1, num(1, d)) for d in dims)
    return msg(number, text(1, name) + msg(2, msg(1, num(1, FLOAT) + msg(2, shape))))


def floats(rng, n, low, high):
    return struct.pack(f"<{n}f", *(rng.uniform(low, high) for _ in range(n)))


class Chain:
    """Blocks one after the other; `last` is the value that the next one reads."""

    RANGES = {"scale": (0.8, 1.25), "shift": (-0.1, 0.1), "mean": (-0.1, 0.1), "var": (0.8, 1.25)}

    def __init__(self, channels, kernel, shared, size, seed):
        rng, c = random.Random(seed), channels
        self.c, self.kernel, self.shared, self.size = c, kernel, shared, size
        self.nodes, self.tensors, self.parts, self.last, self.channels = [], [], [], "x", c
        fan = c * kernel * kernel
        # Drawing weights is the slow part in plain Python, so a few sets serve all blocks; their bytes are in the file each time.
        self.weights = [floats(rng, fan * c, -1.7 / fan ** 0.5, 1.7 / fan ** 0.5) for _ in range(3)]
        self.vectors = {k: [floats(rng, c, *r) for _ in range(7)] for k, r in {**self.RANGES, "bias": (-0.1, 0.1)}.items()}
        if shared:
            self.tensors += [tensor(f"all.{k}", [c], v[0]) for k, v in self.vectors.items()]

    def op(self, kind, name, inputs, attributes=b""):
        self.nodes.append(node(kind, name, inputs, f"{name}.out", attributes))
        return f"{name}.out"

    def vector(self, name, key, i, c=None):
        """A tensor of a number per channel; of the first c channels only, when given."""
        if self.shared and c is None:
            return f"all.{key}"
        c = c or self.c
        self.tensors.append(tensor(name, [c], self.vectors[key][i % 7][:4 * c]))
        return name

    def conv(self, name, x, i, c=None):
        """A convolution that keeps extents; to c channels, when given."""
        k, out = self.kernel, c or self.c
        bias = self.vector(f"{name}.bias", "bias", i, c)
        self.tensors.append(tensor(f"{name}.weight", [out, self.c, k, k], self.weights[i % 3][:4 * out * self.c * k * k]))
        return self.op("Conv", name, [x, f"{name}.weight", bias], ints("pads", [k // 2] * 4))

    def norm(self, name, x, i):
        params = [self.vector(f"{name}.{k}", k, i + 3) for k in self.RANGES]
        return self.op("BatchNormalization", name, [x, *params])

    def plain(self, i):
        self.last = self.op("Relu", f"r{i}", [self.norm(f"n{i}", self.conv(f"c{i}", self.last, i), i)])

    def tapped(self, i):
        self.plain(i)
        if i % 10 == 9:
            self.taps = self.last if i == 9 else self.op("Add", f"t{i}", [self.taps, self.last])
            self.last = self.op("Add", f"x{i}", [self.last, "x"])

    def joins(self, i, activate=True):
        x, half = self.last, self.c // 2
        if i % 5 == 0:
            y = self.op("Add", f"a{i}", [self.conv(f"c{i}", x, i), self.conv(f"d{i}", x, i + 1)])
            y = self.norm(f"n{i}", y, i)
        elif i % 5 == 1:
            parts = [self.conv(f"c{i}", x, i, half), self.conv(f"d{i}", x, i + 1, self.c - half)]
            y = self.norm(f"n{i}", self.op("Concat", f"j{i}", parts, integer("axis", 1)), i)
        elif i % 5 == 2:
            y = self.op("Add", f"a{i}", [x, self.norm(f"n{i}", self.conv(f"c{i}", x, i), i)])
        elif i % 5 == 3:
            y = self.conv(f"c{i}", self.norm(f"n{i}", x, i), i)
        else:
            y = self.op("Add", f"a{i}", [self.conv(f"c{i}", x, i), self.norm(f"n{i}", x, i)])
        self.last = self.op("Relu", f"r{i}", [y]) if activate else y

    def barred(self, i):
        if i == 0:
            self.last = self.op("Relu", "start", [self.last])
        self.tensors.append(tensor(f"m{i}.factor", [self.c, 1, 1], self.vectors["scale"][i % 7]))
        y = self.op("Mul", f"m{i}", [self.last, f"m{i}.factor"])
        self.last = self.op("AveragePool", f"p{i}", [y], ints("kernel_shape", [1, 1]))

    def open(self, i):
        self.joins(i, activate=False)

    def barred_sums(self, i):
        if i == 0:
            self.last = self.op("Relu", "start", [self.last])
        self.tensors.append(tensor(f"m{i}.factor", [self.c, 1, 1], self.vectors["scale"][i % 7]))
        y = self.op("Add", f"a{i}", [self.last, self.conv(f"c{i}", "x", i)])
        self.last = self.op("Mul", f"m{i}", [y, f"m{i}.factor"])

    def norms(self, i):
        if i == 0:
            self.last = self.op("Relu", "start", [self.last])
        self.last = self.norm(f"n{i}", self.op("Add", f"a{i}", [self.last, self.conv(f"c{i}", "x", i)]), i)

    def beside(self, i):
        y = self.norm(f"n{i}", "x", i)
        self.last = y if i == 0 else self.op("Add", f"a{i}", [self.last, y])

    def fan(self, i):
        if i == 0:
            self.source = self.conv("c", "x", 0)
        y = self.op("Relu", f"r{i}", [self.norm(f"n{i}", self.source, i)])
        self.last = y if i == 0 else self.op("Add", f"a{i}", [self.last, y])

    def fan_out(self, i):
        if i == 0:
            self.source = self.op("Relu", "start", ["x"])
        y = self.op("Relu", f"r{i}", [self.conv(f"c{i}", self.norm(f"n{i}", self.source, i), i)])
        self.last = y if i == 0 else self.op("Add", f"a{i}", [self.last, y])

    def parallel(self, i):
        x, kernel = self.last, self.kernel
        y = self.norm(f"n{i}", self.conv(f"c{i}", x, i), i)
        self.kernel = 1
        y = self.op("Add", f"a{i}", [y, self.norm(f"m{i}", self.conv(f"d{i}", x, i + 1), i + 1)])
        self.kernel = kernel
        y = self.op("Add", f"b{i}", [y, self.norm(f"o{i}", x, i + 2)])
        self.last = self.op("Relu", f"r{i}", [y])

    def term(self, i):
        if i == 0:
            self.source = self.conv("c", "x", 0)
        y = self.op("Relu", f"r{i}", [self.op("Add", f"b{i}", [self.source, self.conv(f"d{i}", "x", i)])])
        self.last = y if i == 0 else self.op("Add", f"a{i}", [self.last, y])

    def concat(self, i):
        self.parts.append(self.conv(f"c{i}", "x", i))

    def whole(self, blocks):
        """The concatenation of all parts, and a norm of as many channels."""
        y, c = self.op("Concat", "whole", self.parts, integer("axis", 1)), self.c * blocks
        for k in self.RANGES:
            self.tensors.append(tensor(f"n.{k}", [c], (self.vectors[k][0] * blocks)[:4 * c]))
        self.last, self.channels = self.op("BatchNormalization", "n", [y, *(f"n.{k}" for k in self.RANGES)]), c

    def sum(self, i):
        y = self.conv(f"c{i}", "x", i)
        self.last = y if i == 0 else self.op("Add", f"a{i}", [self.last, y])

    def model(self):
        self.nodes.append(node("Identity", "end", [self.last], "y"))
        shape = [1, self.c, self.size, self.size]
        result = [1, self.channels, *shape[2:]]
        graph = b"".join(self.nodes) + text(2, "chain") + b"".join(self.tensors) + value(11, "x", shape) + value(12, "y", result)
        return num(1, IR) + text(2, "normfold-bench") + msg(7, graph) + msg(8, num(2, OPSET))


KINDS = {k: getattr(Chain, k.replace("-", "_")) for k in (
    "plain", "tapped", "joins", "open", "barred", "barred-sums", "norms", "sum", "concat", "beside", "fan", "fan-out", "parallel",
    "term")}


def write(path, blocks, channels=4, kernel=1, shared=False, size=8, seed=7, kind="plain"):
    """Writes the model; returns its size in bytes."""
    chain = Chain(channels, kernel, shared, size, seed)
    for i in range(blocks):
        KINDS[kind](chain, i)
    if kind == "tapped":
        chain.last = chain.taps
    if kind == "sum":
        chain.last = chain.norm("n", chain.last, 0)
    if kind == "concat":
        chain.whole(blocks)
    model = chain.model()
    with open(path, "wb") as f:
        f.write(model)
    return len(model)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    ap.add_argument("--blocks", type=int, default=10_000)
    ap.add_argument("--channels", type=int, default=4)
    ap.add_argument("--kernel", type=int, default=1)
    ap.add_argument("--shared", action="store_true")
    ap.add_argument("--kind", choices=KINDS, default="plain")
    args = ap.parse_args()
    print(write(args.out, args.blocks, args.channels, args.kernel, args.shared, kind=args.kind), "bytes")


if __name__ == "__main__":
    main()
