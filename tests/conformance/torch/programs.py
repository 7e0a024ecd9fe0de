"""PyTorch programs: exporting modules, loading what normfold wrote, running both."""
import copy
import importlib.util
import json
import warnings
import zipfile
import zlib
from dataclasses import dataclass

import torch

import harness

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

# Largest allowed difference over the largest output, by the narrowest float type that a program computes in.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}

_spec = importlib.util.spec_from_file_location("torch_models", harness.MODELS / "torch/make.py")
small = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small)


@dataclass
class Form:
    """How a module becomes a program."""
    decompose: bool = False
    train: bool = False
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    dynamic: object = None
    preserve: tuple = ()


def seed_of(name):
    return zlib.crc32(name.encode())


def weighted(model, name):
    """The module with weights and statistics of some size, from a seed that the name gives."""
    small.randomise(model, seed_of(name))
    return model


def export(model, args, form=Form()):
    """A program of a module. Its data is that of the form, too."""
    model = model.train(form.train).to(form.dtype)
    if form.channels_last:
        model = model.to(memory_format=torch.channels_last)
    args = cast(args, form.dtype)
    program = torch.export.export(model, args, dynamic_shapes=form.dynamic, preserve_module_call_signature=form.preserve)
    return program.run_decompositions() if form.decompose else program


def cast(value, dtype):
    """What is passed, its floats of another type."""
    def one(leaf):
        return leaf.to(dtype) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf
    return torch.utils._pytree.tree_map(one, value)


def load(path):
    return torch.export.load(path)


def again(value, seed):
    """Other data of the same shapes and types."""
    random = torch.Generator().manual_seed(seed)

    def one(leaf):
        if not isinstance(leaf, torch.Tensor) or not leaf.is_floating_point():
            return leaf
        return torch.randn(leaf.shape, generator=random, dtype=torch.float64).to(leaf.dtype)
    return torch.utils._pytree.tree_map(one, value)


def outputs(module, args, kwargs=None):
    """What a module gives, and what it leaves of its arguments, on a copy of them, as arrays."""
    args, kwargs = copy.deepcopy((args, kwargs or {}))
    with torch.no_grad():
        given = module(*args, **kwargs)
    leaves = torch.utils._pytree.tree_leaves((given, args, kwargs))
    return [leaf.detach() for leaf in leaves if isinstance(leaf, torch.Tensor)]


def difference(before, after):
    """The largest difference, each output relative to its own largest value."""
    assert len(before) == len(after), f"{len(before)} outputs became {len(after)}"
    worst = 0.0
    for a, b in zip(before, after):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{a.dtype} {a.shape} became {b.dtype} {b.shape}"
        wide = (lambda t: t.double()) if a.is_floating_point() else (lambda t: t)
        worst = max(worst, harness.difference(wide(a).numpy(), wide(b).numpy()))
    return worst


def tolerance(program):
    """By the narrowest type of a value that the program mentions."""
    types = {node.meta["val"].dtype for node in program.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)}
    # What comes out of an op for several results, or of a graph inside, is not narrower here.
    return max(TOLERANCE.get(t, 0.0) for t in types | {torch.float64})


def same_outputs(before, after, args, kwargs=None):
    """Programs of two files compute the same, on what they were traced with and on other data."""
    before, after = load(before), load(after)
    a, b = before.module(), after.module()
    worst = 0.0
    for seed in range(2):
        given = (args, kwargs or {}) if seed == 0 else again((args, kwargs or {}), seed)
        worst = max(worst, difference(outputs(a, *given), outputs(b, *given)))
    assert worst <= tolerance(before), worst
    return worst


def same_bytes(a, b):
    return a.read_bytes() == b.read_bytes()


def members(path):
    """The members of an archive without the folder that all of them are in."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}


def document(path):
    """The JSON of the program."""
    found = members(path)
    name, = (n for n in found if n.startswith("models/") and n.endswith(".json"))
    return json.loads(found[name])


def rezip(path, to, compression=zipfile.ZIP_STORED, root=None, edit=None):
    """The archive written by zipfile: compressed, under another folder, or with members edited."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w", compression) as new:
        for name in old.namelist():
            folder, rest = name.split("/", 1)
            data = old.read(name)
            if edit is not None:
                data = edit(rest, data)
            if data is not None:
                new.writestr(f"{root or folder}/{rest}", data)


def judged(path, folder, args, kwargs=None, passes=None):
    """A program of a file after a run of normfold on it: its report and the folded program. Everything that has to hold of any
    run is looked at: bytes without a pass, a second run, loading, outputs, what is left of the state, decomposing, saving again."""
    same, out, second = (folder / name for name in ("same.pt2", "out.pt2", "second.pt2"))
    harness.copy(path, same)
    assert same_bytes(path, same), "without a pass it is not what it was"
    told = [] if passes is None else [f"--passes={passes}"]
    report = harness.opt(path, out, *told)
    harness.opt(out, second, *told)
    assert same_bytes(out, second), "a second run changed something"
    same_outputs(path, out, args, kwargs)
    before, after = load(path), load(out)
    state(before, after, report)
    return report, before, after


def state(before, after, report):
    """What is left of the state: nothing but the parameters of norms goes unless no node reads it, and what is new is a bias of
    a layer, or a copy of what was shared."""
    old, new = before.state_dict, after.state_dict
    read = {spec.target for spec in after.graph_signature.input_specs if spec.target is not None}
    assert set(new) <= read, set(new) - read
    for name in set(new) - set(old) - set(before.constants):
        assert name.rsplit(".", 1)[-1].startswith("bias") or name.rsplit("_", 1)[0] in {*old, *before.constants}, name
    if report.folded + report.chains["folded"] == 0:
        assert set(new) <= set(old), set(new) - set(old)
    for name in set(new) & set(old):
        a, b = old[name], new[name]
        assert (a.shape, a.dtype, a.requires_grad, type(a)) == (b.shape, b.dtype, b.requires_grad, type(b)), name


def usable(path, args, kwargs=None):
    """A folded program can be decomposed, which computes the same."""
    after, decomposed = load(path), load(path).run_decompositions()
    assert difference(outputs(after.module(), args, kwargs), outputs(decomposed.module(), args, kwargs)) <= tolerance(after)
