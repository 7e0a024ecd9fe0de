"""Writes cases.txt: single ops with what onnxruntime computes for them.

    python make.py > cases.txt        needs onnx, onnxruntime, numpy

Each case is a line `case MNEMONIC attribute=value …` in the terms of the graph, then one line per operand (`in`, or `none`
for an absent one) and per result (`out`, or `any` for one that is not compared): element type, extents, elements.
Inputs are small multiples of 1/4, so that sums of products are exact in f32.
"""

import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

rng = np.random.default_rng(20240229)
ort.set_default_logger_severity(4)

NAMES = {
    np.dtype("float32"): "f32", np.dtype("float64"): "f64", np.dtype("float16"): "f16", np.dtype("int64"): "i64",
    np.dtype("int32"): "i32", np.dtype("int8"): "i8", np.dtype("uint8"): "u8", np.dtype("int16"): "i16",
    np.dtype("uint16"): "u16", np.dtype("bool"): "bool",
}
refused = []
count = 0


def values(a):
    flat = a.reshape(-1)
    if a.dtype.kind == "f":
        text = []
        for v in flat:
            short = repr(float(v)) if a.dtype.itemsize == 8 else min(str(v), f"{v:.8g}", key=len)
            text.append(short[:-2] if short.endswith(".0") else short)
        return " ".join(text)
    return " ".join(str(int(v)) for v in flat)


def line(kind, a):
    dims = "x".join(map(str, a.shape)) or "scalar"
    return f"{kind} {NAMES[a.dtype]} {dims} {values(a)}".rstrip()


def word(v):
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, (list, tuple)):
        return "[" + ",".join(word(x) for x in v) + "]"
    if isinstance(v, (np.floating, np.integer)):
        return str(v.item())
    return str(v)


def run(onnx_op, inputs, attrs, opset, outputs):
    names = [f"i{i}" if a is not None else "" for i, a in enumerate(inputs)]
    outs = [f"o{i}" for i in range(outputs)]
    while names and names[-1] == "":
        names.pop()
    node = helper.make_node(onnx_op, names, outs, **attrs)
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, inputs) if n
    ]
    graph = helper.make_graph([node], "g", infos, [helper.make_empty_tensor_value_info(o) for o in outs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {n: a for n, a in zip(names, inputs) if n})


def case(mnemonic, ours, operands, onnx_op, inputs=None, attrs=None, opset=21, outputs=1):
    """`operands` is what the op has in the graph; `inputs` what the node has in ONNX, where that differs."""
    global count
    try:
        results = run(onnx_op, operands if inputs is None else inputs, attrs or {}, opset, outputs)
    except Exception as e:  # what onnxruntime does not run is no case
        refused.append(f"{mnemonic} {ours} {attrs}: {str(e).splitlines()[0][:150]}")
        return
    if sum(r.size for r in results) > 250:
        refused.append(f"{mnemonic}: {[r.shape for r in results]} is too large for the table")
        return
    count += 1
    print(" ".join(["case", mnemonic] + [f"{k}={word(v)}" for k, v in ours.items()]))
    for a in operands:
        print("none" if a is None else line("in", a))
    for r in results:
        print(line("out", np.asarray(r)))


def f32(*shape, low=-8, high=9):
    return np.asarray(rng.integers(low, high, shape) / 4, np.float32)


def pick(*options):
    return options[rng.integers(len(options))]


def chance(p):
    return rng.random() < p


LAYOUT = {1: ("NCW", "OIW", "IOW"), 2: ("NCHW", "OIHW", "IOHW"), 3: ("NCDHW", "OIDHW", "IODHW")}


def pairs(pads):
    n = len(pads) // 2
    return [[pads[i], pads[i + n]] for i in range(n)]


def window(s, kernel, attrs, ours, autos):
    """Random strides, dilations and padding."""
    if chance(0.6):
        attrs["strides"] = ours["strides"] = [int(rng.integers(1, 4)) for _ in range(s)]
    if chance(0.4):
        attrs["dilations"] = ours["dilations"] = [int(rng.integers(1, 3)) for _ in range(s)]
    auto = pick(None, None, *autos)
    if auto:
        attrs["auto_pad"] = auto
        ours["pad"] = auto.lower()
    elif chance(0.7):
        attrs["pads"] = [int(rng.integers(0, max(1, kernel[i % s]))) for i in range(2 * s)]
        ours["pad"] = pairs(attrs["pads"])


def fits(extent, kernel, attrs):
    """Whether the window fits into the padded extent on every axis."""
    s = len(extent)
    pads, dilations = attrs.get("pads", [0] * (2 * s)), attrs.get("dilations", [1] * s)
    rows = zip(extent, kernel, dilations, pads, pads[s:])
    return "SAME" in attrs.get("auto_pad", "") or all(e + a + b >= (k - 1) * d + 1 for e, k, d, a, b in rows)


def convolutions():
    for i in range(60):
        s = [1, 2, 2, 2, 3][i % 5]
        g = pick(1, 1, 2, 3)
        cin, cout = g * int(rng.integers(1, 3)), g * int(rng.integers(1, 3))
        extent = [int(rng.integers(3, 6 if s < 3 else 4)) for _ in range(s)]
        kernel = [int(rng.integers(1, 4)) for _ in range(s)]
        attrs, ours = {"group": g}, {"x": LAYOUT[s][0], "w": LAYOUT[s][1], "groups": g}
        window(s, kernel, attrs, ours, ["SAME_UPPER", "SAME_LOWER", "VALID"])
        ops = [f32(pick(1, 1, 2), cin, *extent), f32(cout, cin // g, *kernel)]
        if chance(0.5):
            ops.append(f32(cout))
        case("conv", ours, ops, "Conv", attrs=attrs)


def transposed():
    for i in range(60):
        s = [1, 2, 2, 1, 3][i % 5]
        g = pick(1, 1, 2, 3)
        cin, per = g * int(rng.integers(1, 3)), int(rng.integers(1, 3))
        extent = [int(rng.integers(2, 5 if s < 3 else 3)) for _ in range(s)]
        kernel = [int(rng.integers(1, 4)) for _ in range(s)]
        attrs, ours = {"group": g}, {"x": LAYOUT[s][0], "w": LAYOUT[s][2], "groups": g}
        window(s, kernel, attrs, ours, ["SAME_UPPER", "SAME_LOWER", "VALID"])
        strides, dilations = attrs.get("strides", [1] * s), attrs.get("dilations", [1] * s)
        if chance(0.3):
            extra = [int(rng.integers(0, max(st, d))) for st, d in zip(strides, dilations)]
            attrs["output_padding"] = ours["output_padding"] = extra
        natural = [
            st * (e - 1) + o + (k - 1) * d + 1
            for st, e, o, k, d in zip(strides, extent, attrs.get("output_padding", [0] * s), kernel, dilations)
        ]
        if chance(0.35):
            attrs["output_shape"] = ours["output_shape"] = [max(1, n - int(rng.integers(0, 4))) for n in natural]
            attrs.pop("pads", None), ours.pop("pad", None)
            if "auto_pad" in attrs:
                ours["pad"] = attrs["auto_pad"].lower()
        if "SAME" in attrs.get("auto_pad", "") and "output_shape" not in attrs:
            # The specification says input · stride; onnxruntime falls short of it where the taps do.
            if any(n < e * st for n, e, st in zip(natural, extent, strides)):
                continue
        ops = [f32(1, cin, *extent), f32(cin, per, *kernel)]
        if chance(0.5):
            ops.append(f32(per * g))
        case("conv_transpose", ours, ops, "ConvTranspose", attrs=attrs)


def pools():
    for i in range(90):
        s = [1, 2, 2, 2, 3][i % 5]
        extent = [int(rng.integers(3, 8 if s < 3 else 4)) for _ in range(s)]
        kernel = [int(rng.integers(1, 4)) for _ in range(s)]
        f = pick("max", "average", "average", "lp")
        attrs = {"kernel_shape": kernel, "ceil_mode": int(rng.integers(0, 2))}
        ours = {"f": f, "x": LAYOUT[s][0], "kernel": kernel, "ceil_mode": bool(attrs["ceil_mode"])}
        window(s, kernel, attrs, ours, ["SAME_UPPER", "SAME_LOWER", "VALID"])
        if f == "average":
            attrs["count_include_pad"] = int(rng.integers(0, 2))
            ours["count_include_pad"] = bool(attrs["count_include_pad"])
        # onnxruntime computes something where no specification says what, and for SAME it ignores dilations, and shifts
        # windows smaller than their stride.
        if not fits(extent, kernel, attrs):
            continue
        if "SAME" in attrs.get("auto_pad", "") and ("dilations" in attrs or any(k < st for k, st in zip(kernel, attrs.get("strides", kernel)))):
            continue
        if f == "lp":
            attrs["p"] = ours["p"] = int(rng.integers(1, 4))
        name = {"max": "MaxPool", "average": "AveragePool", "lp": "LpPool"}[f]
        x = f32(pick(1, 2), pick(1, 2), *extent)
        case("pool", ours, [x], name, attrs=attrs, outputs=2 if f == "max" and chance(0.5) else 1)
    x = rng.integers(-9, 9, (1, 1, 4, 4)).astype(np.int8)
    case("pool", {"kernel": [2, 2]}, [x], "MaxPool", attrs={"kernel_shape": [2, 2]})
    for f, name in [("max", "GlobalMaxPool"), ("average", "GlobalAveragePool"), ("lp", "GlobalLpPool")]:
        extra = {"p": 3} if f == "lp" else {}
        case("global_pool", {"f": f, **extra}, [f32(2, 3, 3, 2)], name, attrs=extra)
        case("global_pool", {"f": f}, [f32(1, 3, 5)], name)


def products():
    for _ in range(24):
        m, k, n = (int(v) for v in rng.integers(1, 5, 3))
        ta, tb = int(rng.integers(0, 2)), int(rng.integers(0, 2))
        alpha, beta = pick(1.0, 0.5, -2.0), pick(1.0, 1.0, 0.25, 0.0)
        ops = [f32(*((k, m) if ta else (m, k))), f32(*((n, k) if tb else (k, n)))]
        if chance(0.8):
            ops.append(f32(*pick((), (1,), (n,), (1, n), (m, 1), (m, n))))
        ours = {"alpha": alpha, "beta": beta, "trans_x": bool(ta), "trans_w": bool(tb), "matrix": True}
        case("linear", ours, ops, "Gemm", attrs=dict(alpha=alpha, beta=beta, transA=ta, transB=tb))
    for a, b in [
        ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)),
        ((2, 1, 2, 3), (3, 3, 2)), ((3,), (2, 3, 4)), ((2, 2, 3), (3,)), ((2, 2, 3), (2, 3, 1)), ((1, 1), (1, 1)),
    ]:
        case("matmul", {}, [f32(*a), f32(*b)], "MatMul")
    big = lambda *shape: rng.integers(-2**20, 2**20, shape).astype(np.int32)
    case("matmul", {}, [big(2, 3), big(3, 2)], "MatMul")
    x, c = f32(2, 3, 2, 2), 3
    stats = [f32(c), f32(c), f32(c), f32(c, low=1)]
    for eps in [1e-5, 0.25]:
        ours = {"eps": float(np.float32(eps))}
        case("batch_norm", ours, [x, *stats], "BatchNormalization", attrs={"epsilon": eps})
    case("batch_norm", {"eps": float(np.float32(1e-5))}, [f32(4, 3), *stats], "BatchNormalization")


def pads():
    for i in range(40):
        rank = int(rng.integers(1, 4))
        shape = [int(rng.integers(2, 5)) for _ in range(rank)]
        mode = ["constant", "reflect", "edge", "wrap"][i % 4]
        low = -1 if chance(0.4) else 0
        axes = None
        if chance(0.3):
            axes = np.array(sorted(rng.choice(rank, int(rng.integers(1, rank + 1)), replace=False)), np.int64)
            axes = np.where(rng.random(axes.shape) < 0.5, axes - rank, axes)
        n = rank if axes is None else len(axes)
        amounts = rng.integers(low, 2 if mode == "reflect" else 3, 2 * n).astype(np.int64)
        value = f32() if mode == "constant" and chance(0.6) else None
        ops = [f32(*shape), amounts, value, axes]
        while ops[-1] is None:
            ops.pop()
        case("pad", {"mode": mode}, ops, "Pad", attrs={"mode": mode})


def resizes():
    modes = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
    for i in range(75):
        mode = ["nearest", "linear", "cubic"][i % 3]
        how = modes[i % 5]
        shape = [1, 1, int(rng.integers(3, 6)), int(rng.integers(3, 6))]
        if mode == "nearest" and chance(0.3):
            shape = shape[2:]
        if mode == "linear" and chance(0.3):
            shape = [1, 1, 3, 3, 3]
        rank = len(shape)
        attrs, ours = {"mode": mode}, {"mode": f'"{mode}"'}
        attrs["coordinate_transformation_mode"], ours["coordinates"] = how, f'"{how}"'
        if mode == "nearest":
            attrs["nearest_mode"] = pick("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
            ours["nearest"] = f'"{attrs["nearest_mode"]}"'
        if mode == "cubic":
            attrs["cubic_coeff_a"] = ours["cubic_coeff"] = pick(-0.75, -0.5)
            attrs["exclude_outside"] = int(rng.integers(0, 2))
            ours["exclude_outside"] = bool(attrs["exclude_outside"])
        lead = 2 if rank > 2 else 0
        if chance(0.5):
            scales = [1.0] * lead + [pick(0.6, 0.75, 1.3, 1.5, 2.0, 2.7) for _ in range(rank - lead)]
            ops = [f32(*shape), None, np.array(scales, np.float32)]
        else:
            sizes = shape[:lead] + [int(rng.integers(1, 9)) for _ in range(rank - lead)]
            ops = [f32(*shape), None, None, np.array(sizes, np.int64)]
            if mode == "nearest" and chance(0.5):
                attrs["keep_aspect_ratio_policy"] = pick("not_larger", "not_smaller")
                ours["aspect"] = f'"{attrs["keep_aspect_ratio_policy"]}"'
                attrs["axes"] = ours["axes"] = list(range(lead, rank))
                ops[3] = ops[3][lead:]
        case("resize", ours, ops, "Resize", attrs=attrs, opset=19)
    for mode in ["linear", "nearest", "cubic"]:
        roi = np.array([0, 0, 0.25, -0.25, 1, 1, 1.25, 0.75], np.float32)
        attrs = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 2.5}
        ours = {"mode": f'"{mode}"', "coordinates": '"tf_crop_and_resize"', "extrapolation": 2.5}
        x = f32(1, 1, 4, 5)
        case("resize", ours, [x, roi, None, np.array([1, 1, 3, 4], np.int64)], "Resize", attrs=attrs, opset=13)
        case("resize", ours, [x, roi, np.array([1, 1, 0.8, 1.5], np.float32)], "Resize", attrs=attrs, opset=13)
    ours = {"coordinates": '"tf_half_pixel_for_nn"'}
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn"}
    none = np.array([], np.float32)
    x = f32(1, 1, 3, 4)
    case("resize", ours, [x, none, np.array([1, 1, 2, 1.5], np.float32)], "Resize", attrs=attrs, opset=11)
    # Upsample became Resize: asymmetric coordinates, rounded down.
    ours = {"coordinates": '"asymmetric"', "nearest": '"floor"', "scales": [1.0, 1.0, 2.0, 3.0]}
    case("resize", ours, [x], "Upsample", attrs={"scales": [1.0, 1.0, 2.0, 3.0]}, opset=7)
    x = rng.integers(-9, 9, (1, 1, 2, 3)).astype(np.int32)
    ours = {"coordinates": '"asymmetric"', "nearest": '"floor"'}
    attrs = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    case("resize", ours, [x, None, np.array([1, 1, 2, 2], np.float32)], "Resize", attrs=attrs, opset=19)


KINDS = {
    "mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd", "l1": "ReduceL1",
    "l2": "ReduceL2", "sum_square": "ReduceSumSquare", "log_sum": "ReduceLogSum", "log_sum_exp": "ReduceLogSumExp",
}


def reductions():
    for f, name in KINDS.items():
        for i in range(3):
            x = f32(2, 3, 4, low=1 if f == "log_sum" else -8)
            axes = [np.array([1], np.int64), np.array([-1, 0], np.int64), None][i]
            keep = int(rng.integers(0, 2))
            ops = [x] if axes is None else [x, axes]
            case("reduce", {"f": f, "keepdims": bool(keep)}, ops, name, attrs={"keepdims": keep}, opset=18)
        if f in ("sum", "max", "min", "prod", "mean", "l1", "sum_square"):
            x = rng.integers(-9, 9, (3, 3)).astype(np.int32)
            case("reduce", {"f": f, "axes": [0]}, [x], name, inputs=[x, np.array([0], np.int64)], opset=18)
    x = f32(2, 3)
    ours = {"f": "sum", "noop_with_empty_axes": True}
    case("reduce", ours, [x], "ReduceSum", attrs={"noop_with_empty_axes": 1}, opset=18)
    for f, name in [("softmax", "Softmax"), ("log_softmax", "LogSoftmax"), ("hardmax", "Hardmax")]:
        for axis in [-1, 0, 1]:
            case("softmax", {"f": f, "axis": axis}, [f32(2, 3, 4)], name, attrs={"axis": axis}, opset=13)
            ours = {"f": f, "axis": axis, "flatten": True}
            case("softmax", ours, [f32(2, 3, 2)], name, attrs={"axis": axis}, opset=11)


def elementwise():
    x = np.array([-30, -3, -2.5, -1.5, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 1.5, 2.5, 3, 30], np.float32)
    positive = np.abs(x) + np.float32(0.25)
    unary = {
        "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "neg": "Neg", "abs": "Abs", "sqrt": "Sqrt",
        "reciprocal": "Reciprocal", "exp": "Exp", "log": "Log", "erf": "Erf", "floor": "Floor", "ceil": "Ceil",
        "round": "Round", "sign": "Sign", "sin": "Sin", "cos": "Cos", "softplus": "Softplus", "softsign": "Softsign",
        "hard_swish": "HardSwish", "mish": "Mish",
    }
    for ours, name in unary.items():
        a = positive if ours in ("sqrt", "log", "reciprocal") else x[1:-1] if ours == "exp" else x
        case(ours, {}, [a], name)
    ints = np.array([-5, 0, 7, -128], np.int8)
    for ours in ["neg", "abs", "sign"]:
        case(ours, {}, [ints.astype(np.int64)], unary[ours])
    case("neg", {}, [ints], "Neg")
    case("not", {}, [np.array([True, False])], "Not")
    for f, name, alpha, beta in [
        ("leaky_relu", "LeakyRelu", 0.25, None), ("elu", "Elu", 1.5, None), ("selu", "Selu", 1.5, 1.25),
        ("celu", "Celu", 0.75, None), ("hard_sigmoid", "HardSigmoid", 0.25, 0.5), ("thresholded_relu", "ThresholdedRelu", 0.5, None),
    ]:
        attrs, ours = {"alpha": alpha}, {"f": f, "alpha": alpha}
        if beta is not None:
            attrs["gamma" if f == "selu" else "beta"] = beta
            ours["beta"] = beta
        case("activation", ours, [x], name, attrs=attrs)
    case("activation", {"f": "gelu"}, [x], "Gelu")
    case("activation", {"f": "gelu_tanh"}, [x], "Gelu", attrs={"approximate": "tanh"})
    binary = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "min": "Min", "max": "Max"}
    shapes = [((2, 3), (2, 3)), ((2, 1, 3), (4, 1)), ((), (3,)), ((3, 1), (1, 2))]
    for ours, name in binary.items():
        for a, b in shapes:
            y = f32(*b)
            y = np.where(y == 0, np.float32(1.25), y)
            case(ours, {}, [f32(*a), y.astype(np.float32)], name)
        i, j = rng.integers(-50, 50, (2, 3)).astype(np.int64), pick(3, -7) * np.ones((1,), np.int64)
        case(ours, {}, [i, j], name)
    case("add", {}, [np.array([2**31 - 1], np.int32), np.array([5], np.int32)], "Add")
    case("sub", {}, [np.array([3], np.uint8), np.array([5], np.uint8)], "Sub", opset=14)
    case("mul", {}, [np.array([2**62 + 3], np.int64), np.array([3], np.int64)], "Mul")
    case("pow", {}, [positive, f32(15)], "Pow")
    case("pow", {}, [positive, np.array([2], np.int64)], "Pow")
    case("pow", {}, [np.array([-3, 2, 7], np.int64), np.array([3, 10, 0], np.int64)], "Pow")
    case("mod", {}, [np.array([-7, 7, -7, 7, 6], np.int64), np.array([3, -3, -3, 3, 3], np.int64)], "Mod")
    for ours, name in [("and", "And"), ("or", "Or"), ("xor", "Xor")]:
        case(ours, {}, [np.array([[True], [False]]), np.array([True, False])], name)
    for ours, name in [
        ("equal", "Equal"), ("less", "Less"), ("less_or_equal", "LessOrEqual"), ("greater", "Greater"),
        ("greater_or_equal", "GreaterOrEqual"),
    ]:
        case(ours, {}, [f32(4, 3, low=-1, high=2), f32(3, low=-1, high=2)], name)
        case(ours, {}, [np.array([2**62, 2**62 + 1], np.int64), np.array([2**62 + 1], np.int64)], name)
    case("equal", {}, [np.array([True, False]), np.array([True, True])], "Equal")
    case("where", {}, [np.array([[True], [False]]), f32(3), f32(2, 1)], "Where")
    case("where", {}, [np.array([True, False]), np.array([1, 2], np.int64), np.array([3], np.int64)], "Where")
    low, high = np.float32(-1), np.float32(1.5)
    case("clip", {}, [x, np.array(low), np.array(high)], "Clip")
    case("clip", {}, [x, None, np.array(high)], "Clip")
    case("clip", {}, [x, np.array(np.float32(2)), np.array(low)], "Clip")
    case("clip", {"min": -1.0, "max": 1.5}, [x], "Clip", attrs={"min": -1.0, "max": 1.5}, opset=6)
    case("clip", {}, [np.array([-9, 3, 9], np.int64), np.array(np.int64(0)), np.array(np.int64(6))], "Clip")
    case("prelu", {}, [f32(2, 3, 2), f32(3, 1)], "PRelu")
    case("prelu", {}, [f32(2, 3), f32(1)], "PRelu")


def casts():
    a = np.array([-3.75, -1.5, -0.5, 0, 0.5, 1.5, 100.25], np.float32)
    for to in ["f64", "f16", "i32", "i64", "i8", "bool"]:
        kind = next(k for k, v in NAMES.items() if v == to)
        case("cast", {"to": to}, [a], "Cast", attrs={"to": helper.np_dtype_to_tensor_dtype(kind)})
    wide = np.array([1 + 2**-11, 1 + 3 * 2**-11, 65519, 65521, 1e-8, 6e-8, -70000], np.float32)
    case("cast", {"to": "f16"}, [wide], "Cast", attrs={"to": TensorProto.FLOAT16})
    ints = np.array([-1, 300, 128, -129, 2**24 + 1, 2**53 + 1], np.int64)
    for to in ["f32", "f64", "i8", "u8", "i32", "bool"]:
        kind = next(k for k, v in NAMES.items() if v == to)
        case("cast", {"to": to}, [ints], "Cast", attrs={"to": helper.np_dtype_to_tensor_dtype(kind)})
    case("cast", {"to": "f32"}, [np.array([True, False])], "Cast", attrs={"to": TensorProto.FLOAT})
    case("cast_like", {}, [a, np.zeros((2,), np.int32)], "CastLike")
    case("identity", {}, [a], "Identity")
    case("dropout", {}, [a], "Dropout", outputs=2)


def quantization():
    x = f32(2, 3, 4, low=-40, high=41)
    x += np.float32(1 / 32)  # away from ties, which a division in f32 decides otherwise
    u8, i8 = np.uint8, np.int8
    for zero in [np.array(128, u8), np.array(-3, i8), None]:
        case("quantize", {}, [x, np.array(0.07, np.float32), zero][: 2 if zero is None else 3], "QuantizeLinear")
    scale, zero = np.array([0.05, 0.2, 0.013], np.float32), np.array([1, 100, 7], u8)
    case("quantize", {"axis": 1}, [x, scale, zero], "QuantizeLinear", attrs={"axis": 1})
    case("quantize", {"axis": -2}, [x, scale, zero], "QuantizeLinear", attrs={"axis": -2})
    s, z = np.abs(f32(2, 3, 2)) + np.float32(0.3), rng.integers(-5, 5, (2, 3, 2)).astype(i8)
    attrs = {"axis": 2, "block_size": 2}
    case("quantize", {"axis": 2, "block": 2}, [x, s, z], "QuantizeLinear", attrs=attrs)
    q = rng.integers(-128, 128, (2, 3, 4)).astype(i8)
    case("dequantize", {"axis": 2, "block": 2}, [q, s, z], "DequantizeLinear", attrs=attrs)
    s, z = np.abs(f32(2, 2, 4)) + np.float32(0.3), rng.integers(-5, 5, (2, 2, 4)).astype(i8)
    attrs = {"axis": 1, "block_size": 2}
    case("dequantize", {"axis": 1, "block": 2}, [q, s, z], "DequantizeLinear", attrs=attrs)
    case("dequantize", {}, [q, np.array(0.5, np.float32)], "DequantizeLinear")
    case("dequantize", {}, [q, np.array(0.5, np.float32), np.array(-7, i8)], "DequantizeLinear")
    case("dequantize", {"axis": 0}, [q, f32(2), np.array([3, -4], i8)], "DequantizeLinear", attrs={"axis": 0})
    case("dequantize", {}, [np.array([2**30, -7], np.int32), np.array(0.5, np.float32)], "DequantizeLinear")


def movement():
    i64 = lambda *v: np.array(v, np.int64)
    x = f32(2, 3, 4)
    for shape in [(4, 6), (0, -1), (-1,), (2, 2, 3, 2), (2, 0, 2, -1)]:
        case("reshape", {}, [x, i64(*shape)], "Reshape")
    case("reshape", {"allow_zero": True}, [np.zeros((0, 3), np.float32), i64(3, 0)], "Reshape", attrs={"allowzero": 1})
    for perm in [[], [0, 2, 1], [2, 0, 1], [1, 2, 0]]:
        case("transpose", {"perm": perm}, [x], "Transpose", attrs={"perm": perm} if perm else {})
    for axis in [0, 1, 2, 3, -1]:
        case("flatten", {"axis": axis}, [x], "Flatten", attrs={"axis": axis})
    y = f32(1, 3, 1, 2)
    case("squeeze", {}, [y], "Squeeze")
    case("squeeze", {}, [y, i64(-2)], "Squeeze")
    case("squeeze", {"axes": [0, 2]}, [y], "Squeeze", attrs={"axes": [0, 2]}, opset=11)
    case("unsqueeze", {}, [f32(3, 2), i64(0, -1)], "Unsqueeze")
    case("unsqueeze", {}, [f32(3, 2), i64(3, 1)], "Unsqueeze")
    case("expand", {}, [f32(3, 1), i64(2, 1, 4)], "Expand")
    case("expand", {}, [f32(2, 3), i64(3)], "Expand")
    case("concat", {"axis": 1}, [f32(2, 1, 2), f32(2, 3, 2), f32(2, 2, 2)], "Concat", attrs={"axis": 1})
    case("concat", {"axis": -1}, [f32(2, 1), f32(2, 0), f32(2, 2)], "Concat", attrs={"axis": -1})
    case("split", {"axis": 1}, [f32(2, 6), i64(1, 2, 3)], "Split", attrs={"axis": 1}, outputs=3)
    case("split", {"axis": -1}, [f32(2, 7)], "Split", attrs={"axis": -1, "num_outputs": 3}, opset=18, outputs=3)
    case("split", {"axis": 0, "sizes": [1, 3]}, [f32(4, 2)], "Split", attrs={"split": [1, 3]}, opset=11, outputs=2)
    z = f32(5, 6)
    big = 2**62
    for starts, ends, axes, steps in [
        ([1, 2], [4, 5], None, None), ([1], [100], [1], [2]), ([-1], [-100], [0], [-1]), ([4, 0], [0, 6], [0, -1], [-2, 3]),
        ([0], [big], [0], [1]), ([100], [-big], [1], [-4]), ([3], [1], [0], [1]), ([0], [5], [0], [big]), ([-100], [3], [0], [1]),
        ([-2, 1], [5, -1], [0, 1], [1, 1]), ([5], [0], [1], [-big]),
    ]:
        ops = [z, i64(*starts), i64(*ends), None if axes is None else i64(*axes), None if steps is None else i64(*steps)]
        while ops[-1] is None:
            ops.pop()
        case("slice", {}, ops, "Slice")
    ours = {"starts": [1], "ends": [-1], "axes": [1]}
    case("slice", ours, [z], "Slice", attrs=ours, opset=9)
    case("gather", {}, [f32(3, 2), np.array([[0, -1], [2, 1]], np.int64)], "Gather")
    case("gather", {"axis": -1}, [f32(2, 3), np.array(1, np.int32)], "Gather", attrs={"axis": -1})
    case("gather", {"axis": 1}, [f32(2, 3, 2), i64(2, 0)], "Gather", attrs={"axis": 1})
    for ours in [{}, {"start": 1}, {"start": -2, "end": -1}, {"end": 9}, {"start": 2, "end": 1}]:
        case("shape", ours, [x], "Shape", attrs=ours)
    case("size", {}, [x], "Size")
    case("constant_of_shape", {}, [i64(2, 3)], "ConstantOfShape")
    value = helper.make_tensor("v", TensorProto.INT64, [1], [7])
    case("constant_of_shape", {"value": "@i64:7"}, [i64(2)], "ConstantOfShape", attrs={"value": value})
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])
    case("constant_of_shape", {"value": "@f32:0.5"}, [i64()], "ConstantOfShape", attrs={"value": value})
    scalar = lambda v, t: np.array(v, t)
    for a, b, d, t in [(1, 10, 3, np.int64), (10, 1, -4, np.int64), (3, 3, 1, np.int64), (0.5, 2, 0.5, np.float32), (5, 1, 1, np.int32)]:
        case("range", {}, [scalar(a, t), scalar(b, t), scalar(d, t)], "Range")
    d = f32(1, 8, 2, 3)
    for mode in ["DCR", "CRD"]:
        attrs = {"blocksize": 2, "mode": mode}
        case("depth_to_space", {"block": 2, "mode": mode.lower()}, [d], "DepthToSpace", attrs=attrs)
    case("space_to_depth", {"block": 2}, [f32(1, 2, 4, 6)], "SpaceToDepth", attrs={"blocksize": 2})


for part in (convolutions, transposed, pools, products, pads, resizes, reductions, elementwise, casts, quantization, movement):
    part()
print(f"{count} cases; not run:", *refused, sep="\n  ", file=sys.stderr)
