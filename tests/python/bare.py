"""In an environment that has the wheel and what it asks for, and nothing else: what is there, how large, how fast to import.

    python bare.py WHEEL
"""
import importlib.metadata
import os
import subprocess
import sys

# The largest wheel, in bytes, and what the import may add to that of numpy, in seconds.
SIZE, TIME = 10_000_000, 0.05


def seconds(code):
    """What a statement takes in a process that has imported numpy, the least of several."""
    timed = f"import numpy, time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True) for _ in range(9)]
    return min(float(r.stdout) for r in runs)


def main():
    wheel, = sys.argv[1:]
    installed = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()} - {"pip", "setuptools"}
    assert installed == {"normfold", "numpy"}, installed
    size = os.stat(wheel).st_size
    assert size < SIZE, f"the wheel has {size} bytes"
    time = seconds("import normfold")
    assert time < TIME, f"the import takes {time:.3f} s"
    import normfold

    # What frameworks are for is said where they are not.
    for name in ("onnx", "keras", "torch"):
        assert getattr(normfold, name).__doc__
    text = 'module @m {\n  graph @main(%x: tensor<1xf32>) -> (%x: tensor<1xf32>) {\n    return %x\n  }\n}\n'
    assert normfold.Module.from_text(text).run().batch_norms.total == 0
    version = subprocess.run([os.path.join(os.path.dirname(sys.executable), "normfold"), "--version"], capture_output=True, text=True, check=True).stdout
    assert version.strip() == f"normfold {normfold.__version__}", version
    print(f"wheel {size / 1e6:.1f} MB, import {time * 1e3:.1f} ms beyond numpy's, needs numpy alone: 3 passed, 0 failed")


if __name__ == "__main__":
    main()
