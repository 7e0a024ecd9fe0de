"""Folding in live modules: trace, fold, put back."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from numbers import Integral
from typing import Any

import numpy
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
        none = {"total": 0, "folded": 0, "kept": 0, "removed": 0, "reasons": {}}
        return Pairs(report=Report(json.dumps({"pipeline": "fold-bn", "batch_norms": none, "affine_chains": none, "remarks": []})))
    if input_shapes is not None or dummy_input is not None:
        arguments = _arguments(module, input_shapes, dummy_input)
        with _evaluated(module):
            program = _trace.program(module, arguments)
        return _fold(module, program, _pipeline(module, given), arguments=arguments)
    with _evaluated(module):
        graph = _trace.symbolic(module)
    pairs = Pairs()
    for first, second in given:
        a, b = module.get_submodule(first), module.get_submodule(second)
        problem = _trace.obstacle(graph, module, a, b)
        if problem is not None:
            norm = first if isinstance(a, _layers.NORMS) else second
            pairs.report = _joined(pairs.report, _kept(norm, *problem))
            continue
        # A program of its own for each pair, with the weights as the pairs before it left them.
        with _evaluated(module):
            alone = _trace.pair(a, b)
        names = {"0": first, "1": second}
        done = _fold(module, alone, _pipeline(module, [("0", "1")], names), names)
        pairs.extend(done)
        pairs.report = _joined(pairs.report, done.report)
    return pairs


def _kept(norm: str, code: str, message: str, unlock: str) -> Report:
    """The report of a pair that is left without a look at its numbers."""
    none = {"total": 0, "folded": 0, "kept": 0, "removed": 0, "reasons": {}}
    remark = {
        "kind": "missed", "pass": "fold-bn", "graph": "main", "op": "batch_norm", "location": norm, "code": code,
        "message": message, "args": {"unlock": unlock},
    }  # fmt: skip
    counts = {**none, "total": 1, "kept": 1, "reasons": {code: 1}}
    return Report(json.dumps({"pipeline": "fold-bn", "batch_norms": counts, "affine_chains": none, "remarks": [remark]}))


def _renamed(text: str, names: dict[str, str]) -> str:
    """A report with the names that modules have in the model."""
    data = json.loads(text)
    for remark in data["remarks"]:
        remark["location"] = names.get(remark["location"], remark["location"])
        for inner, outer in names.items():
            remark["message"] = remark["message"].replace(f'"{inner}"', f'"{outer}"')
        for key, value in remark["args"].items():
            if isinstance(value, str):
                remark["args"][key] = names.get(value, value)
            elif isinstance(value, list):
                remark["args"][key] = [names.get(v, v) if isinstance(v, str) else v for v in value]
    return json.dumps(data)


def _checked(model: Any) -> nn.Module:
    if isinstance(model, torch.jit.ScriptModule):
        raise NormfoldError("a TorchScript module is code that cannot be changed here: fold the module that it was made from")
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, not {type(model).__name__}")
    return _layers.unwrapped(model)


def _arguments(module: nn.Module, shapes: Any, dummy_input: Any) -> tuple[Any, ...]:
    if dummy_input is not None:
        return dummy_input if isinstance(dummy_input, tuple) else (dummy_input,)
    if shapes is None:
        raise TypeError("input_shapes or dummy_input is needed")
    if all(isinstance(n, Integral) for n in shapes):
        shapes = [shapes]
    shapes = [tuple(int(n) for n in shape) for shape in shapes]
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    # A generator of its own: the model's user may count on the global one.
    generator = torch.Generator().manual_seed(0)
    made = (torch.rand(shape, generator=generator, device="cpu") for shape in shapes)
    return tuple(t.to(device=like.device, dtype=like.dtype) for t in made)


@contextlib.contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and random numbers of a seed of its own for a while. Afterwards flags, buffers and what the code keeps in
    attributes are what they were: counters, averages, features that are put aside."""
    flags = {m: m.training for m in module.modules()}
    kept = {m: {k: v for k, v in vars(m).items() if not k.startswith("_")} for m in flags}
    buffers = [(b, b.detach().clone()) for b in module.buffers() if not b.is_meta]
    try:
        module.eval()
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                if buffer.shape == value.shape and not torch.equal(buffer.nan_to_num(), value.nan_to_num()):
                    buffer.copy_(value)
        for m, attributes in kept.items():
            for name in [k for k in vars(m) if not k.startswith("_")]:
                if name not in attributes:
                    del vars(m)[name]
            vars(m).update(attributes)
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
    called = names or {}
    report = Report(_renamed(text, called) if called else text)

    def named(name: str) -> str:
        outer, _, last = name.rpartition(".")
        return f"{called[outer]}.{last}" if outer in called else name

    changes = [(named(n), _tensor(dtype, dims, data)) for n, dtype, dims, data in changed]
    biases = [(named(n), _tensor(dtype, dims, data)) for n, dtype, dims, data in added]
    norms = [called.get(n, n) for n in dict.fromkeys(gone)]
    layers = {name: module.get_submodule(name) for r in report.folded for name in r.args.get("absorbers", ())}
    pairs = Pairs(report=report)
    for remark in report.folded:
        norm = module.get_submodule(remark.name)
        absorbers = (layers[name] for name in remark.args.get("absorbers", ()))
        pairs.extend((layer, norm) for layer in absorbers if not _layers.is_norm(layer))
    if not (changes or biases or norms):
        return pairs
    expected = None if arguments is None else _results(module, arguments)
    undo = _put_back(module, changes, biases, norms)
    if arguments is not None and expected is not None:
        try:
            different = _difference(expected, _run(module, arguments))
        except Exception as e:
            # Code that asks a layer for what it has no more.
            undo()
            raise NormfoldError(
                f"{type(module).__name__} does not run any more ({type(e).__name__}: {e}), and is as it was: its code asks a "
                "layer or a batch norm for what its trace does not show"
            ) from e
        if different is not None:
            undo()
            raise NormfoldError(
                f"{type(module).__name__} does not compute what it computed ({different}), and is as it was: its code does "
                "something that its trace does not show"
            )
    return pairs


# How far results may be apart before something other than rounding is at work, relative to the largest.
_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.2}


def _run(module: nn.Module, arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    """The tensors that a module gives, in evaluation mode. The arguments stay what they are."""
    with _evaluated(module):
        copies = pytree.tree_map(lambda v: v.detach().clone() if isinstance(v, torch.Tensor) else v, arguments)
        results = pytree.tree_leaves(module(*copies))
    found = (torch.as_tensor(r) if isinstance(r, (int, float, complex, numpy.ndarray)) else r for r in results)
    return [t.detach().clone() for t in found if isinstance(t, torch.Tensor)]


def _results(module: nn.Module, arguments: tuple[Any, ...]) -> list[torch.Tensor] | None:
    """What the module gives; `None` where it does not give the same twice."""
    first, second = _run(module, arguments), _run(module, arguments)
    return first if _difference(first, second) is None else None


def _difference(expected: list[torch.Tensor], found: list[torch.Tensor]) -> str | None:
    """What is different; `None` where nothing is but rounding."""
    if len(expected) != len(found):
        return f"{len(found)} results, not {len(expected)}"
    for i, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"result {i} is another tensor"
        if a.numel() == 0 or a.is_complex():
            continue
        if a.dtype not in _ROUNDING:
            # A class, an index: rounding may tip one, not many.
            tipped = int((a != b).sum())
            if tipped > 0.02 * a.numel() + 1:
                return f"result {i} differs at {tipped} of {a.numel()} places"
            continue
        x, y = a.double(), b.double()
        finite = x.isfinite() & y.isfinite()
        odd = ~finite & ~((x == y) | (x.isnan() & y.isnan()))
        if bool(odd.any()):
            return f"result {i} is finite at other places"
        if not bool(finite.any()):
            continue
        apart, largest = float((x - y)[finite].abs().max()), float(x[finite].abs().max())
        # What is noise beside 1 is not told from noise.
        if not apart <= _ROUNDING[a.dtype] * max(largest, 1e-3):
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
            layer._parameters[name] = None
        for name, old in old_modules:
            _layers.replace(module, name, old)

    try:
        with torch.no_grad():
            for target, tensor in targets:
                target.copy_(tensor)
        for layer, name, tensor in owners:
            like = layer.weight
            # An ordinary tensor that owns its memory, whatever mode the caller is in.
            with torch.inference_mode(False):
                bias = tensor.to(device=like.device, dtype=like.dtype).clone()
                setattr(layer, name, nn.Parameter(bias, requires_grad=like.requires_grad))
        for name, other in instead:
            _layers.replace(module, name, other)
    except BaseException:
        undo()
        raise
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
