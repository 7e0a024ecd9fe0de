"""`normfold.torch`: live modules, judged by running them before and after."""
import copy
import warnings

import pytest

torch = pytest.importorskip("torch")
import normfold  # noqa: E402
from normfold.torch import fold_all_batch_norms, fold_given_batch_norms  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def randomised(model, seed=0):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                if m.running_mean is not None:
                    m.running_mean.copy_(torch.randn(m.num_features, generator=g) * 0.5)
                    m.running_var.copy_(torch.rand(m.num_features, generator=g) + 0.5)
                if m.affine:
                    m.weight.copy_(torch.rand(m.num_features, generator=g) + 0.5)
                    m.bias.copy_(torch.randn(m.num_features, generator=g) * 0.3)
    return model.eval()


def evaluated(model, *x):
    flags = {m: m.training for m in model.modules()}
    with torch.no_grad():
        y = model.eval()(*x)
    for m, training in flags.items():
        m.training = training
    return [t for t in torch.utils._pytree.tree_leaves(y) if isinstance(t, torch.Tensor)]


def folded(model, *x, tolerance=1e-5, **how):
    """Folds in place; what the model computes stays what it was."""
    before = evaluated(model, *x)
    flags = {n: m.training for n, m in model.named_modules()}
    rng = torch.get_rng_state()
    pairs = fold_all_batch_norms(model, None, dummy_input=x, **how)
    assert torch.equal(rng, torch.get_rng_state())
    assert {n: m.training for n, m in model.named_modules() if n in flags} == {n: t for n, t in flags.items() if n in dict(model.named_modules())}
    for a, b in zip(before, evaluated(model, *x), strict=True):
        assert a.dtype == b.dtype
        assert (a.double() - b.double()).abs().max() <= tolerance * a.double().abs().max()
    again = fold_all_batch_norms(model, None, dummy_input=x)
    assert not again, "a second run folds more"
    return pairs


def left(model):
    return [n for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


class CBR(nn.Sequential):
    def __init__(self, i, o, bias=False, **how):
        super().__init__(nn.Conv2d(i, o, 3, padding=1, bias=bias, **how), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.deep = CBR(3, 8), CBR(8, 8, bias=True, groups=4)
        self.fc, self.last = nn.Linear(8, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.deep(x)
        return self.last(self.fc(x.mean((2, 3))))


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_net_loses_its_norms():
    model = randomised(Net())
    conv, norm = model.stem[0], model.stem[1]
    pairs = folded(model, X)
    assert pairs[0] == (conv, norm) and [(type(a), type(b)) for a, b in pairs] == [
        (nn.Conv2d, nn.BatchNorm2d), (nn.Conv2d, nn.BatchNorm2d), (nn.Linear, nn.BatchNorm1d)]  # fmt: skip
    assert left(model) == [] and isinstance(model.stem[1], nn.Identity)
    assert model.stem[0] is conv and isinstance(conv.bias, nn.Parameter)
    assert pairs.report.batch_norms.folded == 3 and "folded 3 of 3" in str(pairs.report)
    assert "stem.0.bias" in model.state_dict() and "stem.1.weight" not in model.state_dict()
    torch.optim.SGD(model.parameters(), 0.1)


def test_arguments_as_aimet_takes_them():
    for shapes, dummy in (((2, 3, 8, 8), None), ([(2, 3, 8, 8)], None), ((1, 1), X), (None, (X,)), (torch.Size([2, 3, 8, 8]), None)):
        assert len(fold_all_batch_norms(randomised(Net()), shapes, dummy)) == 3
    assert len(fold_all_batch_norms(randomised(Net()), input_shapes=(2, 3, 8, 8), dummy_input=None)) == 3
    with pytest.raises(TypeError, match="input_shapes or dummy_input"):
        fold_all_batch_norms(Net(), None)
    with pytest.raises(TypeError, match="Module"):
        fold_all_batch_norms(3, (1,))

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.n = nn.Conv2d(3, 4, 1), nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x, y):
            return self.n(self.a(x) + self.b(y))

    assert len(fold_all_batch_norms(randomised(Two()), [(1, 3, 4, 4), (1, 2, 4, 4)])) == 2


def test_flags_types_and_hooks_stay():
    model = randomised(Net())
    model.train()
    model.deep.eval()
    model.stem[0].weight.requires_grad_(False)
    seen = []
    model.stem[1].register_forward_hook(lambda m, a, y: seen.append((type(m), y.mean().item())))
    model.stem[0].register_forward_pre_hook(lambda m, a: seen.append(type(m)))
    flags = {n: m.training for n, m in model.named_modules()}
    fold_all_batch_norms(model, (2, 3, 8, 8))
    assert {n: m.training for n, m in model.named_modules()} == flags
    assert model.stem[0].bias.requires_grad is False and model.fc.weight.requires_grad is True
    reference = randomised(Net())
    reference.load_state_dict(reference.state_dict())
    seen.clear()
    evaluated(model, X)
    assert seen[0] is nn.Conv2d and seen[1][0] is nn.Identity


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.bfloat16, 2e-2), (torch.float16, 4e-3)])
def test_types(dtype, tolerance):
    model = randomised(Net()).to(dtype)
    pairs = folded(model, X.to(dtype), tolerance=tolerance)
    assert len(pairs) == 3 and model.stem[0].bias.dtype == dtype


def test_strides_stay():
    model = randomised(Net()).to(memory_format=torch.channels_last)
    strides = model.stem[0].weight.stride()
    pointer = model.stem[0].weight.data_ptr()
    assert len(folded(model, X)) == 3
    assert model.stem[0].weight.stride() == strides and model.stem[0].weight.data_ptr() == pointer


def test_data_parallel_is_looked_through():
    model = randomised(Net())
    before = evaluated(model, X)
    pairs = fold_all_batch_norms(nn.DataParallel(model), (2, 3, 8, 8))
    assert len(pairs) == 3 and left(model) == []
    assert torch.allclose(before[0], evaluated(model, X)[0], atol=1e-5)


def one(*layers):
    return randomised(nn.Sequential(*layers))


FOLDS = {
    "affine=False": (one(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), X),
    "depthwise": (one(nn.Conv2d(3, 12, 3, groups=3), nn.BatchNorm2d(12)), X),
    "same": (one(nn.Conv2d(3, 4, 3, padding="same", dilation=2), nn.BatchNorm2d(4)), X),
    "reflect": (one(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4)), X),
    "transposed": (one(nn.ConvTranspose2d(3, 4, 3, 2, output_padding=1), nn.BatchNorm2d(4)), X),
    "transposed groups": (one(nn.ConvTranspose2d(4, 6, 2, groups=2), nn.BatchNorm2d(6)), torch.randn(1, 4, 5, 5)),
    "1-D": (one(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), torch.randn(2, 3, 9)),
    "3-D": (one(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4)), torch.randn(2, 3, 5, 5, 5)),
    "transposed 3-D": (one(nn.ConvTranspose3d(3, 4, 2), nn.BatchNorm3d(4)), torch.randn(2, 3, 3, 3, 3)),
    "linear": (one(nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4)), torch.randn(3, 5)),
    "through dropout": (one(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.BatchNorm2d(4)), X),
    "through a pool": (one(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.BatchNorm2d(4)), X),
    "forward": (one(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), X),
    "forward through flatten": (one(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 4)), X),
}


@pytest.mark.parametrize("name", FOLDS)
def test_what_folds(name):
    model, x = FOLDS[name]
    model = copy.deepcopy(model)
    assert len(folded(model, x)) == 1 and left(model) == []


class Twice(nn.Module):
    """One convolution, two norms."""

    def __init__(self):
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.a(self.conv(x)) + self.b(self.conv(x * 2))


class SharedNorm(nn.Module):
    """Two convolutions, one norm."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return F.relu(self.norm(self.a(x))) + F.relu(self.norm(self.b(x)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(3, 4, 1, bias=False)
        self.b.weight = self.a.weight
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.a(x)) + F.relu(self.b(x))


class TiedElsewhere(nn.Module):
    """The weight is also that of a module that only training calls."""

    def __init__(self):
        super().__init__()
        self.a, self.aux, self.norm = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.aux.weight = self.a.weight

    def forward(self, x):
        y = self.norm(self.a(x))
        return (y, self.aux(x)) if self.training else y


class Returned(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return y, self.norm(y)


class Tokens(nn.Module):
    """Linear on three axes, then BatchNorm1d: the norm is over the second axis, not over the features."""

    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.fc(x.flatten(2)[..., :8]))


class Statistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        return self.norm(self.conv(x))


class Trains(nn.Module):
    """A norm that its caller keeps in training mode."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=True)

    def forward(self, x):
        n = self.norm
        return F.batch_norm(self.conv(x), n.running_mean.clone(), n.running_var.clone(), n.weight, n.bias, True, 0.1, n.eps)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.norm = nn.Parameter(torch.randn(4, 3, 1, 1)), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(F.conv2d(x, self.weight))


class FunctionalNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        n = self.norm
        return F.batch_norm(self.conv(x), n.running_mean, n.running_var, n.weight, n.bias)


class Beside(nn.Module):
    """The sum is code, and stays: so does the norm beside the convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.cn, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        x = F.relu(x)
        return self.cn(self.conv(x)) + self.norm(x)


class Scaled(nn.Module):
    """A product with a parameter is code, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.gain = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Parameter(torch.rand(4, 1, 1) + 0.5)

    def forward(self, x):
        return self.norm(self.conv(x) * self.gain)


class Parametrized(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1))
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x))


class Own(nn.BatchNorm2d):
    """Code of somebody's own, of which the norm is a part."""

    def forward(self, x):
        return torch.tanh(super().forward(x))


class Seen(nn.Module):
    """The result of the convolution is overwritten where another value shows it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        z = y.view(y.shape)
        z.add_(1.0)
        return self.norm(y) * z


class Alias(nn.Module):
    """A norm under two names is one norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.blocks = nn.ModuleList([self.norm])

    def forward(self, x):
        return self.norm(self.conv(x))


class Reads(nn.Module):
    """Reads a parameter of the norm, which must stay for it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x)) * self.norm.weight.mean()


# What is left, and why: one reason of several, or one.
STAYS = {
    "reused convolution": (Twice, {"shared-weight": 2}),
    "reused norm": (SharedNorm, {"shared-layer": 2}),
    "tied parameter": (Tied, {"shared-weight": 1}),
    "parameter of somebody else": (TiedElsewhere, {"not-expressible": 1}),
    "intermediate returned": (Returned, {"multiple-consumers": 1}),
    "tokens": (Tokens, {"axis-mismatch": 1}),
    "no running statistics": (Statistics, {"batch-statistics": 1}),
    "training mode": (Trains, {"batch-statistics": 1}),
    "functional convolution": (Functional, {"not-expressible": 1}),
    "functional norm": (FunctionalNorm, {"custom-layer": 1}),
    "beside": (Beside, {"not-expressible": 1}),
    "scaled": (Scaled, {"not-expressible": 1}),
    "parametrized": (Parametrized, None),
    "own norm": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), Own(4)), {"custom-layer": 1}),
    "overwritten": (Seen, {"updated-in-place": 1}),
    "norm of two names": (Alias, {"custom-layer": 1}),
    "padded": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)), {"padded-shift": 1}),
    "read parameter": (Reads, {"not-expressible": 1}),
    "root": (lambda: nn.BatchNorm2d(3), None),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_stays_is_reported(name):
    make, reasons = STAYS[name]
    model = randomised(make())
    before = copy.deepcopy(model.state_dict())
    count = len(left(model))
    pairs = folded(model, X)
    kept = pairs.report.kept
    assert kept and all(r.unlock for r in kept)
    if reasons is not None:
        assert pairs.report.batch_norms.reasons == reasons, pairs.report.batch_norms
    if name == "beside":
        assert len(pairs) == 1 and left(model) == ["norm"]
        return
    assert not pairs and len(left(model)) == count
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


class AsksTheNorm(nn.Module):
    """Reads what no trace shows: a number that an Identity has not."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x)) * self.norm.eps


class AsksTheLayer(nn.Module):
    """Does something else once the layer has a bias."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.norm(self.conv(x))
        return y if self.conv.bias is None else y * 2


class HiddenList(nn.Module):
    """Calls its layers through a list, and more than the trace shows: the inner value goes to the caller."""

    def __init__(self, end):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.weights, self.end = [self.conv.weight], end

    def forward(self, x):
        return self.end(self.norm(self.conv(x)) + F.conv2d(x, torch.from_numpy(self.weights[0].detach().numpy())))


def masked(y):
    return y.masked_fill(y > 1, -torch.inf)


ENDS = [lambda y: y, lambda y: F.dropout(y, 0.1), lambda y: y + torch.randn_like(y) * 0.01, masked, lambda y: y.argmax(1)]


@pytest.mark.parametrize("make", [AsksTheNorm, AsksTheLayer])
def test_what_no_trace_shows_is_found_and_undone(make):
    model = randomised(make()).train()
    before, state = evaluated(model, X), copy.deepcopy(model.state_dict())
    norm = model.norm
    with pytest.raises(normfold.NormfoldError, match="is as it was"):
        fold_all_batch_norms(model, (2, 3, 8, 8))
    assert model.norm is norm and model.conv.bias is None and model.training
    after = model.state_dict()
    assert state.keys() == after.keys() and all(torch.equal(state[k], after[k]) for k in state)
    assert torch.equal(before[0], evaluated(model, X)[0])


@pytest.mark.parametrize("end", range(len(ENDS)))
def test_results_that_are_random_infinite_or_indices_are_compared(end):
    """A weight that the code reads behind PyTorch's back changes with the fold; whatever the result is, that is found."""
    torch.manual_seed(1)
    model = randomised(HiddenList(ENDS[end]))
    weight = model.conv.weight.detach().clone()
    try:
        pairs = fold_all_batch_norms(model, None, X)
    except normfold.NormfoldError:
        pairs = []
    assert not pairs and torch.equal(weight, model.conv.weight) and left(model) == ["norm"]


def test_what_a_model_keeps_in_evaluation_stays():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))
            self.feature = "none yet"

        def forward(self, x):
            self.calls.add_(1)
            y = self.norm(self.conv(x))
            self.feature = y.detach()
            return y

    for how in ({"dummy_input": X}, {}):
        model, x = randomised(Keeps()), X.clone()
        if how:
            assert len(fold_all_batch_norms(model, None, **how)) == 1
        else:
            fold_given_batch_norms(model, [(model.conv, model.norm)])
        assert int(model.calls) == 0 and model.feature == "none yet" and torch.equal(x, X)


def test_a_failure_on_the_way_leaves_nothing_half_done():
    model = one(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    with torch.inference_mode():
        model[3].weight = nn.Parameter(model[3].weight.clone(), requires_grad=False)
    before = copy.deepcopy({k: v.clone() for k, v in model.state_dict().items()})
    try:
        fold_all_batch_norms(model, None, X)
    except Exception:
        after = model.state_dict()
        assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
        assert left(model) == ["1", "4"]
    else:
        assert left(model) == []


def test_a_new_bias_is_an_ordinary_parameter():
    model = randomised(Net())
    with torch.inference_mode():
        fold_all_batch_norms(model, None, X)
    bias = model.stem[0].bias
    assert not bias.is_inference() and bias.untyped_storage().resizable()
    model.train()(X).sum().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()


def test_noise_is_no_difference():
    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.norm(self.conv(x))
            return y, y.softmax(1).sum(1) - 1

    assert len(fold_all_batch_norms(randomised(Noise()), None, X)) == 1


def test_what_leaves_as_something_else_is_not_touched():
    class Array(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            c = self.conv(x)
            return self.norm(c), c.detach().numpy()

    model = randomised(Array())
    with torch.no_grad():
        before = model(X)[1].copy()
        try:
            pairs = fold_all_batch_norms(model, None, X)
        except normfold.NormfoldError:
            pairs = []
        assert not pairs and (model(X)[1] == before).all()


def test_a_model_that_is_random_is_folded():
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.norm(self.conv(x))
            return y + torch.rand_like(y)

    assert len(fold_all_batch_norms(randomised(Random()), (2, 3, 8, 8))) == 1


def test_one_norm_into_several_layers():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.a, self.b = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3)

        def forward(self, x):
            y = self.norm(x)
            return self.a(y), self.b(y)

    model = randomised(Fork())
    norm = model.norm
    pairs = folded(model, X)
    assert [n for _, n in pairs] == [norm, norm] and [m for m, _ in pairs] == [model.a, model.b]


def test_norms_merge():
    model = one(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    assert len(folded(model, X)) == 2 and left(model) == []
    model = one(nn.ReLU(), nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.ReLU())
    folded(model, X)
    assert left(model) == ["1"]


torch.library.define("normfold_test::wave", "(Tensor x) -> Tensor")
torch.library.impl("normfold_test::wave", "CPU", lambda x: torch.sin(x))
torch.library.define("normfold_test::bump", "(Tensor x) -> Tensor")


def bump(x):
    # Overwrites its operand, which its schema does not say.
    x.data.add_(1.0)
    return x.clone()


torch.library.impl("normfold_test::bump", "CPU", bump)


class Foreign(nn.Module):
    """Calls an op that no tracer but one that runs it knows."""

    def __init__(self, op):
        super().__init__()
        self.body, self.deep, self.norm, self.conv = CBR(3, 4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
        self.op = op

    def forward(self, x):
        x = self.op(self.body(x))
        y = self.deep(x)
        return self.conv(self.norm(y) + 0 * torch.chunk(y, 2, 1)[0].mean())


def test_what_export_cannot_trace_fx_can():
    model = randomised(Foreign(torch.ops.normfold_test.wave))
    pairs = folded(model, X)
    assert [type(n) for _, n in pairs] == [nn.BatchNorm2d] and left(model) == ["norm"]
    assert pairs.report.batch_norms.reasons == {"multiple-consumers": 1}


def test_what_a_foreign_op_overwrites_stays():
    class Bumped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.other, self.last = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            z = torch.ops.normfold_test.bump(y)
            return self.last(self.other(self.norm(y))) + z

    model = randomised(Bumped())
    folded(model, X)
    assert "norm" in left(model)


def test_what_cannot_be_traced_is_one_clear_error():
    class Decides(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.norm(self.conv(x))
            return y if bool((y.sum() > 0).item()) else -y

    model = randomised(Decides())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(normfold.NormfoldError, match="Decides cannot be traced.*torch.export.*torch.fx"):
        fold_all_batch_norms(model, (1, 3, 4, 4))
    after = model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before) and model.norm is not None
    with pytest.raises(normfold.NormfoldError, match="TorchScript"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fold_all_batch_norms(torch.jit.trace(randomised(Net()), X), (1, 3, 8, 8))
    # Without an input the pair is taken on trust, and that is said.
    with pytest.warns(UserWarning, match="on trust"):
        assert len(fold_given_batch_norms(model, [(model.conv, model.norm)])) == 1


def test_given_pairs_and_nothing_else():
    for how in ({}, {"input_shapes": (2, 3, 8, 8)}, {"dummy_input": X}):
        model = randomised(Net())
        before = evaluated(model, X)[0]
        conv, norm = model.stem[0], model.stem[1]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pairs = fold_given_batch_norms(model, [(conv, norm)], **how)
        assert list(pairs) == [(conv, norm)] and left(model) == ["deep.1", "last"], how
        assert torch.allclose(before, evaluated(model, X)[0], atol=1e-5)


def test_given_pairs_go_forward():
    for how in ({}, {"dummy_input": X}):
        model = one(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU())
        before = evaluated(model, X)[0]
        assert list(fold_given_batch_norms(model, [(model[0], model[1])], **how)) == [(model[1], model[0])] or left(model) == []
        assert left(model) == [] and torch.allclose(before, evaluated(model, X)[0], atol=1e-5)


def test_given_pairs_that_would_change_the_model_are_kept():
    for how in ({}, {"dummy_input": X}):
        model = randomised(Returned())
        before = evaluated(model, X)
        pairs = fold_given_batch_norms(model, [(model.conv, model.norm)], **how)
        assert not pairs and pairs.report.batch_norms.reasons == {"multiple-consumers": 1}
        assert all(torch.equal(a, b) for a, b in zip(before, evaluated(model, X)))
        padded = one(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1))
        pairs = fold_given_batch_norms(padded, [(padded[0], padded[1])], **how)
        assert not pairs and pairs.report.batch_norms.reasons == {"padded-shift": 1}


def test_wrong_pairs_are_refused():
    model = Net()
    for pair in [(model.stem[0], model.deep[0]), (model.stem[1], model.deep[1]), (model.stem[0], nn.BatchNorm2d(8)), (nn.ReLU(), model.stem[1])]:
        with pytest.raises(ValueError):
            fold_given_batch_norms(model, [pair])
    assert list(fold_given_batch_norms(model, [])) == []
    with pytest.raises(normfold.NormfoldError, match="do not fit together"):
        pair = one(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(5))
        fold_given_batch_norms(pair, [(pair[0], pair[1])])


def test_given_pairs_that_share_a_layer_compose():
    for order in (0, 1):
        model = one(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        before = evaluated(model, X)[0]
        given = [(model[0], model[1]), (model[1], model[2])]
        assert len(fold_given_batch_norms(model, given[::-1] if order else given)) == 2
        assert torch.allclose(before, evaluated(model, X)[0], atol=1e-5)


class ReadsWeight(nn.Module):
    def __init__(self, of):
        super().__init__()
        self.conv, self.norm, self.of = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), of

    def forward(self, x):
        return self.norm(self.conv(x)) * getattr(self, self.of).weight.mean()


class Within(nn.Module):
    """The layer is also called where no symbolic trace looks."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.encoder = nn.TransformerEncoderLayer(8, 1, 8, batch_first=True)
        self.encoder.extra = self.conv

    def forward(self, x):
        return self.norm(self.conv(x)), self.encoder(x.flatten(0, 2))


def hooked(kind):
    model = one(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    if kind == "conv":
        model[0].register_forward_hook(lambda m, a, y: y.relu())
    else:
        model[1].register_forward_pre_hook(lambda m, a: (a[0].relu(),))
    return model, model[0], model[1]


def members(model):
    return randomised(model), model.conv, model.norm


UNCHECKED = {
    "hook of the layer": lambda: (*hooked("conv"), "custom-layer"),
    "hook of the norm": lambda: (*hooked("norm"), "custom-layer"),
    "weight read": lambda: (*members(ReadsWeight("conv")), "multiple-consumers"),
    "norm read": lambda: (*members(ReadsWeight("norm")), "multiple-consumers"),
    "within another": lambda: (*members(Within()), "custom-layer"),
}


@pytest.mark.parametrize("name", UNCHECKED)
def test_given_pairs_without_an_input_are_checked_as_far_as_the_code_shows(name):
    model, layer, norm, code = UNCHECKED[name]()
    state = copy.deepcopy(model.state_dict())
    pairs = fold_given_batch_norms(model, [(layer, norm)])
    assert not pairs and pairs.report.batch_norms.reasons == {code: 1} and pairs.report.kept[0].unlock
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


def test_given_pairs_whose_axes_are_unknown_need_an_input():
    tokens = one(nn.Linear(4, 4), nn.BatchNorm1d(4))
    x = torch.randn(2, 4, 4)
    pairs = fold_given_batch_norms(tokens, [(tokens[0], tokens[1])])
    assert not pairs and pairs.report.batch_norms.reasons == {"unknown-rank": 1}
    assert not fold_given_batch_norms(tokens, [(tokens[0], tokens[1])], dummy_input=x)
    assert list(fold_given_batch_norms(tokens, [(tokens[0], tokens[1])], input_shapes=(2, 4))) and left(tokens) == []


def test_reports_of_given_pairs_name_modules():
    model = randomised(Net())
    report = fold_given_batch_norms(model, [(model.stem[0], model.stem[1])]).report
    assert [r.name for r in report.folded] == ["stem.1"] and report.folded[0].args["absorbers"] == ["stem.0"]
    assert 'conv "stem.0"' in report.folded[0].message
    assert fold_given_batch_norms(model, []).report.kept == []


@pytest.mark.parametrize("name, norms, folds", [("mobilenet_v2", 52, 52), ("resnet18", 20, 20), ("shufflenet_v2_x0_5", 56, 56), ("efficientnet_b0", 49, 49), ("densenet121", 121, 59)])
def test_torchvision(name, norms, folds):
    models = pytest.importorskip("torchvision.models")
    model = randomised(getattr(models, name)(weights=None))
    assert len(left(model)) == norms
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    pairs = folded(model, x)
    assert len(pairs) == folds and len(left(model)) == norms - folds
    assert pairs.report.batch_norms.kept == norms - folds


@pytest.mark.parametrize("name, least", [("mobilenetv3_small_050", 34), ("tf_efficientnet_lite0", 49), ("regnetx_002", 44)])
def test_timm(name, least):
    timm = pytest.importorskip("timm")
    model = randomised(timm.create_model(name, pretrained=False))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    pairs = folded(model, x)
    assert len(pairs) >= least and left(model) == []
