#!/usr/bin/env python3
"""The PyTorch programs of tests/models/torch: random weights, nothing downloaded.

    python make.py [NAME...]
    python make.py --seeds          writes fuzz/seeds/pt2 instead: small ones, without what only Python reads

Needs PyTorch (CPU) of a release whose archives have schema version 8. Traces of where a call stands in Python are left out of
the files.
"""
import io
import json
import sys
import warnings
import zipfile
import zlib
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

warnings.filterwarnings("ignore")
HERE = Path(__file__).parent


def cbr(i, o, k=3, s=1, g=1, act=True, bias=False):
    layers = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=bias), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if act else []))


class Net(nn.Module):
    """Convolutions with and without a bias, `padding="same"`, depthwise, a residual sum in place, Linear with BatchNorm1d."""

    def __init__(self):
        super().__init__()
        self.stem = cbr(3, 8)
        self.same, self.norm = nn.Conv2d(8, 8, 3, padding="same", groups=8), nn.BatchNorm2d(8)
        self.fc, self.last = nn.Linear(8, 4, bias=False), nn.BatchNorm1d(4, affine=False)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.same(x))
        y += x
        return self.last(self.fc(y.mean((2, 3))))


class Transposed(nn.Module):
    """Transposed convolutions in 1-D, 2-D and 3-D: plain, grouped, with output padding."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), nn.BatchNorm2d(6), nn.ReLU6())
        self.b = nn.Sequential(nn.ConvTranspose1d(6, 4, 2, 2, bias=False), nn.BatchNorm1d(4), nn.SiLU())
        self.c = nn.Sequential(nn.ConvTranspose3d(4, 2, 2), nn.BatchNorm3d(2))

    def forward(self, x):
        y = self.b(self.a(x).flatten(2))
        return self.c(y.view(1, 4, 2, 8, 8))


class Forward(nn.Module):
    """Norms with no linear op before them: into a convolution without padding, through Flatten into a Linear; kept before a
    padded convolution."""

    def __init__(self):
        super().__init__()
        self.n1, self.c1 = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)
        self.n2, self.c2 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.n3, self.fc = nn.BatchNorm2d(4), nn.Linear(4 * 36, 5)

    def forward(self, x):
        x = F.relu(self.c1(self.n1(x)))
        x = F.relu(self.c2(self.n2(x)))
        return self.fc(self.n3(x).flatten(1))


class Awkward(nn.Module):
    """What a fold must not touch: a convolution that is called twice, one whose result is returned, weights of two modules
    that are one, Linear on three axes with BatchNorm1d, no running statistics, a value that is overwritten where others see
    it, a batch norm on the input of the program."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.twice, self.n1, self.n2 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.back, self.n3 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.tied_a, self.tied_b = nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        self.tied_b.weight = self.tied_a.weight
        self.n4, self.n5 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.fc, self.n6 = nn.Linear(8, 8), nn.BatchNorm1d(4)
        self.batch = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
        self.seen, self.n7 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.stem(self.first(x))
        x = self.n1(self.twice(x)) + self.n2(self.twice(x * 0.5))
        raw = self.back(x)
        x = self.n3(raw)
        x = self.n4(self.tied_a(x)) + self.n5(self.tied_b(F.relu(x)))
        t = self.n6(self.fc(x.mean(3)))
        x = self.batch(x)
        y = self.n7(self.seen(x))
        z = y.view(y.shape)
        z.add_(1.0)
        return raw, t, y * z


class Shared(nn.Module):
    """One norm behind two convolutions, one under two names; functional calls with parameters of a module's own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.same = self.norm
        self.weight = nn.Parameter(torch.zeros(4, 4, 1, 1))
        self.own = nn.BatchNorm2d(4)

    def forward(self, x):
        y = F.relu(self.norm(self.a(x))) + F.relu(self.same(self.b(x)))
        y = F.conv2d(y, self.weight)
        return F.batch_norm(y, self.own.running_mean, self.own.running_var, self.own.weight, self.own.bias)


class Matrix(nn.Module):
    """Products with parameters of a module's own, with and without an addend; a norm behind Reshape and Transpose."""

    def __init__(self):
        super().__init__()
        self.w, self.v, self.c = (nn.Parameter(torch.zeros(*s)) for s in ((6, 4), (4, 5), (5,)))
        self.n1, self.n2 = nn.BatchNorm1d(4), nn.BatchNorm1d(5)
        self.fc, self.n3 = nn.Linear(5, 6, bias=False), nn.BatchNorm1d(6)

    def forward(self, x):
        x = F.relu(self.n1(x @ self.w))
        x = F.relu(self.n2(torch.addmm(self.c, x, self.v)))
        x = self.fc(x.view(2, 3, 5))
        return self.n3(x.transpose(1, 2))


class Control(nn.Module):
    """A batch norm in the branch of a condition, and one under no_grad."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.inner, self.hidden = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.norm(self.conv(x))
        return torch.cond(x.sum() > 0, lambda x: self.hidden(self.inner(x)), lambda x: x * 2, (x,))


def function(f, **members):
    """A module of a function of itself and of the input."""
    module = nn.Module()
    for name, member in members.items():
        setattr(module, name, member)
    module.forward = lambda x: f(module, x)
    return module


def layers(s, x):
    return F.relu(s.norm(s.conv(x)), inplace=True)


def moves(s, x):
    a, b = s.conv(x).split([1, 3], 1)
    x = torch.cat([b, a], 1).transpose(2, 3).contiguous().view(1, 4, -1).unflatten(2, (2, 2))
    return s.norm(F.pad(x, (1, 1, 0, 1), mode="reflect").mean((2, 3), keepdim=True)) * 2.0


def products(s, x):
    x = s.n1(x @ s.w) + s.c
    return s.n2(torch.addmm(s.c, x, s.w, alpha=2.0))


def updates(s, x):
    y = s.conv(x)
    s.count.add_(1)
    z = s.norm(y)
    z.view(-1)[:2].add_(1.0)
    return z, y, s.conv(x * s.count)


def seeds():
    """Name, module, shape of the input, and whether it is decomposed, of programs for the fuzzer."""
    conv = lambda: nn.Conv2d(2, 4, 1, bias=False)  # noqa: E731
    yield "layers", function(layers, conv=nn.Conv2d(2, 2, 2, padding="same"), norm=nn.BatchNorm2d(2)), (1, 2, 3, 3), False
    yield "decomposed", function(layers, conv=conv(), norm=nn.BatchNorm2d(4)), (1, 2, 2, 2), True
    yield "linear", nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), (2, 3), True
    yield "moves", function(moves, conv=conv(), norm=nn.BatchNorm2d(4)), (1, 2, 2, 2), False
    square = {"w": nn.Parameter(torch.eye(3).t()), "c": nn.Parameter(torch.zeros(3))}
    yield "products", function(products, **square, n1=nn.BatchNorm1d(3), n2=nn.BatchNorm1d(3, affine=False)), (2, 3), False
    module = function(updates, conv=conv(), norm=nn.BatchNorm2d(4))
    module.register_buffer("count", torch.ones(()))
    yield "updates", module, (1, 2, 2, 2), False
    yield "training", nn.Sequential(conv(), nn.BatchNorm2d(4)).train(), (2, 2, 2, 2), False
    up = nn.Sequential(nn.ConvTranspose2d(2, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    yield "transposed", up, (1, 2, 1, 1), False


def seed(program, to):
    """Writes a program without metadata, sample inputs and signatures of modules."""
    def bare(value):
        if isinstance(value, dict):
            return {k: bare(v) for k, v in value.items() if k not in ("metadata", "module_call_graph", "is_hop_single_tensor_return")}
        return [bare(v) for v in value] if isinstance(value, list) else value

    whole = io.BytesIO()
    torch.export.save(program, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            data, rest = old.read(name), name.split("/", 1)[1]
            if not rest.startswith(("models/", "archive_", "data/weights/", "data/constants/")):
                continue
            if rest.endswith(".json"):
                data = json.dumps(bare(json.loads(data)), separators=(",", ":")).encode()
            new.writestr(zipfile.ZipInfo(f"p/{rest}"), data)


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                n = m.num_features
                if m.running_mean is not None:
                    m.running_mean.copy_(torch.randn(n, generator=g) * 0.5)
                    m.running_var.copy_(torch.rand(n, generator=g) + 0.5)
                if m.affine:
                    m.weight.copy_(torch.rand(n, generator=g) + 0.5)
                    m.bias.copy_(torch.randn(n, generator=g) * 0.3)
            else:
                for p in m.parameters(recurse=False):
                    p.copy_(torch.randn(p.shape, generator=g) * 0.4)


IMAGE = (2, 3, 8, 8)
# name: (module, shape of the input, how)
MODELS = {
    "net": (Net, IMAGE, {}),
    "net_dynamic": (Net, IMAGE, dict(dynamic=True)),
    "net_decomposed": (Net, IMAGE, dict(decompose=True)),
    "net_channels_last": (Net, IMAGE, dict(channels_last=True)),
    "net_f64": (Net, IMAGE, dict(dtype=torch.float64)),
    "net_bf16": (Net, IMAGE, dict(dtype=torch.bfloat16)),
    "net_train": (Net, IMAGE, dict(train=True)),
    "net_train_decomposed": (Net, IMAGE, dict(train=True, decompose=True)),
    "transposed": (Transposed, (1, 4, 4, 4), {}),
    "transposed_decomposed": (Transposed, (1, 4, 4, 4), dict(decompose=True)),
    "forward": (Forward, IMAGE, {}),
    "awkward": (Awkward, IMAGE, {}),
    "shared": (Shared, IMAGE, {}),
    "matrix": (Matrix, (6, 6), {}),
    "matrix_decomposed": (Matrix, (6, 6), dict(decompose=True)),
    "control": (Control, IMAGE, {}),
}


def build(name):
    make, shape, how = MODELS[name]
    seed = zlib.crc32(name.split("_")[0].encode())
    torch.manual_seed(seed)
    model = make()
    randomise(model, seed)
    model.train(how.get("train", False))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed ^ 1))
    if "dtype" in how:
        model, x = model.to(how["dtype"]), x.to(how["dtype"])
    if how.get("channels_last"):
        model = model.to(memory_format=torch.channels_last)
    shapes = ({0: torch.export.Dim("batch")},) if how.get("dynamic") else None
    program = torch.export.export(model, (x,), dynamic_shapes=shapes)
    if how.get("decompose"):
        program = program.run_decompositions()
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)
    return program


def main():
    if sys.argv[1:] == ["--seeds"]:
        for name, module, shape, decompose in seeds():
            randomise(module, zlib.crc32(name.encode()))
            if name != "training":
                module.eval()
            program = torch.export.export(module, (torch.ones(shape),))
            seed(program.run_decompositions() if decompose else program, HERE.parents[2] / "fuzz/seeds/pt2" / name)
        return
    for name in sys.argv[1:] or MODELS:
        torch.export.save(build(name), HERE / f"{name}.pt2")
        print(name, (HERE / f"{name}.pt2").stat().st_size)


if __name__ == "__main__":
    main()
