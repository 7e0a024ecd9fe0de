"""From a live module to a program that the native half reads: the archive of ``torch.export.save``, or one of our own."""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch
from torch import fx, nn

from .._native import NormfoldError
from . import _layers
from ._program import Recorder


def program(module: nn.Module, arguments: tuple[Any, ...]) -> bytes:
    """What a module computes from arguments, which it has to be in evaluation mode for.

    :raises NormfoldError: it cannot be traced, neither by ``torch.export`` nor by ``torch.fx``.
    """
    try:
        return _exported(module, arguments)
    except Exception as e:  # noqa: BLE001 - whatever the model's code raises
        exported = e
    try:
        return Recorder.record(fx.symbolic_trace(module), arguments)
    except Exception as e:
        raise NormfoldError(
            f"{type(module).__name__} cannot be traced, and is as it was. torch.export: {_first_line(exported)}; "
            f"torch.fx: {_first_line(e)}"
        ) from exported


def _exported(module: nn.Module, arguments: tuple[Any, ...]) -> bytes:
    archive = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, arguments), archive)
    return archive.getvalue()


def _first_line(e: BaseException) -> str:
    lines = [line for line in str(e).splitlines() if line.strip()]
    return f"{type(e).__name__}: {lines[0].strip() if lines else 'no message'}"


def symbolic(module: nn.Module) -> fx.Graph | None:
    """The calls in the code of a module, found without an input; `None`, and a warning, where that cannot be done."""
    try:
        return fx.symbolic_trace(module).graph
    except Exception as e:  # noqa: BLE001 - whatever the model's code raises
        warnings.warn(
            f"{type(module).__name__} cannot be traced without an input ({_first_line(e)}): that nothing else reads what is "
            "between the modules of a pair is taken on trust. Give input_shapes or dummy_input to have it checked.",
            stacklevel=5,
        )
        return None


#: What lets a pair fold of which too little is known.
_INPUTS = "give input_shapes or dummy_input"


def obstacle(graph: fx.Graph | None, module: nn.Module, first: nn.Module, second: nn.Module) -> tuple[str, str, str] | None:
    """Why a pair cannot be folded without an input: code, message and what would unlock it; `None` where it can."""
    if any(getattr(m, hooks) for m in (first, second) for hooks in ("_forward_hooks", "_forward_pre_hooks")):
        return "custom-layer", "hooks of its own may change what is between", _INPUTS
    layer = first if isinstance(first, _layers.LINEAR) else second
    if isinstance(layer, (nn.Linear, nn.Conv1d, nn.ConvTranspose1d)):
        return "unknown-rank", "whether its data has a batch axis, and which axis it normalises, is not known", _INPUTS
    if graph is None:
        return None
    calls: dict[int, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            called = module.get_submodule(node.target)
            if any(m in (first, second) for m in called.modules() if m is not called):
                return "custom-layer", f"it is called within {node.target}", _INPUTS
            calls.setdefault(id(called), []).append(node)
        elif node.op == "get_attr":
            owner = module.get_submodule(str(node.target).rpartition(".")[0])
            if owner is first or owner is second:
                return "multiple-consumers", f"{node.target} is read by other code", _INPUTS
    a, b = calls.get(id(first), []), calls.get(id(second), [])
    if len(a) != 1 or len(b) != 1:
        return "shared-layer", "a module of the pair is not called exactly once", "a module of its own for each call"
    if b[0].args[:1] != (a[0],):
        return "no-linear-producer", "it does not read what the other module of the pair gives", _INPUTS
    if list(a[0].users) != b:
        return "multiple-consumers", "what is between the modules of the pair is read by other code", "one reader"
    return None


def pair(first: nn.Module, second: nn.Module) -> bytes:
    """A program in which the second module reads what the first gives, and nobody else does."""
    both = nn.Sequential(first, second)
    layer = first if isinstance(first, _layers.LINEAR) else second
    weight = layer.weight
    # Large enough for one position of the window.
    reach = (d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
    shape = (1, layer.in_channels, *reach)
    try:
        with torch.no_grad():
            return Recorder.record(fx.symbolic_trace(both), (torch.zeros(shape, dtype=weight.dtype, device=weight.device),))
    except Exception as e:
        raise NormfoldError(
            f"{type(first).__name__} and {type(second).__name__} do not fit together ({_first_line(e)}): give input_shapes "
            "or dummy_input, so that what is between them is known"
        ) from e
