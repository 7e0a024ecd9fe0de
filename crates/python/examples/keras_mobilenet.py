"""Folds MobileNetV2 of keras.applications while it lives.

    python keras_mobilenet.py

Random weights and statistics: nothing is downloaded.
"""
import keras
import numpy as np
from normfold.keras import fold_all_batch_norms


def main():
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.gamma.shape[0]
            layer.set_weights([rng.uniform(0.5, 1.5, n), rng.normal(0, 0.1, n), rng.normal(0, 0.1, n), rng.uniform(0.5, 1.5, n)])
    x = rng.uniform(-1, 1, (1, 96, 96, 3)).astype("float32")
    before = model.predict(x, verbose=0)
    pairs, folded = fold_all_batch_norms(model)
    after = folded.predict(x, verbose=0)
    difference = float(np.abs(before - after).max() / np.abs(before).max())
    print(pairs.report)
    print(f"pairs: {len(pairs)}, the first: {pairs[0][0].name}, {pairs[0][1].name}; layers {len(model.layers)} -> {len(folded.layers)}")
    print(f"largest difference of the outputs: {difference:.1e} of the largest")
    return len(pairs), difference


if __name__ == "__main__":
    main()
