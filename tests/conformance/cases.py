"""The legality corpus: generated models, each with the verdict that the rules give it.

`grid()` varies operator, bias, type and opset where every batch norm folds. The obstacle modules put one obstacle (or
one thing that only looks like an obstacle) in the way of each of two layers: `obstacles_flow` between layer and norm
and around them, `obstacles_constants` where weights and parameters live. The `paths_*` modules have the ways by which
factors travel, row by row. A case expects a number of folded norms and a code for each kept one (alternatives are parted
by `|`), and the same of affine chains; None leaves either open: such a case still has to come out equal.
"""
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from builder import Builder, Linear


@dataclass
class Case:
    name: str
    build: object
    folded: int | None = 1
    kept: tuple | None = ()
    args: tuple = ()
    judged: bool = True  # some engine can run the original
    chains: int | None = 0  # affine chains that fold
    kept_chains: tuple | None = ()
    tolerance: float | None = None  # other than that of the narrowest type

    def __repr__(self):
        return self.name


CONV = Linear("Conv", (2, 3, 6, 6), (5, 3, 3, 3), 5)
GEMM = Linear("Gemm", (5, 7), (7, 6), 6)
MATMUL = Linear("MatMul", (5, 7), (7, 6), 6)

LINEARS = {
    "conv1d": Linear("Conv", (2, 3, 9), (4, 3, 3), 4),
    "conv2d": CONV,
    "conv3d": Linear("Conv", (1, 2, 4, 4, 4), (3, 2, 2, 2, 2), 3),
    "conv2d_group": Linear("Conv", (1, 6, 5, 5), (8, 3, 3, 3), 8, dict(group=2)),
    "conv2d_depthwise": Linear("Conv", (1, 4, 5, 5), (4, 1, 3, 3), 4, dict(group=4)),
    "conv2d_multiplier": Linear("Conv", (1, 3, 5, 5), (6, 1, 3, 3), 6, dict(group=3)),
    "conv2d_padded": Linear("Conv", (1, 3, 7, 7), (4, 3, 3, 3), 4, dict(pads=[0, 1, 2, 1], strides=[2, 1], dilations=[1, 2])),
    "conv2d_same": Linear("Conv", (1, 3, 7, 7), (4, 3, 4, 4), 4, dict(auto_pad="SAME_UPPER", strides=[2, 2])),
    "conv_transpose1d": Linear("ConvTranspose", (2, 3, 6), (3, 4, 3), 4, dict(strides=[2])),
    "conv_transpose2d": Linear("ConvTranspose", (1, 3, 4, 4), (3, 4, 3, 3), 4, dict(strides=[2, 2], pads=[1, 1, 1, 1])),
    "conv_transpose3d": Linear("ConvTranspose", (1, 2, 3, 3, 3), (2, 3, 2, 2, 2), 3),
    "conv_transpose2d_group": Linear("ConvTranspose", (1, 6, 4, 4), (6, 2, 3, 3), 6, dict(group=3, strides=[2, 2], output_padding=[1, 1])),
    "conv_transpose2d_depthwise": Linear("ConvTranspose", (1, 4, 4, 4), (4, 1, 3, 3), 4, dict(group=4)),
    "conv_transpose2d_multiplier": Linear("ConvTranspose", (1, 3, 4, 4), (3, 2, 2, 2), 6, dict(group=3)),
    "conv_transpose1d_group": Linear("ConvTranspose", (1, 4, 5), (4, 3, 2), 6, dict(group=2)),
    "gemm": GEMM,
    "gemm_trans_b": Linear("Gemm", (5, 7), (6, 7), 6, dict(transB=1)),
    "gemm_trans_a": Linear("Gemm", (7, 5), (7, 6), 6, dict(transA=1)),
    "gemm_square": Linear("Gemm", (6, 6), (6, 6), 6, dict(transA=1, transB=1, alpha=0.5, beta=2.0)),
    "matmul": MATMUL,
    "matmul_left_rank3": Linear("MatMul", (2, 7, 4), (5, 7), 5, weight_first=True),
}


def folds(b, lin, bias):
    """linear -> norm, the plain case."""
    x = b.input("x", list(lin.x))
    b.output(b.norm(b.linear(lin, x, bias), lin.channels))


def valid_grid_point(lin, dtype, opset, bias):
    if bias and not lin.has_bias:
        return False
    if dtype == "bf16" and opset < (22 if lin.op.startswith("Conv") else 14):
        return False
    return not (lin.op == "Gemm" and not bias and opset < 11)  # C was required then


def gemm_c_cases():
    """Every shape of C, with alpha, beta and both layouts of B."""
    m, n = 5, 6
    shapes = {"absent": None, "scalar": (), "1": (1,), "n": (n,), "1n": (1, n), "m1": (m, 1), "mn": (m, n)}
    for label, c in shapes.items():
        for alpha, beta in ((1.0, 1.0), (0.5, 2.0), (1.5, 0.0)):
            for trans in (0, 1):
                w = (n, 7) if trans else (7, n)
                lin = Linear("Gemm", (m, 7), w, n, dict(alpha=alpha, beta=beta, transB=trans), c=c)
                yield Case(f"gemm-c_{label}-a{alpha}-b{beta}-t{trans}", partial(folds, lin=lin, bias=c is not None)), 13
    for label, c in shapes.items():  # with a batch that is not known, C of M rows pins it at run time only
        lin = Linear("Gemm", ("batch", 7), (7, n), n, c=c)
        rows = label in ("m1", "mn")
        case = Case(f"gemm-c_{label}-dynamic", partial(folds, lin=lin, bias=c is not None))
        if not rows:
            yield case, 13


def grid():
    """(case, opset, dtype) of layers whose norm always folds."""
    for op in ("conv2d", "conv_transpose2d", "conv_transpose2d_group", "gemm", "matmul"):
        for dtype in ("f32", "f16", "f64", "bf16"):
            for opset in (7, 9, 11, 13, 14, 17, 22):
                for bias in (True, False):
                    lin = LINEARS[op]
                    if valid_grid_point(lin, dtype, opset, bias):
                        label = f"{op}-{dtype}-opset{opset}-{'bias' if bias else 'nobias'}"
                        yield Case(label, partial(folds, lin=lin, bias=bias)), opset, dtype
    for op, lin in LINEARS.items():
        for bias in (True, False):
            if bias and not lin.has_bias:
                continue
            for opset in (11, 17):
                yield Case(f"{op}-shape-opset{opset}-{'bias' if bias else 'nobias'}", partial(folds, lin=lin, bias=bias)), opset, "f32"
    for case, opset in gemm_c_cases():
        yield case, opset, "f32"


# --- obstacles -------------------------------------------------------------------

OBSTACLES = []
MODULES = ("obstacles_flow", "obstacles_constants", "paths_affine", "paths_backward", "paths_windows", "paths_joins", "paths_forward",
           "paths_features", "paths_sideways", "paths_constants", "paths_quantized", "paths_bodies")
LAYERS = {"conv": CONV, "gemm": GEMM, "matmul": MATMUL, "": None}


def obstacle(folded=0, opset=17, layers=("conv", "gemm"), args=(), name=None, dtype="f32", judged=True, **reasons):
    """Registers a builder `f(b, lin)`; reasons are given with underscores: multiple_consumers=1."""
    codes = [k.replace("_or_", "|").replace("_", "-") for k, n in reasons.items() if k != "open_reasons" for _ in range(n)]
    named = None if reasons.get("open_reasons") else tuple(codes)

    def wrap(f):
        for layer in layers:
            lin = LAYERS[layer]
            label = (name or f.__name__) + (f"-{layer}" if layer else "")
            OBSTACLES.append((Case(label, partial(f, lin=lin), folded, named, tuple(args), judged), opset, dtype))
        return f
    return wrap


def start(b, lin, **kw):
    return b.linear(lin, b.input("x", list(lin.x)), **kw)


def end(b, lin, x, **kw):
    return b.output(b.norm(x, lin.channels, **kw))


def all_cases():
    """(Case, opset, dtype) of the whole corpus."""
    for module in MODULES:
        import_module(module)  # registers its cases
    return [*grid(), *OBSTACLES]


def build(case, opset, dtype):
    b = Builder(case.name, opset, dtype)
    case.build(b)
    return b.model()
