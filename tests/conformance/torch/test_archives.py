"""What an archive may look like besides: small programs of `tests/models`, other packing, other names, damage."""
import os
import shutil
import subprocess
import zipfile

import pytest
import torch

import harness
import programs
import random_modules
from zoo import B1, B2, Net, chain, data, image

MODELS = sorted((harness.MODELS / "torch").glob("*.pt2"))


def arguments(path):
    """What the program of a file was traced with."""
    args, kwargs = programs.load(path).example_inputs
    return args, kwargs


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_small_models(path, tmp_path):
    args, kwargs = arguments(path)
    programs.judged(path, tmp_path, args, kwargs)
    if "train" not in path.stem:
        programs.usable(tmp_path / "out.pt2", args, kwargs)


@pytest.mark.parametrize("seed", range(int(os.environ.get("NORMFOLD_SEEDS", 16))))
def test_random_modules(seed, tmp_path):
    """As many as NORMFOLD_SEEDS says, every third decomposed."""
    model = programs.weighted(random_modules.Grown(seed), str(seed))
    args = random_modules.arguments(seed)
    program = programs.export(model, args, programs.Form(decompose=seed % 3 == 2))
    path = tmp_path / "model.pt2"
    torch.export.save(program, path)
    programs.judged(path, tmp_path, args)
    harness.opt(path, tmp_path / "simple.pt2", "--passes=simplify")
    programs.same_outputs(path, tmp_path / "simple.pt2", args)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A program with a channels-last weight, a fold into each of its layers, and what came of it."""
    path = harness.MODELS / "torch/net_channels_last.pt2"
    out = tmp_path_factory.mktemp("net") / "out.pt2"
    assert harness.opt(path, out).folded == 3
    return path, out, arguments(path)[0]


def test_members(net):
    """The graph, lists and weights change; everything else has the bytes that it had, pickles first of all."""
    old, new = (programs.members(p) for p in net[:2])
    changed = {n for n in old if old[n] != new.get(n)}
    assert changed and all(n.startswith(("models/", "data/weights/")) for n in changed), changed
    assert all(n.startswith("data/weights/") for n in set(new) - set(old))
    # What torch.export writes and normfold does not have to know.
    graph = programs.document(net[1])
    assert graph["schema_version"] == programs.document(net[0])["schema_version"]
    assert graph.keys() == programs.document(net[0]).keys()


@pytest.mark.parametrize("how", ["packed", "renamed", "both"])
def test_other_packing(net, how, tmp_path):
    """A packed archive, and one whose folder has another name: torch.export loads both, and so does normfold."""
    path, _, args = net
    other = tmp_path / "other.pt2"
    packed = zipfile.ZIP_DEFLATED if how != "renamed" else zipfile.ZIP_STORED
    programs.rezip(path, other, packed, root=None if how == "packed" else "ein Ordner")
    report, _, _ = programs.judged(other, tmp_path, args)
    assert report.folded == 3
    programs.same_outputs(path, tmp_path / "out.pt2", args)


def test_over_the_input(net, tmp_path):
    path, out, _ = net
    here = tmp_path / "model.pt2"
    shutil.copy(path, here)
    harness.opt(here, here)
    assert programs.same_bytes(here, out)


def test_what_is_folded_is_exported_again(net, tmp_path):
    """The module of a folded program is exported anew, saved, and has nothing left to fold."""
    _, out, args = net
    module = programs.load(out).module()
    again = tmp_path / "again.pt2"
    torch.export.save(torch.export.export(module, args), again)
    programs.same_outputs(out, again, args)
    report = harness.opt(again, tmp_path / "out.pt2")
    assert (report.total, report.folded) == (0, 0)


def test_state_of_what_is_folded(net):
    """Convolutions have their bias under its name, and batch norms are gone with all that is theirs."""
    old, new = (programs.load(p).state_dict for p in net[:2])
    assert set(new) == {"stem.0.weight", "stem.0.bias", "same.weight", "same.bias", "fc.weight", "fc.bias"}
    assert set(new) - set(old) == {"stem.0.bias", "fc.bias"}
    # Weights lie in memory as they did.
    assert new["stem.0.weight"].stride() == old["stem.0.weight"].stride()
    assert all(isinstance(p, torch.nn.Parameter) and p.requires_grad for p in new.values())


def test_memory_that_an_op_looks_at(tmp_path):
    """`as_strided` reads memory and not elements: no fold may lay them out otherwise before it."""
    m = Net(lambda s, x: s.norm(s.fc(x).transpose(1, 2)).as_strided((3, 4), (7, 1)), fc=torch.nn.Linear(6, 4), norm=B1(4))
    path = tmp_path / "model.pt2"
    torch.export.save(programs.export(programs.weighted(m, "strided"), (data(2, 5, 6),)), path)
    done = harness.run("opt", path, "-o", tmp_path / "out.pt2")
    assert done.returncode not in (0, 101) and "as_strided" in done.stderr, done
    assert not (tmp_path / "out.pt2").exists()
    # Of what is row-major either way it is the same memory.
    m = Net(lambda s, x: s.norm(s.fc(x)).as_strided((3, 2), (4, 1)), fc=torch.nn.Linear(6, 4), norm=B1(4))
    torch.export.save(programs.export(programs.weighted(m, "row-major"), (data(5, 6),)), path)
    report, _, _ = programs.judged(path, tmp_path, (data(5, 6),))
    assert report.folded == 1


def test_views_stay_views_where_they_can(tmp_path):
    """Nodes are called what they were called; only where the order of elements is another a view becomes a reshape."""
    m = chain(torch.nn.Conv2d(3, 4, 1), B2(4), torch.nn.ReLU())
    net = Net(lambda s, x: s.block(x).view(2, -1), block=m)
    path = tmp_path / "model.pt2"
    torch.export.save(programs.export(programs.weighted(net, "view"), (image(),)), path)
    programs.judged(path, tmp_path, (image(),))
    targets = [n["target"] for n in programs.document(tmp_path / "out.pt2")["graph_module"]["graph"]["nodes"]]
    assert "torch.ops.aten.view.default" in targets and "torch.ops.aten.reshape.default" not in targets


def test_big_endian_weights_are_refused(net, tmp_path):
    other = tmp_path / "other.pt2"
    programs.rezip(net[0], other, edit=lambda name, data: b"big" if name == "byteorder" else data)
    done = harness.run("opt", other, "-o", tmp_path / "out.pt2")
    assert done.returncode not in (0, 101) and "big-endian" in done.stderr


@pytest.mark.parametrize("what", ["state dict", "module", "TorchScript", "flat archive"])
def test_what_is_no_program(what, tmp_path):
    """Each says what it is, and nothing is opened that is a pickle."""
    path = tmp_path / "model.pt2"
    module = chain(torch.nn.Conv2d(3, 4, 1), B2(4)).eval()
    if what == "state dict":
        torch.save(module.state_dict(), path)
    elif what == "module":
        torch.save(module, path)
    elif what == "TorchScript":
        torch.jit.save(torch.jit.trace(module, image()), str(path))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("serialized_exported_program.json", "{}")
    done = harness.run("opt", path, "-o", tmp_path / "out.pt2")
    assert done.returncode not in (0, 101) and done.stderr.startswith("error: ") and "PyTorch" in done.stderr, done
    assert not (tmp_path / "out.pt2").exists()


@pytest.mark.parametrize("part", [0.2, 0.6, 0.98])
def test_a_file_that_is_cut_short_is_refused(net, part, tmp_path):
    data = net[0].read_bytes()
    path = tmp_path / "cut.pt2"
    path.write_bytes(data[:int(len(data) * part)])
    done = harness.run("opt", path, "-o", tmp_path / "out.pt2")
    assert done.returncode not in (0, 101) and done.stderr.startswith("error: "), done
    assert not (tmp_path / "out.pt2").exists()


def test_without_python(net, tmp_path):
    """The binary needs nothing of PyTorch's at hand."""
    done = subprocess.run([harness.binary(), "opt", net[0], "-o", tmp_path / "out.pt2"], env={}, capture_output=True)
    assert done.returncode == 0 and programs.same_bytes(tmp_path / "out.pt2", net[1]), done.stderr
