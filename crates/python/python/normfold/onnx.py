"""ONNX models: the function that users of ``aimet_onnx`` call.

    from normfold.onnx import fold_all_batch_norms_to_weight

    conv_bns, bn_convs = fold_all_batch_norms_to_weight(model)

``onnx`` is imported when the function is called.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ._model import DEFAULT, Module, fold
from ._report import Pairs, Remark, Report

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["BNLayer", "FoldedPairs", "fold_all_batch_norms_to_weight"]

# What a protobuf message can hold, less room for what comes with the tensors.
_LARGEST = (1 << 31) - (1 << 16)


class BNLayer:
    """A batch norm that is gone.

    What equalizes or corrects biases later asks for the distribution of its result: mean ``beta``, deviation
    ``abs(gamma)``, per channel.
    """

    def __init__(self, bn_layer: NodeProto | None, gamma: Any, beta: Any):
        #: Its node, as it was.
        self.bn_layer = bn_layer
        #: γ, an array of float64 with one element per channel.
        self.gamma = gamma
        #: β, likewise.
        self.beta = beta

    def __repr__(self) -> str:
        name = None if self.bn_layer is None else self.bn_layer.name
        return f"BNLayer({name!r}, {len(self.gamma)} channels)"


class FoldedPairs(tuple[Pairs, Pairs]):
    """``(conv_bns, bn_convs)``, with the report of the run beside it.

    ``conv_bns`` lists pairs of a layer (its node, as it is now) and the batch norm behind it (:class:`BNLayer`) that was
    folded into it; ``bn_convs`` pairs of a layer and the batch norm before it. A batch norm with several neighbours that
    each take it in has a pair with each of them. Those that were folded beside a layer, or into another batch norm, are in
    ``report.folded``.
    """

    report: Report

    def __getnewargs__(self) -> tuple[Pairs, Pairs, Report]:
        return self[0], self[1], self.report

    def __new__(cls, conv_bns: Pairs, bn_convs: Pairs, report: Report) -> FoldedPairs:
        self = super().__new__(cls, (conv_bns, bn_convs))
        self.report = report
        return self

    @property
    def conv_bns(self) -> Pairs:
        return self[0]

    @property
    def bn_convs(self) -> Pairs:
        return self[1]


def fold_all_batch_norms_to_weight(
    model: ModelProto | str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    pipeline: str = DEFAULT,
) -> FoldedPairs:
    """Folds every batch norm that can be folded into the weights of its neighbours.

    :param model: a ``ModelProto`` (or an object that has one as its ``model``), which is changed in place; or a path. Nodes
        and tensors that were taken from the model before belong to what it was. A model whose tensors lie in files
        beside it needs a path, or to be loaded with them.
    :param output: with a path: where to write, by renaming; the input itself otherwise. Memory does not grow with the
        model then, but for what is needed to read the nodes of the pairs.
    :param pipeline: what to run: ``fold-bn,dce`` unless told otherwise.
    :return: ``(conv_bns, bn_convs)``, see :class:`FoldedPairs`; ``report`` says of every batch norm that is left why.
    :raises InputError: the model is damaged, or not supported.
    :raises OSError: with a path: it cannot be read or written.
    """
    import onnx

    if isinstance(model, (str, os.PathLike)):
        before = onnx.load(model, load_external_data=False)
        norms = _norms(before)
        del before
        report = fold(model, model if output is None else output, pipeline)
        return _pairs(onnx.load(model if output is None else output, load_external_data=False), norms, report)
    if output is not None:
        raise TypeError("output goes with a path")
    proto = model if isinstance(model, onnx.ModelProto) else getattr(model, "model", None)
    if not isinstance(proto, onnx.ModelProto):
        raise TypeError(f"expected a ModelProto or a path, not {type(model).__name__}")
    norms = _norms(proto)
    if _is_large(proto):
        report = _fold_large(proto, pipeline)
    else:
        module = Module(proto.SerializeToString())
        module.run(pipeline)
        folded, told = module.to_bytes(), module.report
        assert told is not None
        report = told
        proto.ParseFromString(folded)
    return _pairs(proto, norms, report)


def _is_large(proto: ModelProto) -> bool:
    """Whether a model is more than one message can hold."""
    if sum(len(t.raw_data) for t in proto.graph.initializer) > _LARGEST:
        return True
    try:
        return bool(proto.ByteSize() > _LARGEST)
    except Exception:  # noqa: BLE001 - protobuf counts no further than it can write
        return True


def _fold_large(proto: ModelProto, pipeline: str) -> Report:
    """A model that no single message can hold goes through files."""
    import tempfile

    import onnx

    with tempfile.TemporaryDirectory() as directory:
        before, after = os.path.join(directory, "before.onnx"), os.path.join(directory, "after.onnx")
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        onnx.save_model(copy, before, save_as_external_data=True, all_tensors_to_one_file=True, location="weights.bin")
        del copy
        report = fold(before, after, pipeline)
        folded = onnx.load(after)
        proto.CopyFrom(folded)
    return report


# Nodes by what remarks call them: the name of the graph and that of the node, or the latter alone.
_Names = dict[tuple[str | None, str], "list[NodeProto]"]


def _graphs(model: ModelProto) -> Iterator[tuple[str, Any]]:
    """Every list of nodes with the name of its graph: of the main graph, of functions, of the bodies within them."""
    pending = [(model.graph.name, model.graph.node)]
    pending += [(f"{f.domain}::{f.name}", f.node) for f in model.functions]
    while pending:
        name, nodes = pending.pop()
        yield name, nodes
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    pending.append((attribute.g.name, attribute.g.node))
                pending.extend((g.name, g.node) for g in attribute.graphs)


def _named(model: ModelProto, kind: str | None = None) -> _Names:
    """Every node, or those of a kind."""
    found: _Names = {}
    for graph, nodes in _graphs(model):
        for node in nodes:
            if kind is None or node.op_type == kind:
                # It is called by its name, or that of its first result.
                name = node.name or next(iter(node.output), "")
                for key in ((graph, name), (None, name)):
                    found.setdefault(key, []).append(node)
    return found


def _norms(model: ModelProto) -> _Names:
    """Copies of the batch norms: the model changes."""
    import onnx

    def copied(node: NodeProto) -> NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        return copy

    return {key: [copied(n) for n in nodes] for key, nodes in _named(model, "BatchNormalization").items()}


def _pairs(model: ModelProto, norms: _Names, report: Report) -> FoldedPairs:
    import numpy

    layers = _named(model)

    def only(found: _Names, graph: str, name: str) -> NodeProto | None:
        # A name that several nodes have tells nothing.
        for key in ((graph, name), (None, name)):
            nodes = found.get(key, ())
            if len(nodes) == 1:
                return nodes[0]
        return None

    def parameter(remark: Remark, name: str) -> Any:
        return numpy.array([float(v) for v in remark.args.get(name, ())], dtype=numpy.float64)

    conv_bns, bn_convs = Pairs(report=report), Pairs(report=report)
    for remark in report.folded:
        pairs = {"backward": conv_bns, "forward": bn_convs}.get(remark.args.get("direction", ""))
        if pairs is None:
            continue
        norm = BNLayer(only(norms, remark.graph, remark.name), parameter(remark, "gamma"), parameter(remark, "beta"))
        for name in remark.args.get("absorbers", ()):
            layer = only(layers, remark.graph, name)
            if layer is None and norm.bn_layer is not None:
                # A layer without a name is called after its result, which is that of the norm now.
                layer = only(layers, remark.graph, norm.bn_layer.output[0])
            if layer is not None and layer.op_type != "BatchNormalization":
                pairs.append((layer, norm))
    return FoldedPairs(conv_bns, bn_convs, report)
