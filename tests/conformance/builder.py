"""A small model builder for the generated legality cases."""
import json
import zlib
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DTYPES = {"f32": (np.dtype(np.float32), TensorProto.FLOAT), "f16": (np.dtype(np.float16), TensorProto.FLOAT16),
          "f64": (np.dtype(np.float64), TensorProto.DOUBLE), "bf16": (np.dtype(ml_dtypes.bfloat16), TensorProto.BFLOAT16)}

# The IR version a file of each opset came with; below 4 every initializer is a graph input too.
IR_OF_OPSET = {6: 3, 7: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10}


@dataclass(frozen=True)
class Linear:
    """One kind of linear layer: data shape, weight shape and what the batch norm behind it sees."""
    op: str
    x: tuple
    w: tuple
    channels: int
    attrs: dict = field(default_factory=dict)
    c: tuple | None = None      # Gemm's C; None: the bias vector
    weight_first: bool = False  # MatMul with the constant on the left

    @property
    def has_bias(self):
        return self.op != "MatMul"


class Builder:
    """Collects nodes and tensors of one graph. Weights are seeded by the model's name."""

    def __init__(self, name, opset=17, dtype="f32", ir=None):
        self.name, self.opset = name, opset
        self.np, self.onnx = DTYPES[dtype]
        self.ir = IR_OF_OPSET[opset] if ir is None else ir
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.nodes, self.tensors, self.inputs, self.outputs = [], [], [], []
        self.value_info, self.domains, self.count = [], {}, 0
        self.edit = []  # callables on the finished ModelProto

    def fresh(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    def tensor(self, array, name=None, dtype=None):
        name = name or self.fresh("t")
        self.tensors.append(numpy_helper.from_array(np.asarray(array).astype(dtype or self.np), name))
        return name

    def node(self, op, inputs, outputs=1, domain="", name=None, **attrs):
        """Adds a node; returns its output name (a list of them when there are several)."""
        outs = [self.fresh(op.lower()) for _ in range(outputs)] if isinstance(outputs, int) else outputs
        self.nodes.append(helper.make_node(op, inputs, outs, name=name or self.fresh("n_"), domain=domain, **attrs))
        if domain:
            self.domains[domain] = 1
        return outs[0] if len(outs) == 1 else outs

    def input(self, name, shape, onnx_type=None, feed=None):
        """A graph input; `feed` fixes its value (the harness reads it from the model's metadata)."""
        if feed is not None:
            self.edit.append(lambda model: model.metadata_props.add(key=f"feed:{name}", value=json.dumps(feed)))
        self.inputs.append(helper.make_tensor_value_info(name, onnx_type or self.onnx, shape))
        return name

    def output(self, name, onnx_type=None, shape=None):
        self.outputs.append(helper.make_tensor_value_info(name, onnx_type or self.onnx, shape))
        return name

    def weight(self, lin, name=None, dtype=None):
        fan = int(np.prod(lin.w)) / lin.channels
        return self.tensor(self.rng.normal(0, 1 / np.sqrt(fan), lin.w), name, dtype)

    def bias(self, lin, name=None):
        return self.tensor(self.rng.normal(0, 0.3, lin.channels if lin.c is None else lin.c), name)

    def linear(self, lin, x, bias=True, w=None, c=None, domain=""):
        """The layer on `x`, with given operands or fresh ones."""
        w = w or self.weight(lin)
        ins = [w, x] if lin.weight_first else [x, w]
        if lin.has_bias and (c or bias):
            ins.append(c or self.bias(lin))
        return self.node(lin.op, ins, 1, domain, **lin.attrs)

    def params(self, channels, dtype=None, **given):
        """scale, B, mean, var; `given` replaces some by arrays or by names."""
        r, out = self.rng, []
        sign = np.where(np.arange(channels) % 5 == 3, -1, 1)
        for key, fresh in (("scale", r.uniform(0.5, 1.5, channels) * sign), ("bias", r.normal(0, 0.3, channels)),
                           ("mean", r.normal(0, 0.5, channels)), ("var", r.uniform(0.3, 2, channels))):
            v = given.get(key, fresh)
            out.append(v if isinstance(v, str) else self.tensor(v, self.fresh(f"{key}_"), dtype))
        return out

    def norm(self, x, channels, params=None, outputs=1, domain="", **attrs):
        if self.opset <= 6:
            attrs.setdefault("is_test", 1)
        return self.node("BatchNormalization", [x, *(params or self.params(channels))], outputs, domain, **attrs)

    def model(self):
        inputs = list(self.inputs)
        if self.ir < 4:
            named = {v.name for v in inputs}
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.tensors if t.name not in named]
        graph = helper.make_graph(self.nodes, "g", inputs, self.outputs, initializer=self.tensors, value_info=self.value_info)
        imports = [helper.make_opsetid("", self.opset)] + [helper.make_opsetid(d, v) for d, v in self.domains.items()]
        model = helper.make_model(graph, opset_imports=imports, ir_version=self.ir, producer_name="normfold-tests")
        known = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.output}
        for v in model.graph.output:  # the checker wants a shape on every output
            v.CopyFrom(known[v.name])
            v.type.tensor_type.shape.SetInParent()
        for change in self.edit:
            change(model)
        return model


def save(model, path):
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def overridable(b, name):
    """Lists an initializer among the graph's inputs (IR >= 4: a caller may then override it)."""
    t = next(t for t in b.tensors if t.name == name)
    b.input(name, list(t.dims), t.data_type)


def annotate(value_name):
    """Adds a quantization annotation for one value."""
    def change(model):
        q = model.graph.quantization_annotation.add(tensor_name=value_name)
        q.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="q_scale")
    return change


def bind(kind, tensor_name):
    """Makes a tensor training state: the target of an update or initialization binding."""
    def change(model):
        info = model.training_info.add()
        info.algorithm.name = "step"
        info.algorithm.node.append(helper.make_node("Identity", [tensor_name], ["next_state"]))
        info.algorithm.output.append(helper.make_tensor_value_info("next_state", TensorProto.FLOAT, None))
        getattr(info, kind).add(key=tensor_name, value="next_state")
    return change
