#!/usr/bin/env python3
"""Makes links.h5: groups of HDF5's newer form that keep the order in which their links came, with h5py's own defaults else.

    VENV/bin/python tests/models/hdf5/links.py [DIR]

`few` has its links in the object header, one of each kind; `many` has them in a heap of several blocks, with an index of two
levels; `gone` had many and has few. Made with h5py 3.14; see ../keras/make.py for the environment.
"""
import sys
from pathlib import Path

import h5py
from h5py import h5g, h5p


def tracked(file, name):
    """A group that keeps the order of its links."""
    p = h5p.create(h5p.GROUP_CREATE)
    p.set_link_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
    h5g.create(file.id, name.encode(), gcpl=p)
    return file[name]


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    with h5py.File(out / "links.h5", "w") as f:
        data = f.create_dataset("data", data=[1.0, 2.0, 3.0], dtype="f4")
        few, many, gone = (tracked(f, name) for name in ("few", "many", "gone"))
        for name in ("z", "größe", "a"):
            few[name] = data
        few["soft"] = h5py.SoftLink("/many/link 3")
        few["outside"] = h5py.ExternalLink("other.h5", "/data")
        for i in range(150):
            many[f"link {i * 7 % 150}"] = data
        for i in range(40):
            gone[f"link {i}"] = data
        for i in range(3, 40):
            del gone[f"link {i}"]


if __name__ == "__main__":
    main()
