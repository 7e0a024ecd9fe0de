"""What normfold writes of Keras models: the same bytes without a pass; after the default pipeline a model that the same
generation of Keras loads, and that computes what it computed."""
import collections
import json
import os
import shutil
import zipfile

import h5py
import numpy as np
import pytest

import containers
import models
import random_models

FILES = [(generation, name, container) for name, case in models.CASES.items() for generation in case.generations
         for container in containers.CONTAINERS[generation] if (generation, container) not in case.without]

@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The files of a case, written once per generation: (paths by container, inputs, outputs, outputs without norms)."""
    known = {}

    def make(generation, name):
        if (generation, name) not in known:
            folder = tmp_path_factory.mktemp(f"{name}{generation}")
            K = containers.module(generation)
            model, inputs = models.made(K, name)
            before = containers.predict(model, inputs)
            bare = models.without_norms(K, model, inputs)
            paths = {c: containers.save(model, generation, c, folder / name) for c in containers.CONTAINERS[generation]}
            known[generation, name] = paths, inputs, before, bare
        return known[generation, name]
    return make


def agree(reasons, kept):
    """Whether the reasons are those expected, of which alternatives are parted by `|`."""
    told = collections.Counter(reasons)
    for codes, n in kept.items():
        for code in codes.split("|"):
            taken = min(n, told[code])
            told[code] -= taken
            n -= taken
        if n:
            return False
    return not +told


@pytest.mark.parametrize("generation,name,container", FILES)
def test_without_a_pass_the_files_are_what_they_were(generation, name, container, made, tmp_path):
    path, weights = made(generation, name)[0][container]
    to, report = containers.opt(path, weights, tmp_path, "--passes=")
    for a, b in zip((path, weights), to):
        assert a is None or a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("generation,name,container", FILES)
def test_folded_models_load_and_compute_the_same(generation, name, container, made, tmp_path):
    case = models.CASES[name]
    paths, inputs, before, bare = made(generation, name)
    assert containers.difference(before, bare) > max(10 * case.tolerance, 1e-2), "the outputs do not depend on the norms"
    path, weights = paths[container]
    to, report = containers.opt(path, weights, tmp_path)
    norms = report["batch_norms"]
    keeps = case.keeps
    if (generation, container) in case.unseen:
        keeps = {"unknown-channels": sum(keeps.values())}
    assert (norms["folded"], agree(norms["reasons"], keeps)) == (case.folds, True), norms
    if (generation, container) in case.unloadable:
        with pytest.raises(Exception):
            containers.load(generation, path, weights)
        return
    model = containers.load(generation, *to)
    left = sum(type(layer).__name__ == "BatchNormalization" for layer in containers.layers_of(model))
    assert left == sum(case.keeps.values())
    after = containers.predict(model, inputs)
    assert containers.difference(before, after) <= case.tolerance

    again = tmp_path / "again"
    again.mkdir()
    second, report = containers.opt(*to, again)
    assert report["batch_norms"]["folded"] == 0
    for a, b in zip(to, second):
        assert a is None or a.read_bytes() == b.read_bytes()

    # Keras reads what it writes of it.
    resaved = containers.save(model, generation, container, tmp_path / "resaved")
    assert containers.difference(after, containers.predict(containers.load(generation, *resaved), inputs)) == 0


@pytest.mark.parametrize("seed", range(int(os.environ.get("NORMFOLD_SEEDS", 12))))
@pytest.mark.parametrize("generation", [3, 2])
def test_random_models_compute_the_same(generation, seed, tmp_path):
    """As many as NORMFOLD_SEEDS says, in every container that Keras itself can load."""
    K = containers.module(generation)
    K.backend.clear_session()
    model = random_models.build(K, seed)
    inputs = models.weighted(K, model, seed)
    before = containers.predict(model, inputs)
    for container in containers.CONTAINERS[generation]:
        path, weights = containers.save(model, generation, container, tmp_path / "model")
        folder = tmp_path / container
        folder.mkdir()
        to, report = containers.opt(path, weights, folder)
        norms = report["batch_norms"]
        if (generation, container) == (3, "h5"):
            try:
                containers.load(generation, path, weights)
            except ValueError:  # Keras 3 writes functions into this container and does not read them
                continue
        loaded = containers.load(generation, *to)
        assert containers.difference(before, containers.predict(loaded, inputs)) <= 1e-5, (container, norms)


@pytest.mark.parametrize("generation", [3, 2])
@pytest.mark.parametrize("container", ["keras", "h5"])
def test_compiled_models_stay_compiled(generation, container, made, tmp_path):
    """The state of the optimizer goes, which is said; what was compiled stays, and training goes on from there."""
    paths, inputs, before, _ = made(generation, "trained")
    to, report = containers.opt(*paths[container], tmp_path)
    assert any("optimizer" in note for note in report["notes"]), report["notes"]
    model = containers.module(generation).models.load_model(to[0])
    assert containers.difference(before, containers.predict(model, inputs)) <= 1e-5
    assert model.optimizer is not None
    target = np.zeros(before[0].shape, "f4")
    assert np.isfinite(model.train_on_batch(inputs[0], target))


@pytest.mark.parametrize("container", ["h5", "weights"])
def test_the_first_layer_may_state_the_input(container, tmp_path):
    """Old Sequential models have no input layer: where the layer that states the shape goes, the next one states it."""
    K = containers.module(2)
    L = K.layers
    model = K.Sequential([L.BatchNormalization(input_shape=(6, 6, 3)), L.Conv2D(4, 3), L.ReLU(), L.BatchNormalization()])
    inputs = models.weighted(K, model, 5)
    before = containers.predict(model, inputs)
    path, weights = containers.save(model, 2, container, tmp_path / "model")

    def bare(text):
        config = json.loads(text)
        layers = config["config"]["layers"]
        assert layers.pop(0)["class_name"] == "InputLayer" and layers[0]["config"]["batch_input_shape"]
        return json.dumps(config)
    if weights is None:
        with h5py.File(path, "r+") as f:
            f.attrs["model_config"] = bare(f.attrs["model_config"])
    else:
        path.write_text(bare(path.read_text()))
    assert containers.difference(before, containers.predict(containers.load(2, path, weights), inputs)) == 0
    (tmp_path / "out").mkdir()
    to, report = containers.opt(path, weights, tmp_path / "out")
    assert report["batch_norms"]["folded"] == 1, report["batch_norms"]
    assert containers.difference(before, containers.predict(containers.load(2, *to), inputs)) <= 1e-5


@pytest.mark.parametrize("generation", [3, 2])
def test_what_ends_a_mask_stays(generation, tmp_path):
    """Layers that leave every element where it is still keep the mask of what they read from their readers."""
    K = containers.module(generation)
    L = K.layers
    i = L.Input((7, 5))
    x = L.Masking()(i)
    ends = [L.Reshape((7, 5)), L.Permute((1, 2)), L.ZeroPadding1D(0), L.Cropping1D(0), L.Dropout(0.5)]
    model = K.Model(i, [L.LSTM(2)(end(x)) for end in ends])
    inputs = models.weighted(K, model, 7)
    inputs[0][:, 4:] = 0
    before = containers.predict(model, inputs)
    path, weights = containers.save(model, generation, "keras", tmp_path / "model")
    (tmp_path / "out").mkdir()
    to, _ = containers.opt(path, weights, tmp_path / "out", "--passes=simplify")
    assert containers.difference(before, containers.predict(containers.load(generation, *to), inputs)) <= 1e-5


@pytest.mark.parametrize("generation", [3, 2])
def test_untouched_members_are_the_same(generation, made, tmp_path):
    """In an archive only the architecture and the weights change; the archive is one that zipfile accepts whole."""
    path, _ = made(generation, "nested")[0]["keras"]
    (to, _), _ = containers.opt(path, None, tmp_path)
    with zipfile.ZipFile(path) as a, zipfile.ZipFile(to) as b:
        assert b.testzip() is None
        assert a.namelist() == b.namelist()
        assert a.read("metadata.json") == b.read("metadata.json")
        assert a.read("config.json") != b.read("config.json")


@pytest.mark.parametrize("generation", [3, 2])
def test_the_tree_can_be_edited_further(generation, made, tmp_path):
    """h5py goes on with a patched file: new groups, attributes and data beside what is there."""
    path, _ = made(generation, "nested")[0]["h5"]
    (to, _), _ = containers.opt(path, None, tmp_path)

    def tree(file):
        found = {}
        file.visititems(lambda name, node: found.__setitem__(name, node[()] if isinstance(node, h5py.Dataset) else None))
        return found
    with h5py.File(to, "r+") as f:
        before = tree(f)
        f.attrs["note"] = "more"
        f["model_weights"].create_group("extra").create_dataset("data", data=np.arange(100.0))
    with h5py.File(to, "r") as f:
        after = tree(f)
    assert set(after) == set(before) | {"model_weights/extra", "model_weights/extra/data"}
    assert all(v is None or np.array_equal(v, after[k]) for k, v in before.items())


@pytest.mark.parametrize("generation", [3, 2])
def test_a_name_that_means_another_container_is_told(generation, made, tmp_path):
    path, _ = made(generation, "dense")[0]["keras"]
    done = containers.run("opt", path, "-o", tmp_path / "out.h5")
    assert done.returncode == 0 and "has to end in .keras" in done.stdout + done.stderr, done


def test_weights_go_beside_the_output(made, tmp_path):
    """Without a name for them they are called as the output is."""
    path, weights = made(3, "dense")[0]["weights"]
    done = containers.run("opt", path, f"--weights-in={weights}", "-o", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "out.weights.h5"]
    _, inputs, before, _ = made(3, "dense")
    model = containers.load(3, tmp_path / "out.json", tmp_path / "out.weights.h5")
    assert containers.difference(before, containers.predict(model, inputs)) <= 1e-5


@pytest.mark.parametrize("generation", [3, 2])
@pytest.mark.parametrize("container", ["keras", "h5", "weights"])
def test_a_file_that_is_cut_short_is_refused(generation, container, made, tmp_path):
    path, weights = made(generation, "dense")[0][container]
    here = [tmp_path / p.name for p in (path, weights) if p]
    for a, b in zip((path, weights), here):
        shutil.copy(a, b)
    cut = here[-1].read_bytes()
    for part in (0.3, 0.9):
        here[-1].write_bytes(cut[:int(len(cut) * part)])
        told = containers.arguments(*(here if weights else [here[0], None]))
        done = containers.run("opt", *told, "-o", tmp_path / "out" / "x")
        assert done.returncode not in (0, 101) and done.stderr.startswith("error: "), done
        assert not (tmp_path / "out").exists()
