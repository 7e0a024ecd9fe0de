"""Every model of the zoo, in every generation and container: copied without a pass, folded, loaded by the same Keras."""
import h5py
import io
import zipfile

import numpy as np
import pytest

import zoo
from conftest import difference, inputs, load, module, opt, predict, randomize, save

MADE = {}


def every():
    for case in zoo.CASES:
        for generation in case.generations:
            for container in ("keras", "h5", "weights"):
                yield pytest.param(case, generation, container, id=f"{case.name}-{generation}-{container}")


def made(case, generation):
    """The model, with random weights; a compiled one has been trained for a step."""
    key = case.name, generation
    if key not in MADE:
        keras = module(generation)
        keras.backend.clear_session()
        model = case.build(keras)
        randomize(model, case.name)
        if case.compiled:
            model.compile("adam", "mse")
            x = np.random.default_rng(1).normal(size=[2, *model.inputs[0].shape[1:]])
            model.fit(x, np.zeros([2, *model.outputs[0].shape[1:]]), verbose=0)
        MADE[key] = model
    return MADE[key]


def tree(files):
    """Every object of the HDF5 file of a model: its attributes, its elements."""
    path = files.weights or files.path
    data = path.read_bytes()
    if zipfile.is_zipfile(path):
        data = zipfile.ZipFile(path).read("model.weights.h5")
    found = {}

    def visit(name, thing):
        value = thing[()].tobytes() if isinstance(thing, h5py.Dataset) else None
        found[name] = ({k: str(v) for k, v in thing.attrs.items()}, value)

    with h5py.File(io.BytesIO(data), "r") as f:
        visit("", f)
        f.visititems(visit)
    return found


def weights(model, prefix=""):
    """The weights of each layer that is no model, by the names of the models around it."""
    out = {}
    for layer in model.layers:
        if hasattr(layer, "layers") and not layer.__class__.__name__ == "TimeDistributed":
            out.update(weights(layer, f"{prefix}{layer.name}/"))
        else:
            out[prefix + layer.name] = layer
    return out


@pytest.mark.parametrize("case, generation, container", every())
def test_a_model(case, generation, container, tmp_path):
    keras = module(generation)
    model = made(case, generation)
    files = save(model, container, generation, tmp_path)
    for folder in ("same", "out"):
        (tmp_path / folder).mkdir()

    same = files.at(tmp_path / "same")
    opt(files, same, "--passes=")
    assert files.bytes() == same.bytes()

    out = files.at(tmp_path / "out")
    report = opt(files, out)
    norms = report["batch_norms"]
    count, kept = case.expected(generation, container)
    assert (norms["folded"], norms.get("reasons") or {}) == (count, kept)
    assert norms["total"] == count + sum(kept.values())

    if (generation, container) in case.unreadable:
        with pytest.raises(ValueError):
            load(files, case, keras)
        return
    folded = load(out, case, keras)
    left = [n for n, l in weights(folded).items() if "BatchNormalization" in l.__class__.__name__]
    calls = sum(kept.values())
    assert len(left) <= calls and (len(left) > 0) == (calls > 0), left
    # Layers that were not folded into have the weights they had.
    before, after = weights(model), weights(folded)
    assert set(after) <= set(before)
    changed = 0
    for name, layer in after.items():
        old, new = before[name].get_weights(), layer.get_weights()
        if len(old) != len(new) or any(a.tobytes() != b.tobytes() for a, b in zip(old, new)):
            changed += 1
            assert layer.__class__.__name__.startswith(("Conv", "Depthwise", "Separable", "Dense")), name
    assert changed <= 2 * count + len(left)
    if case.predicts:
        arrays = inputs(model)
        error = difference(predict(model, arrays), predict(folded, arrays))
        assert error < case.tolerance, error

    # What is written is a file that h5py goes on with; nothing else of it is another.
    old, new = tree(files), tree(out)
    state = ("optimizer", "optimizer_weights")
    assert not any(n.split("/")[0] in state for n in new)
    if count == 0:
        assert files.bytes() == out.bytes()
    if case.compiled and container != "weights":
        assert any("optimizer" in note for note in report["notes"])
        config = [a for n, (a, _) in old.items() if n == ""][0]
        assert set(config) == set(new[""][0])


@pytest.mark.parametrize("generation", (3, 2))
def test_what_was_folded_trains_and_is_saved_again(generation, tmp_path):
    keras = module(generation)
    case = next(c for c in zoo.CASES if c.name == "seq_conv2d")
    model = made(case, generation)
    for container in ("keras", "h5"):
        folder = tmp_path / container
        (folder / "out").mkdir(parents=True)
        files = save(model, container, generation, folder)
        out = files.at(folder / "out")
        opt(files, out)
        folded = load(out, case, keras)
        x = np.random.default_rng(2).normal(size=[4, *folded.inputs[0].shape[1:]])
        folded.compile("sgd", "mse")
        folded.fit(x, np.zeros([4, *folded.outputs[0].shape[1:]]), verbose=0)
        again = save(folded, container, generation, folder / "out")
        arrays = inputs(folded)
        assert difference(predict(folded, arrays), predict(load(again, case, keras), arrays)) == 0


@pytest.mark.parametrize("container", ("keras", "h5", "weights"))
@pytest.mark.parametrize("generation", (3, 2))
def test_what_is_kept_can_have_no_mean_and_no_variance(generation, container, tmp_path):
    keras = module(generation)
    case = next(c for c in zoo.CASES if c.name == "nested")
    model = made(case, generation)
    files = save(model, container, generation, tmp_path)
    (tmp_path / "out").mkdir()
    out = files.at(tmp_path / "out")
    report = opt(files, out, "--passes=fold-bn,lower-bn{form=unit},dce")
    assert report["batch_norms"]["folded"] == case.folded
    lowered = load(out, case, keras)
    norms = [l for l in weights(lowered).values() if l.__class__.__name__ == "BatchNormalization"]
    assert norms and all((n.moving_mean.numpy() == 0).all() and (n.moving_variance.numpy() == 1).all() for n in norms)
    arrays = inputs(model)
    assert difference(predict(model, arrays), predict(lowered, arrays)) < case.tolerance


@pytest.mark.parametrize("name", ["nested.h5", "seq_conv2d.k2.h5", "nested.weights.h5", "nested.k2.weights_only.h5"])
def test_h5py_goes_on_with_what_was_written(name, tmp_path):
    path = zoo.ROOT / "tests/models/keras" / name
    from conftest import Files
    files = Files(path)
    for ending in (".weights.h5", ".weights_only.h5"):
        if name.endswith(ending):
            files = Files(path.with_name(name.removesuffix(ending) + ".json"), path)
    out = files.at(tmp_path)
    opt(files, out)
    written = out.weights or out.path
    with h5py.File(written, "r+") as f:
        names = []
        f.visit(names.append)
        datasets = [n for n in names if isinstance(f[n], h5py.Dataset)]
        for i, dataset in enumerate(datasets):
            f.copy(dataset, f"copy{i}")
        group = f.create_group("more/and/more")
        for i in range(100):
            group.create_dataset(str(i), data=np.full(3, i))
        for n in names[::7]:
            f[n].attrs["an attribute"] = ["with", "names"]
        del f[datasets[0]]
        kept = {n: f[n][()].tobytes() for n in datasets[1:]}
    with h5py.File(written, "r") as f:
        assert datasets[0] not in f
        assert all(f[n][()].tobytes() == data for n, data in kept.items())
        assert [f[f"more/and/more/{i}"][0] for i in range(100)] == list(range(100))
