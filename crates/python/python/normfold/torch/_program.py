"""Programs written by running a graph of ``torch.fx``: for modules that ``torch.export`` cannot trace.

The archive has the form of ``torch.export.save``, with what the reader needs. The graph is run on real tensors, so types
and shapes are those of the run, and what each call does to memory is seen, not assumed: whether it overwrites what it
reads, whether its results are views.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from . import _layers

# `schema.ScalarType` of torch.export.
_CODES = {
    torch.uint8: 1, torch.int8: 2, torch.int16: 3, torch.int32: 4, torch.int64: 5, torch.float16: 6, torch.float32: 7,
    torch.float64: 8, torch.complex64: 10, torch.complex128: 11, torch.bool: 12, torch.bfloat16: 13,
}  # fmt: skip


def _ints(values: Any) -> dict[str, Any]:
    return {"as_ints": [int(v) for v in values]}


def _mention(name: str) -> dict[str, Any]:
    return {"as_tensor": {"name": name}}


def _meta(tensor: torch.Tensor) -> dict[str, Any]:
    contiguous = torch.empty(tensor.shape, device="meta").stride()
    return {
        "dtype": _CODES[tensor.dtype],
        "sizes": [{"as_int": n} for n in tensor.shape],
        "strides": [{"as_int": n} for n in contiguous],
        "storage_offset": {"as_int": 0},
        "requires_grad": False,
        "layout": 7,
        "device": {"type": "cpu", "index": None},
    }


class Recorder(fx.Interpreter):
    """Runs a traced module and writes down what it does."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self._names: dict[int, str] = {}
        self._alive: list[torch.Tensor] = []
        self._values: dict[str, torch.Tensor] = {}
        self._weights: dict[str, tuple[str, torch.Tensor, bool]] = {}
        self._inputs: list[str] = []
        self._nodes: list[dict[str, Any]] = []

    @classmethod
    def record(cls, module: fx.GraphModule, arguments: tuple[Any, ...]) -> bytes:
        """The archive of what a traced module computes from arguments."""
        recorder = cls(module)
        with torch.no_grad():
            # What the code overwrites are not the caller's tensors.
            own = pytree.tree_map(lambda v: v.detach().clone() if isinstance(v, torch.Tensor) else v, arguments)
            results = recorder.run(*own, enable_io_processing=False)
        for value in pytree.tree_leaves(results):
            if not isinstance(value, (torch.Tensor, int, float, complex, str, bytes, type(None))):
                raise TypeError(f"a result of type {type(value).__name__} cannot be looked into")
        return recorder._archive([t for t in pytree.tree_leaves(results) if isinstance(t, torch.Tensor)])

    # What values are called.

    def _name(self, tensor: torch.Tensor, wanted: str) -> str:
        """The name of a tensor, which it gets if it has none."""
        if id(tensor) not in self._names:
            name, n = wanted, 0
            while name in self._values:
                n += 1
                name = f"{wanted}_{n}"
            self._names[id(tensor)] = name
            self._values[name] = tensor
            # A number of an object is its own as long as the object lives.
            self._alive.append(tensor)
        return self._names[id(tensor)]

    def _weight(self, qualified: str, tensor: torch.Tensor) -> str:
        name = self._name(tensor, "p_" + "".join(c if c.isalnum() else "_" for c in qualified))
        if not any(n == name for n, _, _ in self._weights.values()):
            self._weights[qualified] = (name, tensor, isinstance(tensor, nn.Parameter))
        return name

    # Running.

    def placeholder(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().placeholder(target, args, kwargs)
        for tensor in pytree.tree_leaves(value):
            if isinstance(tensor, torch.Tensor):
                name = self._name(tensor, "x_" + str(target))
                if name not in self._inputs:
                    self._inputs.append(name)
        return value

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        if isinstance(value, torch.Tensor):
            self._weight(str(target), value)
        return value

    def run_node(self, n: fx.Node) -> Any:
        if not n.op.startswith("call_"):
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        read = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        versions = [t._version for t in read]
        # Code that is not PyTorch's may write without telling.
        foreign = [] if _is_torch(self.module, n) else read
        copies = [t.clone() for t in foreign]
        names = [self._name(t, "c_" + n.name) for t in read]
        result = super().run_node(n)
        results = [t for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor)]
        written = [t for t, v in zip(read, versions, strict=True) if t._version != v]
        written += [t for t, c in zip(foreign, copies, strict=True) if not _same(t, c) and not any(t is w for w in written)]
        if len(written) == 1 and len(results) == 1 and results[0] is written[0]:
            # As `relu_`: what it overwrites is its result, which has another name from here on.
            order = sorted(zip(read, names, strict=True), key=lambda r: r[0] is not written[0])
            del self._names[id(written[0])]
            target, reads = self._overwriting(n), [name for _, name in order]
            if target is not None and len(reads) == 1:
                self._call(n, target, [("self", _mention(reads[0]))], results)
            else:
                self._call(n, "torch.ops.normfold.value_.default", self._reads(reads), results)
            return result
        new = [t for t in results if id(t) not in self._names]
        # What is no tensor may hold anything that was read: it is seen by whoever gets it.
        other = any(not isinstance(v, torch.Tensor) and v is not None for v in pytree.tree_leaves(result))
        if other and read and not _asks_for_shape(n):
            self._call(n, "torch.ops.normfold.call.default", self._reads(names), new or [torch.empty(0)])
            return result
        if not new and not written:
            # A part of a tuple, or what went in.
            return result
        if written:
            # Nothing is known of it but what it reads, and that that is not what it was.
            self._call(n, "torch.ops.normfold.call.default", self._reads(names), new or [torch.empty(0)])
            return result
        read_storages = {t.untyped_storage().data_ptr() for t in read}
        views = any(t.untyped_storage().data_ptr() in read_storages for t in new)
        known = None if views or len(new) != 1 else self._known(n, args, kwargs)
        if known is not None:
            self._call(n, known[0], known[1], new)
        else:
            target = f"torch.ops.normfold.{'view' if views else 'value'}.default"
            self._call(n, target, self._reads(names), new)
        return result

    @staticmethod
    def _reads(names: list[str]) -> list[tuple[str, dict[str, Any]]]:
        return [(f"arg{i}", _mention(name)) for i, name in enumerate(names)]

    def _call(self, n: fx.Node, target: str, inputs: list[tuple[str, dict[str, Any]]], results: list[torch.Tensor]) -> None:
        named = [self._name(t, n.name) for t in results]
        metadata = {}
        if n.op == "call_module":
            kind = type(self.module.get_submodule(str(n.target)))
            metadata["nn_module_stack"] = f"{n.target},{n.target},{kind.__module__}.{kind.__qualname__}"
        self._nodes.append({
            "target": target,
            "name": n.name,
            "inputs": [{"name": name, "arg": value, "kind": 1} for name, value in inputs],
            "outputs": [_mention(name) for name in named],
            "metadata": metadata,
        })

    # Calls whose meaning is known, as ops of ATen.

    def _known(self, n: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, list[Any]] | None:
        if n.op == "call_module" and len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor):
            return self._module(str(n.target), self._names[id(args[0])])
        if n.op == "call_function" and n.target in _SUMS and len(args) == 2 and not kwargs:
            a, b = args
            if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
                inputs = [("self", _mention(self._names[id(a)])), ("other", _mention(self._names[id(b)]))]
                return _SUMS[n.target], inputs
        return None

    def _overwriting(self, n: fx.Node) -> str | None:
        """The op of ATen that an activation in place is, of those with no further arguments."""
        if n.op == "call_module":
            name = _ACTIVATIONS.get(type(self.module.get_submodule(str(n.target))))
        elif n.op == "call_method":
            name = str(n.target).rstrip("_")
        else:
            name = getattr(n.target, "__name__", "").rstrip("_")
        return f"torch.ops.aten.{name}_.default" if name in _ACTIVATIONS.values() else None

    def _module(self, name: str, x: str) -> tuple[str, list[Any]] | None:
        module = self.module.get_submodule(name)
        if module._forward_hooks or module._forward_pre_hooks:
            # Hooks may change what goes in and comes out.
            return None

        def own(last: str) -> dict[str, Any]:
            tensor = getattr(module, last)
            return {"as_none": True} if tensor is None else _mention(self._weight(f"{name}.{last}", tensor))

        first = ("input", _mention(x))
        if type(module) is nn.ReLU:
            return "torch.ops.aten.relu.default", [("self", _mention(x))]
        if _layers.is_norm(module) and isinstance(module, _layers.NORMS) and type(module).forward is nn.modules.batchnorm._BatchNorm.forward:
            trains = module.training or module.running_mean is None
            return "torch.ops.aten.batch_norm.default", [
                first, *((k, own(k)) for k in ("weight", "bias", "running_mean", "running_var")),
                ("training", {"as_bool": trains}), ("momentum", {"as_float": 0.1}), ("eps", {"as_float": module.eps}),
                ("cudnn_enabled", {"as_bool": False}),
            ]  # fmt: skip
        if not _layers.is_linear(module):
            return None
        inputs = [first, ("weight", own("weight")), ("bias", own("bias"))]
        if isinstance(module, nn.Linear):
            return "torch.ops.aten.linear.default", inputs
        # A call with an output size, or of a subclass that does more, has no such form.
        if module.padding_mode != "zeros" or type(module) not in _layers.LINEAR:
            return None
        spatial = len(module.kernel_size)
        stride, dilation, groups = ("stride", _ints(module.stride)), ("dilation", _ints(module.dilation)), ("groups", {"as_int": module.groups})
        if module.transposed:
            overload = "default" if spatial == 1 else "input"
            padding, output = ("padding", _ints(module.padding)), ("output_padding", _ints(module.output_padding))
            return f"torch.ops.aten.conv_transpose{spatial}d.{overload}", [*inputs, stride, padding, output, groups, dilation]
        if isinstance(module.padding, str):
            padding, overload = ("padding", {"as_string": module.padding}), "padding"
        else:
            padding, overload = ("padding", _ints(module.padding)), "default"
        return f"torch.ops.aten.conv{spatial}d.{overload}", [*inputs, stride, padding, dilation, groups]

    # The archive.

    def _archive(self, results: list[torch.Tensor]) -> bytes:
        outputs = [self._name(t, "result") for t in results]
        inputs: list[dict[str, Any]] = []
        specs: list[dict[str, Any]] = []
        for qualified, (name, _, parameter) in self._weights.items():
            inputs.append(_mention(name))
            if parameter:
                specs.append({"parameter": {"arg": {"name": name}, "parameter_name": qualified}})
            else:
                specs.append({"buffer": {"arg": {"name": name}, "buffer_name": qualified, "persistent": True}})
        known = {name for name, _, _ in self._weights.values()} | {r["as_tensor"]["name"] for n in self._nodes for r in n["outputs"]}
        # What the code holds without a name of the module's is passed in.
        for name in dict.fromkeys([*self._inputs, *self._values]):
            if name not in known:
                inputs.append(_mention(name))
                specs.append({"user_input": {"arg": _mention(name)}})
        program = {
            "graph_module": {
                "graph": {
                    "inputs": inputs,
                    "outputs": [_mention(name) for name in outputs],
                    "nodes": self._nodes,
                    "tensor_values": {name: _meta(t) for name, t in self._values.items() if t.dtype in _CODES},
                },
                "signature": {
                    "input_specs": specs,
                    "output_specs": [{"user_output": {"arg": _mention(name)}} for name in outputs],
                },
            },
            "schema_version": {"major": 8, "minor": 0},
        }
        config: dict[str, Any] = {}
        members: dict[str, bytes] = {}
        for i, (qualified, (_, tensor, parameter)) in enumerate(self._weights.items()):
            file = f"weight_{i}"
            members[f"data/weights/{file}"] = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            config[qualified] = {"path_name": file, "is_param": parameter, "use_pickle": False, "tensor_meta": _meta(tensor)}
        members["models/model.json"] = json.dumps(program).encode()
        members["data/weights/model_weights_config.json"] = json.dumps({"config": config}).encode()
        members |= {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as z:
            for name, data in members.items():
                z.writestr(f"module/{name}", data)
        return archive.getvalue()


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.is_floating_point() or a.is_complex():
        return bool(torch.allclose(a, b, rtol=0, atol=0, equal_nan=True))
    return bool(torch.equal(a, b))


def _asks_for_shape(n: fx.Node) -> bool:
    """Whether a call reads the shape or the type of a tensor and nothing else."""
    if n.op == "call_method":
        return n.target in ("size", "dim", "ndimension", "numel", "nelement", "stride", "is_floating_point", "get_device")
    if n.op == "call_function" and n.target is getattr:
        return len(n.args) > 1 and n.args[1] in ("shape", "dtype", "device", "ndim", "is_cuda", "requires_grad", "layout")
    return False


def _is_torch(module: nn.Module, n: fx.Node) -> bool:
    """Whether the code that a call runs is PyTorch's."""
    if n.op == "call_module":
        return type(module.get_submodule(str(n.target))).__module__.startswith("torch.nn.")
    if n.op == "call_method":
        return True
    owner = getattr(n.target, "__module__", None) or ""
    return owner in ("_operator", "math") or owner == "torch" or owner.startswith(("torch.nn.", "torch._C"))


_ACTIVATIONS = {nn.ReLU: "relu", nn.SiLU: "silu", nn.Hardswish: "hardswish", nn.Hardsigmoid: "hardsigmoid", nn.Mish: "mish"}


def _sums() -> dict[Any, str]:
    import operator

    return {
        operator.add: "torch.ops.aten.add.Tensor",
        torch.add: "torch.ops.aten.add.Tensor",
        operator.sub: "torch.ops.aten.sub.Tensor",
        operator.mul: "torch.ops.aten.mul.Tensor",
    }


_SUMS = _sums()
