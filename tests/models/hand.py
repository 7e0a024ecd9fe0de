#!/usr/bin/env python3
"""Models that no exporter writes, made with onnx.helper: old opsets and IR versions, external data,
bodies, functions, custom operators, annotations and unknown fields.

    python tests/models/hand.py [DIR]

Needs onnx and numpy. The bytes depend on nothing but this file and protobuf's (stable) encoding.
"""
import sys
import zlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

PRODUCER = "normfold-tests"


class Weights:
    """Seeded tensors; `norm` and `conv` give whole parameter sets of one layer."""

    def __init__(self, name, dtype=np.float32):
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.dtype = dtype
        self.tensors = []

    def add(self, name, array):
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=self.dtype), name))
        return name

    def norm(self, prefix, c):
        """scale, B, mean, var: some gammas negative, variances well away from zero."""
        r = self.rng
        scale = r.uniform(0.5, 1.5, c) * np.where(np.arange(c) % 5 == 3, -1, 1)
        return [self.add(f"{prefix}.scale", scale), self.add(f"{prefix}.bias", r.normal(0, 0.3, c)),
                self.add(f"{prefix}.mean", r.normal(0, 0.5, c)), self.add(f"{prefix}.var", r.uniform(0.3, 2, c))]

    def conv(self, prefix, shape, bias):
        names = [self.add(f"{prefix}.weight", self.rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape))]
        return names + [self.add(f"{prefix}.bias", self.rng.normal(0, 0.2, shape[0]))] if bias else names


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def bn(ins, outs, name, **attrs):
    return helper.make_node("BatchNormalization", ins, outs, name=name, **attrs)


def finish(nodes, name, inputs, outputs, tensors, opset, ir, **kw):
    domains = kw.pop("domains", {})
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=tensors, **{k: kw.pop(k) for k in ("value_info", "doc_string") if k in kw})
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, v) for d, v in domains.items())]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, producer_name=PRODUCER, **kw)


# --- opsets and IR versions ---------------------------------------------------

def old(name, opset, ir, norm_attrs, extra_outputs=0):
    """conv(bias) -> norm -> relu -> conv(no bias) -> norm at an old opset; IR < 4 lists its initializers as inputs."""
    w = Weights(name)
    outs = [f"n1.saved{i}" for i in range(extra_outputs)]
    nodes = [
        helper.make_node("Conv", ["x", *w.conv("c1", (6, 3, 3, 3), True)], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        bn(["c1", *w.norm("n1", 6)], ["n1", *outs], "n1", **norm_attrs),
        helper.make_node("Relu", ["n1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", *w.conv("c2", (4, 6, 1, 1), False)], ["c2"], name="c2"),
        bn(["c2", *w.norm("n2", 4)], ["y"], "n2", **norm_attrs),
    ]
    inputs = [value("x", [2, 3, 6, 6])]
    if ir < 4:
        inputs += [value(t.name, list(t.dims)) for t in w.tensors]
    return finish(nodes, name, inputs, [value("y", [2, 4, 6, 6])], w.tensors, opset, ir)


def opset7_spatial0():
    """spatial = 0 normalises every position by its own statistics: foldable at rank 2 only."""
    w = Weights("opset7_spatial0")
    w2 = w.rng.normal(0, 0.4, (5, 8))
    nodes = [
        helper.make_node("Conv", ["x", *w.conv("c1", (4, 3, 3, 3), False)], ["c1"], name="c1"),
        bn(["c1", *(w.add(f"n1.{k}", v) for k, v in positional(w.rng, (4, 4, 4)))], ["n1"], "n1", spatial=0),
        helper.make_node("GlobalAveragePool", ["n1"], ["p"], name="p"),
        helper.make_node("Flatten", ["p"], ["f"], name="f", axis=1),
        helper.make_node("Gemm", ["f", w.add("g.weight", w2.reshape(10, 4)), w.add("g.bias", w.rng.normal(0, 0.2, 10))], ["g"], name="g", transB=1),
        bn(["g", *w.norm("n2", 10)], ["y"], "n2", spatial=0),
    ]
    inputs = [value("x", [2, 3, 6, 6])] + [value(t.name, list(t.dims)) for t in w.tensors]
    return finish(nodes, "opset7_spatial0", inputs, [value("y", [2, 10])], w.tensors, 7, 3)


def positional(rng, shape):
    return [("scale", rng.uniform(0.5, 1.5, shape)), ("bias", rng.normal(0, 0.3, shape)),
            ("mean", rng.normal(0, 0.5, shape)), ("var", rng.uniform(0.3, 2, shape))]


def overridable():
    """IR 8: a weight and a norm's scale are graph inputs too, so a caller may override them; the third pair is constant."""
    w = Weights("overridable")
    nodes, x = [], "x"
    for i, (cin, cout) in enumerate([(3, 4), (4, 4), (4, 5)], 1):
        nodes += [helper.make_node("Conv", [x, *w.conv(f"c{i}", (cout, cin, 1, 1), True)], [f"c{i}"], name=f"c{i}"),
                  bn([f"c{i}", *w.norm(f"n{i}", cout)], [f"n{i}"], f"n{i}"),
                  helper.make_node("Relu", [f"n{i}"], [f"r{i}"], name=f"r{i}")]
        x = f"r{i}"
    inputs = [value("x", [1, 3, 5, 5]), value("c1.weight", [4, 3, 1, 1]), value("n2.scale", [4])]
    return finish(nodes, "overridable", inputs, [value("r3", [1, 5, 5, 5])], w.tensors, 15, 8)


# --- storage --------------------------------------------------------------------

def typed_fields():
    """No raw_data anywhere: float_data in one graph, the bit patterns of f16 in int32_data behind a Cast."""
    w, h = Weights("typed_fields"), Weights("typed_fields16", np.float16)
    nodes = [
        helper.make_node("Conv", ["x", *w.conv("c1", (4, 3, 3, 3), True)], ["c1"], name="c1"),
        bn(["c1", *w.norm("n1", 4)], ["n1"], "n1"),
        helper.make_node("Cast", ["n1"], ["half"], name="half", to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", *h.conv("c2", (4, 4, 1, 1), False)], ["c2"], name="c2"),
        bn(["c2", *h.norm("n2", 4)], ["y"], "n2"),
    ]
    typed = []
    for t in w.tensors:
        typed.append(helper.make_tensor(t.name, TensorProto.FLOAT, t.dims, numpy_helper.to_array(t).ravel().tolist()))
    for t in h.tensors:
        u = TensorProto(name=t.name, data_type=TensorProto.FLOAT16, dims=t.dims)
        u.int32_data.extend(numpy_helper.to_array(t).ravel().view(np.uint16).tolist())
        typed.append(u)
    return finish(nodes, "typed_fields", [value("x", [1, 3, 6, 6])], [value("y", [1, 4, 4, 4], TensorProto.FLOAT16)], typed, 17, 8)


def constant_nodes():
    """Parameters from Constant nodes and behind Identity, as exporters that share equal tensors write them."""
    w = Weights("constant_nodes")
    conv, norm = w.conv("c1", (4, 3, 3, 3), False), w.norm("n1", 4)
    nodes = [helper.make_node("Constant", [], [t.name], name=f"k.{t.name}", value=t) for t in w.tensors if not t.name.endswith("scale")]
    scale = [t for t in w.tensors if t.name.endswith("scale")]
    nodes += [
        helper.make_node("Identity", ["n1.scale"], ["n1.scale.again"], name="again"),
        helper.make_node("Conv", ["x", *conv], ["c1"], name="c1", auto_pad="SAME_UPPER", strides=[2, 2]),
        bn(["c1", "n1.scale.again", *norm[1:]], ["n1"], "n1", epsilon=0.01),
        helper.make_node("Conv", ["n1", *w.conv("c2", (4, 1, 3, 3), False)], ["c2"], name="c2", group=4),
        bn(["c2", "n1.scale", *w.norm("n2", 4)[1:]], ["y"], "n2"),
    ]
    late = [t for t in w.tensors if t.name.startswith(("c2", "n2")) and t.name != "n2.scale"]
    return finish(nodes, "constant_nodes", [value("x", [1, 3, 9, 9])], [value("y", [1, 4, 3, 3])], scale + late, 13, 7)


def external(out):
    """Weights in external.bin at aligned offsets; small vectors inline; two tensors without offset or length keys."""
    w = Weights("external")
    nodes = [
        helper.make_node("Conv", ["x", *w.conv("c1", (16, 8, 3, 3), True)], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        bn(["c1", *w.norm("n1", 16)], ["n1"], "n1"),
        helper.make_node("Relu", ["n1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", *w.conv("c2", (8, 16, 1, 1), False)], ["c2"], name="c2"),
        bn(["c2", *w.norm("n2", 8)], ["y"], "n2"),
    ]
    model = finish(nodes, "external", [value("x", [1, 8, 6, 6])], [value("y", [1, 8, 6, 6])], w.tensors, 17, 9)
    data = bytearray()
    for t in model.graph.initializer:
        if not t.name.endswith((".weight", ".var")):
            continue
        raw = t.raw_data
        t.ClearField("raw_data")
        t.data_location = TensorProto.EXTERNAL
        if t.name == "n2.var":  # a file of its own: offset and length may be left out
            (out / "external.n2.bin").write_bytes(raw)
            t.external_data.add(key="location", value="external.n2.bin")
            continue
        data.extend(b"\0" * (-len(data) % 256))
        t.external_data.add(key="location", value="external.bin")
        t.external_data.add(key="offset", value=str(len(data)))
        t.external_data.add(key="length", value=str(len(raw)))
        data += raw
    (out / "external.bin").write_bytes(bytes(data))
    return model


# --- bodies and functions -------------------------------------------------------

def if_captures():
    """An If whose branches hold conv and norm over captured values: weights captured from above (then), constants of
    their own (else), and a norm in a body whose convolution stands outside it."""
    w, inner = Weights("if_captures"), Weights("if_captures.else")
    weight, norm = w.conv("c1", (4, 3, 3, 3), False), w.norm("n1", 4)
    outside, across = w.conv("c0", (3, 3, 1, 1), True), w.norm("n0", 3)
    then = helper.make_graph([
        helper.make_node("Conv", ["x", *weight], ["t.c"], name="t.c"),
        bn(["t.c", *norm], ["t.y"], "t.n"),
    ], "then_body", [], [value("t.y", None)])
    nodes = [
        helper.make_node("Conv", ["c0", *inner.conv("e.c", (4, 3, 3, 3), True)], ["e.c"], name="e.c"),
        bn(["e.c", *inner.norm("e.n", 4)], ["e.y"], "e.n"),
    ]
    orelse = helper.make_graph(nodes, "else_body", [], [value("e.y", None)], initializer=inner.tensors)
    third = helper.make_graph([bn(["c0", *across], ["p.y"], "p.n")], "across_then", [], [value("p.y", None)])
    fourth = helper.make_graph([helper.make_node("Identity", ["c0"], ["q.y"], name="q.i")], "across_else", [], [value("q.y", None)])
    body = [
        helper.make_node("Conv", ["x", *outside], ["c0"], name="c0"),
        helper.make_node("If", ["flag"], ["y"], name="choose", then_branch=then, else_branch=orelse),
        helper.make_node("If", ["flag"], ["z"], name="across", then_branch=third, else_branch=fourth),
    ]
    return finish(body, "if_captures", [value("x", [1, 3, 7, 7]), value("flag", [], TensorProto.BOOL)],
                  [value("y", [1, 4, 5, 5]), value("z", [1, 3, 7, 7])], w.tensors, 16, 8)


def loop_body():
    """A Loop carrying an image through conv and norm; their parameters are captured, the image is loop-carried."""
    w = Weights("loop_body")
    conv, norm = w.conv("c1", (3, 3, 3, 3), True), w.norm("n1", 3)
    trip = numpy_helper.from_array(np.array(3, np.int64), "trip")
    body = helper.make_graph([
        helper.make_node("Identity", ["cond"], ["go"], name="go"),
        helper.make_node("Conv", ["carried", *conv], ["l.c"], name="l.c", pads=[1, 1, 1, 1]),
        bn(["l.c", *norm], ["l.n"], "l.n"),
        helper.make_node("Tanh", ["l.n"], ["l.y"], name="l.t"),
    ], "loop_graph", [value("i", [], TensorProto.INT64), value("cond", [], TensorProto.BOOL), value("carried", [1, 3, 5, 5])],
        [value("go", [], TensorProto.BOOL), value("l.y", [1, 3, 5, 5])])
    nodes = [helper.make_node("Loop", ["trip", "", "x"], ["y"], name="loop", body=body)]
    return finish(nodes, "loop_body", [value("x", [1, 3, 5, 5])], [value("y", [1, 3, 5, 5])], [trip, *w.tensors], 16, 8)


def local_function():
    """A model-local function called twice: one pair inside it is constant, the other's weight is a function input."""
    w = Weights("local_function")
    conv, norm = w.conv("c", (4, 4, 3, 3), False), w.norm("n", 4)
    inner = [helper.make_node("Constant", [], [t.name], name=f"k.{t.name}", value=t) for t in w.tensors]
    inner += [
        helper.make_node("Conv", ["x", *conv], ["c"], name="f.c", pads=[1, 1, 1, 1]),
        bn(["c", *norm], ["m"], "f.n"),
        helper.make_node("Conv", ["m", "w"], ["d"], name="f.d"),
        bn(["d", *norm], ["y"], "f.m"),
    ]
    function = helper.make_function("local", "Block", ["x", "w"], ["y"], inner, [helper.make_opsetid("", 17)])
    outer = Weights("local_function.main")
    one, two = outer.conv("a", (4, 4, 1, 1), False), outer.conv("b", (4, 4, 1, 1), False)
    stem = outer.conv("stem", (4, 3, 1, 1), True)
    nodes = [
        helper.make_node("Conv", ["x", *stem], ["s"], name="stem"),
        bn(["s", *outer.norm("sn", 4)], ["sn"], "sn"),
        helper.make_node("Block", ["sn", *one], ["u"], name="call.a", domain="local"),
        helper.make_node("Relu", ["u"], ["v"], name="relu"),
        helper.make_node("Block", ["v", *two], ["y"], name="call.b", domain="local"),
    ]
    return finish(nodes, "local_function", [value("x", [1, 3, 6, 6])], [value("y", [1, 4, 6, 6])], outer.tensors, 17, 8,
                  domains={"local": 1}, functions=[function])


# --- what has to survive untouched ------------------------------------------------

def custom_domain():
    """A foldable pair beside operators of other domains: one between a conv and a norm, one that is a conv by name."""
    w = Weights("custom_domain")
    nodes = [
        helper.make_node("Conv", ["x", *w.conv("c1", (4, 3, 3, 3), True)], ["c1"], name="c1"),
        bn(["c1", *w.norm("n1", 4)], ["n1"], "n1"),
        helper.make_node("Swirl", ["n1"], ["s"], name="swirl", domain="org.example", turns=2, label="not ours"),
        bn(["s", *w.norm("n2", 4)], ["n2"], "n2"),
        helper.make_node("Conv", ["n2", *w.conv("c3", (4, 4, 1, 1), False)], ["c3"], name="c3", domain="org.example"),
        bn(["c3", *w.norm("n3", 4)], ["y"], "n3"),
    ]
    return finish(nodes, "custom_domain", [value("x", [1, 3, 6, 6])], [value("y", [1, 4, 4, 4])], w.tensors, 17, 8,
                  domains={"org.example": 3, "org.unused": 1})


def annotated():
    """value_info, metadata, doc strings and a quantization annotation on every level; fold of c1/n1 removes one
    annotated value, c2/n2 carries a quantization annotation on the weight."""
    w = Weights("annotated")
    nodes = [
        helper.make_node("Conv", ["x", *w.conv("c1", (4, 3, 3, 3), False)], ["c1"], name="c1", doc_string="first convolution"),
        bn(["c1", *w.norm("n1", 4)], ["n1"], "n1", doc_string="first norm"),
        helper.make_node("Relu", ["n1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", *w.conv("c2", (4, 4, 1, 1), True)], ["c2"], name="c2"),
        bn(["c2", *w.norm("n2", 4)], ["n2"], "n2"),
        helper.make_node("Conv", ["n2", *w.conv("c3", (3, 4, 1, 1), True)], ["c3"], name="c3"),
        bn(["c3", *w.norm("n3", 3)], ["y"], "n3"),
    ]
    for n in nodes:
        n.metadata_props.add(key="layer", value=n.name)
    w.add("c2.weight.scale", np.array([0.01]))
    w.tensors.append(numpy_helper.from_array(np.array([0], np.int8), "c2.weight.zero"))
    info = [value("c1", [1, 4, 4, 4]), value("n1", [1, 4, 4, 4]), value("r1", [1, 4, 4, 4]), value("c2", [1, 4, 4, 4]),
            value("n2", [1, 4, 4, 4]), value("c3", [1, 3, 4, 4])]
    model = finish(nodes, "annotated", [value("x", [1, 3, 6, 6])], [value("y", [1, 3, 4, 4])], w.tensors, 21, 10,
                   value_info=info, doc_string="a graph with a doc string", producer_version="0", domain="org.example.models",
                   model_version=7)
    model.doc_string = "a model with a doc string"
    helper.set_model_props(model, {"author": "nobody", "note": "keep me"})
    model.graph.metadata_props.add(key="graph", value="main")
    model.graph.initializer[0].doc_string = "weights of the first convolution"
    model.graph.value_info[0].metadata_props.add(key="about", value="c1")
    q = model.graph.quantization_annotation.add(tensor_name="c2.weight")
    q.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="c2.weight.scale")
    q.quant_parameter_tensor_names.add(key="ZERO_POINT_TENSOR", value="c2.weight.zero")
    return model


def field(number, payload):
    """One length-delimited protobuf field."""
    def varint(n):
        out = bytearray()
        while n > 0x7F:
            out.append(n & 0x7F | 0x80)
            n >>= 7
        return bytes(out) + bytes([n])
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def unknown_fields():
    """Fields that no released schema knows, at model, graph, node, tensor, attribute and value level."""
    w = Weights("unknown_fields")
    nodes = [
        helper.make_node("Conv", ["x", *w.conv("c1", (4, 3, 3, 3), True)], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        bn(["c1", *w.norm("n1", 4)], ["n1"], "n1"),
        helper.make_node("Relu", ["n1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", *w.conv("c2", (4, 4, 3, 3), False)], ["y"], name="c2"),
    ]
    model = finish(nodes, "unknown_fields", [value("x", [1, 3, 6, 6])], [value("y", [1, 4, 4, 4])], w.tensors, 17, 8)
    for m in (model, model.graph, *model.graph.node, *model.graph.initializer, model.graph.node[0].attribute[0], model.graph.input[0]):
        m.MergeFromString(field(1999, b"from the future") + field(2000, bytes(range(8))))
    return model


# name: (model maker, does the checker's full check accept it)
MODELS = {
    "ir3_inputs": (lambda out: old("ir3_inputs", 9, 3, {}), True),
    "opset6_is_test": (lambda out: old("opset6_is_test", 6, 3, dict(is_test=1)), True),
    "opset6_training": (lambda out: old("opset6_training", 6, 3, dict(is_test=0)), True),
    "opset7": (lambda out: old("opset7", 7, 4, {}), True),
    "opset7_spatial0": (lambda out: opset7_spatial0(), True),
    "opset9_training": (lambda out: old("opset9_training", 9, 4, {}, 4), True),
    "opset14": (lambda out: old("opset14", 14, 7, {}), True),
    "opset14_training": (lambda out: old("opset14_training", 14, 7, dict(training_mode=1)), False),
    "overridable": (lambda out: overridable(), True),
    "typed_fields": (lambda out: typed_fields(), True),
    "constant_nodes": (lambda out: constant_nodes(), True),
    "external": (external, True),
    "if_captures": (lambda out: if_captures(), True),
    "loop_body": (lambda out: loop_body(), True),
    "local_function": (lambda out: local_function(), True),
    "custom_domain": (lambda out: custom_domain(), True),
    "annotated": (lambda out: annotated(), True),
    "unknown_fields": (lambda out: unknown_fields(), True),
}


def make_all(out):
    """Writes every model of this file into `out`, checking those that are meant to be valid."""
    for name, (build, valid) in MODELS.items():
        path = out / f"{name}.onnx"
        path.write_bytes(build(out).SerializeToString(deterministic=True))
        if valid:
            checker.check_model(str(path), full_check=True)
        print(f"{name}.onnx: {path.stat().st_size} bytes")


if __name__ == "__main__":
    make_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
