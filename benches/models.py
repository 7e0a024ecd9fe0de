"""The models of the benchmarks, each in a directory of its own. Weights are written piece by piece: no model is in memory."""
import collections
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import chain
import environments
from measure import Model, emptied

EXPORT = """
import sys, torch, torchvision
name, path = sys.argv[1:]
torch.manual_seed(0)
model = getattr(torchvision.models, name)(weights=None).eval()
for m in model.modules():
    if isinstance(m, torch.nn.BatchNorm2d):
        m.running_mean.normal_(0, 0.5); m.running_var.uniform_(0.3, 2)
torch.onnx.export(model, (torch.randn(1, 3, 224, 224),), path, dynamo=False, opset_version=17,
                  training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
"""
# Blocks and channels of a chain of the same size, where torchvision is not at hand.
STAND_INS = {"resnet50": (53, 230), "mobilenet_v2": (52, 84)}

# How many floats of a weight are drawn; they repeat at other offsets in each weight. A prime, so that no channel is
# like another one.
DRAWN = 262_139
# What is written at once.
PIECE = 1 << 20


def repeat(f, pieces, once, at, left):
    """Writes `left` bytes of what repeats after `once` bytes, from `at` on; `pieces` has PIECE bytes from everywhere in it."""
    view = memoryview(pieces)
    while left:
        n = min(PIECE, left)
        f.write(view[at:at + n])
        at, left = (at + n) % once, left - n


class Weights:
    """Weights of convolutions of 3×3 that keep the magnitude of what goes through them and a ReLU."""

    def __init__(self, channels):
        import random

        bound = (6 / (9 * channels)) ** 0.5
        once = chain.floats(random.Random(5), DRAWN, -bound, bound)
        self.dims = [channels, channels, 3, 3]
        self.bytes = 4 * 9 * channels * channels
        self.drawn, self.once = once * (PIECE // len(once) + 2), len(once)

    def write(self, f, i):
        """Writes weight i."""
        repeat(f, self.drawn, self.once, 4 * 7919 * i % self.once, self.bytes)


def header(name, dims, rest):
    """The fields of a TensorProto of f32 up to `rest`."""
    return b"".join(chain.num(1, d) for d in dims) + chain.num(2, chain.FLOAT) + chain.text(8, name) + rest


def external(key, value):
    """An entry of TensorProto.external_data."""
    return chain.msg(13, chain.text(1, key) + chain.text(2, value))


def large(path, blocks, channels, every=1, data=None):
    """A chain of convolutions of 3×3, a batch norm behind every so manieth, all with a ReLU; weights go into the file
    `data` beside it where one is named. One weight is in memory at a time, and only in part."""
    weights, graph = Weights(channels), chain.Chain(channels, 1, False, 4, 7)
    for i in range(blocks):
        y = graph.op("Conv", f"c{i}", [graph.last, f"c{i}.weight"], chain.ints("pads", [1] * 4))
        if i % every == every - 1:
            y = graph.norm(f"n{i}", y, i)
        graph.last = graph.op("Relu", f"r{i}", [y])
    graph.nodes.append(chain.node("Identity", "end", [graph.last], "y"))
    shape = [1, channels, 4, 4]
    start = b"".join(graph.nodes) + chain.text(2, "chain") + b"".join(graph.tensors)
    end = chain.value(11, "x", shape) + chain.value(12, "y", shape)
    heads = []
    for i in range(blocks):
        if data:
            at = external("location", data) + external("offset", str(i * weights.bytes)) + external("length", str(weights.bytes))
            body, inside = header(f"c{i}.weight", weights.dims, at + chain.num(14, 1)), 0
        else:
            body, inside = header(f"c{i}.weight", weights.dims, chain.varint(9 << 3 | 2) + chain.varint(weights.bytes)), weights.bytes
        heads.append((chain.varint(5 << 3 | 2) + chain.varint(len(body) + inside) + body, inside))
    length = len(start) + sum(len(h) + n for h, n in heads) + len(end)
    with open(path, "wb") as f:
        f.write(chain.num(1, chain.IR) + chain.text(2, "normfold-bench") + chain.varint(7 << 3 | 2) + chain.varint(length) + start)
        for i, (head, inside) in enumerate(heads):
            f.write(head)
            if inside:
                weights.write(f, i)
        f.write(end + chain.msg(8, chain.num(2, chain.OPSET)))
    if data:
        with open(Path(path).with_name(data), "wb") as f:
            for i in range(blocks):
                weights.write(f, i)


def nested(path, blocks, depth=64):
    """Graphs that nest by If to `depth`, with `blocks` blocks conv-bn-relu in all: each level reads what the one around it
    computed."""
    c = chain.Chain(4, 1, False, 8, 7)
    shape, levels, at = [1, 4, 8, 8], [], 0
    for level in range(depth):
        c.nodes, c.tensors = [], []
        for _ in range((blocks + level) // depth):
            c.plain(at)
            at += 1
        levels.append((c.nodes, c.tensors, c.last))
    # The innermost graph comes first; what is around it goes in front and behind, so that nothing is copied twice.
    pieces, length = collections.deque(), 0

    def around(front, back=b""):
        nonlocal length
        pieces.appendleft(front)
        pieces.append(back)
        length += len(front) + len(back)

    def enclosed(number):
        around(chain.varint(number << 3 | 2) + chain.varint(length))

    for level in reversed(range(depth)):
        nodes, tensors, last = levels[level]
        out = "y" if level == 0 else f"level{level}.out"
        nodes, tail = b"".join(nodes), chain.text(2, f"level{level}") + b"".join(tensors)
        if level == 0:
            condition = chain.text(1, "p") + chain.msg(2, chain.msg(1, chain.num(1, 9) + chain.msg(2, b"")))
            tail += chain.value(11, "x", shape) + chain.msg(11, condition)
        tail += chain.value(12, out, shape)
        if level == depth - 1:
            around(nodes + chain.node("Identity", f"end{level}", [last], out) + tail)
            continue
        skip = f"level{level}.skip"
        other = chain.node("Identity", skip, [last], skip) + chain.text(2, skip) + chain.value(12, skip, shape)
        otherwise = chain.msg(5, chain.text(1, "else_branch") + chain.msg(6, other) + chain.num(20, 5))
        enclosed(6)
        around(chain.text(1, "then_branch"), chain.num(20, 5))
        enclosed(5)
        around(chain.text(1, "p") + chain.text(2, out) + chain.text(3, f"if{level}") + chain.text(4, "If"), otherwise)
        enclosed(1)
        around(nodes, tail)
    enclosed(7)
    with open(path, "wb") as f:
        f.write(chain.num(1, chain.IR) + chain.text(2, "normfold-bench"))
        f.writelines(pieces)
        f.write(chain.msg(8, chain.num(2, chain.OPSET)))


def room(work, gigabytes):
    """Ends the program when the disk has not so much room."""
    free = shutil.disk_usage(work).free / 1e9
    if free < gigabytes:
        sys.exit(f"error: {gigabytes:.0f} GB of disk are needed in {work}, {free:.0f} are free; see --work")


@contextlib.contextmanager
def model(work, name, write, *args, file="model.onnx", **kwargs):
    """A model that `write(path, …)` writes, there as long as it is used."""
    directory = emptied(work / "model")
    try:
        path = directory / file
        write(path, *args, **kwargs)
        yield Model(name, path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def known(work, name, given, python=None):
    """A model of torchvision: the file given, or exported, or a chain of its size that says so."""
    if given:
        # A directory of its own, by a link where the file system can.
        def link(path):
            try:
                os.link(given.resolve(), path)
            except OSError:
                shutil.copyfile(given, path)

        return model(work, name, link)
    python = python or environments.python("aimet-onnx")
    kept = environments.home() / "models" / f"{name}.onnx"
    if not kept.exists() and python:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        if subprocess.run([python, "-c", EXPORT, name, part], capture_output=True, check=False).returncode == 0:
            part.rename(kept)
    if kept.exists():
        return known(work, name, kept)
    blocks, channels = STAND_INS[name]
    return model(work, f"{blocks} blocks of {channels} channels", chain.write, blocks, channels, 3)


# 1.5 GB in a file: every weight folded, and one in a hundred.
ALL = {"blocks": 40, "channels": 1024}
SOME = {"blocks": 208, "channels": 448, "every": 100}
# Half a gigabyte of kernels of Keras, every one folded.
KERAS = {"blocks": 8, "width": 4000}
# 4 GB in a file beside the model.
EXTERNAL = {"blocks": 107, "channels": 1024, "data": "model.onnx.data"}
