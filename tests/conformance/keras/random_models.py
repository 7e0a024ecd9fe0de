"""Random models: layers of the same few kinds in any order, so that the order of layers in a file, their numbers and their
names change whenever a norm goes."""
import numpy as np


def build(K, seed):
    """A model of a seed: one tensor of 5x5 in several channel counts is grown at random."""
    random = np.random.default_rng(seed)
    L = K.layers
    shared = [L.Conv2D(3, 1, name="common"), L.BatchNormalization(name="common_norm")]
    models = []

    def pick(values):
        return values[random.integers(len(values))]

    def grow(values, steps, depth):
        for _ in range(steps):
            x = pick(values[-4:] if random.random() < 0.7 else values)
            bias = bool(random.random() < 0.5)
            kind = random.integers(15)
            if kind < 3:
                y = L.Conv2D(int(random.integers(2, 5)), int(pick([1, 3])), padding="same", use_bias=bias)(x)
                y = L.BatchNormalization(center=bool(random.random() < 0.8), scale=bool(random.random() < 0.8))(y)
            elif kind < 5:
                y = L.Dense(int(random.integers(2, 5)), use_bias=bias, trainable=bool(random.random() < 0.8))(x)
            elif kind < 8:
                y = L.BatchNormalization(trainable=bool(random.random() < 0.8))(x)
            elif kind == 8:
                y = L.DepthwiseConv2D(3, padding="same", use_bias=bias)(x)
            elif kind == 9:
                y = L.ReLU()(x)
            elif kind == 10:
                other = pick(values)
                y = L.Add()([x, other]) if other.shape[-1] == x.shape[-1] else L.Concatenate()([other, x])
            elif kind == 11:
                y = L.Conv2DTranspose(3, 3, padding="same", use_bias=bias)(x)
            elif kind == 12 and depth == 0:
                y = shared[0](x) if x.shape[-1] == 3 else L.Conv2D(3, 1)(x)
                y = shared[1](y)
            elif kind == 13 and depth < 2:
                fitting = [m for m in models if m.inputs[0].shape[-1] == x.shape[-1]] if depth == 0 else []
                if fitting and random.random() < 0.5:
                    y = pick(fitting)(x)
                else:
                    i = L.Input((5, 5, x.shape[-1]))
                    inner = K.Model(i, grow([i], int(random.integers(2, 6)), depth + 1)[-1], name=f"inner_{random.integers(1 << 30)}")
                    if depth == 0:
                        models.append(inner)
                    y = inner(x)
            else:
                y = x * 0.5 if random.random() < 0.5 else L.Activation("tanh")(x)
            values.append(y)
        return values
    i = [L.Input((5, 5, int(c))) for c in random.integers(2, 5, random.integers(1, 3))]
    values = grow(list(i), int(random.integers(6, 22)), 0)
    outs = [values[-1], *(pick(values[len(i):]) for _ in range(random.integers(0, 3)))]
    joined = L.Concatenate()([L.Activation("tanh")(v) for v in values[len(i):]])
    return K.Model(i, [*outs, joined])
