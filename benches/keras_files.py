"""Writes Keras 3 models of any size as Keras does, archive or whole-model HDF5, with nothing but the standard library.

The HDF5 files are of the form that h5py writes by default: superblock 0, object headers of version 1, groups as symbol tables,
contiguous data, which follows all else so that no weight has to be in memory.
"""
import json
import random
import struct
import zipfile

import chain
import models

NONE = 0xFFFF_FFFF_FFFF_FFFF
# Links that one list of a group has room for: 2 · LEAF.
LEAF, INTERNAL = 64, 16
SUPERBLOCK, ENTRY = 96, 40


def padded(b):
    return b + bytes(-len(b) % 8)


class Group:
    """Links by name, and attributes: texts and lists of texts."""

    def __init__(self, attributes=None):
        self.links, self.attributes = {}, attributes or {}

    def at(self, path):
        """The group at a path, made as far as it is missing."""
        group = self
        for name in path.split("/"):
            group = group.links.setdefault(name, Group())
        return group


class Data:
    """An array of f32 that `write(file)` writes."""

    def __init__(self, shape, write):
        self.shape, self.write, self.attributes = shape, write, {}
        self.bytes = 4
        for extent in shape:
            self.bytes *= extent


def space(shape):
    return struct.pack("<BBB5x", 1, len(shape), 0) + b"".join(struct.pack("<Q", d) for d in shape)


F32 = struct.pack("<BBBBI", 0x11, 0x20, 31, 0, 4) + struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127)


def attribute(name, value):
    texts = [t.encode() for t in ([value] if isinstance(value, str) else value)]
    width = max(map(len, texts))
    kind = struct.pack("<BBBBI", 0x13, 1, 0, 0, width)
    dims = space([] if isinstance(value, str) else [len(texts)])
    name = name.encode() + b"\0"
    head = struct.pack("<BBHHH", 1, 0, len(name), len(kind), len(dims))
    return head + padded(name) + padded(kind) + padded(dims) + b"".join(t.ljust(width, b"\0") for t in texts)


def header(messages):
    """An object header of version 1."""
    body = b"".join(struct.pack("<HHB3x", kind, len(padded(data)), 0) + padded(data) for kind, data in messages)
    return struct.pack("<BBHII4x", 1, 0, len(messages), 1, len(body)) + body


class Layout:
    """Where everything goes: headers and symbol tables first, then the data."""

    def __init__(self, root):
        self.end, self.blocks, self.data = SUPERBLOCK, [], []
        self.root, self.tree, self.heap = self.group(root)
        for node, header_at in self.data:
            self.blocks.append((header_at, self.of(node, self.place(node.bytes))))

    def place(self, length):
        at = (self.end + 7) // 8 * 8
        self.end = at + length
        return at

    def of(self, node, at):
        layout = struct.pack("<BBQQ", 3, 1, at, node.bytes)
        node.address = at
        return header([(1, space(node.shape)), (3, F32), (5, bytes([2, 2, 2, 0])), (8, layout)])

    def group(self, group):
        """Its header, B-tree and heap."""
        names = sorted(group.links)
        assert len(names) <= 2 * LEAF, "more links than one list has room for"
        heap, offsets = bytearray(8), []
        for name in names:
            offsets.append(len(heap))
            heap += padded(name.encode() + b"\0")
        entries = b""
        for name, offset in zip(names, offsets):
            node = group.links[name]
            if isinstance(node, Group):
                at, tree, names_at = self.group(node)
                entries += struct.pack("<QQIIQQ", offset, at, 1, 0, tree, names_at)
            else:
                at = self.place(len(self.of(node, 0)))
                self.data.append((node, at))
                entries += struct.pack("<QQII16x", offset, at, 0, 0)
        leaf = b"SNOD" + struct.pack("<BBH", 1, 0, len(names)) + entries.ljust(ENTRY * 2 * LEAF, b"\0")
        leaf_at = self.put(leaf)
        keys = struct.pack("<QQQ", 0, leaf_at, offsets[-1]) if names else b""
        node = b"TREE" + struct.pack("<BBHQQ", 0, 0, int(bool(names)), NONE, NONE) + keys
        tree = self.put(node.ljust(24 + 8 * (4 * INTERNAL + 1), b"\0"))
        heap_at = self.place(32 + len(heap))
        self.blocks.append((heap_at, b"HEAP" + struct.pack("<B3xQQQ", 0, len(heap), 1, heap_at + 32) + bytes(heap)))
        attributes = [(12, attribute(k, v)) for k, v in group.attributes.items()]
        return self.put(header([(17, struct.pack("<QQ", tree, heap_at)), *attributes])), tree, heap_at

    def put(self, block):
        at = self.place(len(block))
        self.blocks.append((at, block))
        return at


def hdf5(f, root):
    """Writes a tree as an HDF5 file, to where `f` stands."""
    layout = Layout(root)
    start = b"\x89HDF\r\n\x1a\n" + struct.pack("<8BHHI", 0, 0, 0, 0, 0, 8, 8, 0, LEAF, INTERNAL, 0)
    start += struct.pack("<QQQQ", 0, NONE, layout.end, NONE)
    start += struct.pack("<QQIIQQ", 0, layout.root, 1, 0, layout.tree, layout.heap)
    at = 0
    blocks = [(0, start), *layout.blocks]
    for place, block in sorted(blocks):
        f.write(bytes(place - at) + block)
        at = place + len(block)
    for node, _ in layout.data:
        f.write(bytes(node.address - at))
        node.write(f)
        at = node.address + node.bytes


def vector(n, low, high, seed):
    """Writes floats that repeat after a while, which no two channels notice."""
    rng = random.Random(seed)
    drawn = [rng.uniform(low, high) for _ in range(997)]
    return Data([n], lambda f: f.write(struct.pack(f"<{n}f", *(drawn[i % 997] for i in range(n)))))


class Net:
    """A Sequential model of `blocks` of Dense, BatchNormalization and ReLU, all of one width."""

    def __init__(self, blocks, width, matrix):
        self.blocks, self.width = blocks, width
        # Weights by layer, in the order of `vars`.
        self.layers = []
        for i in range(blocks):
            k = "" if i == 0 else f"_{i}"
            kernel = Data([width, width], lambda f, i=i: matrix(f, i))
            norm = [("gamma", vector(width, 0.8, 1.25, 4 * i)), ("beta", vector(width, -0.1, 0.1, 4 * i + 1)),
                    ("moving_mean", vector(width, -0.1, 0.1, 4 * i + 2)), ("moving_variance", vector(width, 0.8, 1.25, 4 * i + 3))]
            self.layers += [("Dense", "dense" + k, [("kernel", kernel)]), ("BatchNormalization", "batch_normalization" + k, norm),
                            ("ReLU", "re_lu" + k, [])]

    def config(self, full):
        """The architecture; `full` with modules and shapes, as an archive has it."""
        kinds = {"Dense": {"units": self.width, "activation": "linear", "use_bias": False},
                 "BatchNormalization": {"axis": -1, "momentum": 0.99, "epsilon": 0.001, "center": True, "scale": True},
                 "ReLU": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}}
        extra = {"module": "keras.layers", "registered_name": None} if full else {}
        shape = [None, self.width]
        layers = [{**extra, "class_name": "InputLayer",
                   "config": {"batch_shape": shape, "dtype": "float32", "sparse": False, "name": "input_layer"}}]
        for kind, name, _ in self.layers:
            built = {"build_config": {"input_shape": shape}} if full else {}
            layers.append({**extra, "class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **kinds[kind]}, **built})
        whole = {"module": "keras", "registered_name": "Sequential"} if full else {}
        return json.dumps({**whole, "class_name": "Sequential", "config": {"name": "net", "trainable": True, "dtype": "float32", "layers": layers}})

    def whole(self):
        """The tree of a whole-model file."""
        names = ["input_layer", *(name for _, name, _ in self.layers)]
        root = Group({"model_config": self.config(False), "keras_version": "3.15.1", "backend": "tensorflow"})
        weights = root.at("model_weights")
        weights.attributes = {"layer_names": names, "keras_version": "3.15.1", "backend": "tensorflow"}
        weights.at("input_layer")
        for _, name, held in self.layers:
            group = weights.at(name)
            if held:
                group.attributes = {"weight_names": [f"{name}/{weight}" for weight, _ in held]}
                group.at(name).links = dict(held)
        return root

    def weights(self):
        """The tree of a file of weights."""
        root = Group()
        root.at("vars")
        for _, name, held in self.layers:
            root.at(f"layers/{name}/vars").links = {str(i): data for i, (_, data) in enumerate(held)}
        return root

    def write(self, path):
        """Writes an archive or a whole-model file, as its name says."""
        if not str(path).endswith(".keras"):
            with open(path, "wb") as f:
                hdf5(f, self.whole())
            return
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}))
            z.writestr("config.json", self.config(True))
            with z.open("model.weights.h5", "w", force_zip64=True) as f:
                hdf5(f, self.weights())


def dense(path, blocks, width):
    """A model of `blocks` kernels of `width` × `width`, in the container that the name of the file says."""
    bound = (6 / width) ** 0.5
    drawn = chain.floats(random.Random(5), models.DRAWN, -bound, bound)
    pieces = drawn * (models.PIECE // len(drawn) + 2)

    def matrix(f, i):
        models.repeat(f, pieces, len(drawn), 4 * 7919 * i % len(drawn), 4 * width * width)

    Net(blocks, width, matrix).write(path)
