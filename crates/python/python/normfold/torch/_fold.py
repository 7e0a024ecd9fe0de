"""Folding in live modules: trace, fold, put back."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from .. import _native
from .._native import NormfoldError
from .._report import Pairs, Report
from . import _layers, _trace

_DTYPES = {
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f32": torch.float32,
    "f64": torch.float64,
}


def fold_all(model: nn.Module, input_shapes: Any, dummy_input: Any) -> Pairs:
    module = _checked(model)
    arguments = _arguments(module, input_shapes, dummy_input)
    with _evaluated(module):
        program = _trace.program(module, arguments)
    return _fold(module, program, "fold-bn", arguments=arguments)


def fold_given(model: nn.Module, layer_pairs: Iterable[tuple[nn.Module, nn.Module]], input_shapes: Any, dummy_input: Any) -> Pairs:
    module = _checked(model)
    given = _given(module, layer_pairs)
    if not given:
        return Pairs()
    if input_shapes is not None or dummy_input is not None:
        arguments = _arguments(module, input_shapes, dummy_input)
        with _evaluated(module):
            program = _trace.program(module, arguments)
        return _fold(module, program, _pipeline(module, given), arguments=arguments)
    with _evaluated(module):
        programs = _trace.adjacent(module, [(module.get_submodule(a), module.get_submodule(b)) for a, b in given])
    # One program for each pair.
    pairs = Pairs()
    for (first, second), alone in zip(given, programs, strict=True):
        names = {"0": first, "1": second}
        done = _fold(module, alone, _pipeline(module, [("0", "1")], names), names)
        pairs.extend(done)
        pairs.report = _joined(pairs.report, done.report)
    return pairs


def _checked(model: Any) -> nn.Module:
    if isinstance(model, torch.jit.ScriptModule):
        raise NormfoldError("a TorchScript module is code that cannot be changed here: fold the module that it was made from")
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, not {type(model).__name__}")
    return _layers.unwrapped(model)


def _arguments(module: nn.Module, shapes: Any, dummy_input: Any) -> tuple[Any, ...]:
    if dummy_input is not None:
        return tuple(dummy_input) if isinstance(dummy_input, (tuple, list)) else (dummy_input,)
    if shapes is None:
        raise TypeError("input_shapes or dummy_input is needed")
    if all(isinstance(n, int) for n in shapes):
        shapes = [shapes]
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    # A generator of its own: the model's user may count on the global one.
    generator = torch.Generator().manual_seed(0)
    made = (torch.rand(tuple(shape), generator=generator) for shape in shapes)
    return tuple(t.to(device=like.device, dtype=like.dtype) for t in made)


@contextlib.contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards the flag of every module is what it was."""
    flags = {m: m.training for m in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for m, training in flags.items():
            m.training = training


def _given(module: nn.Module, layer_pairs: Iterable[tuple[nn.Module, nn.Module]]) -> list[tuple[str, str]]:
    """The names of pairs, each in the order of the calls."""
    names = _layers.names_of(module)
    given = []
    for first, second in layer_pairs:
        kinds = (isinstance(first, _layers.NORMS), isinstance(second, _layers.NORMS))
        layer = second if kinds[0] else first
        if kinds[0] == kinds[1] or not isinstance(layer, _layers.LINEAR):
            raise ValueError(f"expected a convolution or linear layer and a batch norm, not {type(first).__name__} and {type(second).__name__}")
        for m in (first, second):
            if m not in names:
                raise ValueError(f"the model has no such {type(m).__name__}")
        given.append((names[first][0], names[second][0]))
    return given


def _escaped(text: str, special: str) -> str:
    return "".join(f"\\{c}" if c in special else c for c in text)


def _pipeline(module: nn.Module, given: list[tuple[str, str]], names: dict[str, str] | None = None) -> str:
    texts = []
    for first, second in given:
        forward = isinstance(module.get_submodule((names or {}).get(first, first)), _layers.NORMS)
        layer, norm = (second, first) if forward else (first, second)
        texts.append(":".join(_escaped(name, "\\:|") for name in (layer, norm)))
    pairs = _escaped("|".join(texts), '\\"')
    return f'fold-bn{{pairs="{pairs}"}}'


def _joined(first: Report | None, second: Report | None) -> Report | None:
    """One report of several runs."""
    import json

    if first is None or second is None:
        return first or second

    data, more = first.to_dict(), second.to_dict()
    data["remarks"] += more["remarks"]
    for kind in ("batch_norms", "affine_chains"):
        for field in ("total", "folded", "kept", "removed"):
            data[kind][field] += more[kind][field]
        for code, n in more[kind]["reasons"].items():
            data[kind]["reasons"][code] = data[kind]["reasons"].get(code, 0) + n
    for field in ("largest_error", "largest_bound"):
        data[field] = max((d[field] for d in (data, more) if d.get(field) is not None), default=None)
    return Report(json.dumps(data))


def _fold(module: nn.Module, program: bytes, pipeline: str, names: dict[str, str] | None = None, arguments: tuple[Any, ...] | None = None) -> Pairs:
    """Folds in a program of the module, and puts back what changed. `names` says what its modules are called in the model;
    with `arguments` the module is run before and after."""
    allowed = _layers.changeable(module)
    if names is not None:
        allowed = [inner for inner, outer in names.items() if outer in allowed]
    text, changed, added, gone = _native.fold_live(program, allowed, pipeline, type(module).__name__)
    report = Report(text)
    called = names or {}

    def named(name: str) -> str:
        outer, _, last = name.rpartition(".")
        return f"{called[outer]}.{last}" if outer in called else name

    changes = [(named(n), _tensor(dtype, dims, data)) for n, dtype, dims, data in changed]
    biases = [(named(n), _tensor(dtype, dims, data)) for n, dtype, dims, data in added]
    norms = [called.get(n, n) for n in dict.fromkeys(gone)]
    layers = {name: module.get_submodule(called.get(name, name)) for r in report.folded for name in r.args.get("absorbers", ())}
    pairs = Pairs(report=report)
    for remark in report.folded:
        norm = module.get_submodule(called.get(remark.name, remark.name))
        absorbers = (layers[name] for name in remark.args.get("absorbers", ()))
        pairs.extend((layer, norm) for layer in absorbers if not _layers.is_norm(layer))
    if not (changes or biases or norms):
        return pairs
    expected = None if arguments is None else _results(module, arguments)
    undo = _put_back(module, changes, biases, norms)
    if arguments is not None and expected is not None:
        try:
            with _evaluated(module), torch.random.fork_rng():
                different = _difference(expected, _tensors(module(*arguments)))
        except BaseException:
            # Code that asks a layer for what it has no more.
            undo()
            raise
        if different is not None:
            undo()
            raise NormfoldError(
                f"{type(module).__name__} does not compute what it computed ({different}), and is as it was: its code does "
                "something that its trace does not show"
            )
    return pairs


# How far results may be apart before something other than rounding is at work, relative to the largest.
_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.2}


def _tensors(results: Any) -> list[torch.Tensor]:
    return [t.detach().clone() for t in pytree.tree_leaves(results) if isinstance(t, torch.Tensor)]


def _results(module: nn.Module, arguments: tuple[Any, ...]) -> list[torch.Tensor] | None:
    """What the module gives, in evaluation mode; `None` where it does not give the same twice."""
    with _evaluated(module), torch.random.fork_rng():
        first, second = _tensors(module(*arguments)), _tensors(module(*arguments))
    return first if _difference(first, second) is None else None


def _difference(expected: list[torch.Tensor], found: list[torch.Tensor]) -> str | None:
    """What is different; `None` where nothing is but rounding."""
    if len(expected) != len(found):
        return f"{len(found)} results, not {len(expected)}"
    for i, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"result {i} is another tensor"
        if a.dtype not in _ROUNDING or not bool(a.isfinite().all()):
            continue
        if a.numel() == 0:
            continue
        x, y = a.double(), b.double()
        apart, largest = float((x - y).abs().max()), float(x.abs().max())
        if not apart <= _ROUNDING[a.dtype] * largest:
            return f"result {i} differs by {apart:.1e}, and its largest magnitude is {largest:.1e}"
    return None


def _put_back(module: nn.Module, changes: list[tuple[str, torch.Tensor]], biases: list[tuple[str, torch.Tensor]], norms: list[str]) -> Callable[[], None]:
    """Puts changes into the module, and gives what takes them out again. Nothing is changed where one of them has no place."""
    targets = [(module.get_parameter(name) if _is_parameter(module, name) else module.get_buffer(name), t) for name, t in changes]
    owners = [(module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], t) for name, t in biases]
    instead = [(name, _layers.without_norm(module.get_submodule(name))) for name in norms]
    for target, tensor in targets:
        if target.shape != tensor.shape:
            raise NormfoldError(f"a parameter of shape {tuple(target.shape)} would become one of {tuple(tensor.shape)}: please report this")
    old_values = [target.detach().clone() for target, _ in targets]
    old_modules = [(name, module.get_submodule(name)) for name in norms]

    def undo() -> None:
        with torch.no_grad():
            for (target, _), value in zip(targets, old_values, strict=True):
                target.copy_(value)
        for layer, name, _ in owners:
            setattr(layer, name, None)
        for name, old in old_modules:
            _layers.replace(module, name, old)

    with torch.no_grad():
        for target, tensor in targets:
            target.copy_(tensor)
        for layer, name, tensor in owners:
            like = layer.weight
            bias = tensor.to(device=like.device, dtype=like.dtype)
            setattr(layer, name, nn.Parameter(bias, requires_grad=like.requires_grad))
    for name, other in instead:
        _layers.replace(module, name, other)
    return undo


def _is_parameter(module: nn.Module, name: str) -> bool:
    outer, _, last = name.rpartition(".")
    return last in module.get_submodule(outer)._parameters


def _tensor(dtype: str, dims: list[int], data: bytes) -> torch.Tensor:
    if not data:
        return torch.empty(dims, dtype=_DTYPES[dtype])
    with warnings.catch_warnings():
        # It is read and never written.
        warnings.simplefilter("ignore")
        return torch.frombuffer(data, dtype=_DTYPES[dtype]).reshape(dims)
