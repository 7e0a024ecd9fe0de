"""PyTorch modules: the functions that users of ``aimet_torch`` call.

    from normfold.torch import fold_all_batch_norms

    pairs = fold_all_batch_norms(model, input_shapes=(1, 3, 224, 224))

``torch`` is imported when a function is called. Archives of ``torch.export.save`` need no PyTorch: ``normfold.fold("model.pt2",
"folded.pt2")``, which also folds what a live module has no place for (a batch norm beside a convolution whose sum it is in).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .._report import Pairs

if TYPE_CHECKING:
    import torch

__all__ = ["fold_all_batch_norms", "fold_all_batch_norms_to_weight", "fold_given_batch_norms"]


def fold_all_batch_norms(
    model: torch.nn.Module,
    input_shapes: Sequence[int] | Sequence[Sequence[int]],
    dummy_input: Any = None,
) -> Pairs:
    """Folds every batch norm that can be folded into the convolutions and linear layers around it, in place.

    The layer gets other weights, and a bias where it had none; the batch norm becomes ``Identity``, which takes over its
    hooks. Device, types, strides, ``requires_grad`` and the training flags of all modules stay as they were. What is
    preserved is what the model computes in evaluation mode.

    The model is traced in evaluation mode (``torch.export``, or ``torch.fx`` where that cannot): what its code decides by the
    shape of its input is decided as for the inputs given here.

    :param model: the module; ``DataParallel`` and ``DistributedDataParallel`` are looked through.
    :param input_shapes: the shape of its input, or a list of the shapes of its inputs; random tensors of the type and on the
        device of its parameters are made from them.
    :param dummy_input: an input, or a tuple of inputs, to be used in their place. They stay what they are.
    :return: ``[(layer, batch_norm), …]``, the modules; a batch norm that several layers took in has a pair with each.
        ``pairs.report`` says of every batch norm that is left why: one whose input other code reads, which is called
        twice, whose parameters are somebody else's, which is a call of a function and no module, …
    :raises NormfoldError: the model cannot be traced, or does something that its trace does not show: it is run on the inputs
        before and after, and where the results differ by more than rounding it is put back to what it was.
    """
    from ._fold import fold_all

    return fold_all(model, input_shapes, dummy_input)


#: The name that AIMET has for the same since its version 2.
fold_all_batch_norms_to_weight = fold_all_batch_norms


def fold_given_batch_norms(
    model: torch.nn.Module,
    layer_pairs: Iterable[tuple[torch.nn.Module, torch.nn.Module]],
    *,
    input_shapes: Sequence[int] | Sequence[Sequence[int]] | None = None,
    dummy_input: Any = None,
) -> Pairs:
    """Folds given batch norms into given layers, in place, and nothing else.

    :param model: the module that they are in.
    :param layer_pairs: ``(layer, batch_norm)`` where the batch norm is behind the layer, ``(batch_norm, layer)`` where it is
        before it.
    :param input_shapes: as for :func:`fold_all_batch_norms`. With it, or with ``dummy_input``, the model is traced and run, and
        a pair whose fold would change what the model computes is left and reported. Without both its code is looked at
        symbolically (``torch.fx``): modules with hooks, ``Linear`` and 1-D layers (whose axes are not known then), and what
        other code reads, are left and reported; where the code cannot be traced it is taken on trust that each batch norm
        reads nothing but its layer, or the other way round, and a warning says so.
    :param dummy_input: as for :func:`fold_all_batch_norms`.
    :return: the pairs that were folded, as ``(layer, batch_norm)``; ``report`` has the others with their reasons.
    :raises ValueError: a pair is not of a convolution or linear layer and a batch norm of the model.
    """
    from ._fold import fold_given

    return fold_given(model, layer_pairs, input_shapes, dummy_input)
