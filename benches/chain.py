#!/usr/bin/env python3
"""Writes ONNX files of conv-bn-relu chains, any length, with nothing but the standard library.

    python3 benches/chain.py OUT.onnx [--blocks 10000] [--channels 4] [--kernel 1] [--shared]

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


def write(path, blocks, channels=4, kernel=1, shared=False, size=8, seed=7):
    """Writes the model; returns its size in bytes."""
    rng, c = random.Random(seed), channels
    fan = c * kernel * kernel
    nodes, tensors = [], []
    ranges = {"scale": (0.8, 1.25), "shift": (-0.1, 0.1), "mean": (-0.1, 0.1), "var": (0.8, 1.25)}
    # Drawing weights is the slow part in plain Python, so a few sets serve all blocks; their bytes are in the file each time.
    weights = [floats(rng, fan * c, -1.7 / fan ** 0.5, 1.7 / fan ** 0.5) for _ in range(3)]
    vectors = {k: [floats(rng, c, *r) for _ in range(7)] for k, r in {**ranges, "bias": (-0.1, 0.1)}.items()}
    if shared:
        tensors += [tensor(f"all.{k}", [c], v[0]) for k, v in vectors.items()]
    pads = ints("pads", [kernel // 2] * 4)
    x = "x"
    for i in range(blocks):
        if shared:
            bias, params = "all.bias", [f"all.{k}" for k in ranges]
        else:
            bias, params = f"c{i}.bias", [f"n{i}.{k}" for k in ranges]
            tensors.append(tensor(bias, [c], vectors["bias"][i % 7]))
            tensors += [tensor(p, [c], vectors[k][(i + 3) % 7]) for p, k in zip(params, ranges)]
        tensors.append(tensor(f"c{i}.weight", [c, c, kernel, kernel], weights[i % 3]))
        last = "y" if i == blocks - 1 else f"r{i}.out"
        nodes.append(node("Conv", f"c{i}", [x, f"c{i}.weight", bias], f"c{i}.out", pads))
        nodes.append(node("BatchNormalization", f"n{i}", [f"c{i}.out", *params], f"n{i}.out"))
        nodes.append(node("Relu", f"r{i}", [f"n{i}.out"], last))
        x = last
    shape = [1, c, size, size]
    graph = b"".join(nodes) + text(2, "chain") + b"".join(tensors) + value(11, "x", shape) + value(12, "y", shape)
    model = num(1, IR) + text(2, "normfold-bench") + msg(7, graph) + msg(8, num(2, OPSET))
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
    args = ap.parse_args()
    print(write(args.out, args.blocks, args.channels, args.kernel, args.shared), "bytes")


if __name__ == "__main__":
    main()
