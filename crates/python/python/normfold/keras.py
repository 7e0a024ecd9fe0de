"""Keras models: the function that users of ``aimet_tensorflow.keras`` call.

    from normfold.keras import fold_all_batch_norms

    pairs, model = fold_all_batch_norms(model)

Keras 3 on any backend, and Keras 2 from 2.13 on (``tf_keras``, or the one of TensorFlow before 2.16), whichever the model
is of. It is imported when the function is called.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ._model import DEFAULT, Module
from ._native import InputError
from ._report import Pairs

if TYPE_CHECKING:
    from keras import Model

__all__ = ["fold_all_batch_norms"]


def fold_all_batch_norms(model: Model, *, pipeline: str = DEFAULT,
                         custom_objects: dict[str, Any] | None = None) -> tuple[Pairs, Model]:
    """Folds every batch norm that can be folded into the weights of its neighbours.

    :param model: a Functional or Sequential model, nested ones included. It stays as it is.
    :param pipeline: what to run: ``fold-bn,dce`` unless told otherwise.
    :param custom_objects: as ``load_model`` takes it. Classes of the model's own layers need not be named.
    :return: ``(pairs, folded)``. ``folded`` is a new model without the batch norms that were folded, with the types and
        ``trainable`` flags that the layers had; it is compiled as the model was, with the optimizer at its beginning. Keras names
        outputs after layers: where a norm was an output, losses and data that go by names need the new one, which
        ``pairs.report.notes`` tells.
        ``pairs`` lists for each batch norm the layer of ``folded`` that took it in, and the batch norm of ``model``:
        ``[(layer, batch_norm), …]``; a batch norm that several layers took in has a pair with each. ``pairs.report`` says of
        every batch norm that is left why.
    :raises TypeError: it is no Keras model.
    :raises InputError: its layers are Python code (a subclassed model), or Keras cannot save it.
    """
    keras = _keras_of(model)
    import tempfile

    if not {"Functional", "Sequential"} & {base.__name__ for base in type(model).__mro__}:
        raise InputError("a subclassed model is Python code: a Functional or Sequential one is needed")
    for _, name, layer in _placed(model):
        if "call" in vars(layer):
            raise InputError(f"layer {name!r} has a `call` of its own, which no file holds")
    known = {**_classes_of(model), **(custom_objects or {})}
    with tempfile.TemporaryDirectory() as directory:
        before, after = (os.path.join(directory, name) for name in ("before.keras", "after.keras"))
        try:
            model.save(before)
        except (NotImplementedError, ValueError, TypeError) as e:
            raise InputError(f"Keras cannot save the model: {e}") from e
        module = Module(before)
        module.run(pipeline)
        module.save(after)
        # The code in the file is that of the model at hand.
        folded = keras.models.load_model(after, custom_objects=known, safe_mode=False)
        report = module.report
        assert report is not None
    return _pairs(model, folded, report), folded


def _keras_of(model: Any) -> Any:
    """The Keras that a model is of."""
    for base in type(model).__mro__:
        module = base.__module__
        if base.__name__ != "Model":
            continue
        for root in ("tf_keras", "keras"):
            if module == root or module.startswith(root + "."):
                return importlib.import_module(root)
    raise TypeError(f"expected a Keras model, not {type(model).__name__}")


def _placed(model: Any, outer: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every layer with its name, and the names of the models around it."""
    for layer in model.layers:
        yield outer, layer.name, layer
        if hasattr(layer, "layers"):
            yield from _placed(layer, f"{outer}/{layer.name}" if outer else layer.name)


def _classes_of(model: Any) -> dict[str, Any]:
    """Classes of layers that are not Keras's own, by the names that a configuration may call them."""
    found: dict[str, Any] = {}
    for layer in [model, *(layer for _, _, layer in _placed(model))]:
        cls = type(layer)
        if cls.__module__.split(".")[0] not in ("keras", "tf_keras", "tensorflow"):
            found[cls.__name__] = cls
            package = getattr(cls, "_keras_registered_name", None) or f"Custom>{cls.__name__}"
            found[package] = cls
    return found


def _pairs(model: Any, folded: Any, report: Any) -> Pairs:
    # A remark names a layer within the graph of its model: `main`, or a function of the nested model's name.
    def by_name(m: Any) -> dict[tuple[str, str], list[Any]]:
        found: dict[tuple[str, str], list[Any]] = {}
        for outer, name, layer in _placed(m):
            # Of several models of one name the first is called by it, the others by the models around them, too.
            for owner in {outer, outer.rpartition("/")[2]}:
                found.setdefault((owner, name), []).append(layer)
        return found

    old, new = by_name(model), by_name(folded)

    def only(found: dict[tuple[str, str], list[Any]], graph: str, name: str) -> Any:
        owner = "" if graph == "main" else graph.partition(":")[0]
        # An op within a layer (`name/linear`, of a further call `name:1`) belongs to the layer.
        for candidate in (name, name.rpartition("/")[0], name.rpartition(":")[0]):
            layers = found.get((owner, candidate), ())
            if layers:
                return layers[0]
        return None

    pairs = Pairs(report=report)
    for remark in report.folded:
        norm = only(old, remark.graph, remark.name)
        if norm is None or remark.args.get("direction") == "sideways":
            continue
        for name in remark.args.get("absorbers", ()):
            layer = only(new, remark.graph, name)
            if layer is not None and not any(layer is p[0] and norm is p[1] for p in pairs):
                pairs.append((layer, norm))
    return pairs
