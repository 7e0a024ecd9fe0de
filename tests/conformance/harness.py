"""What every conformance test needs: running the binary, reading its report, and judging two models for equality
by engines that are not normfold's."""
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

ROOT = Path(__file__).resolve().parent.parent.parent
MODELS = ROOT / "tests" / "models"

# Largest allowed difference over the largest output, by the narrowest float type a model computes in.
TOLERANCE = {TensorProto.DOUBLE: 1e-12, TensorProto.FLOAT: 1e-5, TensorProto.FLOAT16: 2e-3, TensorProto.BFLOAT16: 2e-2}

ort.set_default_logger_severity(4)


# --- the binary ----------------------------------------------------------------

def binary():
    path = os.environ.get("NORMFOLD_BIN")
    assert path, "NORMFOLD_BIN names no binary; run tests/conformance/run.sh"
    return path


def run(*args, timeout=120, **kw):
    """Runs normfold; the result has returncode, stdout and stderr as text."""
    return subprocess.run([binary(), *map(str, args)], capture_output=True, text=True, errors="replace",
                          timeout=timeout, stdin=subprocess.DEVNULL, **kw)


@dataclass
class Report:
    """The verdicts of one run, from its JSON."""
    raw: dict

    @property
    def norms(self):
        return self.raw["batch_norms"]

    @property
    def chains(self):
        """Affine chains, counted as norms are."""
        return self.raw.get("affine_chains", {"total": 0, "folded": 0, "kept": 0, "reasons": {}})

    @property
    def total(self):
        return self.norms["total"]

    @property
    def folded(self):
        return self.norms["folded"]

    @property
    def kept(self):
        return self.norms["kept"]

    @property
    def reasons(self):
        return dict(self.norms["reasons"])

    @property
    def remarks(self):
        return self.raw.get("remarks", [])


def report_of(done):
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr}"
    assert "panicked" not in done.stderr
    report = Report(json.loads(done.stdout))
    for counts in (report.norms, report.chains):
        assert counts["folded"] + counts["kept"] == counts["total"], counts
        assert sum(counts["reasons"].values()) == counts["kept"], counts
    return report


def agree(reasons, kept):
    """Whether each kept norm can be given one of the codes that were told; `kept` has alternatives parted by `|`."""
    told = [code for code, n in reasons.items() for _ in range(n)]

    def matched(rest, told):
        if not rest:
            return not told
        return any(matched(rest[1:], told[:i] + told[i + 1:]) for i, code in enumerate(told) if code in rest[0].split("|"))
    return matched(list(kept), told)


def opt(src, dst, *args):
    """`normfold opt` with a JSON report."""
    return report_of(run("opt", src, "-o", dst, "--format=json", "--remarks=all", *args))


def copy(src, dst, *args):
    """A run without passes: the document is read, and written by its writer."""
    done = run("opt", src, "-o", dst, "--passes=", *args)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr}"


def explain(src, *args):
    return report_of(run("explain", src, "--format=json", *args))


# --- models ----------------------------------------------------------------------

def bodies(graph):
    """The graph and every graph nested in its nodes."""
    yield graph
    for node in graph.node:
        for a in node.attribute:
            if a.type == onnx.AttributeProto.GRAPH:
                yield from bodies(a.g)


def all_nodes(model):
    for g in bodies(model.graph):
        yield from g.node
    for f in model.functions:
        yield from f.node


def opset(model):
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def narrowest(model):
    """The narrowest float type among tensors and declared values."""
    types = {t.data_type for g in bodies(model.graph) for t in g.initializer}
    types |= {v.type.tensor_type.elem_type for g in bodies(model.graph) for v in [*g.input, *g.output, *g.value_info]}
    types |= {a.t.data_type for n in all_nodes(model) for a in n.attribute if a.type == onnx.AttributeProto.TENSOR}
    types |= {a.i for n in all_nodes(model) if n.op_type == "Cast" for a in n.attribute if a.name == "to"}
    for t in (TensorProto.BFLOAT16, TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE):
        if t in types:
            return t
    return TensorProto.FLOAT


def check(path):
    """The checker's complaint, or None. Whole-model shape inference included."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
        return None
    except Exception as e:  # the checker has three exception types of its own and some of C++'s
        return f"{type(e).__name__}: {e}"


def untouched(before, after):
    """Names of nodes that both models have but whose attributes differ, except of those that a fold may edit: a layer's
    factors (Gemm), a pad's value, a weight in a Constant node, the dimension that integers are scaled along. Which values a
    node reads and gives may change: constants get copies, and what stands between a layer and a norm takes over the norm's
    name. What survives has to keep its order."""
    edited = {"Gemm", "Pad", "Constant", "DequantizeLinear"}
    changed = []
    pairs = list(zip(bodies(before.graph), bodies(after.graph)))
    for a, b in [*pairs, *zip(before.functions, after.functions)]:
        old = {n.name: n for n in a.node}
        kept = [n for n in b.node if n.name in old]
        order = [n.name for n in a.node]
        assert [n.name for n in kept] == [n for n in order if n in {k.name for k in kept}], "nodes changed their order"
        for n in kept:
            holds_body = any(t.type == onnx.AttributeProto.GRAPH for t in n.attribute)
            if n.op_type != old[n.name].op_type or n.op_type in edited or holds_body:
                continue  # what a fold put in the norm's place, among others
            if without_values(n) != without_values(old[n.name]):
                changed.append(n.name)
    return changed


def without_values(node):
    """A node's bytes but for the names of the values that it reads and gives."""
    n = onnx.NodeProto()
    n.CopyFrom(node)
    del n.input[:], n.output[:]
    return n.SerializeToString(deterministic=True)


# --- engines ---------------------------------------------------------------------

class Swirl(OpRun):
    """A custom operator: any function will do."""
    op_domain = "org.example"

    def _run(self, x, turns=None, label=None):
        return (np.roll(x, turns, axis=-1),)


class Namesake(OpRun):
    """A custom operator that shares its name with a standard one and computes something else."""
    op_domain = "org.example"
    op_schema = None  # else the evaluator takes the standard operator's attributes for this one's

    def _run(self, x, w, *_):
        return (x * w.sum(),)


CUSTOM = [Swirl] + [type(name, (Namesake,), {}) for name in ("Conv", "Gemm", "BatchNormalization")]


def constant_inputs(model):
    """Graph inputs that callers need not give, because an initializer stands behind them."""
    return {t.name for t in model.graph.initializer} | {s.values.name for s in model.graph.sparse_initializer}


def feeds(model, seed):
    """Deterministic inputs by declaration; unknown dimensions become 2, booleans alternate with the seed. The model's
    metadata may fix an input (`feed:NAME`) or a named dimension (`extent:NAME`)."""
    rng, out, known = np.random.default_rng(seed), {}, constant_inputs(model)
    told = {p.key: json.loads(p.value) for p in model.metadata_props if p.key.startswith(("feed:", "extent:"))}
    fixed = {k.removeprefix("feed:"): v for k, v in told.items() if k.startswith("feed:")}

    def extent(d):
        return d.dim_value if d.HasField("dim_value") else told.get(f"extent:{d.dim_param}", 2)
    for v in model.graph.input:
        if v.name in known:
            continue
        t = v.type.tensor_type
        shape = [extent(d) for d in t.shape.dim] if t.HasField("shape") else [2, 3, 6, 6]
        if v.name in fixed:
            out[v.name] = np.array(fixed[v.name], helper.tensor_dtype_to_np_dtype(t.elem_type))
        elif t.elem_type == TensorProto.BOOL:
            out[v.name] = np.full(shape, seed % 2 == 0)
        elif t.elem_type in (TensorProto.INT32, TensorProto.INT64):
            out[v.name] = rng.integers(1, 3, shape).astype(helper.tensor_dtype_to_np_dtype(t.elem_type))
        elif t.elem_type in (TensorProto.INT8, TensorProto.UINT8):
            out[v.name] = rng.integers(0, 100, shape).astype(helper.tensor_dtype_to_np_dtype(t.elem_type))
        else:
            out[v.name] = rng.normal(0, 1, shape).astype(helper.tensor_dtype_to_np_dtype(t.elem_type))
    return out


def session(path):
    """onnxruntime without any of its graph optimizations, on the CPU; raises when it cannot."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def reference(path):
    """onnx's own evaluator, where it follows the specification."""
    model = onnx.load(str(path))
    if not reference_is_right(model):
        raise NoEngine("the reference evaluator does not take this opset's batch norm for what it is")
    return ReferenceEvaluator(model, new_ops=CUSTOM)


class Single:
    """onnxruntime on a copy of the model whose f64 and bf16 tensors are f32: for what has no kernel elsewhere."""

    def __init__(self, path):
        model = onnx.load(str(path))
        if not any(t.data_type in WIDENED for t in model.graph.initializer):
            raise NoEngine("nothing to convert")
        to_f32(model)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self, names, inputs):
        single = {k: v.astype(np.float32) if v.dtype in (np.float64, ml_dtypes.bfloat16) else v for k, v in inputs.items()}
        return self.session.run(names, single)


WIDENED = (TensorProto.DOUBLE, TensorProto.BFLOAT16)


def to_f32(model):
    """Rewrites every f64 and bf16 tensor and type of a model as f32."""
    tensors = [t for g in bodies(model.graph) for t in g.initializer]
    tensors += [a.t for n in all_nodes(model) for a in n.attribute if a.type == onnx.AttributeProto.TENSOR]
    for t in tensors:
        if t.data_type in WIDENED:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for g in bodies(model.graph):
        for v in [*g.input, *g.output, *g.value_info]:
            if v.type.tensor_type.elem_type in WIDENED:
                v.type.tensor_type.elem_type = TensorProto.FLOAT
    for n in all_nodes(model):
        for a in n.attribute:
            if n.op_type == "Cast" and a.name == "to" and a.i in WIDENED:
                a.i = TensorProto.FLOAT


ENGINES = {"onnxruntime": session, "reference": reference, "onnxruntime in f32": Single}


def engine_for(path, inputs):
    """The first engine that runs the model: (name, constructor)."""
    why = []
    for name, make in ENGINES.items():
        try:
            with np.errstate(all="ignore"):
                make(path).run(None, inputs)
            return name, make
        except Exception as e:  # each engine has its own families of exceptions
            why.append(f"{name}: {type(e).__name__}: {str(e)[:200]}")
    raise NoEngine("; ".join(why))


class NoEngine(Exception):
    """No engine at hand evaluates this model by the specification."""


def reference_is_right(model):
    """onnx's evaluator takes batch statistics for batch norms of opset 7 to 13, whatever their outputs, and
    cannot run those of opset 6 in training."""
    norms = [n for n in all_nodes(model) if n.op_type == "BatchNormalization"]
    version = opset(model)
    inference = all(any(a.name == "is_test" and a.i for a in n.attribute) for n in norms)
    return not norms or version >= 14 or version == 6 and inference


def difference(a, b):
    """Largest difference over the largest value of `a`; infinite when shapes, types or non-finite places differ."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.dtype == bool or np.issubdtype(a.dtype, np.integer):
        return 0.0 if np.array_equal(a, b) else float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    fine = np.isfinite(a)
    if not np.array_equal(fine, np.isfinite(b)) or not np.array_equal(a[~fine], b[~fine], equal_nan=True):
        return float("inf")
    a, b = a[fine], b[fine]
    if a.size == 0:
        return 0.0
    top = np.abs(a).max()
    return float(np.abs(a - b).max() / top) if top > 0 else float(np.abs(b).max())


def compare(before, after, seeds=(0, 1)):
    """Largest relative difference over all outputs and seeds, and the engine that judged; NoEngine when none can."""
    model = onnx.load(str(before), load_external_data=False)
    name, make = engine_for(before, feeds(model, seeds[0]))
    first, second = make(before), make(after)
    worst = 0.0
    for seed in seeds:
        inputs = feeds(model, seed)
        with np.errstate(all="ignore"):
            a, b = first.run(None, inputs), second.run(None, inputs)
        assert len(a) == len(b), "the number of outputs changed"
        worst = max([worst, *(difference(x, y) for x, y in zip(a, b))])
    return worst, name


def tolerance(path, engine):
    """What `compare` may say at most."""
    allowed = TOLERANCE[narrowest(onnx.load(str(path), load_external_data=False))]
    return max(allowed, TOLERANCE[TensorProto.FLOAT]) if engine == "onnxruntime in f32" else allowed
