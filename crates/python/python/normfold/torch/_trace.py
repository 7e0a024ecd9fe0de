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


def adjacent(module: nn.Module, pairs: list[tuple[nn.Module, nn.Module]]) -> list[bytes]:
    """A program for each pair: the second module reads what the first gives. Where the code of the model shows that others
    read that, too, the program gives it to its caller."""
    try:
        graph = fx.symbolic_trace(module).graph
    except Exception as e:  # noqa: BLE001 - whatever the model's code raises
        graph = None
        warnings.warn(
            f"{type(module).__name__} cannot be traced without an input ({_first_line(e)}): that nothing else reads what is "
            "between the modules of a pair is taken on trust. Give input_shapes or dummy_input to have it checked.",
            stacklevel=5,
        )
    calls: dict[int, list[fx.Node]] = {}
    for node in () if graph is None else graph.nodes:
        if node.op == "call_module":
            calls.setdefault(id(module.get_submodule(node.target)), []).append(node)
    return [_pair(first, second, graph is None or _alone(calls, first, second)) for first, second in pairs]


def _alone(calls: dict[int, list[fx.Node]], first: nn.Module, second: nn.Module) -> bool:
    """Whether the second module reads the result of the first, and is the only one that does."""
    a, b = calls.get(id(first), []), calls.get(id(second), [])
    return len(a) == 1 and len(b) == 1 and list(a[0].users) == b and b[0].args[:1] == (a[0],)


class _Leaky(nn.Module):
    """A pair whose inner value others read, too."""

    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__()
        self.add_module("0", first)
        self.add_module("1", second)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inner = getattr(self, "0")(x)
        return getattr(self, "1")(inner), inner


def _pair(first: nn.Module, second: nn.Module, alone: bool) -> bytes:
    both = nn.Sequential(first, second) if alone else _Leaky(first, second)
    layer = first if isinstance(first, _layers.LINEAR) else second
    weight = layer.weight
    if isinstance(layer, nn.Linear):
        shape: tuple[int, ...] = (2, layer.in_features)
    else:
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
