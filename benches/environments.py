"""Python environments of the other tools, one for each, made on first use outside the repository.

They are in $NORMFOLD_BENCH_ENVS (default: ${XDG_CACHE_HOME:-~/.cache}/normfold/bench), and made again when what they hold
changes here. Uses uv when it is installed, else python3 -m venv and pip. aimet-onnx brings PyTorch along, 6 GB of it.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

# A tool of its own gets what its package asks for and nothing else, so that what is measured is what a user installs.
TOOLS = {
    "onnxsim": ["onnxsim==0.8.1"],
    "onnxslim": ["onnxslim==0.1.98"],
    "onnxscript": ["onnxscript==0.7.2"],
    "onnxruntime": ["onnxruntime==1.32.0"],
    "aimet-onnx": ["aimet-onnx==2.42.0"],
    # Judges every output.
    "judge": ["onnx==1.23.2", "onnxruntime==1.32.0", "numpy==2.4.6"],
}


def home():
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("NORMFOLD_BENCH_ENVS") or Path(cache) / "normfold" / "bench")


def environment(name):
    """The directory of an environment, or None (and why, on standard error) when it cannot be made."""
    place, wanted = home() / name, "\n".join(TOOLS[name])
    stamp = place / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return place
    print(f"making the Python environment in {place}", file=sys.stderr)
    place.parent.mkdir(parents=True, exist_ok=True)
    python = place / "bin" / "python"
    if shutil.which("uv"):
        steps = [["uv", "venv", "--quiet", "--clear", "--python", "3", place],
                 ["uv", "pip", "install", "--quiet", "--python", python, *TOOLS[name]]]
    else:
        steps = [[sys.executable, "-m", "venv", "--clear", place],
                 [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *TOOLS[name]]]
    for step in steps:
        if subprocess.run([str(s) for s in step], check=False).returncode:
            print(f"error: {' '.join(map(str, step))}", file=sys.stderr)
            return None
    stamp.write_text(wanted)
    return place


def python(name):
    """The interpreter of an environment, or None."""
    place = environment(name)
    return place and place / "bin" / "python"


def installed(name):
    """Bytes of a tool with all it depends on, Python itself, pip and what was compiled on import left out."""
    total, seen = 0, set()
    for packages in (environment(name) / "lib").glob("python*/site-packages"):
        for directory, below, files in os.walk(packages):
            top = Path(directory) == packages
            below[:] = [d for d in below if d != "__pycache__" and not (top and d.split("-")[0] in ("pip", "_distutils_hack"))]
            for f in files:
                stat = os.lstat(os.path.join(directory, f))
                # A file that has two names counts once, but uv's cache must not hide one.
                if (stat.st_dev, stat.st_ino) not in seen:
                    seen.add((stat.st_dev, stat.st_ino))
                    total += stat.st_size
    return total
