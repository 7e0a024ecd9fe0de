"""Which modules of a live model may change, and how one is put in the place of another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import nn

LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

#: Layers of timm that call the op of their base class with their own weight and bias, and what else they do stands in the graph.
_KNOWN_LAYERS = {("timm.layers.conv2d_same", "Conv2dSame")}
#: A batch norm with what follows it in one module: what is left of it without the batch norm.
_KNOWN_NORMS = {("timm.layers.norm_act", "BatchNormAct2d"), ("timm.layers.norm_act", "SyncBatchNormAct")}


def unwrapped(model: nn.Module) -> nn.Module:
    """The module that a wrapper for several devices runs."""
    while isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        model = model.module
    return model


def _calls_its_base(module: nn.Module, bases: tuple[type, ...], methods: tuple[str, ...]) -> bool:
    """Whether the code that a module runs is that of PyTorch."""
    cls = type(module)
    base = next((b for b in cls.__mro__ if b in bases), None)
    if base is None:
        return False
    own = (getattr(cls, m, None) is getattr(base, m, None) and m not in vars(module) for m in methods)
    return all(own)


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a convolution or a linear layer that reads its own weight and bias and nothing else."""
    cls = type(module)
    known = (cls.__module__, cls.__qualname__) in _KNOWN_LAYERS
    if not known and not _calls_its_base(module, LINEAR, ("forward", "_conv_forward", "__call__")):
        return False
    # A parametrization, a weight norm and the like compute the weight anew at every call.
    return all(name in module._parameters for name in ("weight", "bias"))


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a batch norm that may be taken out."""
    cls = type(module)
    known = (cls.__module__, cls.__qualname__) in _KNOWN_NORMS
    return known or _calls_its_base(module, NORMS, ("forward", "__call__", "_check_input_dim"))


def names_of(model: nn.Module) -> dict[nn.Module, list[str]]:
    """All fully qualified names of every module."""
    found: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        found.setdefault(module, []).append(name)
    return found


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from (p for p in module._parameters.values() if p is not None)
    yield from (b for b in module._buffers.values() if b is not None)


def changeable(model: nn.Module) -> list[str]:
    """Fully qualified names of the layers and batch norms that may change: those that have one name, and whose tensors are
    nobody else's. What they are called by, and how often, the trace tells."""
    names = names_of(model)
    owners: dict[int, set[int]] = {}
    for module in names:
        for tensor in _tensors(module):
            storage = tensor.untyped_storage().data_ptr()
            if storage:
                owners.setdefault(storage, set()).add(id(module))

    def alone(module: nn.Module) -> bool:
        return all(len(owners.get(t.untyped_storage().data_ptr(), ())) <= 1 for t in _tensors(module))

    found = ((n[0], m) for m, n in names.items() if len(n) == 1 and n[0] and (is_linear(m) or is_norm(m)))
    return [name for name, module in found if alone(module)]


#: Where a module keeps its hooks.
_HOOKS = (
    "_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)


def without_norm(norm: nn.Module) -> nn.Module:
    """What stands in the place of a batch norm: an ``Identity``, or what else its module does, with its hooks and flags."""
    cls = type(norm)
    if (cls.__module__, cls.__qualname__) in _KNOWN_NORMS:
        rest = OrderedDict((name, getattr(norm, name)) for name in ("drop", "act") if hasattr(norm, name))
        instead: nn.Module = nn.Sequential(rest)
    else:
        instead = nn.Identity()
    for name in _HOOKS:
        if name in vars(norm):
            vars(instead)[name] = vars(norm)[name]
    # Only the flag of the module itself: children have their own.
    instead.training = norm.training
    return instead


def replace(model: nn.Module, name: str, instead: nn.Module) -> None:
    """Puts a module where another one was."""
    outer, _, last = name.rpartition(".")
    owner = model.get_submodule(outer)
    if last in owner._modules:
        owner._modules[last] = instead
    else:
        setattr(owner, last, instead)
