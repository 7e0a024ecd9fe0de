"""Random modules: ops of the same few kinds in any order on images and on rows of features, so that norms meet sums, joins,
updates in place, views and shared layers in every combination."""
import random

import torch
import torch.nn as nn
import torch.nn.functional as F


class Grown(nn.Module):
    """A module of a seed. Its steps are drawn once, with names of the values that they read; each knows the channels of its own."""

    def __init__(self, seed):
        super().__init__()
        self.random = random.Random(seed)
        self.layers = nn.ModuleList()
        self.steps = []
        # Channels of each value; images of 6x6, but for the last few.
        self.channels = [3, 4]
        for _ in range(self.random.randint(6, 22)):
            self.grow()
        self.returned = sorted({len(self.channels) - 1, *self.random.sample(range(2, len(self.channels)), min(2, len(self.channels) - 2))})

    def pick(self):
        recent = range(max(0, len(self.channels) - 4), len(self.channels))
        return self.random.choice(recent if self.random.random() < 0.75 else range(len(self.channels)))

    def layer(self, layer):
        self.layers.append(layer)
        return len(self.layers) - 1

    def grow(self):
        draw, i = self.random, self.pick()
        c = self.channels[i]
        kind = draw.choice(["conv", "conv", "conv", "norm", "norm", "norm", "pointwise", "depthwise", "transposed", "relu", "add", "add_", "cat",
                            "split", "scale", "again", "shuffle", "pool", "tanh", "view", "copy", "mul_"])
        out, bias = draw.randint(2, 5), draw.random() < 0.5
        fitting = [j for j, n in enumerate(self.channels) if n == c and j > 1]
        if kind == "conv":
            k = draw.choice([1, 3])
            self.step(kind, i, self.layer(nn.Conv2d(c, out, k, padding=k // 2, bias=bias)), channels=out)
            if draw.random() < 0.7:
                self.step("norm", len(self.channels) - 1, self.layer(nn.BatchNorm2d(out, affine=draw.random() < 0.8)), channels=out)
        elif kind == "pointwise":
            self.step("linear", i, self.layer(nn.Linear(c, out, bias=bias)), channels=out)
        elif kind == "depthwise":
            self.step("conv", i, self.layer(nn.Conv2d(c, 2 * c, 3, padding="same", groups=c, bias=bias)), channels=2 * c)
        elif kind == "transposed":
            self.step("conv", i, self.layer(nn.ConvTranspose2d(c, out, 3, padding=1, bias=bias)), channels=out)
        elif kind == "norm":
            self.step("norm", i, self.layer(nn.BatchNorm2d(c)), channels=c)
        elif kind == "again" and len(self.layers):
            known = [n for n, l in enumerate(self.layers) if getattr(l, "in_channels", getattr(l, "num_features", None)) == c]
            if known:
                n = draw.choice(known)
                self.step("conv", i, n, channels=getattr(self.layers[n], "out_channels", c))
        elif kind in ("add", "cat") or kind in ("add_", "mul_") and i > 1 and fitting:
            other = draw.choice(fitting or [i])
            self.step(kind, i, other, channels=2 * c if kind == "cat" else c)
        elif kind == "split" and c > 1:
            at = draw.randint(1, c - 1)
            self.step(kind, i, at, draw.random() < 0.5, channels=c)
        elif kind == "shuffle" and c % 2 == 0:
            self.step(kind, i, channels=c)
        elif kind not in ("add_", "mul_", "again", "split", "shuffle") and (kind != "relu" or i > 1):
            self.step(kind, i, draw.choice([2.0, 0.5, -1.0]), draw.random() < 0.5, channels=c)

    def step(self, kind, *values, channels):
        self.steps.append((kind, *values))
        self.channels.append(channels)

    def forward(self, a, b):
        values = [a, b]
        for kind, i, *more in self.steps:
            x = values[i]
            if kind in ("conv", "norm"):
                y = self.layers[more[0]](x)
            elif kind == "linear":
                y = self.layers[more[0]](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            elif kind == "relu":
                y = F.relu(x, inplace=more[1])
            elif kind == "add":
                y = x + values[more[0]]
            elif kind == "add_":
                y = x.add_(values[more[0]] * 0.5)
            elif kind == "mul_":
                y = x.mul_(0.5)
            elif kind == "cat":
                y = torch.cat([x, values[more[0]]], 1)
            elif kind == "split":
                p, q = x.split([more[0], x.shape[1] - more[0]], 1)
                y = torch.cat([q, F.relu(p) if more[1] else p], 1)
            elif kind == "scale":
                y = x * more[0] + 1.0
            elif kind == "shuffle":
                n, c, h, w = x.shape
                y = x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            elif kind == "pool":
                y = F.avg_pool2d(x, 3, 1, 1, count_include_pad=more[1])
            elif kind == "view":
                y = x.flatten(2).unflatten(2, (6, 6)) if more[1] else x.contiguous().view(x.shape[0], -1).view(x.shape)
            elif kind == "copy":
                y = x.clone() if more[1] else F.dropout(x, 0.5, training=False)
            else:
                y = torch.tanh(x)
            values.append(y)
        return [values[i] for i in self.returned], sum(torch.tanh(v).mean() for v in values)


def arguments(seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, c, 6, 6, generator=generator) for c in (3, 4))
