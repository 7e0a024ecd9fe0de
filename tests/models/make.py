#!/usr/bin/env python3
"""Makes the small real exports of this directory: seeded random weights, nothing downloaded.

    python3 -m venv VENV
    VENV/bin/pip install torch torchvision onnx onnxscript onnxruntime ml_dtypes numpy
    VENV/bin/python tests/models/make.py [--out DIR] [--only NAME]...

Made with torch 2.15.0, torchvision 0.29.2 and onnx 1.23.2; other versions give models that serve
the same purpose but not the same bytes. `hand.py`, which this script runs last, writes the models
that no exporter writes (old opsets, old IR versions, functions, bodies); it needs only onnx and numpy.

The exporter is told not to fold anything itself: `training=PRESERVE` (EVAL would fuse conv and batch
norm while exporting) and `do_constant_folding=False`. Batch norms get statistics far from (0, 1) and
some negative gammas; each convolution is scaled by a power of two so that its output has a spread
near 1. Every export asserts that dropping its batch norms changes the output visibly, so that a tool
which merely deletes them cannot pass a test made from these files.
"""
import argparse
import copy
import math
import sys
import warnings
import zlib
from pathlib import Path

import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F

import hand

warnings.filterwarnings("ignore")
torch.set_num_threads(2)

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def unit(cin, cout, k=3, stride=1, groups=1, bias=False, relu=True, pad=None):
    """Conv2d, batch norm and (usually) ReLU."""
    conv = nn.Conv2d(cin, cout, k, stride, k // 2 if pad is None else pad, groups=groups, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), *([nn.ReLU()] if relu else []))


class ResNet(nn.Module):
    """Two residual stages with a strided shortcut; the identity branch makes some values read twice."""

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.a = unit(cin, cout, 3, stride)
            self.b = unit(cout, cout, 3, relu=False)
            self.shortcut = unit(cin, cout, 1, stride, relu=False) if stride != 1 or cin != cout else None

        def forward(self, x):
            return F.relu(self.b(self.a(x)) + (x if self.shortcut is None else self.shortcut(x)))

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(unit(3, 12, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(self.Block(12, 12, 1), self.Block(12, 24, 2), self.Block(24, 24, 1))
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class Generator(nn.Module):
    """Transposed convolutions: plain, grouped, depthwise, with a channel multiplier, and in 1-D and 3-D."""

    def __init__(self):
        super().__init__()

        def up(cin, cout, groups=1, k=4, stride=2, pad=1, bias=False):
            return [nn.ConvTranspose2d(cin, cout, k, stride, pad, groups=groups, bias=bias), nn.BatchNorm2d(cout), nn.ReLU()]
        self.net = nn.Sequential(*up(16, 24, stride=1, pad=0), *up(24, 24, 4), *up(24, 24, 24, bias=True),
                                 *up(24, 12, 2, 3, 1), *up(12, 24, 12, 3, 1), nn.Conv2d(24, 3, 1))
        self.line = nn.Sequential(nn.ConvTranspose1d(3, 6, 3, 2, 1, groups=3), nn.BatchNorm1d(6), nn.Tanh())
        self.volume = nn.Sequential(nn.ConvTranspose3d(3, 4, (1, 2, 2), (1, 2, 2)), nn.BatchNorm3d(4))

    def forward(self, z):
        y = self.net(z)
        return self.line(y.mean(3)), self.volume(y[:, :, None, ::4, ::4])


class Conv1dLinear(nn.Module):
    """Conv1d and Linear layers, with and without a bias, each followed by a 1-D batch norm."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(4, 12, 5, padding=2, bias=False), nn.BatchNorm1d(12), nn.ReLU(),
                                  nn.Conv1d(12, 12, 3, 2, padding=1, groups=12), nn.BatchNorm1d(12), nn.ReLU())
        self.fc = nn.Sequential(nn.Linear(12 * 10, 24), nn.BatchNorm1d(24), nn.ReLU(),
                                nn.Linear(24, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5))

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


class Small(nn.Module):
    """The same five norms in every float type and mode: plain, depthwise, pointwise, grouped, linear."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(unit(3, 8, 3, 2), unit(8, 8, 3, groups=8), unit(8, 16, 1), unit(16, 16, 3, 2, 4, bias=True))
        self.fc = nn.Sequential(nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 10))

    def forward(self, x):
        return self.fc(self.net(x).mean((2, 3)))


class Awkward(nn.Module):
    """What a fold has to refuse or take care with; `forward` names each case."""

    def __init__(self):
        super().__init__()
        norm = nn.BatchNorm2d
        self.first = norm(3)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.late = norm(8)
        self.shared, self.shared_a, self.shared_b = nn.Conv2d(8, 8, 3, padding=1, bias=False), norm(8), norm(8)
        self.twice, self.twice_norm = nn.Conv2d(8, 8, 1), norm(8)
        self.pair = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), norm(8), norm(8))
        self.after_add = norm(8)
        self.left, self.right, self.reused = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), norm(8)
        self.plain = nn.Sequential(nn.Conv2d(8, 8, 1), norm(8, affine=False))
        self.loose = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), norm(8, eps=0.1))
        self.drop = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Dropout(0.5), nn.Identity(), norm(8))
        self.out, self.out_norm = nn.Conv2d(8, 4, 1), norm(4)

    def forward(self, x):
        x = self.stem(self.first(x))                                          # reads the graph's input
        x = self.late(F.relu(x))                                              # a ReLU between
        x = F.relu(self.shared_a(self.shared(x))) + F.relu(self.shared_b(self.shared(x * 0.5)))  # one weight, two convs
        y = self.twice(x)
        x = F.relu(self.twice_norm(y)) + y                                    # the conv is read twice
        x = F.relu(self.pair(x))                                              # two norms in a row
        x = F.relu(self.after_add(x + y))                                     # a sum that no conv makes alone
        x = F.relu(self.reused(self.left(x))) + F.relu(self.reused(self.right(x)))  # one norm module at two places
        x = F.relu(self.drop(self.loose(F.relu(self.plain(x)))))
        raw = self.out(x)
        return raw, self.out_norm(raw)                                        # the conv is a graph output


def mobilenet():
    import torchvision
    return torchvision.models.MobileNetV2(num_classes=10, width_mult=0.25)


# name: (builder, input shape, options: dtype, train, dynamo, dynamic)
MODELS = {
    "mobilenet_v2_x025": (mobilenet, (1, 3, 64, 64), dict(dynamic=True)),
    "resnet_tiny": (ResNet, (2, 3, 48, 48), {}),
    "dcgan_groups": (Generator, (1, 16, 1, 1), {}),
    "conv1d_linear": (Conv1dLinear, (3, 4, 20), {}),
    "awkward": (Awkward, (1, 3, 12, 12), {}),
    "small_fp16": (Small, (1, 3, 24, 24), dict(dtype=torch.float16)),
    "small_fp64": (Small, (1, 3, 24, 24), dict(dtype=torch.float64)),
    "small_train": (Small, (4, 3, 24, 24), dict(train=True)),
    "small_dynamo": (Small, (1, 3, 24, 24), dict(dynamo=True)),
}


def randomise(model, gen):
    """Statistics far from (0, 1), about one gamma in six negative, weights by fan-in."""
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, NORMS):
                n = m.num_features
                m.running_mean.copy_(torch.randn(n, generator=gen) * 0.5)
                m.running_var.copy_(torch.rand(n, generator=gen) * 1.7 + 0.3)
                if m.affine:
                    sign = 1.0 - 2.0 * (torch.rand(n, generator=gen) < 0.16).float()
                    m.weight.copy_((torch.rand(n, generator=gen) + 0.5) * sign)
                    m.bias.copy_(torch.randn(n, generator=gen) * 0.3)
            elif isinstance(m, WEIGHTED):
                fan = m.weight.numel() / (m.weight.shape[0] if not getattr(m, "transposed", False) else m.out_channels)
                m.weight.copy_(torch.randn(m.weight.shape, generator=gen) / math.sqrt(fan))
                if m.bias is not None:
                    m.bias.copy_(torch.randn(m.bias.shape, generator=gen) * 0.1)


def settle(model, x):
    """Scales each weighted layer by a power of two on the way through, so that no spread drifts with depth."""
    def hook(m, _, out):
        if m in seen:
            return None
        seen.add(m)
        k = 2.0 ** -round(math.log2(max(float(out.std()), 1e-12)))
        with torch.no_grad():
            m.weight.mul_(k)
            if m.bias is not None:
                m.bias.mul_(k)
        return out * k
    seen = set()
    hooks = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, WEIGHTED)]
    with torch.no_grad():
        model(x)
    for h in hooks:
        h.remove()


def outputs(y):
    return [y] if torch.is_tensor(y) else list(y)


def moved_without_norms(model, x):
    """How far the outputs move when every batch norm is skipped, over the largest output."""
    bare = copy.deepcopy(model)
    for m in bare.modules():
        if isinstance(m, NORMS):
            m.register_forward_hook(lambda _m, i, _o: i[0])
    with torch.no_grad():
        return min(float((a - b).abs().max() / a.abs().max()) for a, b in zip(outputs(model(x)), outputs(bare(x))))


def make(name, out):
    build, shape, opt = MODELS[name]
    seed = zlib.crc32(name.encode())
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    model = build().eval()
    randomise(model, gen)
    x = torch.randn(shape, generator=gen)
    settle(model, x)
    moved = moved_without_norms(model, x)
    assert moved > 0.01, f"{name}: dropping the batch norms hardly shows ({moved:g})"
    model, x = model.to(opt.get("dtype", torch.float32)), x.to(opt.get("dtype", torch.float32))
    with torch.no_grad():
        names = [f"output_{i}" for i in range(len(outputs(model(x))))]
    path = out / f"{name}.onnx"
    if opt.get("dynamo"):
        program = torch.onnx.export(model, (x,), dynamo=True, optimize=False, input_names=["input"],
                                    output_names=names, external_data=False, verbose=False)
        # Source positions of the exporting machine have no place in a test file.
        for node in program.model.graph:
            node.metadata_props.clear()
            node.doc_string = None
        for function in program.model.functions.values():
            for node in function:
                node.metadata_props.clear()
                node.doc_string = None
        program.save(str(path), external_data=False)
    else:
        axes = {n: {0: "batch"} for n in ["input", *names]} if opt.get("dynamic") else None
        mode = torch.onnx.TrainingMode.TRAINING if opt.get("train") else torch.onnx.TrainingMode.PRESERVE
        torch.onnx.export(model, (x,), str(path), dynamo=False, opset_version=17, training=mode,
                          do_constant_folding=False, input_names=["input"], output_names=names, dynamic_axes=axes)
    loaded = onnx.load(str(path))
    onnx.checker.check_model(loaded, full_check=True)
    kinds = [n.op_type for n in loaded.graph.node]
    print(f"{name}.onnx: {path.stat().st_size} bytes, {len(kinds)} nodes, "
          f"{kinds.count('BatchNormalization')} batch norms, moved {moved:.2f}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    ap.add_argument("--only", action="append", default=[], metavar="NAME", choices=list(MODELS))
    args = ap.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only or MODELS:
        make(name, args.out)
    if not args.only:
        hand.make_all(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
