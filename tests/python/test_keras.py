"""`normfold.keras`: live models of Keras 3 and Keras 2, judged by what they predict before and after."""
import numpy as np
import pytest

# Keras 3 on the backend of the environment; Keras 2 where that is TensorFlow.
keras3 = pytest.importorskip("keras")
try:
    import tf_keras as keras2
except ImportError:
    keras2 = None

import normfold  # noqa: E402
from normfold.keras import fold_all_batch_norms  # noqa: E402

GENERATIONS = {"keras3": keras3, "keras2": keras2}


@pytest.fixture(params=[name for name, module in GENERATIONS.items() if module is not None])
def keras(request):
    return GENERATIONS[request.param]


def randomised(model, seed=0):
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if type(layer).__name__ == "BatchNormalization":
            n = layer.get_weights()[0].shape[0]
            gamma = [rng.uniform(0.5, 1.5, n)] if layer.scale else []
            beta = [rng.normal(0, 0.3, n)] if layer.center else []
            layer.set_weights([*gamma, *beta, rng.normal(0, 0.5, n), rng.uniform(0.5, 2, n)])
    return model


def norms(model):
    return [layer for layer in model._flatten_layers(include_self=False, recursive=True) if type(layer).__name__ == "BatchNormalization"]


def example(model, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (2, *(n or 8 for n in i.shape[1:]))).astype("float32") for i in model.inputs]


def folded(model, tolerance=1e-5):
    x = example(model)
    weights = [w.copy() for w in model.get_weights()]
    before = model.predict(x, verbose=0)
    pairs, new = fold_all_batch_norms(model)
    after = new.predict(x, verbose=0)
    for a, b in zip(*(v if isinstance(v, list) else [v] for v in (before, after)), strict=True):
        assert np.abs(a - b).max() <= tolerance * np.abs(a).max()
    # The model that was given stays what it was.
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert len(norms(new)) == len(norms(model)) - pairs.report.batch_norms.folded
    inner_old, inner_new = list(model._flatten_layers()), list(new._flatten_layers())
    for layer, norm in pairs:
        assert any(layer is other for other in inner_new) and any(norm is other for other in inner_old)
    return pairs, new


def net(keras):
    k = keras.layers
    x = i = keras.Input((8, 8, 3))
    x = k.ReLU()(k.BatchNormalization(name="bn_a")(k.Conv2D(8, 3, padding="same", use_bias=False, name="conv_a")(x)))
    y = k.BatchNormalization(scale=False, name="bn_b")(k.DepthwiseConv2D(3, padding="same", name="depth_b")(x))
    x = k.Add()([x, y])
    x = k.Dense(4, name="fc")(k.BatchNormalization(name="before")(k.GlobalAveragePooling2D()(x)))
    return randomised(keras.Model(i, k.BatchNormalization(center=False, name="last")(x)))


def test_functional(keras):
    model = net(keras)
    pairs, new = folded(model)
    names = [(layer.name, norm.name) for layer, norm in pairs]
    assert names == [("conv_a", "bn_a"), ("depth_b", "bn_b"), ("fc", "before"), ("fc", "last")]
    assert norms(new) == [] and new.get_layer("conv_a").use_bias
    assert type(new).__module__.split(".")[0] == type(model).__module__.split(".")[0]


def test_sequential_nested_and_shared(keras):
    k = keras.layers
    inner = keras.Sequential([keras.Input((8, 8, 4)), k.Conv2D(4, 3, name="c"), k.BatchNormalization(name="n"), k.ReLU()], name="inner")
    model = randomised(keras.Sequential([keras.Input((8, 8, 3)), k.Conv2D(4, 1, name="c"), k.BatchNormalization(name="n"), k.ReLU(), inner], name="outer"))
    pairs, new = folded(model)
    assert [(layer.name, norm.name) for layer, norm in pairs] == [("c", "n"), ("c", "n")] or len(pairs) == 2
    assert {id(norm) for _, norm in pairs} == {id(n) for n in norms(model)} and norms(new) == []

    conv, norm = k.Conv2D(4, 1), k.BatchNormalization()
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    model = randomised(keras.Model([a, b], [norm(conv(a)), norm(conv(b))]))
    pairs, new = folded(model)
    assert not pairs and pairs.report.kept and len(norms(new)) == 1


def test_custom_layers_and_lambdas(keras):
    k = keras.layers
    x = i = keras.Input((8, 8, 3))
    x = k.BatchNormalization()(k.Conv2D(4, 3)(x))

    class Doubled(k.Layer):
        def call(self, x):
            return x * 2

    x = Doubled()(x)
    x = k.Lambda(lambda t: t + 1, output_shape=(6, 6, 4))(x)
    pairs, new = folded(randomised(keras.Model(i, k.BatchNormalization(name="kept")(x))))
    assert len(pairs) == 1 and [n.name for n in norms(new)] == ["kept"]


def test_compiled_models_stay_compiled(keras):
    model = net(keras)
    model.compile(optimizer="adam", loss="mse")
    x = example(model)[0]
    model.fit(x, np.zeros((2, 4)), verbose=0)
    pairs, new = folded(model)
    assert len(pairs) == 4 and new.optimizer is not None
    new.fit(x, np.zeros((2, 4)), verbose=0)


def test_flags_stay(keras):
    model = net(keras)
    model.get_layer("conv_a").trainable = False
    _, new = folded(model)
    assert new.get_layer("conv_a").trainable is False and new.get_layer("fc").trainable is True


def test_what_is_no_model_is_refused(keras):
    with pytest.raises(TypeError, match="Keras model"):
        fold_all_batch_norms(keras.layers.Dense(3))

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = Subclassed()
    model(np.zeros((1, 2), "float32"))
    with pytest.raises(normfold.InputError, match="Python code"):
        fold_all_batch_norms(model)


def test_classes_called_like_kerass_are_not_taken_for_them(keras):
    k = keras.layers

    class Conv2D(k.Conv2D):
        def call(self, x):
            return super().call(x) ** 2

    class BatchNormalization(k.BatchNormalization):
        def call(self, x, **kwargs):
            return super().call(x, **kwargs) * 3

    x = i = keras.Input((8, 8, 3))
    x = k.ReLU()(k.BatchNormalization()(Conv2D(4, 1)(x)))
    x = BatchNormalization(name="own")(k.Conv2D(4, 1)(x))
    pairs, _ = folded(randomised(keras.Model(i, x)))
    assert not pairs

    layer = k.Conv2D(4, 1, name="patched")
    model = keras.Model(i, k.BatchNormalization()(layer(i)))
    layer.call = lambda x: x
    with pytest.raises(normfold.InputError, match="patched"):
        fold_all_batch_norms(model)


def test_pairs_of_models_of_one_name(keras):
    k = keras.layers

    def inner(name):
        return keras.Sequential([keras.Input((8, 8, 3)), k.Conv2D(3, 1, name="c"), k.BatchNormalization(name="n"), k.ReLU()], name=name)

    a = keras.Sequential([keras.Input((8, 8, 3)), inner("inner")], name="a")
    b = keras.Sequential([keras.Input((8, 8, 3)), inner("inner")], name="b")
    model = randomised(keras.Sequential([keras.Input((8, 8, 3)), a, b, inner("main")]))
    pairs, new = folded(model)
    assert len(pairs) == 3 and norms(new) == [] and {id(n) for _, n in pairs} == {id(n) for n in norms(model)}


@pytest.mark.parametrize("name, count, shape", [("MobileNetV2", 52, (64, 64, 3)), ("ResNet50", 53, (64, 64, 3)), ("DenseNet121", 59, (64, 64, 3))])
def test_applications(keras, name, count, shape):
    if keras is keras2 and name != "MobileNetV2":
        pytest.skip("one of Keras 2 is enough")
    model = randomised(getattr(keras.applications, name)(weights=None, input_shape=shape, classes=10))
    pairs, new = folded(model)
    assert len(pairs) == count
    assert pairs.report.batch_norms.kept == len(norms(new)) == len(norms(model)) - count
