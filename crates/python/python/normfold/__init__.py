"""normfold folds batch norms into the weights of their neighbours, exactly, and says why where it cannot.

Models in files and in memory::

    import normfold

    module = normfold.Module("model.onnx")
    report = normfold.Pipeline("fold-bn,dce").run(module)
    print(report)
    module.save("folded.onnx")

or in one call, at the speed of copying the file: ``normfold.fold("model.onnx", "folded.onnx")``.

Models of frameworks, by the names that users of AIMET know::

    from normfold.onnx import fold_all_batch_norms_to_weight
    from normfold.keras import fold_all_batch_norms
    from normfold.torch import fold_all_batch_norms

Each of these modules imports its framework when it is used. ``python -m normfold`` is the command line.
"""

from types import ModuleType

from ._model import Module, Pipeline, fold, passes, reason
from ._native import (
    InputError,
    NormfoldError,
    OutputError,
    PassFailure,
    PipelineError,
    __version__,
)
from ._report import Counts, Pairs, Remark, Report

__all__ = [
    "Counts",
    "InputError",
    "Module",
    "NormfoldError",
    "OutputError",
    "Pairs",
    "PassFailure",
    "Pipeline",
    "PipelineError",
    "Remark",
    "Report",
    "__version__",
    "fold",
    "keras",
    "onnx",
    "passes",
    "reason",
    "torch",
]


def __getattr__(name: str) -> ModuleType:
    # `normfold.onnx` without an import of its own; the framework is imported when one of its functions is called.
    if name in ("onnx", "keras", "torch"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
