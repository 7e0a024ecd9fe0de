"""Models and pipelines."""

from __future__ import annotations

import os
from typing import Any

from . import _native
from ._report import Report

DEFAULT = "default"


class Pipeline:
    """Passes in order, as text: ``fold-bn{direction=both},dce``. ``passes()`` lists what there is; docs/passes.md has
    the options.

    :param text: the pipeline, or a name: ``default`` is ``fold-bn,dce``, ``simplify`` also tidies up around the fold.
    :raises PipelineError: the text is no pipeline; the message says what would be.
    """

    __slots__ = ("_native",)

    def __init__(self, text: str = DEFAULT):
        self._native = _native.Pipeline(text)

    def run(self, module: Module, *, ranges: bool = False) -> Report:
        """Runs the passes over a module, which changes in memory; see :meth:`Module.run`."""
        return module.run(self, ranges=ranges)

    def __str__(self) -> str:
        return str(self._native)

    def __repr__(self) -> str:
        return repr(self._native)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self._native == other._native

    def __hash__(self) -> int:
        return hash(str(self))


class Module:
    """A model as a graph: an ONNX model, a Keras model, a PyTorch program (``.pt2``) or IR text; its content decides.

    Weights stay in the file until they are written. A module is used by one thread at a time; long calls let other
    threads run, and end with ``KeyboardInterrupt`` on Ctrl-C.

    :param source: a path, or the bytes of a file (whose external data cannot be found then).
    :param weights: of a Keras architecture in JSON: the file with its weights.
    :raises OSError: it cannot be read.
    :raises InputError: it is no such model, or damaged; the message says where.
    """

    __slots__ = ("_native", "_notes")

    def __init__(self, source: str | os.PathLike[str] | bytes | bytearray | memoryview, *,
                 weights: str | os.PathLike[str] | None = None):
        self._notes: list[str] = []
        if isinstance(source, (bytes, bytearray, memoryview)):
            if weights is not None:
                raise TypeError("weights go with a path")
            self._native = _native.Module.from_bytes(bytes(source), "model in memory")
        else:
            self._native = _native.Module.from_path(os.fspath(source), None if weights is None else os.fspath(weights))

    @classmethod
    def from_text(cls, text: str, name: str = "text") -> Module:
        """A module from IR text, whose form docs/ir.md describes.

        :raises InputError: the text is no module; the message says where.
        """
        module = cls.__new__(cls)
        module._notes = []
        module._native = _native.Module.from_text(text, name)
        return module

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._native.name

    @property
    def report(self) -> Report | None:
        """What the last run did; ``None`` before the first."""
        told = self._native.report
        if told is None:
            return None
        report = Report(told)
        report.notes += [note for note in self._notes if note not in report.notes]
        return report

    def run(self, pipeline: Pipeline | str = DEFAULT, *, ranges: bool = False) -> Report:
        """Runs passes over the module, in memory.

        :param pipeline: what to run.
        :param ranges: also measure the range of every weight that is folded into, per output channel: ``layers`` of
            ``report.to_dict()``.
        :raises PassFailure: a pass failed; the module is as it was.
        """
        return Report(self._native.run(str(pipeline), ranges))

    def explain(self, pipeline: Pipeline | str = "fold-bn") -> Report:
        """What a pipeline would do to every batch norm, and why it would not. Changes nothing."""
        return Report(self._native.explain(str(pipeline)))

    def to_text(self, weights: str = "hash") -> str:
        """The module as IR text.

        :param weights: how large constants are shown: ``hash``, ``stats``, ``full`` (can be read again), ``none``.
        """
        return self._native.to_text(weights)

    def save(self, path: str | os.PathLike[str], *, weights: str | os.PathLike[str] | None = None,
             external: str = "keep", threads: int = 0, sync: bool = False) -> list[str]:
        """Writes the model in the format it came in, by patching: what did not change is copied byte for byte. The file
        appears complete or not at all; it may be the input.

        :param path: where to.
        :param weights: of a Keras architecture with its weights in a file: where they go; beside ``path`` otherwise.
        :param external: which tensors of an ONNX model lie in a file beside it: ``keep``, ``single``, ``inline``,
            ``above=SIZE``.
        :param threads: threads that write; 0 is one per processor. The bytes are the same with any number.
        :param sync: return only when the files outlast a loss of power.
        :return: the files written, the model first.
        :raises OSError: they cannot be written; what stood in their place is as it was.
        :raises OutputError: the format cannot say what the module has become, or external data cannot go where it would have to.

        Where a folded weight turns out to overflow its type, what ran is run again with that batch norm kept; ``report``
        tells it.
        """
        files, self._notes = self._native.save(os.fspath(path), None if weights is None else os.fspath(weights), external, threads, sync)
        return [os.fspath(f) for f in files]

    def to_bytes(self) -> bytes:
        """The model in the format it came in, in memory. See :meth:`save`.

        :raises OutputError: it needs more than one file.
        """
        return self._native.to_bytes()

    def __repr__(self) -> str:
        return f"<Module {self.name!r}>"

    def _repr_html_(self) -> str | None:
        report = self.report
        return None if report is None else report._repr_html_()


def fold(source: str | os.PathLike[str], output: str | os.PathLike[str], pipeline: Pipeline | str = DEFAULT, *,
         weights: str | os.PathLike[str] | None = None, **save: Any) -> Report:
    """Opens a model, runs a pipeline, writes the result; see :class:`Module`, whose ``save`` takes the other options."""
    module = Module(source, weights=weights)
    module.run(pipeline)
    module.save(output, **save)
    report = module.report
    assert report is not None
    return report


def passes() -> dict[str, str]:
    """The passes there are, each with a summary."""
    return dict(_native.passes())


def reason(code: str) -> str:
    """Why a batch norm is kept for that reason, and what would unlock it: Markdown, with examples.

    :raises KeyError: there is no such reason.
    """
    text = _native.reason(code)
    if text is None:
        raise KeyError(code)
    return text
