"""Modules, each with what has to become of its batch norms. A builder gives a module and the arguments that it is called
with; `kept` has alternative reasons parted by `|`."""
from dataclasses import dataclass, field

import torch
import torch.nn as nn
import torch.nn.functional as F

from programs import Form

B1, B2, B3 = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


@dataclass
class Case:
    name: str
    build: object
    folded: int
    kept: dict = field(default_factory=dict)
    # Affine chains that fold, of those that there are.
    chains: tuple = (0, 0)
    forms: dict = field(default_factory=lambda: {"plain": Form()})
    # What becomes of the norms in other forms: (folded, kept).
    otherwise: dict = field(default_factory=dict)
    # What `simplify` cannot say of it, which is an error.
    refused: str = ""

    def expected(self, form):
        return self.otherwise.get(form, (self.folded, self.kept))


CASES = []
PLAIN, DECOMPOSED = {"plain": Form()}, {"decomposed": Form(decompose=True)}
BOTH = PLAIN | DECOMPOSED


def case(folded, kept=None, **options):
    def add(build):
        CASES.append(Case(build.__name__, build, folded, kept or {}, **options))
        return build
    return add


class Net(nn.Module):
    """Modules and parameters under their names, and a function of them and of the arguments."""

    def __init__(self, function, **members):
        super().__init__()
        self.function = [function]
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *args, **kwargs):
        return self.function[0](self, *args, **kwargs)


def chain(*modules):
    return nn.Sequential(*modules)


def data(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def buffer(net, name, value, persistent=True):
    net.register_buffer(name, value, persistent=persistent)
    return net


IMAGE = (2, 3, 8, 8)


def image():
    return data(*IMAGE)


# --- linear ops, each with every argument that it has -------------------------------

@case(4, forms=BOTH)
def conv1d():
    m = chain(nn.Conv1d(3, 4, 3, padding=1), B1(4), nn.ReLU(), nn.Conv1d(4, 6, 3, 2, 2, 2, groups=2, bias=False), B1(6), nn.ReLU(),
              nn.Conv1d(6, 4, 4, padding="same", dilation=2), B1(4), nn.ReLU(), nn.Conv1d(4, 4, 2, padding="valid"), B1(4))
    return m, (data(2, 3, 16),)


@case(4, forms=BOTH)
def conv2d():
    m = chain(nn.Conv2d(3, 4, (3, 1), padding=(1, 0), bias=False), B2(4), nn.ReLU(), nn.Conv2d(4, 6, 3, (2, 1), 1, (1, 2), groups=2), B2(6), nn.ReLU(),
              nn.Conv2d(6, 6, (2, 4), padding="same", groups=6, bias=False), B2(6), nn.ReLU(), nn.Conv2d(6, 4, 2, padding="valid"), B2(4))
    return m, (image(),)


@case(3, forms=BOTH)
def conv3d():
    m = chain(nn.Conv3d(2, 4, 3, padding=1, bias=False), B3(4), nn.ReLU(), nn.Conv3d(4, 4, (1, 2, 2), padding="same", groups=2), B3(4), nn.ReLU(),
              nn.Conv3d(4, 2, 2, (1, 2, 1)), B3(2))
    return m, (data(1, 2, 4, 5, 6),)


@case(3)
def padding_modes():
    m = chain(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), B2(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=2, padding_mode="circular"), B2(4),
              nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate", bias=False), B2(4))
    return m, (image(),)


@case(3, forms=BOTH)
def conv_transpose1d():
    m = chain(nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, groups=2), B1(6), nn.ReLU(), nn.ConvTranspose1d(6, 3, 4, bias=False, dilation=2), B1(3), nn.ReLU(),
              nn.ConvTranspose1d(3, 3, 2, 2, groups=3), B1(3))
    return m, (data(2, 4, 7),)


@case(3, forms=BOTH)
def conv_transpose2d():
    m = chain(nn.ConvTranspose2d(4, 6, (3, 2), 2, (1, 0), (1, 0), groups=2), B2(6), nn.ReLU(), nn.ConvTranspose2d(6, 3, 3, bias=False, dilation=2), B2(3),
              nn.ReLU(), nn.ConvTranspose2d(3, 3, 2, 2, groups=3), B2(3))
    return m, (data(2, 4, 4, 4),)


@case(2, forms=BOTH)
def conv_transpose3d():
    m = chain(nn.ConvTranspose3d(4, 4, 2, 2, 0, 1, groups=2), B3(4), nn.ReLU(), nn.ConvTranspose3d(4, 2, 3, 1, 1, bias=False), B3(2))
    return m, (data(1, 4, 2, 3, 2),)


@case(3, {"axis-mismatch": 1}, forms=BOTH)
def linear():
    m = Net(lambda s, x: s.tail(F.relu(s.n2(s.b(F.relu(s.n1(s.a(x))))))), a=nn.Linear(6, 5), n1=B1(5), b=nn.Linear(5, 4, bias=False), n2=B1(4), tail=Tail())
    return m, (data(3, 6),)


class Tail(nn.Module):
    """Linear on three axes: a norm of its second is none of its features, unless they are transposed there."""

    def __init__(self):
        super().__init__()
        self.a, self.n1, self.b, self.n2 = nn.Linear(2, 6), B1(2), nn.Linear(6, 3, bias=False), B1(3)

    def forward(self, x):
        x = F.relu(self.n1(self.a(x.view(3, 2, 2))))
        return self.n2(self.b(x).transpose(1, 2))


@case(4, {"not-expressible": 2}, forms=BOTH)
def matrices():
    """Products with parameters of a module's own; with addends and factors, of which that of the addend stays what it is."""
    p = lambda *s: nn.Parameter(torch.zeros(s))  # noqa: E731

    def f(s, x):
        x = F.relu(s.n1(x @ s.a))
        x = F.relu(s.n2(torch.mm(x, s.b)))
        x = F.relu(s.n3(torch.addmm(s.c1, x, s.c, alpha=0.5, beta=2.0)))
        x = F.relu(s.n4(torch.addmm(s.d1, x, s.d, beta=3)))
        x = F.relu(s.n5(torch.matmul(x, s.e.t())))
        return s.n6(torch.addmm(s.g1, x, s.g.T))
    m = Net(f, a=p(6, 4), b=p(4, 5), c=p(5, 3), c1=p(3), d=p(3, 4), d1=p(7, 4), e=p(6, 4), g=p(5, 6), g1=p(5),
            n1=B1(4), n2=B1(5), n3=B1(3), n4=B1(4), n5=B1(6), n6=B1(5))
    return m, (data(7, 6),)


@case(1, {"custom-domain": 2})
def factors_of_nothing():
    """A factor of 0 hides what it is a factor of: `addmm` says nothing of its addend then. Other products are not looked into."""
    p = lambda *s: nn.Parameter(torch.zeros(s))  # noqa: E731

    def f(s, x):
        x = F.relu(s.n1(torch.addmm(s.c, x, s.w, beta=0.0)))
        x = F.relu(s.n2(torch.einsum("bi,io->bo", x, s.v)))
        return s.n3(F.linear(x, s.u))
    return Net(f, c=p(4), w=p(6, 4), v=p(4, 5), u=p(3, 5), n1=B1(4), n2=B1(5), n3=B1(3)), (data(7, 6),)


@case(1, {"not-constant": 1})
def functional():
    """Calls without modules: weights of a module's own, and one that is computed by an op that is not looked into."""
    def f(s, x):
        x = F.relu(s.norm(F.conv2d(x, s.weight, padding=1)))
        return F.batch_norm(F.conv2d(x, torch.full((2, 4, 1, 1), 0.5)), s.mean, s.var, s.gamma, s.beta, eps=1e-3)
    m = Net(f, weight=nn.Parameter(torch.zeros(4, 3, 3, 3)), norm=B2(4), gamma=nn.Parameter(torch.zeros(2)), beta=nn.Parameter(torch.zeros(2)))
    buffer(buffer(m, "mean", torch.tensor([0.5, -1.0])), "var", torch.tensor([0.5, 2.0]), persistent=False)
    return m, (image(),)


@case(3)
def weights_of_every_role():
    """Weights that are a buffer, a buffer that is not saved, and a constant: each takes a bias."""
    def f(s, x):
        x = F.relu(s.n1(F.conv2d(x, s.a)))
        x = F.relu(s.n2(F.conv2d(x, s.b)))
        return s.n3(F.conv2d(x, s.c))
    m = Net(f, n1=B2(4), n2=B2(4), n3=B2(4))
    buffer(buffer(m, "a", data(4, 3, 1, 1)), "b", data(4, 4, 1, 1), persistent=False)
    m.c = data(4, 4, 1, 1)
    return m, (image(),)


@case(2)
def shared_weights_of_every_role():
    """The same, each read twice: what is folded into gets a copy."""
    def f(s, x):
        x = F.relu(s.n1(F.conv2d(x, s.b))) + F.conv2d(x, s.b)
        return s.n2(F.conv2d(x, s.c)) + F.conv2d(x, s.c)
    m = Net(f, n1=B2(3), n2=B2(3))
    buffer(m, "b", data(3, 3, 1, 1), persistent=False)
    m.c = data(3, 3, 1, 1)
    return m, (image(),)


@case(0, {"custom-domain": 1}, forms=PLAIN)
def unbatched_convolution():
    """Data without a batch axis: the first axis is that of channels, and the norm's second is not."""
    return Net(lambda s, x: s.norm(s.conv(x)[None]), conv=nn.Conv2d(3, 4, 3), norm=B2(4)), (data(3, 8, 8),)


@case(0, {"custom-domain": 1}, forms=PLAIN)
def unbatched_as_if_it_were_not():
    """The same, read by a norm of one axis less: its channels are the rows of the image."""
    return Net(lambda s, x: s.norm(s.conv(x)), conv=nn.Conv2d(3, 4, 3, padding=1), norm=B1(4)), (data(3, 4, 4),)


# --- norms -------------------------------------------------------------------------

@case(4, forms=BOTH)
def norms():
    """Without weights, of other numbers, of one value per channel."""
    m = chain(nn.Conv2d(3, 4, 1), B2(4, affine=False), nn.Tanh(), nn.Conv2d(4, 4, 1), B2(4, eps=0.1), nn.Tanh(), nn.Conv2d(4, 5, 1), B2(5, momentum=None),
              nn.Tanh(), nn.Conv2d(5, 5, 1), B2(5, momentum=0.7))
    return m, (image(),)


@case(0, {"batch-statistics": 2}, forms=BOTH)
def no_running_statistics():
    m = chain(nn.Conv2d(3, 4, 1), B2(4, track_running_stats=False), nn.ReLU(), nn.Conv2d(4, 4, 1), B2(4, track_running_stats=False, affine=False))
    return m, (image(),)


@case(0, {"training-mode|batch-statistics": 2}, forms={"train": Form(train=True), "train decomposed": Form(train=True, decompose=True)})
def training():
    return chain(nn.Conv2d(3, 4, 1), B2(4), nn.ReLU(), nn.Conv2d(4, 4, 1, bias=False), B2(4)), (image(),)


@case(1, {"training-mode|batch-statistics": 1})
def one_in_training():
    m = chain(nn.Conv2d(3, 4, 1), B2(4), nn.ReLU(), nn.Conv2d(4, 4, 1), B2(4))
    m[1].train = lambda mode=True: m[1]
    m[1].training = True
    return m, (image(),)


@case(0, {"training-mode|batch-statistics": 1, "updated-in-place|batch-statistics": 1})
def statistics_that_another_call_updates():
    """Two calls with the same statistics, of which the first updates what the second reads."""
    def f(s, x):
        y = F.batch_norm(s.a(x), s.mean, s.var, training=True)
        return F.batch_norm(s.b(F.relu(y)), s.mean, s.var)
    m = Net(f, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 4, 1))
    return buffer(buffer(m, "mean", torch.zeros(4)), "var", torch.ones(4)), (image(),)


@case(0, {"training-mode|batch-statistics": 1})
def statistics_of_a_norm_without_any():
    """`F.batch_norm` in training without statistics of its own."""
    return Net(lambda s, x: F.batch_norm(s.a(x), None, None, s.w, s.b, training=True), a=nn.Conv2d(3, 4, 1), w=nn.Parameter(torch.ones(4)),
               b=nn.Parameter(torch.zeros(4))), (image(),)


@case(0, {"unsupported-type|custom-layer": 1}, forms=PLAIN)
def mixed_types():
    """Data in bf16 with statistics in f32, as autocast leaves them."""
    m = Net(lambda s, x: s.norm(s.conv(x).to(torch.bfloat16)), conv=nn.Conv2d(3, 4, 1), norm=B2(4))
    return m, (image(),)


@case(2)
def two_in_a_row():
    return chain(nn.Conv2d(3, 4, 1), B2(4), B2(4)), (image(),)


@case(3, {"custom-domain": 1}, forms=BOTH, otherwise={"decomposed": (4, {})})
def lower_ranks():
    """Norms of two and of three axes, behind Linear, and behind nothing but a reshape."""
    m = Net(lambda s, x: s.n4(s.d(F.relu(s.n3(s.c(F.relu(s.n2(s.b(F.relu(s.n1(s.a(x)))))))).flatten(1)))),
            a=nn.Linear(4, 6), n1=B1(6), b=nn.Linear(6, 12), n2=Unflat(), c=nn.Conv1d(4, 3, 2), n3=B1(3), d=nn.Linear(6, 2), n4=B1(2))
    return m, (data(3, 4),)


class Unflat(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = B1(4)

    def forward(self, x):
        return self.norm(x.unflatten(1, (4, 3)))


# --- ahead: norms before what they fold into ----------------------------------------

@case(6, forms=BOTH)
def ahead():
    m = chain(B2(3), nn.Conv2d(3, 4, 3), nn.ReLU(), B2(4), nn.Conv2d(4, 8, 1, groups=2), nn.ReLU(), B2(8), nn.Conv2d(8, 8, 3, groups=8, bias=False),
              nn.ReLU(), B2(8), nn.ConvTranspose2d(8, 4, 1), nn.ReLU(), B2(4), nn.Flatten(), nn.Linear(64, 6, bias=False), nn.ReLU(), B1(6), nn.Linear(6, 2))
    return m, (image(),)


@case(0, {"padded-shift": 2, "activation-between": 1}, forms=BOTH)
def ahead_padded():
    m = chain(B2(3), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), B2(4), nn.Conv2d(4, 4, 3, padding="same", bias=False), nn.ReLU(), B2(4), nn.ReLU())
    return m, (image(),)


@case(1, {"activation-between": 2})
def ahead_into_two():
    """Every reader takes it, or none."""
    def f(s, x):
        y = s.n1(x)
        z = F.relu(s.a(y)) + F.relu(s.b(y))
        w = F.relu(s.n2(z))
        v = s.n3(w)
        return s.c(w), s.d(v), v
    return Net(f, n1=B2(3), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 4, 1, bias=False), n2=B2(4), n3=B2(4), c=nn.Conv2d(4, 4, 1), d=nn.Conv2d(4, 2, 1)), (image(),)


@case(3, forms=PLAIN)
def beside():
    """The block of RepVGG: an identity norm goes into the convolution beside it."""
    m = Net(lambda s, x: F.relu(s.n0(x) + s.n3(s.c3(x)) + s.n1(s.c1(x))), n0=B2(4), c3=nn.Conv2d(4, 4, 3, padding=1, bias=False), n3=B2(4),
            c1=nn.Conv2d(4, 4, 1, bias=False), n1=B2(4))
    return m, (data(2, 4, 6, 6),)


# --- what a norm walks through --------------------------------------------------------

def through(middle, channels=4, shape=IMAGE, norm=B2, conv=None, kept=None, forms=PLAIN, folded=1, name=None, **members):
    def build():
        m = Net(lambda s, x: s.norm(middle(s, s.conv(x))), conv=conv() if conv else nn.Conv2d(3, 4, 3, padding=1), norm=norm(channels), **members)
        return m, (data(*shape),)
    build.__name__ = f"through_{name}"
    CASES.append(Case(build.__name__, build, 0 if kept else folded, kept or {}, forms=forms))


through(lambda s, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), name="max_pool")
through(lambda s, x: F.avg_pool2d(x, 2), name="avg_pool", forms=BOTH)
through(lambda s, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), name="avg_pool_padded", forms=BOTH)
through(lambda s, x: F.avg_pool2d(x, 3, 2, 1), name="avg_pool_counted", kept={"padding-between": 1}, forms=BOTH)
through(lambda s, x: F.avg_pool2d(x, 3, 2, 0, ceil_mode=True), name="avg_pool_ceil", kept={"padding-between": 1})
through(lambda s, x: F.avg_pool2d(x, 3, 2, divisor_override=2), name="avg_pool_divided", kept={"custom-domain|opaque-producer": 1})
through(lambda s, x: F.adaptive_avg_pool2d(x, 1), name="global_pool", forms=BOTH)
through(lambda s, x: F.adaptive_avg_pool2d(x, (8, 8)), name="adaptive_to_the_same")
through(lambda s, x: F.adaptive_avg_pool2d(x, (3, 5)), name="adaptive", kept={"custom-domain": 1})
through(lambda s, x: x.mean((2, 3)), norm=B1, name="mean", forms=BOTH)
through(lambda s, x: x.mean((-1, 2), keepdim=True), name="mean_kept", forms=BOTH)
through(lambda s, x: x.mean(-1), norm=B1, name="mean_of_one", forms=BOTH)
through(lambda s, x: x.mean(1, keepdim=True).expand(-1, 4, -1, -1), name="mean_of_channels", kept={"axis-mismatch": 1}, forms=BOTH)
through(lambda s, x: x.sum((2, 3)), norm=B1, name="sum", kept={"no-linear-producer|activation-between": 1})
through(lambda s, x: x.amax((2, 3)), norm=B1, name="amax")
through(lambda s, x: F.interpolate(x, scale_factor=2), name="nearest", forms=BOTH)
through(lambda s, x: F.interpolate(x, size=(16, 24)), name="nearest_to_a_size")
through(lambda s, x: F.interpolate(x, scale_factor=1.3), name="nearest_by_a_part", kept={"custom-domain": 1})
through(lambda s, x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), name="bilinear", kept={"custom-domain": 1})
through(lambda s, x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), name="bilinear_corners", kept={"custom-domain": 1})
through(lambda s, x: F.pixel_shuffle(x, 2), channels=1, name="pixel_shuffle")
through(lambda s, x: F.dropout(x, 0.5, training=False), name="dropout", forms=BOTH)
through(lambda s, x: F.dropout(x, 0.5, training=False, inplace=True), name="dropout_in_place")
through(lambda s, x: x.contiguous().clone(), name="copies", forms=BOTH)
through(lambda s, x: x.flatten(2), norm=B1, name="flatten", forms=BOTH)
through(lambda s, x: x.flatten(-2, -1), norm=B1, name="flatten_from_behind")
through(lambda s, x: x.reshape(2, 4, -1), norm=B1, name="reshape")
through(lambda s, x: x.view(2, 2, 2, 8, 8).transpose(1, 2).contiguous().view(2, 4, 8, 8), name="channel_shuffle", forms=BOTH)
through(lambda s, x: x.permute(0, 2, 3, 1).permute(0, 3, -3, 2), name="permute", forms=BOTH)
through(lambda s, x: x.transpose(-1, 1).transpose(1, 3).transpose(2, 3), name="transpose", forms=BOTH)
through(lambda s, x: x.transpose(1, 2), channels=8, name="transposed_away", kept={"axis-mismatch": 1})
through(lambda s, x: x.unsqueeze(-1).squeeze(4), name="unsqueeze", forms=BOTH)
through(lambda s, x: x.unsqueeze(1).squeeze(1).squeeze(0), name="squeeze_of_more_than_one", forms=BOTH)
through(lambda s, x: x[:, :, :, 0:1].expand(-1, -1, -1, 5), name="expand")
through(lambda s, x: x[:, 1:3], channels=2, name="slice_of_channels", forms=BOTH)
through(lambda s, x: x[:, :, 1:-1, ::2], name="slice_with_a_step", kept={"custom-domain": 1})
through(lambda s, x: x[:, :, -3:], name="slice_from_behind")
through(lambda s, x: x[:, [2, 0, 1, 3]], name="index", kept={"custom-domain": 1})
through(lambda s, x: torch.cat([x, s.other(F.relu(x))], 1), channels=6, name="cat", forms=BOTH, other=nn.Conv2d(4, 2, 1), kept={"multiple-consumers": 1})
through(lambda s, x: torch.cat(x.split([1, 3], 1)[::-1], -3), name="split_and_cat")
through(lambda s, x: torch.cat(x.chunk(3, dim=1), 1), name="chunk")
through(lambda s, x: x.chunk(2, 1)[0], channels=2, name="one_chunk")
through(lambda s, x: x.split(3, 1)[0] + x.split(3, 1)[1], channels=3, name="split_with_a_rest", kept={"axis-mismatch": 1})
through(lambda s, x: F.pad(x, (1, 2, 0, 1)), name="pad", kept={"padding-between": 1}, forms=BOTH)
through(lambda s, x: F.pad(x, (-1, -2, 0, -1)), name="crop")
through(lambda s, x: F.pad(x, (1, 2, 0, 1), mode="reflect"), name="pad_reflect")
through(lambda s, x: F.pad(x, (1, 2, 0, 1), value=0.5), name="pad_value", kept={"padding-between": 1})
through(lambda s, x: x.to(torch.float64).to(torch.float32), name="casts", kept={"precision-narrowing|custom-domain": 1})
through(lambda s, x: x + 1.0, name="add_number", forms=BOTH)
through(lambda s, x: 2.0 * x - 3, name="numbers", forms=BOTH)
through(lambda s, x: 1.0 - x, name="rsub", kept={"custom-domain": 1})
through(lambda s, x: x / 4, name="div_number")
through(lambda s, x: -x, name="neg")
through(lambda s, x: torch.add(x, x, alpha=2), name="alpha", kept={"custom-domain": 1})
through(lambda s, x: x + x, name="double")
through(lambda s, x: x - x * 0.5, name="difference", kept={"sibling-disagrees": 1})
through(lambda s, x: x * s.p, name="scale", p=nn.Parameter(torch.ones(4, 1, 1)), forms=BOTH)
through(lambda s, x: x.mul_(s.p).add_(s.q), name="scale_in_place", p=nn.Parameter(torch.ones(4, 1, 1)), q=nn.Parameter(torch.ones(1, 4, 1, 1)))
through(lambda s, x: x * s.p, name="scale_of_positions", p=nn.Parameter(torch.ones(8, 8)), kept={"not-per-channel|axis-mismatch|no-linear-producer": 1})
through(lambda s, x: x + s.p, name="add_of_positions", p=nn.Parameter(torch.ones(8, 8)), kept={"axis-mismatch": 1})
for _name in ("relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid", "tanh", "softplus"):
    through(lambda s, x, f=getattr(F, _name): f(x), name=_name, kept={"activation-between|custom-domain": 1})
through(lambda s, x: F.relu(x, inplace=True), name="relu_in_place", kept={"activation-between": 1})
through(lambda s, x: x.clamp(-1, 1), name="clamp", kept={"activation-between": 1})
through(lambda s, x: x.clamp(min=0.5), name="clamp_min", kept={"activation-between": 1})
through(lambda s, x: x.softmax(1), name="softmax", kept={"activation-between|custom-domain": 1}, forms=BOTH)
through(lambda s, x: x.abs().sqrt(), name="sqrt", kept={"activation-between": 1})
through(lambda s, x: F.group_norm(x, 2), name="group_norm", kept={"custom-domain": 1}, forms=BOTH)
through(lambda s, x: F.instance_norm(x), name="instance_norm", kept={"custom-domain": 1})
